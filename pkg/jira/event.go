package jira

import (
	"encoding/json"
	"time"
)

// The names of events, exactly as Jira writes them into webhookEvent.
const (
	IssueCreated = "jira:issue_created"
	IssueUpdated = "jira:issue_updated"
	IssueDeleted = "jira:issue_deleted"

	CommentCreated = "comment_created"
	CommentUpdated = "comment_updated"
	CommentDeleted = "comment_deleted"

	AttachmentCreated = "attachment_created"
	AttachmentDeleted = "attachment_deleted"

	WorklogCreated = "worklog_created"
	WorklogUpdated = "worklog_updated"
	WorklogDeleted = "worklog_deleted"
	// WorklogChanged is an older event of Jira, for any change of the worklogs of an issue.
	WorklogChanged = "jira:worklog_updated"

	IssueLinkCreated = "issuelink_created"
	IssueLinkDeleted = "issuelink_deleted"

	// Jira announces links to other sites by jira:issue_updated; these names are for sites that send
	// them by themselves.
	RemoteLinkCreated = "remote_issue_link_created"
	RemoteLinkUpdated = "remote_issue_link_updated"
	RemoteLinkDeleted = "remote_issue_link_deleted"

	SprintCreated = "sprint_created"
	SprintUpdated = "sprint_updated"
	SprintDeleted = "sprint_deleted"
	SprintStarted = "sprint_started"
	SprintClosed  = "sprint_closed"
)

// Kind is what an event is about.
type Kind string

// The kinds. Every name that is not listed above is KindOther.
const (
	KindIssueCreated Kind = "issue_created"
	KindIssueUpdated Kind = "issue_updated"
	KindIssueDeleted Kind = "issue_deleted"
	KindComment      Kind = "comment"
	KindAttachment   Kind = "attachment"
	KindWorklog      Kind = "worklog"
	KindIssueLink    Kind = "issue_link"
	KindRemoteLink   Kind = "remote_link"
	KindSprint       Kind = "sprint"
	// KindOther is everything that changes no table: it is counted, not stored.
	KindOther Kind = "other"
)

// kinds is exact: comment_deleted deletes a comment, and nothing else.
var kinds = map[string]Kind{
	// The post function of a workflow sends an issue and no name.
	"":           KindIssueUpdated,
	IssueCreated: KindIssueCreated, IssueUpdated: KindIssueUpdated, IssueDeleted: KindIssueDeleted,
	CommentCreated: KindComment, CommentUpdated: KindComment, CommentDeleted: KindComment,
	AttachmentCreated: KindAttachment, AttachmentDeleted: KindAttachment,
	WorklogCreated: KindWorklog, WorklogUpdated: KindWorklog, WorklogDeleted: KindWorklog, WorklogChanged: KindWorklog,
	IssueLinkCreated: KindIssueLink, IssueLinkDeleted: KindIssueLink,
	RemoteLinkCreated: KindRemoteLink, RemoteLinkUpdated: KindRemoteLink, RemoteLinkDeleted: KindRemoteLink,
	SprintCreated: KindSprint, SprintUpdated: KindSprint, SprintDeleted: KindSprint, SprintStarted: KindSprint, SprintClosed: KindSprint,
}

// KindOf is the kind of an event by its name.
func KindOf(name string) Kind {
	if k, known := kinds[name]; known {
		return k
	}
	return KindOther
}

// Event is one webhook, read. Ids and keys are empty where the webhook does not carry them, and fit the
// grammar where it does. Many events name no issue, or only its id: those of attachments never do.
type Event struct {
	// Name is the event as Jira names it; empty for what the post function of a workflow sends.
	Name string
	Kind Kind

	IssueID, IssueKey string
	// ProjectKey is that of the issue's key, or what the issue says where it has none.
	ProjectKey string
	// PreviousKey is the issue's key before this event moved it, or gave it another key.
	PreviousKey string
	// LinkedIssueID and LinkedIssueKey are the other end of an issue link.
	LinkedIssueID, LinkedIssueKey string

	CommentID, WorklogID, AttachmentID, LinkID, RemoteLinkID, SprintID string

	// Timestamp is when Jira raised the event; zero where it does not say.
	Timestamp time.Time
	// Updated is the issue's own time of its last change; zero where the event does not carry it, as those of
	// comments do not.
	Updated time.Time

	// What follows are parts of the body, not copies; nil where it has none. Issue holds all fields only in
	// events of issues: in others it is an extract.
	Issue json.RawMessage
	// Entity is the comment, attachment, worklog, link or sprint that the event is about.
	Entity json.RawMessage
	// Changelog is {"id", "items"}: what this event changed.
	Changelog json.RawMessage
	// User is who did it.
	User json.RawMessage
}

// Ref names an issue by its id, its key, or both.
type Ref struct{ ID, Key string }

// Issues are the issues that the event changes, as far as it names them: two for an issue link, none for
// an attachment or a sprint.
func (e Event) Issues() []Ref {
	var refs []Ref
	for _, r := range []Ref{{e.IssueID, e.IssueKey}, {e.LinkedIssueID, e.LinkedIssueKey}} {
		if r != (Ref{}) {
			refs = append(refs, r)
		}
	}
	return refs
}
