package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// loginFlags are what login was told.
type loginFlags struct {
	email, password, token string
	passwordStdin          bool
}

func (a *app) loginCommand() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in to a server", GroupID: groupAccount, Args: noArgs,
		Long: `Sign in with e-mail and password, or with a personal access token, and remember
the server and the credential for this user alone. Nothing is remembered unless
the server accepts it.

What stands on a command line can be read by others on the machine: give the
password at the prompt or with --password-stdin, and the token with --token -,
which reads it from standard input too.`,
		Example: `  da login --server https://agnes.example.com --email ann@example.com
  da login --token - < token.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.login(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.email, "email", "", "e-mail address")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false, "read the password from standard input")
	flags.StringVar(&f.token, "token", "", "personal access token; - reads it from standard input")
	flags.StringVar(&f.password, "password", "", "")
	_ = flags.MarkHidden("password") // the predecessor had it; it works, with a warning
	return cmd
}

func (a *app) login(ctx context.Context, f loginFlags) error {
	switch {
	case f.token != "" && (f.email != "" || f.password != "" || f.passwordStdin):
		return usage("use either --token, or --email with a password")
	case f.password != "" && f.passwordStdin:
		return usage("use either --password-stdin or the prompt for the password")
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	var found settings.Credential
	if f.token != "" {
		found, err = a.loginWithToken(ctx, s, f.token)
	} else {
		found, err = a.loginWithPassword(ctx, s, f)
	}
	if err != nil {
		return err
	}
	found.Server = s.Server
	if err := s.SaveCredential(found); err != nil {
		return err
	}
	if s.ServerFrom != settings.FromFile {
		if err := s.SaveServer(s.Server); err != nil {
			return err
		}
	}
	if a.Env(settings.EnvToken) != "" {
		a.note("%s is set and wins over this sign-in until you unset it.", settings.EnvToken)
	}
	return a.give(map[string]string{"server": s.Server, "email": found.Email, "role": found.Role}, func() {
		a.print("Signed in to %s as %s (%s).", s.Server, found.Email, found.Role)
	})
}

func (a *app) loginWithToken(ctx context.Context, s *settings.Settings, token string) (settings.Credential, error) {
	if token == "-" {
		line, err := a.readLine()
		if err != nil {
			return settings.Credential{}, err
		}
		token = line
	}
	s.Token = strings.TrimSpace(token)
	if s.Token == "" {
		return settings.Credential{}, usage("the token is empty")
	}
	c, err := dial(s)
	if err != nil {
		return settings.Credential{}, err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if fault.Is(err, fault.Unauthenticated) {
		return settings.Credential{}, hinted{err, "The token was not remembered. Make a new one with `da token create` or on the server's page /tokens."}
	}
	return settings.Credential{AccessToken: s.Token, Email: me.Email, Role: me.Role}, err
}

func (a *app) loginWithPassword(ctx context.Context, s *settings.Settings, f loginFlags) (settings.Credential, error) {
	email, password, err := a.askWho(f)
	if err != nil {
		return settings.Credential{}, err
	}
	s.Token = ""
	c, err := dial(s)
	if err != nil {
		return settings.Credential{}, err
	}
	defer c.Close()
	session, err := c.Login(ctx, email, password)
	if fault.Is(err, fault.Unauthenticated) {
		return settings.Credential{}, hinted{err, "Check e-mail and password. An account without a password signs in with a token: `da login --token -`."}
	}
	return settings.Credential{AccessToken: session.AccessToken, Email: session.Email, Role: session.Role}, err
}

// askWho completes e-mail and password at a prompt, where there is somebody to ask.
func (a *app) askWho(f loginFlags) (email, password string, err error) {
	in, asking := a.In.(*os.File)
	if _, yes := isTerminal(a.In); !yes {
		asking = false
	}
	email = f.email
	if email == "" {
		if !asking || f.passwordStdin {
			return "", "", usage("login needs --email where nobody can be asked, or --token")
		}
		_, _ = io.WriteString(a.Err, "E-mail: ")
		if email, err = a.readLine(); err != nil {
			return "", "", err
		}
	}
	switch {
	case f.password != "":
		a.note("A password on the command line can be read by others on this machine: use --password-stdin.")
		return email, f.password, nil
	case f.passwordStdin:
		password, err = a.readLine()
		return email, password, err
	case !asking:
		return "", "", usage("login needs --password-stdin where nobody can be asked")
	}
	_, _ = io.WriteString(a.Err, "Password: ")
	raw, err := term.ReadPassword(int(in.Fd()))
	_, _ = io.WriteString(a.Err, "\n")
	if err != nil {
		return "", "", fault.Wrap(err, fault.Invalid, "the password cannot be read")
	}
	return email, string(raw), nil
}

// readLine reads the first line of standard input.
func (a *app) readLine() (string, error) {
	line, err := bufio.NewReader(io.LimitReader(a.In, 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fault.Wrap(err, fault.Invalid, "standard input cannot be read")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Sign out", GroupID: groupAccount, Args: noArgs,
		Long: `End the session on the server and forget the credential. A personal access token
is only forgotten: it stays valid until it is revoked with ` + "`da token revoke`" + `.`,
		Example: "  da logout",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.logout(cmd.Context()) },
	}
}

func (a *app) logout(ctx context.Context) error {
	s, loadErr := a.settings()
	var endErr error
	if loadErr == nil && s.TokenFrom == settings.FromFile {
		endErr = endSession(ctx, s)
	}
	was, err := settings.DropCredential(a.Env) // damaged files must not keep anybody signed in
	if err != nil {
		return err
	}
	if a.Env(settings.EnvToken) != "" {
		a.note("%s is still set: da goes on using it until you unset it.", settings.EnvToken)
	}
	if endErr != nil {
		return hinted{
			fault.Wrap(endErr, fault.KindOf(endErr), "the credential is forgotten here, but the server could not be told: %s", fault.Message(endErr)),
			"The session ends by itself when it expires.",
		}
	}
	return a.give(map[string]bool{"signed_out": was}, func() {
		if was {
			a.print("Signed out.")
			return
		}
		a.print("You were not signed in.")
	})
}

// endSession ends the session on the server. A token that the server no longer knows has ended.
func endSession(ctx context.Context, s *settings.Settings) error {
	s.Retries = -1
	c, err := dial(s)
	if err != nil {
		return err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if err == nil && me.Credential.Kind == "session" {
		err = c.Logout(ctx)
	}
	if fault.Is(err, fault.Unauthenticated) {
		return nil
	}
	return err
}

func (a *app) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who you are signed in as", GroupID: groupAccount, Args: noArgs,
		Long:    "Ask the server who the credential belongs to, and until when it is good.",
		Example: "  da whoami --json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.whoami(cmd.Context()) },
	}
}

func (a *app) whoami(ctx context.Context) error {
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	return a.give(struct {
		client.Me
		Server    string `json:"server"`
		TokenFrom string `json:"token_from"`
	}{me, s.Server, s.TokenFrom}, func() {
		a.print("Email:   %s", me.Email)
		a.print("Role:    %s", me.Role)
		a.print("Server:  %s", s.Server)
		a.print("Signed in by %s", credential(me.Credential, s.TokenFrom))
	})
}

// credential describes what somebody is signed in with.
func credential(c client.Credential, from string) string {
	text := "a session"
	if c.Kind == "pat" {
		text = "a personal access token"
	}
	if from == settings.FromEnv {
		text += " in " + settings.EnvToken
	}
	if c.ExpiresAt == nil {
		return text + ", without an end"
	}
	return text + ", until " + c.ExpiresAt.Local().Format("2006-01-02 15:04") + left(*c.ExpiresAt)
}

// left tells how long that is, where it is soon.
func left(until time.Time) string {
	switch d := time.Until(until); {
	case d <= 0, d > 48*time.Hour:
		return ""
	case d < time.Hour:
		return " (" + show.Plural(int(d/time.Minute), "minute") + " left)"
	default:
		return " (" + show.Plural(int(d/time.Hour), "hour") + " left)"
	}
}
