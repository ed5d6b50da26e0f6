package httpapi

import (
	"context"
	"net/http"
)

type waysAnswer struct{ Body Ways }

type linkQuestion struct {
	from
	Body struct {
		Email string `json:"email" minLength:"1" maxLength:"254" doc:"Where to send the link, in any case." example:"ann@example.com"`
		Next  string `json:"next,omitempty" nullable:"true" maxLength:"2000" doc:"The path of this server to go to afterwards." example:"/account"`
	}
}

type messageAnswer struct {
	Body struct {
		Message string `json:"message" doc:"What happens now, in a sentence that is the same for every address."`
	}
}

type verifyLinkQuestion struct {
	from
	Body struct {
		Email string `json:"email,omitempty" nullable:"true" maxLength:"254" doc:"The address that the link was sent to; where given, it must be that one." example:"ann@example.com"`
		Token string `json:"token" minLength:"1" maxLength:"300" doc:"The token of the link." example:"Tvi4rvNCTmEkgag76_dr-Wrk8zoljayCWlucWa7CBPE"`
	}
}

type firstPasswordQuestion struct {
	from
	Body struct {
		Email    string `json:"email" minLength:"1" maxLength:"254" doc:"The e-mail address that was invited, in any case." example:"ann@example.com"`
		Token    string `json:"token" minLength:"1" maxLength:"300" doc:"The token of the link." example:"Tvi4rvNCTmEkgag76_dr-Wrk8zoljayCWlucWa7CBPE"`
		Password string `json:"password" minLength:"8" maxLength:"1024" doc:"The password to have, at least 8 characters." example:"correct horse battery"`
		Name     string `json:"name,omitempty" nullable:"true" maxLength:"200" doc:"What to call you; where empty it stays." example:"Ann"`
	}
}

type firstPasswordAnswer struct {
	Body struct {
		Session
		Message string `json:"message" doc:"That it worked." example:"the password is set"`
	}
}

type changePasswordQuestion struct {
	Body struct {
		Old string `json:"old_password" maxLength:"1024" doc:"The password as it is." example:"correct horse battery"`
		New string `json:"new_password" minLength:"8" maxLength:"1024" doc:"The password to have, at least 8 characters." example:"staple battery horse"`
	}
}

func (s *Server) signInRoutes() {
	oneTime := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable}
	add(s, Public, op{
		method: http.MethodGet, path: "/auth/ways", id: "ways", tag: tagAuth, summary: "How one can sign in here",
		text: "The ways that are open on this server, for sign-in pages and programs.", errors: []int{http.StatusServiceUnavailable},
	}, s.ways)
	add(s, Public, op{
		method: http.MethodPost, path: "/auth/email/send-link", id: "sendLink", audit: "link.magic", limit: LimitLinks, tag: tagAuth, summary: "Have a link to sign in mailed",
		text: "The answer is the same whether the address is known or not.", errors: []int{http.StatusServiceUnavailable},
	}, s.sendLink)
	add(s, Public, op{
		method: http.MethodPost, path: "/auth/email/verify", id: "verifyLink", audit: "signin.magic_link", limit: LimitSignIn, tag: tagAuth, summary: "Sign in with a mailed link",
		text: "Uses the link up.", errors: oneTime,
	}, s.verifyLink)
	add(s, Public, op{
		method: http.MethodPost, path: "/auth/password/setup", id: "setupPassword", audit: "signin.setup", limit: LimitSignIn, tag: tagAuth, summary: "Choose a first password",
		text: "With the token of an invitation, which is used up.", errors: oneTime,
	}, s.setupPassword)
	add(s, User, op{
		method: http.MethodPost, path: "/auth/password/change", id: "changePassword", session: true, audit: "user.change_password", limit: LimitSignIn, tag: tagAuth, summary: "Change my password",
		text: "All other sessions end; the one that asks goes on.", status: http.StatusNoContent,
	}, s.changePassword)
}

func (s *Server) ways(ctx context.Context, _ *none) (*waysAnswer, error) {
	w, err := s.signIn.Ways(ctx)
	w.Providers = orEmpty(w.Providers)
	return &waysAnswer{Body: w}, err
}

// linkSent is said after every request for a link.
const linkSent = "If the address belongs to somebody who may sign in, a mail with a link is on its way. It works once."

func (s *Server) sendLink(ctx context.Context, in *linkQuestion) (*messageAnswer, error) {
	out := &messageAnswer{}
	out.Body.Message = linkSent
	return out, s.mailLink(ctx, in.Body.Email, func(email string) error {
		return s.signIn.SendLink(ctx, email, safeNext(in.Body.Next), in.origin)
	})
}

// mailLink counts a mail for the address that it goes to, and sends it.
func (s *Server) mailLink(ctx context.Context, email string, send func(email string) error) error {
	noteTried(ctx, email)
	if s.limiter != nil {
		if err := s.limiter.Allow(ctx, LimitLinks, accountKey(email), ""); err != nil {
			return err
		}
	}
	return send(email)
}

func (s *Server) verifyLink(ctx context.Context, in *verifyLinkQuestion) (*sessionAnswer, error) {
	noteTried(ctx, in.Body.Email)
	session, err := s.signIn.VerifyLink(ctx, in.Body.Email, in.Body.Token, in.origin)
	if err != nil {
		return nil, err
	}
	noteSession(ctx, session)
	return &sessionAnswer{Body: session}, nil
}

func (s *Server) setupPassword(ctx context.Context, in *firstPasswordQuestion) (*firstPasswordAnswer, error) {
	noteTried(ctx, in.Body.Email)
	session, err := s.signIn.ConfirmSetup(ctx, in.Body.Email, in.Body.Token, in.Body.Password, in.Body.Name, in.origin)
	if err != nil {
		return nil, err
	}
	noteSession(ctx, session)
	out := &firstPasswordAnswer{}
	out.Body.Session, out.Body.Message = session, "the password is set"
	return out, nil
}

func (s *Server) changePassword(ctx context.Context, in *changePasswordQuestion) (*none, error) {
	c := callerOf(ctx)
	noteResource(ctx, "user", c.UserID)
	return nil, s.signIn.ChangePassword(ctx, c, in.Body.Old, in.Body.New)
}
