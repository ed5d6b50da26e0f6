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

// jiraCommand is about sites of Jira; each of its commands is about one source.
func (a *app) jiraCommand() *cobra.Command {
	var source string
	cmd := group("jira", "Look after sites of Jira: their state, tasks over their issues, what could not be taken in", `  da admin jira status
  da admin jira register
  da admin jira backfill --wait`,
		a.jiraStatus(&source), a.jiraBackfill(&source), a.jiraReconcile(&source), a.jiraSLA(&source), a.jiraRegister(&source),
		a.jiraRebuild(&source), a.jiraFollow(&source), a.jiraStop(&source), a.jiraSetAside(&source), a.jiraFields(&source))
	cmd.PersistentFlags().StringVar(&source, "source", "", "the source; where left out, the only one of the type jira")
	return cmd
}

// typeJira is the type of the sources that these commands are about.
const typeJira = "jira"

// onJira connects, finds out which source is meant, and calls do.
func (a *app) onJira(ctx context.Context, source *string, do func(c *client.Client, source string) error) error {
	return a.asAdmin(ctx, func(c *client.Client) error {
		if *source != "" {
			return do(c, *source)
		}
		list, err := c.Sources(ctx)
		if err != nil {
			return err
		}
		var names []string
		for _, s := range list {
			if s.Type == typeJira {
				names = append(names, s.Name)
			}
		}
		switch len(names) {
		case 0:
			return hinted{fault.New(fault.NotFound, "the server has no source of the type jira"), "Add one to instance.yaml or set JIRA_DOMAIN and the like, and start the services again: docs/jira.md has it all."}
		case 1:
			return do(c, names[0])
		}
		return usage("the server has several sources of the type jira: say which one with --source %s", strings.Join(names, " or --source "))
	})
}

func (a *app) jiraStatus(source *string) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show what is kept of a site, what waits, and what somebody should look at", Args: noArgs,
		Long: `Show what is kept of a site, what waits, which tasks run and which ran last, and
what somebody should look at. With --check, exit with 1 where there is anything
to look at: for monitoring.`,
		Example: "  da admin jira status\n  da admin jira status --check --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				s, err := c.JiraStatus(cmd.Context(), source)
				if err != nil {
					return err
				}
				if err := a.give(s, func() { a.showJira(s, time.Now()) }); err != nil {
					return err
				}
				if check && len(s.Problems) > 0 {
					return errTold
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit with 1 where somebody should look at something")
	return cmd
}

func (a *app) showJira(s client.JiraStatus, now time.Time) {
	line := func(name, format string, args ...any) {
		a.print("%s  "+format, append([]any{show.Pad(name, 11)}, args...)...)
	}
	line("Site", "%s (source %s)", s.Site, s.Source)
	switch {
	case !s.Account.Configured:
		line("Account", "none")
	case !s.Account.OK:
		line("Account", "does not work")
	default:
		line("Account", "%s", s.Account.Name)
	}
	line("Issues", "%s, %s open, %s incomplete; %s deleted", show.Count(s.Issues), show.Count(s.Open), show.Count(s.Partial), show.Count(s.Deleted))
	line("Newest", "change %s, webhook %s", ago(s.NewestUpdate, now), ago(s.LastWebhook, now))
	waiting := show.Count(s.Refetches) + " to be fetched"
	if s.OldestFetch != nil {
		waiting += ", since " + ago(s.OldestFetch, now)
	}
	if s.Unpublished >= 0 {
		waiting += "; " + show.Count(s.Unpublished) + " changes to be published"
	}
	line("Waiting", "%s", waiting)
	line("Set aside", "%s", show.Count(s.SetAside))
	if s.Attachments.Kept {
		quota := "no limit"
		if s.Attachments.Quota > 0 {
			quota = "of " + show.Bytes(s.Attachments.Quota)
		}
		line("Attachments", "%s, %s %s", show.Plural(int(s.Attachments.Files), "file"), show.Bytes(s.Attachments.Bytes), quota)
	}
	line("Schedule", "compared %s, service levels %s", every(s.ReconcileEvery), every(s.SLAEvery))
	if len(s.Tasks) > 0 {
		a.print("")
		t := show.Table{Columns: []string{"task", "state", "began", "done", "changed", "failed", "message"}, Right: []bool{false, false, false, true, true, true}}
		for _, task := range s.Tasks {
			t.Rows = append(t.Rows, cells(task.Name, task.State, ago(task.StartedAt, now), doneOf(task), show.Count(task.Changed), show.Count(task.Failed), task.Message))
		}
		a.table(t)
	}
	if len(s.Problems) > 0 {
		a.print("\nTo look at:")
	}
	for _, p := range s.Problems {
		a.print("  %s: %s", p.Code, p.Message)
	}
}

// ago renders a moment of which there may be none.
func ago(at *time.Time, now time.Time) string {
	if at == nil {
		return "never"
	}
	return show.Ago(*at, now)
}

// every renders a duration of the server, such as 30m0s.
func every(text string) string {
	if text == "" {
		return "never by themselves"
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	text = d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return "every " + text
}

func (a *app) jiraRegister(source *string) *cobra.Command {
	var what client.JiraTaskRequest
	cmd := &cobra.Command{
		Use: "register", Short: "Have Jira send its webhooks here", Args: noArgs,
		Long: `Make the webhook in Jira, or mend the one that is there; what is right stays as
it is. Without --url it goes to webhook_url of the source. Only an account that
administrates Jira may do this, or an OAuth app for a webhook of its own, which
is then refreshed before its 30 days end. Otherwise make it by hand on Jira's
page of webhooks: docs/jira.md says how.`,
		Example: `  da admin jira register --dry-run
  da admin jira register --url https://agnes.example.com/webhooks/jira
  da admin jira register --remove`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				what.Name = "register"
				s, err := c.StartJiraTask(cmd.Context(), source, what)
				if err != nil {
					return err
				}
				return a.give(s, func() { a.showRegistered(s) })
			})
		},
	}
	cmd.Flags().StringVar(&what.URL, "url", "", "where Jira sends webhooks to, such as https://agnes.example.com/webhooks/jira")
	cmd.Flags().BoolVar(&what.Remove, "remove", false, "take the webhooks to this address away")
	cmd.Flags().BoolVar(&what.DryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

func (a *app) showRegistered(s client.JiraStarted) {
	if s.Task.Message != "" {
		a.print("%s.", capital(s.Task.Message))
	}
	if len(s.Webhooks) > 0 {
		a.print("\nWebhooks of the site:")
		t := show.Table{Columns: []string{"id", "kind", "on", "until", "events", "url", "jql"}, Right: []bool{false, false, false, false, true}}
		for _, w := range s.Webhooks {
			t.Rows = append(t.Rows, cells(w.ID, w.Kind, yes(w.Enabled), day(w.ExpiresAt, "for ever"), show.Count(int64(len(w.Events))), w.URL, w.JQL))
		}
		a.table(t)
	}
	if len(s.Hints) > 0 {
		a.print("")
	}
	for _, h := range s.Hints {
		a.print("%s", h)
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// capital begins a sentence.
func capital(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func (a *app) jiraRebuild(source *string) *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "rebuild", Short: "Make all tables of a site anew from the issues that are kept", Args: noArgs,
		Long: `Make all tables of a site anew from the issues that are kept: nothing is fetched
from Jira. It is a sync of the source with force, and a run like any other.`,
		Example: "  da admin jira rebuild --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				return a.trigger(cmd.Context(), c, client.SyncRequest{Source: source, Force: true}, wait, timeout)
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the run until it ends")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to follow it at most, such as 30m")
	return cmd
}

func (a *app) jiraFields(source *string) *cobra.Command {
	var asYAML bool
	cmd := &cobra.Command{
		Use: "fields", Short: "List the custom fields of a site, with a column that each could become", Args: noArgs,
		Long: `List the custom fields of a site, with the column and kind that each could
become. With --yaml, print the option fields of the source that takes all
proposals over: edit it, and put it into instance.yaml.`,
		Example: "  da admin jira fields\n  da admin jira fields --yaml > fields.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				f, err := c.JiraFields(cmd.Context(), source)
				if err != nil {
					return err
				}
				f.Fields = orEmpty(f.Fields)
				return a.give(f, func() {
					if asYAML {
						a.print("%s", strings.TrimRight(f.YAML, "\n"))
						return
					}
					t := show.Table{Columns: []string{"id", "name", "type", "column", "kind", "mapped"}}
					for _, field := range f.Fields {
						t.Rows = append(t.Rows, cells(field.ID, field.Name, field.Type, field.Column, field.Kind, yes(field.Mapped)))
					}
					a.table(t)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&asYAML, "yaml", false, "print the configuration that takes all proposals over")
	return cmd
}
