// Package rows makes typed rows of eleven tables from the raw document of one Jira issue. Which fields of
// an issue become columns is said by a FieldMap; docs/jira-fields.md describes it, and every place
// where a value differs from what the predecessor wrote.
//
// All rows of an issue belong to the month, in UTC, in which the issue was created. They depend on
// nothing but its document, the field map and the site: equal documents give equal rows in equal
// order. Users and sprints are named by many issues: what one issue tells of them is a sighting, and
// it is for the caller to keep the latest of each.
package rows

import (
	"slices"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// The tables, as indexes of Rows.Tables and of what Tables returns.
const (
	Issues = iota
	Comments
	Attachments
	Changelog
	IssueLinks
	RemoteLinks
	Worklogs
	Sprints
	Users
	DeletedIssues
	IssueSprints

	TableCount // how many there are
)

// Types of columns, in DuckDB's words, and the Go types of their values; any of them may be nil.
const (
	typeText      = "VARCHAR"                  // string, valid UTF-8
	typeInteger   = "BIGINT"                   // int64
	typeNumber    = "DOUBLE"                   // float64, finite
	typeBoolean   = "BOOLEAN"                  // bool
	typeDate      = "DATE"                     // time.Time at midnight UTC
	typeTimestamp = "TIMESTAMP WITH TIME ZONE" // time.Time in UTC, whole microseconds
)

// IssueIDColumn names the column that tells which issue a row belongs to. Every table has it but the
// entities.
const IssueIDColumn = "issue_id"

// Table is the definition of a table.
type Table struct {
	Name        string
	Description string
	Columns     []catalog.Column
	// Entities tells that the table lists what many issues name, once each, by its first column.
	Entities bool
	// PrimaryKey identifies a row within the whole table.
	PrimaryKey []string
	// OrderBy is a total order of the rows of well-formed documents. Texts compare byte by byte, and
	// NULL comes last, as in DuckDB.
	OrderBy []string
}

// column finds the position of a column that is there.
func (t Table) column(name string) int {
	return slices.IndexFunc(t.Columns, func(c catalog.Column) bool { return c.Name == name })
}

// columns reads "name" as a text, "name:TYPE" as another type.
func columns(names ...any) []catalog.Column {
	var out []catalog.Column
	kind := typeText
	for _, n := range names {
		switch n := n.(type) {
		case columnType:
			kind = string(n)
		case string:
			out = append(out, catalog.Column{Name: n, Type: kind})
			kind = typeText
		}
	}
	return out
}

// columnType is the type of the next column alone.
type columnType string

const (
	integer   columnType = typeInteger
	boolean   columnType = typeBoolean
	timestamp columnType = typeTimestamp
)

// The columns of issues before and after those of the field map.
var (
	issueColumns = columns(
		"issue_key", "issue_id", "issue_url", "summary", "description", "issue_type", "status", "status_category",
		"priority", "resolution", "project_key", "project_name", "creator_email", "creator_name", "reporter_email", "reporter_name",
		"assignee_email", "assignee_name", timestamp, "created_at", timestamp, "updated_at", timestamp, "resolved_at", "due_date", "labels",
		integer, "attachment_count", integer, "comment_count", integer, "issuelink_count")
	issueTail = columns("_synced_at", "_raw_file")
)

// The columns that do not depend on the field map, in the order of the rows.
var otherColumns = [TableCount][]catalog.Column{
	Comments: columns("comment_id", "issue_key", "author_email", "author_name", "body", timestamp, "created_at", timestamp, "updated_at",
		"update_author_email", "author_account_id", "issue_id"),
	Attachments: columns("attachment_id", "issue_key", "filename", "local_path", "hierarchical_path", integer, "size_bytes", "mime_type",
		"author_email", timestamp, "created_at", "content_url", "thumbnail_url", "author_account_id", "issue_id"),
	Changelog: columns("change_id", "issue_key", "author_email", "author_name", "field_name", "field_type", "from_value", "to_value",
		timestamp, "changed_at", "author_account_id", "issue_id", integer, "item"),
	IssueLinks: columns("issue_key", "link_id", "link_type", "direction", "linked_issue_key", "linked_issue_summary",
		"linked_issue_status", "linked_issue_priority", "issue_id"),
	RemoteLinks: columns("issue_key", "remote_link_id", "url", "title", "application_name", "application_type", "issue_id"),
	Worklogs: columns("worklog_id", "issue_key", "author_email", "author_name", "comment", timestamp, "started_at", "time_spent",
		integer, "time_spent_seconds", timestamp, "created_at", timestamp, "updated_at", "update_author_email", "author_account_id", "issue_id"),
	Sprints: columns(integer, "sprint_id", "name", "state", integer, "board_id", timestamp, "start_at", timestamp, "end_at",
		timestamp, "completed_at", "goal"),
	Users: columns("account_id", "display_name", "email", boolean, "active", "time_zone", "account_type"),
	DeletedIssues: columns("issue_id", "issue_key", "project_key", timestamp, "deleted_at", "summary", "issue_type", "status",
		timestamp, "created_at", timestamp, "updated_at"),
	IssueSprints: columns(integer, "sprint_id", "issue_key", "issue_id"),
}

// Tables gives the definitions of the tables, in the order of the constants. The result is the
// caller's own.
func Tables(fields FieldMap) []Table {
	tables := []Table{
		Issues: {
			Name: "issues", Description: "Jira issues, one row each: the state that was fetched last",
			Columns:    slices.Concat(issueColumns, fields.columns, issueTail),
			PrimaryKey: []string{IssueIDColumn}, OrderBy: []string{IssueIDColumn},
		},
		Comments: {
			Name: "comments", Description: "Comments on Jira issues, as Markdown",
			PrimaryKey: []string{"comment_id"}, OrderBy: []string{IssueIDColumn, "created_at", "comment_id"},
		},
		Attachments: {
			Name: "attachments", Description: "Files attached to Jira issues: what they are, not what is in them",
			PrimaryKey: []string{"attachment_id"}, OrderBy: []string{IssueIDColumn, "created_at", "attachment_id"},
		},
		Changelog: {
			Name: "changelog", Description: "History of Jira issues, one row per changed field; change_id repeats where one edit changed several",
			PrimaryKey: []string{"change_id", "item"}, OrderBy: []string{IssueIDColumn, "changed_at", "change_id", "item"},
		},
		IssueLinks: {
			Name: "issuelinks", Description: "Links between Jira issues, as seen from issue_key; a link has one row at each of its ends",
			PrimaryKey: []string{IssueIDColumn, "link_id"}, OrderBy: []string{IssueIDColumn, "link_id"},
		},
		RemoteLinks: {
			Name: "remote_links", Description: "Links from Jira issues to pages elsewhere",
			PrimaryKey: []string{IssueIDColumn, "remote_link_id"}, OrderBy: []string{IssueIDColumn, "remote_link_id"},
		},
		Worklogs: {
			Name: "worklogs", Description: "Work logged on Jira issues",
			PrimaryKey: []string{"worklog_id"}, OrderBy: []string{IssueIDColumn, "started_at", "worklog_id"},
		},
		Sprints: {
			Name: "sprints", Description: "Sprints that Jira issues are or were in, once each",
			Entities: true, PrimaryKey: []string{"sprint_id"}, OrderBy: []string{"sprint_id"},
		},
		Users: {
			Name: "users", Description: "People whom Jira issues name, once each",
			Entities: true, PrimaryKey: []string{"account_id"}, OrderBy: []string{"account_id"},
		},
		DeletedIssues: {
			Name: "deleted_issues", Description: "Jira issues that were deleted, or left the configured projects, and the last that was known of them",
			PrimaryKey: []string{IssueIDColumn}, OrderBy: []string{IssueIDColumn},
		},
		IssueSprints: {
			Name: "issue_sprints", Description: "Which Jira issue is or was in which sprint",
			PrimaryKey: []string{IssueIDColumn, "sprint_id"}, OrderBy: []string{IssueIDColumn, "sprint_id"},
		},
	}
	for i := range tables {
		if i != Issues {
			tables[i].Columns = slices.Clone(otherColumns[i])
		}
	}
	return tables
}
