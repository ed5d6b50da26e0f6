package orchestrator

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/service"
)

// allowedRemotes divides the attachments that an extract asks for into those that the configuration
// allows and the reasons against the others, by alias in lower case. Nothing is loaded, attached or
// sent here: whoever does so later finds only what was allowed.
func allowedRemotes(remotes []catalog.Remote, lists service.AllowLists) (allowed []catalog.Remote, refused map[string]string) {
	refused = make(map[string]string)
	seen := make(map[string]bool)
	for _, r := range remotes {
		alias := strings.ToLower(r.Alias)
		reason := refuseRemote(r, lists)
		if reason == "" && seen[alias] {
			reason = fmt.Sprintf("the alias %q is attached twice", r.Alias)
		}
		seen[alias] = true
		if reason != "" {
			refused[alias] = reason
			continue
		}
		allowed = append(allowed, r)
	}
	// An alias that is refused in one row is not usable through another.
	allowed = slices.DeleteFunc(allowed, func(r catalog.Remote) bool { return refused[strings.ToLower(r.Alias)] != "" })
	return allowed, refused
}

// refuseRemote tells why an attachment is not allowed; "" where it is. Every value came out of a
// file that any program may have written.
func refuseRemote(r catalog.Remote, lists service.AllowLists) string {
	if err := catalog.ValidSourceName(r.Alias); err != nil {
		return "the alias of the attachment is not a plain name"
	}
	if !slices.Contains(lists.Extensions, r.Extension) {
		return fmt.Sprintf("the extension %q is not in remote_attach.extensions", r.Extension)
	}
	host, err := remoteHost(r.URL)
	if err != nil {
		return err.Error()
	}
	if !slices.ContainsFunc(lists.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return named(host) + " is not in remote_attach.hosts"
	}
	if r.TokenEnv != "" && !slices.Contains(lists.TokenEnvs, r.TokenEnv) {
		return fmt.Sprintf("the variable %q is not in remote_attach.token_envs", r.TokenEnv)
	}
	return ""
}

// named writes a host for people. What is no URL may hold a secret: only its first word is shown.
func named(host string) string {
	if word, _, is := strings.Cut(host, "="); is {
		return fmt.Sprintf("%q", word+"=…")
	}
	return fmt.Sprintf("%.80q", host)
}

// remoteHost is the part of an attachment's URL that the list of hosts is about: host[:port] of a
// URL, and the whole text of anything else, such as "project=acme".
func remoteHost(text string) (string, error) {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < 0x21 || r == 0x7f || r == '\\' }) {
		return "", errors.New("the URL of the attachment is empty or has spaces, backslashes or control characters")
	}
	if !strings.Contains(text, "://") {
		return text, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return "", errors.New("the URL of the attachment cannot be read")
	case u.User != nil:
		return "", errors.New("the URL of the attachment holds credentials; name a token variable instead")
	case u.Scheme != "https":
		return "", fmt.Errorf("the URL of the attachment uses %s, not https", u.Scheme)
	}
	return u.Host, nil
}

// remoteView matches the one form in which a remote table may be defined: all or some plain columns
// of one table of an attached catalog. Anything more could read what was never allowed.
var remoteView = regexp.MustCompile(strings.ReplaceAll(
	`(?is)\A\s*select\s+(?:\*|IDENT(?:\s*,\s*IDENT)*)\s+from\s+(IDENT)(?:\s*\.\s*IDENT){1,2}\s*;?\s*\z`,
	"IDENT", `(?:[a-z_][a-z0-9_]*|"(?:[^"\x00]|"")+")`,
))

// remoteAlias is the alias of the catalog that the definition of a remote table reads, in lower
// case; ok is false where the definition is of another form.
func remoteAlias(sql string) (alias string, ok bool) {
	m := remoteView.FindStringSubmatch(sql)
	if m == nil {
		return "", false
	}
	return strings.ToLower(unquote(m[1])), true
}

func unquote(ident string) string {
	if strings.HasPrefix(ident, `"`) {
		return strings.ReplaceAll(ident[1:len(ident)-1], `""`, `"`)
	}
	return ident
}
