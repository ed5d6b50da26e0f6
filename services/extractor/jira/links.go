package jira

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// An issue repeats the key, summary, status and priority of those that it is linked to. When these
// change, or an issue is deleted, Jira tells nothing of the issues at the other ends of its links, nor
// do they count as updated: so what is kept of them is brought up to date here.

type end struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

// endsOf are the issues at the other ends of links, each once, in the order of their numbers.
func endsOf(links json.RawMessage) (ends []store.End) {
	var list []struct {
		Inward  *end `json:"inwardIssue"`
		Outward *end `json:"outwardIssue"`
	}
	if json.Unmarshal(links, &list) != nil {
		return nil
	}
	for _, l := range list {
		for _, e := range []*end{l.Inward, l.Outward} {
			if e == nil {
				continue
			}
			if id, err := strconv.ParseInt(e.ID, 10, 64); err == nil {
				ends = append(ends, store.End{ID: id, Key: e.Key})
			}
		}
	}
	slices.SortStableFunc(ends, func(a, b store.End) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(ends, func(a, b store.End) bool { return a.ID == b.ID })
}

// spread tells the issues that link to an issue what became of it: those that are kept with such a link,
// whether or not what is kept of the issue itself has it.
func (s *site) spread(ctx context.Context, tx *store.Tx, id int64, before, doc parsed, gone bool) error {
	now := doc.linked()
	if !gone && same(before.linked(), now) {
		return nil
	}
	others, err := tx.LinkedTo(ctx, id)
	if err != nil {
		return err
	}
	for _, n := range others {
		other, found, err := tx.Get(ctx, n)
		if err != nil {
			return err
		}
		if !found || !other.Deleted.IsZero() || (!gone && other.Synced.After(now.synced)) {
			continue // what was read later saw the issue as it was later
		}
		edited, changed := editLinks(other.JSON, now, gone)
		if !changed {
			continue
		}
		if err := s.keep(ctx, tx, n, parse(edited), other, true); err != nil {
			return err
		}
	}
	return nil
}

// renewLinks brings what a document says of the issues that it links to up to date, where what is kept of
// them was read later.
func (s *site) renewLinks(ctx context.Context, tx *store.Tx, doc parsed) (parsed, error) {
	it := doc.linked()
	for _, e := range endsOf(it.links) {
		head, found, err := tx.Head(ctx, e.ID)
		if err != nil {
			return doc, err
		}
		if !found || !head.Synced.After(it.synced) {
			continue
		}
		other, _, err := tx.Get(ctx, e.ID)
		if err != nil {
			return doc, err
		}
		now := parse(other.JSON).linked()
		if now.id == "" || now.left {
			continue
		}
		if edited, changed := editLinks(doc.raw, now, !other.Deleted.IsZero()); changed {
			doc = parse(edited)
		}
	}
	return doc, nil
}

// same tells whether two states of an issue look alike from the other end of a link, with links to the
// same issues.
func same(a, b linked) bool {
	return a.key == b.key && bytes.Equal(a.summary, b.summary) && bytes.Equal(a.status, b.status) &&
		bytes.Equal(a.priority, b.priority) && bytes.Equal(a.issueType, b.issueType) &&
		slices.EqualFunc(endsOf(a.links), endsOf(b.links), func(a, b store.End) bool { return a.ID == b.ID })
}

// editLinks writes what an issue is now into the links that another has to it, or takes them away.
func editLinks(doc []byte, now linked, gone bool) (edited []byte, changed bool) {
	whole := jsontree.Members(doc)
	fields := jsontree.Members(whole["fields"])
	var links []map[string]json.RawMessage
	if json.Unmarshal(fields["issuelinks"], &links) != nil {
		return nil, false
	}
	left := links[:0]
	for _, l := range links {
		switch side := sideOf(l, now.id); {
		case side == "":
		case gone:
			changed = true
			continue
		default:
			changed = editEnd(l, side, now) || changed
		}
		left = append(left, l)
	}
	if !changed {
		return nil, false
	}
	var err error
	if fields["issuelinks"], err = marshal(left); err != nil {
		return nil, false
	}
	if whole["fields"], err = marshal(fields); err != nil {
		return nil, false
	}
	edited, err = marshal(whole)
	return edited, err == nil
}

// sideOf is the member of a link that is an issue; empty where the link is to another one.
func sideOf(link map[string]json.RawMessage, id string) string {
	for _, side := range []string{"inwardIssue", "outwardIssue"} {
		var e end
		if len(link[side]) > 0 && json.Unmarshal(link[side], &e) == nil && e.ID == id {
			return side
		}
	}
	return ""
}

// editEnd writes what an issue is now into a link to it, and tells whether that is news.
func editEnd(link map[string]json.RawMessage, side string, now linked) bool {
	var issue, fields map[string]json.RawMessage
	if json.Unmarshal(link[side], &issue) != nil || issue == nil {
		return false
	}
	if json.Unmarshal(issue["fields"], &fields) != nil || fields == nil {
		fields = map[string]json.RawMessage{}
	}
	changed := false
	put := func(to map[string]json.RawMessage, name string, v json.RawMessage) {
		if len(v) > 0 && !bytes.Equal(to[name], v) {
			to[name], changed = v, true
		}
	}
	if key, err := json.Marshal(now.key); err == nil {
		put(issue, "key", key)
	}
	put(fields, "summary", now.summary)
	put(fields, "status", now.status)
	put(fields, "priority", now.priority)
	put(fields, "issuetype", now.issueType)
	if !changed {
		return false
	}
	var err error
	if issue["fields"], err = marshal(fields); err != nil {
		return false
	}
	link[side], err = marshal(issue)
	return err == nil
}
