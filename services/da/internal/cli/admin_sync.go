package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) adminSync() *cobra.Command {
	var what client.SyncRequest
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "sync [TABLE…]", Short: "Have sources extracted now, and follow it",
		Long: `Ask the extractors to run: for the tables that are named, for a source, or for
everything that is registered. With --wait, follow the run until all of it is
published; interrupting stops the following, not the run.`,
		Example: `  da admin sync --wait
  da admin sync orders customers --wait
  da admin sync --source shop --force`,
		RunE: func(cmd *cobra.Command, args []string) error {
			what.Tables = args
			return a.asAdmin(cmd.Context(), func(c *client.Client) error { return a.trigger(cmd.Context(), c, what, wait, timeout) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&what.Source, "source", "", "only this source")
	flags.BoolVar(&what.Force, "force", false, "publish even the loss of more than half of a table's rows")
	flags.BoolVar(&wait, "wait", false, "follow the run until it ends")
	flags.DurationVar(&timeout, "timeout", 0, "how long to follow it at most, such as 30m")
	return cmd
}

func (a *app) trigger(ctx context.Context, c *client.Client, what client.SyncRequest, wait bool, timeout time.Duration) error {
	t, err := c.TriggerSync(ctx, what)
	if err != nil {
		return err
	}
	if !wait {
		return a.give(t, func() {
			a.print("Triggered run %s.", t.RunID)
			a.print("Follow it with `da admin runs %s --wait`.", t.RunID)
		})
	}
	a.note("Run %s", t.RunID)
	return a.follow(ctx, c, t.RunID, timeout)
}

// pollEvery is how often a run is looked at.
const pollEvery = 500 * time.Millisecond

// follow shows a run until it ends. Only a run that succeeded is no error.
func (a *app) follow(ctx context.Context, c *client.Client, id string, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	seen := map[string]string{}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		run, err := c.Run(ctx, id)
		if ctx.Err() != nil {
			return notFollowed(ctx, id)
		}
		if err != nil {
			return err
		}
		a.showChanges(run, seen)
		if run.Ended() {
			return a.endOf(run)
		}
		select {
		case <-ctx.Done():
			return notFollowed(ctx, id)
		case <-ticker.C:
		}
	}
}

func notFollowed(ctx context.Context, id string) error {
	return hinted{
		fault.Wrap(ctx.Err(), fault.Unavailable, "interrupted: the run %s goes on without being followed", id),
		"Follow it again with `da admin runs " + id + " --wait`.",
	}
}

// showChanges prints a line for each table that is in another state than before.
func (a *app) showChanges(run client.Run, seen map[string]string) {
	for _, t := range run.Tables {
		name := tableName(t)
		state := t.Outcome
		if state == "" {
			state = t.Phase
		}
		if state == "" || seen[name] == state {
			continue
		}
		seen[name] = state
		line := state
		switch {
		case t.Error != "":
			line += ": " + t.Error
		case t.Outcome != "":
			line += ", " + show.Count(t.Rows) + " rows, " + show.Bytes(t.Bytes) + ", " + show.Duration(time.Duration(t.DurationMS)*time.Millisecond)
		case t.BytesTotal > 0:
			line += ", " + show.Bytes(t.Bytes) + " of " + show.Bytes(t.BytesTotal)
		}
		if t.RejectedRows > 0 {
			line += ", " + show.Count(t.RejectedRows) + " rows set aside in " + t.Table + "__rejects"
		}
		if len(t.SchemaChanges) > 0 && t.Error == "" {
			line += ", columns: " + sayChanges(t.SchemaChanges)
		}
		a.note("  %s  %s", show.Pad(name, 30), show.OneLine(line))
	}
}

func tableName(t client.RunTable) string {
	if t.TableID != "" {
		return t.TableID
	}
	return strings.Trim(t.Source+"."+t.Table, ".")
}

func (a *app) endOf(run client.Run) error {
	if err := a.give(run, func() { a.showRun(run) }); err != nil {
		return err
	}
	if run.Status == client.RunSucceeded {
		return nil
	}
	if run.Error != "" {
		return fault.New(fault.Permanent, "the run %s ended as %s: %s", run.ID, run.Status, run.Error)
	}
	return fault.New(fault.Permanent, "the run %s ended as %s", run.ID, run.Status)
}

func (a *app) showRun(run client.Run) {
	a.print("Run %s: %s, %s, %s rows, %s", run.ID, run.Status, show.Duration(time.Duration(run.DurationMS)*time.Millisecond),
		show.Count(run.Progress.Rows), show.Bytes(run.Progress.Bytes))
	counts := map[string]int{}
	for _, t := range run.Tables {
		counts[t.Outcome]++
	}
	for _, outcome := range []string{"updated", "unchanged", "removed", "held_back", "failed"} {
		if counts[outcome] > 0 {
			a.print("  %s: %s", outcome, show.Plural(counts[outcome], "table"))
		}
	}
	for _, s := range run.Sources {
		if s.Error != "" {
			a.print("  %s: %s", s.Source, s.Error)
		}
	}
	for _, t := range run.Tables {
		if t.Error != "" {
			a.print("  %s: %s", tableName(t), t.Error)
		}
	}
}

func (a *app) runsCommand() *cobra.Command {
	var filter client.RunFilter
	var wait bool
	cmd := &cobra.Command{
		Use: "runs [ID]", Short: "List the latest syncs, or show one", Args: mayArg("the id of a run"),
		Example: "  da admin runs --source shop\n  da admin runs 0190f3a2 --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				switch {
				case len(args) == 0 && wait:
					return usage("--wait needs the id of a run")
				case len(args) == 0:
					return a.listRuns(cmd.Context(), c, filter)
				case wait:
					return a.follow(cmd.Context(), c, args[0], 0)
				}
				run, err := c.Run(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.give(run, func() { a.showRun(run) })
			})
		},
	}
	cmd.Flags().StringVar(&filter.Source, "source", "", "only runs of this source")
	cmd.Flags().StringVar(&filter.Status, "status", "", "only runs with this status, such as failed")
	cmd.Flags().IntVar(&filter.Limit, "limit", 20, "the most runs to list")
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the run until it ends")
	return cmd
}

func (a *app) listRuns(ctx context.Context, c *client.Client, filter client.RunFilter) error {
	list, err := c.Runs(ctx, filter)
	if err != nil {
		return err
	}
	return a.give(orEmpty(list), func() {
		t := show.Table{Columns: []string{"id", "status", "source", "reason", "requested", "took", "tables", "rows", "error"}, Right: []bool{false, false, false, false, false, true, true, true}}
		for _, r := range list {
			source := r.Source
			if source == "" {
				names := make([]string, len(r.Sources))
				for i, s := range r.Sources {
					names[i] = s.Source
				}
				source = strings.Join(names, ", ")
			}
			t.Rows = append(t.Rows, cells(r.ID, r.Status, source, r.Reason, day(r.RequestedAt, ""), show.Duration(time.Duration(r.DurationMS)*time.Millisecond),
				show.Count(int64(r.Progress.TablesDone)), show.Count(r.Progress.Rows), r.Error))
		}
		a.table(t)
	})
}
