package identity

import (
	"context"
	"crypto/rand"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

const (
	deviceTTL      = 10 * time.Minute
	deviceInterval = 5 * time.Second
	// deviceGrace is by how much a poll may come early without being told off: networks are no clocks.
	deviceGrace = time.Second
	// userCodeLetters are those of RFC 8628, section 6.1: no vowels, so that no code is a word.
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8
	maxClientName   = 100

	codesFree = 10 // wrong codes of one account before the next try has to wait
	// begunFree are the sign-ins that programs at one address may begin while a code is good, before the
	// next one has to wait: nobody fills the room that there is for all.
	begunFree = 100
)

// Codes of a DeviceError (RFC 8628, section 3.5).
const (
	DevicePending = "authorization_pending"
	DeviceSlower  = "slow_down"
	DeviceDenied  = "access_denied"
	DeviceExpired = "expired_token"
)

// DeviceError is why a program has no session yet, or will have none.
type DeviceError struct {
	Code  string
	Fault error
}

// Error gives the sentence for people.
func (e *DeviceError) Error() string { return e.Fault.Error() }

// Unwrap gives the fault.
func (e *DeviceError) Unwrap() error { return e.Fault }

// DeviceCode is what a program without a browser gets to sign in with.
type DeviceCode struct {
	DeviceCode string
	UserCode   string
	ExpiresIn  time.Duration
	Interval   time.Duration
}

// BeginDevice begins the sign-in of a program without a browser (RFC 8628).
func (s *Service) BeginDevice(ctx context.Context, clientName string, from From) (DeviceCode, error) {
	clientName = strings.TrimSpace(clientName)
	if strings.ContainsFunc(clientName, misleads) {
		return DeviceCode{}, fault.New(fault.Invalid, "the name of the program has control characters")
	}
	now := s.now()
	if at := place(from.IP); at != "" {
		if wait := s.begun.begin(at, now); wait > 0 {
			return DeviceCode{}, fault.New(fault.Busy, "too many programs at this address wait for a sign-in; try again later").After(wait)
		}
	}
	secret, err := newSecret()
	if err != nil {
		return DeviceCode{}, err
	}
	for {
		code, err := newUserCode()
		if err != nil {
			return DeviceCode{}, err
		}
		err = s.store.Devices.Create(ctx, state.DeviceGrant{
			Hash: hashToken(secret), UserCode: code, ClientName: clip(clientName, maxClientName), IP: from.IP, CreatedAt: now, ExpiresAt: now.Add(deviceTTL),
		})
		if fault.Is(err, fault.Conflict) {
			continue // one in billions
		}
		if err != nil {
			return DeviceCode{}, err
		}
		return DeviceCode{DeviceCode: secret, UserCode: showUserCode(code), ExpiresIn: deviceTTL, Interval: deviceInterval}, nil
	}
}

func newUserCode() (string, error) {
	var code strings.Builder
	for range userCodeLength {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userCodeLetters))))
		if err != nil {
			return "", fault.Wrap(err, fault.Internal, "no code can be made")
		}
		code.WriteByte(userCodeLetters[n.Int64()])
	}
	return code.String(), nil
}

func showUserCode(code string) string { return code[:userCodeLength/2] + "-" + code[userCodeLength/2:] }

// readUserCode gives the code that somebody typed, in whatever letters and groups; ok is false where it
// is none.
func readUserCode(typed string) (code string, ok bool) {
	if len(typed) > 100 {
		return "", false
	}
	code = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, strings.ToUpper(typed))
	return code, len(code) == userCodeLength && strings.Trim(code, userCodeLetters) == ""
}

// PollDevice gives the session of a program once its user agreed, once. Until then, and where they did
// not, it is a *DeviceError: fault.Busy where a later poll may help, else fault.Invalid.
func (s *Service) PollDevice(ctx context.Context, deviceCode string, from From) (Session, error) {
	d, err := s.store.Devices.ByDevice(ctx, hashToken(deviceCode))
	if fault.Is(err, fault.NotFound) {
		return Session{}, errDeviceExpired
	}
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	if !now.Before(d.ExpiresAt) || d.Status == state.DeviceUsed {
		return Session{}, errDeviceExpired
	}
	if wait := s.polls.wait(d.ID, now); wait > 0 {
		return Session{}, &DeviceError{DeviceSlower, fault.New(fault.Busy, "the program asks too often").After(wait)}
	}
	switch d.Status {
	case state.DevicePending:
		return Session{}, &DeviceError{DevicePending, fault.New(fault.Busy, "nobody has confirmed this sign-in yet").After(deviceInterval)}
	case state.DeviceApproved:
		return s.redeem(ctx, d, from)
	}
	return Session{}, &DeviceError{DeviceDenied, fault.New(fault.Invalid, "the sign-in was refused")}
}

var errDeviceExpired = &DeviceError{DeviceExpired, fault.New(fault.Invalid, "the code has expired or was used: start the sign-in anew")}

func (s *Service) redeem(ctx context.Context, d state.DeviceGrant, from From) (Session, error) {
	var session Session
	_, err := s.store.Devices.Redeem(ctx, d.ID, func(u state.User) (kept state.Session, err error) {
		session, kept, err = s.prepare(u, from, MethodDevice, time.Time{})
		return kept, err
	})
	switch {
	case fault.Is(err, fault.NotFound):
		return Session{}, errDeviceExpired
	case fault.Is(err, fault.Unauthenticated):
		return Session{}, &DeviceError{DeviceDenied, fault.New(fault.Invalid, "the account cannot sign in")}
	case err != nil:
		return Session{}, err
	}
	s.familiar.note(state.EmailKey(session.User.Email), place(from.IP), s.now())
	return session, nil
}

// Device gives the request that waits with a user code, for whoever is to decide. Wrong codes in a row
// make the next tries wait: fault.NotFound, then fault.Busy.
func (s *Service) Device(ctx context.Context, c Caller, userCode string) (state.DeviceGrant, error) {
	if c.Credential != KindSession {
		return state.DeviceGrant{}, fault.New(fault.Forbidden, "a personal access token cannot sign a program in: sign in first")
	}
	if wait := s.codes.begin(c.UserID, s.now()); wait > 0 {
		return state.DeviceGrant{}, fault.New(fault.Busy, "too many wrong codes; try again later").After(wait)
	}
	code, ok := readUserCode(userCode)
	if !ok {
		return state.DeviceGrant{}, state.ErrNoDevice
	}
	d, err := s.store.Devices.Pending(ctx, code)
	if err == nil || !fault.Is(err, fault.NotFound) {
		s.codes.undo(c.UserID)
	}
	d.UserCode = showUserCode(code)
	return d, err
}

// DecideDevice approves or denies the request that waits with a user code, in the caller's name.
func (s *Service) DecideDevice(ctx context.Context, c Caller, userCode string, approve bool) error {
	d, err := s.Device(ctx, c, userCode)
	if err != nil {
		return err
	}
	code, _ := readUserCode(d.UserCode)
	return s.store.Devices.Decide(ctx, code, c.UserID, approve)
}

// polls remembers when programs asked last, in memory: a poll writes nothing, and whoever polls too
// often after a restart is told so again.
type polls struct {
	mu sync.Mutex
	by map[string]poll
}

type poll struct {
	last     time.Time
	interval time.Duration
}

// wait is 0 where a poll comes in time; else the pause that is asked for, which grows each time.
func (p *polls) wait(id string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = make(map[string]poll)
	}
	before, seen := p.by[id]
	if !seen {
		p.sweep(now)
		before.interval = deviceInterval
	}
	early := seen && now.Sub(before.last) < before.interval-deviceGrace
	if early {
		before.interval += deviceInterval
	}
	before.last = now
	p.by[id] = before
	if early {
		return before.interval
	}
	return 0
}

func (p *polls) sweep(now time.Time) {
	for id, one := range p.by {
		if now.Sub(one.last) > deviceTTL {
			delete(p.by, id)
		}
	}
}
