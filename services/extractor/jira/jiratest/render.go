package jiratest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// view is how an issue is asked for.
type view struct {
	all, navigable bool
	with, without  map[string]bool
	changelog      bool
	cut            Embedded // zero: nothing is cut
	v2             bool     // as in webhooks: text in place of documents, no comments, no worklogs
	sla            bool     // the account sees the SLA fields
}

var everything = view{all: true, changelog: true, sla: true}

// fieldsOf reads the parameter fields: "*all", "*navigable", ids, and ids after a minus.
func (v *view) fieldsOf(fields []string, fallback string) {
	v.with, v.without = map[string]bool{}, map[string]bool{}
	if len(fields) == 0 {
		fields = []string{fallback}
	}
	for _, list := range fields {
		for f := range strings.SplitSeq(list, ",") {
			switch f = strings.TrimSpace(f); {
			case f == "*all":
				v.all = true
			case f == "*navigable":
				v.navigable = true
			case strings.HasPrefix(f, "-"):
				v.without[f[1:]] = true
			case f != "":
				v.with[f] = true
			}
		}
	}
}

func (v *view) wants(id string) bool {
	if v.without[id] {
		return false
	}
	return v.all || v.with[id] || v.navigable && id != "comment" && id != "attachment"
}

// bare tells whether no field at all is wanted, so that an answer may have thousands of issues.
func (v *view) bare() bool {
	if v.all || v.navigable {
		return false
	}
	for f := range v.with {
		if f != "id" && f != "key" {
			return false
		}
	}
	return true
}

func (s *Site) rest(v *view) string {
	if v.v2 {
		return s.URL + "/rest/api/2"
	}
	return s.URL + "/rest/api/3"
}

func (v *view) of(e *entity) []byte {
	switch {
	case e == nil:
		return []byte("null")
	case v.v2:
		return e.v2
	}
	return e.v3
}

func (v *view) user(u *user) []byte {
	switch {
	case u == nil:
		return []byte("null")
	case v.v2:
		return u.v2
	}
	return u.v3
}

// document is rich text: text in webhooks.
func (v *view) document(b *buf, doc json.RawMessage) {
	switch {
	case len(doc) == 0:
		b.lit("null")
	case v.v2 && doc[0] == '{':
		b.str(plain(doc))
	default:
		b.raw(doc)
	}
}

// issue renders an issue.
func (s *Site) issue(b *buf, is *issue, v view) {
	b.open('{')
	b.key("expand")
	b.lit(`"renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations"`)
	b.key("id")
	b.id(is.id)
	b.key("self")
	b.str(s.rest(&v) + "/issue/" + itoa(is.id))
	b.key("key")
	b.str(is.key())
	if v.changelog {
		b.key("changelog")
		s.embeddedChangelog(b, is, &v)
	}
	b.key("fields")
	b.open('{')
	for _, f := range systemFields {
		if v.wants(f.id) && !s.broken[f.id] {
			s.field(b, is, f, &v)
		}
	}
	for _, f := range customFields {
		if v.wants(f.id) && !s.broken[f.id] {
			s.customField(b, is, f, &v)
		}
	}
	b.close('}')
	b.close('}')
}

// field renders a system field, as webhooks and the REST API have it.
func (s *Site) field(b *buf, is *issue, f field, v *view) {
	if v.v2 && (f.id == "comment" || f.id == "worklog") {
		return
	}
	switch f.id {
	case "parent", "security": // absent where there is none
		if raw := is.fields[f.id]; len(raw) > 0 {
			b.key(f.id)
			b.raw(raw)
		}
		return
	}
	b.key(f.id)
	zone := s.cfg.Location
	moment := func(t time.Time) {
		if t.IsZero() {
			b.lit("null")
		} else {
			b.time(t, zone)
		}
	}
	switch f.id {
	case "issuetype":
		b.raw(v.of(is.kind))
	case "project":
		b.raw(v.of(&is.project.entity))
	case fieldResolution:
		b.raw(v.of(is.resolution))
	case "priority":
		b.raw(v.of(is.priority))
	case "status":
		b.raw(v.of(&is.status.entity))
	case "resolutiondate":
		moment(is.resolved)
	case "created", "statuscategorychangedate":
		moment(is.created)
	case "updated":
		moment(is.updated)
	case "creator":
		b.raw(v.user(is.creator))
	case "reporter":
		b.raw(v.user(is.reporter))
	case "assignee":
		b.raw(v.user(is.assignee))
	case "summary":
		b.str(is.summary)
	case "watches":
		b.lit(`{"self":"` + s.rest(v) + `/issue/` + is.key() + `/watchers","watchCount":1,"isWatching":false}`)
	case "votes":
		b.lit(`{"self":"` + s.rest(v) + `/issue/` + is.key() + `/votes","votes":0,"hasVoted":false}`)
	case "timespent":
		if spent := timeSpent(is); spent > 0 {
			b.num(spent)
		} else {
			b.lit("null")
		}
	case "attachment":
		b.open('[')
		for i := range is.attachments {
			s.attachment(b, &is.attachments[i], v)
		}
		b.close(']')
	case "issuelinks":
		b.open('[')
		for i := range is.links {
			s.link(b, &is.links[i], v)
		}
		b.close(']')
	case "comment":
		s.embeddedComments(b, is, v)
	case "worklog":
		s.embeddedWorklogs(b, is, v)
	default:
		raw := is.fields[f.id]
		switch {
		case f.kind == "adf":
			v.document(b, raw)
		case len(raw) > 0:
			b.raw(raw)
		case f.kind == "list":
			b.lit("[]")
		default:
			b.lit("null")
		}
	}
}

func timeSpent(is *issue) int64 {
	var spent int64
	for i := range is.worklogs {
		spent += is.worklogs[i].seconds
	}
	return spent
}

func (s *Site) customField(b *buf, is *issue, f field, v *view) {
	b.key(f.id)
	raw := is.fields[f.id]
	switch {
	case f.id == fieldSprint:
		s.sprintField(b, is)
	case f.kind == "sla" && s.cfg.SLARestricted && !v.sla && len(raw) > 0:
		b.lit(`{"errorMessage":"You do not have permission to view this field."}`)
	case f.kind == "adf":
		v.document(b, raw)
	case len(raw) > 0:
		b.raw(raw)
	default:
		b.lit("null")
	}
}

// embeddedComments has the newest ones where it is cut, and the true total.
func (s *Site) embeddedComments(b *buf, is *issue, v *view) {
	all, limit := is.comments, v.cut.Comments
	if limit > 0 && len(all) > limit {
		all = all[len(all)-limit:]
	}
	b.open('{')
	b.key("comments")
	b.open('[')
	for i := range all {
		s.comment(b, is, &all[i], v)
	}
	b.close(']')
	b.key("self")
	b.str(s.rest(v) + "/issue/" + itoa(is.id) + "/comment")
	b.key("maxResults")
	b.num(int64(len(all)))
	b.key("total")
	b.num(int64(len(is.comments)))
	b.key("startAt")
	b.num(0)
	b.close('}')
}

func (s *Site) embeddedWorklogs(b *buf, is *issue, v *view) {
	all, limit := is.worklogs, v.cut.Worklogs
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	b.open('{')
	b.key("startAt")
	b.num(0)
	b.key("maxResults")
	b.num(int64(max(limit, len(all))))
	b.key("total")
	b.num(int64(len(is.worklogs)))
	b.key("worklogs")
	b.open('[')
	for i := range all {
		s.worklog(b, is, &all[i], v)
	}
	b.close(']')
	b.close('}')
}

// embeddedChangelog has the newest histories first; the pages of /changelog have the oldest first.
func (s *Site) embeddedChangelog(b *buf, is *issue, v *view) {
	n := len(is.histories)
	if limit := v.cut.Histories; limit > 0 {
		n = min(n, limit)
	}
	b.open('{')
	b.key("startAt")
	b.num(0)
	b.key("maxResults")
	b.num(int64(n))
	b.key("total")
	b.num(int64(len(is.histories)))
	b.key("histories")
	b.open('[')
	for i := range n {
		s.history(b, &is.histories[len(is.histories)-1-i], v)
	}
	b.close(']')
	b.close('}')
}

func (s *Site) comment(b *buf, is *issue, c *comment, v *view) {
	b.open('{')
	b.key("self")
	b.str(s.rest(v) + "/issue/" + itoa(is.id) + "/comment/" + itoa(c.id))
	b.key("id")
	b.id(c.id)
	b.key("author")
	b.raw(v.user(c.author))
	b.key("body")
	v.document(b, c.body)
	b.key("updateAuthor")
	b.raw(v.user(c.editor))
	b.key("created")
	b.time(c.created, s.cfg.Location)
	b.key("updated")
	b.time(c.updated, s.cfg.Location)
	if c.internal {
		b.key("visibility")
		b.lit(`{"type":"role","value":"Service Desk Team","identifier":"Service Desk Team"}`)
	}
	b.key("jsdPublic")
	b.bool(!c.internal)
	b.close('}')
}

func (s *Site) worklog(b *buf, is *issue, w *worklog, v *view) {
	b.open('{')
	b.key("self")
	b.str(s.rest(v) + "/issue/" + itoa(is.id) + "/worklog/" + itoa(w.id))
	b.key("author")
	b.raw(v.user(w.author))
	b.key("updateAuthor")
	b.raw(v.user(w.author))
	if len(w.body) > 0 {
		b.key("comment")
		v.document(b, w.body)
	}
	b.key("created")
	b.time(w.created, s.cfg.Location)
	b.key("updated")
	b.time(w.updated, s.cfg.Location)
	b.key("started")
	b.time(w.started, s.cfg.Location)
	b.key("timeSpent")
	b.str((time.Duration(w.seconds) * time.Second).String())
	b.key("timeSpentSeconds")
	b.num(w.seconds)
	b.key("id")
	b.id(w.id)
	b.key("issueId")
	b.id(is.id)
	b.close('}')
}

func (s *Site) history(b *buf, h *history, v *view) {
	b.open('{')
	b.key("id")
	b.id(h.id)
	if h.author != nil { // changes by apps that are gone have no author
		b.key("author")
		b.raw(v.user(h.author))
	}
	b.key("created")
	b.time(h.created, s.cfg.Location)
	b.key("items")
	renderItems(b, h.items)
	b.close('}')
}

func renderItems(b *buf, items []item) {
	orNull := func(key, value string) {
		b.key(key)
		if value == "" {
			b.lit("null")
		} else {
			b.str(value)
		}
	}
	b.open('[')
	for i := range items {
		it := &items[i]
		b.open('{')
		b.key("field")
		b.str(it.field)
		b.key("fieldtype")
		if it.custom {
			b.str("custom")
		} else {
			b.str("jira")
		}
		b.key("fieldId")
		b.str(it.fieldID)
		orNull("from", it.from)
		orNull("fromString", it.fromString)
		orNull("to", it.to)
		orNull("toString", it.toString)
		b.close('}')
	}
	b.close(']')
}

func (s *Site) attachment(b *buf, a *attachment, v *view) {
	b.open('{')
	b.key("self")
	b.str(s.rest(v) + "/attachment/" + itoa(a.id))
	b.key("id")
	b.id(a.id)
	b.key("filename")
	b.str(a.filename)
	b.key("author")
	b.raw(v.user(a.author))
	b.key("created")
	b.time(a.created, s.cfg.Location)
	b.key("size")
	b.num(a.size)
	b.key("mimeType")
	b.str(a.mime)
	b.key("content")
	b.str(s.rest(v) + "/attachment/content/" + itoa(a.id))
	if strings.HasPrefix(a.mime, "image/") {
		b.key("thumbnail")
		b.str(s.rest(v) + "/attachment/thumbnail/" + itoa(a.id))
	}
	b.close('}')
}

func (s *Site) link(b *buf, l *link, v *view) {
	other := s.head(l.other)
	if other == nil || other.hidden {
		return
	}
	k := linkKinds[l.kind]
	b.open('{')
	b.key("id")
	b.id(l.id)
	b.key("self")
	b.str(s.rest(v) + "/issueLink/" + itoa(l.id))
	b.key("type")
	b.lit(`{"id":"` + itoa(k.id) + `","name":"` + k.name + `","inward":"` + k.inward + `","outward":"` + k.outward + `","self":"` + s.rest(v) + `/issueLinkType/` + itoa(k.id) + `"}`)
	if l.outgoing {
		b.key("outwardIssue")
	} else {
		b.key("inwardIssue")
	}
	s.stub(b, other, v, false)
	b.close('}')
}

// stub is an issue in few words, as links and the events of comments have it.
func (s *Site) stub(b *buf, is *issue, v *view, ofComment bool) {
	b.open('{')
	b.key("id")
	b.id(is.id)
	b.key("key")
	b.str(is.key())
	b.key("self")
	b.str(s.rest(v) + "/issue/" + itoa(is.id))
	b.key("fields")
	b.open('{')
	b.key("summary")
	b.str(is.summary)
	b.key("status")
	b.raw(v.of(&is.status.entity))
	b.key("priority")
	b.raw(v.of(is.priority))
	b.key("issuetype")
	b.raw(v.of(is.kind))
	if ofComment {
		b.key("project")
		b.raw(v.of(&is.project.entity))
		b.key("assignee")
		b.raw(v.user(is.assignee))
	}
	b.close('}')
	b.close('}')
}

func (s *Site) remoteLink(b *buf, is *issue, r *remoteLink) {
	b.open('{')
	b.key("id")
	b.num(r.id)
	b.key("self")
	b.str(s.URL + "/rest/api/3/issue/" + itoa(is.id) + "/remotelink/" + itoa(r.id))
	b.key("globalId")
	b.str("system=" + r.url)
	b.key("application")
	if r.application == "" {
		b.lit("{}")
	} else {
		b.lit(`{"type":` + quoted(r.appID) + `,"name":` + quoted(r.application) + `}`)
	}
	b.key("relationship")
	b.str("mentioned in")
	b.key("object")
	b.lit(`{"url":` + quoted(r.url) + `,"title":` + quoted(r.title) + `,"icon":{},"status":{"icon":{}}}`)
	b.close('}')
}

func (s *Site) sprintField(b *buf, is *issue) {
	ids := slices.DeleteFunc(slices.Clone(is.sprints), func(id int64) bool { return s.sprints[id] == nil })
	if len(ids) == 0 {
		b.lit("null")
		return
	}
	b.open('[')
	for _, id := range ids {
		s.renderSprint(b, s.sprints[id], false)
	}
	b.close(']')
}

func (s *Site) renderSprint(b *buf, sp *sprint, ofEvent bool) {
	b.open('{')
	b.key("id")
	b.num(sp.id)
	if ofEvent {
		b.key("self")
		b.str(s.URL + "/rest/agile/1.0/sprint/" + itoa(sp.id))
	}
	b.key("name")
	b.str(sp.name)
	b.key("state")
	b.str(sp.state)
	if ofEvent {
		b.key("originBoardId")
	} else {
		b.key("boardId")
	}
	b.num(sp.board)
	b.key("goal")
	b.str(sp.goal)
	for _, d := range []struct {
		key string
		at  time.Time
	}{{"startDate", sp.start}, {"endDate", sp.end}, {"completeDate", sp.complete}} {
		if !d.at.IsZero() {
			b.key(d.key)
			b.str(d.at.UTC().Format("2006-01-02T15:04:05.000Z"))
		}
	}
	b.close('}')
}

// Render gives an issue as GET /issue with all fields and the changelog would, without cutting its lists,
// but without its remote links; nil where there is none.
func (s *Site) Render(idOrKey string) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	is, ok := s.lookup(idOrKey)
	if !ok {
		return nil
	}
	b := make(buf, 0, 16<<10)
	s.issue(&b, is, everything)
	return json.RawMessage(b)
}

// Keys gives the keys of all issues that the account sees, in the order of their ids.
func (s *Site) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []int64
	for i := range s.gen.n {
		ids = append(ids, firstIssue+i)
	}
	for id := range s.issues {
		if id >= firstSeq {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var keys []string
	for _, id := range ids {
		if is := s.head(id); is != nil && !is.hidden {
			keys = append(keys, is.key())
		}
	}
	return keys
}
