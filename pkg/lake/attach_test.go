package lake

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

func TestMissingExtension(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]Attachment{
		"no directory":   {Alias: "x", Extension: "sqlite", Address: "/nowhere.db"},
		"empty one":      {Alias: "x", Extension: "sqlite", Address: "/nowhere.db", Directory: t.TempDir()},
		"not one of its": {Alias: "x", Extension: "sqlite", Address: "/nowhere.db", Directory: filepath.Join(t.TempDir(), "gone")},
	} {
		if _, err := CopyAttached(t.Context(), Options{}, a, "SELECT 1", filepath.Join(t.TempDir(), "x.parquet")); !IsNoExtension(err) {
			t.Errorf("%s: %v; want an extension that is missing", name, err)
		}
	}
}

// TestUnsignedExtension: a file that anybody may have put there is not run.
func TestUnsignedExtension(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sqlite.duckdb_extension"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	a := Attachment{Alias: "x", Extension: "sqlite", Address: "/nowhere.db", Directory: dir}
	if _, err := CopyAttached(t.Context(), Options{}, a, "SELECT 1", filepath.Join(dir, "x.parquet")); err == nil || IsNoExtension(err) {
		t.Errorf("an extension that is none: %v", err)
	}
	a.Extension = "../evil"
	if _, err := CopyAttached(t.Context(), Options{}, a, "SELECT 1", filepath.Join(dir, "x.parquet")); err == nil {
		t.Error("an extension by a path was taken")
	}
}

func TestExtensionFile(t *testing.T) {
	t.Parallel()
	version := mapping.LibraryVersion()
	for _, below := range []string{
		"postgres.duckdb_extension", "postgres_scanner.duckdb_extension", version + "/linux_amd64/postgres_scanner.duckdb_extension",
		version + "/postgres.duckdb_extension", "duckdb_extension_postgres_scanner/extensions/" + version + "/postgres_scanner.duckdb_extension",
	} {
		dir := filepath.Join(t.TempDir(), "a[b]*")
		file := filepath.Join(dir, below)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := extensionFile(dir, "postgres"); got != file {
			t.Errorf("found %q, want %q", got, file)
		}
		if got := extensionFile(dir, "sqlite"); got != "" {
			t.Errorf("found %q for another extension", got)
		}
	}
}
