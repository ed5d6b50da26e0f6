package identity

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// ProviderConfig is one OpenID provider.
type ProviderConfig struct {
	// Name is its name in paths; Label is written on a button.
	Name, Label string
	// Issuer is its address, which discovery and id_tokens have to repeat letter by letter.
	Issuer                 string
	ClientID, ClientSecret string
	// Scopes are asked for; none means openid, email and profile.
	Scopes []string
	// LinkDomains are the domains of addresses on which the provider's word is taken, in lower case; none
	// means all.
	LinkDomains []string
}

const (
	oidcTimeout = 10 * time.Second
	// oidcAnswer bounds the documents of a provider, in bytes.
	oidcAnswer = 1 << 20
	// discoverAgain is when a provider is asked again what it told.
	discoverAgain = time.Hour
	// discoverPause is how long a provider that failed is left in peace.
	discoverPause = 2 * time.Second
)

// provider is a ProviderConfig with what discovery told. Nothing is asked before somebody signs in: a
// provider that is down stops nobody else.
type provider struct {
	ProviderConfig
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	found  *discovered
	asked  time.Time
	failed error
}

type discovered struct {
	*oidc.Provider
	// answersWithIssuer: callbacks name the issuer (RFC 9207).
	answersWithIssuer bool
}

var providerName = regexp.MustCompile(`\A[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\z`)

func newProvider(cfg ProviderConfig, now func() time.Time) (*provider, error) {
	if !providerName.MatchString(cfg.Name) {
		return nil, fault.New(fault.Invalid, "an OpenID provider is named with small letters, digits and dashes; %.40q is not", cfg.Name)
	}
	if cfg.ClientID == "" || cfg.ClientSecret == "" {
		return nil, fault.New(fault.Invalid, "the OpenID provider %s needs a client id and a client secret", cfg.Name)
	}
	if err := checkIssuer(cfg.Issuer); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the issuer of the OpenID provider %s: %s", cfg.Name, fault.Message(err))
	}
	if cfg.Label == "" {
		cfg.Label = cfg.Name
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{oidc.ScopeOpenID, "email", "profile"}
	}
	return &provider{ProviderConfig: cfg, client: providerClient(), now: now}, nil
}

// checkIssuer refuses what is no address, and what would carry secrets in the clear over a network.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fault.New(fault.Invalid, "it is no address such as https://id.example.com")
	}
	return secure(u)
}

func secure(u *url.URL) error {
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || (u.Scheme == "http" && (u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()))) {
		return nil
	}
	return fault.New(fault.Invalid, "only https is safe, except on this machine")
}

func providerClient() *http.Client {
	return &http.Client{
		Timeout: oidcTimeout,
		Transport: bounded{&http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: oidcTimeout, ForceAttemptHTTP2: true,
		}},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("too many redirects")
			}
			return secure(r.URL)
		},
	}
}

// bounded cuts answers that are too large to be meant.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, oidcAnswer), answer.Body}
	return answer, nil
}

func (p *provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// discover asks the issuer for its endpoints (OpenID Connect Discovery), and now and then again. An
// answer that was good stays so while the issuer is down.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.now().Sub(p.asked)
	if p.found != nil && since < discoverAgain {
		return p.found, nil
	}
	if p.failed != nil && since < discoverPause {
		return nil, p.failed
	}
	found, err := p.ask(ctx)
	p.asked = p.now() // after the answer: where a provider hangs, those who waited meanwhile do not wait again
	switch {
	case err == nil:
		p.found, p.failed = found, nil
	case p.found == nil:
		p.failed = err
		return nil, err
	}
	return p.found, nil
}

func (p *provider) ask(ctx context.Context) (*discovered, error) {
	// The caller may leave; what is found is everybody's.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), oidcTimeout)
	defer cancel()
	answer, err := oidc.NewProvider(p.context(ctx), p.Issuer)
	if err != nil {
		var mismatch *oidc.IssuerMismatchError
		if errors.As(err, &mismatch) {
			return nil, fault.Wrap(err, fault.Unavailable, "the provider %s calls itself by another issuer than the one configured", p.Label)
		}
		return nil, fault.Wrap(cause(err), fault.Unavailable, "the provider %s cannot be reached: try again in a moment, or sign in another way", p.Label)
	}
	found := &discovered{Provider: answer}
	var more struct {
		JWKS   string `json:"jwks_uri"`
		Issuer bool   `json:"authorization_response_iss_parameter_supported"`
	}
	if err := answer.Claims(&more); err != nil {
		return nil, fault.New(fault.Unavailable, "the provider %s describes itself in a way that cannot be read", p.Label)
	}
	for _, endpoint := range []string{answer.Endpoint().AuthURL, answer.Endpoint().TokenURL, more.JWKS} {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || secure(u) != nil {
			return nil, fault.New(fault.Unavailable, "the provider %s names an endpoint that is not safe", p.Label)
		}
	}
	found.answersWithIssuer = more.Issuer
	return found, nil
}

// maxCause bounds what is logged of a provider's answer, in bytes.
const maxCause = 300

// cause is an error for the log, which has no use for whole pages.
func cause(err error) error { return errors.New(clip(err.Error(), maxCause)) }

// providers checks the configured ones.
func providers(list []ProviderConfig, now func() time.Time) ([]*provider, error) {
	made := make([]*provider, 0, len(list))
	for _, cfg := range list {
		for _, other := range made {
			if strings.EqualFold(other.Name, cfg.Name) {
				return nil, fault.New(fault.Invalid, "two OpenID providers are named %s", cfg.Name)
			}
		}
		p, err := newProvider(cfg, now)
		if err != nil {
			return nil, err
		}
		made = append(made, p)
	}
	return made, nil
}
