package extract

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/agnes-platform/agnes/pkg/lake"
)

const (
	extractsDir  = "extracts"
	extractFile  = "extract.duckdb"
	dataFolder   = "data"
	rawFolder    = "raw"
	filesFolder  = "files"
	lockFile     = ".lock"
	ageFile      = ".unreferenced.json"
	parquetExt   = ".parquet"
	partMode     = 0o444
	dirMode      = 0o755
	maxFolder    = 180 // bytes of a table's folder name; file systems allow 255
	scratchOwner = "extract"
)

// SourceDir is the folder of a source's extract.
func SourceDir(dataDir, source string) string {
	return filepath.Join(dataDir, extractsDir, source)
}

// PointerPath is the pointer file of a source: swapped by rename, never edited.
func PointerPath(dataDir, source string) string {
	return filepath.Join(SourceDir(dataDir, source), extractFile)
}

// FilesDir is where a connector keeps files that rows of a table are about, such as attachments: one folder
// per file, named by the id that the rows have, which holds the file under its own name. The api hands
// them out to whoever may read the table.
func FilesDir(dataDir, source, table string) string {
	return filepath.Join(SourceDir(dataDir, source), filesFolder, TableFolder(table))
}

// partPath is the path of a part, relative to the data directory and with forward slashes.
func partPath(source, table, sha string) string {
	return path.Join(extractsDir, source, dataFolder, TableFolder(table), sha+parquetExt)
}

// TableFolder is the name of a table's folder under data/. Letters, digits, '_', '-' and inner dots
// stand for themselves; every other byte is written %XX, so that no name is a path or a glob pattern
// (trap D13). A name that would be too long ends in a hash.
func TableFolder(table string) string {
	var b strings.Builder
	for i, r := range table {
		switch {
		case r == '_', r == '-', r == '.' && i > 0, r != unicode.ReplacementChar && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			b.WriteRune(r)
		default:
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	folder := b.String()
	if len(folder) <= maxFolder {
		return folder
	}
	sum := sha256.Sum256([]byte(table))
	cut := maxFolder - 1 - 16
	for cut > 0 && !startsRune(folder[cut]) {
		cut--
	}
	return folder[:cut] + "~" + hex.EncodeToString(sum[:8])
}

func startsRune(c byte) bool { return c&0xC0 != 0x80 }

var partName = regexp.MustCompile(`\A[0-9a-f]{64}\.parquet\z`)

// literalGlobs are paths as DuckDB's readers take them.
func literalGlobs(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = lake.LiteralPath(p)
	}
	return out
}
