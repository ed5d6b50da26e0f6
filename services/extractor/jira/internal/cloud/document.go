package cloud

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// The lists of a document, as Document.Partial names them, and SLA for the fields of the second account.
const (
	Comments    = "comments"
	Worklogs    = "worklogs"
	Changelog   = "changelog"
	RemoteLinks = "remote_links"
	SLA         = "sla"
)

// Document is one issue as we keep it. JSON is the issue of the REST API, in which _comments, _worklogs,
// _changelog and _remote_links are the lists (each in the order of its ids, oldest first) in place of
// what the issue has embedded of them, and _synced_at and _partial are ours.
type Document struct {
	ID, Key string
	// Created and Updated are Jira's, in UTC.
	Created, Updated time.Time
	// SyncedAt is when the reading began: the document is at least as new as that.
	SyncedAt time.Time
	// Partial names the lists that are not known to be complete. What was read of such a list is there;
	// a list that could not be read at all has no key in JSON. Neither says that the rest is gone.
	Partial []string
	// Problem is why Partial names something; nil where the caller did not ask for it, and for Assemble.
	Problem error
	JSON    json.RawMessage
}

// Assemble makes a document of an issue as a webhook or another answer of the API carries it, without
// asking Jira: what it does not hold whole is partial. An error is Permanent: such an issue cannot be
// kept.
func Assemble(issue json.RawMessage, at time.Time) (Document, error) {
	d, err := parse(issue)
	if err != nil {
		return Document{}, err
	}
	return d.document(at, []string{RemoteLinks}, nil)
}

// draft is an issue on its way to a document.
type draft struct {
	id, key          string
	created, updated time.Time
	top, fields      map[string]json.RawMessage
	lists            [3]list
	remote           []json.RawMessage
	hasRemote        bool
}

// kindOfList says how a list is embedded in an issue and asked for alone.
type kindOfList struct {
	name, key string // of Partial, and in the document
	embedded  string // the key of the items where they are embedded
	paged     string // the key of the items of a page
	route     string
	most      int // the largest page that Jira gives
}

var kindsOfLists = [3]kindOfList{
	{Comments, "_comments", "comments", "comments", "comment", 100},
	{Worklogs, "_worklogs", "worklogs", "worklogs", "worklog", 5000},
	{Changelog, "_changelog", "histories", "values", "changelog", 100},
}

// list is what an issue has of a list.
type list struct {
	items []json.RawMessage
	known bool // the issue said something about it
	whole bool
}

// parse reads an issue and takes its embedded lists out. Two fields are looked at, and all kept as they are.
func parse(raw json.RawMessage) (*draft, error) {
	d := &draft{top: jsontree.Members(raw)}
	if d.fields = jsontree.Members(d.top["fields"]); d.fields == nil {
		return nil, fault.New(fault.Permanent, "what came is no issue of Jira: it has no fields")
	}
	d.id, d.key = text(d.top["id"]), text(d.top["key"])
	if !jira.ValidID(d.id) || !jira.ValidIssueKey(d.key) {
		return nil, fault.New(fault.Permanent, "what came is no issue of Jira: its id or key is none")
	}
	var ok [2]bool
	d.created, ok[0] = jira.ParseTime(text(d.fields["created"]))
	d.updated, ok[1] = jira.ParseTime(text(d.fields["updated"]))
	if !ok[0] || !ok[1] {
		return nil, fault.New(fault.Permanent, "the issue %s does not say when it was created and updated", d.key)
	}
	d.embedded(0, d.fields["comment"])
	d.embedded(1, d.fields["worklog"])
	d.embedded(2, d.top["changelog"])
	d.strip("comment", "comments")
	d.strip("worklog", "worklogs")
	delete(d.top, "changelog")
	return d, nil
}

func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// embedded reads what an issue has of a list: all of it only where it says the total and has as many.
func (d *draft) embedded(i int, raw json.RawMessage) {
	page := jsontree.Members(raw)
	if page == nil {
		return
	}
	l := &d.lists[i]
	if json.Unmarshal(page[kindsOfLists[i].embedded], &l.items) != nil || l.items == nil {
		return
	}
	l.known = true
	var total int
	l.whole = json.Unmarshal(page["total"], &total) == nil && len(page["total"]) > 0 && len(l.items) >= total
}

// strip takes the items out of a field that has a list, and leaves its total.
func (d *draft) strip(field, items string) {
	page := jsontree.Members(d.fields[field])
	if page == nil {
		return
	}
	delete(page, items)
	delete(page, "self")
	d.fields[field] = object(page)
}

// document puts everything together.
func (d *draft) document(at time.Time, partial []string, problem error) (Document, error) {
	for i, k := range kindsOfLists {
		l := &d.lists[i]
		if !l.whole && !slices.Contains(partial, k.name) {
			partial = append(partial, k.name)
		}
		if l.known {
			d.top[k.key] = array(inOrder(l.items))
		}
	}
	if d.hasRemote {
		d.top["_remote_links"] = array(inOrder(d.remote))
	}
	slices.Sort(partial)
	at = at.UTC()
	d.top["fields"] = object(d.fields)
	d.top["_synced_at"] = encode(at.Format(time.RFC3339Nano))
	if len(partial) > 0 {
		d.top["_partial"] = encode(partial)
	}
	// What the API says about itself, and differs between calls for one state, is no part of the state.
	delete(d.top, "expand")
	return Document{
		ID: d.id, Key: d.key, Created: d.created, Updated: d.updated, SyncedAt: at, Partial: partial, Problem: problem, JSON: object(d.top),
	}, nil
}

// encode writes JSON as Jira wrote it: without escaping what HTML would need.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return json.RawMessage("null") // strings and lists of them always have a JSON form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// object and array put together what was taken apart, byte for byte: the parts are known to be JSON.
func object(m map[string]json.RawMessage) json.RawMessage {
	size := 2
	for k, v := range m {
		size += len(k) + len(v) + 4
	}
	out := append(make([]byte, 0, size), '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, encode(k)...), ':')
		out = append(out, m[k]...)
	}
	return append(out, '}')
}

func array(items []json.RawMessage) json.RawMessage {
	size := 2
	for _, v := range items {
		size += len(v) + 1
	}
	out := append(make([]byte, 0, size), '[')
	for i, v := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, ']')
}

// inOrder sorts items by their ids, which grow with time, so that one state has one document whichever
// way it was read, and leaves each id once.
func inOrder(items []json.RawMessage) []json.RawMessage {
	type keyed struct {
		id  string
		raw json.RawMessage
	}
	all := make([]keyed, len(items))
	for i, raw := range items {
		all[i] = keyed{id: itemID(raw), raw: raw}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	out := make([]json.RawMessage, 0, len(all))
	for i, k := range all {
		if i == 0 || k.id == "" || k.id != all[i-1].id {
			out = append(out, k.raw)
		}
	}
	return out
}

// itemID is the id of an item, a string or a number.
func itemID(raw json.RawMessage) string {
	var item struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(raw, &item) != nil {
		return ""
	}
	return string(bytes.Trim(item.ID, `"`))
}
