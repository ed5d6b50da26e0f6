package answer

import (
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plainJSON tells which bytes stand for themselves in a JSON string.
var plainJSON = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return plain
}()

// appendJSONString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	begin := len(b)
	b = append(b, '"')
	from, ascii := 0, true
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			ascii = false
		}
		if plainJSON[c] {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	if !ascii && !utf8.ValidString(s) {
		return appendJSONString(b[:begin], strings.ToValidUTF8(s, "\uFFFD"))
	}
	return append(append(b, s[from:]...), '"')
}

// appendCSVString appends s as a field of CSV. The empty text is quoted, for nothing is NULL.
func appendCSVString(b []byte, s string) []byte {
	if s != "" && !strings.ContainsAny(s, ",\"\r\n") {
		return append(b, s...)
	}
	b = append(b, '"')
	for {
		quote := strings.IndexByte(s, '"')
		if quote < 0 {
			return append(append(b, s...), '"')
		}
		b = append(append(b, s[:quote+1]...), '"')
		s = s[quote+1:]
	}
}
