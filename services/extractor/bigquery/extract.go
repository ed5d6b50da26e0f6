package bigquery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// tableOptions are those of a table in the registry.
type tableOptions struct {
	Columns []string `json:"columns"`
	// Where is a condition of GoogleSQL.
	Where string `json:"where"`
	// Query is the statement of a materialized table.
	Query string `json:"query"`
	// MaxBytesBilled bounds the table's query jobs; the source's where it is zero.
	MaxBytesBilled int64 `json:"max_bytes_billed"`
	Streams        int   `json:"streams"`
	// IncrementalBy is the column that grows with every change of a row.
	IncrementalBy string `json:"incremental_by"`
	// PartitionBy is the column whose date tells the part that a row is in; Partition how long a part is.
	PartitionBy string `json:"partition_by"`
	Partition   string `json:"partition"`

	partial bool // a condition of the registry leaves rows out
}

// token is what is kept of a table with its version.
type token struct {
	Version  int       `json:"v"`
	Table    string    `json:"table"`
	Modified time.Time `json:"modified"`
	Shape    string    `json:"shape"` // of columns and conditions
}

// tokenVersion changes when tables have to be read anew, whatever Google says.
const tokenVersion = 1

func tokenOf(t bigquery.Table, o tableOptions) string {
	raw, err := json.Marshal(token{tokenVersion, t.Ref.String(), t.Modified, shapeOf(t, o)})
	if err != nil {
		return ""
	}
	return string(raw)
}

// shapeOf is what the rows of a table depend on beside its content; empty for nothing that can be compared.
func shapeOf(t bigquery.Table, o tableOptions) string {
	raw, err := json.Marshal([]any{t.Columns, o.Columns, o.Where})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// parseToken reads a token of this version.
func parseToken(text string) (token, error) {
	var last token
	if err := json.Unmarshal([]byte(text), &last); err != nil {
		return token{}, err
	}
	if last.Version != tokenVersion {
		return token{}, fault.New(fault.Invalid, "the token is of version %d", last.Version)
	}
	return last, nil
}

// optionsOf reads the options of a table, within those of the source.
func (s *source) optionsOf(spec extract.TableSpec) (tableOptions, error) {
	var o tableOptions
	if err := spec.Decode(&o); err != nil {
		return o, err
	}
	switch {
	case o.MaxBytesBilled <= 0:
		o.MaxBytesBilled = s.MaxBytesBilled
	case o.MaxBytesBilled > s.MaxBytesBilled:
		return o, fault.New(fault.Invalid, "the table %s: `max_bytes_billed` is above that of the source (%d)", spec.Name, s.MaxBytesBilled)
	}
	if o.Streams <= 0 {
		o.Streams = s.Streams
	}
	return o, nil
}

// Extract reads one table as its query mode says.
func (s *source) Extract(ctx context.Context, spec extract.TableSpec, w *extract.TableWriter) error {
	o, err := s.optionsOf(spec)
	if err != nil {
		return err
	}
	strategy, err := strategyOf(spec, &o)
	if err != nil {
		return err
	}
	o.partial = o.Where != ""
	if spec.QueryMode == catalog.ModeMaterialized {
		return s.materialize(ctx, spec, o, w)
	}
	ref, err := s.find(spec)
	if err != nil {
		return err
	}
	table, err := s.client.Table(ctx, ref)
	if err != nil {
		return err
	}
	w.SetDescription(table.Description)
	if spec.QueryMode == catalog.ModeRemote {
		if !s.RemoteAttach {
			return fault.New(fault.Invalid, "the table %s is registered as remote, and its source has `remote_attach: false`", spec.Name)
		}
		return w.Remote(ctx, s.alias(ref.Project), ref.Dataset, ref.Table, table.Columns)
	}
	return s.copy(ctx, spec, o, strategy, table, w)
}

// copy reads a table into parts as its strategy says. Of a view, of external tables and of what waits in the
// streaming buffer nobody tells when it changed.
func (s *source) copy(ctx context.Context, spec extract.TableSpec, o tableOptions, strategy string, t bigquery.Table, w *extract.TableWriter) error {
	now := tokenOf(t, o)
	told := t.Readable() && !t.Streaming
	if told && now != "" && now == spec.Token && spec.Previous != nil {
		return extract.ErrUnchanged
	}
	read := func(ctx context.Context, o tableOptions) (*bigquery.Result, error) {
		return s.client.ReadTable(ctx, t, bigquery.ReadOptions{
			Columns: o.Columns, Filter: o.Where, Streams: o.Streams, MaxBytesBilled: o.MaxBytesBilled, Labels: map[string]string{"table": spec.Name},
		})
	}
	if told || strategy == strategyIncremental {
		w.SetToken(now)
	}
	if strategy == strategyIncremental {
		condition, err := s.changedSince(ctx, spec, o, t, w)
		if err != nil {
			return err
		}
		if condition != "" {
			merged, err := s.merge(ctx, o, t, condition, w, read)
			if err != nil || merged {
				return err
			}
		}
	}
	result, err := read(ctx, o)
	if err != nil {
		return err
	}
	if strategy == strategyPartitioned {
		return partition(ctx, result, o, w)
	}
	width := int64(0)
	if t.Rows > 0 {
		width = t.Bytes / t.Rows
	}
	if len(spec.PrimaryKey) == 0 {
		// Streams that are read side by side have no order that could be kept, and to keep one costs a third.
		if err := w.Exec(ctx, "SET preserve_insertion_order = false"); err != nil {
			return errors.Join(err, result.Close())
		}
	}
	return write(ctx, result, width, w)
}

// partition writes a part for each stretch of time: those in which nothing changed stay as they are.
func partition(ctx context.Context, result *bigquery.Result, o tableOptions, w *extract.TableWriter) error {
	defer func() { _ = result.Close() }()
	return w.Arrow(ctx, result.Reader(), result.Columns(), func(query string) error {
		return w.Partition(ctx, query, result.Columns(), o.PartitionBy, o.Partition)
	})
}

// materialize makes the table the result of its statement.
func (s *source) materialize(ctx context.Context, spec extract.TableSpec, o tableOptions, w *extract.TableWriter) error {
	result, err := s.run(ctx, spec, o)
	if err != nil {
		return err
	}
	return write(ctx, result, 0, w)
}

// run runs the statement of a table, once a dry run has said what it is and that it costs what it may.
func (s *source) run(ctx context.Context, spec extract.TableSpec, o tableOptions) (*bigquery.Result, error) {
	if o.Query == "" {
		return nil, fault.New(fault.Invalid, "the table %s is materialized: give its statement as the option `query`", spec.Name)
	}
	q := bigquery.Query{SQL: o.Query, MaxBytesBilled: o.MaxBytesBilled, Labels: map[string]string{"table": spec.Name}, Location: s.Projects[0].Location}
	estimate, err := s.client.DryRun(ctx, q)
	if err != nil {
		return nil, err
	}
	if estimate.StatementType != "SELECT" {
		return nil, fault.New(fault.Invalid, "the statement of %s is a %s: only a SELECT is run", spec.Name, estimate.StatementType)
	}
	if estimate.Bytes > o.MaxBytesBilled {
		return nil, fault.New(fault.TooLarge, "the statement of %s would read %d bytes; the limit is %d", spec.Name, estimate.Bytes, o.MaxBytesBilled)
	}
	return s.client.Run(ctx, q)
}

// leastWidth of a row is assumed, in bytes, so that a row group stays small where BigQuery says nothing.
const leastWidth = 512

// write streams a result into the table: it is there once, so its width is estimated and not measured.
func write(ctx context.Context, result *bigquery.Result, width int64, w *extract.TableWriter) error {
	defer func() { _ = result.Close() }()
	return w.Arrow(ctx, result.Reader(), result.Columns(), func(query string) error {
		return w.Query(ctx, query, max(2*width, leastWidth))
	})
}
