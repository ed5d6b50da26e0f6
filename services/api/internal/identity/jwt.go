package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// claims are those of the predecessor: its tokens are ours.
type claims struct {
	Email string `json:"email"`
	// Role is for people who look into a token; the role that counts is the user's in the state.
	Role string `json:"role"`
	Type string `json:"typ"`
	jwt.RegisteredClaims
}

// maxToken bounds what is parsed, in bytes.
const maxToken = 8 << 10

var errBadToken = fault.New(fault.Unauthenticated, "the token is not valid: sign in again")

// sign makes the token of a credential; a zero expiry never ends.
func (s *Service) sign(userID, email, role, kind, id string, issued, expires time.Time) (string, error) {
	c := claims{Email: email, Role: role, Type: kind, RegisteredClaims: jwt.RegisteredClaims{Subject: userID, ID: id, IssuedAt: jwt.NewNumericDate(issued)}}
	if !expires.IsZero() {
		c.ExpiresAt = jwt.NewNumericDate(expires)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.secret)
	return token, fault.Wrap(err, fault.Internal, "the token cannot be signed")
}

// parse checks signature and expiry.
func (s *Service) parse(token string) (claims, error) {
	var c claims
	if len(token) > maxToken {
		return c, errBadToken
	}
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.secret, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithTimeFunc(s.cfg.Now))
	if errors.Is(err, jwt.ErrTokenExpired) {
		return c, expiredError(c.Type)
	}
	if err != nil || c.Subject == "" || c.ID == "" {
		return c, errBadToken
	}
	return c, nil
}

func expiredError(kind string) error {
	if kind == KindToken {
		return fault.New(fault.Unauthenticated, "the personal access token has expired: make a new one")
	}
	return fault.New(fault.Unauthenticated, "the session has ended: sign in again")
}

// hashToken is how a token is kept.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
