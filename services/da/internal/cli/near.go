package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// unknown is the error about a thing that is not there: with what was likely meant out of have, and with
// the command that lists what there is.
func unknown(noun, name string, have []string, list string) error {
	return fault.New(fault.NotFound, "there is no %s %q%s; `%s` shows them", noun, name, orMeant(catalog.Near(name, have)), list)
}

// orMeant asks whether one of those was meant, which are likely; nothing where there are none.
func orMeant(likely []string) string {
	if len(likely) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(likely, " or ") + "?"
}

// groupError says more about an error where it comes from a group that is not there.
func groupError(ctx context.Context, c *client.Client, name string, err error) error {
	if client.StatusCode(err) != 404 {
		return err
	}
	groups, listErr := c.Groups(ctx)
	if listErr != nil {
		return err
	}
	names := make([]string, 0, len(groups))
	for _, g := range groups {
		if g.ID == name || strings.EqualFold(g.Name, name) {
			return err // the group is there: something else is not
		}
		names = append(names, g.Name)
	}
	return unknown("group", name, names, "da admin groups list")
}

// tableError says more about an error where it comes from a table that is not registered.
func tableError(ctx context.Context, c *client.Client, id string, err error) error {
	if client.StatusCode(err) != 404 {
		return err
	}
	registered, listErr := c.Registry(ctx)
	if listErr != nil {
		return err
	}
	ids := make([]string, 0, len(registered))
	for _, r := range registered {
		if r.ID == id {
			return err
		}
		ids = append(ids, r.ID)
	}
	return unknown("registered table", id, ids, "da admin list")
}

// forced adds to an error that refuses a grant of something unknown how to grant it all the same.
func forced(err error, command string) error {
	if client.StatusCode(err) != 404 || !strings.Contains(fault.Message(err), "\"force\"") {
		return err
	}
	said, _, _ := strings.Cut(fault.Message(err), " To grant what does not exist yet")
	return hinted{fault.Wrap(err, fault.NotFound, "%s", said), fmt.Sprintf("To grant what does not exist yet, add --force: `%s --force …`.", command)}
}
