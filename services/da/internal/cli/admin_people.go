package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// grantVerb is giving or taking.
type grantVerb struct {
	verb, done string
	do         func(*client.Client, context.Context, client.Grant) error
}

var (
	granting = grantVerb{"grant", "granted", (*client.Client).AddGrant}
	revoking = grantVerb{"revoke", "revoked", (*client.Client).RemoveGrant}
)

func (a *app) grantCommand() *cobra.Command {
	return a.grantEach("grant USER TABLE…", "Let a user read tables", granting)
}

func (a *app) revokeCommand() *cobra.Command {
	return a.grantEach("revoke USER TABLE…", "Take grants away from a user", revoking)
}

func (a *app) grantEach(use, short string, v grantVerb) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: use, Short: short,
		Long: short + `. USER is an e-mail address or an id, TABLE the id of
a table, or BUCKET.* for all of a bucket.`,
		Example: "  da admin " + v.verb + " ann@example.com orders crm.*",
		Args:    someArgs(2, "a user and at least one table"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, v, subject{user: args[0]}, args[1:], force)
		},
	}
	v.define(cmd, &force)
	return cmd
}

// define adds the flags that only granting has.
func (v grantVerb) define(cmd *cobra.Command, force *bool) {
	if v.verb == granting.verb {
		cmd.Flags().BoolVar(force, "force", false, "grant ahead, also what does not exist yet")
	}
}

// subject is whose grants are meant: a user's or a group's.
type subject struct{ user, group string }

func (s *subject) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.user, "user", "", "a user's e-mail address or id")
	cmd.Flags().StringVar(&s.group, "group", "", "the name or id of a group")
}

// one wants a user or a group, and not both.
func (s *subject) one(cmd *cobra.Command) error {
	if (s.user == "") == (s.group == "") {
		return usage("%s takes either --user or --group; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// resolve gives the subject's id in a grant, and what to call it.
func (s *subject) resolve(ctx context.Context, c *client.Client) (g client.Grant, name string, err error) {
	switch {
	case s.user != "":
		u, err := findAccount(ctx, c, s.user)
		return client.Grant{UserID: u.ID}, u.Email, err
	case s.group != "":
		found, err := c.Group(ctx, s.group)
		return client.Grant{GroupID: found.ID, GroupName: found.Name}, found.Name, groupError(ctx, c, s.group, err)
	}
	return client.Grant{}, "", nil
}

func (a *app) change(cmd *cobra.Command, v grantVerb, who subject, datasets []string, force bool) error {
	ctx := cmd.Context()
	return a.asAdmin(ctx, func(c *client.Client) error {
		g, name, err := who.resolve(ctx, c)
		if err != nil {
			return err
		}
		if v.verb == revoking.verb {
			if err := granted(ctx, c, g, name, datasets); err != nil {
				return err
			}
		}
		changed := []client.Grant{}
		g.Force = force
		for _, dataset := range datasets {
			g.Dataset, g.Access = dataset, "read"
			if err := v.do(c, ctx, g); err != nil {
				return forced(err, cmd.CommandPath())
			}
			changed = append(changed, g)
		}
		key := "email"
		if who.group != "" {
			key = "group"
		}
		return a.give(map[string]any{v.done: changed, key: name}, func() {
			for _, g := range changed {
				a.print("%s%s %s: %s", strings.ToUpper(v.done[:1]), v.done[1:], name, g.Dataset)
			}
		})
	})
}

// granted refuses what is no grant of the subject, before anything is taken away: the server calls gone
// what never was, and who mistyped a name would believe it.
func granted(ctx context.Context, c *client.Client, of client.Grant, name string, datasets []string) error {
	list, err := c.FindGrants(ctx, client.GrantFilter{UserID: of.UserID, GroupID: of.GroupID})
	if err != nil {
		return err
	}
	var have []string
	for _, g := range list {
		have = append(have, g.Dataset)
	}
	for _, dataset := range datasets {
		if !slices.Contains(have, dataset) {
			return hinted{
				fault.New(fault.NotFound, "%s has no grant of %q%s", name, dataset, orMeant(catalog.Near(dataset, have))),
				"Nothing was changed. `da admin grants explain` tells what else opens a table.",
			}
		}
	}
	return nil
}

func (a *app) grantsCommand() *cobra.Command {
	cmd := group("grants", "See who may read what, and why, and change it", `  da admin grants list --user ann@example.com
  da admin grants add --group finance orders
  da admin grants explain --user ann@example.com orders`,
		a.grantsList(), a.grantsChange("add DATASET…", "Let a user or a group read datasets", granting),
		a.grantsChange("remove DATASET…", "Take grants away from a user or a group", revoking), a.grantsExplain())
	cmd.Use = "grants [USER]"
	cmd.Args = mayArg("one user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { // as before there were groups
		var who subject
		if len(args) == 1 {
			who.user = args[0]
		}
		return a.listGrants(cmd.Context(), who, "")
	}
	return cmd
}

func (a *app) grantsList() *cobra.Command {
	var who subject
	var dataset string
	cmd := &cobra.Command{
		Use: "list", Short: "List grants", Args: noArgs, Example: "  da admin grants list --dataset orders",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if who.user != "" && who.group != "" {
				return who.one(cmd)
			}
			return a.listGrants(cmd.Context(), who, dataset)
		},
	}
	who.define(cmd)
	cmd.Flags().StringVar(&dataset, "dataset", "", "only grants of exactly this")
	return cmd
}

func (a *app) grantsChange(use, short string, v grantVerb) *cobra.Command {
	var who subject
	var force bool
	verb, _, _ := strings.Cut(use, " ")
	cmd := &cobra.Command{
		Use: use, Short: short, Args: someArgs(1, "at least one dataset: the id of a table, BUCKET.* or SOURCE.*"),
		Example: "  da admin grants " + verb + " --group finance orders crm.*",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := who.one(cmd); err != nil {
				return err
			}
			return a.change(cmd, v, who, args, force)
		},
	}
	who.define(cmd)
	v.define(cmd, &force)
	return cmd
}

func (a *app) listGrants(ctx context.Context, who subject, dataset string) error {
	return a.asAdmin(ctx, func(c *client.Client) error {
		g, _, err := who.resolve(ctx, c)
		if err != nil {
			return err
		}
		list, err := c.FindGrants(ctx, client.GrantFilter{UserID: g.UserID, GroupID: g.GroupID, Dataset: dataset})
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(orEmpty(list))
		}
		accounts, err := c.Accounts(ctx)
		if err != nil {
			return err
		}
		a.showGrants(list, accounts)
		return nil
	})
}

func (a *app) showGrants(list []client.Grant, accounts []client.Account) {
	emails := map[string]string{}
	for _, u := range accounts {
		emails[u.ID] = u.Email
	}
	t := show.Table{Columns: []string{"user or group", "dataset", "access", "granted", "by"}}
	for _, g := range list {
		who := emails[g.UserID]
		switch {
		case g.GroupName != "":
			who = "group " + g.GroupName
		case g.GroupID != "":
			who = "group " + g.GroupID
		case who == "":
			who = g.UserID
		}
		by := g.GrantedBy
		if emails[by] != "" {
			by = emails[by]
		}
		dataset := g.Dataset
		if g.Dangling {
			dataset += " (there is none)"
		}
		t.Rows = append(t.Rows, cells(who, dataset, g.Access, day(g.GrantedAt, ""), by))
	}
	a.table(t)
}

func (a *app) grantsExplain() *cobra.Command {
	var who subject
	cmd := &cobra.Command{
		Use: "explain [DATASET]", Short: "Tell what a user or a group can read, and why", Args: mayArg("one dataset"),
		Long: `Tell which tables a user can read and by which rule: public, an administrator's
role, a grant, or a group's grant. With a dataset, only about that; the exit code
is 1 where it cannot be read.`,
		Example: "  da admin grants explain --user ann@example.com orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := who.one(cmd); err != nil {
				return err
			}
			only := ""
			if len(args) == 1 {
				only = args[0]
			}
			return a.explain(cmd.Context(), who, only)
		},
	}
	who.define(cmd)
	return cmd
}

func (a *app) explain(ctx context.Context, who subject, only string) error {
	return a.asAdmin(ctx, func(c *client.Client) error {
		tables, name, err := accessOf(ctx, c, who)
		if err != nil {
			return err
		}
		some := []client.TableAccess{}
		for _, t := range tables {
			if only == "" || t.ID == only || t.Source+"."+t.Name == only {
				some = append(some, t)
			}
		}
		if err := a.give(map[string]any{"who": name, "tables": some, "count": len(some)}, func() {
			t := show.Table{Columns: []string{"table", "source", "name", "because"}}
			for _, x := range some {
				t.Rows = append(t.Rows, cells(x.ID, x.Source, x.Name, joined(x.Because)))
			}
			if len(some) > 0 {
				a.table(t)
			}
		}); err != nil {
			return err
		}
		if only != "" && len(some) == 0 {
			a.note("%s cannot read %s.", name, only)
			return errTold
		}
		return nil
	})
}

// accessOf gives what a user can read, or what a group is granted.
func accessOf(ctx context.Context, c *client.Client, who subject) ([]client.TableAccess, string, error) {
	if who.group != "" {
		g, err := c.Group(ctx, who.group)
		if err != nil {
			return nil, "", groupError(ctx, c, who.group, err)
		}
		var tables []client.TableAccess
		for _, p := range g.Permissions {
			tables = append(tables, client.TableAccess{ID: p.Dataset, Because: []string{"grant " + p.Dataset}})
		}
		return tables, "group " + g.Name, nil
	}
	u, err := findAccount(ctx, c, who.user)
	if err != nil {
		return nil, "", err
	}
	access, err := c.ExplainAccess(ctx, u.ID)
	return access.Tables, u.Email, err
}
