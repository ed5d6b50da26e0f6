package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type none struct{}

// from tells where a request comes from; it is filled before the handler runs.
type from struct {
	origin From
}

// Resolve notes where the request comes from, for huma.
func (f *from) Resolve(ctx huma.Context) []error {
	f.origin = From{IP: infoOf(ctx.Context()).remote, UserAgent: ctx.Header("User-Agent")}
	return nil
}

type credentials struct {
	from
	Body struct {
		Email    string `json:"email" minLength:"1" maxLength:"254" doc:"The e-mail address, in any case." example:"ann@example.com"`
		Password string `json:"password,omitempty" maxLength:"1024" doc:"The password; without one nobody is let in." example:"correct horse battery"`
	}
}

type sessionAnswer struct {
	Body Session
}

func (s *Server) authRoutes() {
	login := op{
		method: http.MethodPost, path: "/auth/token", id: "login", audit: "signin.password", limit: LimitSignIn, tag: tagAuth, summary: "Sign in with a password",
		text:   "Opens a session and gives its token. All refusals have the same words, and too many of them in a row make the next ones wait.",
		errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}
	add(s, Public, login, s.login)
	login.path, login.id, login.summary = "/auth/password/login", "passwordLogin", "Sign in with a password, by the older path"
	add(s, Public, login, s.login)
	add(s, Public, op{
		method: http.MethodPost, path: "/auth/bootstrap", id: "bootstrap", audit: "signin.bootstrap", limit: LimitSignIn, tag: tagAuth, summary: "Make the first administrator",
		text:   "Works once, on a server that nobody ever signed in to: for whoever comes first, or, where there is an administrator without a password and without another way in, for their address alone. After that it is closed for good.",
		errors: []int{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable},
	}, s.bootstrap)
	add(s, User, op{
		method: http.MethodPost, path: "/auth/logout", id: "logout", scope: ScopeAny, audit: "session.end", tag: tagAuth, summary: "End this session",
		text: "The token that the request carries stops working at once. A browser's cookie is taken away.", status: http.StatusNoContent,
	}, s.logout)
	add(s, User, op{
		method: http.MethodGet, path: "/auth/me", id: "me", scope: ScopeAny, tag: tagAuth, summary: "Who am I", text: "The user and the credential that the request carries.",
	}, s.me)
	s.tokenRoutes()
}

func (s *Server) login(ctx context.Context, in *credentials) (*sessionAnswer, error) {
	noteTried(ctx, in.Body.Email)
	session, err := s.identity.Login(ctx, in.Body.Email, in.Body.Password, in.origin)
	if err == nil {
		noteSession(ctx, session)
	}
	return &sessionAnswer{Body: session}, err
}

type bootstrapBody struct {
	from
	Body struct {
		Email    string `json:"email" format:"email" maxLength:"254" doc:"The e-mail address of the administrator." example:"ann@example.com"`
		Name     string `json:"name,omitempty" nullable:"true" maxLength:"200" doc:"What to call them; the part before the @ where empty." example:"Ann"`
		Password string `json:"password" minLength:"8" maxLength:"1024" doc:"At least 8 characters." example:"correct horse battery"`
	}
}

func (s *Server) bootstrap(ctx context.Context, in *bootstrapBody) (*sessionAnswer, error) {
	noteTried(ctx, in.Body.Email)
	session, err := s.identity.Bootstrap(ctx, in.Body.Email, in.Body.Name, in.Body.Password, in.origin)
	if err == nil {
		noteSession(ctx, session)
	}
	return &sessionAnswer{Body: session}, err
}

type logoutAnswer struct {
	SetCookie string `header:"Set-Cookie" doc:"Takes the cookie of a browser away."`
}

func (s *Server) logout(ctx context.Context, _ *none) (*logoutAnswer, error) {
	noteResource(ctx, "session", callerOf(ctx).TokenID)
	if err := s.identity.Logout(ctx, callerOf(ctx)); err != nil {
		return nil, err
	}
	return &logoutAnswer{SetCookie: s.noCookie(SessionCookie, "/").String()}, nil
}

// Me is who asks, and by which credential.
type Me struct {
	UserID     string     `json:"user_id" doc:"The id of the user." example:"0d0f3c1e-6a0e-4c55-9f0a-6f2a5e8f2c11"`
	Email      string     `json:"email" doc:"The e-mail address." example:"ann@example.com"`
	Name       string     `json:"name" doc:"What to call the user." example:"Ann"`
	Role       string     `json:"role" enum:"viewer,analyst,km_admin,admin" doc:"The role."`
	Credential Credential `json:"credential" doc:"What the request was signed with."`
}

// Credential is a session or a personal access token, without its secret.
type Credential struct {
	Kind      string     `json:"kind" enum:"session,pat" doc:"session, or pat for a personal access token." example:"pat"`
	ID        string     `json:"id" doc:"The id of the session or token."`
	ExpiresAt *time.Time `json:"expires_at" doc:"When it ends by itself; null for never."`
}

type meAnswer struct{ Body Me }

func (s *Server) me(ctx context.Context, _ *none) (*meAnswer, error) {
	c := callerOf(ctx)
	return &meAnswer{Body: Me{
		UserID: c.UserID, Email: c.Email, Name: c.Name, Role: c.Role,
		Credential: Credential{Kind: c.Credential, ID: c.TokenID, ExpiresAt: c.ExpiresAt},
	}}, nil
}

// Days is a number of days: left out means the default, null means never.
type Days struct {
	set, never bool
	days       int
}

// UnmarshalJSON reads a number or null.
func (d *Days) UnmarshalJSON(raw []byte) error {
	d.set = true
	if strings.TrimSpace(string(raw)) == "null" {
		d.never = true
		return nil
	}
	var days float64 // 90.0 is a whole number, too; the schema lets no other in
	if err := json.Unmarshal(raw, &days); err != nil {
		return err
	}
	d.days = int(days)
	return nil
}

const (
	defaultTokenDays = 90
	maxTokenDays     = 3650
)

// Schema describes it, for huma.
func (Days) Schema(huma.Registry) *huma.Schema {
	low, high := 1.0, float64(maxTokenDays)
	return &huma.Schema{
		Type: huma.TypeInteger, Nullable: true, Minimum: &low, Maximum: &high, Examples: []any{defaultTokenDays},
		Description: "After how many days the token ends; 90 where left out, null for never.",
	}
}

// value gives the days; nil for never.
func (d Days) value() *int {
	days := d.days
	switch {
	case d.never:
		return nil
	case !d.set:
		days = defaultTokenDays
	}
	return &days
}

type newTokenBody struct {
	Body struct {
		Name          string  `json:"name" minLength:"1" maxLength:"200" doc:"What to call it, to know it again." example:"laptop"`
		ExpiresInDays Days    `json:"expires_in_days,omitempty" doc:"After how many days the token ends; 90 where left out, null for never."`
		Scopes        []Scope `json:"scopes,omitempty" nullable:"true" maxItems:"4" enum:"read,query,sync,admin" doc:"What it may be used for: read, query and sync where left out. admin has to be named, and needs the role km_admin or admin." example:"[\"read\",\"query\",\"sync\"]"`
	}
}

type newTokenAnswer struct{ Body NewToken }

type tokensAnswer struct{ Body []Token }

type byID struct {
	ID string `path:"id" maxLength:"400" doc:"The id." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
}

func (s *Server) tokenRoutes() {
	add(s, User, op{
		method: http.MethodPost, path: "/auth/tokens", id: "createToken", session: true, audit: "token.create", limit: LimitTokens, tag: tagAuth, summary: "Make a personal access token",
		text:   "Needs a session: a token cannot make tokens. The secret is in this answer and nowhere else.",
		status: http.StatusCreated, errors: []int{http.StatusBadRequest, http.StatusUnprocessableEntity},
	}, s.createToken)
	add(s, User, op{method: http.MethodGet, path: "/auth/tokens", id: "listTokens", tag: tagAuth, summary: "List my tokens", text: "Newest first, revoked ones too."}, s.listTokens)
	add(s, User, op{
		method: http.MethodGet, path: "/auth/tokens/{id}", id: "getToken", tag: tagAuth, summary: "Look at one of my tokens",
		text: "Without its secret.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.getToken)
	add(s, User, op{
		method: http.MethodDelete, path: "/auth/tokens/{id}", id: "revokeToken", scope: ScopeRead, audit: "token.revoke", tag: tagAuth, summary: "Revoke one of my tokens",
		text: "It stops working at once.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.revokeToken)
	add(s, Admin, op{
		method: http.MethodGet, path: "/auth/admin/tokens", id: "listAllTokens", tag: tagPeople, summary: "List everybody's tokens",
		text: "Newest first, with their owners and the address that used each last.",
	}, s.listAllTokens)
	add(s, Admin, op{
		method: http.MethodDelete, path: "/auth/admin/tokens/{id}", id: "revokeAnyToken", audit: "token.admin_revoke", tag: tagPeople, summary: "Revoke anybody's token",
		text: "It stops working at once.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.revokeAnyToken)
}

func (s *Server) createToken(ctx context.Context, in *newTokenBody) (*newTokenAnswer, error) {
	t, err := s.makeToken(ctx, in.Body.Name, in.Body.ExpiresInDays.value(), in.Body.Scopes)
	return &newTokenAnswer{Body: t}, err
}

// defaultScopes are those of a token that names none.
var defaultScopes = []Scope{ScopeRead, ScopeQuery, ScopeSync}

// makeToken makes a token for the caller, who signed in.
func (s *Server) makeToken(ctx context.Context, name string, days *int, scopes []Scope) (NewToken, error) {
	c := callerOf(ctx)
	if name = strings.TrimSpace(name); name == "" {
		return NewToken{}, fault.New(fault.Invalid, "the token needs a name")
	}
	if len(scopes) == 0 {
		scopes = defaultScopes
	}
	var sorted []Scope
	for _, known := range Scopes {
		if slices.Contains(scopes, known) {
			sorted = append(sorted, known)
		}
	}
	for _, scope := range scopes {
		if !slices.Contains(Scopes, scope) {
			return NewToken{}, fault.New(fault.Invalid, "there is no scope %.40q: use read, query, sync or admin", scope)
		}
	}
	if slices.Contains(sorted, ScopeAdmin) && !Curator.passes(c.Role) {
		return NewToken{}, fault.New(fault.Forbidden, "a token with the scope admin needs the role km_admin or admin: leave it out")
	}
	noteParam(ctx, "name", clip(name, 200))
	noteParam(ctx, "scopes", sorted)
	t, err := s.identity.CreateToken(ctx, c, name, days, sorted)
	if err == nil {
		noteResource(ctx, "token", t.ID)
	}
	return t, err
}

func (s *Server) listTokens(ctx context.Context, _ *none) (*tokensAnswer, error) {
	list, err := s.identity.Tokens(ctx, callerOf(ctx).UserID)
	for i := range list {
		list[i].UserID, list[i].UserEmail = "", ""
	}
	return &tokensAnswer{Body: orEmpty(list)}, err
}

type tokenAnswer struct{ Body Token }

func (s *Server) getToken(ctx context.Context, in *byID) (*tokenAnswer, error) {
	list, err := s.listTokens(ctx, &none{})
	if err != nil {
		return nil, err
	}
	for _, t := range list.Body {
		if t.ID == in.ID {
			return &tokenAnswer{Body: t}, nil
		}
	}
	return nil, fault.New(fault.NotFound, "you have no token with this id")
}

func (s *Server) revokeToken(ctx context.Context, in *byID) (*none, error) {
	c := callerOf(ctx)
	noteResource(ctx, "token", in.ID)
	return nil, s.identity.RevokeToken(ctx, c, c.UserID, in.ID)
}

func (s *Server) listAllTokens(ctx context.Context, _ *none) (*tokensAnswer, error) {
	list, err := s.identity.Tokens(ctx, "")
	return &tokensAnswer{Body: orEmpty(list)}, err
}

func (s *Server) revokeAnyToken(ctx context.Context, in *byID) (*none, error) {
	noteResource(ctx, "token", in.ID)
	return nil, s.identity.RevokeToken(ctx, callerOf(ctx), "", in.ID)
}

// orEmpty makes an empty list of none, so that it is written as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// echoOf gives the router's context of a streamed answer.
func echoOf(ctx huma.Context) (http.ResponseWriter, *http.Request) {
	c := humaecho.Unwrap(ctx)
	return c.Response().Writer, c.Request()
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
