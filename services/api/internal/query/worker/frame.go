package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/answer"
)

// A frame is one byte for its kind, four for the length of what follows (little endian), and that.
// The two ends are one binary, so that what is in a frame needs no version.
const (
	// To the worker.
	frameSetup  = 'S' // setup, first and once
	frameBind   = 'B' // binding, before the first job and where that changes
	frameJob    = 'J' // job
	frameCancel = 'C' // the job's number
	frameProbe  = 'P' // tests only
	// From the worker.
	frameReady = 'R' // Report, after the setup
	frameData  = 'D' // a piece of the answer
	frameEnd   = 'E' // ending, after every job
)

const (
	frameHead = 5
	// maxTold and maxAsked bound a frame from the worker, which somebody may have taken over, and to it,
	// which names every part of every table.
	maxTold, maxAsked = 4 << 20, 1 << 30
)

type setup struct {
	Answer answer.Config
	// DataDir and Scratch are real paths: what may be read of, and the folder that may be written.
	DataDir, Scratch string
	// DataBytes bounds the memory that the process may ask the kernel for; zero does not.
	DataBytes int64
	// Isolated tells that the process has a network of its own, with nothing in it.
	Isolated bool
}

type binding struct {
	Fingerprint string
	Views       []lake.View
}

type job struct {
	Number uint64
	Job    answer.Job
}

// ending tells how a job ended. Of Kind and Class at most one is set: that of a fault, or that of an
// error of DuckDB's.
type ending struct {
	Summary answer.Summary
	Failed  bool `json:",omitempty"`
	// Stale tells that the worker may not read what it was asked about: another one may.
	Stale   bool `json:",omitempty"`
	Kind    fault.Kind
	Class   string
	Message string
	Excerpt string
	Cause   string // of a fault, for the log
}

func endingOf(s answer.Summary, err error) ending {
	e := ending{Summary: s, Failed: err != nil}
	var known *fault.Error
	var duck *lake.Error
	switch {
	case err == nil:
	case errors.As(err, &known):
		e.Kind, e.Message, e.Cause = fault.KindOf(err), fault.Message(err), lake.Scrub(err).Error()
	case errors.As(err, &duck):
		e.Class, e.Message, e.Excerpt = duck.Class, duck.Message, duck.Excerpt
	default:
		e.Message = lake.Scrub(err).Error()
	}
	return e
}

func (e ending) err() error {
	switch {
	case !e.Failed:
		return nil
	case e.Kind != "":
		return fault.Wrap(errors.New(e.Cause), e.Kind, "%s", e.Message)
	}
	return &lake.Error{Class: e.Class, Message: e.Message, Excerpt: e.Excerpt}
}

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	var head [frameHead]byte
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(payload))) //nolint:gosec // far below
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(payload)
	return err
}

func writeJSON(w io.Writer, kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write a frame: %w", err)
	}
	return writeFrame(w, kind, payload)
}

// readFrame reads a frame of at most that length into buf, which grows as it must.
func readFrame(r io.Reader, buf []byte, most int) (kind byte, payload []byte, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, buf, err
	}
	n := int(binary.LittleEndian.Uint32(head[1:]))
	if n > most {
		return 0, buf, fmt.Errorf("a frame of %d bytes", n)
	}
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(r, buf)
	return head[0], buf, err
}
