// Package schedule is the grammar of when a table is due: `every 15m`, `daily 06:30,18:00
// Europe/Prague`, or cron. It is pure: it knows no clock but the times it is given. The api
// validates with it what the scheduler acts on.
package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on machines without a zone database

	"github.com/robfig/cron/v3"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Schedule says when something is due. The zero Schedule is never due.
type Schedule struct {
	text  string
	every time.Duration
	walls func(day time.Time) []time.Time // daily: wall clock times of a day, as UTC
	spec  cron.Schedule
	zone  *time.Location
}

const maxText = 500

// maxEvery is the longest interval; beyond it a typing error is likelier than a wish.
const maxEvery = 366 * 24 * time.Hour

const examples = "use `every 15m`, `every 2h`, `every 1d`, `daily 06:30`, `daily 06:30,18:00 Europe/Prague`, or cron such as `0 8 * * MON-FRI Europe/Prague`"

// Parse reads a schedule. The error is a fault.Invalid whose message says what is wrong and shows
// what would be right.
//
//	every <N>m|h|d                     N of 1 or more: minutes, hours, days of 24 hours
//	daily HH:MM[,HH:MM…] [zone]        times of day in an IANA zone; UTC without one
//	[CRON_TZ=zone] m h dom mon dow [zone]   cron with five fields, or @hourly, @daily, @weekly, @monthly
func Parse(text string) (Schedule, error) {
	if len(text) > maxText {
		return Schedule{}, fault.New(fault.Invalid, "the schedule is longer than %d bytes: %s", maxText, examples)
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return Schedule{}, fault.New(fault.Invalid, "the schedule is empty: %s", examples)
	}
	var s Schedule
	var err error
	switch strings.ToLower(fields[0]) {
	case "every":
		s, err = parseEvery(fields[1:])
	case "daily":
		s, err = parseDaily(fields[1:])
	default:
		s, err = parseCron(fields)
	}
	if err != nil {
		return Schedule{}, fault.New(fault.Invalid, "schedule %q: %v; %s", shorten(text), err, examples)
	}
	return s, nil
}

func shorten(text string) string {
	if r := []rune(text); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return text
}

// String is the schedule in its plain form: Parse reads it back.
func (s Schedule) String() string { return s.text }

// IsZero tells whether there is no schedule at all.
func (s Schedule) IsZero() bool { return s.text == "" }

// Interval is the pause of an `every`; 0 for schedules of the wall clock.
func (s Schedule) Interval() time.Duration { return s.every }

// Next is the first time after the given one at which the schedule is due; the zero time where there is
// none. An interval counts from the given time.
func (s Schedule) Next(after time.Time) time.Time {
	switch {
	case s.every > 0:
		return after.Add(s.every)
	case s.spec != nil:
		return s.nextCron(after)
	case s.walls != nil:
		return s.nextDaily(after)
	}
	return time.Time{}
}

// Due tells whether a slot has passed that neither the last success nor the last attempt (the zero time
// for never) covers. However many slots passed, they are due once: after a downtime, and over midnight.
// What never ran is due. A last run that lies so far in the future that a slot fits in between came
// from a wrong clock, and is not waited for.
func (s Schedule) Due(lastSuccess, lastAttempt, now time.Time) bool {
	if s.IsZero() {
		return false
	}
	last := lastSuccess
	if lastAttempt.After(last) {
		last = lastAttempt
	}
	if last.IsZero() {
		return true
	}
	if last.After(now) {
		next := s.Next(now)
		return !next.IsZero() && next.Before(last)
	}
	next := s.Next(last)
	return !next.IsZero() && !next.After(now)
}

// nextDaily looks at the days around the given time; a zone may be a day ahead of UTC.
func (s Schedule) nextDaily(after time.Time) time.Time {
	today := wallOf(after, s.zone).Truncate(24 * time.Hour)
	for days := -1; days <= 3; days++ {
		var slots []time.Time
		for _, wall := range s.walls(today.AddDate(0, 0, days)) {
			slots = append(slots, instant(wall, s.zone))
		}
		slices.SortFunc(slots, time.Time.Compare)
		for _, slot := range slots {
			if slot.After(after) {
				return slot
			}
		}
	}
	return time.Time{}
}

// nextCron finds the slot on the wall clock first, so that a job at a certain hour runs once on days
// when the clock is changed. A job of every hour is found on the running clock: it also runs in an hour
// that comes twice.
func (s Schedule) nextCron(after time.Time) time.Time {
	if spec, ok := s.spec.(*cron.SpecSchedule); ok && spec.Hour&allHours == allHours {
		native := *spec
		native.Location = s.zone
		return native.Next(after)
	}
	wall := wallOf(after, s.zone)
	for range maxRepeated {
		wall = s.spec.Next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if slot := instant(wall, s.zone); slot.After(after) {
			return slot
		}
	}
	return time.Time{}
}

const (
	allHours = 1<<24 - 1
	// maxRepeated is more than the minutes that any zone ever repeated: slots that are over are skipped.
	maxRepeated = 2000
)

// wallOf is what a clock on the wall shows in the zone, written as a time in UTC.
func wallOf(t time.Time, zone *time.Location) time.Time {
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant is when the clock on the wall shows the time: the first of two where the clock was set back,
// and the moment after the gap where it was set forward over it.
func instant(wall time.Time, zone *time.Location) time.Time {
	near := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	var first time.Time
	for _, around := range []time.Duration{-24 * time.Hour, 0, 24 * time.Hour} {
		_, offset := near.Add(around).Zone()
		candidate := wall.Add(-time.Duration(offset) * time.Second)
		if wallOf(candidate, zone).Equal(wall) && (first.IsZero() || candidate.Before(first)) {
			first = candidate
		}
	}
	if !first.IsZero() {
		return first.In(zone)
	}
	start, end := near.ZoneBounds()
	if !end.IsZero() && !wall.After(wallOf(end, zone)) && wall.After(wallOf(end.Add(-time.Nanosecond), zone)) {
		return end
	}
	return start
}

func parseZone(name string) (*time.Location, error) {
	// LoadLocation knows "" and "Local" too, which would mean something else on every machine.
	if name == "" || strings.EqualFold(name, "local") {
		return nil, fmt.Errorf("%q is no IANA time zone", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q (IANA names, such as Europe/Prague)", name)
	}
	return zone, nil
}
