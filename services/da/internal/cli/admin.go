package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) adminCommand() *cobra.Command {
	cmd := group("admin", "Administrate tables, syncs, sources, events and people", `  da admin discover --register
  da admin sync --wait
  da admin grant ann@example.com orders`,
		a.registerCommand(), a.updateCommand(), a.listCommand(), a.historyCommand(), a.removeCommand(), a.discoverCommand(), a.pushMetadata(),
		a.adminSync(), a.runsCommand(), a.sourcesCommand(), a.rebuildCommand(), a.deadLettersCommand(),
		a.grantCommand(), a.revokeCommand(), a.grantsCommand(), a.usersCommand(), a.groupsCommand(), a.adminRequests(), a.adminSessions(), a.adminTokens(),
		a.auditCommand(), a.configureCommand(), a.jiraCommand(), a.publish("make-public", true), a.publish("make-private", false),
		a.registerTable(), renamed(a.listCommand(), "list-tables"), a.discoverAndRegister(),
		renamed(a.usersList(), "list-users"), renamed(a.usersAdd(), "add-user EMAIL"),
		renamed(a.usersRemove(), "remove-user USER"), renamed(a.usersSetRole(), "set-role USER ROLE"), renamed(a.usersActivate(), "activate USER"),
		renamed(a.usersDeactivate(), "deactivate USER"), renamed(a.usersResetPassword(), "reset-password USER"), renamed(a.usersSetPassword(), "set-password USER"))
	cmd.GroupID = groupAccount
	return cmd
}

// asAdmin connects and calls do.
func (a *app) asAdmin(ctx context.Context, do func(c *client.Client) error) error {
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// table prints a table on standard output.
func (a *app) table(t show.Table) {
	width, _ := isTerminal(a.Out)
	_, _ = t.Write(a.Out, width) // what cannot be written here cannot be told elsewhere
}

// cells makes a row of texts.
func cells(texts ...string) []show.Cell {
	row := make([]show.Cell, len(texts))
	for i, t := range texts {
		row[i] = show.Cell{Text: t}
	}
	return row
}

// orEmpty makes a missing list an empty one, for machines.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (a *app) sourcesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sources", Short: "List the sources and what is published of them", Args: noArgs, Example: "  da admin sources --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				list, err := c.Sources(cmd.Context())
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() { a.showSources(list) })
			})
		},
	}
	cmd.AddCommand(a.sourceTest(), a.sourcePreview())
	return cmd
}

func (a *app) showSources(list []client.SourceStatus) {
	now := time.Now()
	t := show.Table{Columns: []string{"source", "type", "tables", "generation", "published", "problems"}, Right: []bool{false, false, true, true, false, true}}
	for _, s := range list {
		var published time.Time
		if s.PublishedAt != nil {
			published = *s.PublishedAt
		}
		t.Rows = append(t.Rows, cells(s.Name, s.Type, show.Count(int64(s.Tables)), show.Count(int64(s.Generation)), show.Ago(published, now), show.Count(int64(len(s.Problems))))) //nolint:gosec // no generation is that high
	}
	a.table(t)
	for _, s := range list {
		for _, p := range s.Problems {
			name := s.Name
			if p.Table != "" {
				name += "." + p.Table
			}
			a.print("%s: %s (%s)", name, p.Message, p.Code)
		}
	}
}

func (a *app) rebuildCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "rebuild SOURCE", Short: "Publish the extract of a source anew",
		Long: `Announce the extract of a source, as an extractor does when it is done: for an
extract that another program wrote, or when a catalog document was damaged.`,
		Example: "  da admin rebuild thirdparty\n  da admin rebuild --all",
		Args:    mayArg("one source"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == all {
				return usage("rebuild takes a source, or --all")
			}
			source := ""
			if len(args) == 1 {
				source = args[0]
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				sources, err := c.Rebuild(cmd.Context(), source)
				if err != nil {
					return err
				}
				return a.give(map[string][]string{"announced": orEmpty(sources)}, func() {
					for _, s := range sources {
						a.print("Announced the extract of %s; it will be published in a moment.", s)
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all sources")
	return cmd
}

func (a *app) deadLettersCommand() *cobra.Command {
	return group("dead-letters", "Look at events that nobody could handle", `  da admin dead-letters list
  da admin dead-letters replay 17`,
		a.deadList(),
		a.deadEach("replay SEQ…", "Hand events to their consumers again", "replay", "Handed event %d to its consumer again.", (*client.Client).ReplayDeadLetter),
		a.deadEach("drop SEQ…", "Delete events for good", "drop", "Dropped event %d for good.", (*client.Client).DropDeadLetter))
}

func (a *app) deadList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List them, with what went wrong", Args: noArgs, Example: "  da admin dead-letters list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				list, err := c.DeadLetters(cmd.Context())
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() {
					if len(list) == 0 {
						a.print("There are none.")
						return
					}
					t := show.Table{Columns: []string{"seq", "when", "consumer", "subject", "tries", "error"}, Right: []bool{true, false, false, false, true, false}}
					for _, l := range list {
						t.Rows = append(t.Rows, cells(show.Plain(l.Seq), day(l.Time, ""), l.Consumer, l.Subject, show.Count(int64(l.Attempts)), l.Error))
					}
					a.table(t)
				})
			})
		},
	}
}

// deadEach is a command that does one thing to each event that is named.
func (a *app) deadEach(use, short, verb, done string, do func(*client.Client, context.Context, uint64) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: "  da admin dead-letters " + verb + " 17 18",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("%s takes the numbers of events, as `da admin dead-letters list` shows them", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			numbers, err := numbersOf(args)
			if err != nil {
				return err
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				asSeq := func(n uint64) eachResult { return eachResult{Seq: n} }
				return a.each(numbers, done, asSeq, func(n uint64) error { return do(c, cmd.Context(), n) })
			})
		},
	}
}

// each does one thing to each of some numbers, which result names. It goes on after a failure, and ends
// with the first.
func (a *app) each(numbers []uint64, done string, result func(n uint64) eachResult, do func(n uint64) error) error {
	results := []eachResult{}
	var failed error
	for _, n := range numbers {
		r := result(n)
		r.OK = true
		if err := do(n); err != nil {
			r.OK, r.Error = false, fault.Message(err)
			if failed == nil {
				failed = err
			}
		} else if !a.json {
			a.print(done, n)
		}
		results = append(results, r)
	}
	if a.json {
		if err := a.printJSON(results); err != nil {
			return err
		}
	}
	return failed
}

// eachResult is what became of one of several; either Seq or Number names it, as the API does.
type eachResult struct {
	Seq    uint64 `json:"seq,omitempty"`
	Number uint64 `json:"number,omitempty"`
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
}
