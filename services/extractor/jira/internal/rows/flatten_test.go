package rows

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// The months of two issues that were created in the same moment, or nearly, do not depend on where
// the one who wrote the text sat.
func TestTrap_J8_MonthIsInUTC(t *testing.T) {
	t.Parallel()
	for created, want := range map[string]string{
		"2024-04-01T00:30:00.000+0200": "2024-03",
		"2024-03-31T22:30:00.000+0000": "2024-03",
		"2024-03-31T20:00:00.000-0800": "2024-04",
		"2024-04-01T04:00:00Z":         "2024-04",
		"2024-04-01":                   "2024-04",
		"2023-12-31T23:59:59.999-0001": "2024-01",
	} {
		rows := flatten(t, []byte(fmt.Sprintf(`{"id":"1","key":"A-1","fields":{"created":%q}}`, created)))
		if rows.Month != want {
			t.Errorf("%s is of the month %s, want %s", created, rows.Month, want)
		}
	}
	if got := MonthOf(time.Date(2024, 4, 1, 0, 30, 0, 0, time.FixedZone("", 2*60*60))); got != "2024-03" {
		t.Errorf("MonthOf gives %s", got)
	}
	for _, created := range []string{`null`, `"soon"`, `7e300`, `"0000-01-01T00:30:00.000+0200"`, `"9999-12-31T23:59:59-0100"`} {
		rows := flatten(t, []byte(`{"id":"1","key":"A-1","fields":{"created":`+created+`}}`))
		if rows.Month != UndatedMonth || len(rows.Problems) != 1 || rows.Problems[0].Column != "created_at" {
			t.Errorf("%s is of the month %s, problems %v", created, rows.Month, rows.Problems)
		}
	}
}

// A list that was fetched whole counts, not the page within the issue.
func TestTrap_J3_WholeListsCount(t *testing.T) {
	t.Parallel()
	doc := func(more string) []byte {
		return []byte(`{"id":"1","key":"A-1","fields":{"created":"2024-05-01","comment":{"total":3,"comments":[{"id":"1","body":"a"}]},
			"worklog":{"total":1,"worklogs":[{"id":"1"}]}},"changelog":{"histories":[{"id":"1","items":[{"field":"x"}]}]}` + more + `}`)
	}
	count := func(rows Rows) [3]int {
		return [3]int{len(rows.Tables[Comments]), len(rows.Tables[Changelog]), len(rows.Tables[Worklogs])}
	}
	for name, c := range map[string]struct {
		more     string
		rows     [3]int
		comments int64
	}{
		"payload":     {"", [3]int{1, 1, 1}, 3},
		"whole":       {`,"_comments":[{"id":"1"},{"id":"2"}],"_changelog":[],"_worklogs":[{"id":"1"},{"id":"2"}]`, [3]int{2, 0, 2}, 2},
		"emptied":     {`,"_comments":[],"_changelog":[],"_worklogs":[]`, [3]int{0, 0, 0}, 0},
		"not whole":   {`,"_comments":[{"id":"1"},{"id":"2"}],"_partial":["comments"]`, [3]int{2, 1, 1}, 3},
		"null":        {`,"_comments":null,"_changelog":null,"_worklogs":null`, [3]int{1, 1, 1}, 3},
		"other whole": {`,"_comments":[{"id":"1"}],"_partial":["changelog"]`, [3]int{1, 1, 1}, 1},
	} {
		rows := flatten(t, doc(c.more))
		if got := count(rows); got != c.rows {
			t.Errorf("%s: comments, changes, worklogs: %v, want %v", name, got, c.rows)
		}
		if got := column(t, rows, Issues, "comment_count"); got[0] != c.comments {
			t.Errorf("%s: comment_count %v, want %d", name, got[0], c.comments)
		}
	}
}

// Names from the payload do not lead out of a folder.
func TestTrap_J12_NamesMakeNoPath(t *testing.T) {
	t.Parallel()
	doc := `{"id":"1","key":"../../x/-1001","fields":{"created":"2024-05-01","attachment":[{"id":"../7","filename":"..\\..\\a/b\u0000.txt"}]}}`
	if got := column(t, flatten(t, []byte(doc)), Attachments, "hierarchical_path"); got[0] != `1/001/.._7_.._.._a_b_.txt` {
		t.Errorf("%v", got[0])
	}
	for key, want := range map[string]string{
		"SUP-14991": "14/991/1_f", "SUP-7": "0/7/1_f", "SUP-1000": "1/000/1_f", "A-1-22": "0/22/1_f", "SUP": "other/SUP/1_f", "..": "other/_/1_f", "a/b": "other/a_b/1_f", "A-x": "other/A-x/1_f", "A-": "other/A-/1_f",
	} {
		if got := hierarchicalPath(key, "1", "f"); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

// An odd value costs itself, and is counted; nothing else.
func TestOddShapesAreProblemsOfTheirColumns(t *testing.T) {
	t.Parallel()
	rows := flatten(t, corpus(t)["garbage"])
	var lines []string
	for _, p := range rows.Problems {
		lines = append(lines, fmt.Sprintf("%s.%s %d: %s", p.Table, p.Column, p.Count, p.Reason))
	}
	slices.Sort(lines)
	want := strings.Split(strings.TrimSpace(`
attachments. 1: expected an object, found a text
attachments.size_bytes 1: expected a whole number, found a text
changelog. 1: expected an object, found a number
changelog.changed_at 1: expected a time, found another text
changelog.from_value 1: expected a text, found an object
changelog.item 1: expected a list, found a text
changelog.item 1: expected an object, found a number
comments. 1: expected an object, found a text
comments. 1: expected an object, found null
comments.author_account_id 1: expected an object, found a text
comments.author_email 1: expected an object, found a text
comments.author_name 1: expected an object, found a text
comments.body 1: expected rich text, found a number
issuelinks. 1: expected an object, found a number
issuelinks.link_type 1: expected an object, found a text
issuelinks.linked_issue_key 1: expected an object, found a text
issuelinks.linked_issue_summary 1: expected an object, found a text
issues.assignee_email 1: expected an object, found a list
issues.assignee_name 1: expected an object, found a list
issues.comment_count 1: expected a whole number, found a text
issues.configuration_item 1: expected an option, found an object
issues.configuration_item 1: expected an option, found null
issues.context 1: expected rich text, found a number
issues.creator_email 1: expected an object, found a text
issues.creator_name 1: expected an object, found a text
issues.custom_url 1: expected a text, found an object
issues.description 1: expected rich text, found a number
issues.due_date 1: expected a text, found a list
issues.first_response_breached 1: expected an SLA, found a text
issues.issue_type 1: expected an object, found a text
issues.participants 1: expected a list of users, found a text
issues.priority 1: expected a text, found a list
issues.project_key 2: expected an object, found a number
issues.project_name 1: expected an object, found a number
issues.request_status 1: expected an object, found a text
issues.request_type 1: expected an object, found a text
issues.satisfaction 1: expected a whole number, found a text
issues.severity 1: expected an option, found a list
issues.status 1: expected an object, found a list
issues.status_category 1: expected an object, found a list
issues.summary 1: expected a text, found an object
issues.time_to_resolution_breached 1: expected an object, found a text
issues.time_to_resolution_elapsed_millis 1: expected an object, found a text
issues.time_to_resolution_goal_millis 1: expected an object, found a text
issues.updated_at 1: expected a time, found a truth value
remote_links. 1: expected a list, found an object
sprints.sprint_id 1: expected a sprint, found a number
sprints.sprint_id 1: expected a sprint, found another text
sprints.sprint_id 1: missing
worklogs.worklogs 1: expected an object, found a number`), "\n")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if got := column(t, rows, Issues, "labels"); got[0] != `["one"]` {
		t.Errorf("labels %v", got)
	}
	if len(rows.Tables[Comments]) != 1 || len(rows.Tables[Attachments]) != 1 || len(rows.Tables[IssueLinks]) != 1 || len(rows.Tables[Changelog]) != 1 || len(rows.Tables[Users]) != 1 {
		t.Errorf("rows: %v", rows.Tables)
	}
}

func TestNullTypedFieldsFailNothing(t *testing.T) {
	t.Parallel()
	for name, doc := range corpus(t) {
		rows := flatten(t, doc)
		if strings.HasPrefix(name, "null-") && len(rows.Problems) > 0 {
			t.Errorf("%s: %v", name, rows.Problems)
		}
	}
	f := map[string]any{}
	for i := range slotNames {
		f[slotNames[i]] = nil
	}
	for _, field := range Reference() {
		f[field.ID] = nil
	}
	doc, err := json.Marshal(map[string]any{"id": "1", "key": "A-1", "fields": f, "_comments": nil, "_remote_links": nil, "_worklogs": nil, "_changelog": nil, "_synced_at": nil, "_deleted_at": nil, "_partial": nil, "changelog": nil})
	if err != nil {
		t.Fatal(err)
	}
	rows := flatten(t, doc)
	if len(rows.Problems) != 1 || rows.Problems[0].Column != "created_at" {
		t.Errorf("problems %v", rows.Problems)
	}
}

func TestFlattenRefusesWhatIsNoIssue(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"nothing": ``, "not JSON": `{"id":`, "secret": `{"token": hunter2}`, "list": `[]`, "no id": `{"key":"A-1","fields":{}}`,
		"no key": `{"id":"1","fields":{}}`, "odd id": `{"id":{},"key":"A-1","fields":{}}`, "no fields": `{"id":"1","key":"A-1"}`, "odd fields": `{"id":"1","key":"A-1","fields":[]}`,
	} {
		_, err := Flatten([]byte(doc), mustMap(t), Site{})
		if !fault.Is(err, fault.Permanent) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeletedIssue(t *testing.T) {
	t.Parallel()
	rows := flatten(t, corpus(t)["deleted"])
	at := time.Date(2024, 6, 1, 0, 0, 0, 250_000_000, time.UTC)
	want := [][]any{{"10124", "SUP-118", "SUP", at, "Issue SUP-118", "Task", "In Progress", time.Date(2024, 5, 1, 8, 11, 12, 345_000_000, time.UTC), time.Date(2024, 5, 2, 8, 0, 0, 1_000_000, time.UTC)}}
	if diff := cmp.Diff(want, rows.Tables[DeletedIssues]); diff != "" || !rows.Deleted || rows.Month != "2024-05" {
		t.Errorf("%s %s", rows.Month, diff)
	}
	for i, table := range rows.Tables {
		if i != DeletedIssues && len(table) > 0 {
			t.Errorf("%s has rows of a deleted issue", tableNames[i])
		}
	}
	// What little a webhook tells of an issue that we never had is enough.
	bare := flatten(t, []byte(`{"id":5,"key":"OPS-9","_deleted_at":"yesterday"}`))
	if got := bare.Tables[DeletedIssues]; len(got) != 1 || got[0][0] != "5" || got[0][2] != "OPS" || got[0][3] != nil || bare.ProjectKey != "OPS" {
		t.Errorf("%v", got)
	}
}

// An element that moved to the next page between two requests comes twice: the later one is newer.
func TestOfTwoElementsWithOneIDTheLaterCounts(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"id":"1","key":"A-1","fields":{"created":"2024-05-01","customfield_10020":[{"id":7,"name":"old"},{"id":8},{"id":7,"name":"new"}]},
		"_comments":[{"id":"1","body":"old"},{"id":"2"},{"id":1,"body":"new"},{"body":"no id"},{"body":"no id"}],
		"_changelog":[{"id":"1","items":[{"field":"old"},{"field":"older"}]},{"id":"2","items":[]},{"id":"1","items":[{"field":"new"}]}]}`)
	rows := flatten(t, doc)
	if got := column(t, rows, Comments, "body"); !slices.Equal(got, []any{"new", nil, "no id", "no id"}) {
		t.Errorf("comments %v", got)
	}
	if got := column(t, rows, Changelog, "field_name"); !slices.Equal(got, []any{"new"}) {
		t.Errorf("changes %v", got)
	}
	if got := column(t, rows, Sprints, "name"); !slices.Equal(got, []any{"new", nil}) {
		t.Errorf("sprints %v", got)
	}
}

func TestSprints(t *testing.T) {
	t.Parallel()
	day := func(month time.Month, d, h, m, ms int) time.Time {
		return time.Date(2024, month, d, h, m, 0, ms*1_000_000, time.UTC)
	}
	full := flatten(t, corpus(t)["full"])
	want := [][]any{
		{int64(7), "Sprint 7", "closed", int64(3), day(4, 22, 8, 0, 0), day(5, 3, 16, 0, 0), day(5, 3, 15, 30, 123), "ship it"},
		{int64(8), "Sprint 8", "active", int64(3), day(5, 6, 8, 0, 0), day(5, 17, 16, 0, 0), nil, nil},
	}
	if diff := cmp.Diff(want, full.Tables[Sprints]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]any{{int64(7), "SUP-14991", "10101"}, {int64(8), "SUP-14991", "10101"}}, full.Tables[IssueSprints]); diff != "" {
		t.Error(diff)
	}
	want = [][]any{{int64(9), "Sprint 9, late", "active", int64(3), day(5, 6, 8, 0, 0), day(5, 17, 16, 0, 0), nil, "first, then=second"}}
	if diff := cmp.Diff(want, flatten(t, corpus(t)["old-sprint"]).Tables[Sprints]); diff != "" {
		t.Error(diff)
	}
	doc := []byte(`{"id":"1","key":"A-1","fields":{"created":"2024-05-01","customfield_7":{"id":"12","originBoardId":4,"startDate":1714550400123}}}`)
	got := flatten(t, doc, Field{ID: "customfield_7", Kind: KindSprint}).Tables[Sprints]
	if len(got) != 1 || got[0][0] != int64(12) || got[0][3] != int64(4) || got[0][4] != time.UnixMilli(1714550400123).UTC() {
		t.Errorf("%v", got)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	want := [][]any{
		{"557058:1", "Ann Lee", "ann@example.com", true, "Europe/Prague", "atlassian"}, {"557058:2", "Bo Černý", "bo@example.com", true, "Europe/Prague", "atlassian"},
		{"557058:4", "Dana Customer", "dana@example.com", true, nil, "customer"},
	}
	if diff := cmp.Diff(want, flatten(t, corpus(t)["full"]).Tables[Users]); diff != "" {
		t.Error(diff)
	}
	// What is known of a user is gathered from all places, in whatever order they come.
	for _, users := range []string{`{"accountId":"z","displayName":"Zoe","active":true},{"accountId":"z","displayName":"Z","emailAddress":"z@example.com","active":false}`,
		`{"accountId":"z","displayName":"Z","emailAddress":"z@example.com","active":false},{"accountId":"z","displayName":"Zoe","active":true}`} {
		rows := flatten(t, []byte(`{"id":"1","key":"A-1","fields":{"created":"2024-05-01","customfield_99":[`+users+`]}}`))
		if diff := cmp.Diff([][]any{{"z", "Zoe", "z@example.com", true, nil, nil}}, rows.Tables[Users]); diff != "" {
			t.Error(diff)
		}
	}
	// A user of a field that nobody mapped is seen too; a mention in rich text is none.
	doc := []byte(`{"id":"1","key":"A-1","fields":{"created":"2024-05-01","customfield_99":[{"accountId":"z"},{"accountId":"z","active":false,"displayName":"Z"},{"accountId":7},{"accountId":""}],
		"description":{"type":"doc","content":[{"accountId":"no"}]}}}`)
	if diff := cmp.Diff([][]any{{"z", "Z", nil, false, nil, nil}}, flatten(t, doc).Tables[Users]); diff != "" {
		t.Error(diff)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	day := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	user := `{"accountId":"a1","displayName":"Ann","emailAddress":"ann@example.com"}`
	for _, c := range []struct {
		kind     Kind
		in       string
		want     []any
		problems int
	}{
		{KindText, `"x"`, []any{"x"}, 0}, {KindText, `""`, []any{""}, 0}, {KindText, `1.50`, []any{"1.50"}, 0}, {KindText, `true`, []any{"true"}, 0}, {KindText, `null`, []any{nil}, 0},
		{KindText, `{"type":"doc","content":[{"type":"text","text":"rich"}]}`, []any{"rich"}, 0}, {KindText, `[1]`, []any{nil}, 1},
		{KindText, `"\ud83d\ude00 \u00e9"`, []any{"😀 é"}, 0},
		{KindADF, `"plain"`, []any{"plain"}, 0}, {KindADF, `""`, []any{nil}, 0}, {KindADF, `true`, []any{nil}, 1},
		{KindOption, `{"value":"v","name":"n"}`, []any{"v"}, 0}, {KindOption, `{"name":"n","id":"1"}`, []any{"n"}, 0}, {KindOption, `{"key":"K","id":5}`, []any{"K"}, 0}, {KindOption, `{"id":5}`, []any{"5"}, 0},
		{KindOption, `{}`, []any{nil}, 1}, {KindOption, `[]`, []any{nil}, 1},
		{KindOptions, `null`, []any{"[]"}, 0}, {KindOptions, `["é \"x\"\n",{"name":"n"},7]`, []any{`["é \"x\"\n","n","7"]`}, 0}, {KindOptions, `["a",[],"b"]`, []any{`["a","b"]`}, 1}, {KindOptions, `{}`, []any{nil}, 1}, {KindOptions, `"one"`, []any{`["one"]`}, 0},
		{KindCascading, `{"value":"P","child":{"value":"C"}}`, []any{"P -> C"}, 0}, {KindCascading, `{"value":"P"}`, []any{"P"}, 0}, {KindCascading, `{"value":"P","child":null}`, []any{"P"}, 0}, {KindCascading, `{"value":"P","child":[]}`, []any{"P"}, 1}, {KindCascading, `null`, []any{nil}, 0},
		{KindNumber, `1.5`, []any{1.5}, 0}, {KindNumber, `"2"`, []any{2.0}, 0}, {KindNumber, `1e999`, []any{nil}, 1}, {KindNumber, `"NaN"`, []any{nil}, 1}, {KindNumber, `""`, []any{nil}, 0}, {KindNumber, `{}`, []any{nil}, 1},
		{KindInteger, `5`, []any{int64(5)}, 0}, {KindInteger, `5.0`, []any{int64(5)}, 0}, {KindInteger, `"7"`, []any{int64(7)}, 0}, {KindInteger, `5.5`, []any{nil}, 1}, {KindInteger, `9223372036854775807`, []any{int64(math.MaxInt64)}, 0}, {KindInteger, `9223372036854775808`, []any{nil}, 1},
		{KindBoolean, `true`, []any{true}, 0}, {KindBoolean, `false`, []any{false}, 0}, {KindBoolean, `"true"`, []any{nil}, 1},
		{KindDate, `"2024-05-01"`, []any{day}, 0}, {KindDate, `"2024-05-02T01:00:00.000+0200"`, []any{day}, 0}, {KindDate, `"May"`, []any{nil}, 1}, {KindDate, `""`, []any{nil}, 0},
		{KindDatetime, `"2024-05-01T00:00:00.001Z"`, []any{day.Add(time.Millisecond)}, 0}, {KindDatetime, `1714521600000`, []any{day}, 0},
		{KindUser, user, []any{"ann@example.com", "Ann", "a1"}, 0}, {KindUser, `null`, []any{nil, nil, nil}, 0}, {KindUser, `"x"`, []any{nil, nil, nil}, 3},
		{KindUsers, "[" + user + `,{"accountId":"a2"},{"displayName":"Bo","accountId":"a3"}]`, []any{`["ann@example.com","a2","Bo"]`}, 0}, {KindUsers, `[{}]`, []any{"[]"}, 1}, {KindUsers, user, []any{`["ann@example.com"]`}, 0},
		{KindAccount, user, []any{"a1"}, 0}, {KindAccounts, "[" + user + "," + user + "]", []any{`["a1","a1"]`}, 0},
		{KindSLA, `{"completedCycles":[null]}`, []any{nil, nil, nil}, 0}, {KindSLA, `{"ongoingCycle":{"breached":"no","goalDuration":{"millis":"x"}}}`, []any{nil, nil, nil}, 2},
		{KindJSON, `{"b":[1.50,"é\u0001",true,null,{}],"a":{}}`, []any{`{"b":[1.50,"é\u0001",true,null,{}],"a":{}}`}, 0}, {KindJSON, `null`, []any{nil}, 0}, {KindJSON, `[NaN,01]`, []any{`[null,null]`}, 0},
	} {
		doc := `{"id":"1","key":"A-1","fields":{"created":"2024-05-01","f":` + c.in + `}}`
		rows := flatten(t, []byte(doc), Field{Name: "c", ID: "f", Kind: c.kind})
		row := rows.Tables[Issues][0]
		got := row[len(issueColumns) : len(row)-2]
		problems := 0
		for _, p := range rows.Problems {
			problems += p.Count
		}
		if diff := cmp.Diff(c.want, got); diff != "" || problems != c.problems {
			t.Errorf("%s %s: %v, problems %v", c.kind, c.in, got, rows.Problems)
		}
	}
	doc := `{"id":"1","key":"A-1","fields":{"created":"2024-05-01","f":{"a":{"b":3},"c":"x"}}}`
	rows := flatten(t, []byte(doc), Field{Name: "c", ID: "f", Kind: KindInteger, Path: "a.b"}, Field{Name: "d", ID: "f", Kind: KindText, Path: "c.x"}, Field{Name: "e", ID: "f", Kind: KindText, Path: "z.y"})
	if got := rows.Tables[Issues][0][len(issueColumns):]; got[0] != int64(3) || got[1] != nil || got[2] != nil || len(rows.Problems) != 1 {
		t.Errorf("%v, problems %v", got, rows.Problems)
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2024-05-01T10:11:12.345+0200":   "2024-05-01T08:11:12.345Z",
		"2024-05-01T10:11:12.345678901Z": "2024-05-01T10:11:12.345678Z",
		"2024-05-01 10:11:12,5-05:30":    "2024-05-01T15:41:12.5Z",
		"2024-05-01T10:11:12+02":         "2024-05-01T08:11:12Z",
		"2024-05-01T10:11":               "2024-05-01T10:11:00Z",
		"2024-05-01":                     "2024-05-01T00:00:00Z",
		"2024-02-29T00:00:00Z":           "2024-02-29T00:00:00Z",
		"0001-01-01T00:00:00Z":           "0001-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999Z":    "9999-12-31T23:59:59.999999Z",
		"2023-02-29":                     "", "2024-13-01": "", "2024-00-01": "", "2024-01-00": "", "2024-04-31": "", "24-01-01": "", "2024-1-1": "", "": "", "2024-05-01T": "",
		"2024-05-01T24:00:00Z": "", "2024-05-01T10:60Z": "", "2024-05-01T10:00:60Z": "", "2024-05-01T10:00:00.Z": "", "2024-05-01T10:00:00+24:00": "", "2024-05-01T10:00:00+2": "",
		"2024-05-01T10:00:00Zx": "", "2024-05-01x": "", "2024-05-01T10:00:00*": "", "0001-01-01T00:00:00+0100": "", "9999-12-31T23:59:59-0001": "", "1714521600000": "",
	} {
		got, ok := parseTime([]byte(in))
		if ok != (want != "") || ok && got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v %v, want %q", in, got, ok, want)
		}
	}
}

// goType tells whether a value is of the Go type that tables.go promises for a type.
func goType(kind string, v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return kind == typeText && utf8.ValidString(v)
	case int64:
		return kind == typeInteger
	case float64:
		return kind == typeNumber && !math.IsNaN(v) && !math.IsInf(v, 0)
	case bool:
		return kind == typeBoolean
	case time.Time:
		return v.Location() == time.UTC && v.Nanosecond()%1000 == 0 && validYear(v) && (kind == typeTimestamp || kind == typeDate && v.Equal(v.Truncate(24*time.Hour)))
	}
	return false
}

// allKinds has a column of each kind for each of the fields, and at its end the sprints of field s.
func allKinds(ids ...string) (fields []Field) {
	for _, id := range ids {
		for _, k := range kinds {
			if k != KindSprint {
				fields = append(fields, Field{Name: "x" + id + "_" + string(k), ID: id, Kind: k})
			}
		}
	}
	return append(fields, Field{ID: "s", Kind: KindSprint})
}

func checkRows(tb testing.TB, tables []Table, rows Rows) {
	tb.Helper()
	for i, table := range tables {
		for _, row := range rows.Tables[i] {
			if len(row) != len(table.Columns) {
				tb.Fatalf("%s: %d values in %d columns", table.Name, len(row), len(table.Columns))
			}
			for c, v := range row {
				if !goType(table.Columns[c].Type, v) {
					tb.Errorf("%s.%s %s: %#v", table.Name, table.Columns[c].Name, table.Columns[c].Type, v)
				}
			}
		}
		if !slices.IsSortedFunc(rows.Tables[i], func(a, b []any) int { return compareRows(a, b, table.order()) }) {
			tb.Errorf("%s is not in order", table.Name)
		}
	}
}

func FuzzFlatten(f *testing.F) {
	for _, doc := range corpus(f) {
		f.Add(doc)
	}
	f.Add([]byte(`{"id":1,"key":"A-1","fields":{"a":{"type":"doc","content":[{"type":"text","text":"\ud800"}]},"b":1e400,"s":[{"id":1}]}}`))
	fields := mustMap(f, allKinds("a", "b", "customfield_10328", "customfield_10156", "customfield_10020", "created")...)
	tables := Tables(fields)
	f.Fuzz(func(t *testing.T, doc []byte) {
		rows, err := Flatten(doc, fields, Site{URL: site})
		if err != nil {
			if !fault.Is(err, fault.Permanent) {
				t.Error(err)
			}
			return
		}
		checkRows(t, tables, rows)
		again, err := Flatten(doc, fields, Site{URL: site})
		if diff := cmp.Diff(rows, again); diff != "" || err != nil {
			t.Error(err, diff)
		}
	})
}

// One Flattener gives what a fresh one gives, whatever came before; and rows outlive the next document.
func TestFlattenerKeepsNothing(t *testing.T) {
	t.Parallel()
	docs := corpus(t)
	f := NewFlattener(mustMap(t), Site{URL: site + "/"})
	kept := map[string]Rows{}
	for range 3 {
		for name, doc := range docs {
			rows, err := f.Flatten(doc)
			if err != nil {
				t.Fatal(err)
			}
			kept[name] = rows
			_, _ = f.Flatten([]byte(`{"id":`))
		}
	}
	for name, doc := range docs {
		fresh := flatten(t, doc)
		checkRows(t, Tables(mustMap(t)), fresh)
		if diff := cmp.Diff(fresh, kept[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// shuffled writes JSON with the members of objects and the elements of lists in another order.
func shuffled(t *rapid.T, v any, lists bool) any {
	switch v := v.(type) {
	case map[string]any:
		var pairs []string
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range rapid.Permutation(keys).Draw(t, "keys") {
			// Only these lists have no order of their own.
			free := slices.Contains([]string{"comments", "_comments", "histories", "_changelog", "attachment", "issuelinks", "worklogs", "_worklogs", "_remote_links"}, k)
			raw, err := json.Marshal(shuffled(t, v[k], free))
			if err != nil {
				t.Fatal(err)
			}
			name, _ := json.Marshal(k)
			pairs = append(pairs, string(name)+":"+string(raw))
		}
		return json.RawMessage("{" + strings.Join(pairs, ",") + "}")
	case []any:
		if lists {
			v = rapid.Permutation(v).Draw(t, "list")
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = shuffled(t, v[i], false)
		}
		return out
	}
	return v
}

// The order in which Jira lists things is of no account.
func TestRowsDoNotDependOnTheOrderOfTheDocument(t *testing.T) {
	t.Parallel()
	docs := corpus(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"full", "attachments", "links", "empties", "words"}).Draw(t, "document")
		var doc any
		if err := json.Unmarshal(docs[name], &doc); err != nil {
			t.Fatal(err)
		}
		other, err := json.Marshal(shuffled(t, doc, false))
		if err != nil {
			t.Fatal(err)
		}
		want, err := Flatten(docs[name], FieldMap{}, Site{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := Flatten(other, FieldMap{}, Site{})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("%v %s", err, diff)
		}
	})
}

// The rows go into DuckDB as they are, and it orders them as we do.
func TestRowsFitDuckDB(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, err := lake.Open(ctx, lake.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(ctx, statement, args...); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	kinds := allKinds("duedate", "customfield_10157", "customfield_10010")
	fields := mustMap(t, append([]Field{{Use: "reference"}}, kinds[:len(kinds)-1]...)...)
	exec("SET TimeZone = 'America/New_York'")
	all := [TableCount][][]any{}
	for _, doc := range corpus(t) {
		rows, err := Flatten(doc, fields, Site{URL: site})
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			all[i] = append(all[i], rows.Tables[i]...)
		}
	}
	for i, table := range Tables(fields) {
		rows := all[i]
		sortRows(rows, table.order())
		if table.Entities { // many issues name them
			rows = slices.CompactFunc(rows, func(a, b []any) bool { return a[0] == b[0] })
		}
		if len(rows) == 0 {
			t.Errorf("the corpus has no rows of %s", table.Name)
		}
		var list, key []string
		for _, c := range table.Columns {
			list = append(list, lake.QuoteIdent(c.Name)+" "+c.Type)
		}
		for _, name := range table.PrimaryKey {
			key = append(key, lake.QuoteIdent(name))
		}
		exec("CREATE TABLE " + table.Name + " (n BIGINT, " + strings.Join(list, ", ") + ")")
		for n, row := range rows {
			exec("INSERT INTO "+table.Name+" VALUES (?"+strings.Repeat(", ?", len(row))+")", append([]any{int64(n)}, row...)...)
		}
		var wrong int
		query := "SELECT count(*) FROM (SELECT n, row_number() OVER (ORDER BY " + strings.Join(table.OrderBy, ", ") + ", n) - 1 AS m FROM " + table.Name + ") WHERE n <> m"
		if err := db.QueryRowContext(ctx, query).Scan(&wrong); err != nil || wrong != 0 {
			t.Errorf("%s: %d rows stand elsewhere: %v", table.Name, wrong, err)
		}
		query = "SELECT count(*) - count(DISTINCT (" + strings.Join(key, ", ") + ")) FROM " + table.Name + " WHERE (" + strings.Join(key, " IS NOT NULL AND ") + " IS NOT NULL)"
		if err := db.QueryRowContext(ctx, query).Scan(&wrong); err != nil || wrong != 0 {
			t.Errorf("%s: %d rows share a key: %v", table.Name, wrong, err)
		}
	}
	var created time.Time
	if err := db.QueryRowContext(ctx, "SELECT created_at FROM issues WHERE issue_key = 'SUP-14991'").Scan(&created); err != nil || !created.Equal(time.Date(2024, 5, 1, 8, 11, 12, 345_000_000, time.UTC)) {
		t.Errorf("created_at comes back as %v: %v", created, err)
	}
}
