package service

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// AllowLists bounds remote attachments. An empty list allows nothing.
type AllowLists struct {
	Extensions []string `yaml:"extensions"`
	// Hosts are host[:port] of URLs, and the whole text of what is none: a path of SQLite, "project=acme".
	Hosts     []string `yaml:"hosts"`
	TokenEnvs []string `yaml:"token_envs"`
}

// Extensions of DuckDB whose attachments are written in a form of their own.
const (
	ExtensionPostgres = "postgres"
	ExtensionSQLite   = "sqlite"
)

// Refuse tells why an attachment is not allowed; "" where it is. Every value came out of a file that any
// program may have written.
func (l AllowLists) Refuse(r catalog.Remote) string {
	if err := catalog.ValidSourceName(r.Alias); err != nil {
		return "the alias of the attachment is not a plain name"
	}
	if !slices.Contains(l.Extensions, r.Extension) {
		return fmt.Sprintf("the extension %q is not in remote_attach.extensions", r.Extension)
	}
	host, err := remoteHost(r)
	if err != nil {
		return err.Error()
	}
	if !slices.ContainsFunc(l.Hosts, func(h string) bool { return h == host || r.Extension != ExtensionSQLite && strings.EqualFold(h, host) }) {
		return named(host) + " is not in remote_attach.hosts"
	}
	if r.TokenEnv != "" && !slices.Contains(l.TokenEnvs, r.TokenEnv) {
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

// remoteHost is the part of an attachment's URL that the list of hosts is about.
func remoteHost(r catalog.Remote) (string, error) {
	if r.URL == "" || strings.ContainsFunc(r.URL, func(c rune) bool { return c < 0x21 || c == 0x7f || c == '\\' }) {
		return "", errors.New("the URL of the attachment is empty or has spaces, backslashes or control characters")
	}
	switch {
	case r.Extension == ExtensionSQLite:
		if !path.IsAbs(r.URL) || path.Clean(r.URL) != r.URL {
			return "", errors.New("the attachment of SQLite is not the absolute path of a file")
		}
		return r.URL, nil
	case r.Extension == ExtensionPostgres:
		return postgresHost(r.URL)
	case !strings.Contains(r.URL, "://"):
		return r.URL, nil
	}
	u, err := url.Parse(r.URL)
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

// PostgresURL is what a URL of PostgreSQL may say.
type PostgresURL struct {
	Host, Port, User, Database string
	// SSLMode is libpq's: require unless the URL says verify-ca, verify-full or, for a network that is trusted, disable.
	SSLMode string
}

// ParsePostgresURL reads postgres://user@host:port/database?sslmode=verify-full. What else libpq would take
// in a URI (a password, other hosts, files, a service, options) is refused: see
// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS.
func ParsePostgresURL(text string) (PostgresURL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" || u.Fragment != "" {
		return PostgresURL{}, errors.New("the URL of the attachment is not postgres://user@host:port/database")
	}
	if _, has := u.User.Password(); has {
		return PostgresURL{}, errors.New("the URL of the attachment holds credentials; name a token variable instead")
	}
	p := PostgresURL{Host: u.Hostname(), Port: u.Port(), User: u.User.Username(), Database: strings.TrimPrefix(u.Path, "/"), SSLMode: "require"}
	if p.Port == "" {
		p.Port = "5432"
	}
	if p.Host == "" || p.User == "" || p.Database == "" || strings.Contains(p.Database, "/") || strings.ContainsAny(p.Host, "/,%@") {
		return PostgresURL{}, errors.New("the URL of the attachment is not postgres://user@host:port/database")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return PostgresURL{}, errors.New("the URL of the attachment cannot be read")
	}
	for name, values := range query {
		if name != "sslmode" || len(values) != 1 || !slices.Contains([]string{"require", "verify-ca", "verify-full", "disable"}, values[0]) {
			return PostgresURL{}, errors.New("the URL of the attachment may only add sslmode=require, verify-ca, verify-full or disable")
		}
		p.SSLMode = values[0]
	}
	return p, nil
}

func postgresHost(text string) (string, error) {
	if _, err := ParsePostgresURL(text); err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}
