package audit

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Filter narrows a search; empty fields match all.
type Filter struct {
	From, Until                     time.Time
	Actor                           string // user id or e-mail address
	Action                          string // an action, or noun.* for all of a noun
	Resource, Result, IP, RequestID string
	Text                            string // anywhere in resource or params, whatever the case
	Before, After                   int64  // sequence numbers; Before pages backwards, After forwards
	Limit                           int
	Ascending                       bool
}

// matcher looks at the bytes of a line first, and reads only those that may match.
type matcher struct {
	f           Filter
	from, until []byte
	needs       [][]byte
	actors      [][]byte // any of them
	text        []byte   // in lower case; what is certain to stand in the line as it is
	lower       []byte
}

func newMatcher(f Filter) *matcher {
	f.Text = strings.ToLower(strings.TrimSpace(f.Text))
	m := &matcher{f: f}
	if !f.From.IsZero() {
		m.from = []byte(f.From.UTC().Format(chain.TimeFormat))
	}
	if !f.Until.IsZero() {
		m.until = []byte(f.Until.UTC().Format(chain.TimeFormat))
	}
	need := func(name, value string) {
		if value != "" {
			m.needs = append(m.needs, member(name, value))
		}
	}
	if noun, all := strings.CutSuffix(f.Action, "*"); all {
		m.needs = append(m.needs, bytes.TrimSuffix(member("action", noun), []byte(`"`)))
	} else {
		need("action", f.Action)
	}
	need("resource", f.Resource)
	need("result", f.Result)
	need("ip", f.IP)
	need("request_id", f.RequestID)
	if f.Actor != "" {
		m.actors = [][]byte{member("actor", f.Actor), member("actor_email", f.Actor), member("actor_email", strings.ToLower(f.Actor))}
	}
	m.text = plainPart(f.Text)
	return m
}

// member is how a line holds a text.
func member(name, value string) []byte {
	raw, err := json.Marshal(value)
	if err != nil {
		return []byte{0} // a text cannot fail; this is in no line
	}
	return append([]byte(`"`+name+`":`), raw...)
}

// plainPart is the longest part of a text that JSON writes as it is.
func plainPart(text string) []byte {
	var longest string
	for _, part := range strings.FieldsFunc(text, func(r rune) bool {
		return r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r)
	}) {
		if len(part) > len(longest) {
			longest = part
		}
	}
	return []byte(longest)
}

// match reads the line where it matches.
func (m *matcher) match(line []byte) (chain.Record, bool) {
	if !m.may(line) {
		return chain.Record{}, false
	}
	r, err := chain.Parse(line)
	return r, err == nil && m.is(r)
}

func (m *matcher) may(line []byte) bool {
	if m.from != nil || m.until != nil {
		at := chain.TimeOf(line)
		if m.from != nil && bytes.Compare(at, m.from) < 0 || m.until != nil && bytes.Compare(at, m.until) >= 0 {
			return false
		}
	}
	for _, need := range m.needs {
		if !bytes.Contains(line, need) {
			return false
		}
	}
	if m.actors != nil && !slices.ContainsFunc(m.actors, func(a []byte) bool { return bytes.Contains(line, a) }) {
		return false
	}
	if len(m.text) == 0 {
		return true
	}
	m.lower = append(m.lower[:0], line...)
	for i, c := range m.lower {
		if 'A' <= c && c <= 'Z' {
			m.lower[i] = c + 'a' - 'A'
		}
	}
	return bytes.Contains(m.lower, m.text)
}

// is decides, since the bytes may have stood in another member.
func (m *matcher) is(r chain.Record) bool {
	f := m.f
	equal := func(want, have string) bool { return want == "" || want == have }
	noun, all := strings.CutSuffix(f.Action, "*")
	switch {
	case all && !strings.HasPrefix(r.Action, noun), !all && !equal(f.Action, r.Action),
		!equal(f.Resource, r.Resource), !equal(f.Result, r.Result), !equal(f.IP, r.IP), !equal(f.RequestID, r.RequestID),
		f.Actor != "" && f.Actor != r.Actor && !strings.EqualFold(f.Actor, r.ActorEmail):
		return false
	}
	return f.Text == "" || strings.Contains(strings.ToLower(r.Resource), f.Text) || holds(r.Params, f.Text)
}

// holds looks for a text in names and values.
func holds(v any, text string) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if strings.Contains(strings.ToLower(name), text) || holds(value, text) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return holds(one, text) })
	case string:
		return strings.Contains(strings.ToLower(v), text)
	case float64:
		return strings.Contains(strconv.FormatFloat(v, 'f', -1, 64), text)
	case bool:
		return strings.Contains(strconv.FormatBool(v), text)
	}
	return false
}

// MaxSearch is the most records of one answer.
const MaxSearch = 1000

// Search finds records: newest first, or oldest first where the filter says so. more tells that there
// are others beyond the last. It reads what is synced, two searches at a time, and holds up nobody who
// records.
func (s *Store) Search(ctx context.Context, f Filter) (found []chain.Record, more bool, err error) {
	select {
	case s.searches <- struct{}{}:
		defer func() { <-s.searches }()
	case <-ctx.Done():
		return nil, false, fault.Wrap(ctx.Err(), fault.Busy, "others search the record: try again")
	}
	if f.Limit <= 0 || f.Limit > MaxSearch {
		f.Limit = MaxSearch
	}
	m := newMatcher(f)
	v := s.visible(f)
	take := func(line []byte) bool {
		r, ok := m.match(line)
		if ok && len(found) == f.Limit {
			more = true
			return false
		}
		if ok {
			found = append(found, r)
		}
		return true
	}
	if f.Ascending || f.After > 0 {
		err = s.forwards(ctx, v, f.After, func(line []byte) error {
			if beyond(line, f.Before) || !take(line) {
				return errEnough
			}
			return nil
		})
		if !f.Ascending {
			slices.Reverse(found)
		}
		return found, more, readable(err)
	}
	err = s.backwards(ctx, v, func(line []byte) (bool, error) { return beyond(line, f.Before) || take(line), nil })
	return found, more, readable(err)
}

func readable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the record cannot be read")
}

// beyond tells that a line is not before a number.
func beyond(line []byte, before int64) bool {
	if before <= 0 {
		return false
	}
	seq, ok := chain.SeqOf(line)
	return ok && seq >= before
}

// clockSlack is how far ahead the clock of another machine may be.
const clockSlack = 10 * time.Minute

// visible leaves out segments that cannot hold a match: what was last written before From began, and
// what only holds numbers from Before on.
func (s *Store) visible(f Filter) *view {
	all := s.shown.Load()
	v := &view{head: all.head}
	for _, g := range all.segments {
		if f.Before > 0 && g.first >= f.Before || !f.From.IsZero() && g.written.Before(f.From.Add(-clockSlack)) {
			continue
		}
		v.segments = append(v.segments, g)
	}
	return v
}

// ExportNDJSON writes the lines that match as they stand in the record, oldest first.
func (s *Store) ExportNDJSON(ctx context.Context, f Filter, w io.Writer) (n int64, err error) {
	newline := []byte("\n")
	return s.export(ctx, f, func(line []byte, _ chain.Record) error {
		if _, err := w.Write(line); err != nil {
			return err
		}
		_, err := w.Write(newline)
		return err
	})
}

// csvColumns are the columns of a CSV export.
var csvColumns = []string{
	"seq", "id", "time", "action", "resource", "result", "actor", "actor_email", "credential", "credential_id", "service", "ip", "user_agent",
	"request_id", "duration_ms", "params", "hash",
}

// ExportCSV writes what matches as CSV with a header, oldest first. A cell that a spreadsheet would take
// for a formula begins with an apostrophe.
func (s *Store) ExportCSV(ctx context.Context, f Filter, w io.Writer) (n int64, err error) {
	out := csv.NewWriter(w)
	if err := out.Write(csvColumns); err != nil {
		return 0, err
	}
	n, err = s.export(ctx, f, func(_ []byte, r chain.Record) error {
		params, err := json.Marshal(r.Params)
		if err != nil {
			return err
		}
		cells := []string{
			strconv.FormatInt(r.Seq, 10), r.ID, r.Time.Format(time.RFC3339Nano), r.Action, r.Resource, r.Result, r.Actor, r.ActorEmail, r.Credential,
			r.CredentialID, r.Service, r.IP, r.UserAgent, r.RequestID, strconv.FormatFloat(r.DurationMS, 'f', -1, 64), string(params), r.Hash,
		}
		for i := range cells {
			cells[i] = Guard(cells[i])
		}
		return out.Write(cells)
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return n, err
}

// Guard keeps a spreadsheet from running a cell as a formula.
func Guard(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

func (s *Store) export(ctx context.Context, f Filter, do func(line []byte, r chain.Record) error) (n int64, err error) {
	m := newMatcher(f)
	err = s.forwards(ctx, s.visible(f), f.After, func(line []byte) error {
		if beyond(line, f.Before) || f.Limit > 0 && n == int64(f.Limit) {
			return errEnough
		}
		r, ok := m.match(line)
		if !ok {
			return nil
		}
		n++
		return do(line, r)
	})
	return n, err
}
