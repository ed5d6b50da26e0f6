package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// accountPath is the page on which people look after their own account.
const accountPath = "/account"

// accountData is what that page shows.
type accountData struct {
	Me       Caller
	Password bool // whether passwords are accepted here
	Sessions []SessionView
	Tokens   []Token
	Scopes   []scopeChoice
	Made     *NewToken // a token just made, with its secret
	TokenFor string    // the name that was typed
}

type scopeChoice struct {
	Scope   Scope
	Doc     string
	Checked bool
}

func (s *Server) accountPages() {
	mine := func(audit string, limit Class) door {
		return door{gate: User, session: true, page: true, audit: audit, limit: limit}
	}
	s.pageRoute(mine("", ""), accountPath, s.accountPage)
	s.formRoute(mine("token.create", LimitTokens), accountPath+"/tokens", s.tokenForm)
	s.formRoute(mine("token.revoke", ""), accountPath+"/tokens/:id/revoke", s.revokeTokenForm)
	s.formRoute(mine("session.end", ""), accountPath+"/sessions/:id/revoke", s.endSessionForm)
	s.formRoute(mine("session.end_all", ""), accountPath+"/sessions/revoke-all", s.endAllForm)
	s.formRoute(mine("user.change_password", LimitSignIn), accountPath+"/password", s.changePasswordForm)
}

// accountNotices are the sentences for what was done.
var accountNotices = map[string]string{
	"token_revoked":    "The token is revoked. It stopped working at once.",
	"session_ended":    "The session is ended.",
	"sessions_ended":   "All other sessions are ended.",
	"password_changed": "Your password is changed, and your other sessions are ended.",
}

func (s *Server) accountPage(ctx context.Context, f form) (reply, error) {
	out, err := s.account(ctx, nil)
	out.notice = accountNotices[f.Get("notice")]
	return out, err
}

// account shows the account, and a token that was just made.
func (s *Server) account(ctx context.Context, made *NewToken) (reply, error) {
	c := callerOf(ctx)
	ways, err := s.signIn.Ways(ctx)
	if err != nil {
		return reply{}, err
	}
	sessions, err := s.mySessions(ctx)
	if err != nil {
		return reply{}, err
	}
	tokens, err := s.identity.Tokens(ctx, c.UserID)
	if err != nil {
		return reply{}, err
	}
	d := accountData{Me: c, Password: ways.Password, Sessions: sessions, Made: made, Scopes: []scopeChoice{
		{ScopeRead, "look at the catalog and what is yours", true},
		{ScopeQuery, "ask with SQL", true},
		{ScopeSync, "fetch tables and send files", true},
	}}
	if Curator.passes(c.Role) {
		d.Scopes = append(d.Scopes, scopeChoice{ScopeAdmin, "administrate, as far as your role may", false})
	}
	for _, t := range tokens {
		if t.RevokedAt == nil {
			d.Tokens = append(d.Tokens, t)
		}
	}
	return reply{page: "account", title: "Your account", data: d}, nil
}

// back shows the account page with what went wrong.
func (s *Server) back(ctx context.Context, err error) (reply, error) {
	out, lost := s.account(ctx, nil)
	if lost != nil {
		return reply{}, err
	}
	return out.saying(err)
}

func done(notice string) reply { return reply{to: accountPath + "?notice=" + url.QueryEscape(notice)} }

func (s *Server) tokenForm(ctx context.Context, f form) (reply, error) {
	var days *int
	if typed := f.Get("days"); typed != "never" {
		n, err := strconv.Atoi(typed)
		if err != nil || n < 1 || n > maxTokenDays {
			return s.back(ctx, fault.New(fault.Invalid, "choose how long the token lasts: 1 to %d days, or for ever", maxTokenDays))
		}
		days = &n
	}
	var scopes []Scope
	for _, typed := range f.Values["scope"] {
		scopes = append(scopes, Scope(typed))
	}
	if len(scopes) == 0 {
		return s.back(ctx, fault.New(fault.Invalid, "choose what the token may be used for"))
	}
	made, err := s.makeToken(ctx, f.Get("name"), days, scopes)
	if err != nil {
		return s.back(ctx, err)
	}
	return s.account(ctx, &made)
}

// lastPart is the id in /account/<things>/<id>/revoke.
func lastPart(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-2]
}

func (s *Server) revokeTokenForm(ctx context.Context, f form) (reply, error) {
	if _, err := s.revokeToken(ctx, &byID{ID: lastPart(f.request)}); err != nil {
		return s.back(ctx, err)
	}
	return done("token_revoked"), nil
}

func (s *Server) endSessionForm(ctx context.Context, f form) (reply, error) {
	id := lastPart(f.request)
	if _, err := s.endSession(ctx, &byID{ID: id}); err != nil {
		return s.back(ctx, err)
	}
	if id == callerOf(ctx).TokenID {
		return s.out(), nil
	}
	return done("session_ended"), nil
}

// out sends a browser whose session is over to the sign-in page.
func (s *Server) out() reply {
	return reply{to: loginPath + "?notice=signed_out", cookies: []*http.Cookie{s.noCookie(SessionCookie, "/")}}
}

func (s *Server) endAllForm(ctx context.Context, f form) (reply, error) {
	keep := f.Get("keep_current") != ""
	if err := s.endAll(ctx, keep); err != nil {
		return s.back(ctx, err)
	}
	if keep {
		return done("sessions_ended"), nil
	}
	return s.out(), nil
}

func (s *Server) changePasswordForm(ctx context.Context, f form) (reply, error) {
	if err := checkTyped(f); err != nil {
		return s.back(ctx, err)
	}
	c := callerOf(ctx)
	noteResource(ctx, "user", c.UserID)
	if err := s.signIn.ChangePassword(ctx, c, f.Get("old_password"), f.Get("password")); err != nil {
		return s.back(ctx, err)
	}
	return done("password_changed"), nil
}
