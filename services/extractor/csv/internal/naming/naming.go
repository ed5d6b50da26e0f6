// Package naming tells from the name of a file what it is, and what its table is called.
package naming

import (
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// RejectsSuffix is added to a table's name for the table of its bad rows.
const RejectsSuffix = "__rejects"

// maxName leaves room for RejectsSuffix.
const maxName = catalog.MaxTableName - len(RejectsSuffix)

// Valid tells why a configured name cannot name a table with rejects; nil where it can.
func Valid(name string) error {
	if err := catalog.ValidTableName(name); err != nil {
		return err
	}
	return catalog.ValidTableName(name + RejectsSuffix)
}

// Table makes a table's name of a file's, without its extensions: in lower case, with _ for
// everything that is not a letter or a digit. A name that would start with a digit gets t_ before it.
func Table(stem string) string {
	var b strings.Builder
	gap := false
	for _, r := range strings.ToLower(norm.NFC.String(strings.ToValidUTF8(stem, "_"))) {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mn, r) {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('_')
		}
		gap = false
		b.WriteRune(r)
	}
	name := b.String()
	switch first, _ := utf8.DecodeRuneInString(name); {
	case name == "":
		return "table"
	case unicode.IsDigit(first):
		name = "t_" + name
	}
	for len(name) > maxName {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

var wildcards = regexp.MustCompile(`\*+|\?|\[[^\]]*\]|\{[^}]*\}`)

// Glob is the name of the one table that the files of a glob make: the words of the pattern's
// last element that are not numbers, such as orders for orders-2026-*.csv. It is empty where there
// are none, as in *.csv: then every file is a table of its own.
func Glob(pattern string) string {
	stem := path.Base(wildcards.ReplaceAllString(pattern, " "))
	for again := true; again; { // extensions, and what wildcards leave of them
		stem = strings.TrimRight(stem, " .")
		var format, compression string
		stem, format, compression = Split(stem)
		again = format != "" || compression != ""
	}
	words := strings.FieldsFunc(stem, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	var kept []string
	for _, w := range words {
		if strings.ContainsFunc(w, unicode.IsLetter) {
			kept = append(kept, w)
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return Table(strings.Join(kept, "_"))
}

// Formats of files.
const (
	CSV     = "csv"
	TSV     = "tsv"
	JSON    = "json" // one array, one value after the other, or one to a line
	Parquet = "parquet"
)

// Compressions of files.
const (
	Plain = ""
	Gzip  = "gzip"
	Zstd  = "zstd"
)

var extensions = map[string]string{
	".csv": CSV, ".tsv": TSV, ".tab": TSV, ".json": JSON, ".ndjson": JSON, ".jsonl": JSON,
	".parquet": Parquet, ".pq": Parquet,
}

// Split takes a file's name apart. The format is empty where the name does not tell it.
func Split(name string) (stem, format, compression string) {
	stem = name
	switch ext := strings.ToLower(path.Ext(stem)); ext {
	case ".gz", ".gzip":
		compression = Gzip
		stem = stem[:len(stem)-len(ext)]
	case ".zst", ".zstd":
		compression = Zstd
		stem = stem[:len(stem)-len(ext)]
	}
	ext := path.Ext(stem)
	if format = extensions[strings.ToLower(ext)]; format != "" {
		stem = stem[:len(stem)-len(ext)]
	}
	return stem, format, compression
}

// Hidden tells that a file is not meant to be read: it is Hidden, or the lock of an open document.
func Hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~$")
}
