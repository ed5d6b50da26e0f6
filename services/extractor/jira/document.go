package jira

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// parsed is the document of an issue with its members and its fields. A document is large, and much is asked
// of it: so it is taken apart once. Whether it is sound to its end is for rows.Flattener to say.
type parsed struct {
	raw             []byte
	members, fields map[string]json.RawMessage // nil where there is no such object
}

func parse(doc []byte) parsed {
	p := parsed{raw: doc, members: jsontree.Members(doc)}
	p.fields = jsontree.Members(p.members["fields"])
	return p
}

// linked are the parts of an issue that its links, and those to it, are about.
type linked struct {
	id, key                              string
	synced                               time.Time
	left                                 bool
	summary, status, priority, issueType json.RawMessage
	links                                json.RawMessage
}

// linked reads what it can: what cannot be read has no links.
func (p parsed) linked() linked {
	l := linked{
		summary: p.fields["summary"], status: p.fields["status"], priority: p.fields["priority"], issueType: p.fields["issuetype"], links: p.fields["issuelinks"],
	}
	for name, into := range map[string]any{"id": &l.id, "key": &l.key, "_synced_at": &l.synced, "_left": &l.left} {
		if raw, found := p.members[name]; found {
			_ = json.Unmarshal(raw, into)
		}
	}
	return l
}

// head fills in what the store keeps beside a document, and gives the issues that it links to.
func (p parsed) head(into *store.Document) (links []store.End, err error) {
	var status struct {
		Category struct {
			Key string `json:"key"`
		} `json:"statusCategory"`
	}
	var partial []string
	var deleted *time.Time
	for _, m := range []struct {
		raw  json.RawMessage
		into any
	}{{p.fields["status"], &status}, {p.members["_partial"], &partial}, {p.members["_deleted_at"], &deleted}} {
		if len(m.raw) == 0 {
			continue
		}
		if err := json.Unmarshal(m.raw, m.into); err != nil {
			return nil, fault.Wrap(err, fault.Permanent, "the issue's document has a status that cannot be read")
		}
	}
	into.Open = status.Category.Key != "done"
	into.Partial = slices.ContainsFunc(partial, func(list string) bool { return list != cloud.SLA })
	if deleted != nil {
		into.Deleted = *deleted
		return nil, nil
	}
	return endsOf(p.fields["issuelinks"]), nil
}

// sameState compares two documents but for when they were read.
func sameState(a, b parsed) (bool, error) {
	if b.members == nil {
		return false, fault.New(fault.Permanent, "the issue's document is no JSON object")
	}
	const synced = "_synced_at"
	count := func(p parsed) int {
		if _, found := p.members[synced]; found {
			return len(p.members) - 1
		}
		return len(p.members)
	}
	if count(a) != count(b) {
		return false, nil
	}
	for key, v := range a.members {
		if other, found := b.members[key]; key != synced && (!found || !bytes.Equal(v, other)) {
			return false, nil
		}
	}
	return true, nil
}
