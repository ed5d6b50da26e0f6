package lake

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

func mustOpen(t *testing.T, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t *testing.T, db *DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestTrap_E6_NamesAndTextsOfAnyKindAreQuoted(t *testing.T) {
	t.Parallel()
	db := mustOpen(t, Options{})
	for _, name := range []string{"order", "select", `a"b`, "a.b", "a'b", "Ärger", " x ", "a\nb", "1st", "--", "/*", "$$", ";"} {
		mustExec(t, db, "CREATE OR REPLACE TABLE "+QuoteName("main", name)+" AS SELECT 1 AS "+QuoteIdent(name))
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT "+QuoteIdent(name)+" FROM "+QuoteIdent(name)).Scan(&n); err != nil || n != 1 {
			t.Errorf("%q: %d, %v", name, n, err)
		}
	}
	for _, text := range []string{"", "'", "''", `\`, `\'`, "a\x00b", "\x00", "$$x$$", "ü", "\n"} {
		var same bool
		if err := db.QueryRowContext(t.Context(), "SELECT "+QuoteLiteral(text)+" = ?", text).Scan(&same); err != nil || !same {
			t.Errorf("%q: %v, %v", text, same, err)
		}
	}
}

func TestTrap_E1_AFileThatIsOpenForWritingPoisonsNobody(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "odd name%zz?x=1.duckdb")
	writer := mustOpen(t, Options{Path: path})
	mustExec(t, writer, "CREATE TABLE t AS SELECT 42 AS x")
	for range 3 {
		if _, err := Open(t.Context(), Options{Path: path, ReadOnly: true}); !fault.Is(err, fault.Conflict) {
			t.Fatalf("a second open gave %v", err)
		}
	}
	mustExec(t, writer, "INSERT INTO t VALUES (43)")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, memory := range []int64{0, 64 << 20} { // two readers, with limits of their own
		reader := mustOpen(t, Options{Path: path, ReadOnly: true, MemoryBytes: memory})
		var n int
		if err := reader.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil || n != 2 {
			t.Fatalf("%d rows, %v", n, err)
		}
		if _, err := reader.ExecContext(t.Context(), "INSERT INTO t VALUES (1)"); err == nil {
			t.Fatal("a reader wrote")
		}
	}
	if _, err := Open(t.Context(), Options{Path: path}); !fault.Is(err, fault.Conflict) {
		t.Fatalf("opened for writing beside readers: %v", err)
	}
}

func TestTrap_E3_NothingIsSpilledToAFolderThatNobodyNamed(t *testing.T) {
	t.Parallel()
	const heavy = "SELECT count(*) FROM (SELECT DISTINCT i::VARCHAR || repeat('x', 40) FROM range(2000000) r(i))"
	db := mustOpen(t, Options{MemoryBytes: 32 << 20, Threads: 1})
	_, err := db.ExecContext(t.Context(), heavy)
	if ClassOf(Scrub(err)) != ClassOutOfMemory {
		t.Errorf("without a folder: %v", err)
	}
	if entries, _ := filepath.Glob(".tmp*"); len(entries) > 0 {
		t.Errorf("spilled to the working directory: %v", entries)
	}
	dir := t.TempDir()
	db = mustOpen(t, Options{MemoryBytes: 64 << 20, Threads: 1, TempDir: dir})
	if _, err := db.ExecContext(t.Context(), heavy); err != nil {
		t.Errorf("with a folder: %v", err)
	}
}

func TestTrap_E12_TimestampsAreInUTC(t *testing.T) {
	t.Parallel()
	var got string
	db := mustOpen(t, Options{})
	err := db.QueryRowContext(t.Context(), "SELECT (TIMESTAMPTZ '2026-07-01 12:00:00+02')::VARCHAR").Scan(&got)
	if err != nil || got != "2026-07-01 10:00:00+00" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTrap_E7_OneStatementIsJudgedByTheParser(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT 1;":                     "SELECT 1",
		"SELECT 1 ; ; -- done":          "SELECT 1",
		"/* a */ SELECT 1 /* b */":      "SELECT 1",
		"SELECT\n1":                     "SELECT\n1",
		"FROM range(3)":                 "FROM range(3)",
		"SELECT 'please update me; x'":  "SELECT 'please update me; x'",
		"SELECT $$a;b$$ ;":              "SELECT $$a;b$$",
		`SELECT 1 AS ";"`:               `SELECT 1 AS ";"`,
		"SELECT e'\\';' ;":              "SELECT e'\\';'",
		"SELECT\u00a01":                 "SELECT\u00a01",
		"SELECT last_update FROM nope ": "SELECT last_update FROM nope",
	} {
		if got, err := OneStatement(text); err != nil || got.Text != want {
			t.Errorf("%q gave %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", " ; ", "-- nothing", "SELECT 1; SELECT 2", "SELECT 1;;DROP TABLE x", "SELEC 1", "SELECT 1\x00", "SELECT '", "SELECT /*",
		"SELECT $$a$$; DELETE FROM t --$$",
	} {
		if got, err := OneStatement(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q gave %+v, %v", text, got, err)
		}
	}
	_, err := OneStatement("SELEC 1")
	if m := fault.Message(err); !strings.Contains(m, "syntax error") || !strings.Contains(m, "LINE 1: SELEC 1") {
		t.Errorf("the message is %q", m)
	}
}

func TestOneStatementReadsNoFileAndSurvivesDepth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"schema.sql", "load.sql"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("CREATE TABLE x (i INT);"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := OneStatement("IMPORT DATABASE " + QuoteLiteral(dir)); err == nil {
		t.Errorf("IMPORT DATABASE was expanded to %+v", got)
	}
	for _, deep := range []string{strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000), strings.Repeat("-", 1), strings.Repeat("NOT ", 100_000) + "true"} {
		_, _ = OneStatement("SELECT " + deep)
	}
	if _, err := OneStatement("SELECT 1"); err != nil {
		t.Error(err)
	}
}

func TestTrap_O8_ErrorsAreScrubbed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`IO Error: Cannot open file "/srv/agnes data/extracts/crm/x.parquet": No such file`: `IO Error: Cannot open file "…/x.parquet": No such file`,
		"IO Error: could not read /srv/agnes/state/system.duckdb: bad":                      "IO Error: could not read …/system.duckdb: bad",
		"HTTP Error: GET https://ann:pa55@host.example/x?token=abc failed":                  "HTTP Error: GET https://***@host.example/x?*** failed",
		"Invalid Input Error: ATTACH failed: TOKEN 'abc' is wrong":                          "Invalid Input Error: ATTACH failed: TOKEN *** is wrong",
		"Binder Error: no column x\nCandidate bindings: \"a\"\n\nLINE 1: SELECT x\n  ^":     "Binder Error: no column x\nCandidate bindings: \"a\"",
		"Parser Error: syntax error at or near \"token\"":                                   "Parser Error: syntax error at or near \"token\"",
		"INTERNAL Error: oops\n\nStack Trace:\n\n/usr/lib/x.so(abc)":                        "INTERNAL Error: oops",
		"Conversion Error: cannot cast '1/2/3' to DATE":                                     "Conversion Error: cannot cast '1/2/3' to DATE",
		`{"exception_type":"Not implemented","exception_message":"Unsupported \"x\""}`:      `Not implemented Error: Unsupported "x"`,
		`{"a": 1} is no reason`: `{"a": 1} is no reason`,
	} {
		if got := scrubText(text).Error(); got != want {
			t.Errorf("%q\n gave %q\n want %q", text, got, want)
		}
	}
	long := scrubText("Binder Error: no column "+strings.Repeat("ü", 2_000_000)+"\n\nLINE 1: "+strings.Repeat("x", 2_000_000), "ü")
	if n := len(long.Error()) + len(long.Excerpt); n > 3*maxTold || !strings.HasSuffix(long.Message, "…") || !strings.HasSuffix(long.Excerpt, "…") {
		t.Errorf("a long error is told in %d bytes", n)
	}
}

func TestPublishedFilesAreWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := filepath.Join(dir, "deep", "er", "x.json")
	for _, content := range []string{"one", "two"} {
		if err := WriteFileAtomic(target, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(target); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(target)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if info, err := os.Stat(target); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	digest, err := HashFile(target)
	if err != nil || digest.Size != 3 || digest.MD5 != "b8a9f715dbb64fd5c56e7783c6820a61" ||
		digest.SHA256 != "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3" {
		t.Errorf("%+v, %v", digest, err)
	}
}

func TestTrap_E4_ADatabaseIsNotPublishedWithoutItsLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	aside, target := filepath.Join(dir, "new.duckdb"), filepath.Join(dir, "x.duckdb")
	db := mustOpen(t, Options{Path: aside})
	mustExec(t, db, "CREATE TABLE t AS SELECT 1 AS x")
	if err := SwapFile(aside, target); err == nil {
		t.Fatal("an open database was published")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(target+".wal", []byte("of another file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SwapFile(aside, target); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, Options{Path: target, ReadOnly: true})
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT x FROM t").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d, %v", n, err)
	}
}

func TestTrap_E10_ScratchOfProcessesThatAreGoneIsSwept(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "tmp")
	alive, err := NewScratch(root, "run")
	if err != nil {
		t.Fatal(err)
	}
	dead, err := NewScratch(root, "run")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.lock.Close() // as the kernel does for a killed process
	old := time.Now().Add(-2 * looseAge)
	for name, stamp := range map[string]time.Time{"fresh.json": time.Now(), "stale.json": old} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(root, name), stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	if err := SweepScratch(root); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 3 {
		t.Errorf("left: %v", entries)
	}
	if _, err := os.Stat(alive.Dir); err != nil {
		t.Error("a living process lost its scratch")
	}
	if err := alive.Close(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

func TestLockExcludesAndWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := TryLock(path); ok || err != nil {
		t.Errorf("taken twice: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Lock(short, path); err == nil {
		t.Error("taken twice")
	}
	unlock()
	unlock, err = Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
