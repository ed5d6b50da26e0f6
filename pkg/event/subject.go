package event

import (
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	subjectRoot = "agnes.v1."
	rpcRoot     = subjectRoot + "rpc."
	// noSource stands for the source in the subject of an event that belongs to none. It is no
	// valid name of a source.
	noSource = "-"
	// maxToken bounds an escaped key; a subject is a line of the protocol and an index key of the store.
	maxToken = 1024
)

// Subject is where the event is published: agnes.v1.<noun>.<verb>.<source>[.<key>]. An empty source
// is written "-"; the key may hold anything and is escaped by Token.
func (k Kind[M]) Subject(source, key string) (string, error) {
	if source == "" {
		source = noSource
	} else if err := catalog.ValidSourceName(source); err != nil {
		return "", fault.Wrap(err, fault.Invalid, "%s cannot be the source of an event", Token(source))
	}
	subject := subjectRoot + k.name + "." + source
	if key == "" {
		return subject, nil
	}
	token := Token(key)
	if len(token) > maxToken {
		return "", fault.New(fault.TooLarge, "the key of an event is longer than %d escaped bytes", maxToken)
	}
	return subject + "." + token, nil
}

// filters are the subject filters for events of a source and key; empty matches every one.
func (k Kind[M]) filters(source, key string) []string {
	root := subjectRoot + k.name + "."
	switch {
	case source == "" && key == "":
		return []string{root + ">"}
	case source == "":
		return []string{root + "*." + Token(key)}
	case key == "":
		return []string{root + source, root + source + ".>"}
	}
	return []string{root + source + "." + Token(key)}
}

// parseSubject takes an event's subject apart. Tokens after the key are part of it, so that a
// stranger's subject is read, not refused.
func parseSubject(subject string) (kind, source, key string) {
	parts := strings.SplitN(strings.TrimPrefix(subject, subjectRoot), ".", 4)
	if len(parts) < 2 || !strings.HasPrefix(subject, subjectRoot) {
		return "", "", ""
	}
	kind = parts[0] + "." + parts[1]
	if len(parts) > 2 && parts[2] != noSource {
		source = parts[2]
	}
	if len(parts) > 3 {
		key = Untoken(parts[3])
	}
	return kind, source, key
}

const hexDigits = "0123456789ABCDEF"

// Token writes any text as one token of a subject, a key of a bucket or a name of a consumer:
// every byte but A-Z, a-z, 0-9, '_' and '-' becomes "=XX". Untoken gives it back.
func Token(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// Untoken reads what Token wrote. What is not an escape is taken as it stands.
func Untoken(token string) string {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] == '=' && i+2 < len(token) {
			high, low := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
			if high >= 0 && low >= 0 {
				b.WriteByte(byte(high<<4 | low))
				i += 2
				continue
			}
		}
		b.WriteByte(token[i])
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func (m Method[Req, Resp]) subject() string { return rpcRoot + m.name }
