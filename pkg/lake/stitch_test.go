package lake

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// stitchedFile writes what Stitch makes of files, and gives its path.
func stitchedFile(t *testing.T, files []string) string {
	t.Helper()
	s, err := Stitch(files)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	whole, err := io.ReadAll(s)
	if err != nil || int64(len(whole)) != s.Size() {
		t.Fatalf("%d of %d bytes, %v", len(whole), s.Size(), err)
	}
	path := filepath.Join(t.TempDir(), "whole.parquet")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func makeParts(t *testing.T, options string, queries ...string) []string {
	t.Helper()
	db := mustOpen(t, Options{})
	files := make([]string, len(queries))
	dir := t.TempDir()
	for i, q := range queries {
		files[i] = filepath.Join(dir, fmt.Sprintf("%03d.parquet", i))
		mustExec(t, db, "COPY ("+q+") TO "+QuoteLiteral(files[i])+" (FORMAT parquet"+options+")")
	}
	return files
}

// sameContent compares the stitched file with its parts as DuckDB reads them.
func sameContent(t *testing.T, whole string, files []string, query string) {
	t.Helper()
	db := mustOpen(t, Options{})
	answers := make([]string, 2)
	for i, from := range []string{QuoteLiteral(whole), QuoteList(files)} {
		rows, err := db.Arrow(t.Context(), strings.ReplaceAll(query, "$T", "read_parquet("+from+")"))
		if err != nil {
			t.Fatal(err)
		}
		if answers[i], err = readAll(rows); err != nil {
			t.Fatal(err)
		}
		rows.Release()
	}
	if answers[0] != answers[1] || answers[0] == "" {
		t.Errorf("%s\n whole %.300s\n parts %.300s", query, answers[0], answers[1])
	}
}

const wideQuery = `SELECT i AS id, 'name ' || (i %% 100) AS name, CASE WHEN i %% 3 = 0 THEN NULL ELSE i * 1.5 END AS half,
	{'a': i, 'b': [i, NULL, i + 1]} AS nested, DATE '2026-01-01' + (i %% 300)::INTEGER AS day, (i * 1000003)::DECIMAL(18,2) AS amount,
	uuid() AS u, (i %% 2 = 0) AS flag, MAP {'k': i} AS m, TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL (i) SECOND AS seen FROM range(%d, %d) r(i)`

func TestStitchedFilesAreReadAsTheirParts(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{
		"zstd": ", COMPRESSION zstd, ROW_GROUP_SIZE 2048", "snappy v2": ", COMPRESSION snappy, PARQUET_VERSION v2", "plain": ", COMPRESSION uncompressed",
		"with pairs": ", KV_METADATA {origin: 'test'}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := makeParts(t, options, fmt.Sprintf(wideQuery, 0, 10_000), fmt.Sprintf(wideQuery, 10_000, 10_000), fmt.Sprintf(wideQuery, 20_000, 20_001), fmt.Sprintf(wideQuery, 30_000, 45_000))
			whole := stitchedFile(t, files)
			for _, q := range []string{
				"SELECT count(*), sum(id), count(half), sum(amount), min(seen), max(seen), sum(hash(t)) FROM $T t",
				"SELECT * FROM $T WHERE id IN (0, 9999, 20000, 44999) ORDER BY id",
				"SELECT count(*) FROM $T WHERE name = 'name 7'", // bloom filters and dictionaries
				"SELECT count(*) FROM $T WHERE name = 'nobody'",
				"SELECT count(*) FROM $T WHERE id BETWEEN 9000 AND 31000", // statistics
				"SELECT * FROM (DESCRIBE SELECT * FROM $T)",
			} {
				sameContent(t, whole, files, q)
			}
			f, err := os.Open(whole)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			info, _ := f.Stat()
			other, err := parquet.OpenFile(f, info.Size())
			if err != nil || other.NumRows() != 25_001 {
				t.Fatalf("another reader: %v", err)
			}
			for i, g := range other.Metadata().RowGroups {
				if int(g.Ordinal) != i && g.Ordinal != 0 {
					t.Errorf("row group %d has the ordinal %d", i, g.Ordinal)
				}
			}
			first, err := HashFile(whole)
			if again, err2 := HashFile(stitchedFile(t, files)); err != nil || err2 != nil || first != again {
				t.Errorf("the same files gave other bytes: %v, %v", err, err2)
			}
			if name == "with pairs" {
				if v, ok := other.Lookup("origin"); !ok || v != "test" {
					t.Errorf("the metadata is gone: %q", v)
				}
			}
		})
	}
}

func TestStitchLeavesOffIndexesAndKeepsTheArrowSchema(t *testing.T) {
	t.Parallel()
	files := []string{filepath.Join("testdata", "pyarrow_0.parquet"), filepath.Join("testdata", "pyarrow_1.parquet")}
	whole := stitchedFile(t, files)
	sameContent(t, whole, files, "SELECT count(*), sum(id), count(name), sum(len(l)), min(d) FROM $T")
	sameContent(t, whole, files, "SELECT * FROM $T WHERE id IN (1, 2999, 3000, 3999)")
	f, err := os.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, _ := f.Stat()
	read, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := read.Lookup("common"); !ok || v != "yes" {
		t.Error("what all files agree on is gone")
	}
	if _, ok := read.Lookup("ARROW:schema"); !ok {
		t.Error("the Arrow schema is gone")
	}
	if _, ok := read.Lookup("part"); ok {
		t.Error("what the files disagree on was kept")
	}
	for _, g := range read.Metadata().RowGroups {
		for _, c := range g.Columns {
			if c.OffsetIndexOffset != 0 || c.ColumnIndexOffset != 0 {
				t.Error("an index of pages was kept")
			}
		}
	}
	rows := make([]parquet.Row, 4000)
	total := 0
	for _, g := range read.RowGroups() {
		r := g.Rows()
		for err == nil {
			var n int
			n, err = r.ReadRows(rows)
			total += n
		}
		_ = r.Close()
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		err = nil
	}
	if total != 4000 {
		t.Errorf("another reader read %d rows", total)
	}
}

func TestStitchedFilesAreReadByPyarrow(t *testing.T) {
	t.Parallel()
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import pyarrow.parquet").Run(); err != nil {
		t.Skip("SKIPPED PEER: the Python package pyarrow is not installed")
	}
	files := makeParts(t, ", COMPRESSION zstd, ROW_GROUP_SIZE 2048", fmt.Sprintf(wideQuery, 0, 10_000), fmt.Sprintf(wideQuery, 10_000, 12_000))
	const script = `import sys, pyarrow.parquet as pq
t = pq.read_table(sys.argv[1]); parts = [pq.read_table(f) for f in sys.argv[2:]]
import pyarrow as pa
assert t.equals(pa.concat_tables(parts)), "the tables differ"
print(t.num_rows)`
	out, err := exec.CommandContext(t.Context(), "python3", append([]string{"-c", script, stitchedFile(t, files)}, files...)...).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "12000" {
		t.Errorf("%s, %v", out, err)
	}
}

func TestStitchServesRanges(t *testing.T) {
	t.Parallel()
	files := makeParts(t, "", "SELECT 1 AS x", "SELECT 2 AS x", "SELECT i::INTEGER FROM range(1000) r(i)")
	_, err := Stitch(files) // another name of the column
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("different schemas gave %v", err)
	}
	files = makeParts(t, "", "SELECT 1::BIGINT AS x", "SELECT i AS x FROM range(1000) r(i)")
	s, err := Stitch(files)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	whole, err := os.ReadFile(stitchedFile(t, files))
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(io.NewSectionReader(s, 0, s.Size()), whole); err != nil {
		t.Error(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.parquet", time.Time{}, io.NewSectionReader(s, 0, s.Size()))
	}))
	defer server.Close()
	for _, span := range [][2]int{{0, 3}, {2, 600}, {len(whole) - 9, len(whole) - 1}, {0, len(whole) - 1}} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", span[0], span[1]))
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !bytes.Equal(got, whole[span[0]:span[1]+1]) {
			t.Errorf("%v: %d bytes, %v", span, len(got), err)
		}
	}
	if _, err := Stitch(nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("no files gave %v", err)
	}
	one, err := Stitch(files[:1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = one.Close() }()
	got, _ := io.ReadAll(one)
	if want, _ := os.ReadFile(files[0]); !bytes.Equal(got, want) {
		t.Error("one file is not given as it is")
	}
}

func FuzzParseFooter(f *testing.F) {
	db, err := Open(f.Context(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	path := filepath.Join(f.TempDir(), "x.parquet")
	if _, err := db.ExecContext(f.Context(), "COPY (SELECT 1 AS a, 'x' AS b, [1] AS c) TO "+QuoteLiteral(path)); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	length := int(whole[len(whole)-8]) | int(whole[len(whole)-7])<<8
	f.Add(whole[len(whole)-8-length : len(whole)-8])
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		footer, err := parseFooter(raw, 100)
		if err != nil {
			return
		}
		var w thriftWriter
		n := 0
		if footer.relocate(&w, 0, &n) != nil || n > 1 {
			return
		}
		// What was moved by nothing can be moved again, and stays what it is.
		groups := thriftWriter{}
		groups.structs(n)
		groups.raw(w.out)
		footer.groups = groups.out
		var again thriftWriter
		n = 0
		if err := footer.relocate(&again, 0, &n); err != nil || !bytes.Equal(again.out, w.out) {
			t.Errorf("%x became %x, %v", w.out, again.out, err)
		}
	})
}
