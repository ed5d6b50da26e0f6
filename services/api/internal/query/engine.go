// Package query answers SQL: each statement in a locked session over exactly what its scope holds, in
// a process of its own that can be killed, a few at once, fairly between users, within limits, and
// streamed in the format that was asked for.
package query

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// Config of an Engine. Every zero has a meaning.
type Config struct {
	// Worker is the command line of a process that runs queries (worker.Main): this same binary with an
	// argument. Empty: queries run in this process, where nothing but DuckDB's own limits holds them.
	Worker []string
	// DataDir is what processes may read of: the folders of granted tables below its extracts folder.
	DataDir string
	// Idle is how many processes wait for work; zero means two.
	Idle int
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
	// Sessions is how many sessions stay open in this process, and in each of the others; zero means 32
	// and 8.
	Sessions int
	// Timeout ends a query, counted from its arrival; zero means 5 minutes.
	Timeout time.Duration
	// WriteTimeout is how long a client may take for a piece of the answer (256 KiB); zero means a
	// minute. It needs a writer that http.ResponseController knows.
	WriteTimeout time.Duration
	// MaxBytes ends an answer; zero means 16 GiB.
	MaxBytes int64
}

// fetching is how many statements fetch remote tables at once, of all users and of one.
const fetching, fetchingPerUser = 8, 3

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
	if len(c.Worker) > 0 {
		set(&c.Sessions, 8)
	}
	set(&c.Sessions, 32)
	set(&c.Idle, 2)
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

// limits of one session.
func (c Config) limits() answer.Config {
	return answer.Config{MemoryBytes: c.share(), TempBytes: c.TempBytes, Threads: c.Threads, Sessions: c.Sessions}
}

// share is what one session may use: sessions at work are at most as many as queries that run or wait
// for their clients, and idle ones hold next to nothing.
func (c Config) share() int64 { return c.MemoryBytes / int64(c.Running+stallsOf(c.Running)) }

// Engine answers queries. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	queue   *queue
	fetches *queue // of remote tables
	scratch *lake.Scratch
	scopes  scopes
	local   *answer.Runner // where queries run in this process, or
	pool    *pool          // where they run in others
}

// New returns an engine. Where queries run in processes, it returns when the first of them is ready.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	e := &Engine{cfg: cfg, queue: newQueue(cfg.Running, cfg.PerUser, cfg.Waiting), fetches: newQueue(fetching, fetchingPerUser, cfg.Waiting)}
	var err error
	if cfg.TempRoot != "" {
		if e.scratch, err = lake.NewScratch(cfg.TempRoot, "query"); err != nil {
			return nil, err
		}
	}
	if len(cfg.Worker) > 0 {
		e.pool, err = newPool(ctx, cfg, e.scratch)
	} else {
		zerolog.Ctx(ctx).Warn().Msg("queries run in this process: one that takes more memory than it may can end the whole service")
		e.local = answer.New(e.inProcess())
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// inProcess configures what runs queries without a process for each.
func (e *Engine) inProcess() answer.Config {
	c := e.cfg.limits()
	// In use are at most as many as run or stall; beyond those there must be one that can go.
	c.Sessions = max(e.cfg.Sessions, e.cfg.Running+stallsOf(e.cfg.Running)+1)
	if e.scratch != nil {
		c.Dir = e.scratch.Dir
	}
	return c
}

// Close ends the processes, or closes the sessions. In this process, queries that still run end by
// themselves.
func (e *Engine) Close() error {
	if e.local != nil {
		e.local.Close()
	}
	if e.pool != nil {
		e.pool.close()
	}
	if e.scratch == nil {
		return nil
	}
	return e.scratch.Close()
}

// Confinement tells which layers hold the processes of queries; without processes there are none.
func (e *Engine) Confinement() map[string]bool {
	if e.pool == nil {
		return (worker.Report{}).Layers()
	}
	return e.pool.report().Layers()
}

// DataDir is where the parts are as the processes see them: absolute and without symbolic links.
func (e *Engine) DataDir() string {
	if e.pool == nil {
		return e.cfg.DataDir
	}
	return e.pool.dataDir
}

// Processes is how many processes of queries there are, at work and waiting.
func (e *Engine) Processes() int {
	if e.pool == nil {
		return 0
	}
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	return len(e.pool.busy) + len(e.pool.idle)
}

// Kills tells how many processes ended so far, by reason.
func (e *Engine) Kills() map[string]int64 {
	counts := map[string]int64{killMemory: 0, killCancelled: 0, killDied: 0, killIdle: 0}
	if e.pool != nil {
		e.pool.mu.Lock()
		defer e.pool.mu.Unlock()
		maps.Copy(counts, e.pool.kills)
	}
	return counts
}

// Request is one statement with who asks it and what it may reach.
type Request struct {
	// User is who the queue is fair to.
	User  string
	Scope *Scope
	SQL   string
	// MediaType of the answer, one of answer.MediaTypes.
	MediaType string
	// Limit is the most rows that are answered; zero or less means all.
	Limit int
	// Remote fetches what the statement needs of remote tables; nil where there are none to be asked.
	Remote Remote
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
	to      io.Writer
	summary Summary
}

func (r *running) do(ctx context.Context) error {
	r.summary.Tables = r.req.Scope.Tables(r.req.SQL)
	if at := r.req.Scope.Remote(r.req.SQL); len(at) > 0 && r.req.Remote != nil {
		return r.remote(ctx, at)
	}
	return r.answer(ctx, r.req.Scope)
}

// answer runs the statement over the scope and delivers what it gives.
func (r *running) answer(ctx context.Context, scope *Scope) error {
	defer r.settle()
	job := answer.Job{SQL: r.req.SQL, MediaType: r.req.MediaType, Rows: int64(r.req.Limit), Bytes: r.engine.cfg.MaxBytes}
	done, err := r.admitted(ctx, scope, job, func(piece []byte) error { return r.deliver(ctx, piece) })
	r.summary.Rows, r.summary.Truncated = done.Rows, done.Truncated
	return err
}

// admitted waits for its turn and runs a job.
func (r *running) admitted(ctx context.Context, scope *Scope, job answer.Job, write func([]byte) error) (answer.Summary, error) {
	begin := time.Now()
	var err error
	r.ticket, err = r.engine.queue.enter(ctx, r.req.User)
	if err != nil {
		return answer.Summary{}, err
	}
	defer r.ticket.leave()
	r.summary.Waited += time.Since(begin)
	if r.engine.local != nil {
		return r.engine.local.Run(ctx, scope, job, write)
	}
	return r.engine.pool.run(ctx, scope, job, write)
}

// errClient tells that the one who asked could not be written to.
type errClient struct{ error }

func (e errClient) Unwrap() error { return e.error }

// leastWrite is how long a piece may take at least, however soon the query's time is over.
const leastWrite = time.Second

// deliver writes a piece of the answer to the one who asked, within the time that it may take.
func (r *running) deliver(ctx context.Context, piece []byte) error {
	if r.to == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx) // while it can still become a status
		}
		r.summary.Started = true
		r.to = r.head()
	}
	now := time.Now()
	end := now.Add(r.engine.cfg.WriteTimeout)
	if limit, ok := ctx.Deadline(); ok && limit.Before(end) {
		end = limit
		if least := now.Add(leastWrite); end.Before(least) {
			end = least // a piece that is there goes out whole
		}
	}
	r.deadline(end)
	var n int
	var err error
	r.ticket.wait(func() { n, err = r.to.Write(piece) })
	r.summary.Bytes += int64(n)
	if err != nil {
		return errClient{err}
	}
	return nil
}

// deadline bounds what is written to a connection, where the writer is one.
func (r *running) deadline(t time.Time) {
	if w, ok := r.to.(http.ResponseWriter); ok {
		_ = http.NewResponseController(w).SetWriteDeadline(t) // a writer that has none is a test's
	}
}

// settle leaves the connection as it was, for what follows.
func (r *running) settle() { r.deadline(time.Time{}) }

// isClient tells whether the client went away.
func isClient(err error) bool {
	var gone errClient
	return errors.As(err, &gone)
}
