//go:build verify

package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"html"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mailServer is aiosmtpd with STARTTLS, which keeps what it receives in a Maildir.
type mailServer struct {
	t    *testing.T
	dir  string
	seen map[string]bool
	env  []string
}

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	python := tool(t, "python/bin/python")
	if _, err := os.Stat(filepath.Join(filepath.Dir(python), "aiosmtpd")); err != nil {
		t.Skip("SKIPPED PEER: the Python package aiosmtpd is not installed; run make verify where PyPI can be reached")
	}
	dir, addr := t.TempDir(), freeAddr(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	selfSigned(t, cert, key)
	m := &mailServer{t: t, dir: filepath.Join(dir, "mail"), seen: map[string]bool{}}
	p := spawn(t, "aiosmtpd", nil, python, "-m", "aiosmtpd", "-n", "-l", addr, "--tlscert", cert, "--tlskey", key, "-c", "aiosmtpd.handlers.Mailbox", m.dir)
	eventually(t, 20*time.Second, "aiosmtpd", func() error {
		if !p.alive() {
			return errors.New(p.output())
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
	host, port, _ := net.SplitHostPort(addr)
	m.env = []string{"SMTP_HOST=" + host, "SMTP_PORT=" + port, "SMTP_FROM=agnes@example.com", "SSL_CERT_FILE=" + cert}
	return m
}

// selfSigned writes a certificate for the loopback address and its key.
func selfSigned(t *testing.T, certPath, keyPath string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certPath: {Type: "CERTIFICATE", Bytes: der}, keyPath: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// next waits for a mail to the address that was not read yet, and gives its subject and text.
func (m *mailServer) next(to string) (subject, text string) {
	m.t.Helper()
	eventually(m.t, 20*time.Second, "a mail to "+to, func() error {
		files, _ := filepath.Glob(filepath.Join(m.dir, "new", "*"))
		for _, f := range files {
			if m.seen[f] {
				continue
			}
			raw, err := os.Open(f)
			if err != nil {
				return err
			}
			message, err := mail.ReadMessage(raw)
			if err != nil {
				_ = raw.Close()
				return err
			}
			if !strings.Contains(message.Header.Get("To"), to) {
				_ = raw.Close()
				continue
			}
			m.seen[f] = true
			subject = message.Header.Get("Subject")
			text = plainText(m.t, message.Header.Get("Content-Type"), message.Header.Get("Content-Transfer-Encoding"), message.Body)
			return raw.Close()
		}
		return fmt.Errorf("%d mails, none for them", len(files))
	})
	return subject, text
}

// plainText finds the text of a mail, for people who read no HTML.
func plainText(t *testing.T, contentType, encoding string, body io.Reader) string {
	t.Helper()
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err != nil {
				t.Fatalf("no text in the mail: %v", err)
			}
			if strings.HasPrefix(part.Header.Get("Content-Type"), "text/plain") {
				return plainText(t, part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part)
			}
		}
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

var linkInText = regexp.MustCompile(`https?://\S+`)

// link gives the first link of the next mail to the address.
func (m *mailServer) link(to string) string {
	m.t.Helper()
	subject, text := m.next(to)
	found := linkInText.FindString(text)
	if found == "" || subject == "" {
		m.t.Fatalf("no link in %q: %s", subject, text)
	}
	return found
}

var (
	formTag   = regexp.MustCompile(`(?s)<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>`)
	hiddenTag = regexp.MustCompile(`<input[^>]*>`)
	attribute = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

// fill posts the form of a page that goes to a path, with its hidden fields and those given.
func (v *visitor) fill(page reply, path string, fields map[string]string) reply {
	v.t.Helper()
	for _, form := range formTag.FindAllStringSubmatch(page.body, -1) {
		target, err := page.url.Parse(html.UnescapeString(form[1]))
		if err != nil || target.Path != path {
			continue
		}
		values := url.Values{}
		for _, input := range hiddenTag.FindAllString(form[2], -1) {
			at := map[string]string{}
			for _, a := range attribute.FindAllStringSubmatch(input, -1) {
				at[a[1]] = html.UnescapeString(a[2])
			}
			if at["name"] != "" && (at["type"] == "hidden" || at["value"] != "") {
				values.Set(at["name"], at["value"])
			}
		}
		for name, value := range fields {
			values.Set(name, value)
		}
		return v.ask(http.MethodPost, target.String(), values)
	}
	v.t.Fatalf("no form to %s on %s (%d): %.600s", path, page.url, page.status, page.body)
	return reply{}
}

func TestLinksInMailsOverARealServer(t *testing.T) {
	m := newMailServer(t)
	s := newSingle(t, m.env...)
	admin := s.signIn(adminEmail, adminPassword)

	// An invitation: a mail, a page, a first password.
	var invited struct {
		ID        string `json:"id"`
		EmailSent bool   `json:"invite_email_sent"`
		URL       string `json:"invite_url"`
	}
	admin.json(http.MethodPost, "/api/users", map[string]any{"email": "Ann@example.com", "name": "Ann", "role": "analyst", "send_invite": true}, http.StatusCreated, &invited)
	ann := s.visitor()
	setup := m.link("nn@example.com")
	if !invited.EmailSent || invited.URL == "" {
		t.Errorf("the invitation: %+v", invited)
	}
	end := ann.fill(ann.ask(http.MethodGet, setup, nil), "/auth/password/setup/confirm", map[string]string{"password": "first password", "confirm_password": "first password", "name": "Ann"})
	if who := ann.me(); end.status != http.StatusOK || who.Email != "Ann@example.com" {
		t.Fatalf("after the invitation: %d %s %+v", end.status, end.url, who)
	}

	// A magic link: looking at it, however often, uses nothing up; one click does.
	magic := func() string {
		t.Helper()
		s.visitor().json(http.MethodPost, "/auth/email/send-link", map[string]string{"email": "ANN@EXAMPLE.COM"}, http.StatusOK, nil)
		return m.link("nn@example.com")
	}
	link := magic()
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodGet} {
		if got := s.visitor().ask(method, link, nil); got.status >= 500 {
			t.Errorf("%s of the link: %d", method, got.status)
		}
	}
	reader := s.visitor()
	page := reader.ask(http.MethodGet, link, nil)
	reader.fill(page, "/auth/email/verify/web", nil)
	if who := reader.me(); who.Email != "Ann@example.com" {
		t.Errorf("by the link: %+v", who)
	}
	late := s.visitor()
	late.fill(page, "/auth/email/verify/web", nil)
	if got := late.ask(http.MethodGet, "/auth/me", nil); got.status != http.StatusUnauthorized {
		t.Errorf("the link works twice: %s", got.body)
	}

	// A forgotten password: the link sets a new one, and every session from before ends.
	before := s.signIn("ann@example.com", "first password")
	s.visitor().ask(http.MethodPost, "/auth/password/reset", url.Values{"email": {"ann@example.com"}})
	reset := m.link("nn@example.com")
	fresh := s.visitor()
	form := fresh.ask(http.MethodGet, reset, nil)
	fresh.fill(form, "/auth/password/reset/confirm", map[string]string{"password": "second password", "confirm_password": "second password"})
	if got := before.ask(http.MethodGet, "/auth/me", nil); got.status != http.StatusUnauthorized {
		t.Errorf("a session outlived the reset: %d", got.status)
	}
	s.signIn("ann@example.com", "second password")
	if got := s.visitor().ask(http.MethodPost, "/auth/token", map[string]string{"email": "ann@example.com", "password": "first password"}); got.status != http.StatusUnauthorized {
		t.Errorf("the old password: %d", got.status)
	}

	// O5: a link for one purpose is of no use for another.
	token := func(link string) string {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query().Get("token") + strings.TrimPrefix(u.Fragment, "token=")
	}
	crossed := s.visitor().ask(http.MethodPost, "/auth/password/reset/confirm", url.Values{
		"email": {"ann@example.com"}, "token": {token(magic())}, "password": {"third password"}, "confirm_password": {"third password"},
	})
	if got := s.visitor().ask(http.MethodPost, "/auth/token", map[string]string{"email": "ann@example.com", "password": "third password"}); got.status == http.StatusOK {
		t.Errorf("a magic link set a password: %d", crossed.status)
	}
	if log := s.agnes.output(); strings.Contains(log, "token=") || strings.Contains(log, "second password") {
		t.Error("a secret stands in the log")
	}
}

func TestStrangersGetNoMailAndNoHint(t *testing.T) {
	m := newMailServer(t)
	s := newSingle(t, m.env...)
	v := s.visitor()
	known := v.ask(http.MethodPost, "/auth/email/send-link", map[string]string{"email": adminEmail})
	unknown := v.ask(http.MethodPost, "/auth/email/send-link", map[string]string{"email": "stranger@example.com"})
	if known.status != unknown.status || known.body != unknown.body {
		t.Errorf("a known address answers %d %s, an unknown one %d %s", known.status, known.body, unknown.status, unknown.body)
	}
	m.link(adminEmail)
	files, _ := filepath.Glob(filepath.Join(m.dir, "new", "*"))
	if len(files) != 1 {
		t.Errorf("%d mails were sent", len(files))
	}
}

func TestNoticesOfAccessRequestsComeByMail(t *testing.T) {
	m := newMailServer(t)
	s := newSingle(t, m.env...)
	admin := s.signIn(adminEmail, adminPassword)
	admin.json(http.MethodPost, "/api/users", map[string]any{"email": "ann@example.com", "role": "analyst", "password": "first password"}, http.StatusCreated, nil)
	eventually(t, 30*time.Second, "the table", func() error {
		got := admin.ask(http.MethodPut, "/api/admin/registry/salaries", map[string]any{"is_public": false})
		if got.status != http.StatusOK {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
	ann := s.signIn("ann@example.com", "first password")
	var request struct{ ID string }
	ann.json(http.MethodPost, "/api/access-requests", map[string]string{"table_id": "salaries", "reason": "for the budget"}, http.StatusCreated, &request)
	if _, text := m.next(adminEmail); !strings.Contains(text, "ann@example.com") || !strings.Contains(text, "for the budget") {
		t.Errorf("the administrator reads: %s", text)
	}
	admin.json(http.MethodPost, "/api/access-requests/"+request.ID+"/deny", map[string]string{"reason": "ask in spring"}, http.StatusOK, nil)
	if subject, text := m.next("ann@example.com"); !strings.Contains(subject, "denied") || !strings.Contains(text, "ask in spring") {
		t.Errorf("ann reads %q: %s", subject, text)
	}
}
