package cli

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) tokenCommand() *cobra.Command {
	cmd := group("token", "Manage your personal access tokens", `  da token create --name laptop --ttl 90d
  da token list
  da token revoke laptop`, a.tokenCreate(), a.tokenList(), a.tokenRevoke())
	cmd.GroupID = groupAccount
	cmd.Aliases = []string{"tokens"}
	return cmd
}

func (a *app) tokenCreate() *cobra.Command {
	var name, ttl string
	var scopes []string
	var raw bool
	cmd := &cobra.Command{
		Use: "create", Short: "Make a personal access token", Args: noArgs,
		Long: `Make a token for programs that sign in as you. It is shown this once. A token
cannot make tokens: sign in with ` + "`da login`" + ` first.

Its scopes say what it may be used for: read (look at catalogs), query (ask with
SQL), sync (manifest, downloads, uploads) and admin. Without --scope it gets all
but admin, which has to be asked for and needs the role.`,
		Example: `  da token create --name laptop
  da token create --name robot --scope read --scope admin --ttl 7d
  export DA_TOKEN=$(da token create --name ci --ttl 30d --raw)`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if strings.TrimSpace(name) == "" {
				return usage("a token needs a --name to know it by")
			}
			days, err := ttlDays(ttl)
			if err != nil {
				return err
			}
			return a.createToken(cmd.Context(), name, days, scopes, raw)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call it")
	cmd.Flags().StringVar(&ttl, "ttl", "90d", "how long it is good: days such as 30d, or never")
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "what it may be used for: read, query, sync, admin (repeatable)")
	cmd.Flags().BoolVar(&raw, "raw", false, "print the token and nothing else")
	_ = cmd.RegisterFlagCompletionFunc("scope", fixed(client.ScopeRead, client.ScopeQuery, client.ScopeSync, client.ScopeAdmin))
	_ = cmd.RegisterFlagCompletionFunc("ttl", fixed("30d", "90d", "365d", "never"))
	return cmd
}

// ttlDays reads "90d", "90" or "never"; nil is never.
func ttlDays(text string) (*int, error) {
	switch strings.ToLower(text) {
	case "never", "none", "no-expiry":
		return nil, nil //nolint:nilnil // nil means without an end
	}
	days, err := strconv.Atoi(strings.TrimSuffix(strings.ToLower(text), "d"))
	if err != nil || days <= 0 {
		return nil, usage("--ttl is a number of days such as 30d, or never; %q is neither", text)
	}
	return &days, nil
}

func (a *app) createToken(ctx context.Context, name string, days *int, scopes []string, raw bool) error {
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := c.CreateToken(ctx, name, days, scopes...)
	if fault.Is(err, fault.Forbidden) {
		return hinted{err, "Only a session makes tokens, and only its user's role gives admin: `da whoami` shows both, `da login` signs in."}
	}
	if err == nil {
		err = honoured(ctx, c, t, scopes)
	}
	if err != nil {
		return err
	}
	if raw && !a.json {
		a.print("%s", t.Token)
		return nil
	}
	return a.give(t, func() {
		a.print("Your new token, shown this once:\n\n    %s\n", t.Token)
		a.print("id:      %s", t.ID)
		a.print("name:    %s", t.Name)
		a.print("expires: %s", day(t.ExpiresAt, "never"))
		if len(t.Scopes) > 0 {
			a.print("scopes:  %s", joined(t.Scopes))
		}
		a.print("\nTo use it:  export DA_TOKEN=%s", t.Token)
	})
}

// honoured takes a token back that may do more than was asked for: a server from before there were scopes
// does not know them, and its tokens may do everything.
func honoured(ctx context.Context, c *client.Client, made client.NewToken, scopes []string) error {
	if len(scopes) == 0 || (len(made.Scopes) > 0 && !slices.ContainsFunc(made.Scopes, func(s string) bool { return !slices.Contains(scopes, s) })) {
		return nil
	}
	err := fault.New(fault.Permanent, "%s does not keep a token to scopes: the one it made is revoked again", c.Server())
	if revokeErr := c.RevokeToken(context.WithoutCancel(ctx), made.ID); revokeErr != nil {
		err = fault.New(fault.Permanent, "%s does not keep a token to scopes, and the one it made could not be revoked (%s): revoke %s yourself", c.Server(), fault.Message(revokeErr), made.ID)
	}
	return hinted{err, "The server is older than this program. Without --scope it makes tokens that may do all that you may."}
}

func day(t *time.Time, missing string) string {
	if t == nil || t.IsZero() {
		return missing
	}
	return t.Local().Format("2006-01-02 15:04")
}

func (a *app) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List your personal access tokens", Args: noArgs, Example: "  da token list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			if list == nil {
				list = []client.Token{}
			}
			return a.give(list, func() { a.showTokens(list) })
		},
	}
}

// showTokens lists the caller's tokens, in the columns of the predecessor, which scripts may read.
func (a *app) showTokens(list []client.Token) {
	line := func(id, name, prefix, expires, used, scopes, status string) {
		a.print("%-36s  %s %-10s %-20s %-20s %-24s %s", id, show.Pad(show.OneLine(name), 20), prefix, expires, used, scopes, status)
	}
	line("ID", "NAME", "PREFIX", "EXPIRES", "LAST USED", "SCOPES", "STATUS")
	for _, t := range list {
		line(t.ID, t.Name, t.Prefix, day(t.ExpiresAt, "never"), day(t.LastUsedAt, "never"), scopesOf(t), tokenStatus(t))
	}
}

// showAllTokens lists everybody's tokens.
func (a *app) showAllTokens(list []client.Token) {
	t := show.Table{Columns: []string{"user", "id", "name", "expires", "last used", "from", "scopes", "status"}}
	for _, k := range list {
		t.Rows = append(t.Rows, cells(k.UserEmail, k.ID, k.Name, day(k.ExpiresAt, "never"), day(k.LastUsedAt, "never"), k.LastUsedIP, scopesOf(k), tokenStatus(k)))
	}
	a.table(t)
}

// scopesOf tells what a token is good for; one from before there were scopes is good for everything.
func scopesOf(t client.Token) string {
	if len(t.Scopes) == 0 {
		return "all"
	}
	return joined(t.Scopes)
}

func tokenStatus(t client.Token) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && t.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "active"
}

func (a *app) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID|PREFIX|NAME", Short: "Revoke one of your tokens, at once", Args: oneArg("the id, prefix or name of a token"),
		Example: "  da token revoke laptop",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.revokeToken(cmd.Context(), args[0]) },
	}
}

func (a *app) revokeToken(ctx context.Context, which string) error {
	return a.signedIn(ctx, func(c *client.Client) error {
		list, err := c.Tokens(ctx)
		if err != nil {
			return err
		}
		t, err := pickToken(list, which, "da token list")
		if err != nil {
			return err
		}
		if err := c.RevokeToken(ctx, t.ID); err != nil {
			return err
		}
		return a.toldRevoked(t)
	})
}

func (a *app) toldRevoked(t client.Token) error {
	return a.give(map[string]string{"revoked": t.ID, "name": t.Name}, func() { a.print("Revoked %s (%s).", t.Name, t.ID) })
}

// pickToken finds the one token that is meant: by its id, the beginning of it, its prefix or its name.
func pickToken(list []client.Token, which, command string) (client.Token, error) {
	// Several tokens may have had the name; those that have ended are not meant.
	matching := slices.DeleteFunc(slices.Clone(list), func(t client.Token) bool {
		return t.ID != which && (tokenStatus(t) != "active" || (t.Prefix != which && t.Name != which && (len(which) < shortID || !strings.HasPrefix(t.ID, which))))
	})
	switch len(matching) {
	case 1:
		return matching[0], nil
	case 0:
		var names []string
		for _, t := range list {
			if tokenStatus(t) == "active" {
				names = append(names, t.Name)
			}
		}
		return client.Token{}, unknown("active token", which, names, command)
	}
	ids := make([]string, len(matching))
	for i, t := range matching {
		ids[i] = t.ID
	}
	return client.Token{}, fault.New(fault.Conflict, "%q can be any of %s: name one by its id", which, strings.Join(ids, ", "))
}

func (a *app) adminTokens() *cobra.Command {
	var user string
	list := &cobra.Command{
		Use: "list", Short: "List everybody's personal access tokens", Args: noArgs, Example: "  da admin tokens list --user ann@example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				tokens, err := tokensOf(cmd.Context(), c, user)
				if err != nil {
					return err
				}
				return a.give(orEmpty(tokens), func() { a.showAllTokens(tokens) })
			})
		},
	}
	list.Flags().StringVar(&user, "user", "", "only those of this user")
	revoke := &cobra.Command{
		Use: "revoke ID|PREFIX|NAME", Short: "Revoke anybody's token, at once", Args: oneArg("the id, prefix or name of a token"), Example: "  da admin tokens revoke 5f2a5e8f",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				tokens, err := tokensOf(cmd.Context(), c, user)
				if err != nil {
					return err
				}
				t, err := pickToken(tokens, args[0], "da admin tokens list")
				if err != nil {
					return err
				}
				if err := c.RevokeAnyToken(cmd.Context(), t.ID); err != nil {
					return err
				}
				return a.toldRevoked(t)
			})
		},
	}
	revoke.Flags().StringVar(&user, "user", "", "only a token of this user")
	return group("tokens", "See everybody's personal access tokens, and end them", "  da admin tokens list\n  da admin tokens revoke 5f2a5e8f", list, revoke)
}

// tokensOf gives a user's tokens, or everybody's.
func tokensOf(ctx context.Context, c *client.Client, user string) ([]client.Token, error) {
	tokens, err := c.AllTokens(ctx)
	if err != nil || user == "" {
		return tokens, err
	}
	u, err := findAccount(ctx, c, user)
	return slices.DeleteFunc(tokens, func(t client.Token) bool { return t.UserID != u.ID }), err
}
