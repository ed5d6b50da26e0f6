package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) jiraSetAside(source *string) *cobra.Command {
	return group("set-aside", "Look at webhooks and issues that could not be taken in", `  da admin jira set-aside list
  da admin jira set-aside retry --all`,
		a.asideList(source), a.asideShow(source), a.asideRetry(source),
		a.asideEach(source, "drop N…", "Drop some for good; what is kept of their issues stays", "drop", "Dropped %d.", (*client.Client).DropJiraSetAside))
}

func (a *app) asideList(source *string) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List them, with the reason", Args: noArgs, Example: "  da admin jira set-aside list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				list, total, err := c.JiraSetAside(cmd.Context(), source, limit)
				if err != nil {
					return err
				}
				return a.give(asideReport{orEmpty(list), total}, func() { a.showAside(list, total) })
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "the most to list")
	return cmd
}

type asideReport struct {
	SetAside []client.JiraSetAside `json:"set_aside"`
	Total    int64                 `json:"total"`
}

func (a *app) showAside(list []client.JiraSetAside, total int64) {
	if len(list) == 0 {
		a.print("There are none.")
		return
	}
	t := show.Table{Columns: []string{"n", "issue", "from", "when", "times", "reason"}, Right: []bool{true, false, false, false, true, false}}
	for _, s := range list {
		t.Rows = append(t.Rows, cells(show.Plain(uint64(s.Number)), issueOf(s), s.Origin, day(&s.At, ""), show.Count(s.Times), s.Reason)) //nolint:gosec // it counts from 1
	}
	a.table(t)
	if more := total - int64(len(list)); more > 0 {
		a.note("%s more: --limit shows them", show.Count(more))
	}
}

func issueOf(s client.JiraSetAside) string {
	if s.IssueKey == "" {
		return s.IssueID
	}
	return s.IssueKey
}

func (a *app) asideShow(source *string) *cobra.Command {
	return &cobra.Command{
		Use: "show N", Short: "Show one with what it was", Args: oneArg("a number, as `da admin jira set-aside list` shows it"), Example: "  da admin jira set-aside show 7",
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := numbersOf(args)
			if err != nil {
				return err
			}
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				s, err := c.ShowJiraSetAside(cmd.Context(), source, int64(numbers[0])) //nolint:gosec // the server refuses what is none
				if err != nil {
					return err
				}
				return a.give(s, func() {
					a.print("%d: %s, from %s, %s, %s", s.Number, issueOf(s), s.Origin, show.Ago(s.At, time.Now()), show.Plural(int(s.Times), "time"))
					a.print("%s", s.Reason)
					a.print("\n%s", readable(s.Body))
				})
			})
		},
	}
}

// readable is JSON in lines, or a text as it is.
func readable(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

func (a *app) asideRetry(source *string) *cobra.Command {
	var all bool
	cmd := a.asideEach(source, "retry [N…]", "Try some again, or all", "retry", "Tried %d again.",
		func(c *client.Client, ctx context.Context, source string, n int64) error {
			_, err := c.RetryJiraSetAside(ctx, source, n)
			return err
		})
	each := cmd.RunE
	cmd.Long = `Try to take in again what is set aside. What fails again stays set aside, with
the new reason. Issues are fetched from Jira in a moment, not at once.`
	cmd.Example = "  da admin jira set-aside retry 7\n  da admin jira set-aside retry --all"
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if (len(args) > 0) == all {
			return usage("%s takes numbers, or --all", cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !all {
			return each(cmd, args)
		}
		return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
			r, err := c.RetryJiraSetAside(cmd.Context(), source, 0)
			if err != nil {
				return err
			}
			return a.give(r, func() {
				a.print("Tried all again: %s taken in, %s still set aside.", show.Count(r.TakenIn), show.Count(r.Left))
			})
		})
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}

// asideEach is a command that does one thing to each of those that are named.
func (a *app) asideEach(source *string, use, short, verb, done string, do func(*client.Client, context.Context, string, int64) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: "  da admin jira set-aside " + verb + " 7 8",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("%s takes numbers, as `da admin jira set-aside list` shows them", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := numbersOf(args)
			if err != nil {
				return err
			}
			return a.onJira(cmd.Context(), source, func(c *client.Client, source string) error {
				asNumber := func(n uint64) eachResult { return eachResult{Number: n} }
				return a.each(numbers, done, asNumber, func(n uint64) error { return do(c, cmd.Context(), source, int64(n)) }) //nolint:gosec // the server refuses what is none
			})
		},
	}
}
