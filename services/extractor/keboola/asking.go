package keboola

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

// pushProvider is in whose name metadata is written: the predecessor's, which the types here are read from
// too, after those that users gave.
const pushProvider = "ai-metadata-enrichment"

// Test tells who the token is, and what it may see. Open verified it already.
func (s *source) Test(ctx context.Context) ([]string, error) {
	buckets, err := s.client.Buckets(ctx)
	if err != nil {
		return nil, err
	}
	findings := []string{fmt.Sprintf("the token %q is accepted for the project %q (%s)", s.token.Description, s.token.Owner.Name, s.token.Owner.ID)}
	if s.token.Master {
		findings = append(findings, "it is a master token, which may do everything in the project: one that can only read is enough")
	}
	if !s.token.Expires.IsZero() {
		findings = append(findings, "it expires at "+s.token.Expires.UTC().Format("2006-01-02 15:04 MST"))
	}
	findings = append(findings, fmt.Sprintf("it may see %d buckets", len(buckets)))
	for _, b := range s.Buckets {
		if !slices.ContainsFunc(buckets, func(o storage.Bucket) bool { return o.ID == b }) {
			return nil, fault.New(fault.Forbidden, "the token may not see the bucket %s, which the source names: give it the permission to read it", b)
		}
	}
	return findings, nil
}

// Preview asks for the first rows, as Keboola's own page of the table does.
func (s *source) Preview(ctx context.Context, spec extract.TableSpec, rows int) (extract.Preview, error) {
	o, _, err := s.readTable(spec)
	if err != nil {
		return extract.Preview{}, err
	}
	table, err := s.find(ctx, spec)
	if err != nil {
		return extract.Preview{}, err
	}
	columns, err := columnsOf(table, o.Columns, s.TypeProviders)
	if err != nil {
		return extract.Preview{}, err
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	raw, err := s.client.Preview(ctx, table.ID, rows, names...)
	if err != nil {
		return extract.Preview{}, err
	}
	records, err := previewRecords(raw)
	if err != nil || len(records) == 0 || len(records[0]) != len(columns) {
		return extract.Preview{}, fault.New(fault.Unavailable, "Keboola's preview of the table %s cannot be read", table.ID)
	}
	return extract.Preview{Columns: catalogColumns(columns), Rows: records[1:]}, nil
}

// previewRecords reads CSV in which a text without quotes and characters is NULL, and a quoted one is empty
// (trap K7), which encoding/csv does not tell apart.
func previewRecords(raw []byte) (records [][]*string, err error) {
	var row []*string
	for raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")); len(raw) > 0; {
		var field *string
		if raw[0] == '"' {
			var b strings.Builder
			for raw = raw[1:]; ; {
				end := bytes.IndexByte(raw, '"')
				if end < 0 {
					return nil, fault.New(fault.Unavailable, "a quoted text does not end")
				}
				b.Write(raw[:end])
				if raw = raw[end+1:]; len(raw) == 0 || raw[0] != '"' {
					break
				}
				b.WriteByte('"')
				raw = raw[1:]
			}
			text := b.String()
			field = &text
		} else if end := bytes.IndexAny(raw, ",\r\n"); end != 0 {
			if end < 0 {
				end = len(raw)
			}
			text := string(raw[:end])
			field, raw = &text, raw[end:]
		}
		row = append(row, field)
		if len(raw) > 0 && raw[0] == ',' {
			if raw = raw[1:]; len(raw) == 0 || raw[0] == '\r' || raw[0] == '\n' {
				row = append(row, nil)
			} else {
				continue
			}
		}
		rest := bytes.TrimPrefix(raw, []byte("\r"))
		if rest = bytes.TrimPrefix(rest, []byte("\n")); len(rest) == len(raw) && len(raw) > 0 {
			return nil, fault.New(fault.Unavailable, "something follows a quoted text")
		}
		raw, records, row = rest, append(records, row), nil
		if len(records) > 1 && len(records[len(records)-1]) != len(records[0]) {
			return nil, fault.New(fault.Unavailable, "the rows have different lengths")
		}
	}
	return records, nil
}

// PushMetadata writes descriptions and types to the table's columns in Keboola.
func (s *source) PushMetadata(ctx context.Context, spec extract.TableSpec, notes []extract.ColumnNote, dryRun bool) (extract.PushedMetadata, error) {
	table, err := s.find(ctx, spec)
	if err != nil {
		return extract.PushedMetadata{}, err
	}
	done := extract.PushedMetadata{Target: table.ID}
	for _, n := range notes {
		if !slices.Contains(table.Columns, n.Name) {
			done.Problems = append(done.Problems, fmt.Sprintf("the table %s has no column %q", table.ID, n.Name))
			continue
		}
		entries := entriesOf(n)
		if len(entries) == 0 {
			continue
		}
		if !dryRun {
			if err := s.client.PushColumnMetadata(ctx, table.ID, n.Name, pushProvider, entries); err != nil {
				if k := fault.KindOf(err); len(done.Pushed) == 0 && (k == fault.Unauthenticated || k == fault.Forbidden) {
					return done, err // nor may it write the others
				}
				done.Problems = append(done.Problems, fmt.Sprintf("the column %s: %s", n.Name, fault.Message(err)))
				continue
			}
		}
		for _, e := range entries {
			done.Pushed = append(done.Pushed, extract.PushedNote{Column: n.Name, Key: e.Key, Value: e.Value})
		}
	}
	return done, nil
}

func entriesOf(n extract.ColumnNote) (entries []storage.Metadata) {
	if base := baseType(n.Type); base != "" {
		entries = append(entries, storage.Metadata{Key: keyBaseType, Value: base})
		if _, length, found := strings.Cut(n.Type, "("); found && base == "NUMERIC" {
			entries = append(entries, storage.Metadata{Key: keyLength, Value: strings.TrimSuffix(length, ")")})
		}
	}
	if n.Description != "" {
		entries = append(entries, storage.Metadata{Key: keyDescription, Value: n.Description})
	}
	return entries
}

// baseType is Keboola's word for a type of DuckDB; text where it has none, and nothing for nothing.
func baseType(columnType string) string {
	word, _, _ := strings.Cut(strings.ToUpper(columnType), "(")
	switch word {
	case "":
		return ""
	case "TINYINT", "SMALLINT", "INTEGER", typeInteger, "UTINYINT", "USMALLINT", "UINTEGER":
		return "INTEGER"
	case "DECIMAL":
		return "NUMERIC"
	case "FLOAT", typeDouble:
		return "FLOAT"
	case typeBoolean, typeDate, typeTimestamp:
		return word
	case typeInstant:
		return "TIMESTAMP"
	}
	return "STRING"
}

var _ interface {
	extract.Tester
	extract.Previewer
	extract.MetadataPusher
} = (*source)(nil)
