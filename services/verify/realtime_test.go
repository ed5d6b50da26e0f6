//go:build verify

package verify_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// cable is a network between a browser and a server that can be cut.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: l, to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		_ = l.Close()
		c.set(true)
	})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.carry(conn)
		}
	}()
	return c
}

func (c *cable) addr() string { return c.listener.Addr().String() }

func (c *cable) carry(one net.Conn) {
	defer func() { _ = one.Close() }()
	other, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer func() { _ = other.Close() }()
	c.mu.Lock()
	if c.cut {
		c.mu.Unlock()
		return
	}
	c.conns[one] = true
	c.mu.Unlock()
	go func() { _, _ = io.Copy(other, one); _ = other.Close() }()
	_, _ = io.Copy(one, other)
	c.mu.Lock()
	delete(c.conns, one)
	c.mu.Unlock()
}

// set cuts the cable, or mends it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for conn := range c.conns {
		if cut {
			_ = conn.Close()
		}
	}
}

// scripts lets the pages of a window run theirs, and those of the test.
func (w *window) scripts() {
	w.t.Helper()
	if _, err := chromedp.Call(w.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false}); err != nil {
		w.t.Fatalf("switch scripts on: %v", err)
	}
	if _, err := chromedp.Call(w.ctx, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true}); err != nil {
		w.t.Fatalf("let the test's scripts run: %v", err)
	}
}

const listener = `<!doctype html><title>events</title><ol id="heard"></ol><p id="state"></p><script type="module">
import { connect } from "http://%[1]s/ws/client.js";
connect({
  url: "ws://%[1]s/ws/notifications", token: %[2]q, topics: ["analytics"],
  onMessage: (m) => { for (const t of m.data.tables) heard.insertAdjacentHTML("beforeend", "<li>" + t.table + " " + t.rows + "</li>"); },
  onState: (s, why) => { state.textContent = s + " " + why; },
});
</script>`

var heardLine = regexp.MustCompile(`<li>([^<]*)</li>`)

// heard gives what a page lists.
func (w *window) heard() []string {
	w.t.Helper()
	body, err := chromedp.Run(w.ctx, chromedp.OuterHTML(chromedp.CSS("#heard")))
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, m := range heardLine.FindAllStringSubmatch(body, -1) {
		lines = append(lines, m[1])
	}
	return lines
}

// TestABrowserHearsEverythingOnce runs the client that the gateway serves in a browser whose network is cut, and whose
// server is restarted, while things happen.
func TestABrowserHearsEverythingOnce(t *testing.T) {
	s := newSingle(t, "AGNES_WS_ORIGINS=127.0.0.1:*")
	network := newCable(t, s.addr)
	root := s.signIn(adminEmail, adminPassword)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, listener, network.addr(), root.token)
	}))
	defer pages.Close()
	published := func(rows int) func() error {
		return func() error {
			got := root.ask(http.MethodPost, "/api/query", map[string]string{"sql": "SELECT count(*) FROM shop.orders"})
			if want := fmt.Sprintf("[[%d]]", rows); !strings.Contains(strings.ReplaceAll(got.body, " ", ""), want) {
				return fmt.Errorf("want %s: %s", want, got.body)
			}
			return nil
		}
	}
	eventually(t, time.Minute, "the first publication", published(3))
	w := newWindow(t, pages.URL, 800)
	w.scripts()
	w.visit("/", "open ")
	var want []string
	text := "id,customer,amount\n1,1,10.5\n2,2,20.5\n3,1,5\n"
	more := func(rows int) {
		t.Helper()
		text += fmt.Sprintf("%d,1,1\n", rows)
		(&house{t: t, dir: s.dir}).write("files/orders.csv", text)
		eventually(t, time.Minute, "another publication", published(rows))
		want = append(want, fmt.Sprintf("orders %d", rows))
	}
	hears := func(when string) {
		t.Helper()
		eventually(t, time.Minute, "what happened "+when, func() error {
			if got := w.heard(); !slices.Equal(got, want) {
				return fmt.Errorf("got %q, want %q", got, want)
			}
			return nil
		})
	}
	more(4)
	hears("while it listens")
	network.set(true)
	w.sees("waiting ")
	more(5)
	more(6)
	network.set(false)
	hears("while the network was cut")
	more(7)
	hears("after that")
	s.agnes.stop()
	s.start()
	root.token = s.signIn(adminEmail, adminPassword).token
	more(8)
	hears("over a restart")
}

// TestAPageListensByItsSession gets a ticket for the cookie of a browser.
func TestAPageListensByItsSession(t *testing.T) {
	s := newSingle(t)
	w := newWindow(t, s.url(""), 800)
	w.visit("/account", `action="/auth/password/login/web"`)
	w.fill("/auth/password/login/web", "email", adminEmail, "password", adminPassword)
	w.sees("Your account")
	w.scripts()
	w.visit("/account", "Your account")
	start := `import("/ws/client.js").then(({ connect }) => connect({ onState: (s, why) => { document.body.append("stream: " + s + " " + why + "; "); } })); 1`
	if _, err := chromedp.Run(w.ctx, chromedp.Evaluate[int64](start)); err != nil {
		t.Fatal(err)
	}
	w.sees("stream: open")
	// A page of another origin is refused, though the browser has the cookie.
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, listener, s.addr, "forged")
	}))
	defer other.Close()
	w.visit(other.URL+"/", "waiting ")
}
