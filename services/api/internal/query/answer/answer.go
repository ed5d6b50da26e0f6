// Package answer runs one statement in a locked session over what its scope holds, and writes the
// answer in the format that was asked for. It knows neither users nor connections nor processes: what
// decides when, for whom and where it runs is package query.
package answer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Config of a Runner.
type Config struct {
	// Dir is where sessions spill, a folder for each. Empty: nothing is spilled, and what needs more
	// memory fails.
	Dir string
	// MemoryBytes bounds DuckDB in one session, and TempBytes what one spills; zeros mean lake's defaults.
	MemoryBytes, TempBytes int64
	// Threads of one session; zero means one per core.
	Threads int
	// Sessions is how many stay open when nobody uses them.
	Sessions int
}

// Runner answers statements and keeps the sessions open that they need. It is safe for concurrent use.
type Runner struct{ sessions *sessions }

// New returns a runner without open sessions.
func New(cfg Config) *Runner { return &Runner{sessions: newSessions(cfg)} }

// Warm does what the first statement would wait for before it is known what that is: it opens a session
// that shows nothing yet, and where it may write, has a statement of its own answered by one that is
// closed again, so that the code of DuckDB for it is in memory.
func (r *Runner) Warm(ctx context.Context) error {
	if err := r.practise(ctx); err != nil {
		return fmt.Errorf("practise: %w", err)
	}
	return r.Prepare()
}

// Prepare opens a session that shows nothing yet for whoever needs one next, where none waits.
func (r *Runner) Prepare() error { return r.sessions.prepare() }

// practise answers a statement over a table of its own.
func (r *Runner) practise(ctx context.Context) error {
	if r.sessions.cfg.Dir == "" {
		return nil
	}
	dir := filepath.Join(r.sessions.cfg.Dir, "practice")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	part := filepath.Join(dir, "part.parquet")
	db, err := lake.Open(ctx, lake.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, "COPY (SELECT 1 AS id, 'a' AS name, 1.5::DOUBLE AS amount, DATE '2026-01-01' AS day) TO "+lake.QuoteLiteral(part)); err != nil {
		return lake.Scrub(err)
	}
	cfg := r.sessions.cfg
	cfg.Dir = dir
	other := New(cfg)
	defer other.Close()
	scope := NewScope("practice", []lake.View{{
		Schema: "practice", Name: "rows", Aliases: []string{"rows"}, Files: []string{part}, Columns: []catalog.Column{
			{Name: "id", Type: "INTEGER"}, {Name: "name", Type: "VARCHAR"}, {Name: "amount", Type: "DOUBLE"}, {Name: "day", Type: "DATE"},
		},
	}})
	for _, sql := range []string{
		"SHOW TABLES",
		"SELECT r.name, r.day, count(*) AS n, sum(r.amount) FROM practice.rows r JOIN rows s USING (id) WHERE id > 0 GROUP BY ALL ORDER BY n DESC LIMIT 10",
	} {
		if _, err := other.Run(ctx, scope, Job{SQL: sql, MediaType: TypeJSON}, func([]byte) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// Forget closes the sessions that nobody uses.
func (r *Runner) Forget() { r.sessions.forget() }

// Close closes the sessions. Statements that still run end by themselves.
func (r *Runner) Close() { r.sessions.close() }

// Open is how many sessions are open.
func (r *Runner) Open() int {
	r.sessions.mu.Lock()
	defer r.sessions.mu.Unlock()
	return len(r.sessions.open)
}

// Job is one statement and how it is answered.
type Job struct {
	SQL string
	// MediaType of the answer, one of MediaTypes.
	MediaType string
	// Rows is the most that are answered; zero or less means all.
	Rows int64
	// Bytes end an answer with the batch that exceeds them.
	Bytes int64
	// Plan asks what the statement needs of remote tables, in place of its answer: Needs, as JSON.
	Plan bool
	// Strict makes what is wrong with a statement an error of its plan, too.
	Strict bool
}

// Summary tells what was written.
type Summary struct {
	Rows int64
	// Truncated tells that rows were left off because of a limit.
	Truncated bool
}

// Run answers a job over the scope. write gets the answer in pieces and may keep none of them; an
// error of it ends the job and is returned as it is. Errors are faults with a sentence for the user,
// or a lake.Error. After an error what was written is not whole.
func (r *Runner) Run(ctx context.Context, scope *Scope, job Job, write func([]byte) error) (Summary, error) {
	if job.Plan {
		return Summary{}, r.plan(ctx, scope, job, write)
	}
	format, ok := formats[job.MediaType]
	if !ok {
		return Summary{}, fault.New(fault.Invalid, "a query is not answered as %q", job.MediaType)
	}
	if err := lake.CheckRead(job.SQL); err != nil {
		return Summary{}, err // before a session is opened
	}
	run := &running{runner: r, scope: scope, job: job, format: format, write: write}
	chosen := scope.selects(job.SQL)
	partial := len(scope.views) > 0 && (len(chosen.bound) < len(scope.views) || chosen.forms != lake.AllForms)
	err := run.answer(ctx, chosen)
	if partial && !chosen.deferred && !run.out.started && isUnknownName(err) {
		// The statement put a name together by itself, or asks for one that nobody has: look again
		// with every name, which also knows better what was meant.
		chosen.deferred, chosen.forms = true, lake.AllForms
		err = run.answer(ctx, chosen)
	}
	if partial && !run.out.started && lake.IsDeferred(err) {
		err = run.answer(ctx, scope.everything()) // it reads what it does not mention
	}
	return run.summary, err
}

// isUnknownName tells whether DuckDB did not find a name that the statement uses.
func isUnknownName(err error) bool {
	var e *lake.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Class == lake.ClassCatalog || e.Class == lake.ClassBinder && strings.Contains(e.Message, "does not exist")
}

// running is one statement under way.
type running struct {
	runner  *Runner
	scope   *Scope
	job     Job
	format  formatter
	write   func([]byte) error
	out     *sink // of the present attempt
	summary Summary
}

// deferredHold is how much of an answer waits before it is sent where views are deferred: what reads
// one of them fails, and begins again as long as nothing was sent.
const deferredHold = 8 << 20

// answer runs the statement in a session with the views and writes what it gives.
func (r *running) answer(ctx context.Context, chosen selection) error {
	r.summary, r.out = Summary{}, &sink{send: r.write, at: flushAt}
	if chosen.deferred {
		r.out.at = deferredHold
	}
	session, done, err := r.runner.sessions.take(ctx, r.scope, chosen)
	if err != nil {
		return err
	}
	var failed error
	defer func() { done(failed) }()
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	result, failed := session.Query(ctx, r.job.SQL)
	if failed != nil {
		return failed
	}
	defer result.Close()
	failed = r.send(result, quit, r.format(result, r.out))
	return failed
}

// send writes the rows up to the limits. quit ends the statement.
func (r *running) send(result *lake.Result, quit context.CancelFunc, enc encoder) error {
	defer enc.close()
	if err := enc.begin(); err != nil {
		return err
	}
	ahead := readAhead(result)
	err := r.encode(ahead.batches, enc)
	ahead.close(quit)
	if err == nil && !r.summary.Truncated {
		err = result.Err()
	}
	if err != nil {
		return err
	}
	if err := enc.end(r.summary.Rows, r.summary.Truncated); err != nil {
		return err
	}
	return r.out.flush(true)
}

// encode takes batches until they end or a limit is reached.
func (r *running) encode(batches <-chan arrow.RecordBatch, enc encoder) error {
	for batch := range batches {
		rows := batch.NumRows()
		if r.job.Rows > 0 && r.summary.Rows+rows > r.job.Rows {
			r.summary.Truncated = true
			rows = r.job.Rows - r.summary.Rows
		}
		var err error
		if rows > 0 {
			slice := batch.NewSlice(0, rows)
			err = enc.batch(slice)
			slice.Release()
		}
		batch.Release()
		if err != nil {
			return err
		}
		r.summary.Rows += rows
		if err := r.out.flush(false); err != nil {
			return err
		}
		if r.job.Bytes > 0 && r.out.total() > r.job.Bytes {
			r.summary.Truncated = true
		}
		if r.summary.Truncated {
			return nil
		}
	}
	return nil
}

// flushAt is how many bytes of an answer are gathered before they are sent, and how many are sent at
// most at once. What fails earlier is still an error with a status.
const flushAt = 256 << 10

// sink gathers bytes and sends them in pieces of flushAt.
type sink struct {
	send    func([]byte) error
	at      int // how much is gathered
	buf     []byte
	sent    int64
	started bool
}

func (s *sink) total() int64 { return s.sent + int64(len(s.buf)) }

// Write is for encoders that write by themselves.
func (s *sink) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	return len(p), s.flush(false)
}

func (s *sink) flush(all bool) error {
	if !all && len(s.buf) < s.at {
		return nil
	}
	s.started, s.at = true, flushAt
	s.sent += int64(len(s.buf))
	// A batch of long texts may be hundreds of MB: it is not sent as one, for whoever passes it on holds a piece.
	rest := s.buf
	for len(rest) > flushAt {
		if err := s.send(rest[:flushAt]); err != nil {
			return err
		}
		rest = rest[flushAt:]
	}
	err := s.send(rest)
	s.buf = s.buf[:0]
	return err
}

// discard sends nothing more.
func (s *sink) discard() { s.send, s.buf = func([]byte) error { return nil }, nil }
