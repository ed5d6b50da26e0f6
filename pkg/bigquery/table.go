package bigquery

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/bigquery"
	"google.golang.org/api/iterator"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// TableRef names a table.
type TableRef struct{ Project, Dataset, Table string }

// String gives project.dataset.table.
func (r TableRef) String() string { return r.Project + "." + r.Dataset + "." + r.Table }

// SQL quotes the name for GoogleSQL. ParseTable lets no quote in.
func (r TableRef) SQL() string { return "`" + r.String() + "`" }

func (r TableRef) path() string {
	return "projects/" + r.Project + "/datasets/" + r.Dataset + "/tables/" + r.Table
}

// Names as Google documents them: a project may bear the domain of an organisation before it.
var (
	projectID = regexp.MustCompile(`\A([a-z0-9][a-z0-9.-]*:)?[a-z0-9][a-z0-9-]{1,62}\z`)
	datasetID = regexp.MustCompile(`\A[A-Za-z0-9_]+\z`)
	tableID   = regexp.MustCompile(`\A[\p{L}\p{M}\p{N}\p{Pc}\p{Pd}\p{Zs}]+\z`)
)

// maxName is the longest name of a dataset or table, in bytes.
const maxName = 1024

func validProject(id string) bool { return projectID.MatchString(id) }

// Valid tells why the name cannot be one; nil where it can.
func (r TableRef) Valid() error {
	switch {
	case !validProject(r.Project):
		return fault.New(fault.Invalid, "%.80q is not the id of a project of Google's", r.Project)
	case !datasetID.MatchString(r.Dataset) || len(r.Dataset) > maxName:
		return fault.New(fault.Invalid, "%.80q is not the name of a dataset", r.Dataset)
	case !tableID.MatchString(r.Table) || len(r.Table) > maxName:
		return fault.New(fault.Invalid, "%.80q is not the name of a table", r.Table)
	}
	return nil
}

// ParseTable reads [project.]dataset.table, with or without quotes, as people and catalogs write it.
func ParseTable(text, defaultProject string) (TableRef, error) {
	plain := strings.NewReplacer("`", "", `"`, "").Replace(strings.TrimSpace(text))
	prefix := ""
	if at := strings.IndexByte(plain, ':'); at >= 0 {
		prefix, plain = plain[:at+1], plain[at+1:]
		if !strings.Contains(prefix, ".") { // the old way to write project:dataset.table
			prefix, plain = "", strings.TrimSuffix(prefix, ":")+"."+plain
		}
	}
	parts := strings.Split(plain, ".")
	if len(parts) == 2 {
		parts = append([]string{defaultProject}, parts...)
	}
	if len(parts) != 3 {
		return TableRef{}, fault.New(fault.Invalid, "%.200q is not project.dataset.table", text)
	}
	r := TableRef{Project: prefix + parts[0], Dataset: parts[1], Table: parts[2]}
	return r, r.Valid()
}

// Kinds of tables.
const (
	KindTable            = "table"
	KindView             = "view"
	KindMaterializedView = "materialized_view"
	KindExternal         = "external"
)

// Table is what BigQuery says of a table.
type Table struct {
	Ref         TableRef
	Kind        string
	Description string
	Location    string
	Columns     []catalog.Column // in types of DuckDB
	Rows        int64            // -1 where unknown, as of views
	Bytes       int64            // logical; -1 where unknown
	Modified    time.Time        // of the data of a table; of the definition of a view
	// Streaming tells that rows wait in the streaming buffer: Modified does not follow them.
	Streaming         bool
	PrimaryKey        []string // not enforced by BigQuery
	PartitionBy       string   // the column that partitions it, if it is one
	PartitionRequired bool     // a query without a filter on it is refused

	schema bigquery.Schema
}

// Readable tells whether the Storage Read API reads it: views are not stored anywhere (trap B5).
func (t Table) Readable() bool { return t.Kind == KindTable }

// Datasets lists the names of a project's datasets.
func (c *Client) Datasets(ctx context.Context, project string) ([]string, error) {
	if !validProject(project) {
		return nil, fault.New(fault.Invalid, "%.80q is not the id of a project of Google's", project)
	}
	var names []string
	list, cancel := context.WithCancel(ctx)
	defer cancel()
	it := c.rest.Datasets(list)
	it.ProjectID = project
	err := all(ctx, c.limits.Call, it.Next, func(d *bigquery.Dataset) { names = append(names, d.DatasetID) })
	if err != nil {
		return nil, c.fail(ctx, err, "list the datasets of "+project)
	}
	return names, nil
}

// Tables lists the tables and views of a dataset, without more than their names.
func (c *Client) Tables(ctx context.Context, project, dataset string) ([]TableRef, error) {
	if err := (TableRef{project, dataset, "t"}).Valid(); err != nil {
		return nil, err
	}
	var refs []TableRef
	list, cancel := context.WithCancel(ctx)
	defer cancel()
	it := c.rest.DatasetInProject(project, dataset).Tables(list)
	err := all(ctx, c.limits.Call, it.Next, func(t *bigquery.Table) { refs = append(refs, TableRef{t.ProjectID, t.DatasetID, t.TableID}) })
	if err != nil {
		return nil, c.fail(ctx, err, "list the tables of "+project+"."+dataset)
	}
	return refs, nil
}

// all collects what an iterator gives. Google's library tries an answer of 5xx again for as long as its context
// lets it, so there is an end to waiting for the next one.
func all[T any](ctx context.Context, most time.Duration, next func() (T, error), add func(T)) error {
	type answer struct {
		item T
		err  error
	}
	answers := make(chan answer)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			item, err := next()
			select {
			case answers <- answer{item, err}:
			case <-stop:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		select {
		case a := <-answers:
			if errors.Is(a.err, iterator.Done) {
				return nil
			}
			if a.err != nil {
				return a.err
			}
			add(a.item)
			timer.Reset(most)
		case <-timer.C:
			return context.DeadlineExceeded
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Table asks for one table.
func (c *Client) Table(ctx context.Context, ref TableRef) (Table, error) {
	if err := ref.Valid(); err != nil {
		return Table{}, err
	}
	call, cancel := context.WithTimeout(ctx, c.limits.Call)
	defer cancel()
	md, err := c.rest.DatasetInProject(ref.Project, ref.Dataset).Table(ref.Table).Metadata(call)
	if err != nil {
		return Table{}, c.fail(ctx, err, "look at "+ref.String())
	}
	t := Table{
		Ref: ref, Description: md.Description, Location: md.Location, Columns: columnsOf(md.Schema), schema: md.Schema,
		Rows: int64(md.NumRows), Bytes: md.NumBytes, Modified: md.LastModifiedTime.UTC(), Streaming: md.StreamingBuffer != nil, PartitionRequired: md.RequirePartitionFilter,
	}
	switch md.Type {
	case bigquery.ViewTable:
		t.Kind, t.Rows, t.Bytes = KindView, -1, -1
	case bigquery.MaterializedView:
		t.Kind = KindMaterializedView
	case bigquery.ExternalTable:
		t.Kind, t.Rows, t.Bytes = KindExternal, -1, -1
	default: // snapshots and clones are read as tables are
		t.Kind = KindTable
	}
	if md.TableConstraints != nil && md.TableConstraints.PrimaryKey != nil {
		t.PrimaryKey = md.TableConstraints.PrimaryKey.Columns
	}
	if md.TimePartitioning != nil {
		t.PartitionBy = md.TimePartitioning.Field
	} else if md.RangePartitioning != nil {
		t.PartitionBy = md.RangePartitioning.Field
	}
	return t, nil
}
