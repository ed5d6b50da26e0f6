package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// oidcCookie carries what was begun with a provider, sealed, until the browser comes back.
const oidcCookie = "oidc_transaction"

// oidcSeconds is how long a browser may stay at a provider.
const oidcSeconds = 600

// google is the provider that has paths of its own, which the predecessor's users registered.
const google = "google"

// oidcRoutes send browsers to OpenID providers and take them back.
func (s *Server) oidcRoutes() {
	begin := door{gate: Public, limit: LimitSignIn, html: true}
	finish := door{gate: Public, limit: LimitSignIn, audit: "signin.oidc", html: true}
	s.rawDoor(begin, http.MethodGet, "/auth/oidc/:provider/login", s.showing(s.beginOIDC))
	s.rawDoor(finish, http.MethodGet, "/auth/oidc/:provider/callback", s.showing(s.finishOIDC))
	s.rawDoor(begin, http.MethodGet, "/auth/google/login", s.showing(s.beginOIDC))
	s.rawDoor(finish, http.MethodGet, "/auth/google/callback", s.showing(s.finishOIDC))
}

// providerOf reads the provider from /auth/oidc/{provider}/… or /auth/google/….
func providerOf(r *http.Request) string {
	rest, ok := strings.CutPrefix(r.URL.Path, "/auth/oidc/")
	if !ok {
		return google
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// oidcPaths are where a provider's cookie is sent.
func oidcPaths(provider string) []string {
	if provider == google {
		return []string{"/auth/oidc", "/auth/google"} // whichever of the two was registered as the way back
	}
	return []string{"/auth/oidc"}
}

func (s *Server) beginOIDC(ctx context.Context, f form) (reply, error) {
	provider := providerOf(f.request)
	redirect, sealed, err := s.signIn.BeginOIDC(ctx, provider, f.next())
	if err != nil {
		return failedOIDC(err, f.next())
	}
	out := reply{to: redirect}
	for _, path := range oidcPaths(provider) {
		c := s.cookie(oidcCookie, sealed, path)
		c.MaxAge = oidcSeconds
		out.cookies = append(out.cookies, c)
	}
	return out, nil
}

func (s *Server) finishOIDC(ctx context.Context, f form) (reply, error) {
	provider := providerOf(f.request)
	noteParam(ctx, "provider", clip(provider, 64))
	sealed := ""
	if c, err := f.request.Cookie(oidcCookie); err == nil {
		sealed = c.Value
	}
	session, next, err := s.signIn.FinishOIDC(ctx, provider, sealed, f.Values, f.from)
	var out reply
	if err != nil {
		out, err = failedOIDC(err, next)
	} else {
		out = s.signedIn(ctx, session, next)
	}
	for _, path := range oidcPaths(provider) {
		out.cookies = append(out.cookies, s.noCookie(oidcCookie, path))
	}
	return out, err
}

// failedOIDC sends a browser to the sign-in page, which has a sentence for the code.
func failedOIDC(err error, next string) (reply, error) {
	return reply{to: withNext(loginPath+"?error="+url.QueryEscape(oidcCode(err)), next)}, err
}

func oidcCode(err error) string {
	var refused *RefusedError
	if errors.As(err, &refused) {
		if _, known := signInErrors[refused.Code]; known {
			return refused.Code
		}
	}
	switch fault.KindOf(err) {
	case fault.NotFound:
		return "not_configured"
	case fault.Forbidden:
		return "not_allowed"
	case fault.Busy:
		return "busy"
	case fault.Unavailable:
		return "unavailable"
	default:
		return "oauth_failed"
	}
}

// signInErrors are the sentences of the sign-in pages for the codes in their address.
var signInErrors = map[string]string{
	"invalid":            "Wrong e-mail address or password.",
	"busy":               "Too many tries in a row. Wait a minute, then try again.",
	"no_email":           "The provider did not tell an e-mail address. Allow it to, or sign in another way.",
	"email_not_verified": "The provider has not verified your e-mail address. Verify it there, or sign in another way.",
	"domain_not_allowed": "Addresses of this domain cannot sign up here. Ask an administrator to invite you.",
	"not_allowed":        "This account cannot sign in here. Ask an administrator.",
	"deactivated":        "This account cannot sign in here. Ask an administrator.",
	"not_configured":     "This way to sign in is not set up on this server. Choose another one.",
	"cancelled":          "The sign-in was cancelled at the provider. Try again, or sign in another way.",
	"oauth_failed":       "The sign-in at the provider did not work. Try again.",
	"unavailable":        "The provider cannot be reached at the moment. Try again later, or sign in another way.",
}
