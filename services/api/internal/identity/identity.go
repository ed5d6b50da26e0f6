// Package identity knows who people are: passwords, sessions and personal access tokens. Every
// credential is checked against the state, so that revoking one, deactivating a user or changing a
// password works at once. Secrets are kept as hashes and never appear in errors or logs.
package identity

import (
	"context"
	"strings"
	"sync"
	"time"

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
	// by this process counts at once nevertheless. Zero means three seconds, negative never caches.
	CacheFor time.Duration
	// FlushEvery is how often last uses are written down; zero means 15 seconds.
	FlushEvery time.Duration
	// Hashing are the parameters of new password hashes; nil means 64 MiB, 3 passes, 4 lanes.
	Hashing *argon2id.Params
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Caller is who a credential belongs to, as the state says now.
type Caller struct {
	UserID, Email, Name, Role string
	// Credential is KindSession or KindToken, and CredentialID names it in the state.
	Credential, CredentialID string
	// ExpiresAt is when the credential ends by itself; zero for never.
	ExpiresAt time.Time
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
	accounts *throttle
	places   *throttle
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
	if cfg.SessionTTL == 0 {
		cfg.SessionTTL = 24 * time.Hour
	}
	if cfg.CacheFor == 0 {
		cfg.CacheFor = 3 * time.Second
	}
	if cfg.FlushEvery == 0 {
		cfg.FlushEvery = 15 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Service{
		store: cfg.Store, secret: cfg.Secret, cfg: cfg, hashing: defaultHashing, hashers: make(chan struct{}, hashersAtOnce),
		accounts: newThrottle(accountFree), places: newThrottle(placeFree),
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

func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// Run writes down last uses now and then until ctx ends, and what is left then.
func (s *Service) Run(ctx context.Context) error {
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

// checkEmail refuses what cannot be an address. Whether mail arrives is not checked.
func checkEmail(email string) (string, error) {
	email = strings.TrimSpace(email)
	local, domain, ok := strings.Cut(email, "@")
	if !ok || local == "" || domain == "" || len(email) > 254 || strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", fault.New(fault.Invalid, "that is not an e-mail address")
	}
	return email, nil
}

// nameFor is what to call a user who gave no name: the part of the address before the @.
func nameFor(name, email string) string {
	if name = strings.TrimSpace(name); name != "" {
		return name
	}
	local, _, _ := strings.Cut(email, "@")
	return local
}
