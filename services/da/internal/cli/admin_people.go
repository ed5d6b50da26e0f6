package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) grantCommand() *cobra.Command {
	return a.grantEach("grant USER TABLE…", "Let a user read tables", "grant", "granted", (*client.Client).AddGrant)
}

func (a *app) revokeCommand() *cobra.Command {
	return a.grantEach("revoke USER TABLE…", "Take grants away from a user", "revoke", "revoked", (*client.Client).RemoveGrant)
}

func (a *app) grantEach(use, short, verb, done string, do func(*client.Client, context.Context, client.Grant) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		Long:    short + `. USER is an e-mail address or an id, TABLE the id of a table, or BUCKET.* for all of a bucket.`,
		Example: "  da admin " + verb + " ann@example.com orders crm.*",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("%s takes a user and at least one table", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(func(c *client.Client) error {
				user, err := findAccount(cmd.Context(), c, args[0])
				if err != nil {
					return err
				}
				changed := []client.Grant{}
				for _, dataset := range args[1:] {
					g := client.Grant{UserID: user.ID, Dataset: dataset, Access: "read"}
					if err := do(c, cmd.Context(), g); err != nil {
						return err
					}
					changed = append(changed, g)
				}
				return a.give(map[string]any{done: changed, "email": user.Email}, func() {
					for _, g := range changed {
						a.print("%s%s %s: %s", strings.ToUpper(done[:1]), done[1:], user.Email, g.Dataset)
					}
				})
			})
		},
	}
}

// findAccount finds a user by e-mail address, in any case, or by id.
func findAccount(ctx context.Context, c *client.Client, which string) (client.Account, error) {
	list, err := c.Accounts(ctx)
	if err != nil {
		return client.Account{}, err
	}
	i := slices.IndexFunc(list, func(u client.Account) bool { return u.ID == which || strings.EqualFold(u.Email, which) })
	if i < 0 {
		return client.Account{}, fault.New(fault.NotFound, "there is no user %q: `da admin users list` shows them", which)
	}
	return list[i], nil
}

func (a *app) grantsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "grants [USER]", Short: "List grants", Args: mayArg("one user"), Example: "  da admin grants ann@example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(func(c *client.Client) error {
				accounts, err := c.Accounts(cmd.Context())
				if err != nil {
					return err
				}
				id := ""
				if len(args) == 1 {
					user, err := findAccount(cmd.Context(), c, args[0])
					if err != nil {
						return err
					}
					id = user.ID
				}
				list, err := c.Grants(cmd.Context(), id)
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() { a.showGrants(list, accounts) })
			})
		},
	}
}

func (a *app) showGrants(list []client.Grant, accounts []client.Account) {
	emails := map[string]string{}
	for _, u := range accounts {
		emails[u.ID] = u.Email
	}
	t := show.Table{Columns: []string{"user", "table", "access"}}
	for _, g := range list {
		who := emails[g.UserID]
		if who == "" {
			who = g.UserID
		}
		t.Rows = append(t.Rows, cells(who, g.Dataset, g.Access))
	}
	a.table(t)
}

func (a *app) usersCommand() *cobra.Command {
	return group("users", "List and add users", "  da admin users list\n  da admin users add ann@example.com --role analyst", a.usersList(), a.usersAdd())
}

func (a *app) usersList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the users", Args: noArgs, Example: "  da admin users list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(func(c *client.Client) error {
				list, err := c.Accounts(cmd.Context())
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() {
					t := show.Table{Columns: []string{"email", "role", "status", "name", "id"}}
					for _, u := range list {
						status := "active"
						if !u.Active {
							status = "deactivated"
						}
						t.Rows = append(t.Rows, cells(u.Email, u.Role, status, u.Name, u.ID))
					}
					a.table(t)
				})
			})
		},
	}
}

func (a *app) usersAdd() *cobra.Command {
	var u client.NewAccount
	var passwordStdin bool
	cmd := &cobra.Command{
		Use: "add EMAIL", Short: "Add a user", Args: oneArg("an e-mail address"),
		Long: `Add a user. With --password-stdin the first password is read from standard input;
without one, the user cannot sign in with a password yet.`,
		Example: "  da admin users add ann@example.com --role analyst --password-stdin < password.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			u.Email = args[0]
			if passwordStdin {
				var err error
				if u.Password, err = a.readLine(); err != nil {
					return err
				}
				if u.Password == "" {
					return usage("the password is empty")
				}
			}
			return a.asAdmin(func(c *client.Client) error {
				made, err := c.AddAccount(cmd.Context(), u)
				if err != nil {
					return err
				}
				return a.give(made, func() { a.print("Added %s (%s).", made.Email, made.Role) })
			})
		},
	}
	cmd.Flags().StringVar(&u.Name, "name", "", "what to call the user")
	cmd.Flags().StringVar(&u.Role, "role", "", "viewer, analyst, km_admin or admin; analyst where not given")
	cmd.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read a first password from standard input")
	return cmd
}
