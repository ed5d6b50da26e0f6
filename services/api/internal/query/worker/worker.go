// Package worker is a process that answers one statement at a time, so that a statement can be ended
// whatever it does, by killing the process, and harms nobody else. Main is what the process runs;
// Process is the other end, in the service that starts it. Before it is given anything of a user, the
// process gives up whatever it does not need: see giveUp.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
)

// Argument of the binary that makes it a worker.
const Argument = "query-worker"

// connection is the descriptor that a worker is started with, after the three that every process has.
const connection = 3

// Main is what the process does, for as long as the one who started it lives. It gives an exit code.
func Main(stderr io.Writer) int { return run(stderr, nil) }

// run is Main. probe answers what tests ask for below SQL; it is nil in every binary.
func run(stderr io.Writer, probe func(string) string) int {
	// What a terminal sends to all of its processes is for the service, which ends its workers.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	conn := os.NewFile(connection, "connection")
	if info, err := conn.Stat(); err != nil || info.Mode()&os.ModeSocket == 0 {
		_, _ = fmt.Fprintln(stderr, Argument+" is started by the api, and does nothing by itself")
		return 2
	}
	s := &server{in: conn, out: conn, probe: probe, jobs: make(chan work, 1)}
	err := s.begin()
	if err == nil {
		go s.listen()
		err = s.work()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		_, _ = fmt.Fprintln(stderr, "query worker:", err)
		return 1
	}
	return 0
}

// server is a worker at work.
type server struct {
	in     io.Reader
	out    io.Writer
	probe  func(string) string
	setup  setup
	runner *answer.Runner
	scope  *answer.Scope
	place  string // of every scope
	stale  bool   // it may not read what its tables have by now
	jobs   chan work

	mu     sync.Mutex
	number uint64 // of the job that cancel is for
	cancel context.CancelFunc
}

// work is what the listener found for the worker.
type work struct {
	kind    byte
	payload []byte
	ctx     context.Context //nolint:containedctx // that of one job, made where its cancelling is heard
	job     job
	err     error
}

// begin reads the setup, locks the process in, and tells what holds.
func (s *server) begin() error {
	kind, payload, err := readFrame(s.in, nil, maxAsked)
	if err != nil {
		return err
	}
	if kind != frameSetup {
		return fmt.Errorf("began with a frame %q", kind)
	}
	if err := json.Unmarshal(payload, &s.setup); err != nil {
		return fmt.Errorf("read the setup: %w", err)
	}
	// DuckDB opens its parser now, so that the first statement need not wait for it.
	if err := lake.CheckRead("SELECT 1"); err != nil {
		return err
	}
	report := giveUp(s.setup)
	// Opening DuckDB takes longer than all else that the first statement waits for.
	s.runner = answer.New(s.setup.Answer)
	if err := s.runner.Warm(context.Background()); err != nil {
		return err
	}
	return writeJSON(s.out, frameReady, report)
}

// listen reads what comes, also while a job runs.
func (s *server) listen() {
	for {
		w := s.next()
		if w.kind == frameCancel {
			continue
		}
		s.jobs <- w
		if w.err != nil {
			s.stop(0)
			return
		}
	}
}

func (s *server) next() work {
	kind, payload, err := readFrame(s.in, nil, maxAsked)
	w := work{kind: kind, payload: payload, err: err}
	if err != nil {
		return w
	}
	switch kind {
	case frameJob:
		if w.err = json.Unmarshal(payload, &w.job); w.err != nil {
			return w
		}
		var cancel context.CancelFunc
		w.ctx, cancel = context.WithCancel(context.Background())
		s.mu.Lock()
		s.number, s.cancel = w.job.Number, cancel
		s.mu.Unlock()
	case frameCancel:
		var number uint64
		if w.err = json.Unmarshal(payload, &number); w.err == nil {
			s.stop(number)
		}
	}
	return w
}

// stop cancels the job of that number; 0 is whichever runs.
func (s *server) stop(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil && (number == 0 || number == s.number) {
		s.cancel()
	}
}

// restAfter is how long a worker has nothing to do before it gives memory back and gets ready for a
// session over other tables.
const restAfter = 500 * time.Millisecond

// work does what comes, one after the other, until the other end is gone.
func (s *server) work() error {
	rested := true
	for {
		var rest <-chan time.Time
		if !rested {
			rest = time.After(restAfter)
		}
		select {
		case <-rest:
			if err := s.runner.Prepare(); err != nil {
				return err
			}
			debug.FreeOSMemory()
			rested = true
		case w := <-s.jobs:
			if w.err != nil {
				return w.err
			}
			if err := s.do(w); err != nil {
				return err
			}
			rested = false
		}
	}
}

func (s *server) do(w work) error {
	switch w.kind {
	case frameBind:
		return s.bind(w.payload)
	case frameJob:
		defer s.stop(w.job.Number)
		if s.scope == nil {
			return errors.New("a job came before its scope")
		}
		if s.stale {
			return writeJSON(s.out, frameEnd, ending{Stale: true})
		}
		var lost error
		summary, err := s.runner.Run(w.ctx, s.scope, w.job.Job, func(piece []byte) error {
			lost = writeFrame(s.out, frameData, piece)
			return lost
		})
		if lost != nil {
			return lost
		}
		return writeJSON(s.out, frameEnd, endingOf(summary, err))
	case frameProbe:
		if s.probe != nil {
			return writeFrame(s.out, frameData, []byte(s.probe(string(w.payload))))
		}
	}
	return fmt.Errorf("a frame %q is not known", w.kind)
}

// bind gives the worker the scope, or a later version of it: what the process may reach stays the same
// for its life.
func (s *server) bind(payload []byte) error {
	var b binding
	if err := json.Unmarshal(payload, &b); err != nil {
		return fmt.Errorf("read the scope: %w", err)
	}
	place := Place(s.setup.DataDir, b.Views)
	first := s.scope == nil
	if !first && place != s.place {
		return errors.New("bound to another place")
	}
	s.scope, s.place = answer.NewScope(b.Fingerprint, b.Views), place
	if first {
		return narrow(s.setup, b.Views)
	}
	s.runner.Forget() // nobody asks for earlier versions here any more
	s.stale = !readable(b.Views)
	return nil
}

// readable tells whether the parts of tables can be opened: a folder that was removed and came back is not
// the one that the worker was let into.
func readable(views []lake.View) bool {
	for _, v := range views {
		if len(v.Files) == 0 {
			continue
		}
		f, err := os.Open(v.Files[len(v.Files)-1])
		if err != nil {
			return false
		}
		_ = f.Close()
	}
	return true
}
