package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// Where something that is set aside came from.
const (
	originWebhook = "webhook"
	originFetch   = "fetch"
	originRows    = "rows"
)

// aside is something that could not be taken in.
type aside struct {
	issue, key, origin string
	body               []byte
}

// setAside keeps it with the reason, so that it holds nothing up and is not lost.
func (s *site) setAside(ctx context.Context, a aside, reason error) error {
	return s.store.Write(ctx, func(tx *store.Tx) error { return s.setAsideIn(ctx, tx, a, reason) })
}

func (s *site) setAsideIn(ctx context.Context, tx *store.Tx, a aside, reason error) error {
	return tx.SetAside(ctx, store.Aside{Issue: a.issue, Key: a.key, Origin: a.origin, Reason: fault.Message(reason), At: s.now(), Body: a.body})
}

// incoming is a state of an issue that may be newer than the one that is kept.
type incoming struct {
	doc cloud.Document
	// fetched tells that Jira gave it when it was asked, so that the issue is there.
	fetched bool
	// listed tells that it is among what the configured projects were searched for, or was asked for by name.
	listed bool
}

// merge takes a state of an issue in, unless what is kept is as new: an older event after a newer one
// changes nothing, nor does the same once more. Lists that came incomplete are completed with what is kept.
func (s *site) merge(ctx context.Context, tx *store.Tx, in incoming) error {
	id, err := strconv.ParseInt(in.doc.ID, 10, 64)
	if err != nil {
		return s.setAsideIn(ctx, tx, aside{issue: in.doc.ID, key: in.doc.Key, origin: originFetch, body: in.doc.JSON}, fault.New(fault.Permanent, "the id of the issue is no number"))
	}
	old, found, err := tx.Get(ctx, id)
	if err != nil {
		return err
	}
	if found && stale(old, in) {
		return nil
	}
	if !in.listed && !s.covers(in.doc.Key) && (!found || projectOf(in.doc.JSON) != projectOf(old.JSON)) {
		return s.leave(ctx, tx, id, in.doc, found)
	}
	doc := in.doc.JSON
	if found && len(in.doc.Partial) > 0 && old.Deleted.IsZero() {
		if doc, err = complete(doc, old.JSON, in.doc.Partial, s.SLAFields); err != nil {
			return s.setAsideIn(ctx, tx, aside{issue: in.doc.ID, key: in.doc.Key, origin: originFetch, body: in.doc.JSON}, err)
		}
	}
	same, err := s.put(ctx, tx, id, doc, old, found)
	if err == nil && same && in.fetched && len(in.doc.Partial) == 0 {
		err = tx.Read(ctx, id, in.doc.SyncedAt)
	}
	return err
}

// leave takes an issue out that belongs to none of the configured projects, by now or from the start.
// Those that are kept may still link to it.
func (s *site) leave(ctx context.Context, tx *store.Tx, id int64, doc cloud.Document, found bool) error {
	if found {
		if err := s.remove(ctx, tx, deletion{id: id, key: doc.Key, at: doc.Updated, seen: doc.SyncedAt, left: true}); err != nil {
			return err
		}
	}
	return s.spread(ctx, tx, id, parsed{}, parse(doc.JSON), false)
}

// covers tells whether an issue belongs to the configured projects, by its key.
func (s *site) covers(key string) bool {
	return len(s.Projects) == 0 || slices.Contains(s.Projects, jira.ProjectOf(key))
}

// projectOf is the number of the project of a document, which stays when the project gets another key.
func projectOf(doc []byte) string {
	var head struct {
		Fields struct {
			Project struct {
				ID string `json:"id"`
			} `json:"project"`
		} `json:"fields"`
	}
	_ = json.Unmarshal(doc, &head) // then it is not known
	return head.Fields.Project.ID
}

// stale tells whether a state is no news. Jira's own time of the last change decides, and where it is
// the same, when the state was read.
func stale(old store.Document, in incoming) bool {
	switch {
	case !old.Deleted.IsZero():
		// Only Jira itself, asked after the deletion was known, says that an issue is there after all.
		return !in.fetched || !in.doc.SyncedAt.After(old.Synced)
	case !in.doc.Updated.Equal(old.Updated):
		return in.doc.Updated.Before(old.Updated)
	case !in.fetched:
		return !old.Partial // a webhook tells less than what was fetched
	}
	return !in.doc.SyncedAt.After(old.Synced)
}

// put keeps a document, and what it means for the issues that it is linked to. same tells that it is kept as
// it is already.
func (s *site) put(ctx context.Context, tx *store.Tx, id int64, raw []byte, old store.Document, found bool) (same bool, err error) {
	doc, err := s.renewLinks(ctx, tx, parse(raw))
	if err != nil {
		return false, err
	}
	before := parse(old.JSON)
	if found {
		if same, err := sameState(before, doc); err != nil || same {
			return same, err
		}
	}
	if err := s.keep(ctx, tx, id, doc, old, found); err != nil {
		return false, err
	}
	if doc.linked().left {
		return false, nil // its links are still there
	}
	deleted, found := doc.members["_deleted_at"]
	return false, s.spread(ctx, tx, id, before, doc, found && string(deleted) != "null")
}

// keep keeps a document, and notes of which tables the issue's rows are other ones.
func (s *site) keep(ctx context.Context, tx *store.Tx, id int64, doc parsed, old store.Document, found bool) error {
	s.merging.Lock()
	defer s.merging.Unlock()
	next, err := s.flat.Flatten(doc.raw)
	if err != nil {
		return s.setAsideIn(ctx, tx, aside{issue: strconv.FormatInt(id, 10), key: old.Key, origin: originRows, body: doc.raw}, err)
	}
	s.leftOut.count(ctx, next.IssueID, next.Problems)
	var before rows.Rows
	if found {
		if before, err = s.flat.Flatten(old.JSON); err != nil {
			found, before = false, rows.Rows{} // what is kept cannot be compared with
		}
	}
	tables, month := s.changed(before, next, found)
	if read := !found || !before.SyncedAt.Equal(next.SyncedAt); read && !next.Deleted {
		tables = tables.With(rows.Issues) // its row says when it was read
	}
	kept := store.Document{
		ID: id, Key: next.IssueKey, Project: next.ProjectKey, Month: next.Month, Created: next.Created, Updated: next.Updated,
		Synced: next.SyncedAt, JSON: doc.raw,
	}
	links, err := doc.head(&kept)
	if err != nil {
		return s.setAsideIn(ctx, tx, aside{issue: next.IssueID, key: next.IssueKey, origin: originRows, body: doc.raw}, err)
	}
	if err := tx.Put(ctx, kept, tables, month); err != nil {
		return err
	}
	if err := tx.Sight(ctx, id, next.SyncedAt.UnixMicro(), s.seen(next)); err != nil {
		return err
	}
	if err := tx.Link(ctx, id, links); err != nil {
		return err
	}
	if err := s.noteFiles(ctx, tx, id, next); err != nil {
		return err
	}
	return tx.TakenIn(ctx, next.IssueID)
}

// changed gives the tables in which the rows of an issue are other ones now, and the month that they were
// in before, where it is another.
func (s *site) changed(before, next rows.Rows, found bool) (tables store.Tables, month string) {
	moved := found && before.Month != next.Month
	if moved {
		month = before.Month
	}
	for _, t := range s.tables {
		if t.entities != 0 {
			continue
		}
		a, b := t.rowsOf(&before), t.rowsOf(&next)
		if (moved && len(a)+len(b) > 0) || !sameRows(t, a, b) {
			tables = tables.With(t.index)
		}
	}
	return tables, month
}

// sameRows compares rows but for when they were read.
func sameRows(t table, a, b [][]any) bool {
	if len(a) != len(b) {
		return false
	}
	synced := position(t.Columns, "_synced_at")
	for i := range a {
		for j := range a[i] {
			if j != synced && !sameValue(a[i][j], b[i][j]) {
				return false
			}
		}
	}
	return true
}

func sameValue(a, b any) bool {
	if t, ok := a.(time.Time); ok {
		other, ok := b.(time.Time)
		return ok && t.Equal(other)
	}
	return a == b
}

// seen are the entities that an issue names.
func (s *site) seen(r rows.Rows) []store.Entity {
	var out []store.Entity
	for _, t := range s.tables {
		if t.entities == 0 {
			continue
		}
		for _, row := range t.rowsOf(&r) {
			out = append(out, store.Entity{Kind: t.entities, ID: fmt.Sprint(row[0]), Attrs: entityAttrs(t.Columns, row)})
		}
	}
	return out
}

// deletion is the news that an issue is gone.
type deletion struct {
	id       int64
	key      string
	at, seen time.Time       // by Jira's clock, and by ours
	issue    json.RawMessage // what the webhook told of it; may be nil
	left     bool            // it is there, in a project that is not configured
}

// remove notes that an issue is gone. Its document stays, for what was last known of it.
func (s *site) remove(ctx context.Context, tx *store.Tx, d deletion) error {
	old, found, err := tx.Get(ctx, d.id)
	if err != nil {
		return err
	}
	if (found && !old.Deleted.IsZero()) || (!found && !s.covers(d.key)) {
		if d.left {
			return nil
		}
		return s.spread(ctx, tx, d.id, parsed{}, parse([]byte(`{"id":"`+strconv.FormatInt(d.id, 10)+`"}`)), true)
	}
	var doc map[string]json.RawMessage
	switch {
	case found:
		err = json.Unmarshal(old.JSON, &doc)
	case len(d.issue) > 0:
		err = json.Unmarshal(d.issue, &doc)
	}
	if err != nil || doc == nil {
		doc = map[string]json.RawMessage{}
	}
	put := func(key string, v any) {
		if raw, err := json.Marshal(v); err == nil {
			doc[key] = raw
		}
	}
	put("id", strconv.FormatInt(d.id, 10))
	if len(doc["key"]) == 0 || !found {
		put("key", d.key)
	}
	if len(doc["fields"]) == 0 {
		put("fields", struct{}{})
	}
	if d.at.IsZero() {
		d.at = d.seen
	}
	if d.left {
		put("_left", true)
	}
	put("_deleted_at", d.at.UTC().Format(time.RFC3339Nano))
	put("_synced_at", d.seen.UTC().Format(time.RFC3339Nano))
	raw, err := json.Marshal(doc)
	if err != nil {
		return s.setAsideIn(ctx, tx, aside{issue: strconv.FormatInt(d.id, 10), key: d.key, origin: originWebhook, body: d.issue}, err)
	}
	_, err = s.put(ctx, tx, d.id, raw, old, found)
	return err
}

// keptLists are the keys of lists in a document, by the names that Partial gives them.
var keptLists = map[string]string{
	cloud.Comments: "_comments", cloud.Worklogs: "_worklogs", cloud.Changelog: "_changelog", cloud.RemoteLinks: "_remote_links",
}

// complete puts what is kept of incomplete lists into a new document: nothing that was known goes away
// because it was not told again. Of an item that both have, the new one counts. A list is complete where
// what is kept of it is, for as far as that can be known.
func complete(next, old []byte, partial, fields []string) ([]byte, error) {
	var n, o map[string]json.RawMessage
	if err := json.Unmarshal(next, &n); err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the issue's document is no JSON object")
	}
	if err := json.Unmarshal(old, &o); err != nil {
		return next, nil //nolint:nilerr // there is nothing to complete it with
	}
	for _, list := range partial {
		if list == cloud.SLA {
			keepFields(n, o, fields)
			continue
		}
		key, found := keptLists[list]
		if !found {
			continue
		}
		var had, has []json.RawMessage
		if json.Unmarshal(o[key], &had) != nil {
			continue
		}
		_ = json.Unmarshal(n[key], &has) // missing is none
		merged, err := json.Marshal(union(had, has))
		if err != nil {
			return nil, fault.Wrap(err, fault.Permanent, "the list %s of the issue is no JSON", list)
		}
		n[key] = merged
	}
	return marshal(n)
}

// keepFields keeps the values of fields that could not be read this time.
func keepFields(next, old map[string]json.RawMessage, ids []string) {
	var n, o map[string]json.RawMessage
	if json.Unmarshal(next["fields"], &n) != nil || json.Unmarshal(old["fields"], &o) != nil || n == nil {
		return
	}
	for _, id := range ids {
		if v, found := o[id]; found {
			n[id] = v
		}
	}
	if raw, err := marshal(n); err == nil {
		next["fields"] = raw
	}
}

// union joins two lists by the ids of their items, in the order of the ids.
func union(old, next []json.RawMessage) []json.RawMessage {
	type item struct {
		id  int64
		raw json.RawMessage
	}
	var items []item
	at := map[string]int{}
	for _, raw := range slices.Concat(old, next) {
		word := itemID(raw)
		number, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			number = 1<<63 - 1
		}
		if i, found := at[word]; found && word != "" {
			items[i].raw = raw
			continue
		}
		at[word] = len(items)
		items = append(items, item{number, raw})
	}
	slices.SortStableFunc(items, func(a, b item) int {
		switch {
		case a.id < b.id:
			return -1
		case a.id > b.id:
			return 1
		}
		return 0
	})
	out := make([]json.RawMessage, len(items))
	for i, it := range items {
		out[i] = it.raw
	}
	return out
}

// marshal writes JSON as it is kept: without escaping what HTML would need.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the issue's document cannot be written")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
