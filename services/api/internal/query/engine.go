// Package query answers SQL: each statement in a locked session over exactly what its scope holds,
// a few at once, fairly between users, within limits, and streamed in the format that was asked for.
package query

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Config of an Engine. Every zero has a meaning.
type Config struct {
	// TempRoot is where sessions spill: a folder that lake.SweepScratch sweeps. Empty: nothing is
	// spilled, and what needs more memory fails.
	TempRoot string
	// MemoryBytes bounds DuckDB over all queries that run at once; zero means a quarter of the machine's.
	MemoryBytes int64
	// TempBytes bounds what one session spills; zero means lake's default.
	TempBytes int64
	// PerUser is how many queries of one user run at once; zero means one per core.
	PerUser int
	// Running is how many queries run at once over all users; zero means three times PerUser. It is more than PerUser, so that a user whose
	// queries are heavy leaves room for others.
	Running int
	// Waiting is how many queries of one user may wait; zero means 200.
	Waiting int
	// Threads of one session; zero means one per core.
	Threads int
	// Sessions is how many sessions stay open; zero means 32.
	Sessions int
	// Timeout ends a query, counted from its arrival; zero means 5 minutes.
	Timeout time.Duration
	// WriteTimeout is how long a client may take for a piece of the answer (256 KiB); zero means a
	// minute. It needs a writer that http.ResponseController knows.
	WriteTimeout time.Duration
	// MaxBytes ends an answer; zero means 16 GiB.
	MaxBytes int64
}

func (c Config) withDefaults() Config {
	set := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = defaultMemory()
	}
	set(&c.PerUser, runtime.NumCPU())
	set(&c.Running, 3*c.PerUser)
	set(&c.Waiting, 200)
	set(&c.Threads, runtime.NumCPU())
	set(&c.Sessions, 32)
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Minute
	}
	if c.WriteTimeout <= 0 {
		c.WriteTimeout = time.Minute
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 16 << 30
	}
	return c
}

// share is what one session may use: sessions at work are at most as many as queries that run or wait
// for their clients, and idle ones hold next to nothing.
func (c Config) share() int64 { return c.MemoryBytes / int64(c.Running+stallsOf(c.Running)) }

// Engine answers queries. It is safe for concurrent use.
type Engine struct {
	cfg      Config
	queue    *queue
	sessions *sessions
	scopes   scopes
}

// New returns an engine without open sessions.
func New(cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	e := &Engine{cfg: cfg, queue: newQueue(cfg.Running, cfg.PerUser, cfg.Waiting)}
	var err error
	e.sessions, err = newSessions(cfg)
	return e, err
}

// Close closes the sessions. Queries that still run end by themselves.
func (e *Engine) Close() error { return e.sessions.close() }

// Request is one statement with who asks it and what it may reach.
type Request struct {
	// User is who the queue is fair to.
	User  string
	Scope *Scope
	SQL   string
	// MediaType of the answer, one of MediaTypes.
	MediaType string
	// Limit is the most rows that are answered; zero or less means all.
	Limit int
}

// Summary tells what was sent.
type Summary struct {
	Rows, Bytes int64
	// Truncated tells that rows were left off because of a limit.
	Truncated bool
	Duration  time.Duration
	// Waited is how much of the duration the query stood in the queue.
	Waited time.Duration
	// Tables are the qualified names of those that the statement mentions.
	Tables []string
	// Started tells that bytes were sent: an error can no longer become a status.
	Started bool
}

// Run answers one query. head is called once, before the first byte, and gives where to write. Errors
// are faults with sentences for the user. After an error with Summary.Started the answer is cut and
// must not look whole.
func (e *Engine) Run(ctx context.Context, req Request, head func() io.Writer) (Summary, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.Timeout,
		fault.New(fault.TooLarge, "the query took longer than %v, which is the limit; filter or aggregate more", e.cfg.Timeout))
	defer cancel()
	run := &running{engine: e, req: req, head: head}
	err := run.do(ctx)
	run.summary.Duration = time.Since(start)
	if err != nil {
		err = e.asFault(ctx, err)
	}
	return run.summary, err
}

// running is one query under way.
type running struct {
	engine  *Engine
	req     Request
	head    func() io.Writer
	ticket  *ticket
	summary Summary
}

func (r *running) do(ctx context.Context) error {
	format, ok := formats[r.req.MediaType]
	if !ok {
		return fault.New(fault.Invalid, "a query is not answered as %q", r.req.MediaType)
	}
	if err := lake.CheckRead(r.req.SQL); err != nil {
		return err // before it waits for anything
	}
	needed := r.req.Scope.needs(r.req.SQL)
	for _, v := range needed {
		r.summary.Tables = append(r.summary.Tables, v.Schema+"."+v.Name)
	}
	begin := time.Now()
	var err error
	r.ticket, err = r.engine.queue.enter(ctx, r.req.User)
	if err != nil {
		return err
	}
	defer r.ticket.leave()
	r.summary.Waited = time.Since(begin)
	err = r.answer(ctx, format, needed)
	if len(needed) < len(r.req.Scope.views) && !r.summary.Started && isUnknownName(err) {
		// The statement put a name together by itself, or asks for one that nobody has: look again
		// with everything, which also knows better what was meant.
		err = r.answer(ctx, format, r.req.Scope.views)
	}
	return err
}

// answer runs the statement in a session with the views and sends what it gives.
func (r *running) answer(ctx context.Context, format formatter, views []lake.View) error {
	session, done, err := r.engine.sessions.take(ctx, r.req.Scope, views)
	if err != nil {
		return err
	}
	var failed error
	defer func() { done(failed) }()
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	result, failed := session.Query(ctx, r.req.SQL)
	if failed != nil {
		return failed
	}
	defer result.Close()
	out := &sink{ctx: ctx, head: r.head, ticket: r.ticket, summary: &r.summary, patience: r.engine.cfg.WriteTimeout}
	defer out.done()
	failed = r.send(result, quit, format(result, out), out)
	return failed
}

// send writes the rows up to the limits. quit ends the statement.
func (r *running) send(result *lake.Result, quit context.CancelFunc, enc encoder, out *sink) error {
	defer enc.close()
	if err := enc.begin(); err != nil {
		return err
	}
	ahead := readAhead(result)
	err := r.encode(ahead.batches, enc, out)
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
	return out.flush(true)
}

// encode takes batches until they end or a limit is reached.
func (r *running) encode(batches <-chan arrow.RecordBatch, enc encoder, out *sink) error {
	limit := int64(r.req.Limit)
	for batch := range batches {
		rows := batch.NumRows()
		if limit > 0 && r.summary.Rows+rows > limit {
			r.summary.Truncated = true
			rows = limit - r.summary.Rows
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
		if err := out.flush(false); err != nil {
			return err
		}
		if out.total() > r.engine.cfg.MaxBytes {
			r.summary.Truncated = true
		}
		if r.summary.Truncated {
			return nil
		}
	}
	return nil
}

// errClient tells that the one who asked could not be written to.
type errClient struct{ error }

func (e errClient) Unwrap() error { return e.error }

// flushAt is how many bytes of an answer are gathered before they are sent. What fails earlier is
// still an error with a status.
const flushAt = 256 << 10

// sink gathers bytes and sends them in large pieces.
type sink struct {
	ctx      context.Context //nolint:containedctx // that of the query, for as long as it is answered
	head     func() io.Writer
	ticket   *ticket
	patience time.Duration
	to       io.Writer
	buf      []byte
	summary  *Summary
}

func (s *sink) total() int64 { return s.summary.Bytes + int64(len(s.buf)) }

// Write is for encoders that write by themselves.
func (s *sink) Write(p []byte) (int, error) {
	s.buf = append(s.buf, p...)
	return len(p), s.flush(false)
}

func (s *sink) flush(all bool) error {
	if !all && len(s.buf) < flushAt {
		return nil
	}
	if s.to == nil {
		s.summary.Started = true
		s.to = s.head()
	}
	end := time.Now().Add(s.patience)
	if limit, ok := s.ctx.Deadline(); ok && limit.Before(end) {
		end = limit
	}
	s.deadline(end)
	var n int
	var err error
	s.ticket.wait(func() { n, err = s.to.Write(s.buf) })
	s.summary.Bytes += int64(n)
	s.buf = s.buf[:0]
	if err != nil {
		return errClient{err}
	}
	return nil
}

// deadline bounds what is written to a connection, where the writer is one.
func (s *sink) deadline(t time.Time) {
	if w, ok := s.to.(http.ResponseWriter); ok {
		_ = http.NewResponseController(w).SetWriteDeadline(t) // a writer that has none is a test's
	}
}

// done leaves the connection as it was, for what follows.
func (s *sink) done() { s.deadline(time.Time{}) }

// isClient tells whether the client went away.
func isClient(err error) bool {
	var gone errClient
	return errors.As(err, &gone)
}
