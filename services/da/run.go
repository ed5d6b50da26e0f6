// Package da is the command line of analysts and administrators: it keeps a workspace equal
// to what the server grants, and asks it with SQL, with or without a server.
package da

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/agnes-platform/agnes/services/da/internal/cli"
)

// Config is the surroundings of one call.
type Config struct {
	// Args are the arguments, without the program's name.
	Args   []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Env looks up an environment variable.
	Env func(name string) string
}

// Main carries out the command of this process, until it is done or a signal ends it, and gives the
// exit code. A second signal ends the process at once.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return ExitCode(Run(ctx, Config{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv}))
}

// Run carries out one command. What goes wrong is told on Stderr, with what to do next; the error is
// for ExitCode.
func Run(ctx context.Context, cfg Config) error {
	return cli.Run(ctx, cli.Streams{In: cfg.Stdin, Out: cfg.Stdout, Err: cfg.Stderr, Env: cfg.Env}, cfg.Args)
}

// ExitCode is 0 where everything was done, 2 where the command was called in a way that cannot be
// understood, and 1 for every other failure, a partial one included.
func ExitCode(err error) int { return cli.ExitCode(err) }
