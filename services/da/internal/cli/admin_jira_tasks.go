package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// waiting says whether and how long a task is followed.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "follow the task until it ends")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "how long to follow it at most, such as 30m")
}

func (a *app) jiraBackfill(source *string) *cobra.Command {
	var what client.JiraTaskRequest
	var w waiting
	cmd := &cobra.Command{
		Use: "backfill [KEY…]", Short: "Fetch issues from Jira: all of the projects, those of a JQL, or those that are named",
		Long: `Fetch issues from Jira that are not kept, or in an older state: all of the
configured projects, those that a JQL finds, or those that are named. It goes on
by itself, within Jira's limits and without holding up webhooks; one that was
stopped goes on where it was, after a restart of the extractor too.`,
		Example: `  da admin jira backfill --wait
  da admin jira backfill --jql 'project = SUP AND updated >= -7d' --force
  da admin jira backfill SUP-1 SUP-2 --force --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && what.JQL != "" {
				return usage("a backfill is of a JQL or of issues that are named, not of both")
			}
			what.Name, what.Issues = "backfill", args
			return a.begin(cmd.Context(), source, what, w)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&what.JQL, "jql", "", "which issues, in Jira's query language")
	flags.BoolVar(&what.Force, "force", false, "fetch also issues that are as new as in Jira")
	flags.BoolVar(&what.Restart, "restart", false, "begin anew instead of where the last one was stopped")
	flags.BoolVar(&what.DryRun, "dry-run", false, "count what would be fetched, and fetch nothing")
	w.flags(cmd)
	return cmd
}

func (a *app) jiraReconcile(source *string) *cobra.Command {
	var what client.JiraTaskRequest
	var w waiting
	cmd := &cobra.Command{
		Use: "reconcile", Short: "Compare what is kept with what Jira has, and put differences right", Args: noArgs,
		Long: `List every issue of the configured projects in Jira, compare with what is kept,
and put the differences right: up to heal_up_to of the source by itself, any
number with --force. With --wait, exit with 1 where there were too many.`,
		Example: "  da admin jira reconcile --dry-run --wait\n  da admin jira reconcile --force --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			what.Name = "reconcile"
			return a.begin(cmd.Context(), source, what, w)
		},
	}
	cmd.Flags().BoolVar(&what.Force, "force", false, "put any number of differences right")
	cmd.Flags().BoolVar(&what.DryRun, "dry-run", false, "compare, and do nothing")
	w.flags(cmd)
	return cmd
}

func (a *app) jiraSLA(source *string) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "sla", Short: "Read the service levels of open issues now", Args: noArgs, Example: "  da admin jira sla --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.begin(cmd.Context(), source, client.JiraTaskRequest{Name: "sla"}, w)
		},
	}
	w.flags(cmd)
	return cmd
}

// begin begins a task, and follows it where that is wanted.
func (a *app) begin(ctx context.Context, source *string, what client.JiraTaskRequest, w waiting) error {
	return a.onJira(ctx, source, func(c *client.Client, source string) error {
		s, err := c.StartJiraTask(ctx, source, what)
		if fault.Is(err, fault.Conflict) {
			return hinted{err, "Follow it with `da admin jira follow " + what.Name + "`, or stop it with `da admin jira stop " + what.Name + "`."}
		}
		if err != nil {
			return err
		}
		if !w.wait {
			return a.give(s.Task, func() {
				a.print("The %s of %s goes on by itself.", what.Name, source)
				a.print("Follow it with `da admin jira follow %s`.", what.Name)
			})
		}
		return a.followTask(ctx, c, source, s.Task, w.timeout)
	})
}

// taskNames are the tasks that go on for a while.
const taskNames = "backfill, reconcile or sla"

func (a *app) jiraFollow(source *string) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "follow TASK", Short: "Follow a task until it ends", Args: oneArg("the name of a task: " + taskNames), Example: "  da admin jira follow backfill",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				s, err := c.JiraStatus(cmd.Context(), source)
				if err != nil {
					return err
				}
				task, found := taskOf(s, args[0])
				if !found {
					return fault.New(fault.NotFound, "no %s ran since the extractor of %s started", args[0], source)
				}
				return a.followTask(cmd.Context(), c, source, task, timeout)
			})
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to follow it at most, such as 30m")
	return cmd
}

func (a *app) jiraStop(source *string) *cobra.Command {
	return &cobra.Command{
		Use: "stop TASK", Short: "Stop a task; what it did so far stays", Args: oneArg("the name of a task: " + taskNames), Example: "  da admin jira stop backfill",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				task, err := c.StopJiraTask(cmd.Context(), source, args[0])
				if err != nil {
					return err
				}
				return a.give(task, func() { a.print("The %s of %s is stopping; what it did so far stays.", args[0], source) })
			})
		},
	}
}

func taskOf(s client.JiraStatus, name string) (client.JiraTask, bool) {
	for _, t := range s.Tasks {
		if t.Name == name {
			return t, true
		}
	}
	return client.JiraTask{}, false
}

// How long a task is waited for whose extractor does not answer, and one that the extractor does not know.
const (
	awayPatience    = 2 * time.Minute
	unknownPatience = 5 * time.Second
)

// follower follows one task. It goes by the time at which the task began: a later one of the name is
// another, unless it goes on with this one after a restart.
type follower struct {
	*app
	task   client.JiraTask
	source string
	told   string    // the last line of progress
	at     time.Time // when it was told
	away   time.Time // since when nothing is known of the task
}

// followTask shows a task until it ends. Only one that did all that it was asked for is no error.
func (a *app) followTask(ctx context.Context, c *client.Client, source string, task client.JiraTask, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	f := &follower{app: a, task: task, source: source}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for f.task.State == client.JiraRunning {
		select {
		case <-ctx.Done():
			return f.left(ctx)
		case <-ticker.C:
		}
		s, err := c.JiraStatus(ctx, source)
		if ctx.Err() != nil {
			return f.left(ctx)
		}
		if err := f.look(s, err); err != nil {
			return err
		}
	}
	return f.end()
}

func (f *follower) left(ctx context.Context) error {
	return hinted{
		fault.Wrap(ctx.Err(), fault.Unavailable, "interrupted: the %s goes on without being followed", f.task.Name),
		"Follow it again with `da admin jira follow " + f.task.Name + "`, or stop it with `da admin jira stop " + f.task.Name + "`.",
	}
}

// look takes in what the status says of the task.
func (f *follower) look(s client.JiraStatus, err error) error {
	if err != nil && !fault.Is(err, fault.Unavailable) {
		return err
	}
	now, found := taskOf(s, f.task.Name)
	switch {
	case err != nil || !found:
		return f.unknown(err)
	case f.task.StartedAt != nil && now.StartedAt != nil && now.StartedAt.After(*f.task.StartedAt):
		if now.Reason != "resume" {
			return fault.New(fault.Permanent, "another %s began since; how the one that was followed ended is not known", f.task.Name)
		}
		f.note("  it goes on after a restart of the extractor")
	}
	f.away, f.task = time.Time{}, now
	f.progress()
	return nil
}

// unknown waits for a while for what is not known: the extractor may be starting.
func (f *follower) unknown(err error) error {
	switch {
	case f.away.IsZero():
		f.away = time.Now()
		f.note("  nothing is known of the %s: waiting for the extractor", f.task.Name)
	case time.Since(f.away) > awayPatience && err != nil:
		return err
	case time.Since(f.away) > unknownPatience && err == nil:
		return fault.New(fault.Permanent, "the extractor was started again and knows nothing of the %s: begin it anew", f.task.Name)
	}
	return nil
}

// progressEvery is how often progress is told at most.
const progressEvery = 3 * time.Second

func (f *follower) progress() {
	line := doneOf(f.task) + " issues, " + show.Count(f.task.Changed) + " changed"
	if f.task.Failed > 0 {
		line += ", " + show.Count(f.task.Failed) + " to be tried again"
	}
	if f.task.Done == 0 || line == f.told || (time.Since(f.at) < progressEvery && f.task.State == client.JiraRunning) {
		return
	}
	f.told, f.at = line, time.Now()
	f.note("  %s", line)
}

// doneOf is how much of a task is done.
func doneOf(t client.JiraTask) string {
	if t.Total > 0 {
		return show.Count(t.Done) + " of " + show.Count(t.Total)
	}
	return show.Count(t.Done)
}

// end gives the task, and an error where it did not do what it was asked for.
func (f *follower) end() error {
	t := f.task
	if err := f.give(t, func() { f.showEnd() }); err != nil {
		return err
	}
	switch {
	case t.State == client.JiraFailed:
		return fault.New(fault.Permanent, "the %s of %s failed: %s", t.Name, f.source, t.Message)
	case t.State != client.JiraDone:
		return fault.New(fault.Permanent, "the %s of %s ended as %s", t.Name, f.source, t.State)
	case t.Differences != nil && t.Differences.AboveThreshold:
		return hinted{
			fault.New(fault.Conflict, "there are more differences than are put right without being asked"),
			"Look at them, then run `da admin jira reconcile --force`.",
		}
	}
	return nil
}

func (f *follower) showEnd() {
	t := f.task
	took := time.Duration(0)
	if t.StartedAt != nil && t.FinishedAt != nil {
		took = t.FinishedAt.Sub(*t.StartedAt)
	}
	f.print("The %s of %s: %s, %s issues, %s changed, %s", t.Name, f.source, t.State, doneOf(t), show.Count(t.Changed), show.Duration(took))
	if t.Message != "" {
		f.print("  %s", t.Message)
	}
	if t.Failed > 0 {
		f.print("  %s could not be fetched; they are tried again by themselves", show.Count(t.Failed))
	}
	d := t.Differences
	if d == nil {
		return
	}
	f.print("  in Jira %s, kept %s", show.Count(d.InJira), show.Count(d.Kept))
	for _, line := range []struct {
		what string
		n    int64
		keys []string
	}{{"missing", d.Missing, d.MissingKeys}, {"gone from Jira", d.Gone, d.GoneKeys}, {"older than in Jira", d.Stale, d.StaleKeys}} {
		if line.n > 0 {
			f.print("  %s: %s (%s)", line.what, show.Count(line.n), someOf(line.keys, line.n))
		}
	}
}

// mostKeys is how many keys of issues a line names.
const mostKeys = 5

func someOf(keys []string, of int64) string {
	text := ""
	for i, k := range keys {
		if i == mostKeys {
			break
		}
		if i > 0 {
			text += ", "
		}
		text += k
	}
	if of > int64(min(len(keys), mostKeys)) {
		text += " …"
	}
	return text
}
