package identity

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/rs/zerolog"
	"golang.org/x/oauth2"
	"golang.org/x/text/unicode/norm"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// GoogleIssuer is Google's issuer, for which two more rules hold: see trusts and maySignUp.
const GoogleIssuer = "https://accounts.google.com"

const (
	oidcTTL  = 10 * time.Minute // from the redirect to the callback
	oidcSkew = time.Minute      // by how much a provider's clock may differ
)

// Codes of a RefusedError.
const (
	RefusedNoEmail       = "no_email"
	RefusedNotVerified   = "email_not_verified"
	RefusedDomain        = "domain_not_allowed"
	RefusedDeactivated   = "deactivated"
	RefusedNotConfigured = "not_configured"
	RefusedCancelled     = "cancelled"
	RefusedFailed        = "oauth_failed"
)

// RefusedError is a sign-in by a provider that came to nothing, with a code for the sign-in page.
type RefusedError struct {
	Code  string
	Fault error
}

// Error gives the sentence for people.
func (e *RefusedError) Error() string { return e.Fault.Error() }

// Unwrap gives the fault.
func (e *RefusedError) Unwrap() error { return e.Fault }

func refused(code string, kind fault.Kind, sentence string) error {
	return &RefusedError{code, fault.New(kind, "%s", sentence)}
}

var (
	errOIDCStale = refused(RefusedFailed, fault.Invalid, "the sign-in took too long, or began in another browser: start again")
	errOIDCToken = refused(RefusedFailed, fault.Unauthenticated, "the provider's answer is not valid: start again")
)

// Providers gives names and labels of the OpenID providers, in their order. One that is down is among
// them.
func (s *Service) Providers() []ProviderConfig {
	list := make([]ProviderConfig, len(s.providers))
	for i, p := range s.providers {
		list[i] = ProviderConfig{Name: p.Name, Label: p.Label, Issuer: p.Issuer}
	}
	return list
}

func (s *Service) provider(name string) (*provider, error) {
	for _, p := range s.providers {
		if p.Name == name {
			if s.cfg.PublicURL == "" {
				return nil, refused(RefusedNotConfigured, fault.Conflict, "AGNES_PUBLIC_URL is not set: an administrator has to say where the provider is to send people back to")
			}
			return p, nil
		}
	}
	return nil, refused(RefusedNotConfigured, fault.NotFound, "there is no such provider")
}

// redirectURI is where the provider sends the browser back to. For Google it is the path that the
// predecessor registered there.
func (s *Service) redirectURI(p *provider) string {
	if p.Name == "google" {
		return s.cfg.PublicURL + "/auth/google/callback"
	}
	return s.cfg.PublicURL + "/auth/oidc/" + p.Name + "/callback"
}

// BeginOIDC begins a sign-in by a provider (OpenID Connect Core, section 3.1; PKCE by RFC 7636): where to
// send the browser, and a sealed text that it must bring back as a cookie. next is the path to go to
// after it. Besides a *RefusedError it is fault.Unavailable where the provider cannot be reached.
func (s *Service) BeginOIDC(ctx context.Context, name, next string) (redirect, sealed string, err error) {
	p, err := s.provider(name)
	if err != nil {
		return "", "", err
	}
	found, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	t := transaction{Provider: p.Name, Next: localPath(next), Until: s.now().Add(oidcTTL).Unix(), Verifier: oauth2.GenerateVerifier()}
	if t.State, err = newSecret(); err != nil {
		return "", "", err
	}
	if t.Nonce, err = newSecret(); err != nil {
		return "", "", err
	}
	if sealed, err = s.seal.close(t); err != nil {
		return "", "", err
	}
	return s.oauth(p, found).AuthCodeURL(t.State, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), sealed, nil
}

func (s *Service) oauth(p *provider, found *discovered) *oauth2.Config {
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: s.redirectURI(p), Scopes: p.Scopes}
}

// FinishOIDC checks what the provider answered to the browser that holds the sealed text, and opens a
// session for the account's user. A transaction works once. Besides a *RefusedError it is
// fault.Unavailable where the provider cannot be reached.
func (s *Service) FinishOIDC(ctx context.Context, name, sealed string, query url.Values, from From) (Session, string, error) {
	p, err := s.provider(name)
	if err != nil {
		return Session{}, "", err
	}
	t, err := s.seal.open(sealed, p.Name, s.now())
	if err != nil {
		return Session{}, "", err
	}
	if subtle.ConstantTimeCompare([]byte(t.State), []byte(query.Get("state"))) != 1 || !s.spent.use(t.State, s.now(), oidcTTL) {
		return Session{}, "", errOIDCStale
	}
	found, err := p.discover(ctx)
	if err != nil {
		return Session{}, "", err
	}
	code, err := codeOf(query, p, found)
	if err != nil {
		return Session{}, "", err
	}
	token, err := s.oauth(p, found).Exchange(p.context(ctx), code, oauth2.VerifierOption(t.Verifier))
	if err != nil {
		return Session{}, "", exchangeError(ctx, p, err)
	}
	who, err := s.claimsOf(ctx, p, found, token, t.Nonce)
	if err != nil {
		return Session{}, "", err
	}
	u, err := s.userFor(ctx, p, who)
	if err != nil {
		return Session{}, "", err
	}
	session, err := s.open(ctx, u, from, MethodOIDC+p.Name)
	return session, t.Next, err
}

// codeOf reads the callback. An answer in the name of another issuer is refused before anything is sent
// to the token endpoint (RFC 9207).
func codeOf(query url.Values, p *provider, found *discovered) (string, error) {
	iss := query.Get("iss")
	if (iss != "" || found.answersWithIssuer) && iss != p.Issuer {
		return "", errOIDCToken
	}
	switch query.Get("error") {
	case "":
	case "access_denied":
		return "", refused(RefusedCancelled, fault.Forbidden, "the sign-in was cancelled at the provider")
	default:
		return "", refused(RefusedFailed, fault.Unauthenticated, "the provider refused the sign-in: start again")
	}
	if query.Get("code") == "" {
		return "", errOIDCToken
	}
	return query.Get("code"), nil
}

// exchangeError keeps the texts of the provider, which may quote what was sent, for nobody. Its code
// (RFC 6749, section 5.2) is for the log: a wrong client secret must be found there.
func exchangeError(ctx context.Context, p *provider, err error) error {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) && answered.Response != nil && answered.Response.StatusCode < 500 {
		code := answered.ErrorCode
		if !oauthCode.MatchString(code) {
			code = ""
		}
		zerolog.Ctx(ctx).Warn().Str("provider", p.Name).Int("status", answered.Response.StatusCode).Str("error_code", code).
			Msg("the provider refuses to redeem a sign-in; with invalid_client, look at the client id and secret")
		return errOIDCToken
	}
	return fault.New(fault.Unavailable, "the provider cannot be reached: try again in a moment")
}

// oauthCode is what the codes of errors look like.
var oauthCode = regexp.MustCompile(`\A[a-z_]{1,40}\z`)

// person is what an id_token says about somebody.
type person struct {
	subject       string
	Email         string   `json:"email"`
	EmailVerified yes      `json:"email_verified"`
	Name          string   `json:"name"`
	HostedDomain  string   `json:"hd"`
	Party         string   `json:"azp"`
	IssuedAt      *float64 `json:"iat"`
}

// yes is true as a boolean or, as some providers write it, as a text.
type yes bool

// UnmarshalJSON reads it; whatever else is no.
func (y *yes) UnmarshalJSON(raw []byte) error {
	*y = string(raw) == "true" || string(raw) == `"true"`
	return nil
}

// claimsOf verifies the id_token: signature by a key of the issuer and an asymmetric algorithm, issuer,
// audience, times and nonce (OpenID Connect Core, section 3.1.3.7).
func (s *Service) claimsOf(ctx context.Context, p *provider, found *discovered, token *oauth2.Token, nonce string) (person, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return person{}, errOIDCToken
	}
	now := s.cfg.Now()
	verifier := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: func() time.Time { return now.Add(-oidcSkew) }})
	verified, err := verifier.Verify(p.context(ctx), raw)
	if err != nil {
		if strings.Contains(err.Error(), "fetching keys") {
			return person{}, fault.Wrap(cause(err), fault.Unavailable, "the keys of the provider cannot be fetched: try again in a moment")
		}
		zerolog.Ctx(ctx).Warn().Str("provider", p.Name).Err(cause(err)).Msg("the id_token of a provider is not valid")
		return person{}, errOIDCToken
	}
	who := person{subject: verified.Subject}
	if err := verified.Claims(&who); err != nil {
		return person{}, errOIDCToken
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(nonce)) != 1, verified.Subject == "":
		return person{}, errOIDCToken
	case who.Party != "" && who.Party != p.ClientID, len(verified.Audience) > 1 && who.Party == "":
		return person{}, errOIDCToken
	case who.IssuedAt == nil, verified.IssuedAt.After(now.Add(oidcSkew)):
		return person{}, errOIDCToken
	}
	return who, nil
}

// userFor finds or makes the user of a verified account.
func (s *Service) userFor(ctx context.Context, p *provider, who person) (state.User, error) {
	if strings.TrimSpace(who.Email) == "" {
		return state.User{}, refused(RefusedNoEmail, fault.Forbidden, "the provider does not tell your e-mail address: allow it to")
	}
	email, err := checkEmail(who.Email)
	if err != nil || !norm.NFC.IsNormalString(email) { // what is not normal may become another's address
		return state.User{}, refused(RefusedNoEmail, fault.Forbidden, "the provider tells an e-mail address that is none")
	}
	if !who.EmailVerified {
		return state.User{}, refused(RefusedNotVerified, fault.Forbidden, "the provider has not verified your e-mail address: verify it there first")
	}
	name := who.Name
	if checkName(name) != nil {
		name = ""
	}
	u, _, err := s.store.Accounts.Resolve(ctx, state.OIDCAccount{Issuer: p.Issuer, Subject: who.subject, Email: email, Name: name}, state.OIDCPolicy{
		Link: p.trusts(email, who.HostedDomain), SignUp: s.maySignUp(p, email, who.HostedDomain), Role: s.cfg.SignupRole,
	})
	switch {
	case errors.Is(err, state.ErrDeactivated):
		return state.User{}, &RefusedError{RefusedDeactivated, err}
	case errors.Is(err, state.ErrNoSignUp), errors.Is(err, state.ErrNotLinked):
		return state.User{}, &RefusedError{RefusedDomain, err}
	}
	return u, err
}

// maySignUp tells whether a new user may be made for an address: its domain is listed, word for word, or
// the list is empty and sign-up is open by name.
func (s *Service) maySignUp(p *provider, email, hosted string) bool {
	var domains []string
	if s.cfg.AllowedDomains != nil {
		domains = s.cfg.AllowedDomains()
	}
	if !p.trusts(email, hosted) {
		return false
	}
	if len(domains) == 0 {
		return s.cfg.OpenSignup
	}
	if !slices.Contains(domains, domainOf(email)) {
		return false
	}
	// A Google account with an address of the domain need not be of the organisation that has it.
	return p.Issuer != GoogleIssuer || slices.Contains(domains, strings.ToLower(hosted)) || googles(domainOf(email))
}

// googles tells whether a domain is one whose mailboxes Google itself gives away.
func googles(domain string) bool { return domain == "gmail.com" || domain == "googlemail.com" }

// trusts tells whether the provider's word on an address is enough to take the account for the user who
// has it: its domains are not narrowed, or it is one of them. Google answers for gmail.com and for the
// organisations that it hosts, and for no other address.
func (p *provider) trusts(email, hosted string) bool {
	domain := domainOf(email)
	if len(p.LinkDomains) > 0 && !slices.Contains(p.LinkDomains, domain) {
		return false
	}
	return p.Issuer != GoogleIssuer || hosted != "" || googles(domain)
}

// domainOf is the domain of an address, in lower case.
func domainOf(email string) string {
	key := state.EmailKey(email)
	return key[strings.LastIndexByte(key, '@')+1:]
}
