package storage_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const orders = "in.c-crm.orders"

// clouds are those whose stores hold files (trap K3).
var clouds = []string{keboolatest.AWS, keboolatest.Azure, keboolatest.GCP}

func project(t *testing.T, cfg keboolatest.Config) *keboolatest.Project {
	t.Helper()
	p := keboolatest.New(cfg)
	t.Cleanup(p.Close)
	return p
}

// client is one that does not wait long.
func client(t *testing.T, p *keboolatest.Project, change ...func(*storage.Config)) *storage.Client {
	t.Helper()
	cfg := storage.Config{
		Source: "crm", Stack: p.URL, Token: keboolatest.DefaultToken,
		PollFirst: time.Millisecond, PollMost: 5 * time.Millisecond, CallTimeout: 20 * time.Second, Retries: 3,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := storage.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// numbered makes a table of n rows.
func numbered(p *keboolatest.Project, n int) {
	rows := make([][]*string, n)
	for i := range rows {
		rows[i] = keboolatest.Row(fmt.Sprint(i), fmt.Sprintf("name \"%d\",\nand more", i))
	}
	p.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name"}, PrimaryKey: []string{"id"}}, rows...)
}

// read reads all objects of a file, and gives their lines.
func read(ctx context.Context, f *storage.File) (int, error) {
	objects, err := f.Objects(ctx)
	if err != nil {
		return 0, err
	}
	lines := 0
	for _, o := range objects {
		var raw bytes.Buffer
		n, err := f.Read(ctx, o, &raw)
		if err != nil {
			return 0, err
		}
		if n != int64(raw.Len()) {
			return 0, fmt.Errorf("read %d bytes, and said %d", raw.Len(), n)
		}
		z, err := gzip.NewReader(&raw)
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(z)
		if err != nil {
			return 0, err
		}
		lines += strings.Count(string(text), "and more\"\n")
	}
	return lines, nil
}

// exported exports the table and counts its rows.
func exported(t *testing.T, c *storage.Client, o storage.ExportOptions) (int, error) {
	t.Helper()
	f, err := c.Export(t.Context(), orders, o)
	if err != nil {
		return 0, err
	}
	return read(t.Context(), f)
}

func TestTrap_K3_FilesAreReadFromThreeClouds(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		for _, sliced := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s sliced=%v", cloud, sliced), func(t *testing.T) {
				t.Parallel()
				p := project(t, keboolatest.Config{Cloud: cloud, SliceRows: 30, Unsliced: !sliced, Polls: 2})
				numbered(p, 100)
				n, err := exported(t, client(t, p), storage.ExportOptions{})
				if err != nil || n != 100 {
					t.Fatalf("%d rows: %v", n, err)
				}
				if want := map[bool]int{true: 4, false: 1}[sliced]; p.Calls()[keboolatest.RouteObject] != want {
					t.Errorf("%d objects were read, want %d", p.Calls()[keboolatest.RouteObject], want)
				}
			})
		}
	}
}

func TestCredentialsThatExpireAreRenewed(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			p := project(t, keboolatest.Config{Cloud: cloud, SliceRows: 30})
			numbered(p, 100)
			c := client(t, p)
			p.Fail(keboolatest.Fault{Route: keboolatest.RouteObject, Skip: 1, Times: 1, Expired: true})
			if n, err := exported(t, c, storage.ExportOptions{}); err != nil || n != 100 {
				t.Fatalf("%d rows: %v", n, err)
			}
			if n := p.Calls()[keboolatest.RouteFile]; n != 2 {
				t.Errorf("the file was asked for %d times, want 2", n)
			}
			p.Fail(keboolatest.Fault{Route: keboolatest.RouteObject, Expired: true})
			if _, err := exported(t, c, storage.ExportOptions{}); !fault.Is(err, fault.Forbidden) {
				t.Errorf("credentials that are never good: %v", err)
			}
		})
	}
}

func TestABrokenDownloadGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			p := project(t, keboolatest.Config{Cloud: cloud})
			numbered(p, 5000)
			p.Fail(keboolatest.Fault{Route: keboolatest.RouteObject, Times: 2, Cut: 4000})
			p.Fail(keboolatest.Fault{Route: keboolatest.RouteObject, Times: 1, Status: 503})
			if n, err := exported(t, client(t, p), storage.ExportOptions{}); err != nil || n != 5000 {
				t.Fatalf("%d rows: %v", n, err)
			}
			resumed := 0
			for _, r := range p.Requests(keboolatest.RouteObject) {
				if r.Range != "" {
					resumed++
				}
			}
			if resumed < 2 {
				t.Errorf("%d requests asked for the rest only", resumed)
			}
		})
	}
}

func TestWhatFailsForGoodIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault keboolatest.Fault
		kind  fault.Kind
		tries int
	}{
		{"401", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 401}, fault.Unauthenticated, 1},
		{"403", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 403}, fault.Forbidden, 1},
		{"404", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 404}, fault.NotFound, 1},
		{"400", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 400}, fault.Invalid, 1},
		{"501", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 501}, fault.Permanent, 1},
		{"redirect", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 302}, fault.Permanent, 1},
		{"500", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 500}, fault.Unavailable, 4},
		{"429 for long", keboolatest.Fault{Route: keboolatest.RouteExport, Status: 429, RetryAfter: time.Hour}, fault.Busy, 1},
		{"hung up", keboolatest.Fault{Route: keboolatest.RouteExport, Refuse: true}, fault.Unavailable, 4},
		{"nonsense", keboolatest.Fault{Route: keboolatest.RouteExport, Malformed: true}, fault.Unavailable, 4},
		{"missing slice", keboolatest.Fault{Route: keboolatest.RouteObject, Status: 404}, fault.Permanent, 1},
		{"missing manifest", keboolatest.Fault{Route: keboolatest.RouteManifest, Status: 404}, fault.Permanent, 1},
		{"store 500", keboolatest.Fault{Route: keboolatest.RouteObject, Status: 500}, fault.Unavailable, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := project(t, keboolatest.Config{})
			numbered(p, 3)
			p.Fail(c.fault)
			_, err := exported(t, client(t, p), storage.ExportOptions{})
			if !fault.Is(err, c.kind) {
				t.Errorf("%s: %v, want %s", fault.KindOf(err), err, c.kind)
			}
			if n := p.Calls()[c.fault.Route]; n != c.tries {
				t.Errorf("%d tries, want %d", n, c.tries)
			}
			for _, text := range []string{err.Error(), fault.Message(err)} {
				if strings.Contains(text, keboolatest.DefaultToken) || strings.Contains(text, "X-Amz") || strings.Contains(text, "secret") {
					t.Errorf("a secret shows: %s", text)
				}
			}
		})
	}
}

func TestAPauseThatKeboolaAsksForIsKept(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	numbered(p, 3)
	p.Fail(keboolatest.Fault{Route: keboolatest.RouteJob, Times: 1, Status: 429, RetryAfter: time.Second})
	began := time.Now()
	if n, err := exported(t, client(t, p), storage.ExportOptions{}); err != nil || n != 3 {
		t.Fatalf("%d rows: %v", n, err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("it came again after %s", took)
	}
}

func TestTrap_K6_PollingEnds(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	numbered(p, 3)
	c := client(t, p, func(c *storage.Config) { c.JobTimeout = 100 * time.Millisecond })
	for _, j := range []struct {
		plan keboolatest.JobPlan
		kind fault.Kind
		says string
	}{
		{keboolatest.JobPlan{Polls: -1}, fault.Unavailable, "did not end within"},
		{keboolatest.JobPlan{Polls: 1, Code: "storage.tables.exportFailed", Message: "Object 'orders' does not exist"}, fault.Permanent, "does not exist"},
		{keboolatest.JobPlan{Polls: 1, Code: "storage.internal", Message: "Internal error"}, fault.Unavailable, "Internal error"},
		{keboolatest.JobPlan{Status: "cancelled"}, fault.Unavailable, "cancelled"},
	} {
		p.PlanJobs()
		p.PlanJobs(j.plan)
		_, err := c.Export(t.Context(), orders, storage.ExportOptions{})
		if !fault.Is(err, j.kind) || !strings.Contains(fault.Message(err), j.says) {
			t.Errorf("%+v: %s: %v", j.plan, fault.KindOf(err), err)
		}
	}
	p.PlanJobs()
	p.PlanJobs(keboolatest.JobPlan{Polls: -1})
	ctx, cancel := context.WithCancel(t.Context())
	p.Watch(func(r keboolatest.Request) {
		if r.Route == keboolatest.RouteJob {
			cancel()
		}
	})
	if _, err := client(t, p).Export(ctx, orders, storage.ExportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who gave up: %v", err)
	}
}

func TestTrap_K4_FiltersAreIndexedFields(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	numbered(p, 100)
	since := p.Now()
	p.Advance(time.Hour)
	p.Import(orders, keboolatest.Row("7", "new, and more"), keboolatest.Row("200", "new, and more"), keboolatest.Row("201", "new, and more"))
	c := client(t, p)
	for _, o := range []struct {
		options storage.ExportOptions
		rows    int
	}{
		{storage.ExportOptions{}, 102},
		{storage.ExportOptions{ChangedSince: since.Add(time.Minute)}, 3},
		{storage.ExportOptions{Where: []storage.Where{{Column: "id", Operator: "eq", Values: []string{"7", "8", "200"}}}}, 3},
		{storage.ExportOptions{Where: []storage.Where{{Column: "id", Operator: "ne", Values: []string{"7"}}, {Column: "id", Operator: "ge", Values: []string{"98"}}}}, 2},
		{storage.ExportOptions{ChangedSince: since.Add(time.Minute), Where: []storage.Where{{Column: "id", Operator: "eq", Values: []string{"7", "8"}}}}, 1},
	} {
		if n, err := exported(t, c, o.options); err != nil || n != o.rows {
			t.Errorf("%+v: %d rows, want %d: %v", o.options, n, o.rows, err)
		}
	}
	p.ResetCalls()
	if _, err := c.Export(t.Context(), orders, storage.ExportOptions{Columns: []string{"name", "id"}, Where: []storage.Where{{Column: "id", Operator: "eq", Values: []string{"7", "8"}}}}); err != nil {
		t.Fatal(err)
	}
	form := p.Requests(keboolatest.RouteExport)[0].Form
	for k, v := range map[string]string{
		"whereFilters[0][column]": "id", "whereFilters[0][operator]": "eq", "whereFilters[0][values][1]": "8", "columns[0]": "name", "columns[1]": "id", "gzip": "1",
	} {
		if !slices.Equal(form[k], []string{v}) {
			t.Errorf("%s is %v, want %s", k, form[k], v)
		}
	}
}

func TestDiscoveryTellsWhatThereIs(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	p.AddBucket(keboolatest.Bucket{ID: "in.c-linked", Linked: true})
	p.Put(keboolatest.Table{
		ID: orders, Columns: []string{"id", "name"}, PrimaryKey: []string{"id"}, Description: "What was ordered",
		Metadata: map[string][]keboolatest.Metadata{"id": {keboolatest.BaseType("user", "INTEGER")}},
	}, keboolatest.Row("1", "a"))
	p.Put(keboolatest.Table{ID: "in.c-linked.view", Columns: []string{"id", "name"}, AliasOf: orders})
	p.AddToken(keboolatest.Token{Token: "narrow", Buckets: map[string]string{"in.c-linked": "read"}})
	c := client(t, p)
	tables, err := c.Tables(t.Context())
	if err != nil || len(tables) != 2 {
		t.Fatalf("%+v: %v", tables, err)
	}
	first, alias := tables[0], tables[1]
	if first.ID != orders || first.Bucket.Stage != "in" || *first.Rows != 1 || !slices.Equal(first.PrimaryKey, []string{"id"}) || first.LastChange.IsZero() ||
		!reflect.DeepEqual(first.ColumnMetadata["id"], []storage.Metadata{{Provider: "user", Key: "KBC.datatype.basetype", Value: "INTEGER"}}) || first.Bucket.Linked() {
		t.Errorf("the table is %+v", first)
	}
	if !alias.Alias || alias.Source == nil || len(alias.Source.ColumnMetadata["id"]) != 1 || !alias.Bucket.Linked() || alias.Name != "view" {
		t.Errorf("the alias is %+v", alias)
	}
	buckets, err := c.Buckets(t.Context())
	if err != nil || len(buckets) != 2 {
		t.Errorf("%+v: %v", buckets, err)
	}
	narrow := client(t, p, func(c *storage.Config) { c.Token = "narrow" })
	token, err := narrow.Verify(t.Context())
	if err != nil || len(token.Buckets) != 1 || token.Buckets["in.c-linked"] != "read" || token.Owner.Name != keboolatest.DefaultName {
		t.Errorf("%+v: %v", token, err)
	}
	if tables, err := narrow.Tables(t.Context()); err != nil || len(tables) != 1 {
		t.Errorf("%+v: %v", tables, err)
	}
	if _, err := narrow.Table(t.Context(), orders); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a table that the token may not see: %v", err)
	}
	raw, err := c.Preview(t.Context(), orders, 20, "name")
	if err != nil || string(raw) != "\"name\"\n\"a\"\n" {
		t.Errorf("%q: %v", raw, err)
	}
}

func TestMetadataIsPushed(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	numbered(p, 1)
	c := client(t, p)
	err := c.PushColumnMetadata(t.Context(), orders, "id", "ai-metadata-enrichment", []storage.Metadata{{Key: "KBC.description", Value: "the number"}, {Key: "KBC.datatype.basetype", Value: "INTEGER"}})
	if err != nil || len(p.Pushed()) != 2 || p.Pushed()[0] != (keboolatest.Pushed{Table: orders, Column: "id", Metadata: keboolatest.Metadata{Provider: "ai-metadata-enrichment", Key: "KBC.description", Value: "the number"}}) {
		t.Errorf("%+v: %v", p.Pushed(), err)
	}
	if err := c.PushColumnMetadata(t.Context(), orders, "nothing", "x", nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("a column that is not there: %v", err)
	}
}

func TestMetricsCountCallsAndBytes(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	numbered(p, 10)
	registry := prometheus.NewRegistry()
	c := client(t, p, func(c *storage.Config) { c.Metrics = registry })
	client(t, p, func(c *storage.Config) { c.Metrics, c.Source = registry, "second" })
	if _, err := exported(t, c, storage.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "agnes_keboola_requests_total", "agnes_keboola_read_bytes_total"); err != nil || n != 5 {
		t.Errorf("%d series: %v", n, err)
	}
}

func TestTheStackIsAnAddressAndTheTokenAToken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stack, token string
		ok           bool
	}{
		{"connection.keboola.com", "1-2-abc", true},
		{"https://connection.keboola.com/", "1-2-abc", true},
		{"https://connection.keboola.com/v2/storage", "1-2-abc", true},
		{"http://127.0.0.1:1", "1-2-abc", true},
		{"http://connection.keboola.com", "1-2-abc", false},
		{"https://user@connection.keboola.com", "1-2-abc", false},
		{"https://connection.keboola.com/admin", "1-2-abc", false},
		{"", "1-2-abc", false},
		{"connection.keboola.com", "", false},
		{"connection.keboola.com", "a\nb", false},
	} {
		if _, err := storage.New(storage.Config{Stack: c.stack, Token: c.token}); (err == nil) != c.ok {
			t.Errorf("%q %q: %v", c.stack, c.token, err)
		}
	}
}

// TestTrap_K3_AManifestLeadsNowhereElse lets a manifest name objects of other buckets and files.
func TestTrap_K3_AManifestLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	for _, locator := range []string{
		"s3://another-bucket/exp-15/1234/x", "s3://kbc-sapi-files/exp-15/9/other.csv", "gs://kbc-sapi-files/exp-15/1234/table-exports/in/c-crm/orders/1002.csv.gz0",
		"https://evil.example.com/kbc-sapi-files/exp-15", "s3://kbc-sapi-files/exp-15/1234/table-exports/in/c-crm/orders/1002.csv.gz/../../x", "nonsense",
	} {
		p := project(t, keboolatest.Config{})
		numbered(p, 3)
		p.Fail(keboolatest.Fault{Route: keboolatest.RouteManifest, Status: http.StatusOK, Body: fmt.Sprintf(`{"entries":[{"url":%q}]}`, locator)})
		if _, err := exported(t, client(t, p), storage.ExportOptions{}); !fault.Is(err, fault.Permanent) {
			t.Errorf("%s: %v", locator, err)
		}
		if n := p.Calls()[keboolatest.RouteObject]; n != 0 {
			t.Errorf("%s: %d objects were asked for", locator, n)
		}
	}
}

// full is a disk without space.
type full struct{ left int }

var errFull = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestAFullDiskIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	p := project(t, keboolatest.Config{})
	numbered(p, 20_000)
	file, err := client(t, p).Export(t.Context(), orders, storage.ExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := file.Objects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Read(t.Context(), objects[0], &full{left: 40_000}); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	if n := p.Calls()[keboolatest.RouteObject]; n != 1 {
		t.Errorf("the object was asked for %d times", n)
	}
}
