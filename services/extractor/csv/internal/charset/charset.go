// Package charset finds out how a text file is encoded, and reads it as UTF-8.
package charset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// Encoding is how a file is encoded. The zero Encoding is UTF-8 without a mark.
type Encoding struct {
	// Name is the usual name, such as "utf-16le".
	Name string
	// mark is how many bytes of byte order mark the file starts with.
	mark    int
	decoder encoding.Encoding // nil for UTF-8
}

// IsUTF8 tells whether the bytes of the file are UTF-8 already.
func (e Encoding) IsUTF8() bool { return e.decoder == nil }

var marks = []struct {
	mark    string
	name    string
	decoder encoding.Encoding
}{
	// UTF-32 comes first: its little-endian mark starts with that of UTF-16.
	{"\xff\xfe\x00\x00", "utf-32le", utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)},
	{"\x00\x00\xfe\xff", "utf-32be", utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)},
	{"\xef\xbb\xbf", "utf-8", nil},
	{"\xff\xfe", "utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)},
	{"\xfe\xff", "utf-16be", unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)},
}

var (
	utf16le = Encoding{Name: "utf-16le", decoder: unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)}
	utf16be = Encoding{Name: "utf-16be", decoder: unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)}
	western = Encoding{Name: "windows-1252", decoder: charmap.Windows1252}
	plain   = Encoding{Name: "utf-8"}
)

// Named finds an encoding by one of the names of the WHATWG list: "utf-8", "latin1",
// "windows-1250", "utf-16le", "shift_jis" and so on.
func Named(name string) (Encoding, error) {
	e, err := htmlindex.Get(strings.TrimSpace(name))
	if err != nil {
		return Encoding{}, fmt.Errorf("the encoding %q is not known; use a name such as utf-8, windows-1252, windows-1250 or utf-16le", name)
	}
	canonical, err := htmlindex.Name(e)
	if err != nil {
		return Encoding{}, fmt.Errorf("the encoding %q has no name: %w", name, err)
	}
	if canonical == "utf-8" {
		return plain, nil
	}
	if canonical == "replacement" {
		return Encoding{}, fmt.Errorf("the encoding %q cannot be read", name)
	}
	return Encoding{Name: canonical, decoder: e}, nil
}

// With gives the encoding for a file that starts with head: a byte order mark is skipped, and wins
// over the byte order of the name.
func (e Encoding) With(head []byte) Encoding {
	for _, m := range marks {
		if !bytes.HasPrefix(head, []byte(m.mark)) {
			continue
		}
		if m.decoder == nil && e.decoder == nil || m.decoder != nil && strings.HasPrefix(e.Name, "utf-") {
			return Encoding{Name: m.name, mark: len(m.mark), decoder: m.decoder}
		}
	}
	return e
}

// Detect tells the encoding of a file from its start: by its mark, by the zero bytes that UTF-16
// has in every other place, and otherwise UTF-8 unless the bytes speak against it.
func Detect(head []byte) Encoding {
	if e := DetectUnicode(head); e.mark > 0 || e.decoder != nil {
		return e
	}
	var c Census
	_, _ = c.Write(head)
	return c.encoding(false)
}

// DetectUnicode is Detect for text that cannot be anything but UTF-8, UTF-16 or UTF-32.
func DetectUnicode(head []byte) Encoding {
	for _, m := range marks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			return Encoding{Name: m.name, mark: len(m.mark), decoder: m.decoder}
		}
	}
	if e, ok := detectUTF16(head); ok {
		return e
	}
	return plain
}

// detectUTF16 recognises UTF-16 without a mark in text that is mostly Latin.
func detectUTF16(head []byte) (Encoding, bool) {
	var zeros [2]int
	for i, b := range head {
		if b == 0 {
			zeros[i&1]++
		}
	}
	half := len(head) / 2
	if half < 2 {
		return Encoding{}, false
	}
	switch {
	case zeros[1]*10 >= half*7 && zeros[0]*20 <= half:
		return utf16le, true
	case zeros[0]*10 >= half*7 && zeros[1]*20 <= half:
		return utf16be, true
	}
	return Encoding{}, false
}

// Census counts what speaks for and against UTF-8 in a whole file that is written to it.
type Census struct {
	// Sequences of several bytes that are valid UTF-8, bytes that are not, and zero bytes.
	Sequences, Invalid, Zeros int64

	rest []byte // an unfinished sequence at the end of what was written
}

// Write counts; it never fails.
func (c *Census) Write(p []byte) (int, error) {
	n := len(p)
	if len(c.rest) > 0 {
		p = append(c.rest, p...)
		c.rest = nil
	}
	for len(p) > 0 {
		if p[0] < utf8.RuneSelf {
			if p[0] == 0 {
				c.Zeros++
			}
			p = p[1:]
			continue
		}
		if len(p) < utf8.UTFMax && !utf8.FullRune(p) {
			c.rest = append([]byte(nil), p...)
			break
		}
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			c.Invalid++
		} else {
			c.Sequences++
		}
		p = p[size:]
	}
	return n, nil
}

// Encoding is the verdict over a whole file: UTF-8 where there is more valid than invalid (then the
// invalid bytes are damage), and otherwise windows-1252, which holds all of Latin-1's text.
func (c *Census) Encoding() Encoding { return c.encoding(true) }

func (c *Census) encoding(whole bool) Encoding {
	invalid := c.Invalid
	if whole {
		invalid += int64(len(c.rest))
	}
	if invalid > c.Sequences && c.Zeros == 0 {
		return western
	}
	return plain
}

// Reader reads r, which starts at the first byte of the file, as UTF-8 without a mark. Bytes that
// the encoding has no character for, and a character cut off by the end of the file, are
// ErrUndecodable.
func (e Encoding) Reader(r io.Reader) io.Reader {
	if e.mark > 0 {
		r = &skipper{r: r, n: e.mark}
	}
	if e.decoder == nil {
		return r
	}
	return &strict{r: e.decoder.NewDecoder().Reader(r)}
}

// ErrUndecodable tells that the file is not what its encoding says.
var ErrUndecodable = errors.New("bytes that the encoding has no character for")

// strict finds the replacement character that decoders put where they cannot go on. Text that holds
// this character of its own was damaged by whoever wrote it.
type strict struct {
	r    io.Reader
	tail [2]byte // the last bytes read: the character may be cut by a read
}

var replacement = []byte(string(utf8.RuneError))

func (s *strict) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n == 0 {
		return n, err
	}
	if seam := append(s.tail[:2:2], p[:min(n, 2)]...); bytes.Contains(seam, replacement) {
		return 0, ErrUndecodable
	}
	if i := bytes.Index(p[:n], replacement); i >= 0 {
		return i, ErrUndecodable
	}
	if n == 1 {
		s.tail[0], s.tail[1] = s.tail[1], p[0]
	} else {
		s.tail[0], s.tail[1] = p[n-2], p[n-1]
	}
	return n, err
}

// skipper leaves out the first bytes.
type skipper struct {
	r io.Reader
	n int
}

func (s *skipper) Read(p []byte) (int, error) {
	if s.n > 0 {
		if _, err := io.CopyN(io.Discard, s.r, int64(s.n)); err != nil {
			return 0, err
		}
		s.n = 0
	}
	return s.r.Read(p)
}

// Mark is how many bytes of byte order mark the file starts with.
func (e Encoding) Mark() int64 { return int64(e.mark) }
