package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
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
			return a.give(list, func() {
				a.print("%-36s  %-20s %-10s %-20s %-20s %-24s %s", "ID", "NAME", "PREFIX", "EXPIRES", "LAST USED", "SCOPES", "STATUS")
				for _, t := range list {
					a.print("%-36s  %-20s %-10s %-20s %-20s %-24s %s", t.ID, t.Name, t.Prefix, day(t.ExpiresAt, "never"), day(t.LastUsedAt, "never"), scopesOf(t), tokenStatus(t))
				}
			})
		},
	}
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
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.Tokens(ctx)
	if err != nil {
		return err
	}
	// Several tokens may have had the name; those that have ended are not meant.
	matching := slices.DeleteFunc(list, func(t client.Token) bool {
		return t.ID != which && (tokenStatus(t) != "active" || (t.Prefix != which && t.Name != which && (len(which) < shortID || !strings.HasPrefix(t.ID, which))))
	})
	switch len(matching) {
	case 0:
		return fault.New(fault.NotFound, "you have no active token %q: `da token list` shows them", which)
	case 1:
	default:
		ids := make([]string, len(matching))
		for i, t := range matching {
			ids[i] = t.ID
		}
		return fault.New(fault.Conflict, "%q can be any of %s: name one by its id", which, strings.Join(ids, ", "))
	}
	t := matching[0]
	if err := c.RevokeToken(ctx, t.ID); err != nil {
		return err
	}
	return a.give(map[string]string{"revoked": t.ID, "name": t.Name}, func() {
		a.print("Revoked %s.", fmt.Sprintf("%s (%s)", t.Name, t.ID))
	})
}
