package jira

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxName bounds the name of an event; Jira's longest has about 40 characters.
const maxName = 128

// InvalidError says why a body is not a webhook of Jira. Its text may be shown to who sent it.
type InvalidError struct{ Reason string }

// Error gives the reason.
func (e *InvalidError) Error() string { return e.Reason }

func invalid(format string, args ...any) error {
	return &InvalidError{Reason: fmt.Sprintf(format, args...)}
}

// ParseEvent reads the body of a webhook; an *InvalidError for what is none. Names are compared exactly,
// in values and in members. Every id and key that an event of a known kind carries has to fit the
// grammar. Of KindOther only the name is read: it may hold anything else. An event of an issue has to
// name the issue; the other events need not, and nothing is wrong with them.
func ParseEvent(body []byte) (Event, error) {
	top, err := object(body)
	if err != nil {
		return Event{}, err
	}
	e := Event{}
	if raw, ok := top["webhookEvent"]; ok && !isNull(raw) {
		if json.Unmarshal(raw, &e.Name) != nil || e.Name == "" || len(e.Name) > maxName {
			return Event{}, invalid("webhookEvent is not the name of an event")
		}
	}
	e.Kind = KindOf(e.Name)
	e.Timestamp = millis(top["timestamp"])
	if e.Kind == KindOther {
		return e, nil
	}
	e.Changelog, e.User = part(top, "changelog"), part(top, "user")
	r := &reader{}
	e.issue(r, top)
	e.entity(r, top)
	if r.err != nil {
		return Event{}, r.err
	}
	switch e.Kind {
	case KindIssueCreated, KindIssueUpdated, KindIssueDeleted:
		if e.IssueID == "" && e.IssueKey == "" {
			return Event{}, invalid("there is no issue in the webhook")
		}
	default:
	}
	if e.ProjectKey == "" {
		e.ProjectKey = ProjectOf(e.IssueKey)
	}
	return e, nil
}

// issue reads which issue the event is about, and the issue.
func (e *Event) issue(r *reader, top members) {
	e.Issue = part(top, "issue")
	issue := r.object(e.Issue, "issue", "id", "key", "fields")
	e.IssueID = r.id(issue, "issue", "id")
	e.IssueKey = r.key(issue, "issue", "key")
	if e.Issue == nil {
		e.IssueKey = r.key(top, "webhook", "issue_key")
	}
	fields := r.object(part(issue, "fields"), "issue.fields", "updated", "project")
	e.Updated, _ = ParseTime(text(fields["updated"]))
	if e.IssueKey == "" {
		project := text(r.object(part(fields, "project"), "issue.fields.project", "key")["key"])
		if project != "" && !ValidProjectKey(project) {
			r.fail("the key of the issue's project does not fit Jira's grammar")
		}
		e.ProjectKey = project
	}
	if e.Kind == KindIssueUpdated {
		e.PreviousKey = previousKey(e.Changelog)
	}
}

// entity reads what the event is about where that is not the issue itself.
func (e *Event) entity(r *reader, top members) {
	switch e.Kind {
	case KindComment:
		c := e.part(r, top, "comment")
		e.CommentID = r.id(c, "comment", "id")
		e.ofIssue(r, c, "comment")
	case KindWorklog:
		w := e.part(r, top, "worklog")
		e.WorklogID = r.id(w, "worklog", "id")
		e.ofIssue(r, w, "worklog")
	case KindAttachment:
		a := e.part(r, top, "attachment")
		e.AttachmentID = r.id(a, "attachment", "id")
		e.ofIssue(r, a, "attachment")
	case KindIssueLink:
		e.issueLink(r, top)
	case KindRemoteLink:
		name := "remoteIssueLink"
		if top[name] == nil {
			name = "remoteLink"
		}
		l := e.part(r, top, name)
		e.RemoteLinkID = r.id(l, name, "id")
		e.ofIssue(r, l, name)
	case KindSprint:
		e.SprintID = r.id(e.part(r, top, "sprint"), "sprint", "id")
	case KindIssueCreated, KindIssueUpdated, KindIssueDeleted, KindOther:
	}
}

func (e *Event) part(r *reader, top members, name string) members {
	e.Entity = part(top, name)
	return r.object(e.Entity, name, "id", "self", "issueId", "sourceIssueId", "destinationIssueId", "outwardIssue", "inwardIssue")
}

// ofIssue finds the issue of an entity where the webhook does not say its id: by issueId, or in the
// entity's own address, …/issue/10100/comment/10200, of which nothing but the number is taken.
func (e *Event) ofIssue(r *reader, entity members, name string) {
	if e.IssueID == "" {
		e.IssueID = r.id(entity, name, "issueId")
	}
	if e.IssueID == "" {
		e.IssueID = issueOf(text(entity["self"]))
	}
}

// issueLink reads both ends. Older sites name them by id, newer ones bring extracts of the issues.
func (e *Event) issueLink(r *reader, top members) {
	l := e.part(r, top, "issueLink")
	e.LinkID = r.id(l, "issueLink", "id")
	ends := [2]Ref{}
	for i, names := range [2][2]string{{"sourceIssueId", "outwardIssue"}, {"destinationIssueId", "inwardIssue"}} {
		where := "issueLink." + names[1]
		issue := r.object(part(l, names[1]), where, "id", "key")
		ends[i] = Ref{ID: r.id(l, "issueLink", names[0]), Key: r.key(issue, where, "key")}
		if ends[i].ID == "" {
			ends[i].ID = r.id(issue, where, "id")
		}
	}
	if ends[0] != (Ref{}) {
		e.IssueID, e.IssueKey = ends[0].ID, ends[0].Key
	}
	e.LinkedIssueID, e.LinkedIssueKey = ends[1].ID, ends[1].Key
}

// issueOf takes the id of the issue out of the address of something that belongs to it.
func issueOf(self string) string {
	_, rest, found := strings.Cut(self, "/issue/")
	id, _, more := strings.Cut(rest, "/")
	if !found || !more || !ValidID(id) {
		return ""
	}
	return id
}

// previousKey is what the issue was called before the change.
func previousKey(changelog json.RawMessage) string {
	if !isA(changelog, '{') {
		return ""
	}
	items := membersOf(changelog, "items")["items"]
	if !isA(items, '[') {
		return ""
	}
	previous := ""
	walkArray(items, func(item json.RawMessage) {
		if !isA(item, '{') || previous != "" {
			return
		}
		m := membersOf(item, "field", "fromString")
		if key := text(m["fromString"]); text(m["field"]) == "Key" && ValidIssueKey(key) {
			previous = key
		}
	})
	return previous
}

// object reads the body.
func object(body []byte) (members, error) {
	start := skipSpace(body)
	switch {
	case len(start) == 0:
		return nil, invalid("the body is empty")
	case !json.Valid(body):
		return nil, invalid("the body is not JSON")
	case start[0] != '{':
		return nil, invalid("the body is not a JSON object")
	}
	m := membersOf(start, "webhookEvent", "timestamp", "changelog", "user", "issue", "issue_key",
		"comment", "worklog", "attachment", "issueLink", "remoteIssueLink", "remoteLink", "sprint")
	if len(m) == 0 {
		return nil, invalid("there is nothing of a webhook in the body")
	}
	return m, nil
}

// reader notes the first thing that is wrong.
type reader struct{ err error }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = invalid(format, args...)
	}
}

// object reads the wanted members of a part of the body; nothing is an object without members.
func (r *reader) object(raw json.RawMessage, name string, wanted ...string) members {
	switch {
	case raw == nil:
		return nil
	case !isA(raw, '{'):
		r.fail("%s is not an object", name)
		return nil
	}
	return membersOf(raw, wanted...)
}

// id reads an id, which Jira writes as a text or as a number.
func (r *reader) id(m members, of, name string) string {
	raw, ok := m[name]
	if !ok || isNull(raw) {
		return ""
	}
	id := string(raw)
	if raw[0] == '"' {
		id = text(raw)
	}
	if !ValidID(id) {
		r.fail("%s.%s is not an id of Jira's", of, name)
		return ""
	}
	return id
}

func (r *reader) key(m members, of, name string) string {
	raw, ok := m[name]
	if !ok || isNull(raw) {
		return ""
	}
	key := text(raw)
	if !ValidIssueKey(key) {
		r.fail("%s.%s does not fit Jira's grammar of issue keys", of, name)
		return ""
	}
	return key
}

// part is a member that is there and not null.
func part(m members, name string) json.RawMessage {
	raw, ok := m[name]
	if !ok || isNull(raw) {
		return nil
	}
	return raw
}

// maxMillis is the end of the year 9999, beyond which a time cannot be written.
const maxMillis = 253402300799999

// millis reads a time in milliseconds since 1970; zero for what is none.
func millis(raw json.RawMessage) time.Time {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n <= 0 || n > maxMillis {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}
