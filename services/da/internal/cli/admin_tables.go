package cli

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func numbersOf(args []string) ([]uint64, error) {
	numbers := make([]uint64, len(args))
	for i, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return nil, usage("%q is not a number, as the list shows them", arg)
		}
		numbers[i] = n
	}
	return numbers, nil
}

// tableFlags are the fields of a registered table that can be set.
type tableFlags struct {
	source, sourceType, bucket, sourceTable, strategy, mode, schedule, folder, description string
	primaryKey, options                                                                    []string
	public, private, profile                                                               bool
}

func (t *tableFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&t.source, "source", "", "source that the table belongs to")
	flags.StringVar(&t.sourceType, "source-type", "", "connector of the source, such as csv")
	flags.StringVar(&t.bucket, "bucket", "", "group of the table within the source")
	flags.StringVar(&t.sourceTable, "source-table", "", "what the source calls it, such as a file")
	flags.StringVar(&t.strategy, "sync-strategy", "", "full_refresh or incremental")
	flags.StringVar(&t.mode, "query-mode", "", "local, remote or materialized")
	flags.StringVar(&t.schedule, "schedule", "", `when to extract, such as "every 2h" or "daily 05:00"`)
	flags.StringVar(&t.folder, "folder", "", "heading to list it under")
	flags.StringVar(&t.description, "description", "", "what it holds")
	flags.StringSliceVar(&t.primaryKey, "primary-key", nil, "columns that make a row unique, separated by commas")
	flags.StringArrayVar(&t.options, "option", nil, "option of the connector, as name=value (repeatable)")
	flags.BoolVar(&t.public, "public", false, "let every user read it")
	flags.BoolVar(&t.private, "private", false, "let only those read it to whom it is granted")
	flags.BoolVar(&t.profile, "profile", true, "find out about its columns after each change")
}

// fields gives what was set, and nothing else.
func (t *tableFlags) fields(flags *pflag.FlagSet) (client.TableFields, error) {
	var f client.TableFields
	for name, into := range map[string]struct {
		value *string
		field **string
	}{
		"source": {&t.source, &f.Source}, "source-type": {&t.sourceType, &f.SourceType}, "bucket": {&t.bucket, &f.Bucket},
		"source-table": {&t.sourceTable, &f.SourceTable}, "sync-strategy": {&t.strategy, &f.SyncStrategy}, "query-mode": {&t.mode, &f.QueryMode},
		"schedule": {&t.schedule, &f.SyncSchedule}, "folder": {&t.folder, &f.Folder}, "description": {&t.description, &f.Description},
	} {
		if flags.Changed(name) {
			*into.field = into.value
		}
	}
	if flags.Changed("primary-key") {
		f.PrimaryKey = &t.primaryKey
	}
	if flags.Changed("profile") {
		f.ProfileAfterSync = &t.profile
	}
	switch {
	case t.public && t.private:
		return f, usage("--public and --private exclude each other")
	case t.public:
		f.IsPublic = &t.public
	case t.private:
		f.IsPublic = new(bool)
	}
	options := map[string]any{}
	for _, o := range t.options {
		name, value, found := strings.Cut(o, "=")
		if !found || name == "" {
			return f, usage("--option is name=value, not %q", o)
		}
		options[name] = optionValue(value)
	}
	if len(options) > 0 {
		raw, err := json.Marshal(options)
		if err != nil {
			return f, usage("the options cannot be written as JSON")
		}
		f.Options = raw
	}
	return f, nil
}

// optionValue reads JSON where the value is some, and else a text.
func optionValue(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		return v
	}
	return text
}

func (a *app) registerCommand() *cobra.Command {
	var t tableFlags
	cmd := &cobra.Command{
		Use: "register NAME", Short: "Register a table, to be extracted from now on", Args: oneArg("the name of a table"),
		Long: `Add a table to the registry. What is registered is extracted, published, and
readable for those to whom it is granted.`,
		Example: `  da admin register orders --source shop --source-table orders.csv --primary-key id --schedule "every 1h"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := t.fields(cmd.Flags())
			if err != nil {
				return err
			}
			fields.Name = &args[0]
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				made, err := c.RegisterTable(cmd.Context(), fields)
				if fault.Is(err, fault.Conflict) {
					return hinted{err, "Change it with `da admin update`, or see `da admin list`."}
				}
				if err != nil {
					return err
				}
				return a.give(made, func() {
					a.print("Registered %s (id %s). Extract it with `da admin sync %s --wait`.", made.Name, made.ID, made.ID)
				})
			})
		},
	}
	t.define(cmd.Flags())
	return cmd
}

func (a *app) updateCommand() *cobra.Command {
	var t tableFlags
	var name string
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change a registered table", Args: oneArg("the id of a registered table"),
		Long:    "Change what is given; the rest stays.",
		Example: "  da admin update orders --private --schedule \"daily 05:00\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			fields, err := t.fields(cmd.Flags())
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("name") {
				fields.Name = &name
			}
			if cmd.Flags().NFlag() == 0 {
				return usage("say what to change; see `%s --help`", cmd.CommandPath())
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				if err := c.UpdateTable(cmd.Context(), args[0], fields); err != nil {
					return tableError(cmd.Context(), c, args[0], err)
				}
				return a.give(map[string]string{"updated": args[0]}, func() { a.print("Updated %s.", args[0]) })
			})
		},
	}
	t.define(cmd.Flags())
	cmd.Flags().StringVar(&name, "name", "", "the table's name within its source")
	return cmd
}

// publish lets everybody read a table, or only those to whom it is granted.
func (a *app) publish(verb string, public bool) *cobra.Command {
	short := map[bool]string{true: "Let every user read tables", false: "Let only those read tables to whom they are granted"}[public]
	return &cobra.Command{
		Use: verb + " ID…", Short: short, Args: someArgs(1, "the ids of registered tables"), Example: "  da admin " + verb + " orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				for _, id := range args {
					if err := c.UpdateTable(cmd.Context(), id, client.TableFields{IsPublic: &public}); err != nil {
						return tableError(cmd.Context(), c, id, err)
					}
				}
				return a.give(map[string]any{"tables": args, "is_public": public}, func() {
					a.print("%s: %s.", joined(args), map[bool]string{true: "everybody may read it", false: "only those may read it to whom it is granted"}[public])
				})
			})
		},
	}
}

func (a *app) listCommand() *cobra.Command {
	var source string
	cmd := &cobra.Command{
		Use: "list", Short: "List the registered tables", Args: noArgs, Example: "  da admin list --source shop",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				list, err := c.Registry(cmd.Context())
				if err != nil {
					return err
				}
				some := []client.Registered{}
				for _, r := range list {
					if source == "" || r.Source == source {
						some = append(some, r)
					}
				}
				return a.give(some, func() {
					t := show.Table{Columns: []string{"id", "source", "name", "mode", "schedule", "access", "bucket", "description"}}
					for _, r := range some {
						access := "granted"
						if r.IsPublic {
							access = "public"
						}
						t.Rows = append(t.Rows, cells(r.ID, r.Source, r.Name, r.QueryMode, r.SyncSchedule, access, r.Bucket, r.Description))
					}
					a.table(t)
				})
			})
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "only tables of this source")
	return cmd
}

func (a *app) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove ID", Short: "Take a table out of the registry", Args: oneArg("the id of a registered table"),
		Long:    "Take a table out of the registry: it is no longer extracted, and leaves the catalog and the workspaces.",
		Example: "  da admin remove orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				if err := c.RemoveTable(cmd.Context(), args[0]); err != nil {
					return tableError(cmd.Context(), c, args[0], err)
				}
				return a.give(map[string]string{"removed": args[0]}, func() { a.print("Removed %s.", args[0]) })
			})
		},
	}
}

func (a *app) discoverCommand() *cobra.Command {
	var source string
	var register bool
	cmd := &cobra.Command{
		Use: "discover [SOURCE]", Short: "Show what a source has, and register it", Args: mayArg("one source"),
		Example: "  da admin discover shop\n  da admin discover --register",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				source = args[0]
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				if register {
					return a.registerAll(cmd, c, source)
				}
				return a.discover(cmd, c, source)
			})
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the source, as the argument is; all where neither is given")
	cmd.Flags().BoolVar(&register, "register", false, "register what is not registered yet")
	return cmd
}

func (a *app) discover(cmd *cobra.Command, c *client.Client, source string) error {
	list, err := c.Discover(cmd.Context(), source)
	if err != nil {
		return err
	}
	return a.give(orEmpty(list), func() {
		t := show.Table{Columns: []string{"name", "source table", "columns", "rows", "size", "registered", "problem"}, Right: []bool{false, false, true, true, true}}
		for _, d := range list {
			rows, size, registered := "?", "?", "no"
			if d.Rows >= 0 {
				rows = show.Count(d.Rows)
			}
			if d.SizeBytes > 0 {
				size = show.Bytes(d.SizeBytes)
			}
			if d.Registered {
				registered = "yes"
			}
			t.Rows = append(t.Rows, cells(d.Name, d.SourceTable, show.Count(int64(len(d.Columns))), rows, size, registered, d.Problem))
		}
		a.table(t)
	})
}

func (a *app) registerAll(cmd *cobra.Command, c *client.Client, source string) error {
	r, err := c.DiscoverAndRegister(cmd.Context(), source)
	if err != nil {
		return err
	}
	err = a.give(r, func() {
		a.print("Registered: %s", show.Plural(r.Registered, "table"))
		for _, t := range r.Tables {
			a.print("  %s", t.ID)
		}
		a.print("Skipped (registered before): %d", r.Skipped)
		a.print("Errors: %d", len(r.Errors))
		for _, e := range r.Errors {
			a.print("  %s: %s", strings.Trim(e.Source+"."+e.Table, "."), e.Error)
		}
	})
	if err == nil && len(r.Errors) > 0 {
		return fault.New(fault.Invalid, "%s could not be registered", show.Plural(len(r.Errors), "table"))
	}
	return err
}
