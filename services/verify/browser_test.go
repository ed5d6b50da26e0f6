//go:build verify

package verify_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/mail"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/emersion/go-smtp"
)

// letterbox is a mail server in this process that keeps the texts it is given.
type letterbox struct {
	mu    sync.Mutex
	texts []string
	read  int
}

func (b *letterbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &delivery{b}, nil }

type delivery struct{ box *letterbox }

func (*delivery) Reset()                               {}
func (*delivery) Logout() error                        { return nil }
func (*delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (*delivery) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (d *delivery) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	text := string(raw)
	if strings.Contains(strings.ToLower(text+m.Header.Get("Content-Transfer-Encoding")), "quoted-printable") {
		text = strings.NewReplacer("=\r\n", "", "=3D", "=", "=26", "&").Replace(text)
	}
	d.box.mu.Lock()
	defer d.box.mu.Unlock()
	d.box.texts = append(d.box.texts, text)
	return nil
}

var linkInMail = regexp.MustCompile(`http://[^\s"<>]+token=[^\s"<>]+`)

// link waits for the next mail and gives its link.
func (b *letterbox) link(t *testing.T) string {
	t.Helper()
	var found string
	eventually(t, 20*time.Second, "a mail with a link", func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.read >= len(b.texts) {
			return fmt.Errorf("%d mails so far", len(b.texts))
		}
		found = linkInMail.FindString(b.texts[b.read])
		if found == "" {
			return fmt.Errorf("no link in %q", b.texts[b.read])
		}
		b.read++
		return nil
	})
	return found
}

// newLetterbox listens, and gives the variables that make agnes use it.
func newLetterbox(t *testing.T) (*letterbox, []string) {
	t.Helper()
	b := &letterbox{}
	server := smtp.NewServer(b)
	server.Domain = "localhost"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return b, []string{"SMTP_HOST=" + host, "SMTP_PORT=" + port, "SMTP_USE_TLS=false", "SMTP_FROM=agnes@example.com"}
}

// window is a browser as one person uses it.
type window struct {
	t    *testing.T
	ctx  context.Context
	base string
	// width of the window in pixels.
	width int64
}

// newWindow opens a browser of a width in pixels, with no cookies.
func newWindow(t *testing.T, base string, width int64) *window {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED PEER: chromium is not installed; install Debian's package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU)
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocated)
	t.Cleanup(end)
	w := &window{t: t, ctx: ctx, base: base, width: width}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)); err != nil { // no deadline: it would end the browser
		t.Fatalf("start chromium: %v", err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatalf("switch scripts off: %v", err)
	}
	return w
}

func (w *window) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
}

// visit opens a page and demands a text on it.
func (w *window) visit(path, want string) {
	w.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = w.base + path
	}
	w.do("visit "+path, chromedp.Navigate(path))
	w.sees(want)
}

// sees waits until a text stands on the page.
func (w *window) sees(want string) {
	w.t.Helper()
	eventually(w.t, 20*time.Second, "the page with "+want, func() error {
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		defer cancel()
		body, err := chromedp.Run(ctx, chromedp.OuterHTML(chromedp.CSS("html")))
		if err != nil {
			return err
		}
		at, err := chromedp.Run(ctx, chromedp.Location())
		if err != nil {
			return err
		}
		if !strings.Contains(body, want) {
			return fmt.Errorf("at %s: %.900s", at, body)
		}
		return nil
	})
}

// fill types into fields by their ids, and presses the button of the form that goes to action.
func (w *window) fill(action string, fields ...string) {
	w.t.Helper()
	form := `form[action="` + action + `"]`
	for i := 0; i+1 < len(fields); i += 2 {
		w.do("type "+fields[i], chromedp.SendKeys(chromedp.CSS(form+" #"+fields[i]), fields[i+1]))
	}
	w.do("press the button to "+action, chromedp.Click(chromedp.CSS(form+" button")))
}

// narrow fails where a page is wider than the window: one would have to scroll sideways.
func (w *window) narrow() {
	w.t.Helper()
	wide, err := chromedp.Run(w.ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
	if err != nil {
		w.t.Fatalf("measure the page: %v", err)
	}
	if wide > w.width {
		w.t.Errorf("the page is %d px wide in a window of %d", wide, w.width)
	}
}

// TestABrowserSignsInEveryWay runs without JavaScript: the pages need none.
func TestABrowserSignsInEveryWay(t *testing.T) {
	box, env := newLetterbox(t)
	s := newSingle(t, env...)
	const width = 390
	w := newWindow(t, s.url(""), width)

	w.visit("/account", `action="/auth/password/login/web"`)
	w.narrow()
	w.fill("/auth/password/login/web", "email", adminEmail, "password", "wrong")
	w.sees("Wrong e-mail address or password")
	w.fill("/auth/password/login/web", "email", adminEmail, "password", adminPassword)
	w.sees("Your account") // the way back, over a wrong password too
	w.narrow()

	w.fill("/account/tokens", "token-name", "laptop")
	w.sees("The token laptop")
	secret, err := chromedp.Run(w.ctx, chromedp.Text(chromedp.CSS(".secret")))
	if err != nil {
		t.Fatalf("read the token: %v", err)
	}
	program := s.visitor()
	program.token = strings.TrimSpace(secret)
	if who := program.me(); who.Email != adminEmail || who.Credential.Kind != "pat" {
		t.Errorf("by the token: %+v", who)
	}
	w.do("revoke", chromedp.Click(chromedp.CSS(`form[action^="/account/tokens/"] button`)))
	w.sees("The token is revoked")
	if got := program.ask(http.MethodGet, "/auth/me", nil); got.status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", got.status)
	}

	t.Run("device", func(t *testing.T) { approveInBrowser(t, s, w) })
	w.do("sign out", chromedp.Click(chromedp.CSS(`form[action="/logout/web"] button`)))
	w.sees("You are signed out")

	w.visit("/login/email", `action="/login/email"`)
	w.fill("/login/email", "email", adminEmail)
	w.sees("on its way")
	link := box.link(t)
	if got := s.visitor().ask(http.MethodGet, link, nil); got.status != http.StatusOK {
		t.Errorf("a scanner of mail: %d", got.status)
	}
	w.visit(link, "You are about to sign in as")
	w.narrow()
	w.fill("/auth/email/verify/web")
	w.sees(`action="/logout/web"`)
	w.visit("/account", "magic_link")
	w.do("sign out", chromedp.Click(chromedp.CSS(`form[action="/logout/web"] button`)))
	w.sees("You are signed out")

	w.visit("/login/password", `action="/auth/password/reset"`)
	w.fill("/auth/password/reset", "reset-email", adminEmail)
	w.sees("on its way")
	w.visit(box.link(t), "Choose a new password")
	w.narrow()
	w.fill("/auth/password/reset/confirm", "new", "another password", "again", "a different one")
	w.sees("The two passwords differ")
	w.fill("/auth/password/reset/confirm", "new", "another password", "again", "another password")
	w.sees(`action="/logout/web"`)
	s.signIn(adminEmail, "another password")
}

// approveInBrowser lets a program in by its code, in a window that is signed in.
func approveInBrowser(t *testing.T, s *single, w *window) {
	t.Helper()
	program := s.visitor()
	var code struct {
		Secret   string `json:"device_code"`
		Complete string `json:"verification_uri_complete"`
	}
	program.json(http.MethodPost, "/auth/device/code", map[string]string{"client_name": "da on laptop"}, http.StatusOK, &code)
	w.visit(code.Complete, "da on laptop")
	w.do("approve", chromedp.Click(chromedp.CSS(`button[value="approve"]`)))
	w.sees("signed in as you")
	var session struct {
		Token string `json:"access_token"`
	}
	program.json(http.MethodPost, "/auth/device/token", map[string]string{"device_code": code.Secret}, http.StatusOK, &session)
	program.token = session.Token
	if who := program.me(); who.Email != adminEmail {
		t.Errorf("the program is %+v", who)
	}
}
