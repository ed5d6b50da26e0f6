package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

func (a *app) groupsCommand() *cobra.Command {
	return group("groups", "Look after the groups that grants can be given to", `  da admin groups create finance --description "closes the books"
  da admin groups add finance ann@example.com bob@example.com
  da admin grants add --group finance orders`,
		a.groupsList(), a.groupsShow(), a.groupsCreate(), a.groupsRename(), a.groupsDelete(),
		a.groupsEach("add", "Put users into a group", "Added %s to %s.", (*client.Client).AddMember),
		a.groupsEach("remove", "Take users out of a group", "Took %s out of %s.", (*client.Client).RemoveMember))
}

func (a *app) groupsList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the groups", Args: noArgs, Example: "  da admin groups list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				list, err := c.Groups(cmd.Context())
				if err != nil {
					return err
				}
				return a.give(orEmpty(list), func() {
					t := show.Table{Columns: []string{"name", "members", "grants", "description", "id"}, Right: []bool{false, true, true}}
					for _, g := range list {
						t.Rows = append(t.Rows, cells(g.Name, show.Count(int64(g.Members)), show.Count(int64(g.Grants)), g.Description, g.ID))
					}
					a.table(t)
				})
			})
		},
	}
}

func (a *app) groupsShow() *cobra.Command {
	return &cobra.Command{
		Use: "show GROUP", Short: "Show who is in a group, and what it may read", Args: oneArg("the name or id of a group"), Example: "  da admin groups show finance",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				g, err := c.Group(cmd.Context(), args[0])
				if err != nil {
					return groupError(cmd.Context(), c, args[0], err)
				}
				return a.give(g, func() {
					a.print("%s  %s", g.Name, g.Description)
					a.print("Id:     %s", g.ID)
					a.print("Users:  %s", show.Count(int64(len(g.Users))))
					for _, u := range g.Users {
						a.print("  %s", u.Email)
					}
					a.print("Grants: %s", show.Count(int64(len(g.Permissions))))
					for _, p := range g.Permissions {
						a.print("  %s", p.Dataset)
					}
				})
			})
		},
	}
}

func (a *app) groupsCreate() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a group", Args: oneArg("a name"), Example: `  da admin groups create finance --description "closes the books"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				g, err := c.CreateGroup(cmd.Context(), args[0], description)
				if err != nil {
					return err
				}
				return a.give(g, func() { a.print("Made the group %s.", g.Name) })
			})
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "who belongs to it")
	return cmd
}

func (a *app) groupsRename() *cobra.Command {
	var description string
	cmd := &cobra.Command{
		Use: "rename GROUP NAME", Short: "Call a group something else", Args: twoArgs("a group and its new name"), Example: "  da admin groups rename finance accounting",
		RunE: func(cmd *cobra.Command, args []string) error {
			change := client.GroupChange{Name: &args[1]}
			if cmd.Flags().Changed("description") {
				change.Description = &description
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				g, err := c.ChangeGroup(cmd.Context(), args[0], change)
				if err != nil {
					return groupError(cmd.Context(), c, args[0], err)
				}
				return a.give(g, func() { a.print("%s is now %s.", args[0], g.Name) })
			})
		},
	}
	cmd.Flags().StringVar(&description, "description", "", "who belongs to it")
	return cmd
}

func (a *app) groupsDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete GROUP", Short: "Delete a group and its grants", Args: oneArg("the name or id of a group"), Example: "  da admin groups delete finance",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				if err := c.DeleteGroup(cmd.Context(), args[0]); err != nil {
					return groupError(cmd.Context(), c, args[0], err)
				}
				return a.give(map[string]string{"deleted": args[0]}, func() { a.print("Deleted the group %s.", args[0]) })
			})
		},
	}
}

// groupsEach does one thing to each user that is named; all are looked up before anything changes.
func (a *app) groupsEach(verb, short, done string, do func(*client.Client, context.Context, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " GROUP USER…", Short: short, Args: someArgs(2, "a group and at least one user"), Example: "  da admin groups " + verb + " finance ann@example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				people := []client.Account{}
				for _, which := range args[1:] {
					u, err := findAccount(cmd.Context(), c, which)
					if err != nil {
						return err
					}
					people = append(people, u)
				}
				emails := []string{}
				for _, u := range people {
					if err := do(c, cmd.Context(), args[0], u.ID); err != nil {
						return groupError(cmd.Context(), c, args[0], err)
					}
					emails = append(emails, u.Email)
				}
				return a.give(map[string]any{"group": args[0], "users": emails}, func() {
					for _, e := range emails {
						a.print(done, e, args[0])
					}
				})
			})
		},
	}
}
