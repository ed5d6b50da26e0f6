package federation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/util"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Warehouse answers registered queries; *bigquery.Client is one.
type Warehouse interface {
	DryRun(ctx context.Context, q bigquery.Query) (bigquery.Estimate, error)
	Run(ctx context.Context, q bigquery.Query) (*bigquery.Result, error)
}

// Types of what is wrong with a registered query.
const (
	typeRows   = "row_limit"
	typeMemory = "memory_limit"
	typeRemote = "bq_error"
	typeQuery  = "query_error"
	typeTime   = "timeout"
	typeBudget = "budget"
)

// HybridConfig of a Hybrid. Negative limits bound nothing.
type HybridConfig struct {
	Ledger *Ledger
	// Dir is an existing folder of fetched files.
	Dir string
	// Rows and MemoryBytes bound each registered query, the latter as Arrow.
	Rows, MemoryBytes int64
	// Timeout of the fetching; zero means none.
	Timeout time.Duration
	// Price in US dollars of bytes that are billed; nil where none is known.
	Price func(bytes int64) float64
}

// Hybrid fetches registered queries of a warehouse, so that a statement can join them to local tables.
type Hybrid struct {
	cfg   HybridConfig
	slots chan struct{}
}

// fetching is how many questions are fetched at once; the others wait.
const fetching = 4

// NewHybrid returns a Hybrid.
func NewHybrid(cfg HybridConfig) *Hybrid {
	return &Hybrid{cfg: cfg, slots: make(chan struct{}, fetching)}
}

// HybridQuestion is what is registered for one statement.
type HybridQuestion struct {
	// User whose budget it is.
	User       string
	Registered map[string]string // alias → SQL
	// Readable tells which tables of the warehouse the user may read; nil for one who may read all.
	Readable func(bigquery.TableRef) bool
	// MaxBytes that all parts may be billed for; zero for no bound beside the budget.
	MaxBytes int64
	// SQL joins the parts to local tables, whose keys Keys asks for: at most MaxKeys of them are sent along. NoSemiJoin sends
	// none.
	SQL        string
	Keys       Keys
	MaxKeys    int64
	NoSemiJoin bool
}

// HybridPart is one registered query, estimated.
type HybridPart struct {
	Alias, SQL string
	Tables     []bigquery.TableRef
	Columns    []catalog.Column
	// Bytes that it would process, and Reserved the most that it may be billed for.
	Bytes, Reserved int64
	Price           float64
	// Billed and Rows are known once it was fetched.
	Billed, Rows int64
	// SemiJoin is what is sent along with it.
	SemiJoin SemiJoin

	constant   bool // it reads nothing
	params     []bigquery.Param
	conditions []string
	empty      bool // no row of it can match
}

// HybridPlan is what a question would cost.
type HybridPlan struct {
	user     string
	Parts    []HybridPart // by alias
	Reserved int64
	Price    float64
}

// StandIns are the registered queries as views without rows, over which a statement can be planned.
func (p *HybridPlan) StandIns() []lake.View {
	views := make([]lake.View, len(p.Parts))
	for i, part := range p.Parts {
		views[i] = lake.View{Schema: registeredSchema, Name: part.Alias, Aliases: []string{part.Alias}, Columns: part.Columns, Remote: true}
	}
	return views
}

// Google bills whole MiB, and at least 10 of them for each table.
const (
	billedUnit  = 1 << 20
	billedLeast = 10 << 20
)

// reserveOf is the most that a query of the estimate is billed for.
func reserveOf(e bigquery.Estimate) int64 {
	least := int64(billedLeast) * int64(max(len(e.Tables), 1))
	if e.Bytes > 1<<62 {
		return e.Bytes
	}
	return max(least, (e.Bytes+billedUnit-1)/billedUnit*billedUnit)
}

// Plan looks at every registered query and has it estimated, which costs nothing and runs nothing. A query that
// cannot be estimated is refused. Errors are faults whose message begins with the alias and the type of the error.
func (h *Hybrid) Plan(ctx context.Context, w Warehouse, q HybridQuestion) (*HybridPlan, error) {
	plan := &HybridPlan{user: q.User}
	folded := map[string]bool{}
	for alias, sql := range q.Registered {
		if err := CheckAlias(alias); err != nil {
			return nil, partError(alias, typeQuery, err)
		}
		if folded[strings.ToLower(alias)] {
			return nil, partError(alias, typeQuery, fault.New(fault.Invalid, "the alias is used twice"))
		}
		folded[strings.ToLower(alias)] = true
		plan.Parts = append(plan.Parts, HybridPart{Alias: alias, SQL: sql})
	}
	slices.SortFunc(plan.Parts, func(a, b HybridPart) int { return strings.Compare(a.Alias, b.Alias) })
	for i := range plan.Parts {
		p := &plan.Parts[i]
		parsed, err := ParseRegistered(p.SQL, q.Readable != nil)
		if err != nil {
			return nil, partError(p.Alias, typeQuery, err)
		}
		p.SQL, p.constant = parsed.Text, parsed.constant
		if err := h.estimate(ctx, w, q, p); err != nil {
			return nil, err
		}
	}
	if err := h.pushdown(ctx, w, q, plan.Parts); err != nil {
		return nil, err
	}
	for _, p := range plan.Parts {
		plan.Reserved = sum(plan.Reserved, p.Reserved)
		plan.Price += p.Price
	}
	if q.MaxBytes > 0 && plan.Reserved > q.MaxBytes {
		return nil, fault.New(fault.Invalid, "Query: %s: it may be billed for %s, and max_bytes is %s", typeBudget, Size(plan.Reserved), Size(q.MaxBytes))
	}
	return plan, nil
}

func (h *Hybrid) estimate(ctx context.Context, w Warehouse, q HybridQuestion, p *HybridPart) error {
	e, err := w.DryRun(ctx, bigquery.Query{SQL: p.SQL, Params: p.params})
	if err != nil {
		return partError(p.Alias, typeRemote, dryRunError(err, q.Readable != nil))
	}
	if e.StatementType != "SELECT" {
		return partError(p.Alias, typeQuery, fault.New(fault.Invalid, "only a SELECT is registered, and BigQuery says that this is %s", e.StatementType))
	}
	if q.Readable != nil {
		if len(e.Tables) == 0 && !p.constant {
			return partError(p.Alias, typeRemote, errNotYours)
		}
		for _, t := range e.Tables {
			if !q.Readable(t) {
				return partError(p.Alias, typeRemote, errNotYours)
			}
		}
	}
	p.Tables, p.Columns, p.Bytes, p.Reserved = e.Tables, e.Columns, e.Bytes, reserveOf(e)
	if h.cfg.Price != nil {
		p.Price = h.cfg.Price(p.Reserved)
	}
	return nil
}

// errNotYours is the one answer for what is not there and for what is not granted.
var errNotYours = fault.New(fault.Invalid, "BigQuery cannot answer the query: it names a table, a column or a function that does not exist or is not granted to you")

// dryRunError tells somebody who may not read everything no more than that their syntax is wrong: BigQuery's other
// messages name tables and columns, whoever may read them.
func dryRunError(err error, restricted bool) error {
	if !restricted || strings.Contains(fault.Message(err), "Syntax error") || fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Busy) {
		return err
	}
	return fault.Wrap(err, fault.Invalid, "%s", errNotYours.Message)
}

// partError says what is wrong with a registered query, as clients know it.
func partError(alias, kind string, err error) error {
	to := fault.Invalid
	if k := fault.KindOf(err); k == fault.Unavailable && kind != typeTime || k == fault.Internal {
		to = k
	}
	return fault.Wrap(err, to, "BQ '%s': %s: %s", alias, kind, fault.Message(err))
}

// Fetched are registered queries as views of a session. Close removes their files.
type Fetched struct {
	Views []lake.View
	Plan  *HybridPlan // with what was billed
	dir   string
}

// Shadow adds the tables of one statement to those that it may read anyway: what has the name of one of them keeps its
// qualified name alone.
func Shadow(views, fetched []lake.View) []lake.View {
	for _, f := range fetched {
		for i := range views {
			views[i].Aliases = slices.DeleteFunc(slices.Clone(views[i].Aliases), func(a string) bool { return strings.EqualFold(a, f.Name) })
		}
	}
	return append(views, fetched...)
}

// Holding gives views with the files of scans in the place of the remote tables that these are of.
func Holding(views []lake.View, scans []Scan, files []string) []lake.View {
	views = slices.Clone(views)
	for i, v := range views {
		at := slices.IndexFunc(scans, func(s Scan) bool { return strings.EqualFold(s.Table, catalog.TableID(v.Schema, v.Name)) })
		if at >= 0 && v.Remote {
			views[i].Files, views[i].Fetched = []string{files[at]}, scans[at].Columns
		}
	}
	return views
}

// Dir names the folder of the files, which is of these alone.
func (f *Fetched) Dir() string { return f.dir }

// Close removes the files.
func (f *Fetched) Close() error { return os.RemoveAll(f.dir) }

// Fetch takes the plan's bytes of the budget, runs its queries side by side, each capped at what is reserved for it,
// and writes their rows into files. The end of ctx, a limit and the failure of one of them cancel all jobs.
func (h *Hybrid) Fetch(ctx context.Context, w Warehouse, plan *HybridPlan) (_ *Fetched, err error) {
	if h.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, h.cfg.Timeout, errTimeout)
		defer cancel()
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, fault.Wrap(context.Cause(ctx), fault.Unavailable, "Query: %s: too many hybrid queries are under way; try again", typeTime)
	}
	settle, err := h.cfg.Ledger.Reserve(ctx, plan.user, plan.Reserved)
	if err != nil {
		kind := fault.Invalid
		if fault.Is(err, fault.Unavailable) {
			kind = fault.Unavailable
		}
		return nil, fault.Wrap(err, kind, "Query: %s: %s", typeBudget, fault.Message(err))
	}
	dir, err := os.MkdirTemp(h.cfg.Dir, "hybrid-*")
	if err != nil {
		settle(0)
		return nil, fault.Wrap(err, fault.Unavailable, "there is no room for fetched rows at the moment")
	}
	f := &Fetched{dir: dir, Plan: plan, Views: make([]lake.View, len(plan.Parts))}
	defer func() {
		billed := int64(0)
		for _, p := range plan.Parts {
			billed = sum(billed, p.Billed)
		}
		settle(billed)
		if err != nil {
			_ = f.Close()
		}
	}()
	return f, h.fetchAll(ctx, w, f)
}

var errTimeout = fault.New(fault.Invalid, "the time for registered queries is over; their jobs are cancelled")

func (h *Hybrid) fetchAll(ctx context.Context, w Warehouse, f *Fetched) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var once sync.Once
	var first error
	for i := range f.Plan.Parts {
		all.Go(func() {
			view, err := h.fetch(ctx, w, &f.Plan.Parts[i], filepath.Join(f.dir, strconv.Itoa(i)+".parquet"))
			if err != nil {
				once.Do(func() { first = err })
				cancel(err)
				return
			}
			f.Views[i] = view
		})
	}
	all.Wait()
	return first
}

// fetch runs one query and writes its rows. Until it is known what was billed, that is what was reserved: a job
// that failed or was cancelled may be billed.
func (h *Hybrid) fetch(ctx context.Context, w Warehouse, p *HybridPart, path string) (lake.View, error) {
	if p.empty {
		return lake.View{Schema: registeredSchema, Name: p.Alias, Aliases: []string{p.Alias}, Columns: p.Columns}, nil
	}
	p.Billed = p.Reserved
	result, err := w.Run(ctx, bigquery.Query{SQL: p.SQL, Params: p.params, MaxBytesBilled: p.Reserved, Labels: map[string]string{"agnes": "hybrid"}})
	if err != nil {
		return lake.View{}, h.fetchError(ctx, p.Alias, err)
	}
	p.Billed = result.BytesBilled()
	bounded := &boundedReader{RecordReader: result.Reader(), rows: h.cfg.Rows, bytes: h.cfg.MemoryBytes}
	rows, err := copyRows(ctx, bounded, lake.ArrowCopy{Path: path, Columns: result.Columns()}, filepath.Dir(path))
	if err = errors.Join(err, result.Close()); err != nil {
		return lake.View{}, h.fetchError(ctx, p.Alias, err)
	}
	p.Rows = rows
	return lake.View{Schema: registeredSchema, Name: p.Alias, Aliases: []string{p.Alias}, Columns: result.Columns(), Files: []string{path}}, nil
}

// copyMemory bounds the DuckDB that writes fetched rows.
const copyMemory = 512 << 20

func copyRows(ctx context.Context, reader array.RecordReader, o lake.ArrowCopy, temp string) (rows int64, err error) {
	db, err := lake.Open(ctx, lake.Options{MemoryBytes: copyMemory, TempDir: temp})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return lake.CopyArrow(ctx, db, reader, o)
}

func (h *Hybrid) fetchError(ctx context.Context, alias string, err error) error {
	var limit *limitError
	switch {
	case errors.As(err, &limit):
		return fault.Wrap(err, fault.Invalid, "BQ '%s': %s: %s", alias, limit.kind, limit.Error())
	case errors.Is(context.Cause(ctx), errTimeout):
		return fault.Wrap(err, fault.Invalid, "BQ '%s': %s: %s", alias, typeTime, errTimeout.Message)
	}
	return partError(alias, typeRemote, err)
}

// limitError tells that a registered query has more than it may.
type limitError struct{ kind, message string }

func (e *limitError) Error() string { return e.message }

// boundedReader ends with an error above its limits. Nothing is counted before the query: that would be paid twice.
type boundedReader struct {
	array.RecordReader
	rows, bytes         int64
	seenRows, seenBytes int64
	err                 error
}

func (r *boundedReader) Next() bool {
	if r.err != nil || !r.RecordReader.Next() {
		return false
	}
	batch := r.RecordBatch()
	r.seenRows += batch.NumRows()
	r.seenBytes += util.TotalRecordSize(batch)
	switch {
	case r.rows >= 0 && r.seenRows > r.rows:
		r.err = &limitError{typeRows, fmt.Sprintf("the query has more than %d rows; filter or aggregate more", r.rows)}
	case r.bytes >= 0 && r.seenBytes > r.bytes:
		r.err = &limitError{typeMemory, fmt.Sprintf("the rows of the query take more than %s; select fewer columns or rows", Size(r.bytes))}
	}
	return r.err == nil
}

func (r *boundedReader) Err() error {
	if r.err != nil {
		return r.err
	}
	return r.RecordReader.Err()
}

// Use tells what the user used of the budget today.
func (h *Hybrid) Use(ctx context.Context, user string) (BudgetUse, error) {
	return h.cfg.Ledger.Use(ctx, user)
}
