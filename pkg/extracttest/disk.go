package extracttest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
)

var partName = regexp.MustCompile(`\A[0-9a-f]{64}\.parquet\z`)

// whole checks that what stands on the disk keeps the contract: one pointer without a write-ahead
// log, parts named by their content and read-only, every table readable, no half-finished files.
func (b *bench) whole() *extract.Version {
	b.t.Helper()
	dir := extract.SourceDir(b.dataDir, sourceName)
	if _, err := os.Stat(filepath.Join(dir, "extract.duckdb.wal")); err == nil {
		b.t.Fatal("a write-ahead log stands beside the extract")
	}
	v := b.version()
	if len(v.Problems) > 0 {
		b.t.Fatalf("the version has problems: %+v", v.Problems)
	}
	for _, t := range v.Tables {
		for i, p := range t.Parts {
			b.part(t.Files[i], p.SHA256, p.MD5, p.SizeBytes)
		}
		content(b.t, v, t.Name)
	}
	return v
}

func (b *bench) part(file, sha, md5 string, size int64) {
	b.t.Helper()
	digest, err := lake.HashFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if digest.SHA256 != sha || digest.MD5 != md5 || digest.Size != size || filepath.Base(file) != sha+".parquet" {
		b.t.Fatalf("the part %s is not what _parts says of it", file)
	}
	info, err := os.Stat(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if info.Mode().Perm() != 0o444 {
		b.t.Fatalf("the part %s has mode %v", file, info.Mode())
	}
}

// scratchClean checks that nothing half-finished is left.
func (b *bench) scratchClean() {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dataDir, "tmp"))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		b.t.Fatalf("left in scratch: %s", e.Name())
	}
}

// files lists what stands in the data directory, scratch included, locks left out.
func (b *bench) files() string {
	b.t.Helper()
	var out []string
	err := filepath.WalkDir(b.dataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		rel, err := filepath.Rel(b.dataDir, path)
		out = append(out, rel)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

// partFiles counts the parts on the disk, whoever refers to them.
func (b *bench) partFiles() int {
	n := 0
	for _, f := range strings.Split(b.files(), "\n") {
		if partName.MatchString(filepath.Base(f)) {
			n++
		}
	}
	return n
}
