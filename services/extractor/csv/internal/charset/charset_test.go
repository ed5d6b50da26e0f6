package charset

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// utf16 encodes ASCII and a few letters by hand, so that the test does not trust the library twice.
func utf16(s string, big bool) string {
	var b strings.Builder
	for _, r := range s {
		if big {
			b.WriteByte(byte(r >> 8))
			b.WriteByte(byte(r))
		} else {
			b.WriteByte(byte(r))
			b.WriteByte(byte(r >> 8))
		}
	}
	return b.String()
}

func TestDetectAndRead(t *testing.T) {
	t.Parallel()
	const text = "id,name\n1,Žluťoučký\n2,kůň\n"
	const latin = "id,name\n1,\xe9t\xe9\n2,\x80uro\n"
	for name, c := range map[string]struct{ file, encoding, want string }{
		"plain":                          {"a,b\n1,2\n", "utf-8", "a,b\n1,2\n"},
		"empty":                          {"", "utf-8", ""},
		"utf-8":                          {text, "utf-8", text},
		"utf-8 with mark":                {"\xef\xbb\xbf" + text, "utf-8", text},
		"utf-16le mark":                  {"\xff\xfe" + utf16(text, false), "utf-16le", text},
		"utf-16be mark":                  {"\xfe\xff" + utf16(text, true), "utf-16be", text},
		"utf-16le no mark":               {utf16(text, false), "utf-16le", text},
		"utf-16be no mark":               {utf16(text, true), "utf-16be", text},
		"utf-32le":                       {"\xff\xfe\x00\x00a\x00\x00\x00\n\x00\x00\x00", "utf-32le", "a\n"},
		"latin-1":                        {latin, "windows-1252", "id,name\n1,été\n2,€uro\n"},
		"damaged utf-8":                  {text + text + "x\xff\n", "utf-8", text + text + "x\xff\n"},
		"zeros, not utf-16":              {"a,b\n1,\x00\x00\x00\n", "utf-8", "a,b\n1,\x00\x00\x00\n"},
		"cut off at the end of the head": {"a,b\n1,ž"[:7], "utf-8", "a,b\n1,ž"[:7]},
	} {
		e := Detect([]byte(c.file))
		if e.Name != c.encoding {
			t.Errorf("%s: detected %s, want %s", name, e.Name, c.encoding)
			continue
		}
		for _, r := range []io.Reader{strings.NewReader(c.file), iotest.OneByteReader(strings.NewReader(c.file))} {
			got, err := io.ReadAll(e.Reader(r))
			if err != nil || string(got) != c.want {
				t.Errorf("%s: read %q, %v; want %q", name, got, err, c.want)
			}
		}
	}
}

func TestNamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"UTF-8": "utf-8", "latin1": "windows-1252", "ISO-8859-1": "windows-1252", "windows-1250": "windows-1250",
		"cp1250": "windows-1250", "utf-16": "utf-16le", "shift_jis": "shift_jis", "utf8": "utf-8",
	} {
		e, err := Named(name)
		if err != nil || e.Name != want {
			t.Errorf("Named(%q) = %s, %v", name, e.Name, err)
		}
	}
	if _, err := Named("klingon"); err == nil {
		t.Error("an unknown encoding is accepted")
	}
	czech, _ := Named("windows-1250")
	got, err := io.ReadAll(czech.Reader(strings.NewReader("k\xf9\xf2")))
	if err != nil || string(got) != "kůň" {
		t.Errorf("windows-1250: %q, %v", got, err)
	}
	// A mark tells more than a name.
	sixteen, _ := Named("utf-16")
	file := "\xfe\xff" + utf16("ab", true)
	if got, err := io.ReadAll(sixteen.With([]byte(file)).Reader(strings.NewReader(file))); string(got) != "ab" || err != nil {
		t.Errorf("utf-16 with a big-endian mark: %q, %v", got, err)
	}
}

func TestUndecodable(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"\xff\xfea\x00b", "\xff\xfea\x00\x00\xd8b\x00"} {
		if _, err := io.ReadAll(Detect([]byte(file)).Reader(strings.NewReader(file))); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%q: %v", file, err)
		}
		if _, err := io.ReadAll(iotest.OneByteReader(Detect([]byte(file)).Reader(strings.NewReader(file)))); !errors.Is(err, ErrUndecodable) {
			t.Errorf("%q read byte by byte: %v", file, err)
		}
	}
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte("\xff\xfea\x00"), 3)
	f.Add([]byte("a,b\n1,\xe9"), 2)
	f.Add([]byte("\xef\xbb\xbfž"), 1)
	f.Fuzz(func(t *testing.T, file []byte, cut int) {
		e := Detect(file)
		out, err := io.ReadAll(e.Reader(bytes.NewReader(file)))
		if !e.IsUTF8() && err == nil && !utf8.Valid(out) {
			t.Fatalf("%s gives invalid UTF-8", e.Name)
		}
		if e.IsUTF8() && err != nil && len(file) >= 3 {
			t.Fatal(err)
		}
		// The census does not depend on how the file is cut into writes.
		if cut < 0 || cut > len(file) {
			return
		}
		var whole, parts Census
		_, _ = whole.Write(file)
		_, _ = parts.Write(file[:cut])
		_, _ = parts.Write(file[cut:])
		if whole.Encoding().Name != parts.Encoding().Name || whole.Invalid != parts.Invalid || whole.Sequences != parts.Sequences {
			t.Fatalf("%+v, but in two writes %+v", whole, parts)
		}
	})
}
