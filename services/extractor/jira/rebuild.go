package jira

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// RebuildCommand is the subcommand of the binary that has a running extractor make all tables of a site
// anew from the issues that are kept.
func RebuildCommand() service.Subcommand {
	return service.Command(taskRebuild, "have the running extractor make all tables of a site anew from the issues that are kept [--source NAME] [--timeout 1h]", Rebuild)
}

// Rebuild asks the extractor that runs for all tables of a site, waits for them, and writes what became of
// each to out. It fails where one could not be made. Nothing is fetched from Jira.
func Rebuild(ctx context.Context, cfg Config, args []string, out io.Writer) error {
	flags := flag.NewFlagSet(taskRebuild, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	source := flags.String("source", "", "the source; where left out, the only one of the type jira")
	timeout := flags.Duration("timeout", time.Hour, "how long to wait for the end")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		flags.Usage()
		return nil
	case err != nil:
		return service.UsageError{Text: err.Error()}
	case flags.NArg() > 0:
		return service.UsageError{Text: fmt.Sprintf("unknown argument %q", flags.Arg(0))}
	}
	instance, err := service.LoadInstance(cfg.ConfigDir, cfg.DataDir)
	if err != nil {
		return err
	}
	name, err := chooseSource(instance, *source)
	if err != nil {
		return err
	}
	bus, disconnect, err := cfg.Connect(ctx, "extractor-jira-rebuild")
	if err != nil {
		return err
	}
	defer disconnect()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	ready, err := rebuild(ctx, bus, name, out)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Unavailable, "the tables of %s were not ready within %s; the run goes on", name, *timeout)
	case errors.Is(err, context.Canceled):
		return fault.Wrap(err, fault.Unavailable, "interrupted: the run goes on")
	case err != nil:
		return err
	}
	return tellOutcomes(ready, out)
}

// chooseSource finds the configured site that is meant.
func chooseSource(instance *service.Instance, name string) (string, error) {
	var names []string
	for _, s := range instance.OfType(Type) {
		names = append(names, s.Name)
	}
	switch {
	case len(names) == 0:
		return "", fault.New(fault.NotFound, "no source of the type jira is configured: add one to instance.yaml, or set JIRA_DOMAIN and the like")
	case name != "" && !slices.Contains(names, name):
		return "", fault.New(fault.NotFound, "there is no source %q of the type jira; there are: %s", name, strings.Join(names, ", "))
	case name != "":
		return name, nil
	case len(names) > 1:
		return "", service.UsageError{Text: "there are several sources: say which one with --source: " + strings.Join(names, ", ")}
	}
	return names[0], nil
}

// rebuild asks for a forced run, and waits until it is ready.
func rebuild(ctx context.Context, bus *event.Bus, source string, out io.Writer) (*agnesv1.ExtractReady, error) {
	if _, err := event.Call(ctx, bus, event.JiraStatus(source), &agnesv1.JiraStatusRequest{}); err != nil {
		if errors.Is(err, event.ErrNobody) {
			return nil, fault.Wrap(err, fault.Unavailable, "no extractor answers for the source %q: start agnes-extractor-jira; where it runs, its log says what it lacks", source)
		}
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a run id: %w", err)
	}
	run := id.String()
	type end struct {
		ready *agnesv1.ExtractReady
		err   error
	}
	ended := make(chan end, 1)
	tell := func(e end) {
		select {
		case ended <- e:
		default: // told already
		}
	}
	done, err := event.Listen(ctx, bus, event.ExtractReady, event.Listener{Source: source}, func(_ context.Context, e event.Event[*agnesv1.ExtractReady]) error {
		if slices.Contains(e.Payload.GetRunIds(), run) {
			tell(end{ready: e.Payload})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	failed, err := event.Listen(ctx, bus, event.ExtractFailed, event.Listener{Source: source}, func(_ context.Context, e event.Event[*agnesv1.ExtractFailed]) error {
		if slices.Contains(e.Payload.GetRunIds(), run) {
			tell(end{err: fault.New(fault.Kind(e.Payload.GetErrorKind()), "%s", e.Payload.GetError())})
		}
		return nil
	})
	defer func() { _ = event.StopAll(time.Second, done, failed) }()
	if err != nil {
		return nil, err
	}
	err = event.Publish(ctx, bus, event.ExtractRequested, source, &agnesv1.ExtractRequested{
		RunId: run, Force: true, Reason: "manual", RequestedBy: "agnes-extractor-jira " + taskRebuild, RequestedAt: timestamppb.Now(),
	}, event.Key(Type), event.ID(run+":"+source))
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(out, "Asked for all tables of %s (run %s)\n", source, run)
	select {
	case e := <-ended:
		return e.ready, e.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// tellOutcomes writes what became of each table, and gives an error where one could not be made.
func tellOutcomes(ready *agnesv1.ExtractReady, out io.Writer) error {
	rows := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	var bad []string
	for _, t := range ready.GetTables() {
		_, _ = fmt.Fprintf(rows, "%s\t%s\t%d rows\t%s\t%s\n", t.GetTable(), t.GetOutcome(), t.GetRows(), t.GetDuration().AsDuration().Round(time.Millisecond), t.GetError())
		if t.GetOutcome() == extract.OutcomeFailed || t.GetOutcome() == extract.OutcomeHeldBack {
			bad = append(bad, t.GetTable())
		}
	}
	if err := rows.Flush(); err != nil {
		return fmt.Errorf("write the outcomes: %w", err)
	}
	if len(bad) > 0 {
		return fault.New(fault.Permanent, "not made anew: %s; they stand as they were", strings.Join(bad, ", "))
	}
	return nil
}
