package lake

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/agnes-platform/agnes/pkg/fault"
)

func graftedFile(t *testing.T, base, other string, columns ...string) string {
	t.Helper()
	s, err := Graft(base, other, columns)
	if err != nil {
		t.Fatalf("%v: %v", columns, err)
	}
	defer func() { _ = s.Close() }()
	whole, err := io.ReadAll(s)
	if err != nil || int64(len(whole)) != s.Size() {
		t.Fatalf("%d of %d bytes, %v", len(whole), s.Size(), err)
	}
	path := filepath.Join(t.TempDir(), "grafted.parquet")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file that has a few columns of another one is what DuckDB would have written of the same rows, to the byte.
func TestGraftedFilesAreWhatDuckDBWrites(t *testing.T) {
	t.Parallel()
	const was = `SELECT i AS id, 'name ' || (i %% 100) AS name, CASE WHEN i %% 3 = 0 THEN NULL ELSE i * 1.5 END AS half, {'a': i, 'b': [i, NULL, i + 1]} AS nested,
		'text ' || hash(i) AS text, i %% 2 = 0 AS flag, MAP {'k': i} AS m FROM range(%d) r(i) ORDER BY i`
	changes := map[string]string{
		"name": "'other ' || (id % 77)", "text": "'text ' || hash(id * 3)", "nested": "{'a': id, 'b': CASE WHEN id % 5 = 0 THEN NULL ELSE [id] END}",
		"half": "NULL::DECIMAL(21,1)", "id": "id + 5", "m": "MAP {'k': id, 'l': NULL}", "flag": "id % 7 = 0",
	}
	for _, options := range []string{", COMPRESSION zstd, ROW_GROUP_SIZE 2048", ", COMPRESSION snappy, PARQUET_VERSION v2, ROW_GROUP_SIZE 4096", ", COMPRESSION zstd", ", ROW_GROUP_SIZE 2048, KV_METADATA {origin: 'test'}"} {
		for _, columns := range [][]string{{"name"}, {"text", "nested"}, {"id", "half", "m"}, {"flag"}, {"id", "name", "half", "nested", "text", "flag", "m"}} {
			replace, list := "", ""
			for _, c := range columns {
				replace += fmt.Sprintf(", %s AS %s", changes[c], c)
				list = c + ", " + list // their order in the other file does not matter
			}
			base := fmt.Sprintf(was, 10_000)
			now := "SELECT * REPLACE (" + replace[2:] + ") FROM (" + base + ")"
			files := makeParts(t, options, base, now, "SELECT "+list+"true AS more FROM ("+now+")")
			got, err := HashFile(graftedFile(t, files[0], files[2], columns...))
			want, err2 := HashFile(files[1])
			if err != nil || err2 != nil || got != want {
				t.Errorf("%v%s: %+v, want %+v", columns, options, got, want)
			}
		}
	}
}

func TestGraftRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	files := makeParts(t, ", ROW_GROUP_SIZE 2048", "SELECT i AS id, i AS n FROM range(5000) r(i)", "SELECT i::VARCHAR AS n FROM range(5000) r(i)",
		"SELECT i AS n FROM range(4999) r(i)", "SELECT i AS n FROM range(1000) r(i)", "SELECT i AS m FROM range(5000) r(i)")
	for _, other := range files[1:] {
		if _, err := Graft(files[0], other, []string{"n"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", other, err)
		}
	}
	if _, err := Graft(files[0], files[0]+"x", []string{"n"}); err == nil {
		t.Error("a file that is not there")
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := 1; cut < 400; cut += 7 { // damaged footers are errors, nothing worse
		damaged := filepath.Join(t.TempDir(), "damaged.parquet")
		spoiled := append([]byte{}, raw...)
		spoiled[len(spoiled)-8-cut] ^= 0x5a
		if err := os.WriteFile(damaged, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Graft(files[0], damaged, []string{"n"}); err == nil {
			_ = s.Close()
		}
	}
	// Files that others wrote.
	from := filepath.Join("testdata", "pyarrow_0.parquet")
	path := graftedFile(t, from, from, "name")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, _ := f.Stat()
	if _, err := parquet.OpenFile(f, info.Size()); err != nil {
		t.Error(err)
	}
	sameContent(t, path, []string{from}, "SELECT count(*), sum(id), count(name), sum(len(l)), min(d) FROM $T")
}
