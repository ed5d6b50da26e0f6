package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) requestCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "request TABLE", Short: "Ask to be granted a table", GroupID: groupData, Args: oneArg("the id of a table"),
		Long:    "Ask the administrators to let you read a table. `da requests` shows what came of it.",
		Example: `  da request orders --reason "for the monthly report"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.signedIn(cmd.Context(), func(c *client.Client) error {
				r, err := c.RequestAccess(cmd.Context(), args[0], reason)
				if err != nil {
					return err
				}
				return a.give(r, func() { a.print("Asked for %s (request %s). `da requests` shows what came of it.", args[0], r.ID) })
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "what you need it for")
	return cmd
}

func (a *app) requestsCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		return a.signedIn(cmd.Context(), func(c *client.Client) error {
			list, err := c.MyRequests(cmd.Context())
			if err != nil {
				return err
			}
			return a.give(orEmpty(list), func() { a.showRequests(list, false) })
		})
	}
	cmd := group("requests", "See what came of your requests", "  da requests\n  da requests cancel 0190f3a2",
		&cobra.Command{Use: "list", Short: "List your requests", Args: noArgs, Example: "  da requests list --json", RunE: list},
		&cobra.Command{
			Use: "cancel ID", Short: "Take back a request that is pending", Args: oneArg("the id of a request, or its beginning"), Example: "  da requests cancel 0190f3a2",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.signedIn(cmd.Context(), func(c *client.Client) error {
					mine, err := c.MyRequests(cmd.Context())
					if err != nil {
						return err
					}
					id, err := pick(args[0], "request", mine, pending)
					if err != nil {
						return err
					}
					if err := c.CancelRequest(cmd.Context(), id); err != nil {
						return err
					}
					return a.give(map[string]string{"cancelled": id}, func() { a.print("Took back request %s.", id) })
				})
			},
		})
	cmd.GroupID = groupData
	cmd.RunE = list
	return cmd
}

func pending(r client.AccessRequest) (id string, usable bool) { return r.ID, r.Status == "pending" }

func (a *app) showRequests(list []client.AccessRequest, askers bool) {
	if len(list) == 0 {
		a.print("There are none.")
		return
	}
	t := show.Table{Columns: []string{"id", "table", "status", "asked", "reason", "decided by", "because"}}
	if askers {
		t.Columns = append([]string{"user"}, t.Columns...)
	}
	for _, r := range list {
		row := cells(r.ID, r.TableID, r.Status, day(r.CreatedAt, ""), r.Reason, r.ReviewedBy, r.DecisionReason)
		if askers {
			row = append(cells(r.UserEmail), row...)
		}
		t.Rows = append(t.Rows, row)
	}
	a.table(t)
}

func (a *app) adminRequests() *cobra.Command {
	var f client.RequestFilter
	var user string
	var all bool
	list := &cobra.Command{
		Use: "list", Short: "List requests, those that wait unless told otherwise", Args: noArgs, Example: "  da admin requests list\n  da admin requests list --all --user ann@example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				if f.Status == "" && !all {
					f.Status = "pending"
				}
				if user != "" {
					u, err := findAccount(cmd.Context(), c, user)
					if err != nil {
						return err
					}
					f.UserID = u.ID
				}
				list, err := allRequests(cmd.Context(), c, f)
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() { a.showRequests(list, true) })
			})
		},
	}
	list.Flags().StringVar(&f.Status, "status", "", "pending, approved, denied or cancelled")
	list.Flags().StringVar(&f.TableID, "table", "", "only for this table")
	list.Flags().StringVar(&user, "user", "", "only of this user")
	list.Flags().BoolVar(&all, "all", false, "also those that are decided")
	return group("requests", "Decide who is granted what they asked for", "  da admin requests list\n  da admin requests approve 0190f3a2",
		list, a.decide("approve", "Grant what was asked for", true), a.decide("deny", "Refuse what was asked for", false))
}

func allRequests(ctx context.Context, c *client.Client, f client.RequestFilter) ([]client.AccessRequest, error) {
	var all []client.AccessRequest
	for {
		f.Offset = len(all)
		page, total, err := c.Requests(ctx, f)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) == 0 || len(all) >= total {
			return all, nil
		}
	}
}

// decide decides each request that is named. It goes on after a failure, and ends with the first.
func (a *app) decide(verb, short string, approve bool) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " ID…", Short: short, Args: someArgs(1, "the ids of requests, or their beginnings"), Example: "  da admin requests " + verb + ` 0190f3a2 --reason "as agreed"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				waiting, err := allRequests(cmd.Context(), c, client.RequestFilter{Status: "pending"})
				if err != nil {
					return err
				}
				type outcome struct {
					ID    string `json:"id"`
					OK    bool   `json:"ok"`
					Error string `json:"error,omitempty"`
				}
				results := []outcome{}
				var failed error
				for _, name := range args {
					id, err := pick(name, "pending request", waiting, pending)
					if err == nil {
						err = c.DecideRequest(cmd.Context(), id, approve, reason)
					} else {
						id = name
					}
					if err != nil {
						results = append(results, outcome{ID: id, Error: fault.Message(err)})
						if failed == nil {
							failed = err
						}
						continue
					}
					results = append(results, outcome{ID: id, OK: true})
				}
				if err := a.give(results, func() {
					for _, r := range results {
						if r.OK {
							a.print("Request %s: %s.", r.ID, map[bool]string{true: "approved", false: "denied"}[approve])
						}
					}
				}); err != nil {
					return err
				}
				return failed
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "what to tell the user")
	return cmd
}

func (a *app) datasetsCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		return a.signedIn(cmd.Context(), func(c *client.Client) error {
			s, err := c.SyncSettings(cmd.Context())
			if err != nil {
				return err
			}
			return a.give(orEmpty(s.Settings), func() {
				if len(s.Settings) == 0 {
					a.print("Nothing is switched off: everything that you can read is synced.")
					return
				}
				t := show.Table{Columns: []string{"dataset", "synced", "set"}}
				for _, d := range s.Settings {
					t.Rows = append(t.Rows, cells(d.Dataset, map[bool]string{true: "yes", false: "no"}[d.Enabled], day(d.UpdatedAt, "")))
				}
				a.table(t)
			})
		})
	}
	set := func(verb, short string, enabled bool) *cobra.Command {
		return &cobra.Command{
			Use: verb + " DATASET…", Short: short, Args: someArgs(1, "datasets: the ids of tables, BUCKET.* or SOURCE.*"), Example: "  da datasets " + verb + " orders",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.signedIn(cmd.Context(), func(c *client.Client) error {
					for _, name := range args {
						if err := c.SetDataset(cmd.Context(), name, enabled); err != nil {
							return err
						}
					}
					return a.give(map[string]any{"datasets": args, "enabled": enabled}, func() {
						a.print("Switched %s %s. It counts from the next `da sync` on.", verb, joined(args))
					})
				})
			},
		}
	}
	cmd := group("datasets", "Choose what `da sync` brings", "  da datasets\n  da datasets off crm.*",
		&cobra.Command{Use: "list", Short: "List what you chose", Args: noArgs, Example: "  da datasets list --json", RunE: list},
		set("on", "Have datasets synced", true), set("off", "Have datasets synced no longer", false))
	cmd.GroupID = groupData
	cmd.RunE = list
	return cmd
}
