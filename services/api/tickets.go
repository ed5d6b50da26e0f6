package api

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
)

// tickets keep credentials for a minute, until the gateway brings back what stands for them. They lie on the bus, where
// every api finds them, sealed under the secret that sessions are signed with, and named by the hash of the ticket:
// who reads the bus has neither.
type tickets struct {
	bucket *event.Bucket
	seal   cipher.AEAD
}

func newTickets(bus *event.Bus, secret []byte) (*tickets, error) {
	seal, err := identity.Seal(secret, "agnes event tickets")
	if err != nil {
		return nil, err
	}
	return &tickets{bucket: bus.Bucket(event.BucketTickets), seal: seal}, nil
}

// Issue gives a ticket for a credential.
func (t *tickets) Issue(ctx context.Context, token string) (ticket string, ttl time.Duration, err error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // it never fails
	ticket = base64.RawURLEncoding.EncodeToString(raw)
	key := ticketKey(ticket)
	_, err = t.bucket.Create(ctx, key, t.seal.Seal(nil, nil, []byte(token), []byte(key)))
	return ticket, event.TicketTTL, err
}

func ticketKey(ticket string) string {
	sum := sha256.Sum256([]byte(ticket))
	return hex.EncodeToString(sum[:])
}

var errTicket = fault.New(fault.Unauthenticated, "the ticket is not valid, was used, or is older than a minute: get another one")

// redeem gives the credential of a ticket, to the first who asks.
func (t *tickets) redeem(ctx context.Context, ticket string) (token string, err error) {
	key := ticketKey(ticket)
	entry, err := t.bucket.Get(ctx, key)
	if fault.Is(err, fault.NotFound) || (err == nil && (len(entry.Value) == 0 || time.Since(entry.Written) > event.TicketTTL)) {
		return "", errTicket
	}
	if err != nil {
		return "", err
	}
	if _, err := t.bucket.Update(ctx, key, nil, entry.Revision); err != nil {
		if fault.Is(err, fault.Conflict) {
			return "", errTicket
		}
		return "", err
	}
	raw, err := t.seal.Open(nil, nil, entry.Value, []byte(key))
	if err != nil {
		return "", errTicket // it was issued under another secret
	}
	return string(raw), nil
}
