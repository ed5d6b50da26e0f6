package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	passwordPath = "/login/password"
	emailPath    = "/login/email"
)

// accountKey is what requests for an e-mail address are counted under.
func accountKey(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// loginData is what the sign-in pages show.
type loginData struct {
	Ways        Ways
	Next, Email string
	// NextQuery is the query string that carries Next to another page; empty for none.
	NextQuery string
}

// newPasswordData is what the pages of a reset or setup link show.
type newPasswordData struct {
	Action, Email, Token string
	Setup                bool
	Name                 string
}

// passwordPages are signing in with a password, and choosing one by a mailed link.
func (s *Server) passwordPages() {
	open := door{gate: Public}
	s.pageRoute(open, loginPath, s.loginPage)
	s.pageRoute(open, passwordPath, s.passwordPage)
	s.formRoute(door{gate: Public, audit: "signin.password", limit: LimitSignIn}, "/auth/password/login/web", s.passwordForm)
	s.formRoute(door{gate: User, scope: ScopeAny, page: true, audit: "session.end"}, "/logout/web", s.logoutForm)

	s.pageRoute(open, resetPath, s.newPasswordPage(false))
	s.formRoute(door{gate: Public, audit: "link.reset", limit: LimitLinks}, resetPath, s.resetForm)
	s.formRoute(door{gate: Public, audit: "signin.reset", limit: LimitSignIn}, resetPath+"/confirm", s.newPasswordForm(false))
	s.pageRoute(open, setupPath, s.newPasswordPage(true))
	s.formRoute(door{gate: Public, audit: "link.setup", limit: LimitLinks}, setupPath+"/request", s.setupForm)
	s.formRoute(door{gate: Public, audit: "signin.setup", limit: LimitSignIn}, setupPath+"/confirm", s.newPasswordForm(true))
}

// linkPages are signing in by a mailed link.
func (s *Server) linkPages() {
	s.pageRoute(door{gate: Public}, emailPath, s.emailPage)
	s.formRoute(door{gate: Public, audit: "link.magic", limit: LimitLinks}, emailPath, s.emailForm)
	s.pageRoute(door{gate: Public}, "/auth/email/verify", s.verifyPage)
	s.formRoute(door{gate: Public, audit: "signin.magic_link", limit: LimitSignIn}, "/auth/email/verify/web", s.verifyForm)
}

// known tells who looks at a page that everybody may look at; false for a stranger.
func (s *Server) known(r *http.Request) (Caller, bool) {
	if credentialOf(r).token == "" {
		return Caller{}, false
	}
	c, err := s.authenticate(r)
	return c, err == nil
}

// entrance is a sign-in page for a stranger; whoever is signed in goes on.
func (s *Server) entrance(ctx context.Context, f form, page, title string) (reply, error) {
	if _, in := s.known(f.request); in {
		return reply{to: f.next()}, nil
	}
	ways, err := s.signIn.Ways(ctx)
	if err != nil {
		return reply{}, err
	}
	out := reply{page: page, title: title, problem: signInErrors[f.Get("error")], data: loginData{
		Ways: ways, Next: f.next(), NextQuery: strings.TrimPrefix(withNext("", f.next()), "?"),
	}}
	if f.Get("notice") == "signed_out" {
		out.notice = "You are signed out."
	}
	return out, nil
}

func (s *Server) loginPage(ctx context.Context, f form) (reply, error) {
	return s.entrance(ctx, f, "login", "Sign in")
}

func (s *Server) passwordPage(ctx context.Context, f form) (reply, error) {
	return s.entrance(ctx, f, "password", "Sign in with a password")
}

func (s *Server) emailPage(ctx context.Context, f form) (reply, error) {
	return s.entrance(ctx, f, "email", "Sign in by a link")
}

func (s *Server) passwordForm(ctx context.Context, f form) (reply, error) {
	noteTried(ctx, f.email())
	session, err := s.identity.Login(ctx, f.email(), f.Get("password"), f.from)
	if err == nil {
		return s.signedIn(ctx, session, f.next()), nil
	}
	var code string
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.Invalid:
		code = "invalid"
	case fault.Busy:
		code = "busy"
	default:
		return reply{}, err
	}
	return reply{to: withNext(passwordPath+"?error="+code, f.next())}, err
}

func (s *Server) logoutForm(ctx context.Context, _ form) (reply, error) {
	c := callerOf(ctx)
	noteResource(ctx, "session", c.TokenID)
	if c.Credential == credentialSession { // a token in a browser's cookie is taken away, and lives on elsewhere
		if err := s.identity.Logout(ctx, c); err != nil {
			return reply{}, err
		}
	}
	return s.out(), nil
}

// newPasswordPage shows the form of a link. It is the same whether there is such a user or link: looking
// asks nothing of the state, and uses nothing up.
func (s *Server) newPasswordPage(setup bool) pageHandler {
	return func(_ context.Context, f form) (reply, error) {
		if f.email() == "" || f.Get("token") == "" {
			return reply{to: passwordPath}, nil
		}
		return newPassword(setup, f), nil
	}
}

func newPassword(setup bool, f form) reply {
	d := newPasswordData{Action: resetPath + "/confirm", Email: f.email(), Token: f.Get("token"), Setup: setup, Name: f.Get("name")}
	out := reply{page: "new-password", title: "Choose a new password"}
	if setup {
		d.Action, out.title = setupPath+"/confirm", "Choose your password"
	}
	out.data = d
	return out
}

// minPassword is the least length of a password, in characters.
const minPassword = 8

// checkTyped refuses a new password that was not typed twice alike, or is too short to go on with.
func checkTyped(f form) error {
	switch {
	case f.Get("password") != f.Get("confirm_password"):
		return fault.New(fault.Invalid, "the two passwords differ: type the same one twice")
	case len([]rune(f.Get("password"))) < minPassword:
		return fault.New(fault.Invalid, "the password is too short: use at least %d characters", minPassword)
	}
	return nil
}

func (s *Server) newPasswordForm(setup bool) pageHandler {
	return func(ctx context.Context, f form) (reply, error) {
		noteTried(ctx, f.email())
		again := newPassword(setup, f)
		if err := checkTyped(f); err != nil {
			return again.saying(err)
		}
		var session Session
		var err error
		if setup {
			session, err = s.signIn.ConfirmSetup(ctx, f.email(), f.Get("token"), f.Get("password"), strings.TrimSpace(f.Get("name")), f.from)
		} else {
			session, err = s.signIn.ConfirmReset(ctx, f.email(), f.Get("token"), f.Get("password"), f.from)
		}
		if err != nil {
			return again.saying(err)
		}
		return s.signedIn(ctx, session, "/"), nil
	}
}

func (s *Server) resetForm(ctx context.Context, f form) (reply, error) {
	return s.mailed(ctx, f, func(email string) error { return s.signIn.RequestReset(ctx, email, f.from) })
}

func (s *Server) setupForm(ctx context.Context, f form) (reply, error) {
	return s.mailed(ctx, f, func(email string) error { return s.signIn.RequestSetup(ctx, email, f.from) })
}

func (s *Server) emailForm(ctx context.Context, f form) (reply, error) {
	return s.mailed(ctx, f, func(email string) error { return s.signIn.SendLink(ctx, email, f.next(), f.from) })
}

// mailed sends a link and says the same for every address.
func (s *Server) mailed(ctx context.Context, f form, send func(email string) error) (reply, error) {
	if f.email() == "" || len(f.email()) > 254 {
		return reply{}, fault.New(fault.Invalid, "type your e-mail address")
	}
	if err := s.mailLink(ctx, f.email(), send); err != nil {
		return reply{}, err
	}
	return reply{page: "notice", title: "Look into your mailbox", notice: linkSent}, nil
}

// verifyPage shows a button. Only pressing it uses the link up: scanners of mail look at every link (O5).
func (s *Server) verifyPage(_ context.Context, f form) (reply, error) {
	if f.Get("token") == "" {
		return reply{to: emailPath}, nil
	}
	return reply{page: "verify", title: "Sign in", data: verifyData{Email: f.email(), Token: f.Get("token"), Next: f.next()}}, nil
}

type verifyData struct{ Email, Token, Next string }

func (s *Server) verifyForm(ctx context.Context, f form) (reply, error) {
	noteTried(ctx, f.email())
	session, err := s.signIn.VerifyLink(ctx, f.email(), f.Get("token"), f.from)
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			return reply{}, err
		}
		return reply{page: "notice", title: "This link does not work", data: emailPath + "?" + url.Values{"next": {f.next()}}.Encode()}.saying(err)
	}
	return s.signedIn(ctx, session, f.next()), nil
}
