package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

var errLongLine = errors.New("a line is too long")

// Lines reads a file line by line in bounded memory.
type Lines struct {
	r    *bufio.Reader
	line []byte
	err  error
	read int64
}

// NewLines reads from r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, MaxLine)} }

// Next reads the next whole line.
func (l *Lines) Next() bool {
	if l.err != nil {
		return false
	}
	line, err := l.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		l.err = errLongLine
	case errors.Is(err, io.EOF) && len(line) > 0:
		l.err = io.ErrUnexpectedEOF
	case err != nil:
		l.err = err
	}
	if l.err != nil {
		return false
	}
	l.read += int64(len(line))
	l.line = line[:len(line)-1]
	return true
}

// Line is the line that was read, without its newline; it stands until the next call of Next.
func (l *Lines) Line() []byte { return l.line }

// Offset is how many bytes the lines that were read take.
func (l *Lines) Offset() int64 { return l.read }

// Err tells why Next gave false: nil at the end, io.ErrUnexpectedEOF where the last line has no newline.
func (l *Lines) Err() error {
	if errors.Is(l.err, io.EOF) {
		return nil
	}
	return l.err
}

// Link is what a line says about its place in the chain.
type Link struct {
	Seq        int64
	Time       time.Time
	Prev, Hash string
	// Whole tells that the line has the hash that it claims.
	Whole bool
}

var errNoRecord = fault.New(fault.Invalid, "this line is no record")

// ReadLink reads a line without its newline, and computes its hash.
func ReadLink(line []byte) (Link, error) {
	body, hash, ok := unseal(line, hashMark, hashSize)
	if !ok {
		return Link{}, errNoRecord
	}
	at := len(body) - len(prevMark) - hashSize - 1
	if at < 0 || string(body[at:at+len(prevMark)]) != prevMark || body[len(body)-1] != '"' {
		return Link{}, errNoRecord
	}
	prev := string(body[at+len(prevMark) : len(body)-1])
	seq, ok := SeqOf(line)
	if !ok || !isHex(prev) || !json.Valid(line) {
		return Link{}, errNoRecord
	}
	at2, err := time.Parse(TimeFormat, string(TimeOf(line)))
	if err != nil {
		return Link{}, errNoRecord
	}
	return Link{Seq: seq, Time: at2, Prev: prev, Hash: hash, Whole: hashOf(body) == hash}, nil
}

// SeqOf reads the number of the record in a line without looking at the rest.
func SeqOf(line []byte) (int64, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	end := bytes.IndexByte(rest, ',')
	if !ok || end < 1 || end > 18 {
		return 0, false
	}
	seq, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return seq, err == nil && seq > 0
}

// TimeOf finds the time in a line, as TimeFormat; nil where there is none. It is the first member of
// that name: quotes inside of texts are escaped.
func TimeOf(line []byte) []byte {
	const mark = `,"time":"`
	i := bytes.Index(line, []byte(mark))
	if i < 0 || len(line) < i+len(mark)+len(TimeFormat) {
		return nil
	}
	return line[i+len(mark) : i+len(mark)+len(TimeFormat)]
}

// IDOf finds the id of the event in a line, as it is written (escaped); nil where there is none.
func IDOf(line []byte) []byte {
	const mark = `,"id":"`
	i := bytes.Index(line, []byte(mark))
	if i < 0 {
		return nil
	}
	rest := line[i+len(mark):]
	end := bytes.Index(rest, []byte(`","time":"`))
	if end < 0 {
		return nil
	}
	return rest[:end]
}

func cutNewline(raw []byte) (line []byte, whole bool) {
	line, whole = bytes.CutSuffix(raw, []byte("\n"))
	return line, whole && !bytes.Contains(line, []byte("\n"))
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
