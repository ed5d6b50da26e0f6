// Package identity knows who people are: passwords, sessions and personal access tokens. Every
// credential is checked against the state, so that revoking one, deactivating a user or changing a
// password works at once. Secrets are kept as hashes and never appear in errors or logs.
package identity

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// Kinds of credentials.
const (
	KindSession = "session" // of somebody who signed in
	KindToken   = "pat"     // a personal access token
)

// Config says how identity works. Store and Secret are required.
type Config struct {
	Store *state.Store
	// Secret signs sessions and tokens; see LoadSecret.
	Secret []byte
	// SessionTTL is how long a session lasts; zero means 24 hours.
	SessionTTL time.Duration
	// CacheFor is for how long a credential that was found good is not looked up again. A change made
	// by this process counts at once nevertheless, and no other one can open the state meanwhile. Zero
	// means five minutes, negative never caches.
	CacheFor time.Duration
	// FlushEvery is how often last uses are written down; zero means 15 seconds.
	FlushEvery time.Duration
	// Hashing are the parameters of new password hashes; nil means 64 MiB, 3 passes, 4 lanes.
	Hashing *argon2id.Params
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// SessionMax is how long after the sign-in a session can be refreshed; zero means 30 days.
	SessionMax time.Duration
	// PublicURL is where people reach this server. Links are built from it alone; without it there are none.
	PublicURL string
	// InstanceName is what mails call the server; nil means Agnes.
	InstanceName func() string
	// Mail sends links; nil means that none are sent.
	Mail Mailer
	// Providers are the OpenID providers.
	Providers []ProviderConfig
	// AllowedDomains are those of addresses that may sign up by a provider, in lower case. Where there are
	// none, nobody may, unless OpenSignup says that everybody may.
	AllowedDomains func() []string
	OpenSignup     bool
	// SignupRole is the role of who signed up: viewer or analyst, which is the default.
	SignupRole string
	// OnNewAddress is called, in the background, where a personal access token is used from another
	// address than before.
	OnNewAddress func(ctx context.Context, c Caller, ip, before string)
	// OnSeeded is called where SeedAdmin changed something.
	OnSeeded func(ctx context.Context, s Seeded) error
}

// Caller is who a credential belongs to, as the state says now.
type Caller struct {
	UserID, Email, Name, Role string
	// Credential is KindSession or KindToken, and CredentialID names it in the state.
	Credential, CredentialID string
	// ExpiresAt is when the credential ends by itself; zero for never.
	ExpiresAt time.Time
	// Scopes are those of a personal access token; of no meaning for a session, which may all.
	Scopes []string
}

// Admin tells whether the caller may administrate.
func (c Caller) Admin() bool { return c.Role == state.RoleAdmin }

// Service answers who people are. It is safe for concurrent use.
type Service struct {
	store    *state.Store
	secret   []byte
	cfg      Config
	hashing  argon2id.Params
	resting  sync.Once
	rest     *time.Timer   // gives the memory of the last hash back
	hashers  chan struct{} // one token per password that may be hashed at once: each takes 64 MiB
	unknown  func() string // a hash of nobody's password, to take as long for users that do not exist
	cache    verified
	uses     lastUses
	accounts *throttle // guesses of passwords by account,
	places   *throttle // by address,
	pairs    *throttle // and by account at an address that is familiar
	changes  *throttle // wrong old passwords by user
	familiar familiar
	recalled sync.Once

	jobs      chan func(ctx context.Context) // what is done after the answer
	providers []*provider
	seal      sealer
	spent     spent     // states of sign-ins by a provider that came back
	codes     *throttle // wrong codes of programs by user
	begun     *throttle // programs that begin to sign in by address
	polls     polls
}

const hashersAtOnce = 2

// New checks the configuration.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, fault.New(fault.Invalid, "identity needs the state")
	}
	if len(cfg.Secret) == 0 {
		return nil, fault.New(fault.Invalid, "identity needs the secret that signs sessions and tokens")
	}
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	s := &Service{
		store: cfg.Store, secret: cfg.Secret, cfg: cfg, hashing: defaultHashing, hashers: make(chan struct{}, hashersAtOnce),
		accounts: newThrottle(accountFree, 0), places: newThrottle(placeFree, placeForgives), pairs: newThrottle(accountFree, 0),
		changes: newThrottle(accountFree, 0), codes: newThrottle(codesFree, 0), begun: newThrottle(begunFree, deviceTTL/begunFree),
		jobs: make(chan func(ctx context.Context), backlog),
	}
	var err error
	if s.providers, err = providers(cfg.Providers, cfg.Now); err != nil {
		return nil, err
	}
	if s.seal, err = newSealer(cfg.Secret); err != nil {
		return nil, err
	}
	if cfg.Hashing != nil {
		s.hashing = *cfg.Hashing
	}
	s.unknown = sync.OnceValue(func() string {
		hash, err := argon2id.CreateHash("the password of nobody", &s.hashing)
		if err != nil {
			return ""
		}
		return hash
	})
	return s, nil
}

// settle fills in what is left out, and refuses what cannot be used.
func (c *Config) settle() error {
	if c.SessionTTL == 0 {
		c.SessionTTL = 24 * time.Hour
	}
	if c.SessionMax == 0 {
		c.SessionMax = 30 * 24 * time.Hour
	}
	if c.CacheFor == 0 {
		c.CacheFor = 5 * time.Minute
	}
	if c.FlushEvery == 0 {
		c.FlushEvery = 15 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SignupRole == "" {
		c.SignupRole = state.RoleAnalyst
	}
	if c.SignupRole != state.RoleViewer && c.SignupRole != state.RoleAnalyst {
		return fault.New(fault.Invalid, "who signs up becomes viewer or analyst, not %.40q", c.SignupRole)
	}
	if c.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fault.New(fault.Invalid, "AGNES_PUBLIC_URL is no address such as https://agnes.example.com")
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	return nil
}

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// Run writes down last uses now and then, and does what answers need not wait for, until ctx ends; and
// what is left then.
func (s *Service) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { s.workOff(ctx) })
	ticker := time.NewTicker(s.cfg.FlushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.flush(last)
			return nil
		case <-ticker.C:
			s.flush(ctx)
		}
	}
}

func (s *Service) flush(ctx context.Context) {
	if err := s.FlushUses(ctx); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the last uses of credentials could not be written down")
	}
}

// maxEmail bounds an e-mail address, in bytes (RFC 5321, section 4.5.3.1.3).
const maxEmail = 254

// checkEmail refuses what cannot be an address. Whether mail arrives is not checked.
func checkEmail(email string) (string, error) {
	email = strings.TrimSpace(email)
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || len(email) > maxEmail || strings.Contains(domain, "@") || strings.ContainsFunc(email, notInEmail) {
		return "", fault.New(fault.Invalid, "that is not an e-mail address")
	}
	return email, nil
}

// notInEmail are characters that an address needs no more than whoever writes headers with it.
func notInEmail(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune("<>()[],;:\\\"", r)
}

// nameFor is what to call a user who gave no name: the part of the address before the @.
func nameFor(name, email string) string {
	if name = strings.TrimSpace(name); name != "" {
		return name
	}
	local, _, _ := strings.Cut(email, "@")
	return local
}
