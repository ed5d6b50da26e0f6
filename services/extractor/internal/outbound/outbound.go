// Package outbound is what the clients of the APIs of sources share: what their errors may say, and how long they
// wait.
package outbound

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// scrubbed is an error whose text has no secret. Of what it hides only the end of the context shows.
type scrubbed struct {
	text string
	end  error
}

func (e *scrubbed) Error() string { return e.text }

func (e *scrubbed) Unwrap() error { return e.end }

// Scrub gives an error with the text of another one, without the secrets that are replaced in it: it can be
// told from others by context.Canceled and context.DeadlineExceeded alone. nil stays nil.
func Scrub(err error, secrets *strings.Replacer) error {
	if err == nil {
		return nil
	}
	out := &scrubbed{text: secrets.Replace(err.Error())}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			out.end = end
		}
	}
	return out
}

// mostSaid bounds what is quoted of a text from outside, in bytes.
const mostSaid = 300

// Said makes a text from outside the end of a sentence: short, and with ": " before it. Nothing stays nothing.
func Said(text string) string {
	if text == "" {
		return ""
	}
	if len(text) > mostSaid {
		text = text[:mostSaid]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text += "…"
	}
	return ": " + text
}

// RetryAfter reads the header of that name, which has seconds or a date; said is false where it is not there
// (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after).
func RetryAfter(h http.Header, now time.Time) (pause time.Duration, said bool) {
	v := h.Get("Retry-After")
	if d, err := time.ParseDuration(v + "s"); err == nil && d >= 0 {
		return d, true
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// Backoff is how long to wait after try n (from 0): first, twice as long each time but no longer than most,
// and spread from a half to one and a half of that.
func Backoff(n int, first, most time.Duration) time.Duration {
	d := min(first<<min(n, 10), most)
	return d/2 + time.Duration(rand.Int64N(int64(d))) //nolint:gosec // a spread, not a secret
}
