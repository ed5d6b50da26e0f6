package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start gives a server and a client that is signed in to it and impatient.
func start(t *testing.T, change ...func(*client.Options)) (*clienttest.Server, *client.Client) {
	t.Helper()
	s := clienttest.New()
	t.Cleanup(s.Close)
	opts := client.Options{
		Server: s.URL, Token: s.Token("u-1", "pat"),
		Backoff: []time.Duration{time.Millisecond}, IdleTimeout: 150 * time.Millisecond,
	}
	for _, c := range change {
		c(&opts)
	}
	c, err := client.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

// content makes a part of n bytes.
func content(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func publish(s *clienttest.Server, parts ...[]byte) {
	s.Publish(clienttest.Table{Name: "orders", Source: "shop", Alias: true, Parts: parts})
}

// fetch downloads a part into a file that begins with what is given, and gives what is there then.
func fetch(t *testing.T, c *client.Client, part []byte, begun ...byte) ([]byte, int64, error) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "part"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Write(begun); err != nil {
		t.Fatal(err)
	}
	var good int64
	err = c.DownloadPart(t.Context(), client.PartRef{Table: "orders", SHA256: clienttest.Hash(part), Size: int64(len(part))}, file, func(d int64) { good += d })
	got, readErr := os.ReadFile(file.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return got, good, err
}

func TestDownload(t *testing.T) {
	t.Parallel()
	part, other := content(t, 300_000), content(t, 300_000)
	wrong := append([]byte("X"), part[1:100_000]...)
	for name, tc := range map[string]struct {
		fault    clienttest.Fault
		begun    []byte
		requests int
	}{
		"plain":                       {requests: 1},
		"resumes":                     {begun: part[:100_000], requests: 1},
		"nothing is missing":          {begun: part, requests: 0},
		"too much is there":           {begun: append(bytes.Clone(part), 1), requests: 1},
		"what is there is wrong":      {begun: wrong, requests: 2},
		"cut and resumed":             {fault: clienttest.Fault{Cut: clienttest.Bytes(200_000), Times: 1}, requests: 2},
		"cut without a head":          {fault: clienttest.Fault{Cut: clienttest.Bytes(0), Times: 2}, requests: 3},
		"cut again and again":         {fault: clienttest.Fault{Cut: clienttest.Bytes(70_000), Times: 4}, requests: 5},
		"500, then well":              {fault: clienttest.Fault{Status: 500, Times: 2}, requests: 3},
		"503, then well":              {fault: clienttest.Fault{Status: 503, Times: 3}, requests: 4},
		"a proxy that changes bytes":  {fault: clienttest.Fault{Flip: true, Times: 1}, requests: 2},
		"stalls":                      {fault: clienttest.Fault{Stall: true, Times: 1}, requests: 2},
		"no ranges":                   {fault: clienttest.Fault{NoRanges: true}, begun: part[:100_000], requests: 1},
		"another part of equal size":  {fault: clienttest.Fault{DropQuery: true, Times: 1}, requests: 2},
		"a page of a captive network": {fault: clienttest.Fault{Page: true, Times: 1}, requests: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t)
			publish(s, part, other)
			if tc.fault.Times > 0 || tc.fault.NoRanges {
				tc.fault.Path = "/download"
				s.Inject(tc.fault)
			}
			got, good, err := fetch(t, c, part, tc.begun...)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, part) {
				t.Errorf("got %d bytes that are not the part", len(got))
			}
			if good != int64(len(part)) {
				t.Errorf("progress tells %d good bytes, want %d", good, len(part))
			}
			if n := clienttest.Downloads(s.Requests()); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

func TestTrap_D6_ADownloadResumesWithRangeAndIfRange(t *testing.T) {
	t.Parallel()
	part := content(t, 50_000)
	var ranges, conditions []string
	api := clienttest.New()
	defer api.Close()
	publish(api, part)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		conditions = append(conditions, r.Header.Get("If-Range"))
		api.Config.Handler.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	c, err := client.New(client.Options{Server: proxy.URL, Token: api.Token("u-1", "pat")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := fetch(t, c, part, part[:12_345]...); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 1 || ranges[0] != "bytes=12345-" || conditions[0] != `"`+clienttest.Hash(part)+`"` {
		t.Errorf("Range %q, If-Range %q", ranges, conditions)
	}
}

func TestTrap_D8_AProxyThatServesAnotherPartIsFoundOut(t *testing.T) {
	t.Parallel()
	part, other := content(t, 5_000), content(t, 5_000)
	s, c := start(t)
	publish(s, part, other)
	s.Inject(clienttest.Fault{Path: "/download", DropQuery: true})
	_, _, err := fetch(t, c, part)
	if !errors.Is(err, client.ErrWrongBytes) || !strings.Contains(fault.Message(err), "proxy") {
		t.Errorf("got %v", err)
	}
	s.Heal()
	s.Publish(clienttest.Table{Name: "orders", Source: "shop", Parts: [][]byte{part, other[:99]}})
	s.Inject(clienttest.Fault{Path: "/download", DropQuery: true})
	if _, _, err = fetch(t, c, part); !errors.Is(err, client.ErrWrongBytes) {
		t.Errorf("another length: got %v", err)
	}
}

func TestDownloadFailsForGood(t *testing.T) {
	t.Parallel()
	part := content(t, 5_000)
	for name, tc := range map[string]struct {
		fault    clienttest.Fault
		kind     fault.Kind
		requests int
	}{
		"gone":       {clienttest.Fault{Status: 404}, fault.NotFound, 1},
		"forbidden":  {clienttest.Fault{Status: 403}, fault.Forbidden, 1},
		"signed out": {clienttest.Fault{Status: 401}, fault.Unauthenticated, 1},
		"replaced":   {clienttest.Fault{Status: 412}, fault.Conflict, 1},
		"down":       {clienttest.Fault{Status: 503}, fault.Unavailable, 4},
		"patience":   {clienttest.Fault{Status: 429, RetryAfter: 3600}, fault.Busy, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t)
			publish(s, part)
			tc.fault.Path = "/download"
			s.Inject(tc.fault)
			_, _, err := fetch(t, c, part)
			if fault.KindOf(err) != tc.kind {
				t.Errorf("got %v of kind %q", err, fault.KindOf(err))
			}
			if n := clienttest.Downloads(s.Requests()); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

// fullDisk takes some bytes and no more.
type fullDisk struct {
	*os.File
	room int
}

func (f *fullDisk) Write(p []byte) (int, error) {
	n, err := f.File.Write(p[:min(len(p), f.room)])
	f.room -= n
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return n, err
}

func TestDownloadToAFullDiskIsNotRepeatedAndKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	part := content(t, 500_000)
	s, c := start(t)
	publish(s, part)
	file, err := os.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	ref := client.PartRef{Table: "orders", SHA256: clienttest.Hash(part), Size: int64(len(part))}
	err = c.DownloadPart(t.Context(), ref, &fullDisk{File: file, room: 200_000}, nil)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if n := clienttest.Downloads(s.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if err := c.DownloadPart(t.Context(), ref, file, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(file.Name()); !bytes.Equal(got, part) {
		t.Error("the resumed part is not the part")
	}
}

func TestRetriesRepeatOnlyWhatMayBeRepeated(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	s.Inject(clienttest.Fault{Path: "/api/users", Status: 500, Times: 2})
	if _, err := c.Accounts(t.Context()); err != nil {
		t.Errorf("a GET was not repeated: %v", err)
	}
	s.Inject(clienttest.Fault{Path: "/api/users", Status: 500, Times: 1})
	if _, err := c.AddAccount(t.Context(), client.NewAccount{Email: "bob@example.com"}); !fault.Is(err, fault.Internal) {
		t.Errorf("a POST was repeated, or failed otherwise: %v", err)
	}
	s.Heal()
	s.Inject(clienttest.Fault{Path: "/api/users", Status: 429, Times: 1})
	if _, err := c.AddAccount(t.Context(), client.NewAccount{Email: "bob@example.com"}); err != nil {
		t.Errorf("a POST that was turned away was not repeated: %v", err)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	s.Inject(clienttest.Fault{Path: "/api/version", Status: 429, RetryAfter: 1, Times: 1})
	began := time.Now()
	if _, _, err := c.Version(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("waited %s, want a second", took)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<html>hello</html>"))
	}))
	defer page.Close()
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"detail":[{"type":"missing","loc":["body","sql"],"msg":"Field required"}]}`))
	}))
	defer list.Close()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"hello":"world"}`))
	}))
	defer other.Close()
	away := httptest.NewServer(http.RedirectHandler("http://sso.invalid/login", http.StatusFound))
	defer away.Close()
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		clienttest.Problem(w, http.StatusNotFound, "not_found", "there is nothing at this path; /docs lists what there is")
	}))
	defer old.Close()
	older := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"detail":"Not Found"}`))
	}))
	defer older.Close()
	tls := httptest.NewUnstartedServer(nil)
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	for name, tc := range map[string]struct {
		server string
		kind   fault.Kind
		text   string
	}{
		"nobody listens":     {closed.URL, fault.Unavailable, "nothing listens there"},
		"no such host":       {"http://host.invalid", fault.Permanent, "there is no host host.invalid"},
		"not an API":         {page.URL, fault.Permanent, "is this an Agnes server"},
		"an API, not ours":   {other.URL, fault.Permanent, "is this an Agnes server"},
		"sent elsewhere":     {away.URL, fault.Permanent, "sends requests on to sso.invalid"},
		"older than we":      {old.URL, fault.NotFound, "does not know GET /api/health"},
		"the predecessor":    {older.URL, fault.NotFound, "does not know GET /api/health"},
		"a list of details":  {list.URL, fault.Invalid, "body.sql: Field required"},
		"unknown authority":  {tls.URL, fault.Permanent, "certificate"},
		"not TLS":            {strings.Replace(page.URL, "http:", "https:", 1), fault.Permanent, "does not speak TLS"},
		"proxy without TLS?": {strings.Replace(tls.URL, "https:", "http:", 1), fault.Invalid, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(client.Options{Server: tc.server, Retries: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Health(t.Context())
			if fault.KindOf(err) != tc.kind || !strings.Contains(fault.Message(err), tc.text) {
				t.Errorf("got %q of kind %q", fault.Message(err), fault.KindOf(err))
			}
		})
	}
}

func TestTrap_O8_NoSecretInErrors(t *testing.T) {
	t.Parallel()
	const token, password = "tok-very-secret", "pass-very-secret"
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		clienttest.Problem(w, http.StatusUnauthorized, "unauthenticated", "refused: "+r.Header.Get("Authorization")+" "+string(body))
	}))
	defer echo.Close()
	c, err := client.New(client.Options{Server: echo.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, loginErr := c.Login(t.Context(), "ann@example.com", password)
	_, meErr := c.Me(t.Context())
	for _, err := range []error{loginErr, meErr} {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := e.Error(); strings.Contains(text, token) || strings.Contains(text, password) {
				t.Errorf("%T tells a secret: %s", e, text)
			}
		}
	}
	for _, server := range []string{"https://ann:pass-very-secret@example.com", "https://exa mple.com/pass-very-secret", "::pass-very-secret"} {
		if _, err := client.New(client.Options{Server: server}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", server, err)
		}
	}
	if _, err := client.New(client.Options{Server: "localhost", Token: "two\nlines-secret"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a broken token: %v", err)
	}
}

func TestErrorsCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		clienttest.Problem(w, http.StatusBadRequest, "invalid", "bad\x1b[2J\x1b]0;title\a news\u202e")
	}))
	defer evil.Close()
	c, err := client.New(client.Options{Server: evil.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Health(t.Context())
	if got := fault.Message(err); got != "bad[2J]0;title news" {
		t.Errorf("got %q", got)
	}
}

func TestCredentialsStayOnTheServer(t *testing.T) {
	t.Parallel()
	var leaked string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = r.Header.Get("Authorization")
		clienttest.Problem(w, http.StatusTeapot, "", "elsewhere")
	}))
	defer elsewhere.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer home.Close()
	c, err := client.New(client.Options{Server: home.URL, Token: "tok-very-secret", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Me(t.Context()); err == nil || leaked != "" {
		t.Errorf("err %v, leaked %q", err, leaked)
	}
}

func TestParseServer(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"agnes.example.com":         "https://agnes.example.com",
		"localhost:8000":            "http://localhost:8000",
		"127.0.0.1:8000/":           "http://127.0.0.1:8000",
		"HTTPS://Agnes.Example.com": "https://agnes.example.com",
		"https://a.example/agnes/":  "https://a.example/agnes",
		"":                          "", "ftp://a": "", "https://": "", "https://u:p@a": "", "https://a?x=1": "",
	} {
		u, err := client.ParseServer(in)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: accepted as %s", in, u)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%q: got %v, %v; want %s", in, u, err, want)
		}
	}
}

func TestManifestIsConditional(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	publish(s, content(t, 100))
	m, modified, err := c.Manifest(t.Context(), "")
	if err != nil || !modified || m.ETag == "" || len(m.Tables["orders"].Parts) != 1 || m.Tables["orders"].Source != "shop" {
		t.Fatalf("got %+v, %t, %v", m, modified, err)
	}
	if _, modified, err = c.Manifest(t.Context(), m.ETag); err != nil || modified {
		t.Errorf("unchanged: modified %t, %v", modified, err)
	}
	publish(s, content(t, 100))
	if _, modified, err = c.Manifest(t.Context(), m.ETag); err != nil || !modified {
		t.Errorf("changed: modified %t, %v", modified, err)
	}
}

func TestQueryStreams(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	for accept, want := range map[string]string{
		client.TypeNDJSON: `{"n":1,"word":"one"}` + "\n", client.TypeCSV: "n,word\n1,one\n",
	} {
		q, err := c.Query(t.Context(), client.QueryRequest{SQL: "SELECT 1", Limit: 1, Accept: accept})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(q)
		if err != nil || string(got) != want || !q.Truncated() {
			t.Errorf("%s: got %q, truncated %t, %v", accept, got, q.Truncated(), err)
		}
		q.Close()
	}
	s.Inject(clienttest.Fault{Path: "/api/query", Cut: clienttest.Bytes(5)})
	q, err := c.Query(t.Context(), client.QueryRequest{SQL: "SELECT 1", Accept: client.TypeCSV})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if got, err := io.ReadAll(q); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a stream that broke off: %q, %v", got, err)
	}
}

func TestCancelEndsAtOnce(t *testing.T) {
	t.Parallel()
	s, c := start(t, func(o *client.Options) { o.Backoff = []time.Duration{time.Hour}; o.IdleTimeout = time.Hour })
	s.Inject(clienttest.Fault{Status: 503})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := c.Health(ctx); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(began))
	}
}

func TestTrap_O8_APasswordIsNotSentOnByARedirect(t *testing.T) {
	t.Parallel()
	var got atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(got.Load() || strings.Contains(string(body), "very-secret") || r.Method == http.MethodGet)
	}))
	defer thief.Close()
	for _, status := range []int{http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		first := httptest.NewServer(http.RedirectHandler(thief.URL+"/auth/token", status))
		c, err := client.New(client.Options{Server: first.URL, Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Login(t.Context(), "ann@example.com", "very-secret")
		if fault.KindOf(err) != fault.Permanent || !strings.Contains(fault.Message(err), "use its address, "+thief.URL) || got.Load() {
			t.Errorf("%d: %v, sent on: %t", status, err, got.Load())
		}
		c.Close()
		first.Close()
	}
}

func TestAnAnswerWithoutASessionIsNoSignIn(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"hello":"world"}`))
	}))
	defer other.Close()
	c, err := client.New(client.Options{Server: other.URL, Token: "tok", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Login(t.Context(), "ann@example.com", "password"); !fault.Is(err, fault.Permanent) {
		t.Errorf("signed in: %v", err)
	}
	if _, err := c.Me(t.Context()); !fault.Is(err, fault.Permanent) {
		t.Errorf("somebody: %v", err)
	}
	if _, _, err := c.Version(t.Context()); !fault.Is(err, fault.Permanent) {
		t.Errorf("a version: %v", err)
	}
}
