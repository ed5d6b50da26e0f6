//go:build verify

package verify_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

// The bucket, or container, of the stores, and the account of Azure.
const (
	filesBucket  = "kbc-sapi-files"
	filesAccount = "kbcsapifiles"
)

// cloud is an object store of its own, behind a door.
type cloud interface {
	keboolatest.Store
	front() *door
	// shorten makes the next credentials end by themselves soon, where the store cannot be told to end them.
	shorten()
	// expire makes the credentials that were handed out worth nothing, for the store itself; the next
	// handed out are good again.
	expire()
}

// door stands before a store, passes on what comes, and makes trouble where a test wants it.
type door struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	check   func(*http.Request) int // a status, or 0
	own     func(*http.Request) int // check, where there is no trouble
	before  func(*http.Request)
	cut     int   // answers yet to be cut
	cutAt   int64 // after so many bytes
	refused int
	ranges  int
	lose    string // objects whose key contains it are not stored
}

func newDoor(t *testing.T, store string) *door {
	t.Helper()
	target, err := url.Parse("http://" + store)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t}
	transport := &http.Transport{DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: d.answered,
	}
	d.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		check, before := d.check, d.before
		if r.Method == http.MethodGet && r.Header.Get("Range") != "" {
			d.ranges++
		}
		d.mu.Unlock()
		if before != nil && r.Method == http.MethodGet {
			before(r)
		}
		if check != nil && r.Method == http.MethodGet {
			if status := check(r); status != 0 {
				d.mu.Lock()
				d.refused++
				d.mu.Unlock()
				http.Error(w, http.StatusText(status), status)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		d.server.CloseClientConnections()
		d.server.Close()
		transport.CloseIdleConnections()
	})
	return d
}

func (d *door) answered(r *http.Response) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized {
		d.refused++
	}
	if d.cut > 0 && r.Request.Method == http.MethodGet && r.StatusCode/100 == 2 && !strings.HasSuffix(r.Request.URL.Path, "manifest") {
		d.cut--
		r.Body = &cutBody{r.Body, d.cutAt}
	}
	return nil
}

// cutBody breaks off.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (c *cutBody) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

// change sets what trouble there is.
func (d *door) change(f func(*door)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *door) counts() (refused, ranges int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused, d.ranges
}

// store sends an object to its store, unless it is to be lost.
func (d *door) store(key string, content []byte, path string, request func(body []byte) (*http.Request, error)) error {
	d.mu.Lock()
	lost := d.lose != "" && strings.Contains(key, d.lose)
	d.mu.Unlock()
	if lost {
		return nil
	}
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content = raw
	}
	r, err := request(content)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode/100 != 2 {
		text, _ := io.ReadAll(answer.Body)
		return fmt.Errorf("store %s: %s: %s", key, answer.Status, text)
	}
	return nil
}

func listening(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// s3 is versitygw over a folder. Credentials are users of their own, which are deleted when they expire. Its
// users have no session tokens: those the store of keboolatest checks.
type s3 struct {
	*door
	gateway string
	addr    string

	mu     sync.Mutex
	serial int
	users  []string
}

func newS3(t *testing.T) cloud {
	t.Helper()
	s := &s3{gateway: tool(t, "versitygw"), addr: freeAddr(t)}
	dir := t.TempDir()
	for _, name := range []string{"files/" + filesBucket, "iam"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spawn(t, "versitygw", []string{"ROOT_ACCESS_KEY=root", "ROOT_SECRET_KEY=root's secret"}, s.gateway,
		"--port", s.addr, "--region", keboolatest.Region, "--iam-dir", filepath.Join(dir, "iam"), "posix", "--nometa", filepath.Join(dir, "files"))
	eventually(t, 20*time.Second, "versitygw", func() error { return listening(s.addr) })
	s.door = newDoor(t, s.addr)
	return s
}

func (s *s3) front() *door     { return s.door }
func (s *s3) shorten()         {}
func (s *s3) Provider() string { return keboolatest.AWS }
func (s *s3) Close()           {}

func (s *s3) admin(args ...string) {
	args = append([]string{"admin", "--endpoint-url", "http://" + s.addr, "--region", keboolatest.Region, "--access", "root", "--secret", "root's secret"}, args...)
	if out, err := exec.Command(s.gateway, args...).CombinedOutput(); err != nil {
		s.t.Errorf("versitygw %v: %v: %s", args, err, out)
	}
}

func (s *s3) Put(key string, content []byte, path string) error {
	return s.store(key, content, path, func(body []byte) (*http.Request, error) {
		r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, "http://"+s.addr+"/"+filesBucket+"/"+key, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(body))
		r.Header.Set("X-Amz-Content-Sha256", sum)
		err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: "root", SecretAccessKey: "root's secret"}, r, sum, "s3", keboolatest.Region, time.Now())
		return r, err
	})
}

func (s *s3) Credentials(key string, until time.Time) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	user := fmt.Sprintf("AKIAEXAMPLE%05d", s.serial)
	secret := "secret/of+" + user
	s.admin("create-user", "--access", user, "--secret", secret, "--role", "admin")
	s.users = append(s.users, user)
	return map[string]any{
		"s3Path":      map[string]any{"bucket": filesBucket, "key": key},
		"credentials": map[string]any{"AccessKeyId": user, "SecretAccessKey": secret, "Expiration": until.UTC().Format(time.RFC3339)},
	}
}

func (s *s3) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, user := range s.users {
		s.admin("delete-user", "--access", user)
	}
	s.users = nil
}

func (s *s3) SignedURL(key string, _ time.Time) string {
	return s.server.URL + "/" + filesBucket + "/" + key
}
func (s *s3) Locator(key string) string { return "s3://" + filesBucket + "/" + key }

// gcs is fake-gcs-server, which asks nobody for a token: the door does.
type gcs struct {
	*door
	addr string

	mu     sync.Mutex
	serial int
	tokens map[string]bool
}

func newGCS(t *testing.T) cloud {
	t.Helper()
	server := tool(t, "fake-gcs-server")
	s := &gcs{addr: freeAddr(t), tokens: map[string]bool{}}
	s.door = newDoor(t, s.addr)
	host, port, _ := net.SplitHostPort(s.addr)
	spawn(t, "fake-gcs-server", nil, server, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-log-level", "warn",
		"-public-host", strings.TrimPrefix(s.server.URL, "http://"))
	eventually(t, 20*time.Second, "fake-gcs-server", func() error { return listening(s.addr) })
	answer, err := http.Post("http://"+s.addr+"/storage/v1/b?project=example", "application/json", strings.NewReader(`{"name": "`+filesBucket+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	s.own = func(r *http.Request) int {
		s.mu.Lock()
		defer s.mu.Unlock()
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !s.tokens[token] {
			return http.StatusUnauthorized
		}
		return 0
	}
	s.check = s.own
	return s
}

func (s *gcs) front() *door     { return s.door }
func (s *gcs) shorten()         {}
func (s *gcs) Provider() string { return keboolatest.GCP }
func (s *gcs) Close()           {}

func (s *gcs) Put(key string, content []byte, path string) error {
	return s.store(key, content, path, func(body []byte) (*http.Request, error) {
		address := "http://" + s.addr + "/upload/storage/v1/b/" + filesBucket + "/o?uploadType=media&name=" + url.QueryEscape(key)
		return http.NewRequestWithContext(s.t.Context(), http.MethodPost, address, bytes.NewReader(body))
	})
}

func (s *gcs) Credentials(key string, until time.Time) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	token := fmt.Sprintf("ya29.example-%05d", s.serial)
	s.tokens[token] = true
	return map[string]any{
		"gcsPath":        map[string]any{"bucket": filesBucket, "key": key},
		"gcsCredentials": map[string]any{"access_token": token, "expires_in": int(time.Until(until).Seconds()), "token_type": "Bearer", "projectId": "example"},
	}
}

func (s *gcs) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func (s *gcs) SignedURL(key string, _ time.Time) string {
	return s.server.URL + "/" + filesBucket + "/" + key
}
func (s *gcs) Locator(key string) string { return "gs://" + filesBucket + "/" + key }

// azure is azurite. Credentials are shared access signatures of the container, which end by their time.
type azure struct {
	*door
	addr string
	key  []byte

	mu    sync.Mutex
	last  time.Time // when the credentials that were handed out end
	brief bool      // the next end soon
}

func newAzure(t *testing.T) cloud {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("SKIPPED PEER: azurite needs Node.js, which is not installed")
	}
	script := tool(t, "node/node_modules/azurite/dist/src/blob/main.js")
	s := &azure{addr: freeAddr(t), key: []byte("the key of the account of the files")}
	host, port, _ := net.SplitHostPort(s.addr)
	p := spawn(t, "azurite", []string{"AZURITE_ACCOUNTS=" + filesAccount + ":" + base64.StdEncoding.EncodeToString(s.key)}, node, script,
		"--blobHost", host, "--blobPort", port, "--location", t.TempDir(), "--silent", "--disableTelemetry")
	eventually(t, 30*time.Second, "azurite", func() error {
		if !p.alive() {
			return errors.New(p.output())
		}
		return listening(s.addr)
	})
	s.door = newDoor(t, s.addr)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.addr+"/"+filesAccount+"/"+filesBucket+"?restype=container&"+s.owner(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Ms-Version", azureVersion)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("make a container: %s: %s", answer.Status, text)
	}
	return s
}

const azureVersion = "2018-11-09"

// signature is that of Azure's documentation: the fields of a shared access signature, each on a line.
func (s *azure) signature(lines ...string) string {
	h := hmac.New(sha256.New, s.key)
	_, _ = h.Write([]byte(strings.Join(lines, "\n")))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// owner is a signature that may do everything in the account.
func (s *azure) owner() string {
	until := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	sig := s.signature(filesAccount, "rwdlc", "b", "sco", "", until, "", "", azureVersion, "")
	return url.Values{"sv": {azureVersion}, "ss": {"b"}, "srt": {"sco"}, "sp": {"rwdlc"}, "se": {until}, "sig": {sig}}.Encode()
}

func (s *azure) front() *door { return s.door }

func (s *azure) shorten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brief = true
}

func (s *azure) Provider() string { return keboolatest.Azure }
func (s *azure) Close()           {}

func (s *azure) Put(key string, content []byte, path string) error {
	return s.store(key, content, path, func(body []byte) (*http.Request, error) {
		r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, "http://"+s.addr+"/"+filesAccount+"/"+filesBucket+"/"+key+"?"+s.owner(), bytes.NewReader(body))
		if err == nil {
			r.Header.Set("X-Ms-Version", azureVersion)
			r.Header.Set("X-Ms-Blob-Type", "BlockBlob")
		}
		return r, err
	})
}

func (s *azure) Credentials(key string, until time.Time) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.brief {
		until, s.brief = time.Now().Add(2*time.Second), false
	}
	s.last = until
	end := until.UTC().Format(time.RFC3339)
	sig := s.signature("rl", "", end, "/blob/"+filesAccount+"/"+filesBucket, "", "", "", azureVersion, "c", "", "", "", "", "", "")
	sas := url.Values{"sv": {azureVersion}, "sr": {"c"}, "sp": {"rl"}, "se": {end}, "sig": {sig}}.Encode()
	return map[string]any{
		"absPath": map[string]any{"container": filesBucket, "name": key, "accountName": filesAccount},
		"absCredentials": map[string]any{
			"SASConnectionString": "BlobEndpoint=" + s.server.URL + "/" + filesAccount + ";SharedAccessSignature=" + sas, "expiration": end,
		},
	}
}

// expire waits for the end of credentials that are brief.
func (s *azure) expire() {
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	time.Sleep(min(time.Until(last)+time.Second, 4*time.Second))
}

func (s *azure) SignedURL(key string, _ time.Time) string {
	return s.server.URL + "/" + filesAccount + "/" + filesBucket + "/" + key
}

func (s *azure) Locator(key string) string {
	return "azure://" + filesAccount + ".blob.core.windows.net/" + filesBucket + "/" + key
}
