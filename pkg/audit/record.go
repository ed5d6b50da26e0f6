// Package audit is the format of the record of who did what, and how it is proven. The record is a
// chain: each line holds the hash of the line before it, and signed checkpoints vouch for the chain
// up to them. See docs/adr/0007-audit-chain.md for what that proves and what it does not.
//
// A record is a folder:
//
//	segments/<first seq, 20 digits>.ndjson   the records, one JSON object per line
//	checkpoints.ndjson                       signed heads of the chain, one per line
//	base.json                                where the chain begins, once old segments were removed
//	key.pub                                  the public key, "ed25519 <base64>"
//
// The hash of a line is SHA-256 over its exact bytes up to the member "hash", so that nothing has to
// agree on how JSON is written.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Names in the folder of a record.
const (
	SegmentsDir     = "segments"
	CheckpointsFile = "checkpoints.ndjson"
	BaseFile        = "base.json"
	PublicKeyFile   = "key.pub"
)

// ZeroHash stands for the hash before the first.
const ZeroHash = "0000000000000000000000000000000000000000000000000000000000000000"

// MaxLine is the longest line in bytes, its newline included.
const MaxLine = 1 << 20

// TimeFormat is RFC 3339 in UTC with nine digits, so that times sort as texts.
const TimeFormat = "2006-01-02T15:04:05.000000000Z"

// Record is one entry of the record. Line writes it, Parse reads it.
type Record struct {
	Seq          int64          `json:"seq"`
	ID           string         `json:"id"`
	Time         Time           `json:"time"`
	Action       string         `json:"action"`
	Resource     string         `json:"resource"`
	Result       string         `json:"result"`
	Actor        string         `json:"actor"`
	ActorEmail   string         `json:"actor_email"`
	Credential   string         `json:"credential"`
	CredentialID string         `json:"credential_id"`
	Service      string         `json:"service"`
	IP           string         `json:"ip"`
	UserAgent    string         `json:"user_agent"`
	RequestID    string         `json:"request_id"`
	DurationMS   float64        `json:"duration_ms"`
	Params       map[string]any `json:"params"`
	Prev         string         `json:"prev"`
	Hash         string         `json:"hash,omitempty"`
}

// Time is a time that is written as TimeFormat.
type Time struct{ time.Time }

// MarshalJSON writes TimeFormat.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(TimeFormat) + `"`), nil
}

// Head is the end of a chain, or of a part of it.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// SegmentName is the file name of the segment that begins with a record.
func SegmentName(first int64) string { return fmt.Sprintf("%020d.ndjson", first) }

// SegmentFirst reads a file name of a segment.
func SegmentFirst(name string) (int64, bool) {
	digits, ok := bytes.CutSuffix([]byte(name), []byte(".ndjson"))
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseInt(string(digits), 10, 64)
	return first, err == nil && first > 0
}

// Line gives the line of r behind head, its newline included, and the new head. Seq, Prev and Hash of
// r are set here.
func Line(head Head, r Record) ([]byte, Head, error) {
	r.Seq, r.Prev, r.Hash = head.Seq+1, head.Hash, ""
	if r.Prev == "" {
		r.Prev = ZeroHash
	}
	if r.Params == nil {
		r.Params = map[string]any{}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, head, fmt.Errorf("write a record: %w", err)
	}
	line, hash := seal(raw, hashMark, hashOf)
	if len(line) > MaxLine {
		return nil, head, fmt.Errorf("a record of %d bytes is longer than %d", len(line), MaxLine)
	}
	return line, Head{Seq: r.Seq, Hash: hash}, nil
}

// Parse reads a line that Line wrote, without its newline.
func Parse(line []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(line, &r)
	return r, err
}

const (
	hashMark      = `,"hash":"`
	prevMark      = `,"prev":"`
	signatureMark = `,"signature":"`
	hashSize      = 2 * sha256.Size
)

// seal replaces the closing brace of a JSON object by a last member over what stands before it.
func seal(object []byte, mark string, of func([]byte) string) (line []byte, value string) {
	body := object[:len(object)-1]
	value = of(body)
	line = make([]byte, 0, len(body)+len(mark)+len(value)+3)
	line = append(line, body...)
	line = append(line, mark...)
	line = append(line, value...)
	return append(line, '"', '}', '\n'), value
}

// unseal takes a sealed line (without its newline) apart; the value is lower-case hex of a length.
func unseal(line []byte, mark string, size int) (body []byte, value string, ok bool) {
	n := len(line) - len(mark) - size - 2
	if n < 2 || line[0] != '{' || !bytes.HasSuffix(line, []byte(`"}`)) || string(line[n:n+len(mark)]) != mark {
		return nil, "", false
	}
	value = string(line[n+len(mark) : len(line)-2])
	return line[:n], value, isHex(value)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
