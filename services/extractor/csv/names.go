package csv

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// rejectsSuffix is added to a table's name for the table of its bad rows.
const rejectsSuffix = "__rejects"

// maxName leaves room for rejectsSuffix.
const maxName = catalog.MaxTableName - len(rejectsSuffix)

// validName tells why a configured name cannot name a table with rejects; nil where it can.
func validName(name string) error {
	if err := catalog.ValidTableName(name); err != nil {
		return err
	}
	return catalog.ValidTableName(name + rejectsSuffix)
}

// tableName makes a table's name of a file's, without its extensions: in lower case, with _ for
// everything that is not a letter or a digit. A name that would start with a digit gets t_ before it.
func tableName(stem string) string {
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

// globName is the name of the one table that the files of a glob make: the words of the pattern's
// last element that are not numbers, such as orders for orders-2026-*.csv. It is empty where there
// are none, as in *.csv: then every file is a table of its own.
func globName(pattern string) string {
	stem, _, _ := splitName(path.Base(wildcards.ReplaceAllString(pattern, " ")))
	if i := strings.LastIndex(path.Base(pattern), "."); i >= 0 && strings.ContainsAny(path.Base(pattern)[i:], "*?[{") {
		stem = path.Base(wildcards.ReplaceAllString(pattern, " ")) // the extension is a wildcard
		stem = strings.TrimSuffix(strings.TrimSpace(stem), ".")
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
	return tableName(strings.Join(kept, "_"))
}

// Compressions of files.
const (
	plainFile = ""
	gzipFile  = "gzip"
	zstdFile  = "zstd"
)

var extensions = map[string]string{
	".csv": formatCSV, ".tsv": formatTSV, ".tab": formatTSV, ".json": formatJSON, ".ndjson": formatJSON, ".jsonl": formatJSON,
	".parquet": formatParquet, ".pq": formatParquet,
}

// splitName takes a file's name apart. The format is empty where the name does not tell it.
func splitName(name string) (stem, format, compression string) {
	stem = name
	switch ext := strings.ToLower(path.Ext(stem)); ext {
	case ".gz", ".gzip":
		compression = gzipFile
		stem = stem[:len(stem)-len(ext)]
	case ".zst", ".zstd":
		compression = zstdFile
		stem = stem[:len(stem)-len(ext)]
	}
	ext := path.Ext(stem)
	if format = extensions[strings.ToLower(ext)]; format != "" {
		stem = stem[:len(stem)-len(ext)]
	}
	return stem, format, compression
}

// hidden tells that a file is not meant to be read: it is hidden, or the lock of an open document.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "~$")
}

// place says where in a file something is.
func place(file string, line int64, column string) string {
	switch {
	case column != "":
		return fmt.Sprintf("%s, line %d, column %s", file, line, column)
	case line > 0:
		return fmt.Sprintf("%s, line %d", file, line)
	}
	return file
}
