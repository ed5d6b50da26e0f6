// Command da keeps a workspace in sync with an Agnes server and asks it with SQL.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/agnes-platform/agnes/services/da"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := da.Run(ctx, da.Config{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv})
	stop()
	os.Exit(da.ExitCode(err))
}
