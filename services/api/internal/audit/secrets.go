package audit

import (
	"regexp"
	"slices"
	"strings"
)

// secretNames are what the names of secrets end with, in lower case and without dividers: password,
// access_token, clientSecret, X-Api-Key. shortNames are words that others end with too, and stand alone
// or behind a divider: db_pass.
var (
	secretNames = []string{
		"password", "passwords", "secrets", "passwd", "passphrase", "passcode", "secret", "token", "credential", "credentials", "apikey", "accesskey", "secretkey", "privatekey",
		"accountkey", "sharedkey", "connectionstring", "signature", "authorization", "cookie",
	}
	shortNames = []string{"pwd", "pass", "sig"}
	dividers   = strings.NewReplacer("_", "", "-", "")
)

// isSecretName tells whether a value of that name is a secret whatever it looks like.
func isSecretName(name string) bool {
	name = strings.TrimRight(strings.ToLower(name), "0123456789")
	for _, end := range []string{"hash", "value"} {
		if rest, ok := strings.CutSuffix(name, end); ok && (strings.HasSuffix(rest, "_") || strings.HasSuffix(rest, "-")) {
			name = rest[:len(rest)-1]
		}
	}
	plain := dividers.Replace(name)
	return slices.ContainsFunc(secretNames, func(end string) bool { return strings.HasSuffix(plain, end) }) ||
		slices.ContainsFunc(shortNames, func(end string) bool {
			return name == end || strings.HasSuffix(name, "_"+end) || strings.HasSuffix(name, "-"+end)
		})
}

// What stands behind the name of a secret. The end of a text may have been cut off.
const (
	quotedSQL = `(?:(?:[ebxnu]|u&)?'(?:[^']|'')*'?|\$(?:[a-z_][a-z0-9_]*)?\$[\s\S]*?(?:\$[a-z0-9_]*\$|\z))`
	// quoted is a text of SQL, JSON, a shell, or of JSON that stands inside of a text.
	quoted = `(?:` + quotedSQL + `|"(?:[^"\\]|\\.|"")*"?|\\"(?:[^"\\]|\\[^"])*(?:\\"|\z))`
	// inBrackets are texts that a function or a list takes.
	inBrackets = `(?:[a-z_][a-z0-9_]*\s*)?[(\[]\s*(?:[a-z_][a-z0-9_]*\s*\(\s*)?` + quoted + `(?:\s*,\s*` + quoted + `)*(?:\s*[)\]])?`
	joined     = `(?:\s*\|\|\s*` + quoted + `)*`
	space      = `(?:\s|/\*[^*/]*\*/)*`
	ends       = `\A\\?["')\]]{0,4}`
	compared   = space + `(?::=|=>|==?|:|<>|!=|!?~~?\*?)` + space
	likewise   = `\s+(?:not\s+)?(?:i?like|in|is|to)\s*`
)

var (
	// header is what a header of HTTP that authorizes holds: a scheme and more.
	header = regexp.MustCompile(`\A(\s*:)[^\r\n'"]+`)
	// assigned and following find the value behind a name: with a sign between them, and without.
	assigned  = regexp.MustCompile(`(?is)(` + ends + compared + `)(?:` + inBrackets + `|` + quoted + joined + `|[^\s,;&)}\]'"]+)`)
	following = regexp.MustCompile(`(?is)(` + ends + `(?:` + likewise + `|\s*))(?:` + inBrackets + `|` + quotedSQL + joined + `)`)
)

// scrubNamed takes out what the names in a text say is secret.
func scrubNamed(text string) string {
	var out strings.Builder
	done := 0
	for at := 0; at < len(text); {
		if !inName(text[at]) {
			at++
			continue
		}
		start := at
		for at < len(text) && inName(text[at]) {
			at++
		}
		if !isSecretName(text[start:at]) {
			continue
		}
		if from, to, found := valueBefore(text[done:start]); found {
			out.WriteString(text[done:done+from] + removed)
			done += to
		}
		if keep, end, found := valueBehind(text[start:at], text[at:]); found {
			out.WriteString(text[done:at+keep] + removed)
			done, at = at+end, at+end
		}
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

func inName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// valueBehind finds the value of a name in what follows it: it stands between keep and end.
func valueBehind(name, text string) (keep, end int, found bool) {
	finders := []*regexp.Regexp{assigned, following}
	if strings.HasSuffix(strings.ToLower(name), "authorization") {
		finders = []*regexp.Regexp{header, assigned, following}
	}
	for _, f := range finders {
		if m := f.FindStringSubmatchIndex(text); m != nil {
			return m[3], m[1], true
		}
	}
	return 0, 0, false
}

// valueBefore finds a text that is compared with the name behind it: 'x' = password.
func valueBefore(text string) (from, to int, found bool) {
	left := strings.TrimRight(text, `"`)
	for strings.HasSuffix(left, ".") { // t."password"
		left = strings.TrimRight(strings.TrimRight(left, `."`), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
		left = strings.TrimRight(left, `"`)
	}
	left = strings.TrimRight(left, " \t\r\n")
	value := strings.TrimRight(strings.TrimRight(left, "=<>!"), " \t\r\n")
	if left == strings.TrimRight(left, "=<>!") || !strings.HasSuffix(value, "'") {
		return 0, 0, false
	}
	to = len(value)
	for from = to - 1; from > 0; {
		from = strings.LastIndexByte(value[:from], '\'')
		if from <= 0 || value[from-1] != '\'' {
			break
		}
		from-- // '' inside of the text
	}
	return max(0, from), to, true
}
