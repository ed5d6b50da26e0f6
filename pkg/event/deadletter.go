package event

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	deadLetterKind = "deadletter.recorded"

	headerDeadSubject  = "agnes-dead-subject"
	headerDeadConsumer = "agnes-dead-consumer"
	headerDeadError    = "agnes-dead-error"
	headerDeadKind     = "agnes-dead-kind"
	headerDeadAttempts = "agnes-dead-attempts"
	headerDeadTime     = "agnes-dead-time"
	headerDeadID       = "agnes-dead-id"

	maxErrorText  = 1000
	maxLetterPage = 1000
)

// DeadLetter is an event that a consumer gave up, with what is needed to understand and to replay it.
type DeadLetter struct {
	// Number names the letter in ReplayDeadLetter and DropDeadLetter. A consumer and an event have at
	// most one letter: a later failure of the same event replaces it, with a new number.
	Number   uint64
	Consumer string
	Subject  string
	EventID  string
	Kind     string // of the event, such as "extract.ready"
	Source   string
	// Error is the sentence for a user; the log of the consumer has the details under the event's id.
	Error     string
	ErrorKind fault.Kind
	Attempts  int
	FailedAt  time.Time
	Headers   map[string][]string // as the event came, without those of the server
	Payload   []byte
}

// LetterFilter narrows a listing of dead letters; empty fields match all.
type LetterFilter struct {
	Source, Consumer string
	// After continues a listing behind the letter of this number.
	After uint64
	// Limit is how many to return; 0 means 100, at most 1000.
	Limit int
}

func (l DeadLetter) subject() string {
	source := noSource
	if l.Source != "" {
		source = Token(l.Source)
	}
	id := Token(l.EventID)
	if len(id) > 128 {
		sum := sha256.Sum256([]byte(l.EventID))
		id = "sha256-" + hex.EncodeToString(sum[:])
	}
	return subjectRoot + deadLetterKind + "." + source + "." + l.Consumer + "." + id
}

func (b *Bus) writeLetter(ctx context.Context, l DeadLetter) error {
	msg := &nats.Msg{Subject: l.subject(), Data: l.Payload, Header: nats.Header(maps.Clone(l.Headers))}
	for key, value := range map[string]string{
		headerDeadSubject: l.Subject, headerDeadConsumer: l.Consumer, headerDeadError: oneLine(l.Error), headerDeadKind: string(l.ErrorKind),
		headerDeadAttempts: strconv.Itoa(l.Attempts), headerDeadTime: l.FailedAt.UTC().Format(time.RFC3339Nano), headerDeadID: oneLine(l.EventID),
	} {
		msg.Header.Set(key, value)
	}
	_, err := b.store(ctx, msg)
	return err
}

// ownHeaders are the headers without those that mean something to the server, which must not be sent
// again, and without those of this package about letters and replays.
func ownHeaders(h nats.Header) map[string][]string {
	own := map[string][]string{}
	for key, values := range h {
		lower := strings.ToLower(key)
		if strings.HasPrefix(lower, "nats-") || strings.HasPrefix(lower, "agnes-dead-") || lower == headerReplayFor {
			continue
		}
		own[key] = values
	}
	return own
}

// oneLine makes text fit for a header.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}

// DeadLetters lists what consumers gave up, oldest first.
func (b *Bus) DeadLetters(ctx context.Context, f LetterFilter) ([]DeadLetter, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	stream, err := b.js.Stream(ctx, streamDead)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the dead letters cannot be read")
	}
	filter := subjectRoot + deadLetterKind + "." + orAny(Token(f.Source)) + "." + orAny(f.Consumer) + ".*"
	var letters []DeadLetter
	for next := f.After + 1; len(letters) < min(f.Limit, maxLetterPage); {
		raw, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the dead letters cannot be read")
		}
		letters = append(letters, readLetter(raw))
		next = raw.Sequence + 1
	}
	return letters, nil
}

func orAny(token string) string {
	if token == "" {
		return "*"
	}
	return token
}

func readLetter(raw *jetstream.RawStreamMsg) DeadLetter {
	h := raw.Header
	l := DeadLetter{
		Number: raw.Sequence, Consumer: h.Get(headerDeadConsumer), Subject: h.Get(headerDeadSubject), EventID: h.Get(headerDeadID),
		Error: h.Get(headerDeadError), ErrorKind: fault.Kind(h.Get(headerDeadKind)), FailedAt: raw.Time,
		Headers: ownHeaders(h), Payload: raw.Data,
	}
	l.Kind, l.Source, _ = parseSubject(l.Subject)
	l.Attempts, _ = strconv.Atoi(h.Get(headerDeadAttempts))
	if t, err := time.Parse(time.RFC3339Nano, h.Get(headerDeadTime)); err == nil {
		l.FailedAt = t
	}
	return l
}

// DeadLetter reads one letter; fault.NotFound where there is none of that number.
func (b *Bus) DeadLetter(ctx context.Context, number uint64) (DeadLetter, error) {
	stream, err := b.js.Stream(ctx, streamDead)
	if err != nil {
		return DeadLetter{}, fault.Wrap(err, fault.Unavailable, "the dead letters cannot be read")
	}
	raw, err := stream.GetMsg(ctx, number)
	if err != nil {
		return DeadLetter{}, letterError(err, number)
	}
	return readLetter(raw), nil
}

// ReplayDeadLetter publishes the event of a letter again, for the consumer that gave it up and no
// other, and removes the letter. If it fails again, it is a letter again.
func (b *Bus) ReplayDeadLetter(ctx context.Context, number uint64) error {
	letter, err := b.DeadLetter(ctx, number)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: letter.Subject, Data: letter.Payload, Header: nats.Header(letter.Headers)}
	msg.Header.Set(headerReplayFor, letter.Consumer)
	msg.Header.Set(nats.MsgIdHdr, "replay-"+uuid.NewString())
	if letter.EventID != "" {
		msg.Header.Set(headerID, letter.EventID)
	}
	if _, err := b.store(ctx, msg); err != nil {
		return err
	}
	if err := b.DropDeadLetter(ctx, number); !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil // it has failed again already, and its new letter took the place of this one
}

// DropDeadLetter removes a letter for good; fault.NotFound where there is none of that number.
func (b *Bus) DropDeadLetter(ctx context.Context, number uint64) error {
	stream, err := b.js.Stream(ctx, streamDead)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the dead letters cannot be reached")
	}
	if err = stream.DeleteMsg(ctx, number); err == nil {
		return nil
	}
	if _, getErr := stream.GetMsg(ctx, number); getErr != nil {
		err = getErr // deleting what is not there is a general failure of the server
	}
	return letterError(err, number)
}

func letterError(err error, number uint64) error {
	if number == 0 || errors.Is(err, jetstream.ErrMsgNotFound) { // letters are counted from 1
		return fault.Wrap(err, fault.NotFound, "there is no dead letter %d", number)
	}
	return fault.Wrap(err, fault.Unavailable, "the dead letter %d cannot be reached", number)
}
