package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) sourceTest() *cobra.Command {
	return &cobra.Command{
		Use: "test SOURCE", Short: "Test the connection of a source", Args: oneArg("a source"),
		Long:    "Have the extractor of the source try the connection, and say who its credentials are and\nwhat they may see.",
		Example: "  da admin sources test keboola",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				findings, err := c.TestSource(cmd.Context(), args[0])
				if err != nil {
					return hinted{err, "What is configured: `da admin configure show`, and instance.yaml on the server."}
				}
				return a.give(map[string]any{"source": args[0], "findings": orEmpty(findings)}, func() {
					a.print("%s works.", args[0])
					for _, f := range findings {
						a.print("  %s", f)
					}
				})
			})
		},
	}
}

func (a *app) sourcePreview() *cobra.Command {
	rows := 20
	cmd := &cobra.Command{
		Use: "preview SOURCE TABLE", Short: "Show the first rows of a table of a source", Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("%s takes a source and a table; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())
			}
			return nil
		},
		Long:    "Show rows of a table as the source has it, whether it is registered or only found by\n`da admin discover`.",
		Example: "  da admin sources preview keboola crm_orders --rows 5",
		RunE: func(cmd *cobra.Command, args []string) error {
			if rows < 1 || rows > 20 {
				return usage("--rows is 1 to 20")
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				p, err := c.PreviewTable(cmd.Context(), args[0], args[1], rows)
				if client.StatusCode(err) == 404 {
					return hinted{err, "See what there is with `da admin discover " + args[0] + "`."}
				}
				if err != nil {
					return err
				}
				return a.give(p, func() { a.showPreview(p) })
			})
		},
	}
	cmd.Flags().IntVar(&rows, "rows", rows, "the most rows to show")
	return cmd
}

func (a *app) showPreview(p client.Preview) {
	var t show.Table
	for _, c := range p.Columns {
		t.Columns = append(t.Columns, c.Name+" "+c.Type)
	}
	for _, r := range p.Rows {
		row := make([]string, len(r))
		for i, v := range r {
			if row[i] = "NULL"; v != nil {
				row[i] = show.OneLine(*v)
			}
		}
		t.Rows = append(t.Rows, cells(row...))
	}
	a.table(t)
	if p.Cut {
		a.note("Long values are shortened.")
	}
}

func (a *app) pushMetadata() *cobra.Command {
	var descriptions, types []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "push-metadata ID", Short: "Write descriptions and types of columns to the source", Args: oneArg("the id of a registered table"),
		Example: `  da admin push-metadata crm_orders --describe amount="Net, in EUR" --type "amount=DECIMAL(12,2)" --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			notes, err := columnNotes(descriptions, types)
			if err != nil {
				return err
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				done, err := c.PushMetadata(cmd.Context(), args[0], notes, dryRun)
				if err != nil {
					return tableError(cmd.Context(), c, args[0], err)
				}
				err = a.give(done, func() {
					for _, p := range done.Pushed {
						a.print("%s  %s = %s", p.Column, p.Key, show.OneLine(p.Value))
					}
					if done.DryRun {
						a.print("Nothing was written to %s (--dry-run).", done.Target)
					}
				})
				if err == nil && len(done.Problems) > 0 {
					return fault.New(fault.Invalid, "not everything could be written: %s", strings.Join(done.Problems, "; "))
				}
				return err
			})
		},
	}
	cmd.Flags().StringArrayVar(&descriptions, "describe", nil, "what a column holds, as column=text (repeatable)")
	cmd.Flags().StringArrayVar(&types, "type", nil, "the DuckDB type of a column, as column=type (repeatable)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be written, and write nothing")
	return cmd
}

// columnNotes puts what is said of a column together.
func columnNotes(descriptions, types []string) ([]client.ColumnNote, error) {
	var notes []client.ColumnNote
	of := func(flag, text string) (*client.ColumnNote, string, error) {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" || value == "" {
			return nil, "", usage("%s is column=value, not %q", flag, text)
		}
		at := slices.IndexFunc(notes, func(n client.ColumnNote) bool { return n.Name == name })
		if at < 0 {
			at, notes = len(notes), append(notes, client.ColumnNote{Name: name})
		}
		return &notes[at], value, nil
	}
	for _, text := range descriptions {
		n, value, err := of("--describe", text)
		if err != nil {
			return nil, err
		}
		n.Description = value
	}
	for _, text := range types {
		n, value, err := of("--type", text)
		if err != nil {
			return nil, err
		}
		n.Type = value
	}
	if len(notes) == 0 {
		return nil, usage("say something of a column with --describe or --type")
	}
	return notes, nil
}
