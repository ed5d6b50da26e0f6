package cli

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// loginFlags are what login was told.
type loginFlags struct {
	email, password, token           string
	passwordStdin, device, noBrowser bool
}

func (a *app) loginCommand() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in to a server", GroupID: groupAccount, Args: noArgs,
		Long: `Sign in and remember the server and the credential for this user alone. Nothing
is remembered unless the server accepts it.

At a terminal, da shows a page and a code; you agree in a browser, on this or
any other machine (--no-browser, or DA_NO_BROWSER, opens none here). Where there
is no browser, give --email, which asks for the password, or --token. A session
is renewed by itself while it is used.

What stands on a command line can be read by others on the machine: give the
password at the prompt or with --password-stdin, and the token with --token -,
which reads it from standard input too.`,
		Example: `  da login --server https://agnes.example.com
  da login --email ann@example.com --password-stdin < password.txt
  da login --token - < token.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.login(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.email, "email", "", "e-mail address")
	flags.BoolVar(&f.passwordStdin, "password-stdin", false, "read the password from standard input")
	flags.BoolVar(&f.device, "device", false, "sign in by a code in a browser, as at a terminal without other flags")
	flags.BoolVar(&f.noBrowser, "no-browser", false, "open no browser: the page is only shown ("+settings.EnvNoBrowser+")")
	flags.StringVar(&f.token, "token", "", "personal access token; - reads it from standard input")
	flags.StringVar(&f.password, "password", "", "")
	_ = flags.MarkHidden("password") // the predecessor had it; it works, with a warning
	return cmd
}

func (a *app) login(ctx context.Context, f loginFlags) error {
	switch {
	case f.token != "" && (f.email != "" || f.password != "" || f.passwordStdin):
		return usage("use either --token, or --email with a password")
	case f.device && (f.token != "" || f.email != "" || f.password != "" || f.passwordStdin):
		return usage("use either --device, or --email with a password, or --token")
	case f.password != "" && f.passwordStdin:
		return usage("use either --password-stdin or the prompt for the password")
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	found, err := a.signIn(ctx, s, f)
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

// signIn chooses the way in: what was asked for, and else the browser where somebody sits at a terminal.
func (a *app) signIn(ctx context.Context, s *settings.Settings, f loginFlags) (settings.Credential, error) {
	if f.token != "" {
		return a.loginWithToken(ctx, s, f.token)
	}
	_, in := isTerminal(a.In)
	_, out := isTerminal(a.Err)
	if !f.device && (!in || !out || f.email != "" || f.password != "" || f.passwordStdin) {
		return a.loginWithPassword(ctx, s, f)
	}
	session, err := a.loginInBrowser(ctx, s, f)
	if client.StatusCode(err) == http.StatusNotFound {
		if f.device {
			return settings.Credential{}, hinted{
				fault.New(fault.NotFound, "%s has no sign-in in the browser", s.Server),
				"Sign in with `da login --email ADDRESS`, or with a token: `da login --token -`.",
			}
		}
		a.note("%s has no sign-in in the browser: sign in with your password.", s.Server)
		return a.loginWithPassword(ctx, s, f)
	}
	return credentialOf(session), err
}

func credentialOf(session client.Session) settings.Credential {
	return settings.Credential{
		AccessToken: session.AccessToken, Email: session.Email, Role: session.Role, IssuedAt: time.Now().UTC(), ExpiresAt: session.ExpiresAt,
	}
}

func (a *app) loginWithToken(ctx context.Context, s *settings.Settings, token string) (settings.Credential, error) {
	if token != "-" {
		a.note("A token on the command line can be read by others on this machine: use --token -.")
	} else {
		_, atTerminal := isTerminal(a.In)
		line, err := a.secret("Token: ", !atTerminal, "--token -")
		if err != nil {
			return settings.Credential{}, err
		}
		token = line
	}
	s.Token = strings.TrimSpace(token)
	if s.Token == "" {
		return settings.Credential{}, usage("the token is empty")
	}
	c, err := client.New(options(s))
	if err != nil {
		return settings.Credential{}, err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if fault.Is(err, fault.Unauthenticated) {
		return settings.Credential{}, hinted{err, "The token was not remembered. Make a new one with `da token create` or on the server's page /account."}
	}
	return settings.Credential{AccessToken: s.Token, Email: me.Email, Role: me.Role}, err
}

func (a *app) loginWithPassword(ctx context.Context, s *settings.Settings, f loginFlags) (settings.Credential, error) {
	email, password, err := a.askWho(f)
	if err != nil {
		return settings.Credential{}, err
	}
	s.Token = ""
	c, err := client.New(options(s))
	if err != nil {
		return settings.Credential{}, err
	}
	defer c.Close()
	session, err := c.Login(ctx, email, password)
	if fault.Is(err, fault.Unauthenticated) {
		return settings.Credential{}, hinted{err, "Check e-mail and password. An account without a password signs in with a token: `da login --token -`."}
	}
	return credentialOf(session), err
}

// askWho completes e-mail and password at a prompt, where there is somebody to ask.
func (a *app) askWho(f loginFlags) (email, password string, err error) {
	_, asking := isTerminal(a.In)
	email = f.email
	if email == "" {
		if !asking || f.passwordStdin {
			return "", "", usage("login needs --email where nobody can be asked, or --token, or --device")
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
	password, err = a.secret("Password: ", false, "--password-stdin")
	return email, password, err
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
