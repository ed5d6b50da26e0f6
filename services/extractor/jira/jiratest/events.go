package jiratest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// The names of events, as Jira writes them.
const (
	IssueCreated      = "jira:issue_created"
	IssueUpdated      = "jira:issue_updated"
	IssueDeleted      = "jira:issue_deleted"
	CommentCreated    = "comment_created"
	CommentUpdated    = "comment_updated"
	CommentDeleted    = "comment_deleted"
	WorklogCreated    = "worklog_created"
	WorklogUpdated    = "worklog_updated"
	WorklogDeleted    = "worklog_deleted"
	AttachmentCreated = "attachment_created"
	AttachmentDeleted = "attachment_deleted"
	LinkCreated       = "issuelink_created"
	LinkDeleted       = "issuelink_deleted"
	SprintCreated     = "sprint_created"
	SprintUpdated     = "sprint_updated"
	SprintStarted     = "sprint_started"
	SprintClosed      = "sprint_closed"
	SprintDeleted     = "sprint_deleted"
	ProjectUpdated    = "project_updated"
)

// AllEvents are the events that the site has.
var AllEvents = []string{
	IssueCreated, IssueUpdated, IssueDeleted, CommentCreated, CommentUpdated, CommentDeleted, WorklogCreated, WorklogUpdated, WorklogDeleted,
	AttachmentCreated, AttachmentDeleted, LinkCreated, LinkDeleted, SprintCreated, SprintUpdated, SprintStarted, SprintClosed, SprintDeleted,
	ProjectUpdated,
}

// Delivery is one webhook: what Jira would POST.
type Delivery struct {
	Event string
	// ID is the X-Atlassian-Webhook-Identifier: the same for every try and every duplicate.
	ID     string
	Header http.Header
	Body   []byte
	At     time.Time
	// Issue is the id of the issue that changed, where the event is about one, even if the body does
	// not say so.
	Issue int64
}

var webhookView = view{all: true, v2: true, sla: true}

func (s *Site) begin(b *buf, event string, at time.Time) {
	b.open('{')
	b.key("timestamp")
	b.num(at.UnixMilli())
	b.key("webhookEvent")
	b.str(event)
}

// issueEvent is the event of an issue: with the issue in the form of version 2, and what changed.
func (s *Site) issueEvent(event, kind string, is *issue, h *history, at time.Time) {
	var b buf
	s.begin(&b, event, at)
	if kind != "" {
		b.key("issue_event_type_name")
		b.str(kind)
	}
	b.key("user")
	b.raw(s.actor().v2)
	b.key("issue")
	v := webhookView
	s.issue(&b, is, v)
	if h != nil {
		b.key("changelog")
		b.open('{')
		b.key("id")
		b.id(h.id)
		b.key("items")
		renderItems(&b, h.items)
		b.close('}')
	}
	b.close('}')
	s.emit(event, is, b, at)
}

// echo is the jira:issue_updated that accompanies events of parts of an issue.
func (s *Site) echo(kind string, is *issue, h *history, at time.Time) {
	if !s.cfg.NoEcho {
		s.issueEvent(IssueUpdated, kind, is, h, at)
	}
}

// commentEvent has the comment, and of the issue a stub without "updated" or "created".
func (s *Site) commentEvent(event string, is *issue, c *comment, at time.Time) {
	v := webhookView
	var b buf
	s.begin(&b, event, at)
	b.key("comment")
	s.comment(&b, is, c, &v)
	b.key("issue")
	s.stub(&b, is, &v, true)
	b.key("eventType")
	b.str("primaryAction")
	b.close('}')
	s.emit(event, is, b, at)
	if event != CommentDeleted {
		s.echo("issue_commented", is, nil, at)
	}
}

// worklogEvent names its issue by issueId within the worklog alone.
func (s *Site) worklogEvent(event string, is *issue, w *worklog, before int64, at time.Time) {
	v := webhookView
	var b buf
	s.begin(&b, event, at)
	b.key("worklog")
	s.worklog(&b, is, w, &v)
	b.close('}')
	s.emit(event, is, b, at)
	h := s.record(is, at, item{field: "timespent", fieldID: "timespent", from: itoa(before), fromString: itoa(before), to: itoa(timeSpent(is)), toString: itoa(timeSpent(is))},
		item{field: "WorklogId", fieldID: "", to: itoa(w.id), toString: itoa(w.id)})
	s.echo("issue_work_logged", is, h, at)
}

// attachmentEvent does not name its issue at all; the jira:issue_updated after it does.
func (s *Site) attachmentEvent(event string, is *issue, a *attachment, h *history, at time.Time) {
	v := webhookView
	var b buf
	s.begin(&b, event, at)
	b.key("attachment")
	s.attachment(&b, a, &v)
	b.close('}')
	s.emit(event, is, b, at)
	s.echo("issue_generic", is, h, at)
}

// linkEvent names both issues by their ids, as numbers.
func (s *Site) linkEvent(event string, id int64, kind int, from, to int64, at time.Time) {
	k := linkKinds[kind]
	var b buf
	s.begin(&b, event, at)
	b.key("issueLink")
	b.open('{')
	b.key("id")
	b.num(id)
	b.key("sourceIssueId")
	b.num(from)
	b.key("destinationIssueId")
	b.num(to)
	b.key("issueLinkType")
	b.lit(`{"id":` + itoa(k.id) + `,"name":"` + k.name + `","outwardName":"` + k.outward + `","inwardName":"` + k.inward + `","isSubTaskLinkType":false,"isSystemLinkType":false}`)
	b.key("systemLink")
	b.bool(false)
	b.close('}')
	b.close('}')
	s.emit(event, s.issues[from], b, at)
}

func (s *Site) sprintEvent(event string, sp *sprint, at time.Time) {
	var b buf
	s.begin(&b, event, at)
	b.key("sprint")
	s.renderSprint(&b, sp, true)
	b.close('}')
	s.emit(event, nil, b, at)
}

// emit puts a delivery out; do sends it when the change is made.
func (s *Site) emit(event string, is *issue, body []byte, at time.Time) {
	id := s.next()
	sum := sha256.Sum256([]byte(itoa(id)))
	d := Delivery{Event: event, ID: hex.EncodeToString(sum[:16]), Body: body, At: at, Header: http.Header{
		"Content-Type":                    {"application/json; charset=utf-8"},
		"User-Agent":                      {"Atlassian Webhook HTTP Client"},
		"X-Atlassian-Webhook-Flow":        {"Primary"},
		"X-Atlassian-Webhook-Identifier":  {hex.EncodeToString(sum[:16])},
		"X-Atlassian-Webhook-Received-At": {itoa(at.UnixMilli())},
	}}
	if is != nil {
		d.Issue = is.id
	}
	if !s.cfg.Unsigned {
		d.Header.Set("X-Hub-Signature", Sign(s.cfg.Secret, body))
	}
	if s.keep {
		s.log = append(s.log, d)
	}
	for _, h := range s.hooks {
		h.waiting = append(h.waiting, d)
	}
	s.registeredDeliver(d, is)
}

// Sign is the value of X-Hub-Signature for a body.
func Sign(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}
