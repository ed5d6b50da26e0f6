package query

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// pool keeps processes that run queries. A process has one place for its life, so that the kernel can
// hold it to that; a few wait without one, started ahead. The queue bounds how many are busy, the pool
// how many wait: the one that was unused for the longest time goes first.
type pool struct {
	cfg     Config
	log     zerolog.Logger
	scratch *lake.Scratch
	dataDir string
	starts  chan func() // what runs on the thread that the processes belong to
	quit    chan struct{}
	loops   sync.WaitGroup
	starter sync.WaitGroup

	mu        sync.Mutex
	isolation worker.Isolation
	known     worker.Report
	idle      []idler // the one used last is the last
	busy      map[*worker.Process]bool
	starting  int  // without a place, for whoever comes next
	failing   bool // the last that was started ahead did not start
	made      int  // for the names of folders
	kills     map[string]int64
	closed    bool
}

// idler is a process that waits, and since when.
type idler struct {
	*worker.Process
	since time.Time
}

const (
	// watchEvery is how often the memory of busy processes is looked at.
	watchEvery = 20 * time.Millisecond
	// tendEvery is how often idle ones are looked at.
	tendEvery = time.Second
	// restAfter is how long a process waits before it goes where there are more than Idle, and
	// leaveAfter where there are not.
	restAfter  = 30 * time.Second
	leaveAfter = 5 * time.Minute
	// heavyIdle is how much memory a process may keep while it waits; what a query took and DuckDB did
	// not give back goes with the process.
	heavyIdle = 96 << 20
	// allowance is what a process has beside DuckDB's share: Go, the encoder, the threads' stacks, and
	// what DuckDB does not count. A quarter of the share comes on top.
	allowance = 128 << 20
)

// line is how much memory one process may have.
func (c Config) line() int64 { return c.share() + c.share()/4 + allowance }

// newPool starts the first process, to learn what holds it.
func newPool(ctx context.Context, cfg Config, scratch *lake.Scratch) (*pool, error) {
	p := &pool{
		cfg: cfg, log: *zerolog.Ctx(ctx), scratch: scratch, starts: make(chan func()), quit: make(chan struct{}),
		busy: make(map[*worker.Process]bool), kills: make(map[string]int64),
	}
	var err error
	if p.dataDir, err = realPath(cfg.DataDir); err != nil {
		return nil, err
	}
	for _, parts := range []string{catalog.ExtractsDir(p.dataDir), catalog.DerivedDir(p.dataDir)} {
		if err := os.MkdirAll(parts, 0o755); err != nil { // a process can only be let into what is there at its start
			return nil, fault.Wrap(err, fault.Invalid, "cannot make the folder %s in DATA_DIR", filepath.Base(parts))
		}
	}
	p.starter.Go(p.startLoop)
	first, err := p.first()
	if err != nil {
		close(p.quit)
		p.starter.Wait()
		return nil, err
	}
	p.known = first.Report()
	event := p.log.Info()
	if len(p.known.Notes) > 0 {
		event = p.log.Warn().Strs("missing", p.known.Notes)
	}
	event.Interface("layers", p.known.Layers()).Msg("queries run in processes of their own")
	p.idle = append(p.idle, idler{first, time.Now()})
	p.loops.Go(p.watch)
	p.loops.Go(p.tend)
	return p, nil
}

func realPath(dir string) (string, error) {
	if dir == "" {
		return "", fault.New(fault.Internal, "queries in processes need the data directory")
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "cannot find DATA_DIR")
	}
	if strings.ContainsAny(abs, "*?[") {
		// DuckDB would look for it in the folders above, which the processes of queries may not read.
		return "", fault.New(fault.Invalid, "the path of DATA_DIR holds one of * ? [ : choose a folder without")
	}
	return abs, nil
}

// first tries the ways to isolate a process until one works.
func (p *pool) first() (*worker.Process, error) {
	for {
		started, err := p.start()
		if err == nil || p.isolation == worker.NotIsolated || worker.IsExhausted(err) {
			return started, err
		}
		p.isolation++
	}
}

// startLoop starts processes on one thread: the kernel ends a child with the thread that started it.
func (p *pool) startLoop() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case <-p.quit:
			return
		case start := <-p.starts:
			start()
		}
	}
}

// start starts a process and waits until it is ready.
func (p *pool) start() (*worker.Process, error) {
	p.mu.Lock()
	p.made++
	number := p.made
	p.mu.Unlock()
	o := worker.Options{
		Command: p.cfg.Worker, Answer: p.cfg.limits(), DataDir: p.dataDir, MemoryBytes: p.cfg.line(), Isolation: p.isolation,
	}
	if p.scratch != nil {
		root, err := realPath(p.scratch.Dir)
		if err != nil {
			return nil, err
		}
		o.Scratch = filepath.Join(root, strconv.Itoa(number))
		o.Answer.Dir = o.Scratch
	}
	var started *worker.Process
	var err error
	done := make(chan struct{})
	begin := func() {
		defer close(done)
		started, err = worker.Start(o)
	}
	select {
	case p.starts <- begin:
		<-done
	case <-p.quit:
		return nil, errClosed
	}
	if err == nil {
		err = started.Ready()
	}
	if err != nil {
		return nil, fmt.Errorf("queries cannot be answered: %w", err)
	}
	return started, nil
}

// notStarted is the error for whoever asked while the machine has no process, descriptor or memory left.
func notStarted(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	err = fault.Wrap(err, fault.Unavailable, "no process can be started for the query at the moment; try again")
	if errors.As(err, &known) {
		return known.After(retryAfter)
	}
	return err
}

var errClosed = fault.New(fault.Unavailable, "the server is stopping; try again in a moment")

// run answers a job in a process of the scope's place, and in another one where somebody ended the first
// before it told anything, or where it may not read what its tables have by now.
func (p *pool) run(ctx context.Context, scope *Scope, j answer.Job, write func([]byte) error) (answer.Summary, error) {
	told := false
	tell := func(piece []byte) error {
		told = true
		return write(piece)
	}
	summary, again, err := p.attempt(ctx, scope, j, tell)
	if again && !told && ctx.Err() == nil {
		summary, _, err = p.attempt(ctx, scope, j, tell)
	}
	return summary, err
}

// attempt answers a job in one process. again tells that another one may do better.
func (p *pool) attempt(ctx context.Context, scope *Scope, j answer.Job, write func([]byte) error) (summary answer.Summary, again bool, err error) {
	process, err := p.take(ctx, worker.PlaceOf(scope))
	if err != nil {
		return answer.Summary{}, false, err
	}
	summary, err = process.Run(ctx, scope, j, write)
	var died *worker.DeathError
	if errors.As(err, &died) && ctx.Err() == nil {
		p.log.Warn().Int("pid", process.Pid()).Bool("memory", died.Memory).Str("state", died.State).Str("output", died.Output).
			Msg("a process ended with its query; another takes its place")
	}
	again = died != nil && died.Outside
	switch {
	case !process.Alive():
		p.count(ctx, died)
	case errors.Is(err, worker.ErrStale):
		process.Kill()
		again = true
	}
	p.giveBack(process)
	return summary, again, err
}

// Reasons why processes end, for Engine.Kills.
const (
	killMemory    = "memory"    // it took more than it may
	killCancelled = "cancelled" // a statement went on after its time or its client was gone
	killDied      = "died"      // by itself, or by somebody else
	killIdle      = "idle"      // it had waited for long, or there were too many
)

func (p *pool) count(ctx context.Context, died *worker.DeathError) {
	reason := killDied
	switch {
	case died != nil && died.Memory:
		reason = killMemory
	case died == nil || ctx.Err() != nil:
		reason = killCancelled // without a death it was the client who could not be written to
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kills[reason]++
}

// take gives a process of the place, or one that has none yet.
func (p *pool) take(ctx context.Context, place string) (*worker.Process, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	found := p.pick(place)
	if found == nil {
		found = p.pick("")
	}
	if found != nil {
		p.busy[found] = true
		p.mu.Unlock()
		return found, nil
	}
	made := make(chan *worker.Process, 1)
	failed := make(chan error, 1)
	p.loops.Go(func() {
		process, err := p.start()
		if err != nil {
			failed <- notStarted(err)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.closed || ctx.Err() != nil {
			p.rest(process) // whoever asked is gone: somebody else will have it
			failed <- cmp.Or(context.Cause(ctx), error(errClosed))
			return
		}
		p.busy[process] = true
		made <- process
	})
	p.mu.Unlock()
	select {
	case process := <-made:
		return process, nil
	case err := <-failed:
		return nil, err
	}
}

// pick takes the idle process of the place that was used last. p.mu is held.
func (p *pool) pick(place string) *worker.Process {
	for i := len(p.idle) - 1; i >= 0; i-- {
		if w := p.idle[i].Process; w.Place() == place && w.Alive() {
			p.idle = slices.Delete(p.idle, i, i+1)
			return w
		}
	}
	return nil
}

// giveBack keeps a process for the next query, where it can have one.
func (p *pool) giveBack(w *worker.Process) {
	p.mu.Lock()
	delete(p.busy, w)
	alive := w.Alive() && !p.closed
	if alive {
		p.rest(w)
	}
	p.mu.Unlock()
	if !alive {
		w.Kill()
	}
	p.ahead()
}

// rest puts a process among the idle ones and ends those that are too many. p.mu is held.
func (p *pool) rest(w *worker.Process) {
	p.idle = append(p.idle, idler{w, time.Now()})
	most := p.cfg.Running + stallsOf(p.cfg.Running) + p.cfg.Idle
	for len(p.idle) > 0 && len(p.idle)+len(p.busy) > most {
		p.end(0)
	}
}

// end ends the idle process at a place, aside. p.mu is held.
func (p *pool) end(at int) {
	w := p.idle[at].Process
	p.kills[killIdle]++
	p.idle = slices.Delete(p.idle, at, at+1)
	p.loops.Go(w.Kill)
}

// ahead starts a process for whoever comes next, where none without a place waits.
func (p *pool) ahead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.starting > 0 || slices.ContainsFunc(p.idle, func(i idler) bool { return i.Place() == "" }) {
		return
	}
	p.starting++
	p.loops.Go(func() {
		w, err := p.start()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.starting--
		failing := p.failing
		p.failing = err != nil
		if err != nil {
			if !p.closed && !failing { // it is tried every second
				p.log.Error().Err(err).Msg("cannot start a process for queries ahead")
			}
			return
		}
		p.rest(w)
	})
}

// watch ends busy processes that take more memory than they may.
func (p *pool) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var busy []*worker.Process
	for {
		select {
		case <-p.quit:
			return
		case <-ticker.C:
		}
		busy = busy[:0]
		p.mu.Lock()
		for w := range p.busy {
			busy = append(busy, w)
		}
		p.mu.Unlock()
		for _, w := range busy {
			w.Watch()
		}
	}
}

// tend ends processes that wait for long, that hold much, or that died while they waited.
func (p *pool) tend() {
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		for i := 0; i < len(p.idle); {
			w, waited := p.idle[i], time.Since(p.idle[i].since)
			spare := w.Place() == ""
			switch {
			case !w.Alive(), !spare && waited > leaveAfter, waited > restAfter && len(p.idle) > p.cfg.Idle && !spare,
				waited > tendEvery && w.Resident() > heavyIdle:
				p.end(i)
			default:
				i++
			}
		}
		p.mu.Unlock()
		p.ahead()
	}
}

// report is what holds the processes.
func (p *pool) report() worker.Report { return p.known }

// close kills every process, whatever it does.
func (p *pool) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	ending := make([]*worker.Process, 0, len(p.idle)+len(p.busy))
	for _, i := range p.idle {
		ending = append(ending, i.Process)
	}
	for w := range p.busy {
		ending = append(ending, w)
	}
	p.idle = nil
	p.mu.Unlock()
	for _, w := range ending {
		w.Kill()
	}
	close(p.quit)
	p.loops.Wait()
	p.starter.Wait()
	p.mu.Lock() // what was being started meanwhile
	defer p.mu.Unlock()
	for _, i := range p.idle {
		i.Kill()
	}
	p.idle = nil
}
