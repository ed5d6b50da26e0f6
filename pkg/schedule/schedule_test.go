package schedule_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/schedule"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse("2006-01-02 15:04:05Z07:00", text)
	if err != nil {
		when, err = time.Parse("2006-01-02 15:04Z07:00", text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func parse(t *testing.T, text string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseGivesThePlainForm(t *testing.T) {
	t.Parallel()
	for text, plain := range map[string]string{
		"every 15m":                            "every 15m",
		"  Every  2 H ":                        "every 2h",
		"every 1d\n":                           "every 1d",
		"daily 06:30":                          "daily 06:30",
		"daily 18:00, 6:30 ,06:30":             "daily 06:30,18:00",
		"daily 23:59,00:00 Europe/Prague":      "daily 00:00,23:59 Europe/Prague",
		"daily 07:00 UTC":                      "daily 07:00",
		"0 8 * * MON":                          "0 8 * * MON",
		"*/15 6-18 * * 1-5 America/New_York":   "*/15 6-18 * * 1-5 America/New_York",
		"CRON_TZ=Europe/Prague 30 2 * * *":     "30 2 * * * Europe/Prague",
		"TZ=America/New_York 30  2 1,15 jan *": "30 2 1,15 jan * America/New_York",
		"@daily Europe/Prague":                 "@daily Europe/Prague",
		"@hourly":                              "@hourly",
	} {
		s := parse(t, text)
		if s.String() != plain {
			t.Errorf("%q is read as %q, want %q", text, s, plain)
		}
		if again := parse(t, s.String()); again.String() != plain {
			t.Errorf("%q reads back as %q", plain, again)
		}
	}
}

func TestParseRefusesWithAReasonAndAnExample(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"":                            "empty",
		"   ":                         "empty",
		"every 0m":                    "always be due",
		"every -5m":                   "number and a unit",
		"every 5s":                    `unknown unit "s"`,
		"every five minutes":          "number and a unit",
		"every 400d":                  "longer than a year",
		"every 999999999999m":         "number and a unit",
		"every":                       "number and a unit",
		"daily":                       "times of day",
		"daily Europe/Prague":         "times of day",
		"daily 24:00":                 "between 00:00 and 23:59",
		"daily 06:60":                 "between 00:00 and 23:59",
		"daily 06:30,":                "between 00:00 and 23:59",
		"daily 06:30 18:00":           "between 00:00 and 23:59",
		"daily 6":                     "unknown time zone",
		"daily 06:30 Mars/Olympus":    `unknown time zone "Mars/Olympus"`,
		"daily 06:30 Local":           "no IANA time zone",
		"daily 06:30 ../../etc/hosts": "unknown time zone",
		"0 8 * *":                     "five fields",
		"0 0 8 * * MON":               "unknown time zone",
		"0 0 8 * * 1":                 "without seconds",
		"0 8 * * * Mars/Olympus":      "unknown time zone",
		"CRON_TZ=Nowhere 0 8 * * *":   "unknown time zone",
		"61 8 * * *":                  "cron:",
		"0 0 30 2 *":                  "no such day",
		"@every 5m":                   "without the @",
		"@reboot":                     "cron:",
		"hourly":                      "neither `every` nor `daily`",
	} {
		_, err := schedule.Parse(text)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want an invalid fault", text, err)
			continue
		}
		message := fault.Message(err)
		if !strings.Contains(message, reason) || !strings.Contains(message, "`daily 06:30`") {
			t.Errorf("%q is refused with %q, which lacks %q or the examples", text, message, reason)
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schedule, after, next string }{
		{"every 15m", "2026-03-01 10:07Z", "2026-03-01 10:22Z"},
		{"every 1d", "2026-03-28 10:00+01:00", "2026-03-29 11:00+02:00"},
		{"daily 06:30,18:00", "2026-03-01 06:30Z", "2026-03-01 18:00Z"},
		{"daily 06:30,18:00", "2026-03-01 18:00Z", "2026-03-02 06:30Z"},
		{"daily 00:30 Asia/Tokyo", "2026-03-01 15:00Z", "2026-03-01 15:30Z"},
		{"0 8 * * MON", "2026-03-01 12:00Z", "2026-03-02 08:00Z"},
		{"0 0 29 2 *", "2026-03-01 00:00Z", "2028-02-29 00:00Z"},

		// The clock goes from 02:00 to 03:00: what falls into the gap comes when it ends.
		{"daily 02:30 Europe/Prague", "2026-03-28 12:00Z", "2026-03-29 01:00Z"},
		{"daily 02:30 Europe/Prague", "2026-03-29 01:00Z", "2026-03-30 00:30Z"},
		{"daily 02:30 America/New_York", "2026-03-07 12:00Z", "2026-03-08 07:00Z"},
		{"30 2 * * * Europe/Prague", "2026-03-28 12:00Z", "2026-03-29 01:00Z"},
		{"30 2 * * * Europe/Prague", "2026-03-29 01:00Z", "2026-03-30 00:30Z"},
		{"30 2 * * * America/New_York", "2026-03-08 06:59Z", "2026-03-08 07:00Z"},
		{"daily 02:30 Australia/Lord_Howe", "2026-10-03 12:00Z", "2026-10-03 15:30Z"},

		// The clock goes from 03:00 back to 02:00: what falls into the repeated hour comes once, the first time.
		{"daily 02:30 Europe/Prague", "2026-10-24 12:00Z", "2026-10-25 00:30Z"},
		{"daily 02:30 Europe/Prague", "2026-10-25 00:30Z", "2026-10-26 01:30Z"},
		{"daily 02:30 Europe/Prague", "2026-10-25 01:10Z", "2026-10-26 01:30Z"},
		{"daily 01:30 America/New_York", "2026-10-31 12:00Z", "2026-11-01 05:30Z"},
		{"daily 01:30 America/New_York", "2026-11-01 05:30Z", "2026-11-02 06:30Z"},
		{"30 2 * * * Europe/Prague", "2026-10-24 12:00Z", "2026-10-25 00:30Z"},
		{"30 2 * * * Europe/Prague", "2026-10-25 00:30Z", "2026-10-26 01:30Z"},
		{"* 2 * * * Europe/Prague", "2026-10-25 01:00Z", "2026-10-26 01:00Z"},

		// What runs every hour runs in both of them.
		{"15 * * * * Europe/Prague", "2026-10-25 00:15Z", "2026-10-25 01:15Z"},
		{"*/30 * * * * America/New_York", "2026-11-01 05:30Z", "2026-11-01 06:00Z"},
		{"15 * * * * Europe/Prague", "2026-03-29 00:15Z", "2026-03-29 01:15Z"},
	} {
		next := parse(t, c.schedule).Next(at(t, c.after))
		if !next.Equal(at(t, c.next)) {
			t.Errorf("%s after %s comes at %s, want %s", c.schedule, c.after, next.UTC(), c.next)
		}
	}
	if next := (schedule.Schedule{}).Next(time.Now()); !next.IsZero() {
		t.Errorf("no schedule is due at %s", next)
	}
}

func TestTrap_S7_ASlotMissedOverMidnightIsDueOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schedule, success, attempt, now string
		due                             bool
	}{
		{"daily 23:00", "2026-03-01 22:00Z", "", "2026-03-02 05:00Z", true},
		{"daily 23:00", "2026-03-02 05:00Z", "", "2026-03-02 05:00Z", false},
		{"daily 23:00", "2026-03-01 22:00Z", "2026-03-01 23:00Z", "2026-03-02 05:00Z", false},
		{"daily 23:00", "2026-03-01 22:00Z", "", "2026-03-01 22:59:59Z", false},
		{"every 1h", "2026-03-01 00:00Z", "", "2026-03-09 00:30Z", true},
		{"every 1h", "2026-03-01 00:00Z", "2026-03-09 00:00Z", "2026-03-09 00:30Z", false},
		{"every 1h", "2026-03-01 00:00Z", "", "2026-03-01 01:00Z", true},
		{"every 1h", "2026-03-01 00:30Z", "", "2026-03-01 00:00Z", false}, // ahead by less than a slot
		{"every 1h", "2030-01-01 00:00Z", "", "2026-03-01 00:00Z", true},  // from a wrong clock
		{"0 8 * * MON", "2026-03-01 00:00Z", "", "2026-03-02 08:00Z", true},
		{"every 1h", "", "", "2026-03-01 00:00Z", true},
	} {
		var success, attempt time.Time
		if c.success != "" {
			success = at(t, c.success)
		}
		if c.attempt != "" {
			attempt = at(t, c.attempt)
		}
		if due := parse(t, c.schedule).Due(success, attempt, at(t, c.now)); due != c.due {
			t.Errorf("%s, success %q, attempt %q, now %s: due %v", c.schedule, c.success, c.attempt, c.now, due)
		}
	}
	if (schedule.Schedule{}).Due(time.Time{}, time.Time{}, time.Now()) {
		t.Error("no schedule is due")
	}
}

// A daily time comes once on every day of the zone, and at its own time unless the clock jumped over it.
func TestDailyComesOnceADay(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Europe/Prague", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		minute := rapid.IntRange(0, 24*60-1).Draw(t, "minute")
		wall := time.Date(0, 1, 1, minute/60, minute%60, 0, 0, time.UTC)
		form := rapid.SampledFrom([]string{"daily 15:04 ", "4 15 * * * "}).Draw(t, "form")
		s, err := schedule.Parse(wall.Format(form) + zone.String())
		if err != nil {
			t.Fatal(err)
		}
		when := time.Date(2026, 1, 1, 0, 0, 0, 0, zone).Add(-time.Nanosecond)
		for day := range 365 {
			next := s.Next(when)
			if !next.After(when) {
				t.Fatalf("%s after %s comes at %s", s, when, next)
			}
			local := next.In(zone)
			if want := time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC); local.Day() != want.Day() || local.Month() != want.Month() {
				t.Fatalf("%s: slot %d is %s, want one on %s", s, day, local, want)
			}
			shown := local.Hour()*60 + local.Minute()
			if _, gap := next.Add(-time.Nanosecond).In(zone).Zone(); shown != minute && gap == offset(local) {
				t.Fatalf("%s comes at %s", s, local)
			}
			when = next
		}
	})
}

func offset(t time.Time) int {
	_, seconds := t.Zone()
	return seconds
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"every 15m", "daily 06:30,18:00 Europe/Prague", "0 8 * * MON", "CRON_TZ=UTC @daily", "daily ,", "0 0 31 2 *"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := schedule.Parse(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		now := time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC)
		if next := s.Next(now); !next.After(now) {
			t.Fatalf("%q after %s comes at %s", text, now, next)
		}
		if again, err := schedule.Parse(s.String()); err != nil || again.String() != s.String() {
			t.Fatalf("%q is written as %q, which reads as %q, %v", text, s, again, err)
		}
	})
}
