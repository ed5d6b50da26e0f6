package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
)

// envKeboolaToken is where the token of Keboola may come from, as on the server.
const envKeboolaToken = "KEBOOLA_STORAGE_TOKEN" //nolint:gosec // the name of a variable

func (a *app) configureCommand() *cobra.Command {
	return group("configure", "Configure where the server gets its data from", `  da admin configure show
  da admin configure keboola --url https://connection.keboola.com --token-stdin < token.txt
  da admin configure bigquery --project example-project --dry-run`,
		a.configureShow(), a.configureKeboola(), a.configureBigQuery(), a.configureLocal())
}

func (a *app) configureShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show what is configured; secrets are only told to be set", Args: noArgs, Example: "  da admin configure show --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				current, err := c.Configuration(cmd.Context())
				if err != nil {
					return err
				}
				return a.give(current, func() {
					for _, name := range slices.Sorted(maps.Keys(current)) {
						a.print("%-30s %s", name, current[name])
					}
				})
			})
		},
	}
}

// common are the flags of every source.
func common(cmd *cobra.Command, s *client.Setup) *cobra.Command {
	cmd.Args = noArgs
	cmd.Flags().StringVar(&s.InstanceName, "instance-name", "", "what to call this installation")
	cmd.Flags().StringVar(&s.AllowedDomain, "allowed-domain", "", "domains whose people may sign up, separated by commas")
	cmd.Flags().BoolVar(&s.DryRun, "dry-run", false, "test, and change nothing")
	return cmd
}

func (a *app) configureKeboola() *cobra.Command {
	s := client.Setup{DataSource: "keboola"}
	var stdin bool
	cmd := &cobra.Command{
		Use: "keboola", Short: "Get data from Keboola",
		Long: `Have the server test the token and the address, and use them. The token is asked
for, read from standard input (--token-stdin), or taken from ` + envKeboolaToken + `;
it never stands on the command line.`,
		Example: "  da admin configure keboola --url https://connection.keboola.com --token-stdin < token.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.KeboolaURL == "" {
				return usage("keboola needs --url, such as https://connection.keboola.com")
			}
			var err error
			if s.KeboolaToken = a.Env(envKeboolaToken); stdin || s.KeboolaToken == "" {
				if s.KeboolaToken, err = a.secret("Storage token: ", stdin, "--token-stdin or "+envKeboolaToken); err != nil {
					return err
				}
			}
			if s.KeboolaToken == "" {
				return usage("the token is empty")
			}
			return a.configure(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&s.KeboolaURL, "url", "", "address of the stack")
	cmd.Flags().BoolVar(&stdin, "token-stdin", false, "read the token from standard input")
	return common(cmd, &s)
}

func (a *app) configureBigQuery() *cobra.Command {
	s := client.Setup{DataSource: "bigquery"}
	cmd := &cobra.Command{
		Use: "bigquery", Short: "Get data from BigQuery", Example: "  da admin configure bigquery --project example-project --location EU",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.BigQueryProject == "" {
				return usage("bigquery needs --project")
			}
			return a.configure(cmd.Context(), s)
		},
	}
	cmd.Flags().StringVar(&s.BigQueryProject, "project", "", "the project that pays")
	cmd.Flags().StringVar(&s.BigQueryLocation, "location", "", "where the data is, such as EU")
	return common(cmd, &s)
}

func (a *app) configureLocal() *cobra.Command {
	s := client.Setup{DataSource: "local"}
	return common(&cobra.Command{
		Use: "local", Short: "Get data from files on the server", Example: "  da admin configure local --instance-name Example",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.configure(cmd.Context(), s) },
	}, &s)
}

func (a *app) configure(ctx context.Context, s client.Setup) error {
	return a.asAdmin(ctx, func(c *client.Client) error {
		r, err := c.Configure(ctx, s)
		if err != nil {
			return hinted{err, "Nothing was changed."}
		}
		return a.give(r, func() {
			a.print("%s: %s", r.DataSource, r.Connection)
			for _, t := range r.Tested {
				a.print("  %s", t)
			}
			switch {
			case s.DryRun:
				a.print("Nothing was changed (--dry-run).")
			case len(r.Changed) > 0:
				a.print("Changed: %s", joined(r.Changed))
			default:
				a.print("All of it stood so already.")
			}
			if len(r.Restart) > 0 {
				a.print("To be started again, to take it over: %s", joined(r.Restart))
			}
		})
	})
}
