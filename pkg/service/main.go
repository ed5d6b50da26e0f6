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

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Subcommand is something else that a service's binary does, where its first argument is Name.
type Subcommand struct {
	Name string
	// Run gives the exit code. It is for processes that the service starts, not for people: it takes no
	// arguments, --help does not list it, and nothing is read from the environment for it.
	Run func() int

	short string // of one for people, which Command makes
	do    func(c call) int
}

// call is one call of a subcommand.
type call struct {
	service        string
	args           []string
	stdout, stderr io.Writer
}

// Command is a subcommand for people, which --help lists with short. It is given the configuration that
// the service has, the arguments behind its name, and where to write. Its error is printed, and the exit
// code is then 1, or 2 for a UsageError.
func Command[C any](name, short string, do func(ctx context.Context, cfg C, args []string, out io.Writer) error) Subcommand {
	return Subcommand{Name: name, short: short, do: func(c call) int {
		whole := c.service + " " + name
		return configured(whole, c.stderr, func(ctx context.Context, cfg C) int {
			err := do(ctx, cfg, c.args, c.stdout)
			var usage UsageError
			switch {
			case err == nil:
				return 0
			case errors.As(err, &usage):
				_, _ = fmt.Fprintf(c.stderr, "%s: %s; see %s --help\n", whole, usage.Text, whole)
				return 2
			case errors.As(err, new(*fault.Error)):
				_, _ = fmt.Fprintf(c.stderr, "%s: %s\n", whole, fault.Message(err))
			default:
				_, _ = fmt.Fprintf(c.stderr, "%s: %v\n", whole, err)
			}
			return 1
		})
	}}
}

// UsageError is a call of a Command that cannot be understood.
type UsageError struct{ Text string }

func (e UsageError) Error() string { return e.Text }

// Main runs one service until it ends, or until SIGINT or SIGTERM cancels its context; a second
// signal ends the process at once. It is the only place that exits the process: 0 after a clean
// stop, 1 after an error, 2 for a configuration or an argument that cannot be used.
func Main[C any](name string, run func(context.Context, C) error, subcommands ...Subcommand) {
	os.Exit(start(name, os.Args[1:], os.Stdout, os.Stderr, run, subcommands...))
}

func start[C any](name string, args []string, stdout, stderr io.Writer, run func(context.Context, C) error, subcommands ...Subcommand) int {
	if len(args) > 0 {
		for _, s := range subcommands {
			switch {
			case args[0] != s.Name:
			case s.do != nil:
				return s.do(call{service: name, args: args[1:], stdout: stdout, stderr: stderr})
			case len(args) == 1:
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
			var cfg C
			_ = Usage(stdout, name, &cfg)
			for _, s := range subcommands {
				if s.short != "" {
					_, _ = fmt.Fprintf(stdout, "\n%s %s: %s\n", name, s.Name, s.short)
				}
			}
			return 0
		}
		_, _ = fmt.Fprintf(stderr, "%s: unknown argument %q; it is configured by environment variables, see %s --help\n", name, args[0], name)
		return 2
	}
	return configured(name, stderr, func(ctx context.Context, cfg C) int {
		log := zerolog.Ctx(ctx)
		log.Info().Str("version", ReadBuild().Version).Msg("starting")
		if err := run(ctx, cfg); err != nil && !errors.Is(err, context.Canceled) {
			log.Error().Err(err).Msg("stopped by an error")
			return 1
		}
		log.Info().Msg("stopped")
		return 0
	})
}

// configured reads the configuration and calls do, whose context ends with the first signal. The exit code
// is that of do, or 2 for a configuration that cannot be used.
func configured[C any](name string, stderr io.Writer, do func(ctx context.Context, cfg C) int) int {
	if _, err := ApplyOverlay(cmp.Or(os.Getenv("DATA_DIR"), "./data")); err != nil {
		// A service that may not read the secrets of others goes on without them.
		_, _ = fmt.Fprintf(stderr, "%s: %v; going on without it\n", name, err)
	}
	var cfg C
	if err := LoadEnv(&cfg); err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v; see %s --help\n", name, err, name)
		return 2
	}
	log := NewLogger(stderr, os.Getenv("LOG_LEVEL"), os.Getenv("LOG_FORMAT")).With().Str(FieldService, name).Logger()
	ctx, stop := SignalContext(log.WithContext(context.Background()))
	defer stop()
	return do(ctx, cfg)
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
