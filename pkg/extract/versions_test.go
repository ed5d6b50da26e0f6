package extract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

func newTestReader(tb testing.TB, dir string) *Reader {
	tb.Helper()
	r := NewReader(dir)
	tb.Cleanup(r.Close)
	return r
}

// ready gives the session that the next reading of src will use.
func (r *Reader) ready() *session {
	s, found := r.idle.take("src")
	if found {
		r.idle.give("src", s)
	}
	return s
}

// sameByReader fails where a Reader, new and used, sees something else than OpenVersion.
func sameByReader(tb testing.TB, dataDir string, v *Version) {
	tb.Helper()
	r := NewReader(dataDir)
	defer r.Close()
	for n := range 2 {
		again, err := r.OpenVersion(context.Background(), "src")
		if err != nil || !reflect.DeepEqual(v, again) {
			tb.Errorf("reading %d: %v\n%+v instead of\n%+v", n, err, again, v)
		}
	}
}

// A file that took the place of another, or was rewritten in it, is read as it is now, whatever its size
// and its times say, and whatever DuckDB remembers of its path.
func TestReaderSeesEveryReplacement(t *testing.T) {
	t.Parallel()
	dir, made := t.TempDir(), t.TempDir()
	flat := filepath.Join(SourceDir(dir, "src"), dataFolder, "flat.parquet")
	parquet := func(name string, i int) string {
		file := filepath.Join(made, fmt.Sprintf("%s%d.parquet", name, i))
		runSQL(t, fmt.Sprintf("COPY (SELECT %d AS col%d) TO %s (FORMAT parquet)", i, i, lake.QuoteLiteral(file)))
		return file
	}
	var extracts, flats [3]string
	for i := range 3 {
		flats[i] = parquet("flat", i)
		extracts[i] = filepath.Join(made, fmt.Sprintf("extract%d.duckdb", i))
		swapIn(t, flats[i], flat, true)
		writeDB(t, extracts[i],
			"CREATE TABLE _meta (table_name VARCHAR, description VARCHAR, rows BIGINT)",
			fmt.Sprintf("INSERT INTO _meta VALUES ('flat', 'text %d', 7), ('inside', 'text %d', %d)", i, i, i),
			fmt.Sprintf("CREATE TABLE inside AS SELECT %d AS col%d", i, i),
			"CREATE VIEW flat AS SELECT * FROM read_parquet("+lake.QuoteLiteral(flat)+")",
			"CHECKPOINT")
	}
	for i := range 3 {
		for _, files := range [][3]string{extracts, flats} {
			if size(t, files[i]) != size(t, files[0]) {
				t.Fatalf("%s has another size", files[i])
			}
		}
	}
	r := newTestReader(t, dir)
	var first *session
	for n := range 300 {
		ofExtract, ofFlat := n%3, (n+n/3)%3
		swapIn(t, flats[ofFlat], flat, n%2 == 0)
		swapIn(t, extracts[ofExtract], PointerPath(dir, "src"), false)
		v, err := r.OpenVersion(t.Context(), "src")
		if err != nil || len(v.Problems) > 0 {
			t.Fatal(err, v)
		}
		inside, flat := mustTable(t, v, "inside"), mustTable(t, v, "flat")
		if inside.Rows != int64(ofExtract) || inside.Columns[0].Name != fmt.Sprintf("col%d", ofExtract) || flat.Description != fmt.Sprintf("text %d", ofExtract) {
			t.Fatalf("reading %d of extract %d: %+v %+v", n, ofExtract, inside, flat)
		}
		if len(flat.Columns) != 1 || flat.Columns[0].Name != fmt.Sprintf("col%d", ofFlat) {
			t.Fatalf("reading %d of flat file %d by extract %d: %+v", n, ofFlat, ofExtract, flat)
		}
		if n == 0 {
			first = r.ready()
		}
		if first == nil || r.ready() != first {
			t.Fatalf("reading %d did not use the DuckDB that was kept", n)
		}
	}
}

// swapIn puts a copy of a file in place of another, in it or by rename, with the same times each time.
func swapIn(t *testing.T, from, to string, inPlace bool) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = mkdir(filepath.Dir(to))
	}
	aside := to
	if !inPlace {
		aside += ".new"
	}
	at := time.Unix(1_700_000_000, 0)
	for _, do := range []func() error{
		func() error { return err },
		func() error { return os.WriteFile(aside, content, 0o600) },
		func() error { return os.Chtimes(aside, at, at) },
		func() error { return os.Rename(aside, to) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// runSQL runs one statement in a DuckDB of its own.
func runSQL(t *testing.T, statement string) {
	t.Helper()
	db, err := lake.Open(t.Context(), lake.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// What is kept reads one source only, and nothing but its folder; an error closes it.
func TestReaderKeepsWhatIsConfined(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newTestReader(t, dir)
	src := &scripted{}
	src.query("t", "SELECT 1 AS id")
	mustRun(t, runConfig(dir, src, register("t")...))
	other := runConfig(dir, src, register("t")...)
	other.Source.Name = "other"
	other.Registry[0].Source = "other"
	mustRun(t, other)
	for range 3 {
		for _, source := range []string{"src", "other"} {
			v, err := r.OpenVersion(t.Context(), source)
			if err != nil || len(v.Tables) != 1 || v.Tables[0].Stored != StoredParts {
				t.Fatal(err, v)
			}
		}
	}
	if len(r.idle.kept) != 2 {
		t.Fatalf("%d are kept for two sources", len(r.idle.kept))
	}
	s := r.ready()
	for _, statement := range []string{
		"ATTACH " + lake.QuoteLiteral(PointerPath(dir, "other")) + " AS o (READ_ONLY)",
		"ATTACH " + lake.QuoteLiteral(filepath.Join(SourceDir(dir, "src"), "..", "other", extractFile)) + " AS o (READ_ONLY)",
		"SELECT * FROM read_text(" + lake.QuoteLiteral(filepath.Join(SourceDir(dir, "other"), "*")) + ")",
		"SET GLOBAL enable_external_access = true",
	} {
		if err := s.exec(t.Context(), statement); err == nil {
			t.Errorf("it may %s", statement)
		}
	}

	// A file that is none, none at all, and a part that is gone.
	part := mustTable(t, mustVersion(t, dir), "t").Files[0]
	if err := os.Rename(part, part+".away"); err != nil {
		t.Fatal(err)
	}
	if v, err := r.OpenVersion(t.Context(), "src"); err != nil || len(v.Problems) != 1 || r.ready() != nil {
		t.Fatal(err, v)
	}
	if err := os.Rename(part+".away", part); err != nil {
		t.Fatal(err)
	}
	pointer := PointerPath(dir, "src")
	whole, err := os.ReadFile(pointer)
	if err != nil {
		t.Fatal(err)
	}
	for kind, spoil := range map[fault.Kind]func() error{
		fault.Permanent: func() error { return os.WriteFile(pointer, []byte("no database"), 0o600) },
		fault.NotFound:  func() error { return os.Remove(pointer) },
	} {
		if v, err := r.OpenVersion(t.Context(), "src"); err != nil || len(v.Problems) > 0 || r.ready() == nil {
			t.Fatal(err, v)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.OpenVersion(t.Context(), "src"); !fault.Is(err, kind) || r.ready() != nil {
			t.Errorf("%v, want %s", err, kind)
		}
		if err := os.WriteFile(pointer, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	if _, err := r.OpenVersion(t.Context(), "src"); err != nil || r.ready() != nil {
		t.Errorf("after Close: %v", err)
	}
}
