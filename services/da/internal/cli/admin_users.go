package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// findAccount finds a user by e-mail address, in any case, or by id.
func findAccount(ctx context.Context, c *client.Client, which string) (client.Account, error) {
	if !strings.Contains(which, "@") {
		u, err := c.Account(ctx, which)
		if client.StatusCode(err) != 404 {
			return u, err
		}
	}
	list, err := c.SearchAccounts(ctx, client.AccountFilter{Search: which})
	if err != nil {
		return client.Account{}, err
	}
	for _, u := range list {
		if u.ID == which || strings.EqualFold(u.Email, which) {
			return u, nil
		}
	}
	var emails []string
	if all, err := c.Accounts(ctx); err == nil { // else there is nothing to propose
		for _, u := range all {
			emails = append(emails, u.Email)
		}
	}
	return client.Account{}, unknown("user", which, emails, "da admin users list")
}

func (a *app) usersCommand() *cobra.Command {
	return group("users", "Look after the users", `  da admin users list --search ann
  da admin users add ann@example.com --role analyst --invite
  da admin users deactivate ann@example.com`,
		a.usersList(), a.usersShow(), a.usersAdd(), a.usersInvite(), a.usersSetRole(), a.usersRename(), a.usersActivate(), a.usersDeactivate(),
		a.usersSetPassword(), a.usersResetPassword(), a.usersLogout(), a.usersRemove())
}

func (a *app) usersList() *cobra.Command {
	var f client.AccountFilter
	var active, inactive bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the users", Args: noArgs, Example: "  da admin users list --search ann --role analyst",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case active && inactive:
				return usage("--active and --inactive exclude each other")
			case active || inactive:
				f.Active = &active
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				list, err := c.SearchAccounts(cmd.Context(), f)
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() {
					t := show.Table{Columns: []string{"email", "role", "status", "name", "id"}}
					for _, u := range list {
						t.Rows = append(t.Rows, cells(u.Email, u.Role, statusOf(u), u.Name, u.ID))
					}
					a.table(t)
				})
			})
		},
	}
	cmd.Flags().StringVar(&f.Search, "search", "", "only those with this in their address or name")
	cmd.Flags().StringVar(&f.Role, "role", "", "only those with this role")
	_ = cmd.RegisterFlagCompletionFunc("role", fixed(roles...))
	cmd.Flags().BoolVar(&active, "active", false, "only those who may sign in")
	cmd.Flags().BoolVar(&inactive, "inactive", false, "only those who were deactivated")
	return cmd
}

func statusOf(u client.Account) string {
	if u.Active {
		return "active"
	}
	return "deactivated"
}

func (a *app) showAccount(u client.Account) {
	a.print("Email:  %s", u.Email)
	a.print("Name:   %s", u.Name)
	a.print("Role:   %s", u.Role)
	a.print("Status: %s", statusOf(u))
	a.print("Id:     %s", u.ID)
	a.print("Since:  %s", day(u.CreatedAt, "unknown"))
}

func (a *app) usersShow() *cobra.Command {
	return a.eachUser("show USER", "Show a user", "show ann@example.com", func(_ context.Context, _ *client.Client, u client.Account) (any, func(), error) {
		return u, func() { a.showAccount(u) }, nil
	})
}

// eachUser is a command about one user. do gives the answer for machines, and how to tell it to people.
func (a *app) eachUser(use, short, example string, do func(context.Context, *client.Client, client.Account) (any, func(), error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: oneArg("a user's e-mail address or id"), Example: "  da admin users " + example,
		RunE: func(cmd *cobra.Command, args []string) error { return a.aboutUser(cmd.Context(), args[0], do) },
	}
}

func (a *app) aboutUser(ctx context.Context, which string, do func(context.Context, *client.Client, client.Account) (any, func(), error)) error {
	return a.asAdmin(ctx, func(c *client.Client) error {
		u, err := findAccount(ctx, c, which)
		if err != nil {
			return err
		}
		v, text, err := do(ctx, c, u)
		if err != nil {
			return err
		}
		return a.give(v, text)
	})
}

func (a *app) usersAdd() *cobra.Command {
	var u client.NewAccount
	var passwordStdin bool
	cmd := &cobra.Command{
		Use: "add EMAIL", Short: "Add a user", Args: oneArg("an e-mail address"),
		Long: `Add a user. --invite makes a link to choose a first password, and mails it where
the server has mail; with --password-stdin the first password is read from
standard input. Without either, the user cannot sign in with a password yet.`,
		Example: `  da admin users add ann@example.com --role analyst --invite
  da admin users add bob@example.com --password-stdin < password.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			u.Email = args[0]
			if passwordStdin {
				var err error
				if u.Password, err = a.newPassword(true); err != nil {
					return err
				}
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				made, err := c.AddAccount(cmd.Context(), u)
				if err != nil {
					return err
				}
				return a.give(made, func() {
					a.print("Added %s (%s).", made.Email, made.Role)
					if u.SendInvite {
						a.showLink("invitation", client.OneTimeLink{URL: made.InviteURL, EmailSent: made.InviteEmailSent != nil && *made.InviteEmailSent})
					}
				})
			})
		},
	}
	cmd.Flags().StringVar(&u.Name, "name", "", "what to call the user")
	cmd.Flags().StringVar(&u.Role, "role", "", "viewer, analyst, km_admin or admin; analyst where not given")
	_ = cmd.RegisterFlagCompletionFunc("role", fixed(roles...))
	cmd.Flags().BoolVar(&u.SendInvite, "invite", false, "make a link to choose a first password")
	cmd.Flags().BoolVar(&passwordStdin, "password-stdin", false, "read a first password from standard input")
	return cmd
}

// showLink tells about a link that its user may use once: it is as good as a password until then.
func (a *app) showLink(what string, l client.OneTimeLink) {
	until := ""
	if l.ExpiresAt != nil {
		until = ", until " + day(l.ExpiresAt, "")
	}
	switch {
	case l.URL == "" && !l.EmailSent:
		a.print("There is no link to hand over: the server does not know its own address. Set AGNES_PUBLIC_URL there and start it again,\n" +
			"or choose a password for them with `da admin users set-password`.")
		return
	case l.URL != "":
		a.print("The %s link works once%s:\n\n    %s\n", what, until, l.URL)
	}
	if l.EmailSent {
		a.print("It was mailed, too.")
		return
	}
	a.print("It was not mailed: hand it over in a safe way.")
}

// linkJSON is a link for machines.
func linkJSON(u client.Account, l client.OneTimeLink) map[string]any {
	return map[string]any{"user_id": u.ID, "email": u.Email, "url": l.URL, "email_sent": l.EmailSent, "expires_at": l.ExpiresAt}
}

func (a *app) usersInvite() *cobra.Command {
	return a.eachUser("invite USER", "Make a link to choose a first password", "invite ann@example.com",
		func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
			l, err := c.Invite(ctx, u.ID)
			return linkJSON(u, l), func() { a.showLink("invitation", l) }, err
		})
}

func (a *app) usersResetPassword() *cobra.Command {
	return a.eachUser("reset-password USER", "Make a link to choose a new password", "reset-password ann@example.com",
		func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
			l, err := c.ResetPassword(ctx, u.ID)
			return linkJSON(u, l), func() { a.showLink("reset", l) }, err
		})
}

func (a *app) usersActivate() *cobra.Command {
	return a.eachUser("activate USER", "Let a user sign in again", "activate ann@example.com",
		func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
			u, err := c.ActivateAccount(ctx, u.ID)
			return u, func() { a.print("%s may sign in again.", u.Email) }, err
		})
}

func (a *app) usersDeactivate() *cobra.Command {
	return a.eachUser("deactivate USER", "Keep a user out, at once", "deactivate ann@example.com",
		func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
			u, err := c.DeactivateAccount(ctx, u.ID)
			return u, func() { a.print("%s is deactivated; their sessions and tokens have ended.", u.Email) }, err
		})
}

func (a *app) usersLogout() *cobra.Command {
	return a.eachUser("logout USER", "End all sessions of a user", "logout ann@example.com",
		func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
			return map[string]string{"logged_out": u.ID, "email": u.Email}, func() { a.print("Ended all sessions of %s.", u.Email) }, c.LogoutAccount(ctx, u.ID)
		})
}

func (a *app) usersRemove() *cobra.Command {
	return a.eachUser("remove USER", "Remove a user, with sessions, tokens and grants", "remove ann@example.com",
		func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
			return map[string]string{"removed": u.ID, "email": u.Email}, func() { a.print("Removed %s.", u.Email) }, c.RemoveAccount(ctx, u.ID)
		})
}

func (a *app) usersSetPassword() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use: "set-password USER", Short: "Set a user's password", Args: oneArg("a user's e-mail address or id"),
		Long:    "Set a user's password, asked for twice or read from standard input. Their sessions end.",
		Example: "  da admin users set-password ann@example.com --password-stdin < password.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := a.newPassword(stdin)
			if err != nil {
				return err
			}
			return a.aboutUser(cmd.Context(), args[0], func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
				return map[string]string{"changed": u.ID, "email": u.Email}, func() { a.print("The password of %s is set; their sessions have ended.", u.Email) },
					c.SetPassword(ctx, u.ID, password)
			})
		},
	}
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func (a *app) usersSetRole() *cobra.Command {
	cmd := a.changeUser("set-role USER ROLE", "Give a user another role", "set-role ann@example.com admin", "a user and a role",
		func(value string) client.AccountChange { return client.AccountChange{Role: &value} })
	cmd.Long = "Give a user another role: viewer, analyst, km_admin or admin. It counts at once."
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return roles, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// roles that a user can have, in their order.
var roles = []string{"viewer", "analyst", "km_admin", "admin"}

// fixed completes a flag by one of a few words.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

func (a *app) usersRename() *cobra.Command {
	return a.changeUser("rename USER NAME", "Call a user something else", "rename ann@example.com Ann", "a user and a name",
		func(value string) client.AccountChange { return client.AccountChange{Name: &value} })
}

func (a *app) changeUser(use, short, example, takes string, change func(value string) client.AccountChange) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: twoArgs(takes), Example: "  da admin users " + example,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.aboutUser(cmd.Context(), args[0], func(ctx context.Context, c *client.Client, u client.Account) (any, func(), error) {
				u, err := c.ChangeAccount(ctx, u.ID, change(args[1]))
				return u, func() { a.print("%s is now %s.", u.Email, strings.TrimPrefix(u.Name+", "+u.Role, ", ")) }, err
			})
		},
	}
}

func (a *app) adminSessions() *cobra.Command {
	var user string
	var all bool
	list := &cobra.Command{
		Use: "list", Short: "List everybody's sessions", Args: noArgs, Example: "  da admin sessions list --user ann@example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				sessions, err := allSessions(cmd.Context(), c, user, !all)
				if err != nil {
					return err
				}
				return a.give(orEmpty(sessions), func() { a.showSessions(sessions, true) })
			})
		},
	}
	list.Flags().StringVar(&user, "user", "", "only those of this user")
	list.Flags().BoolVar(&all, "all", false, "those that have ended, too")
	revoke := &cobra.Command{
		Use: "revoke ID…", Short: "End sessions, at once", Args: someArgs(1, "the ids of sessions, or their beginnings"), Example: "  da admin sessions revoke 5f2a5e8f",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				sessions, err := allSessions(cmd.Context(), c, "", true)
				if err != nil {
					return err
				}
				return a.endSessions(cmd.Context(), sessions, args, c.EndAnySession)
			})
		},
	}
	return group("sessions", "See who is signed in, and end that", "  da admin sessions list\n  da admin sessions revoke 5f2a5e8f", list, revoke)
}

// allSessions gives everybody's sessions, or one user's, page after page.
func allSessions(ctx context.Context, c *client.Client, user string, active bool) ([]client.SessionView, error) {
	f := client.SessionFilter{Active: active}
	if user != "" {
		u, err := findAccount(ctx, c, user)
		if err != nil {
			return nil, err
		}
		f.UserID = u.ID
	}
	var all []client.SessionView
	for {
		f.Offset = len(all)
		page, total, err := c.AllSessions(ctx, f)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) == 0 || len(all) >= total {
			return all, nil
		}
	}
}
