package extract

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Outcomes of a table in a run.
const (
	OutcomeUpdated   = "updated"
	OutcomeUnchanged = "unchanged"
	OutcomeFailed    = "failed"    // the last good version stays
	OutcomeHeldBack  = "held_back" // the mass-drop guard: the last good version stays until `force`
	OutcomeRemoved   = "removed"   // a complete listing of the registry no longer has it
)

// The mass-drop guard holds back a table of at least guardFloor rows that would lose more than half
// of them. Smaller tables come and go as they like.
const guardFloor = 20

// Limits bound the work of a run.
type Limits struct {
	// Tables that are extracted at once; zero means 2.
	Tables int
	// MemoryBytes bounds DuckDB over all tables that are extracted at once; zero means 1 GiB.
	MemoryBytes int64
	// Threads of DuckDB per table; zero means one per core, at most 4.
	Threads int
	// Grace is how long a part stays on disk after nothing refers to it: longer than any query or
	// download. Zero means an hour; a negative one collects at once.
	Grace time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Tables <= 0 {
		l.Tables = 2
	}
	if l.MemoryBytes <= 0 {
		l.MemoryBytes = 1 << 30
	}
	if l.Threads <= 0 {
		l.Threads = min(runtime.NumCPU(), 4)
	}
	if l.Grace == 0 {
		l.Grace = time.Hour
	}
	return l
}

// RunConfig is one run of one source.
type RunConfig struct {
	Connector Connector
	Source    SourceConfig // RawDir may be empty: it is made and filled in
	// Registry is the complete listing of the source's tables. A table that is not in it disappears
	// in a run of all tables: a listing that could not be completed must not come here.
	Registry []*agnesv1.RegisteredTable
	// Tables narrows the run; empty means all. The others are left as they are (trap S1).
	Tables []string
	// Force reads everything again and publishes what the mass-drop guard would hold back.
	Force  bool
	RunIDs []string
	Limits
	// Progress is told how far the run is, from several goroutines; nil for nobody.
	Progress func(*agnesv1.ExtractProgress)
	// Step is told the name of every step that changes the disk, just before it; nil for nobody.
	Step func(step string)

	memory *memory // of Serve
	warm   *warm   // of Serve
}

// Run extracts once and publishes what changed. It is what Serve does for a request, without a bus:
// the answer is what extract.ready announces. An error means that nothing was published and what
// stood before still stands; failures of single tables are in their outcomes. Another run of the
// source, in this process or another, is fault.Busy (trap S3). A cancelled ctx leaves nothing behind.
func Run(ctx context.Context, cfg RunConfig) (*agnesv1.ExtractReady, error) {
	r, err := newRun(cfg)
	if err != nil {
		return nil, err
	}
	unlock, ok, err := lake.TryLock(filepath.Join(r.dir, lockFile))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder of the source %s cannot be locked", r.source.Name)
	}
	if !ok {
		return nil, fault.New(fault.Busy, "another run of the source %s is under way", r.source.Name).After(busyPause)
	}
	defer unlock()
	if r.scratch, err = newScratch(r.source.DataDir); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "there is no scratch space")
	}
	defer func() { _ = r.scratch.Close() }()
	ready, err := r.run(ctx)
	if err != nil {
		return nil, err
	}
	if r.memory.collects(r.Grace) {
		collect(ctx, r.source.DataDir, r.source.Name, r.scratch.Dir, r.Grace, r.Step)
	}
	return ready, nil
}

// run is one Run under way.
type run struct {
	RunConfig
	source  SourceConfig
	dir     string
	scratch *lake.Scratch
	started time.Time
	src     Source
	last    *state // what stands
	tracker *tracker
	// attached are the catalogs that remote tables may name: those that stand, until the source says.
	attached []catalog.Remote
}

func newRun(cfg RunConfig) (*run, error) {
	if cfg.Connector.Open == nil || cfg.Connector.Type == "" {
		return nil, fault.New(fault.Invalid, "the connector has no type or cannot be opened")
	}
	if err := catalog.ValidSourceName(cfg.Source.Name); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "%s", err.Error())
	}
	if cfg.Source.DataDir == "" {
		return nil, fault.New(fault.Invalid, "the source %s has no data directory", cfg.Source.Name)
	}
	cfg.Limits = cfg.withDefaults()
	if cfg.Step == nil {
		cfg.Step = func(string) {}
	}
	source, err := prepare(cfg.Source)
	if err != nil {
		return nil, err
	}
	return &run{RunConfig: cfg, source: source, dir: SourceDir(source.DataDir, source.Name), started: time.Now()}, nil
}

// prepare makes the folders of a source and fills in their names.
func prepare(cfg SourceConfig) (SourceConfig, error) {
	dataDir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return cfg, fmt.Errorf("resolve the data directory: %w", err)
	}
	cfg.DataDir = dataDir
	cfg.RawDir = filepath.Join(SourceDir(dataDir, cfg.Name), rawFolder)
	if err := os.MkdirAll(cfg.RawDir, dirMode); err != nil {
		return cfg, fault.Wrap(err, fault.Unavailable, "the folder of the source %s cannot be made", cfg.Name)
	}
	return cfg, nil
}

func (r *run) run(ctx context.Context) (*agnesv1.ExtractReady, error) {
	var unusable error
	last := r.memory.recall(r.source.DataDir, r.source.Name)
	if last == nil {
		var err error
		if last, unusable, err = loadState(ctx, r.source.DataDir, r.source.Name); err != nil {
			return nil, err
		}
	}
	if unusable != nil && len(r.Tables) > 0 && len(last.entries) == 0 {
		// Publishing a few tables over a file that cannot be read would drop all the others.
		return nil, fault.Wrap(unusable, fault.Permanent, "%s: sync all tables of the source to write it anew", fault.Message(unusable))
	}
	r.last, r.attached = last, last.remotes
	jobs, outcomes := r.plan()
	r.tracker = newTracker(r.Progress, r.source.Name, r.RunIDs, len(jobs))
	if err := r.extract(ctx, jobs); err != nil {
		return nil, err
	}
	next := r.merge(jobs, &outcomes)
	// From here on a cancelled run is finished: what is left takes milliseconds.
	if err := r.place(jobs); err != nil {
		return nil, err
	}
	changed := unusable != nil || !next.sameContent(last) || !r.stands()
	if changed || !next.sameMemory(last) {
		r.tracker.phase("publishing", "")
		r.Step("build")
		if err := publish(context.WithoutCancel(ctx), r.source.DataDir, r.source.Name, r.scratch.Dir, r.warm, next, r.Step); err != nil {
			return nil, err
		}
		r.memory.keep(r.source.DataDir, r.source.Name, next)
	}
	sort.Slice(outcomes, func(i, j int) bool { return outcomes[i].GetTable() < outcomes[j].GetTable() })
	r.tracker.phase("done", "")
	return &agnesv1.ExtractReady{
		RunIds: r.RunIDs, Source: r.source.Name, Tables: outcomes, Changed: changed,
		StartedAt: timestamppb.New(r.started), FinishedAt: timestamppb.Now(),
	}, nil
}

// place gives the parts of the tables that succeeded their names.
func (r *run) place(jobs []*job) error {
	for _, j := range jobs {
		if j.err != nil {
			continue
		}
		if err := place(j.placed, r.Step); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the parts of the table %s cannot be published: is the disk full?", j.spec.Name)
		}
	}
	return nil
}

// stands tells whether there is an extract at all: the first run publishes one even if it is empty.
func (r *run) stands() bool {
	stamp, err := StampOf(r.source.DataDir, r.source.Name)
	return err == nil && stamp != ""
}

// job is one table of a run.
type job struct {
	spec     TableSpec
	hash     string // of the definition
	last     *entry // the last good version, or a damaged one; nil for none
	err      error
	took     time.Duration
	entries  []*entry // the table and its companions, where it succeeded
	same     bool     // the connector found it unchanged
	rejected int64
	changes  []*agnesv1.SchemaChange // of its columns
	placed   []placement             // files of scratch that become parts when the run is published
	written  int
	total    int // parts, written and reused
}

// plan decides what is extracted. What cannot be is an outcome at once.
func (r *run) plan() (jobs []*job, outcomes []*agnesv1.TableOutcome) {
	wanted := map[string]bool{}
	for _, name := range r.Tables {
		wanted[name] = true
	}
	registry := append([]*agnesv1.RegisteredTable(nil), r.Registry...)
	sort.SliceStable(registry, func(i, j int) bool { return registry[i].GetName() < registry[j].GetName() })
	seen := map[string]string{}
	for _, t := range registry {
		name := t.GetName()
		inScope := len(r.Tables) == 0 || wanted[name]
		delete(wanted, name)
		spec, err := specOf(t)
		if other, dup := seen[strings.ToLower(name)]; dup && err == nil {
			err = fault.New(fault.Conflict, "the table %q cannot stand beside %q: names differ by more than case", name, other)
		}
		seen[strings.ToLower(name)] = name
		last := r.last.entries[name]
		if !inScope && (last == nil || !last.damaged) {
			continue // a damaged table is read again whenever that is possible
		}
		if err != nil {
			outcomes = append(outcomes, failed(name, last, err))
			continue
		}
		jobs = append(jobs, r.newJob(spec, last))
	}
	for name := range wanted {
		err := fault.New(fault.NotFound, "the table %q is not registered for the source %s", name, r.source.Name)
		outcomes = append(outcomes, failed(name, r.last.entries[name], err))
	}
	return jobs, outcomes
}

func (r *run) newJob(spec TableSpec, last *entry) *job {
	j := &job{spec: spec, hash: specHash(r.source, spec), last: last}
	j.spec.Force = r.Force
	if last == nil || last.damaged {
		return j
	}
	if !r.Force && last.spec == j.hash && j.hash != "" {
		j.spec.Token = last.token
	}
	j.spec.Previous = &PreviousTable{Columns: last.Columns, Rows: last.Rows, ExtractedAt: last.ExtractedAt}
	for _, p := range last.Parts {
		j.spec.Previous.Files = append(j.spec.Previous.Files, filepath.Join(r.source.DataDir, filepath.FromSlash(p.Path)))
	}
	return j
}

// extract opens the source and works on the jobs side by side. Its error is one of the whole run.
func (r *run) extract(ctx context.Context, jobs []*job) (err error) {
	if len(jobs) == 0 {
		return nil
	}
	r.src, err = r.Connector.Open(ctx, r.source)
	if err != nil {
		return fmt.Errorf("open the source %s: %w", r.source.Name, err)
	}
	defer func() {
		if cerr := r.src.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close the source %s: %w", r.source.Name, cerr)
		}
	}()
	if r.attached, err = r.remotes(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(r.Limits.Tables)
	share := r.MemoryBytes / int64(min(r.Limits.Tables, max(2, len(jobs)))) // a table alone leaves as much to what DuckDB does not count
	for i, j := range largestFirst(jobs) {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			started := time.Now()
			j.err = r.table(ctx, j, filepath.Join(r.scratch.Dir, fmt.Sprintf("table-%d", i)), share)
			j.took = time.Since(started)
			r.tracker.tableDone(j.spec.Name)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// largestFirst orders jobs by the size of what stands: the run ends soonest where what takes long does not
// begin last.
func largestFirst(jobs []*job) []*job {
	size := func(j *job) int64 {
		if j.last == nil {
			return 0
		}
		return j.last.SizeBytes
	}
	ordered := slices.Clone(jobs)
	slices.SortStableFunc(ordered, func(a, b *job) int { return cmp.Compare(size(b), size(a)) })
	return ordered
}

// table extracts one table up to its parts under their final names, in so many bytes of memory.
func (r *run) table(ctx context.Context, j *job, dir string, memory int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Wrap(fmt.Errorf("panic: %v\n%s", p, debug.Stack()), fault.Internal, "the connector crashed on this table; the log of the server has the details")
		}
	}()
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir) // the disk is for the others
		}
	}()
	run := &tableRun{
		dir:      dir,
		session:  &session{dir: dir, memory: memory, threads: r.Threads, warm: r.warm},
		progress: r.tracker.table,
	}
	clean := false // also after a panic
	defer func() { run.session.drop(clean) }()
	w := newWriter(run, j.spec)
	r.tracker.phase("started", j.spec.Name)
	err = r.src.Extract(ctx, j.spec, w)
	if errors.Is(err, ErrUnchanged) {
		if j.last == nil || j.last.damaged {
			return fault.New(fault.Internal, "the connector says that the table is unchanged, but there is no last good version")
		}
		j.same = true
		return nil
	}
	if err != nil {
		return err
	}
	if err := r.complete(ctx, j, w); err != nil {
		return err
	}
	clean = true
	return nil
}

// complete finishes the writers of a table and gives their parts their names.
func (r *run) complete(ctx context.Context, j *job, w *TableWriter) error {
	j.rejected = w.rejected
	companions := r.last.companions(j.spec.Name)
	for _, c := range append([]*TableWriter{w}, w.companions...) {
		if err := c.finish(ctx); err != nil {
			return err
		}
		last := j.last
		if c != w {
			last = companions[c.name]
		}
		e, err := r.entry(ctx, j, c, last)
		if err != nil {
			return err
		}
		if c == w {
			e.token, e.spec = w.token, j.hash
		} else {
			e.parent = j.spec.Name
		}
		j.entries = append(j.entries, e)
	}
	return nil
}

// entry makes the entry of a finished writer. A table that holds the rows it held before keeps its parts.
func (r *run) entry(ctx context.Context, j *job, w *TableWriter, last *entry) (*entry, error) {
	mode := w.spec.QueryMode
	e := &entry{Table: catalog.Table{Name: w.name, Description: w.description, QueryMode: mode, ExtractedAt: r.started.UTC().Truncate(time.Microsecond)}}
	if w.out.remote.alias != "" {
		if !slices.ContainsFunc(r.attached, func(c catalog.Remote) bool { return strings.EqualFold(c.Alias, w.out.remote.alias) }) {
			return nil, fault.New(fault.Internal, "the remote table %s lives in a catalog %q that the connector does not name", w.name, w.out.remote.alias)
		}
		e.QueryMode, e.remote, e.RemoteSQL, e.Columns = catalog.ModeRemote, w.out.remote, w.out.remote.query(), w.out.columns
		if err := j.compare(w, e.Columns, last); err != nil {
			return nil, err
		}
	} else {
		if mode == catalog.ModeRemote {
			return nil, fault.New(fault.Invalid, "the table %s is registered as remote, but the connector copies it", w.name)
		}
		if err := r.parts(ctx, j, w, e, last); err != nil {
			return nil, err
		}
	}
	e.Fingerprint = catalog.Fingerprint(e.Table)
	if last != nil && !last.damaged && last.Fingerprint == e.Fingerprint {
		e.ExtractedAt = last.ExtractedAt
	}
	return e, nil
}

func (r *run) parts(ctx context.Context, j *job, w *TableWriter, e *entry, last *entry) (err error) {
	if w.out.partwise {
		e.Columns, e.Parts, err = r.keptParts(ctx, w, last)
	} else {
		e.Columns, err = columnsOf(ctx, w.table.session.conn, "SELECT * FROM "+readParquet(w.out.files[:1]))
	}
	if err != nil {
		return err
	}
	if err := j.compare(w, e.Columns, last); err != nil {
		return err
	}
	for _, n := range w.out.rows {
		e.Rows += n
	}
	if r.held(j, w, e.Rows) {
		return &heldBack{rows: e.Rows, last: j.last.Rows}
	}
	if !w.out.partwise {
		if e.Parts, err = r.sameAsLast(ctx, w, e, last); err != nil {
			return err
		}
	}
	if e.Parts == nil || w.out.partwise {
		if err := r.freshParts(ctx, j, w, e); err != nil {
			return err
		}
	}
	j.total += len(e.Parts)
	for _, p := range e.Parts {
		e.SizeBytes += p.SizeBytes
	}
	return nil
}

// freshParts gives the files that a writer wrote their names, in their places among the parts that it keeps.
func (r *run) freshParts(ctx context.Context, j *job, w *TableWriter, e *entry) error {
	var files []string
	var rows []int64
	for i, file := range w.out.files {
		if file != "" {
			files, rows = append(files, file), append(rows, w.out.rows[i])
		}
	}
	placed, err := finished(ctx, r.source.DataDir, func(sha string) string { return partPath(r.source.Name, w.name, sha) }, files, rows)
	if err != nil {
		return err
	}
	fresh := partsOf(placed)
	if e.Parts == nil {
		e.Parts = make([]catalog.Part, len(w.out.files))
	}
	for i, file := range w.out.files {
		if file != "" {
			e.Parts[i], fresh = fresh[0], fresh[1:]
		}
	}
	for _, p := range placed {
		if p.file != "" {
			j.placed = append(j.placed, p)
			j.written++
		}
	}
	return nil
}

// held tells whether the mass-drop guard holds a table back.
func (r *run) held(j *job, w *TableWriter, rows int64) bool {
	return !r.Force && w.name == j.spec.Name && j.last != nil && j.last.Rows >= guardFloor && rows*2 < j.last.Rows
}

// sameAsLast gives the parts of the last version if it holds the same rows; nil if not. Sorted tables
// need no such look: their bytes are equal.
func (r *run) sameAsLast(ctx context.Context, w *TableWriter, e *entry, last *entry) ([]catalog.Part, error) {
	if last == nil || last.damaged || len(last.Parts) == 0 || len(w.spec.PrimaryKey) > 0 || last.Rows != e.Rows {
		return nil, nil
	}
	if fmt.Sprint(last.Columns) != fmt.Sprint(e.Columns) {
		return nil, nil
	}
	files := make([]string, len(last.Parts))
	for i, p := range last.Parts {
		files[i] = filepath.Join(r.source.DataDir, filepath.FromSlash(p.Path))
	}
	same, err := w.table.session.sameRows(ctx, files, w.out.files)
	if err != nil || !same {
		return nil, err
	}
	return last.Parts, nil
}

// heldBack is the outcome of a table that the mass-drop guard holds back.
type heldBack struct{ rows, last int64 }

func (h *heldBack) Error() string {
	return fmt.Sprintf("the table would shrink from %d to %d rows, so its last version stays; if that is right, sync it again with force", h.last, h.rows)
}

func failed(name string, last *entry, err error) *agnesv1.TableOutcome {
	o := &agnesv1.TableOutcome{Table: name, Outcome: OutcomeFailed, Error: sentence(err), ErrorKind: string(kindOf(err))}
	var held *heldBack
	if errors.As(err, &held) {
		o.Outcome, o.Error, o.ErrorKind = OutcomeHeldBack, held.Error(), string(fault.Conflict)
	}
	if last != nil {
		o.Rows, o.Bytes, o.Hash = last.Rows, last.SizeBytes, last.Fingerprint
	}
	return o
}

// kindOf is the kind of an error of a table. DuckDB's own errors about data and queries are not
// mended by trying again; being out of memory, or of disk, may be.
func kindOf(err error) fault.Kind {
	if lake.DiskFull(err) {
		return fault.Unavailable
	}
	var f *fault.Error
	if errors.As(err, &f) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.KindOf(err)
	}
	switch lake.ClassOf(err) {
	case "":
		return fault.Internal
	case lake.ClassOutOfMemory, lake.ClassIO:
		return fault.Unavailable
	case lake.ClassFatal, lake.ClassInternal:
		return fault.Internal
	}
	return fault.Invalid
}

func outcomeOf(j *job, e *entry, outcome string) *agnesv1.TableOutcome {
	return &agnesv1.TableOutcome{
		Table: e.Name, Outcome: outcome, Rows: e.Rows, Bytes: e.SizeBytes, Hash: e.Fingerprint, Duration: durationpb.New(j.took),
		RejectedRows: j.rejected, PartsWritten: int32(j.written), PartsReused: int32(j.total - j.written), //nolint:gosec // some hundreds
		SchemaChanges: j.changes,
	}
}
