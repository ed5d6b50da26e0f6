package rows

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func mustMap(tb testing.TB, fields ...Field) FieldMap {
	tb.Helper()
	m, err := NewFieldMap(fields)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func names(columns []catalog.Column) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = c.Name
		if c.Type != "VARCHAR" {
			out[i] += " " + c.Type
		}
	}
	return strings.Join(out, ", ")
}

// The 49 columns of the predecessor, in its order.
const referenceIssues = `issue_key, issue_id, issue_url, summary, description, issue_type, status, status_category, priority, resolution, ` +
	`project_key, project_name, creator_email, creator_name, reporter_email, reporter_name, assignee_email, assignee_name, ` +
	`created_at TIMESTAMP WITH TIME ZONE, updated_at TIMESTAMP WITH TIME ZONE, resolved_at TIMESTAMP WITH TIME ZONE, due_date, labels, ` +
	`attachment_count BIGINT, comment_count BIGINT, issuelink_count BIGINT, request_type, request_status, severity, triage, ` +
	`configuration_item, participants, organizations, spam, context, custom_url, slack_link, technical_issue_category, email_address, ` +
	`satisfaction BIGINT, first_response_breached, first_response_goal_millis BIGINT, first_response_elapsed_millis BIGINT, ` +
	`time_to_resolution_breached, time_to_resolution_goal_millis BIGINT, time_to_resolution_elapsed_millis BIGINT, l3_team, _synced_at, _raw_file`

func TestTablesOfTheReference(t *testing.T) {
	t.Parallel()
	tables := Tables(mustMap(t))
	for i, want := range []string{
		Issues:        referenceIssues,
		Comments:      "comment_id, issue_key, author_email, author_name, body, created_at TIMESTAMP WITH TIME ZONE, updated_at TIMESTAMP WITH TIME ZONE, update_author_email",
		Attachments:   "attachment_id, issue_key, filename, local_path, hierarchical_path, size_bytes BIGINT, mime_type, author_email, created_at TIMESTAMP WITH TIME ZONE, content_url, thumbnail_url",
		Changelog:     "change_id, issue_key, author_email, author_name, field_name, field_type, from_value, to_value, changed_at TIMESTAMP WITH TIME ZONE",
		IssueLinks:    "issue_key, link_id, link_type, direction, linked_issue_key, linked_issue_summary, linked_issue_status, linked_issue_priority",
		RemoteLinks:   "issue_key, remote_link_id, url, title, application_name, application_type",
		Worklogs:      "worklog_id, issue_key",
		Sprints:       "sprint_id BIGINT, name",
		Users:         "account_id, display_name",
		IssueSprints:  "sprint_id BIGINT, issue_key, issue_id",
		DeletedIssues: "issue_id, issue_key, project_key, deleted_at TIMESTAMP WITH TIME ZONE",
	} {
		got := names(tables[i].Columns)
		if i == Issues && got != want || !strings.HasPrefix(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", tables[i].Name, got, want)
		}
	}
	if n := len(tables[Issues].Columns); n != 49 {
		t.Errorf("issues has %d columns", n)
	}
}

func TestTablesAreSound(t *testing.T) {
	t.Parallel()
	tables := Tables(mustMap(t))
	if len(tables) != TableCount {
		t.Fatalf("%d tables", len(tables))
	}
	for _, table := range tables {
		seen := map[string]bool{}
		for _, c := range table.Columns {
			if seen[c.Name] {
				t.Errorf("%s has %s twice", table.Name, c.Name)
			}
			seen[c.Name] = true
		}
		for _, name := range append(append([]string{}, table.PrimaryKey...), table.OrderBy...) {
			if !seen[name] {
				t.Errorf("%s has no column %s", table.Name, name)
			}
		}
		if len(table.PrimaryKey) == 0 || len(table.OrderBy) == 0 || table.Description == "" || catalog.ValidTableName(table.Name) != nil {
			t.Errorf("%s lacks something: %+v", table.Name, table)
		}
		if seen[IssueIDColumn] == table.Entities || table.Entities && table.PrimaryKey[0] != table.Columns[0].Name {
			t.Errorf("%s: the column %s: %v", table.Name, IssueIDColumn, seen[IssueIDColumn])
		}
	}
	// What Tables returns is the caller's own.
	tables[Comments].Columns[0].Name = "changed"
	if got := Tables(mustMap(t))[Comments].Columns[0].Name; got != "comment_id" {
		t.Errorf("a caller changed the definition: %s", got)
	}
}

func TestFieldMap(t *testing.T) {
	t.Parallel()
	_, custom, _ := strings.Cut(referenceIssues, "issuelink_count BIGINT, ")
	custom = strings.TrimSuffix(custom, ", _synced_at, _raw_file")
	own := Field{Name: "team", ID: "customfield_1", Kind: KindOption}
	for name, c := range map[string]struct {
		fields []Field
		want   string // the custom columns, or the error
	}{
		"replaced":  {[]Field{own, {Name: "approver", ID: "customfield_2", Kind: KindUser}}, "team, approver_email, approver_name, approver_account_id"},
		"types":     {[]Field{{Name: "a", ID: "x", Kind: KindNumber}, {Name: "b", ID: "x", Kind: KindDate}, {Name: "c", ID: "x", Kind: KindDatetime}, {Name: "d", ID: "x", Kind: KindBoolean}, {Name: "e", ID: "x", Kind: KindJSON}}, "a DOUBLE, b DATE, c TIMESTAMP WITH TIME ZONE, d BOOLEAN, e"},
		"extended":  {[]Field{{Use: "reference"}, own}, custom + ", team"},
		"overruled": {[]Field{{Use: "reference"}, {Name: "severity", ID: "customfield_9", Kind: KindNumber}}, strings.Replace(custom, "severity", "severity DOUBLE", 1)},

		"no kind":        {[]Field{{Name: "a", ID: "x"}}, `kind "" is none of`},
		"no id":          {[]Field{{Name: "a", Kind: KindText}}, `id "" is not`},
		"bad name":       {[]Field{{Name: "A b", ID: "x", Kind: KindText}}, `a name has`},
		"long name":      {[]Field{{Name: strings.Repeat("a", 64), ID: "x", Kind: KindText}}, `a name has`},
		"bad path":       {[]Field{{Name: "a", ID: "x", Kind: KindText, Path: "b..c"}}, `empty step`},
		"twice":          {[]Field{own, own}, "the column team of customfield_1 is also a column of customfield_1"},
		"built in":       {[]Field{{Name: "summary", ID: "x", Kind: KindText}}, "the column summary of x is also a column that every map has"},
		"built in parts": {[]Field{{Name: "assignee", ID: "assignee", Kind: KindUser}}, "the column assignee_email of assignee is also"},
		"two sprints":    {[]Field{{ID: "x", Kind: KindSprint}, {ID: "y", Kind: KindSprint}}, "both of the kind sprint"},
		"unknown use":    {[]Field{{Use: "everything"}}, "`use` takes"},
		"use with more":  {[]Field{{Use: "reference", Name: "x"}}, "stands alone"},
		"use later":      {[]Field{own, {Use: "reference"}}, "must come first"},
		"too many":       {make([]Field, 0), ""},
	} {
		if name == "too many" {
			for range MaxFields + 1 {
				c.fields = append(c.fields, Field{Name: "a", ID: "x", Kind: KindText})
			}
			c.want = "are more than 500"
		}
		m, err := NewFieldMap(c.fields)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), c.want) {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
			continue
		}
		if got := names(m.columns); got != c.want {
			t.Errorf("%s: %s", name, cmp.Diff(c.want, got))
		}
	}
}

func TestFieldMapSprint(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]FieldMap{
		"customfield_10020": mustMap(t, Field{Name: "a", ID: "x", Kind: KindText}),
		"customfield_7":     mustMap(t, Field{Use: "reference"}, Field{ID: "customfield_7", Kind: KindSprint}),
		"customfield_8":     mustMap(t, Field{ID: "customfield_8", Kind: KindSprint}),
	} {
		if m.sprint != want {
			t.Errorf("the sprint field is %s, want %s", m.sprint, want)
		}
	}
}

// What was made with another map has to be made again, and nothing else.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	base := mustMap(t)
	if got := mustMap(t, Reference()...).Fingerprint(); got != base.Fingerprint() {
		t.Error("the same map has two fingerprints")
	}
	for _, other := range []FieldMap{
		mustMap(t, Field{Name: "a", ID: "x", Kind: KindText}),
		mustMap(t, Field{Use: "reference"}, Field{Name: "a", ID: "x", Kind: KindText}),
		mustMap(t, Field{Use: "reference"}, Field{Name: "severity", ID: "x", Kind: KindOption}),
		mustMap(t, Field{Use: "reference"}, Field{ID: "x", Kind: KindSprint}),
	} {
		if other.Fingerprint() == base.Fingerprint() {
			t.Errorf("%v has the fingerprint of the reference", other.Fields())
		}
	}
}

func TestFieldDecodes(t *testing.T) {
	t.Parallel()
	var got []Field
	if err := json.Unmarshal([]byte(`[{"use":"reference"},{"name":"a","id":"customfield_1","kind":"option","path":"b.c"}]`), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Field{{Use: "reference"}, {Name: "a", ID: "customfield_1", Kind: KindOption, Path: "b.c"}}, got); diff != "" {
		t.Error(diff)
	}
}
