// Package kind decides which DuckDB types a text value can become without losing anything. It is
// stricter than DuckDB's casts, which turn '1.5' into the BIGINT 2, '00123' into 123 and drop the
// zone of a timestamp: a value that would come out different does not fit.
package kind

import "bytes"

// Set is a set of kinds.
type Set uint16

// The kinds that are recognised without being declared.
const (
	Bool    Set = 1 << iota // true or false, in any case
	Int                     // a whole number that BIGINT holds, without leading zeros or a plus sign
	Float                   // a number that DOUBLE gives back as it was written
	Date                    // 2026-01-31 or 2026/01/31
	Stamp                   // a date with an optional time of day, to the microsecond, without a zone
	StampTZ                 // a date and time with seconds and a UTC offset
	Time                    // 10:30:00, to the microsecond
	DateAs                  // a date in the configured format
	StampAs                 // a timestamp in the configured format

	// All is every kind: what a column may be before its first value was seen.
	All Set = 1<<iota - 1
)

// maxExact is the largest whole number up to which DOUBLE holds every whole number: 2^53.
const maxExact = 1 << 53

// maxDigits is how many significant digits a DOUBLE prints at most.
const maxDigits = 17

// Formats are the formats that a configuration adds to the ISO ones; nil for none.
type Formats struct {
	Date, Stamp *Layout
}

// Of gives the kinds among within that the value fits. Spaces around it do not count.
func (f *Formats) Of(value []byte, within Set) Set {
	if len(value) == 0 {
		return 0
	}
	var fits Set
	if within&Bool != 0 && isBool(value) {
		fits |= Bool
	}
	v := value
	if v[0] == ' ' || v[len(v)-1] == ' ' {
		if v = bytes.Trim(value, " "); len(v) == 0 {
			return 0
		}
	}
	if within&(Int|Float) != 0 {
		fits |= number(v) & within
	}
	if within&(Date|Stamp|StampTZ) != 0 && len(v) >= len("2006-01-02") {
		fits |= moment(v) & within
	}
	if within&Time != 0 && len(v) >= len("15:04:05") {
		if n, ok := clock(v, true); ok && n == len(v) {
			fits |= Time
		}
	}
	if within&DateAs != 0 && f.Date.Matches(v) {
		fits |= DateAs
	}
	if within&StampAs != 0 && f.Stamp.Matches(v) {
		fits |= StampAs
	}
	return fits
}

// Start is what a column may be before its first value was seen.
func (f *Formats) Start() Set {
	s := All
	if f.Date == nil {
		s &^= DateAs
	}
	if f.Stamp == nil {
		s &^= StampAs
	}
	return s
}

// Best is the one kind of a column whose values all fit the kinds of s; 0 means text.
func Best(s Set) Set {
	for _, k := range []Set{Bool, Int, Float, Date, Stamp, StampTZ, Time, DateAs, StampAs} {
		if s&k != 0 {
			return k
		}
	}
	return 0
}

// isBool wants one of three spellings: DuckDB itself takes no spaces around them.
func isBool(v []byte) bool {
	switch len(v) {
	case 4:
		return string(v) == "true" || string(v) == "TRUE" || string(v) == "True"
	case 5:
		return string(v) == "false" || string(v) == "FALSE" || string(v) == "False"
	}
	return false
}

// number tells whether v is an Int, a Float or both. An exponent needs a fraction or a sign, because
// "12E4" is more often a code than a number.
func number(v []byte) Set {
	i := 0
	if v[0] == '-' {
		i++
	}
	whole := digits(v[i:])
	if whole > 1 && v[i] == '0' {
		return 0 // leading zeros mean something: a postcode, an account
	}
	if i+whole == len(v) {
		return wholeNumber(v[i:], i == 1)
	}
	rest := v[i+whole:]
	significant, fraction := whole, 0
	if rest[0] == '.' {
		if fraction = digits(rest[1:]); fraction == 0 {
			return 0
		}
		significant += fraction
		if whole == 0 || v[i] == '0' { // zeros before the first other digit do not count
			significant = fraction - zeros(rest[1:1+fraction])
		}
		rest = rest[1+fraction:]
	}
	if whole+fraction == 0 || significant > maxDigits || !exponent(rest, fraction > 0) {
		return 0
	}
	return Float
}

// zeros counts the zeros that v starts with.
func zeros(v []byte) int {
	return len(v) - len(bytes.TrimLeft(v, "0"))
}

func wholeNumber(v []byte, negative bool) Set {
	if len(v) == 0 || len(v) > 19 || (negative && v[0] == '0') {
		return 0
	}
	var n uint64
	for _, c := range v {
		n = n*10 + uint64(c-'0')
	}
	switch {
	case n <= maxExact:
		return Int | Float
	case n < 1<<63, negative && n == 1<<63:
		return Int
	}
	return 0
}

// exponent accepts nothing, or an exponent that DOUBLE holds with every fraction.
func exponent(v []byte, fraction bool) bool {
	if len(v) == 0 {
		return true
	}
	if v[0] != 'e' && v[0] != 'E' {
		return false
	}
	v = v[1:]
	signed := len(v) > 0 && (v[0] == '-' || v[0] == '+')
	if signed {
		v = v[1:]
	}
	if len(v) == 0 || len(v) > 3 || digits(v) != len(v) || (!signed && !fraction) {
		return false
	}
	return len(v) < 3 || string(v) <= "307"
}

// digits counts the digits that v starts with.
func digits(v []byte) int {
	for i, c := range v {
		if c-'0' > 9 {
			return i
		}
	}
	return len(v)
}

// moment tells whether v is a Date, a Stamp or a StampTZ.
func moment(v []byte) Set {
	if !isDate(v[:10]) {
		return 0
	}
	if len(v) == 10 {
		return Date | Stamp
	}
	if v[10] != ' ' && v[10] != 'T' {
		return 0
	}
	n, ok := clock(v[11:], false)
	if !ok {
		return 0
	}
	zone := v[11+n:]
	switch {
	case len(zone) == 0:
		return Stamp
	case n >= len("15:04:05") && offset(zone):
		return StampTZ
	}
	return 0
}

func isDate(v []byte) bool {
	if (v[4] != '-' && v[4] != '/') || v[7] != v[4] {
		return false
	}
	v = v[:10]
	if (v[0]-'0' > 9) || (v[1]-'0' > 9) || (v[2]-'0' > 9) || (v[3]-'0' > 9) || (v[5]-'0' > 9) || (v[6]-'0' > 9) || (v[8]-'0' > 9) || (v[9]-'0' > 9) {
		return false
	}
	year := int(v[0]-'0')*1000 + int(v[1]-'0')*100 + int(v[2]-'0')*10 + int(v[3]-'0')
	return validDay(year, two(v[5:]), two(v[8:]))
}

func validDay(year, month, day int) bool {
	if year < 1 || month < 1 || month > 12 || day < 1 {
		return false
	}
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return day <= 29
	}
	return day <= [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1]
}

// clock reads HH:MM[:SS[.ffffff]] at the start of v and gives its length. A fraction beyond the
// microsecond does not fit.
func clock(v []byte, seconds bool) (int, bool) {
	if len(v) < 5 || digits(v[:2]) != 2 || v[2] != ':' || digits(v[3:5]) != 2 || two(v) > 23 || two(v[3:]) > 59 {
		return 0, false
	}
	if len(v) < 8 || v[5] != ':' {
		return 5, !seconds
	}
	if digits(v[6:8]) != 2 || two(v[6:]) > 59 {
		return 0, false
	}
	if len(v) == 8 || v[8] != '.' {
		return 8, true
	}
	n := digits(v[9:])
	if n == 0 || n > 6 {
		return 0, false
	}
	return 9 + n, true
}

// offset reads Z, +02, +02:00 or +0200.
func offset(v []byte) bool {
	if len(v) == 1 {
		return v[0] == 'Z'
	}
	if v[0] != '+' && v[0] != '-' {
		return false
	}
	v = v[1:]
	switch len(v) {
	case 2:
	case 4:
		return digits(v) == 4 && two(v) <= 15 && two(v[2:]) <= 59
	case 5:
		return digits(v[:2]) == 2 && v[2] == ':' && digits(v[3:]) == 2 && two(v) <= 15 && two(v[3:]) <= 59
	default:
		return false
	}
	return digits(v) == 2 && two(v) <= 15
}

func two(v []byte) int { return int(v[0]-'0')*10 + int(v[1]-'0') }
