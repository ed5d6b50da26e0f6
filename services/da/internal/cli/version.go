package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/service"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", GroupID: groupOther, Args: noArgs,
		Example: "  da version --json",
		RunE:    func(*cobra.Command, []string) error { return a.version() },
	}
}

func (a *app) version() error {
	b := service.ReadBuild()
	about := struct {
		Version  string `json:"version"`
		Commit   string `json:"commit"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{b.Version, b.Commit, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	return a.give(about, func() { a.print("da %s", b.Version) })
}
