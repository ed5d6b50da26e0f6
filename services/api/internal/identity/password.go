package identity

import (
	"context"
	"errors"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Limits of a password.
const (
	MinPassword = 8    // characters
	MaxPassword = 1024 // bytes: more is somebody keeping the hasher busy
)

// defaultHashing is the second recommendation of RFC 9106, and what the predecessor used: hashes of
// both are checked alike, and take equally long.
var defaultHashing = argon2id.Params{Memory: 64 << 10, Iterations: 3, Parallelism: 4, SaltLength: 16, KeyLength: 32}

// CheckPassword tells why a password cannot be used; nil where it can.
func CheckPassword(password string) error {
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return fault.New(fault.Invalid, "the password is too short: use at least %d characters", MinPassword)
	case len(password) > MaxPassword:
		return fault.New(fault.Invalid, "the password is too long: use at most %d bytes", MaxPassword)
	}
	return nil
}

// hash makes the hash of a password that was checked.
func (s *Service) hash(ctx context.Context, password string) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	if err := s.turn(ctx); err != nil {
		return "", err
	}
	defer s.leave()
	hash, err := argon2id.CreateHash(password, &s.hashing)
	return hash, fault.Wrap(err, fault.Internal, "the password cannot be hashed")
}

// matches tells whether a password belongs to a hash. It takes as long for an empty or an unusable
// hash as for any other.
func (s *Service) matches(ctx context.Context, password, hash string) (bool, error) {
	if len(password) > MaxPassword {
		return false, nil
	}
	if err := s.turn(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	usable := soundHash(hash) == nil
	if !usable {
		hash = s.unknown()
	}
	match, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return false, fault.Wrap(err, fault.Internal, "the password cannot be checked")
	}
	return match && usable, nil
}

// soundHash refuses a hash whose parameters would crash the hasher or exhaust the memory.
func soundHash(hash string) error {
	p, _, key, err := argon2id.DecodeHash(hash)
	if err != nil {
		return err
	}
	if p.Iterations < 1 || p.Iterations > 64 || p.Parallelism < 1 || p.Memory > 1<<20 || len(key) < 16 {
		return errors.New("the parameters of the hash are out of range")
	}
	return nil
}

// turn waits for one of the few places in which a password is hashed.
func (s *Service) turn(ctx context.Context) error {
	select {
	case s.hashers <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Wrap(ctx.Err(), fault.Busy, "too many people sign in at once; try again in a moment")
	}
}

// idleHasher is after how long without a sign-in the memory of the hasher is given back.
const idleHasher = time.Second

// leave gives the place to the next one. A hash takes 64 MiB, which the runtime would keep for minutes:
// when nobody signs in any more, they go back to the system.
func (s *Service) leave() {
	<-s.hashers
	s.resting.Do(func() { s.rest = time.AfterFunc(idleHasher, debug.FreeOSMemory) })
	s.rest.Reset(idleHasher)
}
