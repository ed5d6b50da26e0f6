// Package service holds what every Agnes binary does alike: reading its configuration from the
// environment and from instance.yaml, logging, signals, the connection to the bus and the health
// endpoint. A main is a dozen lines because of it.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/kelseyhightower/envconfig"
	"github.com/rs/zerolog"
)

// Subcommand is something else that a service's binary does, where it is called with Name alone: for
// processes that the service starts, not for people, so that --help does not list it. Nothing is read
// from the environment for it.
type Subcommand struct {
	Name string
	// Run gives the exit code.
	Run func() int
}

// Main runs one service until it ends, or until SIGINT or SIGTERM cancels its context; a second
// signal ends the process at once. It is the only place that exits the process: 0 after a clean
// stop, 1 after an error, 2 for a configuration or an argument that cannot be used.
func Main[C any](name string, run func(context.Context, C) error, subcommands ...Subcommand) {
	os.Exit(start(name, os.Args[1:], os.Stdout, os.Stderr, run, subcommands...))
}

func start[C any](name string, args []string, stdout, stderr io.Writer, run func(context.Context, C) error, subcommands ...Subcommand) int {
	var cfg C
	if len(args) > 0 {
		for _, s := range subcommands {
			if len(args) == 1 && args[0] == s.Name {
				return s.Run()
			}
		}
		switch args[0] {
		case "--version", "-v", "version":
			_, _ = fmt.Fprintln(stdout, name, ReadBuild().Version)
			return 0
		case "healthcheck":
			return healthcheck(stderr, name)
		case "--help", "-h", "help":
			_ = Usage(stdout, name, &cfg)
			return 0
		}
		_, _ = fmt.Fprintf(stderr, "%s: unknown argument %q; it is configured by environment variables, see %s --help\n", name, args[0], name)
		return 2
	}
	if _, err := ApplyOverlay(cmp.Or(os.Getenv("DATA_DIR"), "./data")); err != nil {
		// A service that may not read the secrets of others goes on without them.
		_, _ = fmt.Fprintf(stderr, "%s: %v; going on without it\n", name, err)
	}
	if err := LoadEnv(&cfg); err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v; see %s --help\n", name, err, name)
		return 2
	}
	log := NewLogger(stderr, os.Getenv("LOG_LEVEL"), os.Getenv("LOG_FORMAT")).With().Str(FieldService, name).Logger()
	ctx, stop := SignalContext(log.WithContext(context.Background()))
	defer stop()
	log.Info().Str("version", ReadBuild().Version).Msg("starting")
	if err := run(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
		log.Error().Err(err).Msg("stopped by an error")
		return 1
	}
	log.Info().Msg("stopped")
	return 0
}

// SignalContext is cancelled by the first SIGINT or SIGTERM; a second one ends the process.
func SignalContext(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			cancel()
		}
		<-signals
		os.Exit(130)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}

// LoadEnv fills cfg, a pointer to a struct with envconfig tags, from the environment.
func LoadEnv(cfg any) error {
	if err := envconfig.Process("", cfg); err != nil {
		var parse *envconfig.ParseError
		if errors.As(err, &parse) {
			return fmt.Errorf("environment variable %s has a value that is not a %s: %w", parse.KeyName, parse.TypeName, parse.Err)
		}
		return fmt.Errorf("read the environment: %w", err)
	}
	return nil
}

const usageRows = `{{range .}}  {{usage_key .}}	{{usage_default .}}	{{usage_description .}}
{{end}}`

// Usage prints which environment variables configure the service, with their defaults.
func Usage(w io.Writer, name string, cfg any) error {
	_, _ = fmt.Fprintf(w, "%s is configured by environment variables and $CONFIG_DIR/instance.yaml.\n\n  VARIABLE\tDEFAULT\tMEANING\n", name)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if err := envconfig.Usagef("", cfg, table, usageRows); err != nil {
		return fmt.Errorf("print usage: %w", err)
	}
	return table.Flush()
}

// NewLogger writes JSON lines, or readable lines where format is "console" or w is a terminal.
// An unknown level means info.
func NewLogger(w io.Writer, level, format string) zerolog.Logger {
	lvl, err := zerolog.ParseLevel(strings.ToLower(level))
	if err != nil || level == "" {
		lvl = zerolog.InfoLevel
	}
	if format == "console" || (format == "" && isTerminal(w)) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(w).Level(lvl).With().Timestamp().Logger()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
