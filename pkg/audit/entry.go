package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

const (
	entryStart = `{"seq":0,`
	entryEnd   = `,"prev":""}`
)

// Entry writes a record without its place in the chain (seq, prev, hash), as LinkEntry takes it.
func Entry(r Record) ([]byte, error) {
	r.Seq, r.Prev, r.Hash = 0, "", ""
	if r.Params == nil {
		r.Params = map[string]any{}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write a record: %w", err)
	}
	raw = raw[len(entryStart)-1 : len(raw)-len(entryEnd)+1]
	raw[0], raw[len(raw)-1] = '{', '}'
	return raw, nil
}

// ReadEntry gives the id (as it is written) and the time of what Entry wrote; an error says that it is none.
func ReadEntry(entry []byte) (id string, at time.Time, err error) {
	const idMark, timeMark = `{"id":"`, `","time":"`
	end := bytes.Index(entry, []byte(timeMark))
	if !bytes.HasPrefix(entry, []byte(idMark)) || end <= len(idMark) || len(entry) < end+len(timeMark)+len(TimeFormat) ||
		bytes.IndexByte(entry, '\n') >= 0 || !json.Valid(entry) {
		return "", at, errNoRecord
	}
	begin := end + len(timeMark)
	at, err = time.Parse(TimeFormat, string(entry[begin:begin+len(TimeFormat)]))
	if err != nil {
		return "", at, errNoRecord
	}
	return string(entry[len(idMark):end]), at, nil
}

// LinkEntry gives the line of an entry behind head, its newline included, and the new head. The bytes of
// the entry stay as they are.
func LinkEntry(head Head, entry []byte) ([]byte, Head, error) {
	if head.Hash == "" {
		head.Hash = ZeroHash
	}
	raw := make([]byte, 0, len(entry)+128)
	raw = append(raw, `{"seq":`...)
	raw = append(raw, itoa(head.Seq+1)...)
	raw = append(raw, ',')
	raw = append(raw, entry[1:len(entry)-1]...)
	raw = append(raw, prevMark...)
	raw = append(raw, head.Hash...)
	raw = append(raw, '"', '}')
	line, hash := seal(raw, hashMark, hashOf)
	if len(line) > MaxLine {
		return nil, head, fmt.Errorf("a record of %d bytes is longer than %d", len(line), MaxLine)
	}
	return line, Head{Seq: head.Seq + 1, Hash: hash}, nil
}
