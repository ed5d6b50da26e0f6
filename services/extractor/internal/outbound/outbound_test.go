package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/services/extractor/internal/outbound"
)

func TestScrubbedErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	secret := errors.New("to hunter2")
	err := outbound.Scrub(fmt.Errorf("%w: %w", secret, context.Canceled), strings.NewReplacer("hunter2", "***"))
	if err.Error() != "to ***: context canceled" || !errors.Is(err, context.Canceled) || errors.Is(err, secret) {
		t.Errorf("%v", err)
	}
	if outbound.Scrub(nil, strings.NewReplacer()) != nil {
		t.Error("nil became an error")
	}
}

func TestSaidIsShortAndWhole(t *testing.T) {
	t.Parallel()
	if outbound.Said("") != "" || outbound.Said("no") != ": no" {
		t.Error("a short text")
	}
	if long := outbound.Said("x" + strings.Repeat("é", 400)); len(long) > 310 || !utf8.ValidString(long) || !strings.HasSuffix(long, "é…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if d, said := outbound.RetryAfter(http.Header{"Retry-After": {value}}, now); d != want || !said {
			t.Errorf("%s: %v %v", value, d, said)
		}
	}
	for _, value := range []string{"", "-1", "soon"} {
		if d, said := outbound.RetryAfter(http.Header{"Retry-After": {value}}, now); d != 0 || said {
			t.Errorf("%q: %v %v", value, d, said)
		}
	}
}

func TestBackoffDoublesAndIsSpread(t *testing.T) {
	t.Parallel()
	for n, seconds := range []int{1, 2, 4, 8, 8, 8} {
		middle := time.Duration(seconds) * time.Second
		if d := outbound.Backoff(n, time.Second, 8*time.Second); d < middle/2 || d > middle*3/2 {
			t.Errorf("try %d: %v", n, d)
		}
	}
}
