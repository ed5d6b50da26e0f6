package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// An issue repeats the key, summary, status and priority of those that it is linked to. When these
// change, or an issue is deleted, Jira tells nothing of the issues at the other ends of its links, nor
// do they count as updated: so what is kept of them is brought up to date here.

// linked are the parts of an issue that its links, and those to it, are about.
type linked struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Fields struct {
		Summary   json.RawMessage `json:"summary"`
		Status    json.RawMessage `json:"status"`
		Priority  json.RawMessage `json:"priority"`
		IssueType json.RawMessage `json:"issuetype"`
		Links     []issueLink     `json:"issuelinks"`
	} `json:"fields"`
}

type issueLink struct {
	ID      string `json:"id"`
	Inward  *end   `json:"inwardIssue"`
	Outward *end   `json:"outwardIssue"`
}

type end struct {
	ID string `json:"id"`
}

// other is the number of the issue at the other end.
func (l issueLink) other() (int64, bool) {
	for _, e := range []*end{l.Inward, l.Outward} {
		if e != nil {
			id, err := strconv.ParseInt(e.ID, 10, 64)
			return id, err == nil
		}
	}
	return 0, false
}

// spread tells the issues that an issue is, or was, linked to what became of it.
func (s *site) spread(ctx context.Context, tx *store.Tx, before, doc []byte, gone bool) error {
	var old, now linked
	_, _ = json.Unmarshal(before, &old), json.Unmarshal(doc, &now) // what cannot be read has no links
	links := now.Fields.Links
	if gone {
		links = old.Fields.Links
	} else if same(old, now) {
		return nil
	}
	for _, l := range links {
		id, ok := l.other()
		if !ok {
			continue
		}
		other, found, err := tx.Get(ctx, id)
		if err != nil {
			return err
		}
		if !found || !other.Deleted.IsZero() {
			continue
		}
		edited, changed := editLink(other.JSON, l.ID, now, gone)
		if !changed {
			continue
		}
		if err := s.keep(ctx, tx, id, edited, other, true); err != nil {
			return err
		}
	}
	return nil
}

// same tells whether two states of an issue look alike from the other end of a link, with the same links.
func same(a, b linked) bool {
	ids := func(l []issueLink) []string {
		out := make([]string, len(l))
		for i := range l {
			out[i] = l[i].ID
		}
		slices.Sort(out)
		return out
	}
	return a.Key == b.Key && bytes.Equal(a.Fields.Summary, b.Fields.Summary) && bytes.Equal(a.Fields.Status, b.Fields.Status) &&
		bytes.Equal(a.Fields.Priority, b.Fields.Priority) && bytes.Equal(a.Fields.IssueType, b.Fields.IssueType) &&
		slices.Equal(ids(a.Fields.Links), ids(b.Fields.Links))
}

// editLink writes what an issue is now into the link that another has to it, or takes the link away.
func editLink(doc []byte, link string, now linked, gone bool) (edited []byte, changed bool) {
	var whole, fields map[string]json.RawMessage
	var links []map[string]json.RawMessage
	if json.Unmarshal(doc, &whole) != nil || json.Unmarshal(whole["fields"], &fields) != nil || json.Unmarshal(fields["issuelinks"], &links) != nil {
		return nil, false
	}
	at := slices.IndexFunc(links, func(l map[string]json.RawMessage) bool { return string(bytes.Trim(l["id"], `"`)) == link })
	if at < 0 {
		return nil, false
	}
	if gone {
		links = slices.Delete(links, at, at+1)
	} else if !editEnd(links[at], now) {
		return nil, false
	}
	var err error
	if fields["issuelinks"], err = marshal(links); err != nil {
		return nil, false
	}
	if whole["fields"], err = marshal(fields); err != nil {
		return nil, false
	}
	edited, err = marshal(whole)
	return edited, err == nil
}

// editEnd writes what an issue is now into a link to it, and tells whether that is news.
func editEnd(link map[string]json.RawMessage, now linked) bool {
	for _, side := range []string{"inwardIssue", "outwardIssue"} {
		var issue, fields map[string]json.RawMessage
		if json.Unmarshal(link[side], &issue) != nil || issue == nil || string(bytes.Trim(issue["id"], `"`)) != now.ID {
			continue
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
		if key, err := json.Marshal(now.Key); err == nil {
			put(issue, "key", key)
		}
		put(fields, "summary", now.Fields.Summary)
		put(fields, "status", now.Fields.Status)
		put(fields, "priority", now.Fields.Priority)
		put(fields, "issuetype", now.Fields.IssueType)
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
	return false
}
