// Package cli is the commands of da: their flags, their words and their exit codes.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// Streams are where a command reads and writes.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	Env func(string) string
}

// app is one call of da.
type app struct {
	Streams
	server    string
	workspace string
	json      bool
	// begun: the arguments were understood, and the command itself runs.
	begun bool
	// out is Out, which tells whether anything was written.
	out *tally
}

// Run carries out the command that args name.
func Run(ctx context.Context, s Streams, args []string) error {
	a := &app{Streams: s, out: &tally{w: s.Out}}
	a.Out = a.out
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return nil
	}
	if !a.begun {
		a.json = a.json || slices.Contains(args, "--json") // it may stand behind what was not understood
		if !errors.As(err, new(usageError)) {
			err = usageError{err.Error()}
		}
	}
	a.tell(ctx, err)
	return err
}

// ExitCode is what the process ends with after err.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.As(err, new(usageError)):
		return 2
	}
	return 1
}

// usageError is a call that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// hinted adds what to do next to an error.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// errTold is a failure that was already told in full, on standard output.
var errTold = errors.New("told")

// tell says on standard error what went wrong and what to do next. With --json, a command that had nothing
// to say on standard output says it there too, so that programs always get a document.
func (a *app) tell(ctx context.Context, err error) {
	if errors.Is(err, errTold) {
		return
	}
	f := a.failure(ctx, err)
	a.note("da: %s", f.Message)
	if f.Hint != "" {
		a.note("%s", f.Hint)
	}
	if a.json && !a.out.wrote {
		_ = a.printJSON(map[string]failure{"error": f}) // what cannot be written here was told above
	}
}

// failure is what became of a command that failed.
type failure struct {
	// Kind is that of the fault, or "usage" or "interrupted".
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Status is the HTTP status that the server answered with, where it did.
	Status    int    `json:"status,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	// RetryAfter is when to try again, in seconds, where the server said so.
	RetryAfter int `json:"retry_after,omitempty"`
}

func (a *app) failure(ctx context.Context, err error) failure {
	var u usageError
	if errors.As(err, &u) {
		f := failure{Kind: "usage", Message: u.text}
		if !strings.Contains(u.text, "--help") {
			f.Hint = "Run `da --help`, or any command with --help, for what there is."
		}
		return f
	}
	if ctx.Err() != nil && !strings.HasPrefix(fault.Message(err), "interrupted") {
		return failure{Kind: "interrupted", Message: "interrupted"}
	}
	f := failure{
		Kind: string(fault.KindOf(err)), Message: err.Error(), Hint: a.hint(err), Status: client.StatusCode(err),
		RetryAfter: int(fault.RetryAfter(err).Round(time.Second) / time.Second),
	}
	if errors.As(err, new(*fault.Error)) {
		f.Message = fault.Message(err)
	}
	if status := new(client.StatusError); errors.As(err, &status) {
		f.RequestID = status.RequestID
	}
	return f
}

// hint is what to do about an error.
func (a *app) hint(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.hint
	}
	fromEnv := a.Env(settings.EnvToken) != ""
	switch fault.KindOf(err) {
	case fault.Unauthenticated:
		if fromEnv && client.StatusCode(err) != 0 {
			return "The token in " + settings.EnvToken + " is expired, revoked or of another server: replace it, or unset it and run `da login`."
		}
		return "Sign in with `da login`, or set " + settings.EnvToken + " to a personal access token."
	case fault.Forbidden:
		if scope := missingScope(err); scope != "" {
			return "Sign in with `da login`, or make a token that has it: `da token create --name NAME --scope read --scope " + scope + "`."
		}
		if client.StatusCode(err) == 0 {
			return ""
		}
		return "Ask an administrator for the grant or the role, or sign in as somebody who has it."
	case fault.Unavailable:
		if client.StatusCode(err) == 0 {
			return "Check the address (--server, " + settings.EnvServer + ", `da login --server URL`) and the network; `da diagnose` looks at each step."
		}
		return "Try again in a while; `da status` shows how the server is."
	case fault.Busy:
		if d := fault.RetryAfter(err); d > 0 {
			return fmt.Sprintf("Try again in %s.", d.Round(time.Second))
		}
	case fault.Internal:
		if status := new(client.StatusError); errors.As(err, &status) && status.RequestID != "" {
			return "Tell an administrator the request's id: " + status.RequestID
		}
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.TooLarge, fault.Permanent:
	}
	return ""
}

// missingScope is the scope that a personal access token was refused for; empty where it was not.
func missingScope(err error) string {
	_, rest, found := strings.Cut(fault.Message(err), "lacks the scope ")
	if !found {
		return ""
	}
	scope, _, _ := strings.Cut(rest, ":")
	return strings.TrimSpace(scope)
}

// note writes a line to standard error.
func (a *app) note(format string, args ...any) {
	_, _ = io.WriteString(a.Err, show.Safe(fmt.Sprintf(format+"\n", args...)))
}

// print writes a line to standard output.
func (a *app) print(format string, args ...any) {
	_, _ = io.WriteString(a.Out, show.Safe(fmt.Sprintf(format+"\n", args...)))
}

// tally remembers whether anything was written.
type tally struct {
	w     io.Writer
	wrote bool
}

func (t *tally) Write(p []byte) (int, error) {
	t.wrote = t.wrote || len(p) > 0
	return t.w.Write(p)
}

// printJSON writes a value for machines.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	_, err := a.Out.Write(b.Bytes())
	return err
}

// give writes v for machines with --json, and else calls text.
func (a *app) give(v any, text func()) error {
	if a.json {
		return a.printJSON(v)
	}
	text()
	return nil
}

// isTerminal tells whether a stream is one that a person sits at, and how wide it is.
func isTerminal(stream any) (width int, yes bool) {
	if t, ok := stream.(*tally); ok {
		stream = t.w
	}
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return width, true
}

// find gives the workspace that applies.
func (a *app) find() (*workspace.Workspace, error) {
	dir := a.workspace
	if dir == "" {
		dir = a.Env(settings.EnvWorkspace)
	}
	return workspace.Find(dir)
}

// settings gives what applies to this call.
func (a *app) settings() (*settings.Settings, error) { return settings.Load(a.server, a.Env) }

// connect gives a client that is signed in.
func (a *app) connect(ctx context.Context) (*client.Client, *settings.Settings, error) {
	s, err := a.settings()
	if err != nil {
		return nil, nil, err
	}
	if s.Token == "" {
		return nil, nil, signedOut(s)
	}
	c, err := a.dial(ctx, s)
	return c, s, err
}

func signedOut(s *settings.Settings) error {
	if s.Elsewhere != "" {
		return hinted{
			fault.New(fault.Unauthenticated, "you are not signed in to %s, but to %s", s.Server, s.Elsewhere),
			fmt.Sprintf("Sign in with `da login --server %s`, or ask the other with --server %s.", s.Server, s.Elsewhere),
		}
	}
	return fault.New(fault.Unauthenticated, "you are not signed in to %s", s.Server)
}

// root is the tree of commands.
func (a *app) root() *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "da",
		Short: "Keep a workspace in sync with an Agnes server and ask it with SQL",
		Long: `da copies the tables that are granted to you into a workspace, a folder of
parquet files with a DuckDB database over them, and keeps them up to date.
Queries run on your own machine, offline too; --remote asks the server instead.

Settings: a flag wins over the environment, the environment over the files in
~/.config/da (DA_CONFIG_DIR). The workspace is --workspace, DA_LOCAL_DIR, the
nearest folder upwards that is one, or the present folder.

Exit codes: 0 everything was done, 1 something was not, 2 not understood.`,
		Example: `  da login --server https://agnes.example.com
  da sync
  da query "SELECT status, count(*) FROM orders GROUP BY 1"`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.begun = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return a.version()
			}
			return cmd.Help()
		},
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%s; see `%s --help`", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "address of the server ("+settings.EnvServer+")")
	flags.StringVar(&a.workspace, "workspace", "", "folder of the workspace ("+settings.EnvWorkspace+")")
	flags.BoolVar(&a.json, "json", false, "answer for machines, on standard output")
	root.Flags().BoolVarP(&showVersion, "version", "V", false, "print the version")
	root.AddGroup(
		&cobra.Group{ID: groupData, Title: "Data:"},
		&cobra.Group{ID: groupAccount, Title: "Account:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.AddCommand(
		a.syncCommand(), a.queryCommand(), a.exploreCommand(), a.statusCommand(), a.diagnoseCommand(),
		a.uploadCommand(), a.uploadsCommand(), a.datasetsCommand(), a.requestCommand(), a.requestsCommand(),
		a.loginCommand(), a.logoutCommand(), a.whoamiCommand(), a.tokenCommand(), a.sessionsCommand(), a.passwordCommand(),
		a.adminCommand(), a.versionCommand(), a.authAlias(),
	)
	return root
}

// Groups of commands in the help.
const (
	groupData    = "data"
	groupAccount = "account"
	groupOther   = "other"
)

// noArgs is cobra.NoArgs in our words.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		cmd.SuggestionsMinimumDistance = 2 // as cobra sets it for the root
		return usage("there is no command %q%s; see `%s --help`", cmd.CommandPath()+" "+args[0], orMeant(cmd.SuggestionsFor(args[0])), cmd.CommandPath())
	}
	return usage("%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
}

// oneArg wants one argument; what names it.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s takes %s; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// someArgs wants at least n arguments; what names them.
func someArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usage("%s takes %s; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// twoArgs wants two arguments; what names them.
func twoArgs(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 {
			return usage("%s takes %s; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// mayArg takes one argument or none; what names it.
func mayArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usage("%s takes %s at most; see `%s --help`", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	cmd.AddCommand(commands...)
	return cmd
}
