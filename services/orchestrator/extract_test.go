package orchestrator

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/orchestrator/internal/serverdb"
)

func (h *house) rebuild(source string, runIDs ...string) Result {
	h.t.Helper()
	r, err := h.RebuildSource(h.t.Context(), source, runIDs...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// parquet writes a parquet file of a query under the data directory.
func (h *house) parquet(rel, query string) string {
	h.t.Helper()
	file := filepath.Join(h.dir, rel)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	db, err := lake.Open(h.t.Context(), lake.Options{Threads: 1})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(h.t.Context(), "COPY ("+query+") TO "+lake.QuoteLiteral(file)+" (FORMAT parquet)"); err != nil {
		h.t.Fatal(err)
	}
	return file
}

func view(name, file string) string {
	return "CREATE VIEW " + lake.QuoteIdent(name) + " AS SELECT * FROM read_parquet(" + lake.QuoteLiteral(file) + ")"
}

// ask answers a query over server.duckdb, written anew.
func (h *house) ask(query string) string {
	h.t.Helper()
	if err := h.WriteServerDB(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	return h.askStanding(query)
}

func (h *house) askStanding(query string) string {
	h.t.Helper()
	db, err := lake.Open(h.t.Context(), lake.Options{Path: serverdb.Path(h.dir), ReadOnly: true})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return askDB(h.t, db, query)
}

func askDB(tb testing.TB, db *lake.DB, query string) string {
	tb.Helper()
	var v string
	if err := db.QueryRowContext(tb.Context(), "SELECT v::VARCHAR FROM ("+query+") q(v)").Scan(&v); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return v
}

// An extract of another program: plain SQL, no _parts; a flat file, a folder of months, a table
// inside, a view that computes, an empty one, a name that is a keyword.
func TestForeignExtractIsPublishedLikeOurOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	flat := h.parquet("extracts/ext/data/order.parquet", "SELECT i AS id, i * 1.5::DECIMAL(9,2) AS price FROM range(10) r(i)")
	h.parquet("extracts/ext/data/issues/2024-01.parquet", "SELECT 1 AS id, 'x' AS summary")
	h.parquet("extracts/ext/data/issues/2024-02.parquet", "SELECT 2 AS id, 'y' AS summary, TIMESTAMPTZ '2024-02-01 00:00:00+02' AS at")
	statements := []string{
		metaTable, view("order", flat), view("issues", filepath.Join(h.dir, "extracts/ext/data/issues/*.parquet")),
		`CREATE TABLE "in side" AS SELECT i AS n, {'a': [i]} AS nested FROM range(5) r(i)`, "CREATE VIEW computed AS SELECT n * 2 AS twice FROM \"in side\"",
		"CREATE TABLE empty(a BIGINT, b DECIMAL(18,3))",
		metaRow("order", "local"), metaRow("issues", "local"), metaRow("in side", "local"), metaRow("computed", "local"), metaRow("empty", "local"),
	}
	statements[2] = strings.Replace(statements[2], "*.parquet')", "*.parquet', union_by_name = true)", 1)
	h.sql("ext", statements...)
	r := h.rebuild("ext")
	if said(h.last(1)) != " +computed +empty +in side +issues +order" || len(r.Problems) != 0 {
		t.Fatalf("announced%s, problems %v", said(h.last(1)), r.Problems)
	}
	for _, table := range h.doc("ext").Tables {
		for _, p := range table.Parts {
			digest, err := lake.HashFile(filepath.Join(h.dir, p.Path))
			if err != nil || digest.SHA256 != p.SHA256 || digest.MD5 != p.MD5 || digest.Size != p.SizeBytes || !strings.HasSuffix(p.Path, p.SHA256+".parquet") {
				t.Errorf("%s: the part %+v has %+v, %v", table.Name, p, digest, err)
			}
		}
	}
	issues, _ := ptr(h.doc("ext")).Table("issues")
	if issues.Rows != 2 || len(issues.Columns) != 3 || issues.Columns[2].Type != "TIMESTAMP WITH TIME ZONE" {
		t.Errorf("issues: %+v", issues)
	}
	for query, want := range map[string]string{
		`SELECT sum(price)::VARCHAR FROM ext."order"`: "67.50", `SELECT count(*) FROM "order"`: "10", "SELECT sum(twice) FROM computed": "20",
		`SELECT nested.a[1] FROM ext."in side" WHERE n = 3`: "3", "SELECT count(*) FROM empty": "0", "SELECT typeof(b) FROM (FROM empty UNION ALL SELECT 1, 2)": "DECIMAL(18,3)",
		"SELECT \"at\" = TIMESTAMPTZ '2024-01-31 22:00:00+00' FROM ext.issues WHERE id = 2": "true",
	} {
		if got := h.ask(query); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}

	// Written anew with the same content: another extract, and nothing changed.
	h.sql("ext", statements...)
	if r := h.rebuild("ext"); r.Published || len(r.Changes) != 0 {
		t.Errorf("the same content again: %+v", r)
	}
	// One row more in one of them.
	h.sql("ext", append(statements, `INSERT INTO "in side" VALUES (99, {'a': [1]})`)...)
	if r := h.rebuild("ext"); said(h.last(2)) != " ~computed ~in side" {
		t.Errorf("one table changed: %+v, announced%s", r, said(h.last(2)))
	}
}

func TestTrap_D1_FlatFileRewrittenInPlaceLeavesTheOldVersionWhole(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	flat := h.parquet("extracts/ext/data/t.parquet", "SELECT 1 AS v")
	h.sql("ext", metaTable, view("t", flat), metaRow("t", "local"))
	h.rebuild("ext")
	before := h.doc("ext").Tables[0]
	if stale, err := h.Stale(); err != nil || len(stale) != 0 {
		t.Fatalf("Stale = %v, %v", stale, err)
	}
	h.parquet("extracts/ext/data/t.parquet", "SELECT 2 AS v FROM range(1000)")
	if got, err := lake.HashFile(filepath.Join(h.dir, before.Parts[0].Path)); err != nil || got.SHA256 != before.Parts[0].SHA256 {
		t.Errorf("the published bytes changed with the file of the other program: %v, %v", got, err)
	}
	if stale, err := h.Stale(); err != nil || strings.Join(stale, " ") != "ext" {
		t.Fatalf("after the rewrite Stale = %v, %v", stale, err)
	}
	if r := h.rebuild("ext"); said(h.last(2)) != " ~t" || r.Changes[0].GetRows() != 1000 {
		t.Errorf("after the rewrite: %+v", r)
	}
}

func TestFilesInFoldersAreLookedAtToo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.parquet("extracts/jira/data/issues/2024-01.parquet", "SELECT 1 AS v")
	h.sql("jira", metaTable, view("issues", filepath.Join(h.dir, "extracts/jira/data/issues/*.parquet")), metaRow("issues", "local"))
	h.rebuild("jira")
	h.parquet("extracts/jira/data/issues/2024-01.parquet", "SELECT 2 AS v FROM range(3)")
	if stale, err := h.Stale(); err != nil || strings.Join(stale, " ") != "jira" {
		t.Fatalf("Stale = %v, %v", stale, err)
	}
	if h.rebuild("jira"); said(h.last(2)) != " ~issues" {
		t.Errorf("announced%s", said(h.last(2)))
	}
	h.parquet("extracts/jira/data/issues/2024-02.parquet", "SELECT 3 AS v")
	if h.rebuild("jira"); said(h.last(3)) != " ~issues" || h.last(3).GetTables()[0].GetRows() != 4 {
		t.Errorf("a new month, announced: announced%s", said(h.last(3)))
	}
}

func TestTrap_D3_TheViewDecidesBetweenFileAndFolder(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.parquet("extracts/s/data/t.parquet", "SELECT 'flat' AS v")
	h.parquet("extracts/s/data/t/1.parquet", "SELECT 'folder' AS v")
	h.sql("s", metaTable, view("t", filepath.Join(h.dir, "extracts/s/data/t/*.parquet")), metaRow("t", "local"))
	h.rebuild("s")
	if got := h.ask("SELECT v FROM s.t"); got != "folder" {
		t.Errorf("served %q; the view names the folder", got)
	}
	h.sql("s", metaTable, view("t", filepath.Join(h.dir, "extracts/s/data/t.parquet")), metaRow("t", "local"))
	h.rebuild("s")
	if got := h.ask("SELECT v FROM s.t"); got != "flat" {
		t.Errorf("served %q; the view names the file", got)
	}
}

// A predecessor's data directory that was moved: its views hold the paths of another machine.
func TestPredecessorsDirectory(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.parquet("extracts/keboola/data/orders.parquet", "SELECT 1 AS v")
	h.parquet("extracts/keboola/data/issues/2024-01.parquet", "SELECT 1 AS v")
	h.parquet("extracts/keboola/data/issues/2024-02.parquet", "SELECT 2 AS v, 'late' AS w")
	h.parquet("moved/elsewhere/orders.parquet", "SELECT 0 AS v")
	h.parquet("moved/elsewhere/issues/1.parquet", "SELECT 0 AS v, '' AS w")
	h.sql("keboola", metaTable, "CREATE TABLE _remote_attach(alias VARCHAR, extension VARCHAR, url VARCHAR, token_env VARCHAR)",
		"INSERT INTO _remote_attach VALUES ('kbc', 'keboola', 'https://connection.keboola.com', 'KEBOOLA_STORAGE_TOKEN')",
		view("orders", filepath.Join(h.dir, "moved/elsewhere/orders.parquet")), view("issues", filepath.Join(h.dir, "moved/elsewhere/issues/*.parquet")),
		metaRow("orders", "local"), metaRow("issues", "local"), metaRow("attachments", "local"), metaRow("far", "remote"), metaRow("../evil", "local"), metaRow("ORDERS", "local"),
	)
	h.remove("moved")
	r := h.rebuild("keboola")
	if h.tables("keboola") != " issues orders" {
		t.Fatalf("published%s, problems %v", h.tables("keboola"), r.Problems)
	}
	if got := problems(r.Problems); got != " :remote_refused ../evil:bad_name ORDERS:bad_name attachments:unreadable far:unreadable" {
		t.Errorf("problems%s", got)
	}
	if got := h.ask("SELECT (SELECT count(*) FROM keboola.issues) + (SELECT sum(v) FROM orders)"); got != "3" {
		t.Errorf("got %s, want 3", got)
	}
}

func TestTrap_E11_BrokenExtractsHideNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.sql("good", metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
	h.sql("was", metaTable, "CREATE TABLE t AS SELECT 2 AS v", metaRow("t", "local"))
	h.sql("nometa", "CREATE TABLE t AS SELECT 1 AS v")
	h.write("extracts/garbage/extract.duckdb", "this is not a database")
	h.write("extracts/1bad/extract.duckdb", "")
	h.write("extracts/notes.txt", "a file, not a source")
	if err := os.MkdirAll(filepath.Join(h.dir, "extracts", "raw-only", "raw"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Rebuild(t.Context()); err != nil {
		t.Fatalf("Rebuild: %v", err)
	}
	for source, want := range map[string]string{"good": " t", "was": " t", "garbage": "", "nometa": ""} {
		if got := h.tables(source); got != want {
			t.Errorf("%s: published%s, want%s", source, got, want)
		}
	}
	if raw, err := os.ReadFile(catalog.SourcePath(h.dir, "garbage")); err != nil || !strings.Contains(string(raw), `"tables": []`) {
		t.Errorf("garbage: no list of tables in %s, %v", raw, err)
	}
	if got := problems(h.doc("garbage").Problems); got != " :unreadable" {
		t.Errorf("garbage: problems%s", got)
	}
	if _, err := catalog.LoadSource(h.dir, "raw-only"); err == nil {
		t.Error("a folder without an extract is published")
	}
	if got := problems(h.newFolderProblems()); got != " :bad_name" || len(h.newFolderProblems()) != 0 {
		t.Errorf("folders: problems%s, want 1bad, once", got)
	}
	// What stood before stays when its extract breaks.
	h.write("extracts/was/extract.duckdb", "no longer a database")
	r := h.rebuild("was", "run")
	if h.tables("was") != " t" || problems(h.doc("was").Problems) != " :unreadable" || len(r.Changes) != 0 {
		t.Errorf("published%s, %+v", h.tables("was"), r)
	}
	if got := h.ask("SELECT (FROM was.t) + (FROM good.t)"); got != "3" {
		t.Errorf("got %s", got)
	}
	if stale, err := h.Stale(); err != nil || len(stale) != 0 {
		t.Errorf("Stale = %v, %v", stale, err)
	}
	h.sql("was", metaTable, "CREATE TABLE t AS SELECT 3 AS v", metaRow("t", "local"))
	if r := h.rebuild("was"); len(h.doc("was").Problems) != 0 || said(h.last(len(h.announced))) != " ~t" {
		t.Errorf("mended: %+v", r)
	}
}

func TestTrap_E5_CouldNotReadIsNeverEmpty(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for _, s := range []string{"a", "b"} {
		h.sql(s, metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
		h.rebuild(s)
	}
	extracts := filepath.Join(h.dir, "extracts")
	if err := os.Rename(extracts, extracts+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Stale(); err == nil {
		t.Error("a listing that failed told what is stale")
	}
	if _, err := h.RebuildSource(t.Context(), "a"); err == nil || !fault.Retryable(err) {
		t.Errorf("the folder of extracts is not there: %v", err)
	}
	if h.tables("a") != " t" {
		t.Error("a volume that is not mounted emptied the catalog")
	}
	if err := os.Rename(extracts+".away", extracts); err != nil {
		t.Fatal(err)
	}
	// The pointer is missing, but the data stands: broken, not gone.
	h.write("extracts/a/data/t/x.parquet", "")
	h.remove("extracts/a/extract.duckdb")
	if r := h.rebuild("a"); h.tables("a") != " t" || problems(h.doc("a").Problems) != " :unreadable" {
		t.Errorf("published%s, %+v", h.tables("a"), r)
	}
	// The folder is verifiably gone.
	h.remove("extracts/a")
	if stale, err := h.Stale(); err != nil || strings.Join(stale, " ") != "a" {
		t.Fatalf("Stale = %v, %v", stale, err)
	}
	r := h.rebuild("a", "run")
	m := h.last(len(h.announced))
	if !r.Removed || said(m) != " -t" || m.GetGeneration() != 3 || m.GetRunIds()[0] != "run" {
		t.Errorf("removed: %+v, %v", r, m)
	}
	if got := h.ask("SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'a'"); got != "0" {
		t.Error("the schema of a removed source stays")
	}
	// It comes back: its generations go on.
	h.sql("a", metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
	if r := h.rebuild("a"); r.Generation != 4 || said(h.last(len(h.announced))) != " +t" {
		t.Errorf("back again: %+v", r)
	}
	// Something was announced that never was.
	if r := h.rebuild("never", "run"); r.Published || h.last(len(h.announced)).GetSource() != "never" {
		t.Errorf("%+v", r)
	}
}

func TestTwinsOfSources(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	statements := []string{metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local")}
	h.sql("crm", statements...)
	h.sql("CRM", statements...)
	if stale, err := h.Stale(); err != nil || len(stale) != 0 {
		t.Errorf("neither is published, and one was chosen: %v, %v", stale, err)
	}
	h.rebuild("crm")
	if _, err := h.RebuildSource(t.Context(), "CRM"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one: %v", err)
	}
}

func TestTrap_E4_NoWriteAheadLogIsLeftAndNoneIsReplayed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.sql("s", metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
	h.rebuild("s")
	h.ask("SELECT v FROM s.t")
	wal := serverdb.Path(h.dir) + ".wal"
	if err := os.WriteFile(wal, []byte("left by a tool that was killed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := h.ask("SELECT v FROM s.t"); got != "1" {
		t.Errorf("got %s", got)
	}
	if _, err := os.Stat(wal); err == nil {
		t.Error("a write-ahead log stands beside server.duckdb")
	}
}

func TestTrap_E9_NewReadersSeeTheNewFileAndOldOnesGoOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.sql("s", metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
	h.rebuild("s")
	h.ask("SELECT v FROM s.t")
	old, err := lake.Open(t.Context(), lake.Options{Path: serverdb.Path(h.dir), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	h.sql("s", metaTable, "CREATE TABLE t AS SELECT 2 AS v", metaRow("t", "local"))
	h.rebuild("s")
	if err := h.WriteServerDB(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := askDB(t, old, "SELECT v FROM s.t"); got != "1" {
		t.Errorf("the old reader sees %s", got)
	}
	// Another process: DuckDB shares the instance of one path within a process.
	copied := filepath.Join(t.TempDir(), "server.duckdb")
	raw, err := os.ReadFile(serverdb.Path(h.dir))
	if err != nil || os.WriteFile(copied, raw, 0o644) != nil {
		t.Fatal(err)
	}
	fresh, err := lake.Open(t.Context(), lake.Options{Path: copied, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fresh.Close() }()
	if got := askDB(t, fresh, "SELECT v FROM s.t"); got != "2" {
		t.Errorf("a new reader sees %s", got)
	}
}

func TestTwoOrchestratorsTakeTurns(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.sql("s", metaTable, "CREATE TABLE t AS SELECT 1 AS v", metaRow("t", "local"))
	other, err := New(Options{DataDir: h.dir, Announce: h.hear})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := other.lock(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.RebuildSource(impatient, "s"); err == nil {
		t.Error("two orchestrators worked on one source at once")
	}
	done := make(chan error, 1)
	go func() {
		_, err := h.RebuildSource(t.Context(), "s")
		done <- err
	}()
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r, err := other.RebuildSource(t.Context(), "s"); err != nil || r.Published || r.Generation != 1 {
		t.Errorf("the other one: %+v, %v", r, err)
	}
}

func TestTrap_E10_NothingIsLeftUnderTmp(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.sql("s", metaTable, "CREATE TABLE t AS SELECT i AS v FROM range(1000) r(i)", "CREATE VIEW broken AS SELECT * FROM t WHERE v::VARCHAR::DATE IS NOT NULL",
		metaRow("t", "local"), metaRow("broken", "local"))
	if r := h.rebuild("s"); h.tables("s") != " t" || problems(r.Problems) != " broken:unreadable" {
		t.Errorf("published%s, problems %v", h.tables("s"), r.Problems)
	}
	h.ask("SELECT count(*) FROM t")
	left, err := os.ReadDir(filepath.Join(h.dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left under tmp: %v, %v", left, err)
	}
}

func TestPartsOfOtherProgramsAreNotCopiedTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.sql("s", metaTable, "CREATE TABLE t AS SELECT i AS v FROM range(1000) r(i)", metaRow("t", "local"))
	h.rebuild("s")
	in := h.loadInputs("s").Tables["t"]
	if in.Stamp == "" || len(in.Parts) != 1 {
		t.Fatalf("inputs: %+v", in)
	}
	// The parts that are remembered are what a second rebuild takes, without reading the extract's rows.
	stamp, err := extract.StampOf(h.dir, "s")
	if err != nil || stamp != in.Stamp {
		t.Fatalf("stamp %s, %v; remembered %s", stamp, err, in.Stamp)
	}
	// What was copied is written down each time.
	noted, err := os.Stat(h.inputsPath("s"))
	if err != nil {
		t.Fatal(err)
	}
	h.rebuild("s")
	if again, err := os.Stat(h.inputsPath("s")); err != nil || !os.SameFile(noted, again) {
		t.Errorf("the table was copied again: %v", err)
	}
	// A part that somebody removed is copied again.
	h.remove(in.Parts[0].Path)
	if r := h.rebuild("s"); r.Published || len(r.Problems) != 0 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(filepath.Join(h.dir, in.Parts[0].Path)); err != nil {
		t.Error(err)
	}
}
