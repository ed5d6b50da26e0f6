package cli

import "github.com/spf13/cobra"

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

func (a *app) importToken() *cobra.Command {
	cmd := bare(a.loginCommand())
	cmd.Use = "import-token"
	cmd.Example = "  da auth import-token --token - < token.txt"
	return cmd
}

// renamed keeps a predecessor's name of a command working.
func renamed(cmd *cobra.Command, use string) *cobra.Command {
	cmd.Use = use
	cmd.Hidden = true
	return cmd
}
