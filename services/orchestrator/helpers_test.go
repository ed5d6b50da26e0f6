package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		_, _ = fmt.Fprintln(os.Stderr, runVictim(dir))
		return
	}
	goleak.VerifyTestMain(m)
}

// house is a data directory with an orchestrator, and what it announced.
type house struct {
	t   testing.TB
	dir string
	*Orchestrator

	mu        sync.Mutex
	announced []*agnesv1.AnalyticsPublished
	ids       []string
	busAway   bool
}

func newHouse(tb testing.TB, instance *service.Instance) *house {
	tb.Helper()
	h := &house{t: tb, dir: tb.TempDir()}
	h.restart(instance)
	return h
}

// restart is a new process on the same data directory.
func (h *house) restart(instance *service.Instance) {
	h.t.Helper()
	versions := extract.NewReader(h.dir)
	h.t.Cleanup(versions.Close)
	o, err := New(Options{DataDir: h.dir, Instance: instance, Announce: h.hear, OpenVersion: versions.OpenVersion})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Orchestrator = o
}

func (h *house) hear(_ context.Context, id string, m *agnesv1.AnalyticsPublished) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busAway {
		return errors.New("the bus is away")
	}
	h.ids = append(h.ids, id)
	h.announced = append(h.announced, proto.Clone(m).(*agnesv1.AnalyticsPublished))
	return nil
}

// last is the last announcement, out of so many.
func (h *house) last(count int) *agnesv1.AnalyticsPublished {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.announced) != count {
		h.t.Fatalf("%d announcements, want %d: %v", len(h.announced), count, h.announced)
	}
	if count == 0 {
		return nil
	}
	return h.announced[count-1]
}

// said writes the changes of an announcement as "+added ~updated -removed".
func said(m *agnesv1.AnalyticsPublished) string {
	text := ""
	for _, c := range m.GetTables() {
		text += map[string]string{changeAdded: " +", changeUpdated: " ~", changeRemoved: " -"}[c.GetChange()] + c.GetTable()
	}
	return text
}

// part writes a file of a source's extract as a part.
func (h *house) part(source, table, content string) catalog.Part {
	h.t.Helper()
	sum := sha256.Sum256([]byte(content))
	p := catalog.Part{
		Path:   path.Join("extracts", source, "data", table, hex.EncodeToString(sum[:])+".parquet"),
		SHA256: hex.EncodeToString(sum[:]), SizeBytes: int64(len(content)), Rows: 1,
	}
	h.write(p.Path, content)
	return p
}

func (h *house) write(rel, content string) {
	h.t.Helper()
	file := filepath.Join(h.dir, filepath.FromSlash(rel))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) remove(rel string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.dir, filepath.FromSlash(rel))); err != nil {
		h.t.Fatal(err)
	}
}

// table is a table with parts as the reader of an extract gives it.
func (h *house) table(source, name string, contents ...string) extract.VersionTable {
	h.t.Helper()
	t := extract.VersionTable{Stored: extract.StoredParts, Table: catalog.Table{
		Name: name, QueryMode: catalog.ModeLocal, Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}},
	}}
	for _, c := range contents {
		t.Parts = append(t.Parts, h.part(source, name, c))
		t.Rows++
		t.SizeBytes += int64(len(c))
	}
	return t
}

// take publishes a version as if it had been read from the extract of the source.
func (h *house) take(v *extract.Version, runIDs ...string) (Result, error) {
	h.t.Helper()
	previous, err := h.previous(v.Source)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.publishVersion(h.t.Context(), previous, v, runIDs)
}

func (h *house) mustTake(v *extract.Version, runIDs ...string) Result {
	h.t.Helper()
	r, err := h.take(v, runIDs...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) doc(source string) catalog.Source {
	h.t.Helper()
	s, err := catalog.LoadSource(h.dir, source)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// tables writes the names of a source's tables.
func (h *house) tables(source string) string {
	h.t.Helper()
	text := ""
	for _, t := range h.doc(source).Tables {
		text += " " + t.Name
	}
	return text
}

// problems writes the codes of problems with their tables.
func problems(list []catalog.Problem) string {
	text := ""
	for _, p := range list {
		text += fmt.Sprintf(" %s:%s", p.Table, p.Code)
	}
	return text
}

// sql writes extract.duckdb as any program would: aside, then renamed.
func (h *house) sql(source string, statements ...string) {
	h.t.Helper()
	dir := filepath.Join(h.dir, "extracts", source)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	aside := filepath.Join(dir, "extract.duckdb.tmp")
	db, err := lake.Open(h.t.Context(), lake.Options{Path: aside, Threads: 1})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(h.t.Context(), s); err != nil {
			h.t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(dir, "extract.duckdb")); err != nil {
		h.t.Fatal(err)
	}
}

// meta is the statement that makes _meta with tables of the given names.
const metaTable = "CREATE TABLE _meta(table_name VARCHAR NOT NULL, description VARCHAR, rows BIGINT, size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR DEFAULT 'local')"

func metaRow(name, mode string) string {
	return fmt.Sprintf("INSERT INTO _meta VALUES (%s, '', 0, 0, TIMESTAMP '2026-01-01', %s)", lake.QuoteLiteral(name), lake.QuoteLiteral(mode))
}

// five writes an extract of five tables with parts, one of which depends on the version.
func (h *house) five(version int) {
	h.t.Helper()
	statements := []string{metaTable, "CREATE TABLE _parts(table_name VARCHAR, path VARCHAR, sha256 VARCHAR, md5 VARCHAR, size_bytes BIGINT, rows BIGINT)"}
	for i := range 5 {
		of := 0
		if i == 0 {
			of = version
		}
		name := fmt.Sprint("five", i)
		aside := h.parquet("aside.parquet", fmt.Sprintf("SELECT i AS v, %d AS version FROM range(1000) r(i)", of))
		digest, err := lake.HashFile(aside)
		if err != nil {
			h.t.Fatal(err)
		}
		rel := path.Join("extracts", "s", "data", name, digest.SHA256+".parquet")
		file := filepath.Join(h.dir, rel)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.Rename(aside, file); err != nil {
			h.t.Fatal(err)
		}
		statements = append(statements, view(name, file), metaRow(name, "local"), fmt.Sprintf("INSERT INTO _parts VALUES (%s, %s, %s, %s, %d, 1000)",
			lake.QuoteLiteral(name), lake.QuoteLiteral(rel), lake.QuoteLiteral(digest.SHA256), lake.QuoteLiteral(digest.MD5), digest.Size))
	}
	h.sql("s", statements...)
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
