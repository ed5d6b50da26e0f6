package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
)

// Options of a Process.
type Options struct {
	// Command is the command line of the worker: this same binary with Argument.
	Command []string
	Answer  answer.Config
	// DataDir is the only place to read from. Scratch, which is made, is the only one to write to; it
	// goes with the process. Empty: nothing is spilled.
	DataDir, Scratch string
	// MemoryBytes is the line beyond which Overdrawn is true.
	MemoryBytes int64
	Isolation   Isolation
}

// Process is a worker as the one who started it sees it: it has one job at a time.
type Process struct {
	opts   Options
	cmd    *exec.Cmd
	conn   *net.UnixConn
	report Report
	stderr tail
	ended  chan struct{} // closed when the process is gone
	ooms   int64         // when it was started

	place    atomic.Pointer[string] // what it is confined to
	bound    string                 // the fingerprint of the scope that it has
	number   uint64
	writing  sync.Mutex
	overdrew atomic.Bool // it was killed for the memory that it took
	killed   atomic.Bool // by us
	buf      []byte
}

const (
	// readyWithin is how long a worker may take to start.
	readyWithin = 20 * time.Second
	// grace is how long a job may take to end by itself once it is cancelled.
	grace = time.Second
	// beyondMemory is how much address space for data a worker has beyond MemoryBytes: what is asked of
	// the kernel and not used is no harm.
	beyondMemory = 1 << 30
	// goShare of the memory is where Go's collector begins to hurry.
	goShare = 4
)

// DeathError tells that a worker ended in the midst of a job.
type DeathError struct {
	// Memory: it took more than it may, or the machine had no more.
	Memory bool
	// Outside: somebody else ended it, whatever the job was.
	Outside bool
	// State is how the process ended, and Output the first and the last that it said; for logs.
	State, Output string
}

// Error is for logs.
func (e *DeathError) Error() string {
	if e.Memory {
		return "the query's process was ended because of its memory (" + e.State + ")"
	}
	return "the query's process ended (" + e.State + ")"
}

// IsExhausted tells whether a worker could not be started because something was short at the moment, and
// not because the kernel refuses how.
func IsExhausted(err error) bool {
	for _, short := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, os.ErrDeadlineExceeded} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

// Start starts a worker. It must be called on a thread that stays, for the worker goes with it. Ready
// waits until it can be used.
func Start(o Options) (*Process, error) {
	if o.Scratch != "" {
		if err := os.MkdirAll(o.Scratch, 0o700); err != nil {
			return nil, fmt.Errorf("start a query worker: %w", err)
		}
	}
	ours, theirs, err := pair()
	if err != nil {
		return nil, fmt.Errorf("start a query worker: %w", err)
	}
	p := &Process{opts: o, conn: ours, ended: make(chan struct{}), ooms: killedForMemory()}
	p.cmd = exec.Command(o.Command[0], o.Command[1:]...) //nolint:gosec,noctx // the service's own binary; it lives longer than any request
	p.cmd.Env = []string{
		"GOMAXPROCS=" + strconv.Itoa(max(2, o.Answer.Threads)), "GOMEMLIMIT=" + strconv.FormatInt(o.MemoryBytes/goShare, 10),
	}
	p.cmd.Dir = string(filepath.Separator)
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.Stderr = &p.stderr
	isolate(p.cmd, o.Isolation)
	err = p.cmd.Start()
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("start a query worker: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // its state tells
		if o.Scratch != "" {
			_ = os.RemoveAll(o.Scratch) // or the next sweep does
		}
		close(p.ended)
	}()
	return p, nil
}

// Ready sends the worker what it needs to know and waits until it can be used.
func (p *Process) Ready() error {
	_ = p.conn.SetDeadline(time.Now().Add(readyWithin))
	err := writeJSON(p.conn, frameSetup, setup{
		Answer: p.opts.Answer, DataDir: p.opts.DataDir, Scratch: p.opts.Scratch,
		DataBytes: p.opts.MemoryBytes + beyondMemory, Isolated: p.opts.Isolation != NotIsolated,
	})
	var kind byte
	if err == nil {
		kind, p.buf, err = readFrame(p.conn, p.buf, maxTold)
	}
	if err == nil && kind != frameReady {
		err = fmt.Errorf("it began with a frame %q", kind)
	}
	if err == nil {
		err = json.Unmarshal(p.buf, &p.report)
	}
	if err != nil {
		p.Kill()
		return fmt.Errorf("start a query worker: %w; it said: %s", err, p.stderr.text())
	}
	_ = p.conn.SetDeadline(time.Time{})
	return nil
}

// Report tells what holds the worker.
func (p *Process) Report() Report { return p.report }

// Place is that of every scope that the worker has; "" before its first job.
func (p *Process) Place() string {
	if place := p.place.Load(); place != nil {
		return *place
	}
	return ""
}

// ErrStale is of a worker that may not read what its tables have by now; another one may.
var ErrStale = errors.New("the query's process may not read the tables as they are by now")

// PlaceOf is the place of a scope; one that has none is a place of its own.
func PlaceOf(scope *answer.Scope) string { return cmp.Or(scope.Place, scope.Fingerprint) }

// Run answers a job, like answer.Runner.Run. Where ctx ends the job is interrupted, and shortly after
// that the process is killed. After an error the process may be gone: Alive tells.
func (p *Process) Run(ctx context.Context, scope *answer.Scope, j answer.Job, write func([]byte) error) (answer.Summary, error) {
	if err := p.send(scope, j); err != nil {
		return answer.Summary{}, p.death(err)
	}
	cancelled := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		p.cancel()
	})
	defer func() {
		if !unwatch() {
			<-cancelled
		}
		_ = p.conn.SetReadDeadline(time.Time{})
	}()
	var refused error // by whom the answer is written to
	for {
		kind, payload, err := readFrame(p.conn, p.buf, maxTold)
		p.buf = payload[:0]
		switch {
		case err != nil:
			err = p.death(err)
			if refused != nil {
				err = refused
			}
			return answer.Summary{}, err
		case kind == frameData && refused == nil:
			if refused = write(payload); refused != nil {
				p.cancel()
			}
		case kind == frameEnd:
			var e ending
			if err := json.Unmarshal(payload, &e); err != nil {
				return answer.Summary{}, p.death(err)
			}
			if refused != nil {
				return e.Summary, refused
			}
			if e.Stale {
				return answer.Summary{}, ErrStale
			}
			return e.Summary, e.err()
		}
	}
}

func (p *Process) send(scope *answer.Scope, j answer.Job) error {
	p.number++
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.bound != scope.Fingerprint {
		place := PlaceOf(scope)
		p.place.Store(&place)
		p.bound = scope.Fingerprint
		if err := writeJSON(p.conn, frameBind, binding{Fingerprint: scope.Fingerprint, Views: scope.Views()}); err != nil {
			return err
		}
	}
	return writeJSON(p.conn, frameJob, job{Number: p.number, Job: j})
}

// cancel asks the job to end, and gives it a little time.
func (p *Process) cancel() {
	p.writing.Lock()
	defer p.writing.Unlock()
	end := time.Now().Add(grace)
	_ = p.conn.SetWriteDeadline(end)
	_ = writeJSON(p.conn, frameCancel, p.number) // where that fails the time runs out
	_ = p.conn.SetWriteDeadline(time.Time{})
	_ = p.conn.SetReadDeadline(end)
}

// death ends what is left of the process and tells why it ended, where cause came instead of an answer.
func (p *Process) death(cause error) error {
	if errors.Is(cause, os.ErrDeadlineExceeded) || !isEnd(cause) {
		p.Kill()
	}
	select {
	case <-p.ended: // it may say something before it goes
	case <-time.After(grace):
		p.Kill()
	}
	e := &DeathError{Output: p.stderr.text(), State: p.cmd.ProcessState.String()}
	e.Memory = p.overdrew.Load() || !p.killed.Load() && killedForMemory() > p.ooms
	for _, sign := range []string{"out of memory", "bad_alloc", "annot allocate memory", "malloc failed"} {
		e.Memory = e.Memory || strings.Contains(e.Output, sign)
	}
	e.Outside = !e.Memory && !p.killed.Load() && e.State == "signal: killed"
	return e
}

// isEnd tells whether the other end of the connection went away.
func isEnd(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && !op.Timeout()
}

// Pid is that of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Resident is how much memory the process has to itself, in bytes.
func (p *Process) Resident() int64 { return residentOf(p.Pid()) }

// Watch kills the process where it takes more memory than it may.
func (p *Process) Watch() {
	if p.Resident() > p.opts.MemoryBytes {
		p.overdrew.Store(true)
		_ = p.cmd.Process.Kill()
	}
}

// Alive tells whether the process can have another job.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return !p.killed.Load() && !p.overdrew.Load()
	}
}

// Ended is closed when the process is gone, and its scratch with it.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Kill ends the process and waits until it is gone. It may be called more than once.
func (p *Process) Kill() {
	p.killed.Store(true)
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.conn.Close()
}

// tail keeps the first and the last of what a process says: a panic tells its reason first.
type tail struct {
	mu          sync.Mutex
	first, last []byte
	lost        bool
}

const tailBytes = 4 << 10

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	if room := tailBytes - len(t.first); room > 0 {
		take := min(room, n)
		t.first, b = append(t.first, b[:take]...), b[take:]
	}
	t.last = append(t.last, b...)
	if over := len(t.last) - tailBytes; over > 0 {
		t.last, t.lost = append(t.last[:0], t.last[over:]...), true
	}
	return n, nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	between := ""
	if t.lost {
		between = "\n…\n"
	}
	return strings.ToValidUTF8(string(t.first)+between+string(t.last), "")
}
