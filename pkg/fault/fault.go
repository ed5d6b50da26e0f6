// Package fault says what kind of failure an error is, which sentence of it a user may see, and
// whether trying again can help. It imports the standard library only, so that every package may
// speak of failures in the same words; what a kind means to HTTP or to a message queue is decided
// at those edges.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind is a stable word for the nature of a failure. It travels in events and API answers.
type Kind string

// The kinds, and what the one who gets them is meant to do.
const (
	Invalid         Kind = "invalid"         // the request is wrong: change it
	Unauthenticated Kind = "unauthenticated" // who are you: sign in
	Forbidden       Kind = "forbidden"       // known, but not allowed: ask for a grant
	NotFound        Kind = "not_found"       // does not exist, or not for you
	Conflict        Kind = "conflict"        // the state says no: read it again
	TooLarge        Kind = "too_large"       // over a limit that the message names
	Busy            Kind = "busy"            // a queue or a quota is full: try again later
	Unavailable     Kind = "unavailable"     // something this depends on is away: try again
	Permanent       Kind = "permanent"       // the outside refused for good: trying again cannot help
	Internal        Kind = "internal"        // a defect of ours, or a cause nobody foresaw
)

// Error is an error with a kind and a sentence for the user. The wrapped cause is for logs only.
type Error struct {
	Kind Kind
	// Message is safe to show: no SQL of ours, no path of the server, no secret.
	Message string
	// RetryAfter is when another try may succeed; zero where unknown.
	RetryAfter time.Duration
	cause      error
}

// New returns an error of the kind with a message for the user, formatted as by fmt.Sprintf.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap gives err a kind and a message for the user. It returns nil for a nil err.
func Wrap(err error, kind Kind, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), cause: err}
}

// After returns a copy of e that asks for a pause of d before the next try.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Error gives the message and the cause: it is for logs. A user gets Message(err).
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.cause.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// KindOf tells the kind of err: that of the outermost Error in its chain; Unavailable for a deadline
// or a cancelled context; Internal for everything unknown. The kind of nil is "".
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unavailable
	}
	return Internal
}

// Is tells whether err is of the kind.
func Is(err error, kind Kind) bool { return KindOf(err) == kind }

// Message is the sentence of err that a user may see. An error without one gets a general sentence:
// the details are in the log.
func Message(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the deadline passed before the work was done"
	case errors.Is(err, context.Canceled):
		return "the work was cancelled"
	}
	return "an internal error; the log of the server has the details"
}

// RetryAfter is the pause that err asks for; zero where it asks for none.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// Retryable tells whether the same work can succeed later without anybody changing it. Unknown
// errors count as retryable: giving up loses work, and a redelivery limit bounds the tries.
func Retryable(err error) bool {
	switch KindOf(err) {
	case "", Invalid, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge, Permanent:
		return false
	case Busy, Unavailable, Internal:
		return true
	}
	return true
}
