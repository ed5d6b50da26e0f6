package identity

import (
	"context"
	"crypto/subtle"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// verified remembers credentials that were found good, for a moment.
type verified struct {
	mu      sync.Mutex
	entries map[string]verification // by the hash of the token
}

type verification struct {
	caller     Caller
	generation uint64 // of the user, when they were read
	until      time.Time
}

// maxVerified bounds the cache; beyond it, it begins anew.
const maxVerified = 16384

func (v *verified) get(hash string, generationOf func(userID string) uint64, now time.Time) (Caller, bool) {
	v.mu.Lock()
	e, ok := v.entries[hash]
	v.mu.Unlock()
	return e.caller, ok && now.Before(e.until) && e.generation == generationOf(e.caller.UserID)
}

func (v *verified) put(hash string, e verification) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.entries == nil || len(v.entries) >= maxVerified {
		v.entries = make(map[string]verification)
	}
	v.entries[hash] = e
}

// Verify tells who a session or a personal access token belongs to; fault.Unauthenticated where to
// nobody. The role is that of the user now, not that of the token. It costs one query at most (1 ms),
// and none within some minutes of the last one, unless the user or one of their credentials changed meanwhile. ip
// is where the request comes from, and may be empty.
func (s *Service) Verify(ctx context.Context, token, ip string) (Caller, error) {
	now := s.now()
	hash := hashToken(token)
	caller, cached := s.cache.get(hash, s.store.IdentityGenerationOf, now)
	if !cached {
		c, err := s.parse(token)
		if err != nil {
			return Caller{}, err
		}
		generation := s.store.IdentityGenerationOf(c.Subject) // before anything is read
		if caller, err = s.lookUp(ctx, c, hash, now); err != nil {
			return Caller{}, err
		}
		if s.cfg.CacheFor > 0 {
			s.cache.put(hash, verification{caller: caller, generation: generation, until: now.Add(s.cfg.CacheFor)})
		}
	}
	if !caller.ExpiresAt.IsZero() && !now.Before(caller.ExpiresAt) {
		return Caller{}, expiredError(caller.Credential)
	}
	if before := s.uses.note(caller, ip, now); before != "" {
		s.newAddress(ctx, caller, ip, before)
	}
	return caller, nil
}

// newAddress says that a token is used from another address than before.
func (s *Service) newAddress(ctx context.Context, c Caller, ip, before string) {
	log := zerolog.Ctx(ctx)
	log.Info().Str("token_id", c.CredentialID).Str("user_id", c.UserID).Str("ip", ip).Str("previous_ip", before).
		Msg("a personal access token is used from another address")
	if s.cfg.OnNewAddress == nil {
		return
	}
	if err := s.later(func(ctx context.Context) { s.cfg.OnNewAddress(ctx, c, ip, before) }); err != nil {
		log.Warn().Str("token_id", c.CredentialID).Msg("the use from another address is not recorded: too much is asked for at once")
	}
}

// lookUp checks a token, whose signature is good, against the state.
func (s *Service) lookUp(ctx context.Context, c claims, hash string, now time.Time) (Caller, error) {
	switch c.Type {
	case KindSession:
		return s.lookUpSession(ctx, c, hash, now)
	case KindToken:
		return s.lookUpToken(ctx, c, hash, now)
	}
	return Caller{}, errBadToken
}

func (s *Service) lookUpSession(ctx context.Context, c claims, hash string, now time.Time) (Caller, error) {
	v, owner, err := s.store.Sessions.WithOwner(ctx, c.ID)
	if fault.Is(err, fault.NotFound) {
		return Caller{}, expiredError(KindSession) // among them the predecessor's, which nobody could revoke
	}
	if err != nil {
		return Caller{}, err
	}
	if v.UserID != c.Subject || !equal(v.Hash, hash) {
		return Caller{}, errBadToken
	}
	if !v.RevokedAt.IsZero() || !now.Before(v.ExpiresAt) {
		return Caller{}, expiredError(KindSession)
	}
	if !owner.Active {
		return Caller{}, errInactive
	}
	return callerOf(owner, KindSession, v.ID, v.ExpiresAt), nil
}

func (s *Service) lookUpToken(ctx context.Context, c claims, hash string, now time.Time) (Caller, error) {
	t, owner, err := s.store.Tokens.WithOwner(ctx, c.ID)
	if fault.Is(err, fault.NotFound) {
		return Caller{}, errBadToken
	}
	if err != nil {
		return Caller{}, err
	}
	switch {
	case t.UserID != c.Subject:
		return Caller{}, errBadToken
	case !owner.Active:
		return Caller{}, errInactive
	case !t.RevokedAt.IsZero():
		return Caller{}, fault.New(fault.Unauthenticated, "the personal access token was revoked: make a new one")
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return Caller{}, expiredError(KindToken)
	case !equal(t.Hash, hash):
		return Caller{}, errBadToken
	}
	s.uses.know(t)
	caller := callerOf(owner, KindToken, t.ID, t.ExpiresAt)
	caller.Scopes = scopesOf(t)
	return caller, nil
}

var errInactive = fault.New(fault.Unauthenticated, "this account is deactivated: ask an administrator")

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// callerOf is who owns a credential. A role that nobody knows counts as the least one.
func callerOf(u state.User, kind, id string, expires time.Time) Caller {
	role := u.Role
	if state.ValidRole(role) != nil {
		role = state.RoleViewer
	}
	return Caller{UserID: u.ID, Email: u.Email, Name: nameFor(u.Name, u.Email), Role: role, Credential: kind, CredentialID: id, ExpiresAt: expires}
}

// useEvery is how often the last use of one credential is written down, at most.
const useEvery = time.Minute

// lastUses collects when credentials were used, so that a request does not write.
type lastUses struct {
	mu      sync.Mutex
	known   map[string]state.Use // by credential: what was last noted
	tokens  map[string]state.Use // to be written
	session map[string]state.Use // to be written
	places  map[string]struct{}  // where tokens were seen: "<id> <address>"
}

const maxKnownUses = 16384

// know notes what the state says about a token's last use.
func (l *lastUses) know(t state.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.known[t.ID]; !there && !t.LastUsedAt.IsZero() {
		l.remember(state.Use{ID: t.ID, At: t.LastUsedAt, IP: t.LastUsedIP})
		_ = l.newPlace(t.ID, t.LastUsedIP)
	}
}

func (l *lastUses) remember(u state.Use) {
	if l.known == nil || len(l.known) >= maxKnownUses {
		l.known = make(map[string]state.Use)
	}
	l.known[u.ID] = u
}

// note takes down one use, unless one was taken down within the last minute. It gives the address of the
// last use where a token comes from one that it was not seen at before.
func (l *lastUses) note(c Caller, ip string, now time.Time) (movedFrom string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, seen := l.known[c.CredentialID]
	if c.Credential == KindToken && ip != "" && ip != before.IP && l.newPlace(c.CredentialID, ip) {
		movedFrom = before.IP // empty at its first use
	}
	if seen && now.Sub(before.At) < useEvery {
		return movedFrom
	}
	use := state.Use{ID: c.CredentialID, At: now, IP: ip}
	if use.IP == "" {
		use.IP = before.IP // asked by a service, which does not say for whom
	}
	l.remember(use)
	if l.tokens == nil {
		l.tokens, l.session = make(map[string]state.Use), make(map[string]state.Use)
	}
	if c.Credential == KindSession {
		l.session[use.ID] = use
	} else {
		l.tokens[use.ID] = use
	}
	return movedFrom
}

// newPlace tells whether a token was not seen at an address since the start.
func (l *lastUses) newPlace(id, ip string) bool {
	key := id + " " + ip
	if _, known := l.places[key]; known {
		return false
	}
	if l.places == nil || len(l.places) >= maxKnownUses {
		l.places = make(map[string]struct{})
	}
	l.places[key] = struct{}{}
	return true
}

// take empties what is to be written.
func (l *lastUses) take() (tokens, sessions []state.Use) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.tokens {
		tokens = append(tokens, u)
	}
	for _, u := range l.session {
		sessions = append(sessions, u)
	}
	l.tokens, l.session = nil, nil
	return tokens, sessions
}

// FlushUses writes down the last uses that were collected.
func (s *Service) FlushUses(ctx context.Context) error {
	tokens, sessions := s.uses.take()
	if err := s.store.Tokens.MarkUsed(ctx, tokens); err != nil {
		return err
	}
	return s.store.Sessions.MarkSeen(ctx, sessions)
}
