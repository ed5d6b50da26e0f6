package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) historyCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "history ID", Short: "Show what became of a table in its runs", Args: oneArg("the id of a registered table"),
		Long: `Show what became of a table in its last runs, newest first: how many rows it had,
how long it took, what went wrong, and which of its columns changed.

What a change of its columns does is the table's schema contract: evolve (it
follows its source), freeze (it fails and keeps its last version) or discard
(new columns are left out).`,
		Example: "  da admin history orders\n  da admin update orders --option schema_contract=freeze",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				runs, err := c.TableHistory(cmd.Context(), args[0], limit)
				if err != nil {
					return tableError(cmd.Context(), c, args[0], err)
				}
				if runs == nil {
					runs = []client.TableRun{}
				}
				return a.give(runs, func() { a.showHistory(args[0], runs) })
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "the most runs to show")
	return cmd
}

func (a *app) showHistory(id string, runs []client.TableRun) {
	if len(runs) == 0 {
		a.print("No run of %s is remembered. Start one with `da admin sync %s --wait`.", id, id)
		return
	}
	t := show.Table{Columns: []string{"when", "why", "outcome", "rows", "size", "took", "what"}}
	for _, r := range runs {
		var what []string
		if r.Error != "" {
			what = append(what, r.Error)
		} else if len(r.SchemaChanges) > 0 {
			what = append(what, "columns: "+sayChanges(r.SchemaChanges))
		}
		if r.RejectedRows > 0 {
			what = append(what, show.Count(r.RejectedRows)+" rows set aside")
		}
		t.Rows = append(t.Rows, cells(r.At.Local().Format("2006-01-02 15:04"), r.Reason, r.Outcome, show.Count(r.Rows), show.Bytes(r.Bytes),
			show.Duration(time.Duration(r.DurationMS)*time.Millisecond), strings.Join(what, "; ")))
	}
	a.table(t)
}

// sayChanges names what is different in the columns of a table.
func sayChanges(changes []client.SchemaChange) string {
	said := make([]string, len(changes))
	for i, c := range changes {
		said[i] = c.Change + " " + c.Column
		switch {
		case c.FromType != "" && c.ToType != "":
			said[i] += " (" + c.FromType + " → " + c.ToType + ")"
		case c.ToType != "":
			said[i] += " (" + c.ToType + ")"
		}
	}
	return strings.Join(said, ", ")
}
