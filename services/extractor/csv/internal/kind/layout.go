package kind

import (
	"fmt"
	"strings"
)

// Layout is a date or timestamp format in the directives of strptime, as DuckDB understands them.
type Layout struct {
	text  string
	steps []step
	// HasDay and HasTime tell what the layout holds; Zoned, that its values carry a UTC offset.
	HasDay, HasTime, Zoned bool
}

type step struct {
	directive byte // 0 for literal text
	literal   string
}

// directives that a layout may use, with the most digits each takes; 0 for the ones that are words.
var directives = map[byte]int{
	'd': 2, 'm': 2, 'Y': 4, 'y': 2, 'H': 2, 'I': 2, 'M': 2, 'S': 2, 'f': 6, 'p': 0, 'z': 0, 'b': 0, 'B': 0, 'a': 0, 'A': 0,
}

// ParseLayout reads a format such as "%d/%m/%Y %H:%M". It knows the directives d, m, Y, y, H, I, M,
// S, f, p, z, b, B, a, A and %%.
func ParseLayout(text string) (*Layout, error) {
	l := &Layout{text: text}
	seen := map[byte]bool{}
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			l.addLiteral(text[i : i+1])
			continue
		}
		i++
		if i == len(text) {
			return nil, fmt.Errorf("the format %q ends with %%", text)
		}
		if text[i] == '%' {
			l.addLiteral("%")
			continue
		}
		if _, ok := directives[text[i]]; !ok {
			return nil, fmt.Errorf("the format %q uses %%%c; known are %%d %%m %%Y %%y %%H %%I %%M %%S %%f %%p %%z %%b %%B %%a %%A", text, text[i])
		}
		if seen[text[i]] {
			return nil, fmt.Errorf("the format %q uses %%%c twice", text, text[i])
		}
		seen[text[i]] = true
		l.steps = append(l.steps, step{directive: text[i]})
	}
	l.HasDay = seen['d'] && (seen['m'] || seen['b'] || seen['B']) && (seen['Y'] || seen['y'])
	l.HasTime = seen['H'] || seen['I'] || seen['M'] || seen['S'] || seen['f'] || seen['p']
	l.Zoned = seen['z']
	if !l.HasDay {
		return nil, fmt.Errorf("the format %q does not name a day, a month and a year", text)
	}
	if seen['I'] != seen['p'] {
		return nil, fmt.Errorf("the format %q uses only one of %%I and %%p", text)
	}
	return l, nil
}

// String gives the format as it was written.
func (l *Layout) String() string { return l.text }

func (l *Layout) addLiteral(s string) {
	if n := len(l.steps); n > 0 && l.steps[n-1].directive == 0 {
		l.steps[n-1].literal += s
		return
	}
	l.steps = append(l.steps, step{literal: s})
}

var (
	months = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}
	days   = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
)

// Matches tells whether the whole of v is a date in this format that exists.
func (l *Layout) Matches(v []byte) bool {
	if l == nil {
		return false
	}
	year, month, day := 2000, 1, 1
	rest := string(v)
	for _, s := range l.steps {
		var n int
		var ok bool
		if s.directive == 0 {
			if rest, ok = strings.CutPrefix(rest, s.literal); !ok {
				return false
			}
			continue
		}
		if n, rest, ok = s.read(rest); !ok {
			return false
		}
		switch s.directive {
		case 'Y':
			year = n
		case 'y':
			year = 2000 + n // only leap years matter here, and those of 1900s and 2000s agree but for 1900
		case 'm', 'b', 'B':
			month = n
		case 'd':
			day = n
		}
	}
	return rest == "" && validDay(year, month, day)
}

// read takes what the directive stands for off the start of v.
func (s step) read(v string) (n int, rest string, ok bool) {
	switch s.directive {
	case 'p':
		if len(v) < 2 || !strings.EqualFold(v[1:2], "m") || !strings.ContainsRune("aApP", rune(v[0])) {
			return 0, "", false
		}
		return 0, v[2:], true
	case 'b', 'B':
		return word(v, months, s.directive == 'b')
	case 'a', 'A':
		return word(v, days, s.directive == 'a')
	case 'z':
		end := strings.IndexFunc(v, func(r rune) bool { return !strings.ContainsRune("+-:0123456789Z", r) })
		if end < 0 {
			end = len(v)
		}
		return 0, v[end:], end > 0 && v[0] != 'Z' && offset([]byte(v[:end]))
	}
	most := directives[s.directive]
	i := 0
	for i < len(v) && i < most && v[i]-'0' <= 9 {
		n = n*10 + int(v[i]-'0')
		i++
	}
	if i == 0 || (s.directive == 'Y' && i != 4) || (s.directive == 'y' && i != 2) {
		return 0, "", false
	}
	low, high := s.bounds()
	return n, v[i:], n >= low && n <= high
}

func (s step) bounds() (low, high int) {
	switch s.directive {
	case 'H':
		return 0, 23
	case 'I':
		return 1, 12
	case 'M', 'S':
		return 0, 59
	}
	return 0, 999999
}

// word takes one of the words, in any case, or its first three letters.
func word(v string, words []string, short bool) (n int, rest string, ok bool) {
	for i, w := range words {
		if short {
			w = w[:3]
		}
		if len(v) >= len(w) && strings.EqualFold(v[:len(w)], w) {
			return i + 1, v[len(w):], true
		}
	}
	return 0, "", false
}
