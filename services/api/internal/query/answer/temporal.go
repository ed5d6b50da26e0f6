package answer

import (
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// temporal writes dates and times in ISO 8601. DuckDB's infinite dates and timestamps are the words
// infinity and -infinity.
func (s style) temporal(a arrow.Array) cell {
	var scratch []byte
	var text func(b []byte, row int) []byte
	switch a := a.(type) {
	case *array.Date32:
		text = func(b []byte, row int) []byte {
			switch days := int64(a.Value(row)); days {
			case math.MaxInt32:
				return append(b, "infinity"...)
			case -math.MaxInt32:
				return append(b, "-infinity"...)
			default:
				return appendDate(b, days)
			}
		}
	case *array.Time64:
		kind, _ := a.DataType().(*arrow.Time64Type)
		perSecond := unitsPerSecond(kind.Unit)
		text = func(b []byte, row int) []byte { return appendClock(b, int64(a.Value(row)), perSecond) }
	case *array.Timestamp:
		text = timestampText(a)
	case *array.MonthDayNanoInterval:
		text = func(b []byte, row int) []byte { return appendInterval(b, a.Value(row)) }
	}
	return func(b []byte, row int) []byte {
		scratch = text(scratch[:0], row)
		return s.plain(b, scratch)
	}
}

func timestampText(a *array.Timestamp) func(b []byte, row int) []byte {
	kind, _ := a.DataType().(*arrow.TimestampType)
	perSecond := unitsPerSecond(kind.Unit)
	perDay := perSecond * secondsPerDay
	zone := ""
	if kind.TimeZone != "" {
		zone = "Z" // DuckDB gives instants; the zone is only how it would show them
	}
	return func(b []byte, row int) []byte {
		t := int64(a.Value(row))
		switch t {
		case math.MaxInt64:
			return append(b, "infinity"...)
		case -math.MaxInt64:
			return append(b, "-infinity"...)
		}
		days := floorDiv(t, perDay)
		b = append(appendDate(b, days), 'T')
		return append(appendClock(b, t-days*perDay, perSecond), zone...)
	}
}

const secondsPerDay = 24 * 60 * 60

func unitsPerSecond(unit arrow.TimeUnit) int64 {
	switch unit {
	case arrow.Second:
		return 1
	case arrow.Millisecond:
		return 1e3
	case arrow.Microsecond:
		return 1e6
	default:
		return 1e9
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendDate appends the date that is that many days after 1970-01-01 in the Gregorian calendar, by
// the algorithm of Howard Hinnant (https://howardhinnant.github.io/date_algorithms.html#civil_from_days).
func appendDate(b []byte, days int64) []byte {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	year := yoe + era*400
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day := doy - (153*mp+2)/5 + 1
	month := mp + 3
	if month > 12 {
		month -= 12
	}
	if month <= 2 {
		year++
	}
	switch {
	case year < 0:
		b = append(b, '-')
		year = -year
	case year > 9999:
		b = append(b, '+')
	}
	b = appendPadded(b, year, 4)
	b = appendPadded(append(b, '-'), month, 2)
	return appendPadded(append(b, '-'), day, 2)
}

func appendPadded(b []byte, n int64, width int) []byte {
	switch {
	case width == 2 && n < 100:
		return append(b, byte('0'+n/10), byte('0'+n%10))
	case width == 4 && n < 10_000:
		return append(b, byte('0'+n/1000), byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10))
	}
	text := strconv.FormatInt(n, 10)
	for i := len(text); i < width; i++ {
		b = append(b, '0')
	}
	return append(b, text...)
}

// appendClock appends a time of the day; a fraction has as many digits as it needs.
func appendClock(b []byte, t, perSecond int64) []byte {
	seconds, fraction := t/perSecond, t%perSecond
	b = appendPadded(b, seconds/3600, 2)
	b = appendPadded(append(b, ':'), seconds/60%60, 2)
	b = appendPadded(append(b, ':'), seconds%60, 2)
	return appendFraction(b, fraction, perSecond)
}

func appendFraction(b []byte, fraction, perSecond int64) []byte {
	if fraction == 0 {
		return b
	}
	b = append(b, '.')
	for fraction != 0 {
		perSecond /= 10
		b = append(b, byte('0'+fraction/perSecond))
		fraction %= perSecond
	}
	return b
}

// appendInterval writes an interval as DuckDB does, such as 1 year 2 months 3 days 04:05:06.5.
func appendInterval(b []byte, v arrow.MonthDayNanoInterval) []byte {
	const perSecond = 1e9
	begin := len(b)
	count := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(b) > begin {
			b = append(b, ' ')
		}
		b = append(strconv.AppendInt(b, n, 10), unit...)
		if n != 1 && n != -1 {
			b = append(b, 's')
		}
	}
	count(int64(v.Months/12), " year")
	count(int64(v.Months%12), " month")
	count(int64(v.Days), " day")
	if v.Nanoseconds == 0 && len(b) > begin {
		return b
	}
	if len(b) > begin {
		b = append(b, ' ')
	}
	nanos := v.Nanoseconds
	if nanos < 0 {
		b = append(b, '-')
		nanos = -nanos
	}
	return appendClock(b, nanos, perSecond)
}
