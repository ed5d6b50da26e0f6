package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Options of a verification. The zero value checks the record against itself and the public key that
// lies beside it; whoever can write to the folder and has a key of their own passes that.
type Options struct {
	// PublicKey is the key that the checkpoints must be signed by, from a place that is not the folder.
	PublicKey ed25519.PublicKey
	// Expect is the head of a checkpoint that was seen before: the record must still hold it.
	Expect *Head
	// Closed says that nothing is being written: the last record must have a checkpoint. An archive is
	// closed always.
	Closed bool
}

// What a Problem is.
const (
	ProblemEdited     = "edited"     // a record does not have the hash that it claims
	ProblemOrder      = "order"      // records are missing, inserted, doubled or moved: the numbers or hashes do not follow
	ProblemFormat     = "format"     // a line is no record, or no checkpoint
	ProblemSegment    = "segment"    // a segment is missing, or has the wrong name
	ProblemTruncated  = "truncated"  // the record ends before what a checkpoint or the expected head vouches for
	ProblemRewritten  = "rewritten"  // a record has another hash than a checkpoint or the expected head vouches for
	ProblemCheckpoint = "checkpoint" // a checkpoint was edited, removed or forged
	ProblemKey        = "key"        // the public key is missing, broken, or not the expected one
	ProblemUnsigned   = "unsigned"   // the last records have no checkpoint, though nothing is being written
)

// Problem is one thing that is wrong, and where.
type Problem struct {
	Kind string `json:"kind"`
	// Seq is the number of the record; 0 where it is about none.
	Seq  int64  `json:"seq,omitempty"`
	File string `json:"file,omitempty"`
	// Line counts from 1; 0 where it is about the whole file.
	Line int64  `json:"line,omitempty"`
	What string `json:"what"`
}

// maxProblems is how many a Report lists.
const maxProblems = 100

// Report is what a verification found.
type Report struct {
	OK        bool      `json:"ok"`
	Records   int64     `json:"records"`
	FirstSeq  int64     `json:"first_seq"`
	LastSeq   int64     `json:"last_seq"`
	LastHash  string    `json:"last_hash"`
	FirstTime time.Time `json:"first_time"`
	LastTime  time.Time `json:"last_time"`
	Segments  int       `json:"segments"`
	// Checkpoints counts those whose signature is right. Signed is the head of the newest.
	Checkpoints int64     `json:"checkpoints"`
	Signed      Head      `json:"signed"`
	SignedTime  time.Time `json:"signed_time"`
	// Unsigned is how many records came after the newest checkpoint.
	Unsigned int64 `json:"unsigned"`
	// Base is the last record that was removed because of its age; 0 for none.
	Base int64 `json:"base,omitempty"`
	// Key is the id of the public key; KeyPinned tells that it came from the one who asks.
	Key       string `json:"key"`
	KeyPinned bool   `json:"key_pinned"`
	// ExpectTooOld tells that the expected head was removed because of its age and could not be checked.
	ExpectTooOld bool `json:"expect_too_old,omitempty"`
	// Problems are the first that were found; MoreProblems counts the others.
	Problems     []Problem `json:"problems"`
	MoreProblems int64     `json:"more_problems,omitempty"`
}

// VerifyDir verifies the record in a folder, such as DATA_DIR/state/audit. See Verify.
func VerifyDir(ctx context.Context, dir string, o Options) (Report, error) {
	if _, err := os.Stat(dir); err != nil {
		return Report{}, fault.Wrap(err, fault.NotFound, "there is no record in %s", dir)
	}
	return Verify(ctx, os.DirFS(dir), o)
}

// Verify reads a record once, in bounded memory, and says everything that is wrong with it. The error
// is about reading only; a record that is not whole gives a Report that is not OK.
func Verify(ctx context.Context, fsys fs.FS, o Options) (Report, error) {
	v := &verifier{ctx: ctx, fsys: fsys, o: o, report: Report{Problems: []Problem{}}}
	err := v.run()
	v.report.OK = err == nil && len(v.report.Problems) == 0
	return v.report, err
}

type verifier struct {
	ctx    context.Context //nolint:containedctx // that of the one verification it makes
	fsys   fs.FS
	o      Options
	report Report

	head   Head // of the chain as read so far
	base   *Checkpoint
	points *points
	met    bool // the expected head was met
}

func (v *verifier) problem(p Problem) {
	if len(v.report.Problems) >= maxProblems {
		v.report.MoreProblems++
		return
	}
	v.report.Problems = append(v.report.Problems, p)
}

func (v *verifier) run() error {
	key, err := v.key()
	if err != nil {
		return err
	}
	v.report.Key = KeyID(key)
	if err := v.readBase(key); err != nil {
		return err
	}
	v.head = Head{Hash: ZeroHash}
	if v.base != nil {
		v.head, v.report.Base = v.base.Head(), v.base.Seq
		v.expect(v.head, BaseFile, 1)
	}
	if v.points, err = openPoints(v, key); err != nil {
		return err
	}
	defer v.points.close()
	segments, err := v.segments()
	if err != nil {
		return err
	}
	for i, first := range segments {
		if err := v.segment(first, i == len(segments)-1); err != nil {
			return err
		}
	}
	return v.end()
}

// key finds the public key. Where none can be had, every signature is wrong.
func (v *verifier) key() (ed25519.PublicKey, error) {
	nobody := make(ed25519.PublicKey, ed25519.PublicKeySize)
	raw, err := fs.ReadFile(v.fsys, PublicKeyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.Unavailable, "%s cannot be read", PublicKeyFile)
	}
	beside, broken := ParsePublicKey(string(raw))
	switch {
	case err != nil:
		v.problem(Problem{Kind: ProblemKey, File: PublicKeyFile, What: "the public key is missing"})
	case broken != nil || FormatPublicKey(beside) != string(raw):
		v.problem(Problem{Kind: ProblemKey, File: PublicKeyFile, What: "this is not the public key as it was written"})
	case v.o.PublicKey != nil && !v.o.PublicKey.Equal(beside):
		v.problem(Problem{Kind: ProblemKey, File: PublicKeyFile, What: "the key beside the record is not the expected one"})
	}
	if v.o.PublicKey != nil {
		v.report.KeyPinned = true
		return v.o.PublicKey, nil
	}
	if beside == nil {
		return nobody, nil
	}
	return beside, nil
}

func (v *verifier) readBase(key ed25519.PublicKey) error {
	raw, err := fs.ReadFile(v.fsys, BaseFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be read", BaseFile)
	}
	line, whole := cutNewline(raw)
	c, err := ReadCheckpoint(line, key)
	if err == nil && (!whole || c.Kind != KindBase || c.Seq < 1) {
		err = fault.New(fault.Invalid, "this is no base")
	}
	if err != nil {
		v.problem(Problem{Kind: ProblemCheckpoint, File: BaseFile, Line: 1, Seq: c.Seq, What: "the base of the record: " + fault.Message(err)})
		return nil
	}
	v.base = &c
	return nil
}

// segments lists the first numbers of the segments that are to be read, in order.
func (v *verifier) segments() ([]int64, error) {
	entries, err := fs.ReadDir(v.fsys, SegmentsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.Unavailable, "the segments cannot be listed")
	}
	var firsts []int64
	for _, e := range entries {
		first, ok := SegmentFirst(e.Name())
		if !ok {
			v.problem(Problem{Kind: ProblemSegment, File: path.Join(SegmentsDir, e.Name()), What: "this is no segment of the record"})
			continue
		}
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	// A segment that was to be removed may still stand where the removal was interrupted.
	for v.base != nil && len(firsts) > 1 && firsts[1] <= v.base.Seq+1 {
		firsts = firsts[1:]
	}
	if v.base != nil && len(firsts) == 1 && firsts[0] <= v.base.Seq && v.points.newest() <= v.base.Seq {
		firsts = nil
	}
	return firsts, nil
}

func (v *verifier) segment(first int64, last bool) error {
	name := path.Join(SegmentsDir, SegmentName(first))
	f, err := v.fsys.Open(name)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be read", name)
	}
	defer func() { _ = f.Close() }()
	v.report.Segments++
	if first != v.head.Seq+1 {
		v.problem(Problem{Kind: ProblemSegment, Seq: v.head.Seq + 1, File: name,
			What: "the segment begins with record " + itoa(first) + ", but record " + itoa(v.head.Seq+1) + " comes next: a segment is missing or was renamed"})
	}
	lines := NewLines(f)
	var n int64
	for lines.Next() {
		n++
		v.record(lines.Line(), name, n)
		if n%1024 == 0 && v.ctx.Err() != nil {
			return v.ctx.Err()
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		if !last || v.o.Closed || v.head.Seq < v.points.newest() {
			v.problem(Problem{Kind: ProblemTruncated, Seq: v.head.Seq + 1, File: name, Line: n + 1, What: "the last line is cut off"})
		}
	case errors.Is(err, errLongLine):
		v.problem(Problem{Kind: ProblemFormat, Seq: v.head.Seq + 1, File: name, Line: n + 1, What: "the line is longer than a record can be; the rest of the file was not read"})
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "%s cannot be read", name)
	}
	switch {
	case last:
	case n == 0:
		v.problem(Problem{Kind: ProblemSegment, File: name, What: "the segment is empty"})
	case v.report.Signed.Seq < v.head.Seq: // a segment is ended with one
		v.problem(Problem{Kind: ProblemCheckpoint, Seq: v.head.Seq, File: CheckpointsFile, What: "the checkpoint at the end of the segment that begins with record " + itoa(first) + " is missing"})
	}
	return nil
}

// record checks one line and goes on from what it claims, so that one mistake is told once.
func (v *verifier) record(line []byte, file string, n int64) {
	link, err := ReadLink(line)
	if err != nil {
		v.problem(Problem{Kind: ProblemFormat, Seq: v.head.Seq + 1, File: file, Line: n, What: "this line is no record"})
		v.head = Head{Seq: v.head.Seq + 1, Hash: hashOf(line)}
		return
	}
	at := Problem{Seq: link.Seq, File: file, Line: n}
	if link.Seq != v.head.Seq+1 {
		at.Kind, at.What = ProblemOrder, "record "+itoa(link.Seq)+" stands where record "+itoa(v.head.Seq+1)+" belongs"
		v.problem(at)
	}
	if link.Prev != v.head.Hash {
		at.Kind, at.What = ProblemOrder, "the record does not follow the one before it"
		v.problem(at)
	}
	if !link.Whole {
		at.Kind, at.What = ProblemEdited, "the record does not have the hash that it claims"
		v.problem(at)
	}
	v.report.Records++
	if v.report.FirstSeq == 0 {
		v.report.FirstSeq, v.report.FirstTime = link.Seq, link.Time
	}
	v.report.LastTime = link.Time
	v.head = Head{Seq: link.Seq, Hash: link.Hash}
	v.points.pass(v.head, file, n)
	v.expect(v.head, file, n)
}

// expect compares with the head that was seen before.
func (v *verifier) expect(h Head, file string, n int64) {
	if v.o.Expect == nil || v.o.Expect.Seq != h.Seq {
		return
	}
	v.met = true
	if v.o.Expect.Hash != h.Hash {
		v.problem(Problem{Kind: ProblemRewritten, Seq: h.Seq, File: file, Line: n, What: "the record has another hash than the one that was seen before"})
	}
}

func (v *verifier) end() error {
	r := &v.report
	r.LastSeq, r.LastHash = v.head.Seq, v.head.Hash
	if err := v.points.end(v.head); err != nil {
		return err
	}
	r.Unsigned = max(0, r.LastSeq-max(r.Signed.Seq, r.Base))
	if v.o.Closed && r.Unsigned > 0 {
		v.problem(Problem{Kind: ProblemUnsigned, Seq: r.Signed.Seq + 1, File: CheckpointsFile,
			What: "no checkpoint vouches for the last " + itoa(r.Unsigned) + " records: one was removed, or records were added"})
	}
	want := v.o.Expect
	if want == nil || want.Seq == 0 {
		return nil
	}
	switch {
	case want.Seq < r.Base:
		r.ExpectTooOld = true
	case want.Seq > r.LastSeq:
		v.problem(Problem{Kind: ProblemTruncated, Seq: r.LastSeq + 1, What: "the record ends with " + itoa(r.LastSeq) + ", but " + itoa(want.Seq) + " was seen before"})
	case !v.met:
		v.problem(Problem{Kind: ProblemTruncated, Seq: want.Seq, What: "record " + itoa(want.Seq) + ", which was seen before, is missing"})
	case want.Seq > max(r.Signed.Seq, r.Base):
		v.problem(Problem{Kind: ProblemCheckpoint, Seq: want.Seq, File: CheckpointsFile, What: "the checkpoint that vouched for record " + itoa(want.Seq) + " is missing"})
	}
	return nil
}
