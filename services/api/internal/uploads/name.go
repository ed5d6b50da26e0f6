package uploads

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxName is the longest file name in bytes; file systems take 255.
	maxName = 200
	// maxExtension is how much of a long name's end is kept as its extension.
	maxExtension = 20
)

// deviceName matches what Windows takes for a device whatever the extension: a copy of the folder must
// be possible there.
var deviceName = regexp.MustCompile(`(?i)\A(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ ]*(\.|\z)`)

// Name makes a safe file name of what a client calls its file: the part behind the last slash or
// backslash, in NFC, without control and formatting characters and what Windows does not take. A name
// of which nothing is left, or that starts with a dot, becomes upload_<8 hex digits>.
func Name(given string) string {
	name := strings.ToValidUTF8(given, "_")
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		}
		return r
	}, name)
	name = norm.NFC.String(name) // what stood between a letter and its accent is gone
	name = strings.TrimLeftFunc(name, unicode.IsSpace)
	name = strings.TrimRightFunc(name, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
	if name == "" || name[0] == '.' {
		var random [4]byte
		_, _ = rand.Read(random[:]) // never fails
		return "upload_" + hex.EncodeToString(random[:])
	}
	if deviceName.MatchString(name) {
		name = "_" + name
	}
	return shorten(name)
}

// shorten cuts the middle of a long name. A hash of the whole keeps two long names apart.
func shorten(name string) string {
	if len(name) <= maxName {
		return name
	}
	extension := ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 && len(name)-dot <= maxExtension {
		extension = name[dot:]
	}
	sum := sha256.Sum256([]byte(name))
	tail := "_" + hex.EncodeToString(sum[:4]) + extension
	head := name[:maxName-len(tail)]
	for !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	return head + tail
}

// plain tells whether a name can be one of a file that is kept: it names an entry of its folder, not a
// way out of it. Names that the predecessor took are plain, too.
func plain(name string) bool {
	return name != "" && name[0] != '.' && len(name) <= 255 && !strings.ContainsAny(name, "/\\\x00")
}

// notesName is the file of a user's notes: the e-mail address, with every byte escaped that a path must
// not hold. Addresses of the usual letters are what they are.
func notesName(email string) string {
	var b strings.Builder
	for i := range len(email) {
		c := email[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("@_+-", c) >= 0, c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return shorten(b.String() + ".md")
}
