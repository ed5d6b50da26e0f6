package audit

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"io/fs"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// points walks along the checkpoints while the verifier walks along the records.
type points struct {
	v     *verifier
	key   ed25519.PublicKey
	file  fs.File
	lines *Lines
	n     int64 // of the line
	skip  int64 // lines before the base, where a removal was interrupted
	prev  string
	seq   int64 // that of the checkpoint before
	last  int64 // see newest
	next  *Checkpoint
	err   error
}

func openPoints(v *verifier, key ed25519.PublicKey) (*points, error) {
	p := &points{v: v, key: key, prev: ZeroHash}
	if v.base != nil {
		p.prev, p.seq = v.base.Prev, v.base.Seq
		v.report.Signed, v.report.SignedTime = v.base.Head(), v.base.Time.Time
	}
	if err := p.open(p.survey); err != nil {
		return nil, err
	}
	var stood int64
	if p.lines != nil {
		stood = p.lines.Offset()
	}
	p.close()
	// Where records are written meanwhile, a checkpoint that came after the survey may be for one that is not read.
	if err := p.open(func() error {
		if !v.o.Closed {
			p.lines = NewLines(io.LimitReader(p.file, stood))
		}
		return nil
	}); err != nil {
		return nil, err
	}
	p.advance()
	return p, nil
}

// open begins to read the file; a missing one has no lines.
func (p *points) open(then func() error) error {
	var err error
	p.file, err = p.v.fsys.Open(CheckpointsFile)
	if errors.Is(err, fs.ErrNotExist) {
		p.file, p.lines = nil, nil
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be read", CheckpointsFile)
	}
	p.lines = NewLines(p.file)
	return then()
}

func (p *points) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
}

// survey looks for the newest checkpoint, and for the one that the base stands in for.
func (p *points) survey() error {
	for n := int64(1); p.lines.Next(); n++ {
		var c struct {
			Seq int64 `json:"seq"`
		}
		if json.Unmarshal(p.lines.Line(), &c) == nil {
			p.last = max(p.last, c.Seq)
		}
		if p.v.base != nil && LineHash(p.lines.Line()) == p.v.base.Prev {
			p.skip = n
		}
	}
	return nil
}

// newest is the number of the last record that any checkpoint speaks of, its signature unseen.
func (p *points) newest() int64 { return p.last }

// advance finds the next checkpoint that is right and tells of those that are not.
func (p *points) advance() {
	p.next = nil
	for p.lines != nil && p.lines.Next() {
		p.n++
		if p.n <= p.skip {
			continue
		}
		line := p.lines.Line()
		c, err := ReadCheckpoint(line, p.key)
		prev, seq := p.prev, p.seq
		p.prev = LineHash(line)
		what := ""
		switch {
		case err != nil:
			what = "the checkpoint is not right: " + fault.Message(err)
		case c.Kind != KindCheckpoint:
			what = "this is no checkpoint of the chain"
		case c.Prev != prev:
			what = "the checkpoint does not follow the one before it: one is missing, was inserted or changed"
		case c.Seq <= seq:
			what = "the checkpoint does not reach beyond the one before it"
		case c.Records != c.Seq-seq:
			what = "the checkpoint does not count the records since the one before it"
		}
		if what != "" {
			p.v.problem(Problem{Kind: ProblemCheckpoint, Seq: c.Seq, File: CheckpointsFile, Line: p.n, What: what})
		}
		if err != nil {
			continue
		}
		p.seq = max(seq, c.Seq)
		p.v.report.Checkpoints++
		if c.Seq > seq {
			p.next = &c
			return
		}
	}
	if p.lines != nil {
		p.err = p.lines.Err()
	}
}

// pass compares the record that was read with the checkpoint for it.
func (p *points) pass(h Head, file string, line int64) {
	for p.next != nil && p.next.Seq < h.Seq {
		p.v.problem(Problem{Kind: ProblemTruncated, Seq: p.next.Seq, File: file, Line: line, What: "record " + itoa(p.next.Seq) + ", which a checkpoint vouches for, is missing"})
		p.advance()
	}
	if p.next == nil || p.next.Seq != h.Seq {
		return
	}
	if p.next.Hash != h.Hash {
		p.v.problem(Problem{Kind: ProblemRewritten, Seq: h.Seq, File: file, Line: line, What: "the record has another hash than its checkpoint vouches for"})
	}
	p.v.report.Signed, p.v.report.SignedTime = p.next.Head(), p.next.Time.Time
	p.advance()
}

// end tells of checkpoints beyond the last record.
func (p *points) end(h Head) error {
	if p.next != nil {
		at := p.next.Seq
		for p.next != nil {
			at = p.next.Seq
			p.advance()
		}
		p.v.problem(Problem{Kind: ProblemTruncated, Seq: h.Seq + 1, What: "the record ends with " + itoa(h.Seq) + ", but a checkpoint vouches for " + itoa(at)})
	}
	switch {
	case p.err == nil:
	case errors.Is(p.err, io.ErrUnexpectedEOF):
		if p.v.o.Closed {
			p.v.problem(Problem{Kind: ProblemCheckpoint, File: CheckpointsFile, Line: p.n + 1, What: "the last checkpoint is cut off"})
		}
	case errors.Is(p.err, errLongLine):
		p.v.problem(Problem{Kind: ProblemCheckpoint, File: CheckpointsFile, Line: p.n + 1, What: "the line is longer than a checkpoint can be"})
	default:
		return fault.Wrap(p.err, fault.Unavailable, "%s cannot be read", CheckpointsFile)
	}
	return nil
}
