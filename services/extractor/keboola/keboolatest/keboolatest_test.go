package keboolatest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call sends a request and decodes the answer.
func call(t *testing.T, p *keboolatest.Project, token, method, path string, form url.Values) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.URL+"/v2/storage/"+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-StorageApi-Token", token)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return send(t, req)
}

func send(t *testing.T, req *http.Request) (int, map[string]any) {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	_ = json.Unmarshal(raw, &out)
	return res.StatusCode, out
}

func project(t *testing.T, cfg keboolatest.Config) *keboolatest.Project {
	t.Helper()
	p := keboolatest.New(cfg)
	t.Cleanup(p.Close)
	p.Put(keboolatest.Table{ID: "in.c-crm.orders", Columns: []string{"id", "name"}, PrimaryKey: []string{"id"}}, keboolatest.Row("1", "a"), keboolatest.Row("2", "b"))
	return p
}

func TestTokensSeeWhatTheyMay(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	p.AddToken(keboolatest.Token{Token: "narrow", Buckets: map[string]string{"in.c-other": "read"}})
	p.AddToken(keboolatest.Token{Token: "expired", Expired: true})
	for _, c := range []struct {
		token, path string
		status      int
	}{
		{keboolatest.DefaultToken, "tables/in.c-crm.orders", 200},
		{keboolatest.DefaultToken, "tables/in.c-crm.nothing", 404},
		{"narrow", "tokens/verify", 200},
		{"narrow", "tables/in.c-crm.orders", 403},
		{"expired", "tokens/verify", 401},
		{"unknown", "tokens/verify", 401},
		{keboolatest.DefaultToken, "nonsense", 404},
	} {
		if status, body := call(t, p, c.token, http.MethodGet, c.path, nil); status != c.status {
			t.Errorf("%s as %s: %d %v, want %d", c.path, c.token, status, body, c.status)
		}
	}
}

func TestExportsRefuseWhatTheAPIDoesNotKnow(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	for _, form := range []url.Values{
		{"whereColumn": {"id"}},
		{"columns": {"nothing"}},
		{"whereFilters[1][column]": {"id"}, "whereFilters[1][values][0]": {"1"}},
		{"whereFilters[0][column]": {"id"}, "whereFilters[0][operator]": {"like"}, "whereFilters[0][values][0]": {"1"}},
		{"fileType": {"parquet"}},
	} {
		if status, body := call(t, p, keboolatest.DefaultToken, http.MethodPost, "tables/in.c-crm.orders/export-async", form); status != 400 {
			t.Errorf("%v: %d %v", form, status, body)
		}
	}
}

// TestStoresWantTheirCredentials asks each cloud's store without, and with a manifest's signed address.
func TestStoresWantTheirCredentials(t *testing.T) {
	t.Parallel()
	for _, cloud := range []string{keboolatest.AWS, keboolatest.Azure, keboolatest.GCP} {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			p := project(t, keboolatest.Config{Cloud: cloud, CredentialsLast: time.Minute})
			_, job := call(t, p, keboolatest.DefaultToken, http.MethodPost, "tables/in.c-crm.orders/export-async", url.Values{"gzip": {"1"}})
			path := strings.TrimPrefix(job["url"].(string), p.URL+"/v2/storage/")
			_, job = call(t, p, keboolatest.DefaultToken, http.MethodGet, path, nil)
			if job["status"] != "success" {
				t.Fatalf("the job is %v", job)
			}
			file := job["results"].(map[string]any)["file"].(map[string]any)["id"]
			raw, _ := json.Marshal(file)
			_, detail := call(t, p, keboolatest.DefaultToken, http.MethodGet, "files/"+string(raw)+"?federationToken=1", nil)
			signed, err := url.Parse(detail["url"].(string))
			if err != nil {
				t.Fatal(err)
			}
			get := func(u string) (int, map[string]any) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				return send(t, req)
			}
			status, manifest := get(signed.String())
			if status != 200 || len(manifest["entries"].([]any)) != 1 {
				t.Fatalf("the manifest: %d %v", status, manifest)
			}
			signed.RawQuery = ""
			if status, _ := get(signed.String()); status/100 != 4 {
				t.Errorf("without credentials: %d", status)
			}
		})
	}
}
