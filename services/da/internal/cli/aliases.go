package cli

import (
	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// authAlias keeps the predecessor's `da auth …` working.
func (a *app) authAlias() *cobra.Command {
	cmd := group("auth", "The predecessor's names of login, logout, whoami and token", "  da auth login",
		bare(a.loginCommand()), bare(a.logoutCommand()), bare(a.whoamiCommand()), bare(a.tokenCommand()), a.importToken())
	cmd.Hidden = true
	return cmd
}

// bare takes a command out of its group, which only the root has.
func bare(cmd *cobra.Command) *cobra.Command {
	cmd.GroupID = ""
	return cmd
}

// importToken is the predecessor's name of `login --token`. Who the token belongs to is asked of the server,
// so that its other flags say nothing any more; scripts may still give them.
func (a *app) importToken() *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use: "import-token", Short: "Sign in with a personal access token", Args: noArgs, Example: "  da auth import-token --token - < token.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if token == "" {
				return usage("import-token needs --token; - reads it from standard input")
			}
			return a.login(cmd.Context(), loginFlags{token: token})
		},
	}
	cmd.Flags().StringVar(&token, "token", "", "personal access token; - reads it from standard input")
	ignore(cmd, "email", "role")
	cmd.Flags().Bool("skip-verify", false, "")
	_ = cmd.Flags().MarkHidden("skip-verify")
	return cmd
}

// ignore takes flags that the predecessor had, and that have nothing to say any more.
func ignore(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		cmd.Flags().String(name, "", "")
		_ = cmd.Flags().MarkHidden(name)
	}
}

// registerTable is the predecessor's name of `register`: what is registered already is no failure.
func (a *app) registerTable() *cobra.Command {
	cmd := renamed(a.registerCommand(), "register-table NAME")
	register := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := register(cmd, args)
		if !fault.Is(err, fault.Conflict) || client.StatusCode(err) != 409 {
			return err
		}
		return a.give(map[string]string{"name": args[0], "status": "exists"}, func() { a.print("%s", fault.Message(err)) })
	}
	return cmd
}

// discoverAndRegister is the predecessor's name of `discover --register`, and of `discover` with --dry-run.
// The server has the address and the token of the source, and asks it.
func (a *app) discoverAndRegister() *cobra.Command {
	cmd := renamed(a.discoverCommand(), "discover-and-register [SOURCE]")
	if err := cmd.Flags().Set("register", "true"); err != nil {
		panic(err) // discover has the flag
	}
	var dry bool
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what there is")
	ignore(cmd, "source-type", "token", "url")
	discover := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dry {
			if err := cmd.Flags().Set("register", "false"); err != nil {
				return err
			}
		}
		if cmd.Flags().Changed("token") || cmd.Flags().Changed("url") {
			a.note("The server asks the source itself: set its address and token by `da admin configure`.")
		}
		return discover(cmd, args)
	}
	return cmd
}

// renamed keeps a predecessor's name of a command working.
func renamed(cmd *cobra.Command, use string) *cobra.Command {
	cmd.Use = use
	cmd.Hidden = true
	return cmd
}
