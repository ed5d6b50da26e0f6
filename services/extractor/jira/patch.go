package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// patch changes the list of a document by what a webhook says of one item of it: a comment or a worklog
// that was written, changed or deleted. It is for when Jira itself cannot be asked.
func (f *feed) patch(ctx context.Context, tx *store.Tx, e jira.Event, at time.Time) error {
	list, item, deleted := listOf(e)
	if list == "" || item == "" || e.IssueID == "" {
		return nil
	}
	id, err := strconv.ParseInt(e.IssueID, 10, 64)
	if err != nil {
		return fault.Wrap(err, fault.Permanent, "the id of the issue is no number")
	}
	old, found, err := tx.Get(ctx, id)
	if err != nil || !found || !old.Deleted.IsZero() {
		return err
	}
	doc, err := patched(old.JSON, list, item, e.Entity, deleted)
	if err != nil || doc == nil {
		return err
	}
	if doc, err = withMember(doc, "_synced_at", at.UTC().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	_, err = f.put(ctx, tx, id, doc, old, true)
	return err
}

// listOf tells which list of a document an event is about, and the id of the item.
func listOf(e jira.Event) (list, item string, deleted bool) {
	switch e.Name {
	case jira.CommentCreated, jira.CommentUpdated:
		return "_comments", e.CommentID, false
	case jira.CommentDeleted:
		return "_comments", e.CommentID, true
	case jira.WorklogCreated, jira.WorklogUpdated:
		return "_worklogs", e.WorklogID, false
	case jira.WorklogDeleted:
		return "_worklogs", e.WorklogID, true
	}
	return "", "", false
}

// patched gives the document with the item, or without it; nil where nothing is to be done.
func patched(doc []byte, list, item string, entity json.RawMessage, deleted bool) ([]byte, error) {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the issue's document is no JSON object")
	}
	var items []json.RawMessage
	_ = json.Unmarshal(whole[list], &items) // missing is none
	if deleted {
		left := slices.DeleteFunc(slices.Clone(items), func(raw json.RawMessage) bool { return itemID(raw) == item })
		if len(left) == len(items) {
			return nil, nil
		}
		items = left
	} else {
		at := slices.IndexFunc(items, func(raw json.RawMessage) bool { return itemID(raw) == item })
		if at >= 0 && !newer(entity, items[at]) {
			return nil, nil
		}
		items = union(items, []json.RawMessage{entity})
	}
	raw, err := marshal(items)
	if err != nil {
		return nil, err
	}
	whole[list] = raw
	return marshal(whole)
}

func itemID(raw json.RawMessage) string {
	var head struct {
		ID json.RawMessage `json:"id"`
	}
	_ = json.Unmarshal(raw, &head)
	return string(bytes.Trim(head.ID, `"`))
}

// newer tells whether an item was updated after another; one that does not say when is.
func newer(a, b json.RawMessage) bool {
	var x, y struct {
		Updated string `json:"updated"`
	}
	_, _ = json.Unmarshal(a, &x), json.Unmarshal(b, &y)
	s, ok1 := jira.ParseTime(x.Updated)
	t, ok2 := jira.ParseTime(y.Updated)
	return !ok1 || !ok2 || s.After(t)
}

// withMember gives the document with a member.
func withMember(doc []byte, name string, v any) ([]byte, error) {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "the issue's document is no JSON object")
	}
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	whole[name] = raw
	return marshal(whole)
}

// withoutSprint gives the document without a sprint in its field.
func withoutSprint(doc []byte, field, sprint string) (edited []byte, changed bool) {
	var whole, fields map[string]json.RawMessage
	var sprints []json.RawMessage
	if json.Unmarshal(doc, &whole) != nil || json.Unmarshal(whole["fields"], &fields) != nil || json.Unmarshal(fields[field], &sprints) != nil {
		return nil, false
	}
	left := slices.DeleteFunc(slices.Clone(sprints), func(raw json.RawMessage) bool { return itemID(raw) == sprint })
	if len(left) == len(sprints) {
		return nil, false
	}
	var err error
	if fields[field], err = marshal(left); err != nil {
		return nil, false
	}
	if whole["fields"], err = marshal(fields); err != nil {
		return nil, false
	}
	edited, err = marshal(whole)
	return edited, err == nil
}

// sprintEntity reads a sprint as a webhook, or the field of an issue, has it.
func (s *site) sprintEntity(raw json.RawMessage) (*store.Entity, error) {
	issue, err := marshal(map[string]any{
		"id": "1", "key": "A-1", "fields": map[string]any{s.fields.SprintField(): []json.RawMessage{raw}},
	})
	if err != nil {
		return nil, err
	}
	flat, err := rows.Flatten(issue, s.fields, rows.Site{URL: s.Site})
	if err != nil {
		return nil, err
	}
	for _, e := range s.seen(flat) {
		if e.Kind == store.KindSprint {
			return &e, nil
		}
	}
	return nil, nil
}
