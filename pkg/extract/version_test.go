package extract

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

const metaTable = "CREATE TABLE _meta (table_name VARCHAR NOT NULL, description VARCHAR, rows BIGINT, size_bytes BIGINT, extracted_at TIMESTAMP, query_mode VARCHAR DEFAULT 'local')"

func parquetFile(tb testing.TB, path, query string) {
	tb.Helper()
	if err := mkdir(filepath.Dir(path)); err != nil {
		tb.Fatal(err)
	}
	db, err := lake.Open(context.Background(), lake.Options{Threads: 1})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("COPY (" + query + ") TO " + lake.QuoteLiteral(path) + " (FORMAT parquet)"); err != nil {
		tb.Fatal(err)
	}
}

func problems(v *Version) map[string]string {
	out := map[string]string{}
	for _, p := range v.Problems {
		out[p.Table] = p.Code
	}
	return out
}

// An extract of another program: flat files, real tables, views of its own, and everything that can
// be wrong with one table while the others are fine.
func TestTrap_E11_ForeignExtract(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := SourceDir(dir, "src")
	flat := filepath.Join(src, "data", "flat.parquet")
	parquetFile(t, flat, "SELECT i AS id FROM range(10) r(i)")
	parquetFile(t, filepath.Join(src, "data", "moved.parquet"), "SELECT 1 AS id")
	parquetFile(t, filepath.Join(src, "data", "months", "2024-01.parquet"), "SELECT 1 AS id")
	parquetFile(t, filepath.Join(src, "data", "months", "2024-02.parquet"), "SELECT 2 AS id")
	outside := filepath.Join(dir, "secret.parquet")
	parquetFile(t, outside, "SELECT 'secret' AS s")
	elsewhere := filepath.Join(t.TempDir(), "moved.parquet")
	parquetFile(t, elsewhere, "SELECT 1 AS id")
	writeDB(t, PointerPath(dir, "src"), metaTable,
		"CREATE VIEW flat AS SELECT * FROM read_parquet('"+flat+"')",
		"CREATE VIEW months AS SELECT * FROM read_parquet('"+filepath.Join(src, "data", "months")+"/*.parquet', union_by_name = true)",
		"CREATE VIEW moved AS SELECT * FROM read_parquet('"+elsewhere+"')",
		"CREATE VIEW spy AS SELECT * FROM read_parquet('"+outside+"')",
		"CREATE TABLE inside AS SELECT i AS id, 'x' AS name FROM range(5) r(i)",
		"CREATE VIEW computed AS SELECT id * 2 AS twice FROM inside",
		"CREATE TABLE unlisted AS SELECT 1 AS id",
		"CREATE TABLE \"order\" AS SELECT 1 AS id",
		"INSERT INTO _meta VALUES ('flat', 'a flat file', 10, 100, TIMESTAMP '2024-01-02 03:04:05', 'local'), ('months', NULL, -1, NULL, TIMESTAMP '2024-01-02', 'strange'), "+
			"('moved', '', 1, 1, now()::TIMESTAMP, 'local'), ('spy', '', 1, 1, now()::TIMESTAMP, 'local'), ('inside', '', 5, 0, now()::TIMESTAMP, 'local'), "+
			"('computed', '', 5, 0, now()::TIMESTAMP, 'local'), ('missing', '', 5, 0, now()::TIMESTAMP, 'local'), ('../up', '', 5, 0, now()::TIMESTAMP, 'local'), "+
			"('order', '', 1, 0, now()::TIMESTAMP, 'local'), ('INSIDE', '', 1, 0, now()::TIMESTAMP, 'local')")
	_ = os.Remove(elsewhere)
	v := mustVersion(t, dir)
	want := map[string]string{
		"spy": catalog.ProblemUnreadable, "missing": catalog.ProblemUnreadable, "../up": catalog.ProblemBadName, "INSIDE": catalog.ProblemBadName,
	}
	if got := problems(v); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("problems %+v, want %v", v.Problems, want)
	}
	for name, stored := range map[string]string{
		"flat": StoredFile, "months": StoredFile, "moved": StoredFile, "inside": StoredInside, "computed": StoredInside, "order": StoredInside,
	} {
		table := mustTable(t, v, name)
		if table.Stored != stored {
			t.Errorf("%s is stored as %s, want %s", name, table.Stored, stored)
		}
		parts, err := CopyOut(context.Background(), dir, v, name, "analytics/parts/src")
		if err != nil {
			t.Errorf("copy %s: %v", name, err)
			continue
		}
		again, err := CopyOut(context.Background(), dir, v, name, "analytics/parts/src")
		if err != nil || fmt.Sprint(again) != fmt.Sprint(parts) {
			t.Errorf("copied again, %s is %v: %v", name, again, err)
		}
		if want := "analytics/parts/src/" + name + "/" + parts[0].SHA256 + ".parquet"; parts[0].Path != want {
			t.Errorf("the part is at %s, want %s", parts[0].Path, want)
		}
	}
	if f := mustTable(t, v, "flat"); f.Description != "a flat file" || f.Rows != 10 || f.ExtractedAt.Format("2006-01-02") != "2024-01-02" || len(f.Files) != 1 {
		t.Errorf("flat: %+v", f)
	}
	if m := mustTable(t, v, "months"); len(m.Files) != 2 || m.ExtractedAt.IsZero() || m.QueryMode != catalog.ModeLocal {
		t.Errorf("months: %+v", m)
	}
}

// newerHeader begins a database file that DuckDB 2.0 wrote in its own format.
const newerHeader = "d951352af846fbe24455434be703000000000000000000000000000000000000000000000000000000000000000000000000000076322e302e30000000000000000000000000000000000000000000000000000064353463626265336466000000000000000000000000000000000000000000000000000000000000aae9fbd30a3d4afdb66611c39eedc3f4"

// What is no extract at all is an error that says so, and nothing is left or changed.
func TestTrap_E1_ExtractsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	write := func(content string) func(string) {
		return func(path string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		make func(path string)
		kind fault.Kind
	}{
		"missing":  {func(string) {}, fault.NotFound},
		"garbage":  {write(strings.Repeat("garbage ", 1000)), fault.Permanent},
		"empty":    {write(""), fault.Permanent},
		"a folder": {func(path string) { _ = mkdir(path) }, fault.Permanent},
		"no meta":  {func(path string) { writeDB(t, path, "CREATE TABLE x (i INT)") }, fault.Permanent},
		"bad meta": {func(path string) { writeDB(t, path, "CREATE TABLE _meta (wrong INT)") }, fault.Permanent},
		"newer": {func(path string) {
			header, err := hex.DecodeString(newerHeader)
			if err != nil {
				t.Error(err)
			}
			write(string(header) + strings.Repeat("\x00", 12<<10-len(header)))(path)
		}, fault.Permanent},
		"corrupt": {func(path string) {
			writeDB(t, path, metaTable)
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("corrupt"), 100)
				_ = f.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}, fault.Permanent},
		"truncated": {func(path string) { writeDB(t, path, metaTable); _ = os.Truncate(path, 5000) }, fault.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := mkdir(SourceDir(dir, "src")); err != nil {
				t.Fatal(err)
			}
			c.make(PointerPath(dir, "src"))
			_, err := OpenVersion(context.Background(), dir, "src")
			if name == "newer" && !strings.Contains(fault.Message(err), "storage_compatibility_version") {
				t.Errorf("it does not say how to mend it: %v", err)
			}
			if !fault.Is(err, c.kind) || strings.Contains(fault.Message(err), dir) {
				t.Fatalf("%v (%s), want %s", err, fault.KindOf(err), c.kind)
			}
		})
	}
}

// Columns of another type, missing ones and nonsense in the tables of the contract hide no table.
func TestOddContractTables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeDB(t, PointerPath(dir, "src"),
		"CREATE TABLE _meta (rows VARCHAR, TABLE_NAME VARCHAR, extracted_at DATE)",
		"INSERT INTO _meta VALUES ('many', 'a', '2024-01-01'), ('7', 'b', NULL), (NULL, NULL, NULL)",
		"CREATE TABLE a (i INT)", "CREATE TABLE b (i INT)",
		"CREATE TABLE _parts (table_name VARCHAR, path VARCHAR, sha256 VARCHAR, md5 VARCHAR, size_bytes BIGINT, rows BIGINT)",
		"INSERT INTO _parts VALUES ('a', '../../../etc/passwd', 'x', 'y', 1, 1), ('b', '', NULL, '', NULL, 1)",
		"CREATE TABLE _remote_attach (alias VARCHAR)", "CREATE TABLE _agnes (key INT)")
	v := mustVersion(t, dir)
	if a, b := mustTable(t, v, "a"), mustTable(t, v, "b"); a.Rows != 0 || b.Rows != 7 || a.Stored != StoredInside || len(a.Parts) != 0 {
		t.Fatalf("a %+v, b %+v", a, b)
	}
	if len(v.Problems) != 5 { // a row without a name, two of _parts, _remote_attach, _agnes
		t.Fatalf("problems %+v", v.Problems)
	}
}

// A producer that left its write-ahead log, or that is still there, loses no commit, and the reader
// changes nothing.
func TestTrap_E4_WriteAheadLogBesideTheExtract(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := PointerPath(dir, "src")
	writeDB(t, path, metaTable)
	db, err := lake.Open(context.Background(), lake.Options{Path: path, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"CREATE TABLE late AS SELECT 1 AS id", "INSERT INTO _meta (table_name, rows) VALUES ('late', 1)"} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	wal, err := os.Stat(path + walSuffix)
	if err != nil || wal.Size() == 0 {
		t.Fatalf("there is no log to test with: %v", err)
	}
	before := pairStamp(path)
	mustTable(t, mustVersion(t, dir), "late") // trap E1: while a handle that writes lives in this process
	if pairStamp(path) != before {
		t.Fatal("the reader changed the extract")
	}
	dead := t.TempDir()
	for _, suffix := range []string{"", walSuffix} { // what a killed producer leaves
		if err := mkdir(SourceDir(dead, "src")); err != nil {
			t.Fatal(err)
		}
		if err := copyFile(path+suffix, PointerPath(dead, "src")+suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before = pairStamp(PointerPath(dead, "src"))
	v := mustVersion(t, dead)
	mustTable(t, v, "late")
	if pairStamp(PointerPath(dead, "src")) != before {
		t.Fatal("the reader changed the extract")
	}
	if _, err := CopyOut(context.Background(), dead, v, "late", "analytics/parts/src"); err != nil {
		t.Fatal(err)
	}
}

// The tables of another program are kept when our own connector takes the source over.
func TestTakingOverAForeignExtract(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeDB(t, PointerPath(dir, "src"), metaTable, "CREATE TABLE theirs AS SELECT i AS id FROM range(9) r(i)",
		`CREATE TABLE "both" AS SELECT 1 AS id`, "INSERT INTO _meta (table_name, rows) VALUES ('theirs', 9), ('both', 1)")
	src := &scripted{}
	src.query("both", "SELECT 2 AS id")
	cfg := runConfig(dir, src, register("both")...)
	cfg.Tables = []string{"both"}
	mustRun(t, cfg)
	if theirs := mustTable(t, mustVersion(t, dir), "theirs"); theirs.Stored != StoredParts || theirs.Rows != 9 {
		t.Fatalf("%+v", theirs)
	}
}

func TestStampOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stamp := func() string {
		s, err := StampOf(dir, "src")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := stamp(); s != "" {
		t.Fatalf("a stamp of nothing: %s", s)
	}
	writeDB(t, PointerPath(dir, "src"), metaTable)
	first := stamp()
	if first == "" || stamp() != first {
		t.Fatal("the stamp of a standing file moves")
	}
	parquetFile(t, filepath.Join(SourceDir(dir, "src"), "data", "flat.parquet"), "SELECT 1 AS id")
	if stamp() == first {
		t.Fatal("a flat file that came leaves the stamp as it was")
	}
	if _, err := StampOf(dir, "../up"); !fault.Is(err, fault.Invalid) {
		t.Fatalf("a path for a name: %v", err)
	}
}

func TestViewBody(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`CREATE VIEW v AS SELECT 1;`:                     `SELECT 1`,
		`CREATE VIEW "my AS v" AS SELECT 'a AS b' AS x;`: `SELECT 'a AS b' AS x`,
		`CREATE VIEW p (x, "y AS") AS SELECT 1, 2;`:      `SELECT * FROM (SELECT 1, 2) AS v(x, "y AS")`,
		`CREATE TABLE t(i INTEGER);`:                     ``,
		`CREATE VIEW q AS SELECT * FROM bq."d""s"."t"; `: `SELECT * FROM bq."d""s"."t"`,
	} {
		if got := viewBody(sql); got != want {
			t.Errorf("viewBody(%s) = %s, want %s", sql, got, want)
		}
	}
	if r := remoteOf(`SELECT * FROM bq."d""s.x".t`); r != (remoteTable{"bq", `d"s.x`, "t"}) {
		t.Errorf("%+v", r)
	}
}

func FuzzViewBody(f *testing.F) {
	f.Add(`CREATE VIEW "a" (b) AS SELECT ')'`)
	f.Fuzz(func(_ *testing.T, sql string) {
		viewBody(sql)
		remoteOf(sql)
		storedType(sql)
	})
}
