package configure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	bq "github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodToken = "123-456-s3cretTokenOfKeboola"

// stack plays Keboola's GET /v2/storage/tokens/verify, as its public documentation has it.
type stack struct {
	*httptest.Server
	asked int
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked++
		switch {
		case strings.HasPrefix(r.URL.Path, "/elsewhere"):
			http.Redirect(w, r, s.URL, http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/broken"):
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasPrefix(r.URL.Path, "/endless"):
			_, _ = w.Write([]byte(`{"owner":{"id":1,"name":"` + strings.Repeat("x", 2<<20) + `"}}`))
		case strings.HasPrefix(r.URL.Path, "/stranger"):
			_, _ = w.Write([]byte("<html>"))
		case r.URL.Path != "/v2/storage/tokens/verify" || r.Method != http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
		case r.Header.Get("X-StorageApi-Token") != goodToken:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = w.Write([]byte(`{"id":"1","isExpired":false,"isDisabled":false,"canManageBuckets":false,"bucketPermissions":{"in.c-crm":"read","in.c-shop":"read"},"owner":{"id":42,"name":"Shop\n\u202eproject"}}`))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// fixture is a Service over two folders, with what it reloaded.
type fixture struct {
	*Service
	stack    *stack
	dir      string
	reloaded []*service.Instance
}

func newFixture(t *testing.T, allow ...string) *fixture {
	t.Helper()
	for _, name := range []string{tokenEnv, urlEnv} {
		t.Setenv(name, "") // taken back when the test ends
	}
	f := &fixture{stack: newStack(t), dir: t.TempDir()}
	guard, err := NewGuard(allow)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(f.stack.Certificate())
	f.Service = New(Config{
		ConfigDir: t.TempDir(), DataDir: f.dir, Guard: guard, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Reload: func(_ context.Context, _ string, i *service.Instance) error {
			f.reloaded = append(f.reloaded, i)
			return nil
		},
	})
	return f
}

func (f *fixture) state(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(f.dir, "state", name)
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v %v", name, info.Mode(), err)
	}
	return string(raw)
}

func (f *fixture) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(f.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.dir, "state", name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeboolaIsTestedWrittenAndReloaded(t *testing.T) {
	f := newFixture(t, "127.0.0.1")
	f.put(t, service.InstanceFile, "# ours\ntheme: {color: \"${COLOR:-blue}\"}\ninstance:\n  name: Old # the name\n  subtitle: kept\n")
	f.put(t, service.OverlayFile, "OTHER=kept\n")
	in := httpapi.Setup{DataSource: keboola, KeboolaURL: f.stack.URL + "/", KeboolaToken: goodToken, InstanceName: `New: "name"`, AllowedDomain: "Example.com", DryRun: true}
	out, err := f.Configure(t.Context(), httpapi.Caller{}, in)
	if err != nil || out.Connection != connectionVerified || len(f.reloaded) != 0 || f.state(t, service.OverlayFile) != "OTHER=kept\n" || os.Getenv(tokenEnv) != "" {
		t.Fatalf("the dry run: %+v %v", out, err)
	}
	in.DryRun = false
	if out, err = f.Configure(t.Context(), httpapi.Caller{UserID: "1"}, in); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out.Tested, []string{strings.TrimPrefix(f.stack.URL, "https://") + ` accepted the token for the project "Shopproject" (42)`, "the token may read 2 buckets"}) ||
		!slices.Equal(out.Restart, []string{"extractor-keboola"}) || !slices.Contains(out.Changed, tokenEnv) || !slices.Contains(out.Changed, "instance.name") {
		t.Errorf("got %+v", out)
	}
	text := f.state(t, service.InstanceFile)
	for _, want := range []string{"${COLOR:-blue}", "subtitle: kept", "# ours", "token_env: " + tokenEnv, "allowed_domain: example.com"} {
		if !strings.Contains(text, want) {
			t.Errorf("instance.yaml lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, goodToken) {
		t.Error("instance.yaml holds the token")
	}
	overlay, err := service.ReadOverlay(f.dir)
	if err != nil || overlay[tokenEnv] != goodToken || overlay["OTHER"] != "kept" || f.state(t, service.OverlayFile) == "" || os.Getenv(tokenEnv) != goodToken {
		t.Errorf("overlay: %v", err)
	}
	if len(f.reloaded) != 1 || f.reloaded[0].Name != `New: "name"` || !slices.Equal(f.reloaded[0].AllowedDomains, []string{"example.com"}) {
		t.Errorf("reloaded: %+v", f.reloaded)
	}
	now, err := f.Current(t.Context())
	if err != nil || now.Current["keboola_token"] != "set" || now.Current["keboola_url"] != f.stack.URL || now.Current["data_source"] != keboola {
		t.Errorf("%+v %v", now, err)
	}
	if again, err := f.Configure(t.Context(), httpapi.Caller{}, in); err != nil || len(again.Changed) != 0 || len(f.reloaded) != 1 {
		t.Errorf("the same again: %+v %v", again, err)
	}
	if _, err := f.Configure(t.Context(), httpapi.Caller{}, httpapi.Setup{DataSource: local}); err != nil {
		t.Fatal(err)
	}
	if now, _ := f.Current(t.Context()); now.Current["data_source"] != local {
		t.Errorf("back to local: %+v", now)
	}
}

func TestAFailedTestWritesNothing(t *testing.T) {
	f := newFixture(t, "127.0.0.0/8")
	for name, c := range map[string]struct{ url, token, want string }{
		"refused":    {f.stack.URL, "another-token", "refused the token"},
		"redirected": {f.stack.URL + "/elsewhere", goodToken, "points elsewhere"},
		"broken":     {f.stack.URL + "/broken", goodToken, "status 500"},
		"endless":    {f.stack.URL + "/endless", goodToken, "does not answer as Keboola does"},
		"a stranger": {f.stack.URL + "/stranger", goodToken, "does not answer as Keboola does"},
		"closed":     {"https://127.0.0.1:1", goodToken, "cannot be reached"},
	} {
		_, err := f.Configure(t.Context(), httpapi.Caller{}, httpapi.Setup{DataSource: keboola, KeboolaURL: c.url, KeboolaToken: c.token})
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(fault.Message(err), "connection failed: ") || !strings.Contains(fault.Message(err), c.want) || strings.Contains(err.Error(), c.token) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.state(t, service.InstanceFile)+f.state(t, service.OverlayFile) != "" || len(f.reloaded) != 0 {
		t.Error("something was written")
	}
}

func TestValuesThatReachFurtherThanTheirLineAreRefused(t *testing.T) {
	f := newFixture(t)
	for name, in := range map[string]httpapi.Setup{
		"a line in the token":    {DataSource: keboola, KeboolaURL: "https://example.com", KeboolaToken: "a\nJWT_SECRET_KEY=known"},
		"a line in the URL":      {DataSource: keboola, KeboolaURL: "https://example.com/\nX=1", KeboolaToken: "a"},
		"a line in the name":     {InstanceName: "a\r\nauth:"},
		"a separator":            {InstanceName: "a\u2028b"},
		"NUL":                    {InstanceName: "a\x00"},
		"a variable":             {InstanceName: "${JWT_SECRET_KEY}"},
		"a space in the token":   {DataSource: keboola, KeboolaURL: "https://example.com", KeboolaToken: "a b"},
		"a user in the URL":      {DataSource: keboola, KeboolaURL: "https://a:b@example.com", KeboolaToken: "a"},
		"http":                   {DataSource: keboola, KeboolaURL: "http://example.com", KeboolaToken: "a"},
		"a query":                {DataSource: keboola, KeboolaURL: "https://example.com/?a=b", KeboolaToken: "a"},
		"another scheme":         {DataSource: keboola, KeboolaURL: "file:///etc/passwd", KeboolaToken: "a"},
		"no token":               {DataSource: keboola, KeboolaURL: "https://example.com"},
		"a wild domain":          {AllowedDomain: "*"},
		"a project":              {DataSource: bigquery, BigQueryProject: "../x"},
		"an unknown data source": {DataSource: "oracle"},
		"no data source":         {KeboolaToken: "a"},
	} {
		if _, err := f.Configure(t.Context(), httpapi.Caller{}, in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.state(t, service.InstanceFile)+f.state(t, service.OverlayFile) != "" {
		t.Error("something was written")
	}
}

func TestTheEnvironmentWinsOverTheOverlay(t *testing.T) {
	f := newFixture(t, "127.0.0.1")
	t.Setenv(tokenEnv, "of-the-environment")
	in := httpapi.Setup{DataSource: keboola, KeboolaURL: f.stack.URL, KeboolaToken: goodToken}
	if _, err := f.Configure(t.Context(), httpapi.Caller{}, in); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), tokenEnv) {
		t.Errorf("got %v", err)
	}
	f.put(t, service.OverlayFile, tokenEnv+"=of-the-environment\n") // it came from there: it can be changed
	if _, err := f.Configure(t.Context(), httpapi.Caller{}, in); err != nil {
		t.Error(err)
	}
}

func TestBigQueryIsVerifiedOnlyWhereItAnswers(t *testing.T) {
	f := newFixture(t)
	fake := bigquerytest.New(t)
	t.Setenv(bq.EnvEmulator, fake.Endpoint)
	in := httpapi.Setup{DataSource: bigquery, BigQueryProject: "example-project-1", BigQueryLocation: "EU"}
	if out, err := f.Configure(t.Context(), httpapi.Caller{}, in); err == nil || out.Connection == connectionVerified || f.state(t, service.InstanceFile) != "" {
		t.Errorf("what BigQuery refuses is configured: %+v %v", out, err)
	}
	fake.PutQuery("SELECT 1", bigquerytest.Table{Fields: bigquerytest.Fields("f0_", "INTEGER")})
	if out, err := f.Configure(t.Context(), httpapi.Caller{}, in); err != nil || out.Connection != connectionVerified || len(out.Tested) != 1 || fake.Jobs() != 0 {
		t.Errorf("%+v %v, %d jobs", out, err, fake.Jobs())
	}
}

func TestADamagedConfigurationIsNotWrittenOver(t *testing.T) {
	f := newFixture(t)
	for _, text := range []string{"a: [", "- a\n- b\n", "instance: text\n"} {
		f.put(t, service.InstanceFile, text)
		if _, err := f.Configure(t.Context(), httpapi.Caller{}, httpapi.Setup{InstanceName: "x"}); err == nil || f.state(t, service.InstanceFile) != text {
			t.Errorf("%q: %v, then %q", text, err, f.state(t, service.InstanceFile))
		}
	}
}

func TestPrivateAddressesAreNotDialled(t *testing.T) {
	f := newFixture(t)
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "[::1]", "[::]", "[fd00::1]", "[fe80::1]",
		"[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00:ec2::254]", "224.0.0.1", "255.255.255.255",
	} {
		_, err := f.Configure(t.Context(), httpapi.Caller{}, httpapi.Setup{DataSource: keboola, KeboolaURL: "https://" + host, KeboolaToken: goodToken})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "private network") {
			t.Errorf("%s: %v", host, err)
		}
	}
	// A name is checked where it leads, when it is dialled.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(f.stack.URL, "127.0.0.1", "localhost", 1), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := f.cfg.Guard.client("localhost", testTimeout).Do(r)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, errPrivate) || f.stack.asked != 0 {
		t.Errorf("localhost is dialled: %v", err)
	}
	for text, want := range map[string]bool{"8.8.8.8": true, "2606:4700::1111": true, "172.32.0.1": true, "100.128.0.1": true, "198.18.0.1": false} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
	if _, err := NewGuard([]string{"https://x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an exception that is none: %v", err)
	}
}
