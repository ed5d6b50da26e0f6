package standalone

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api"
	"github.com/agnes-platform/agnes/services/standalone/internal/demodata"
)

// Command is the command line of the agnes binary. Without a subcommand it serves. own is the
// command of this same binary, as in api.Config.
func Command(own []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "agnes",
		Short: "Agnes in one process: every service, an embedded bus, one data directory, one port",
		Long: `Agnes in one process: every service, an embedded bus, one data directory, one port.

It is configured by environment variables (agnes env lists them) and by
$CONFIG_DIR/instance.yaml. The first administrator comes from SEED_ADMIN_EMAIL
and SEED_ADMIN_PASSWORD.`,
		Example: `  agnes demo
  SEED_ADMIN_EMAIL=you@example.com SEED_ADMIN_PASSWORD='at least 8 characters' agnes`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       service.ReadBuild().Version,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var cfg Config
			if err := service.LoadEnv(&cfg); err != nil {
				return err
			}
			cfg.Own = own
			ctx := withLogger(cmd.Context(), cmd.ErrOrStderr(), cfg.LogLevel, cfg.LogFormat)
			return Run(ctx, cfg)
		},
	}
	root.AddCommand(demoDataCommand(), demoCommand(own), envCommand())
	return root
}

func withLogger(ctx context.Context, w io.Writer, level, format string) context.Context {
	log := service.NewLogger(w, level, format)
	return log.WithContext(ctx)
}

func envCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "env",
		Short:   "List the environment variables that configure agnes",
		Example: "  agnes env",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, c := range configs() {
				if err := service.Usage(cmd.OutOrStdout(), c.name, c.config); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func demoDataCommand() *cobra.Command {
	var size, dir string
	var seed uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo-data",
		Short: "Write the CSV files of a sample shop, byte-identical per size and seed",
		Long: `Write the CSV files of a sample shop: customers, products, campaigns,
web_sessions, web_leads, orders, order_items, payments and support_tickets.
Causes come before their effects, orders follow seasons and weekdays, and the
same size and seed always give the same bytes. Sizes: xs, s, m and l have about
2 thousand, 20 thousand, 200 thousand and 2 million rows.`,
		Example: "  agnes demo-data --size m --seed 7 --dir ./files",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := demodata.ParseSize(size)
			if err != nil {
				return err
			}
			summary, err := demodata.Write(cmd.Context(), dir, s, seed)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(summary)
			}
			for _, table := range demodata.Tables() {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%-16s %9d rows\n", table, summary.Rows[table])
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%-16s %9d rows, %.1f MB in %s\n", "total", summary.Total, float64(summary.Bytes)/1e6, dir)
			return err
		},
	}
	cmd.Flags().StringVar(&size, "size", "s", "how much: xs, s, m or l")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "equal seeds give equal bytes")
	cmd.Flags().StringVar(&dir, "dir", "demo-data", "folder to write into")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON")
	return cmd
}

// Main runs the command line and gives the exit code: 0, 1 after an error, 2 for wrong usage.
func Main() int {
	for _, p := range api.Processes() {
		if len(os.Args) == 2 && os.Args[1] == p.Name {
			return p.Run()
		}
	}
	ctx, stop := service.SignalContext(context.Background())
	defer stop()
	cmd := Command(api.Own())
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	if err := cmd.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "agnes:", err)
		if _, ok := err.(usageError); ok { //nolint:errorlint // it is never wrapped: cobra returns it as it is
			return 2
		}
		return 1
	}
	return 0
}

type usageError struct{ error }
