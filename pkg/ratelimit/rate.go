package ratelimit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Rate is how many requests are allowed in how much time. The zero Rate allows all.
type Rate struct {
	Count int
	Per   time.Duration
}

// maxCount keeps a rate within what a bucket can count exactly.
const maxCount = 1_000_000_000

// ParseRate reads "30/m": a count and s, m, h or a duration such as 10m. "off" and "0" allow all. An
// empty text is refused: a variable that was left empty must not open a door.
func ParseRate(text string) (Rate, error) {
	text = strings.TrimSpace(text)
	if text == "0" || strings.EqualFold(text, "off") {
		return Rate{}, nil
	}
	bad := fault.New(fault.Invalid, "%q is not a rate such as 30/m, 5/s, 100/h or off", text)
	count, per, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if !ok || err != nil || n < 0 || n > maxCount {
		return Rate{}, bad
	}
	per = strings.TrimSpace(per)
	if per == "s" || per == "m" || per == "h" {
		per = "1" + per
	}
	d, err := time.ParseDuration(per)
	if err != nil || d < time.Second || d > 24*time.Hour {
		return Rate{}, bad
	}
	if n == 0 {
		return Rate{}, nil
	}
	return Rate{Count: n, Per: d}, nil
}

// Decode reads the rate from an environment variable.
func (r *Rate) Decode(text string) error {
	parsed, err := ParseRate(text)
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// String writes the rate as ParseRate reads it.
func (r Rate) String() string {
	if r.Off() {
		return "off"
	}
	return fmt.Sprintf("%d/%s", r.Count, r.Per)
}

// Off tells whether the rate allows all.
func (r Rate) Off() bool { return r.Count <= 0 || r.Per <= 0 }

// Times is the rate for several accounts together.
func (r Rate) Times(n int) Rate {
	return Rate{Count: int(min(int64(r.Count)*int64(n), math.MaxInt32)), Per: r.Per}
}
