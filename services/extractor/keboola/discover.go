package keboola

import (
	"context"
	"slices"
	"sort"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

// Discover lists the tables that the token may see, by one call. It fails as a whole.
func (s *source) Discover(ctx context.Context) ([]extract.DiscoveredTable, error) {
	tables, err := s.client.Tables(ctx)
	if err != nil {
		return nil, err
	}
	sort.Slice(tables, func(i, j int) bool { return tables[i].ID < tables[j].ID })
	taken := map[string]string{}
	var out []extract.DiscoveredTable
	for _, t := range tables {
		bucket, name := split(t.ID)
		if len(s.Buckets) > 0 && !slices.Contains(s.Buckets, bucket) {
			continue
		}
		d := s.propose(t, bucket, name)
		lower := strings.ToLower(d.Name)
		if other := taken[lower]; other != "" && d.Problem == "" {
			d.Problem = "the table " + other + " has the name " + d.Name + " already: register this one under another name"
		}
		if taken[lower] == "" {
			taken[lower] = t.ID
		}
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Name < out[j].Name || out[i].Name == out[j].Name && out[i].Bucket < out[j].Bucket
	})
	return out, nil
}

// split takes the id of a table apart: in.c-crm.orders is the table orders of the bucket in.c-crm.
func split(id string) (bucket, name string) {
	at := strings.LastIndexByte(id, '.')
	if at < 0 {
		return "", id
	}
	return id[:at], id[at+1:]
}

// propose is a table as it would be registered.
func (s *source) propose(t storage.Table, bucket, name string) extract.DiscoveredTable {
	d := extract.DiscoveredTable{
		Name: s.tableName(bucket, name), Bucket: bucket, SourceTable: name, PrimaryKey: t.PrimaryKey, Rows: -1, SizeBytes: -1,
		ChangedAt: t.LastChange.Time, Description: description(t),
	}
	if d.ChangedAt.IsZero() {
		d.ChangedAt = t.LastImport.Time
	}
	if t.Rows != nil {
		d.Rows = *t.Rows
	}
	if t.SizeBytes != nil {
		d.SizeBytes = *t.SizeBytes
	}
	columns, err := columnsOf(t, nil, s.TypeProviders)
	if err != nil {
		d.Problem = err.Error()
		return d
	}
	for _, c := range columns {
		d.Columns = append(d.Columns, catalog.Column{Name: c.name, Type: c.columnType})
	}
	if err := catalog.ValidTableName(d.Name); err != nil {
		d.Problem = err.Error()
	}
	return d
}

// tableName is what a table is called here: one that comes later must not change the names of the others,
// so the bucket is part of it. What is in the stage "in" has the bucket's name alone before it.
func (s *source) tableName(bucket, name string) string {
	if s.Names == namesTable {
		return name
	}
	stage, rest, _ := strings.Cut(bucket, ".")
	rest = strings.TrimPrefix(rest, "c-")
	if stage != "in" {
		rest = stage + "_" + rest
	}
	return rest + "_" + name
}

// description is what somebody wrote about the table.
func description(t storage.Table) string {
	for _, provider := range providers {
		if v := value(t.Metadata, provider, keyDescription); v != "" {
			return v
		}
	}
	return ""
}
