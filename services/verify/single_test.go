//go:build verify

package verify_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// single is one `agnes` process with everything in it.
type single struct {
	t     *testing.T
	dir   string
	addr  string
	agnes *process
	env   []string
}

// newSingle starts agnes over two small files, with the variables of env.
func newSingle(t *testing.T, env ...string) *single {
	t.Helper()
	return newSingleAt(t, freeAddr(t), env...)
}

// newSingleAt is newSingle on an address that was chosen before.
func newSingleAt(t *testing.T, addr string, env ...string) *single {
	t.Helper()
	s := &single{t: t, dir: t.TempDir(), addr: addr}
	h := &house{t: t, dir: s.dir}
	h.write("config/instance.yaml", "instance: {name: Verify}\nsources:\n  - {name: shop, type: csv, path: ../files, auto_register: true, watch: true}\n")
	h.write("files/orders.csv", "id,customer,amount\n1,1,10.5\n2,2,20.5\n3,1,5\n")
	h.write("files/salaries.csv", "id,secret\n1,canary-salary\n")
	s.env = append([]string{
		"DATA_DIR=" + filepath.Join(s.dir, "data"), "CONFIG_DIR=" + filepath.Join(s.dir, "config"), "AGNES_API_ADDR=" + s.addr,
		"AGNES_PUBLIC_URL=http://" + s.addr, "SEED_ADMIN_EMAIL=" + adminEmail, "SEED_ADMIN_PASSWORD=" + adminPassword, "LOG_LEVEL=info",
	}, env...)
	s.start()
	return s
}

func (s *single) url(path string) string { return "http://" + s.addr + path }

func (s *single) start() {
	s.t.Helper()
	s.agnes = spawn(s.t, "agnes", s.env, filepath.Join(binaries, "agnes"))
	eventually(s.t, 30*time.Second, "agnes ready", func() error { return get(s.url("/readyz")) })
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
	url    *url.URL // where redirects ended
}

// visitor is somebody with cookies, or a token, or neither.
type visitor struct {
	t     *testing.T
	http  *http.Client
	base  string
	token string
}

// visitor with a cookie jar of their own, who follows redirects.
func (s *single) visitor() *visitor {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &visitor{t: s.t, base: "http://" + s.addr, http: &http.Client{Jar: jar, Timeout: time.Minute}}
}

// signIn gives a visitor with a session by password.
func (s *single) signIn(email, password string) *visitor {
	s.t.Helper()
	v := s.visitor()
	var answer struct {
		Token string `json:"access_token"`
	}
	v.json(http.MethodPost, "/auth/token", map[string]string{"email": email, "password": password}, http.StatusOK, &answer)
	v.token = answer.Token
	return v
}

// ask sends a request; a body that is url.Values is a form of a page of this server, anything else JSON.
func (v *visitor) ask(method, path string, body any) reply {
	v.t.Helper()
	var reader io.Reader = http.NoBody
	contentType := ""
	switch b := body.(type) {
	case nil:
	case url.Values:
		reader, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			v.t.Fatal(err)
		}
		reader, contentType = bytes.NewReader(raw), "application/json"
	}
	if strings.HasPrefix(path, "/") {
		path = v.base + path
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, path, reader)
	if err != nil {
		v.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	}
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	answer, err := v.http.Do(r)
	if err != nil {
		v.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return reply{status: answer.StatusCode, header: answer.Header, body: string(text), url: answer.Request.URL}
}

// json asks, demands a status and decodes the answer.
func (v *visitor) json(method, path string, body any, status int, into any) {
	v.t.Helper()
	got := v.ask(method, path, body)
	if got.status != status {
		v.t.Fatalf("%s %s: %d, want %d: %.500s", method, path, got.status, status, got.body)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(got.body), into); err != nil {
		v.t.Fatalf("%s %s: %v: %.300s", method, path, err, got.body)
	}
}

// me is who the visitor is to the server.
func (v *visitor) me() (who struct {
	Email, Role string
	Credential  struct{ Kind, ID string }
}) {
	v.t.Helper()
	v.json(http.MethodGet, "/auth/me", nil, http.StatusOK, &who)
	return who
}
