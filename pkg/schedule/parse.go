package schedule

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

var interval = regexp.MustCompile(`\A([0-9]{1,9})([a-z]+)\z`)

var units = map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

func parseEvery(fields []string) (Schedule, error) {
	match := interval.FindStringSubmatch(strings.ToLower(strings.Join(fields, "")))
	if match == nil {
		return Schedule{}, errors.New("after `every` comes a number and a unit, such as 15m")
	}
	unit, ok := units[match[2]]
	if !ok {
		return Schedule{}, fmt.Errorf("unknown unit %q: m for minutes, h for hours, d for days", match[2])
	}
	n, err := strconv.Atoi(match[1])
	switch {
	case err != nil:
		return Schedule{}, fmt.Errorf("%q is no number", match[1])
	case n == 0:
		return Schedule{}, errors.New("an interval of 0 would always be due: the shortest is 1m")
	case n > int(maxEvery/unit):
		return Schedule{}, errors.New("the interval is longer than a year")
	}
	return Schedule{text: fmt.Sprintf("every %d%s", n, match[2]), every: time.Duration(n) * unit}, nil
}

var clock = regexp.MustCompile(`\A([0-9]{1,2}):([0-9]{2})\z`)

func parseDaily(fields []string) (Schedule, error) {
	times, zone := fields, time.UTC
	if n := len(fields); n > 0 && !strings.ContainsAny(fields[n-1], ":,") {
		var err error
		if zone, err = parseZone(fields[n-1]); err != nil {
			return Schedule{}, err
		}
		times = fields[:n-1]
	}
	if len(times) == 0 {
		return Schedule{}, errors.New("after `daily` come times of day, such as 06:30")
	}
	var minutes []int
	for _, part := range strings.Split(strings.Join(times, " "), ",") {
		minute, err := parseClock(strings.TrimSpace(part))
		if err != nil {
			return Schedule{}, err
		}
		minutes = append(minutes, minute)
	}
	slices.Sort(minutes)
	minutes = slices.Compact(minutes)
	shown := make([]string, len(minutes))
	for i, m := range minutes {
		shown[i] = fmt.Sprintf("%02d:%02d", m/60, m%60)
	}
	text := "daily " + strings.Join(shown, ",")
	if zone != time.UTC {
		text += " " + zone.String()
	}
	return Schedule{text: text, zone: zone, walls: func(day time.Time) []time.Time {
		walls := make([]time.Time, len(minutes))
		for i, m := range minutes {
			walls[i] = day.Add(time.Duration(m) * time.Minute)
		}
		return walls
	}}, nil
}

func parseClock(text string) (minute int, err error) {
	match := clock.FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("%q is no time of day between 00:00 and 23:59", text)
	}
	h, _ := strconv.Atoi(match[1]) // digits only
	m, _ := strconv.Atoi(match[2])
	if h > 23 || m > 59 {
		return 0, fmt.Errorf("%q is no time of day between 00:00 and 23:59", text)
	}
	return h*60 + m, nil
}

const cronFields = 5

func parseCron(fields []string) (Schedule, error) {
	zone := time.UTC
	var err error
	if name, value, ok := strings.Cut(fields[0], "="); ok && (name == "CRON_TZ" || name == "TZ") {
		if zone, err = parseZone(value); err != nil {
			return Schedule{}, err
		}
		fields = fields[1:]
	}
	if len(fields) > 0 && fields[0] == "@every" {
		return Schedule{}, errors.New("write `every 15m` without the @")
	}
	want := cronFields
	if len(fields) > 0 && strings.HasPrefix(fields[0], "@") {
		want = 1
	}
	if len(fields) == want+1 {
		// A sixth field of digits and signs is a field of seconds, not a zone.
		if strings.Trim(fields[want], "0123456789*/,-?") == "" {
			return Schedule{}, errors.New("cron has five fields here, without seconds or years")
		}
		if zone, err = parseZone(fields[want]); err != nil {
			return Schedule{}, err
		}
		fields = fields[:want]
	}
	if len(fields) != want {
		if want == cronFields && len(fields) < 3 {
			return Schedule{}, errors.New("it begins with neither `every` nor `daily`, and is no cron expression of five fields")
		}
		return Schedule{}, fmt.Errorf("cron has five fields, minute hour day month weekday, not %d", len(fields))
	}
	expression := strings.Join(fields, " ")
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	spec, err := parser.Parse("CRON_TZ=UTC " + expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("cron: %w", err)
	}
	if spec.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, errors.New("no such day ever comes")
	}
	text := expression
	if zone != time.UTC {
		text += " " + zone.String()
	}
	return Schedule{text: text, spec: spec, zone: zone}, nil
}
