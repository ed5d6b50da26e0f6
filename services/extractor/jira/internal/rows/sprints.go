package rows

import (
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// sprints makes a row of each sprint that the issue is or was in.
func (f *Flattener) sprints() [][]any {
	v := f.values[f.sprint]
	if v == nil {
		return nil
	}
	elements := []*jsontree.Value{v}
	if v.Type() == jsontree.Array {
		elements = v.GetArray()
	}
	rows := make([][]any, 0, len(elements))
	at := map[int64]int{}
	for _, e := range elements {
		row := f.sprintRow(e)
		if row == nil {
			continue
		}
		id := row[0].(int64)
		if i, again := at[id]; again {
			rows[i] = row
			continue
		}
		at[id] = len(rows)
		rows = append(rows, row)
	}
	return rows
}

func (f *Flattener) sprintRow(v *jsontree.Value) []any {
	switch v.Type() {
	case jsontree.String:
		return f.oldSprint(jsontree.Text(v))
	case jsontree.Object:
	default:
		f.unexpected("sprint_id", "a sprint", v)
		return nil
	}
	id, ok := parseInteger(scalar(v.Get("id")))
	if !ok {
		f.problem("sprint_id", "missing")
		return nil
	}
	board := present(v.Get("boardId"))
	if board == nil {
		board = present(v.Get("originBoardId"))
	}
	return []any{
		id, f.field("name", v, "name"), f.field("state", v, "state"), f.integer("board_id", board),
		f.time("start_at", v, "startDate"), f.time("end_at", v, "endDate"), f.time("completed_at", v, "completeDate"),
		f.field("goal", v, "goal"),
	}
}

// The members of a sprint that is written as the text of a Java object, as webhooks and the version 2
// of the API do on some sites: com.atlassian.greenhopper.service.sprint.Sprint@1f[id=7,…,name=…].
var oldSprintKeys = []string{
	"id", "rapidViewId", "state", "name", "startDate", "endDate", "completeDate", "activatedDate", "sequence", "goal", "synced",
	"autoStartStop", "incompleteIssuesDestinationId",
}

func (f *Flattener) oldSprint(text string) []any {
	_, members, found := strings.Cut(text, "[")
	members, closed := strings.CutSuffix(members, "]")
	values := map[string]string{}
	key, value := "", ""
	keep := func() {
		if key != "" && value != "<null>" {
			values[key] = value
		}
	}
	// A name may have commas and equals signs: only a known word starts the next member.
	for part := range strings.SplitSeq(members, ",") {
		name, rest, ok := strings.Cut(part, "=")
		if ok && isOldSprintKey(name) && values[name] == "" {
			keep()
			key, value = name, rest
		} else {
			value += "," + part
		}
	}
	keep()
	id, ok := parseInteger(values["id"])
	if !found || !closed || !ok {
		f.problem("sprint_id", "expected a sprint, found another text")
		return nil
	}
	word := func(key string) any {
		if v, ok := values[key]; ok {
			return v
		}
		return nil
	}
	moment := func(key string) any {
		if t, ok := parseTime([]byte(values[key])); ok {
			return t
		}
		return nil
	}
	var board any
	if n, ok := parseInteger(values["rapidViewId"]); ok {
		board = n
	}
	state := word("state")
	if s, ok := state.(string); ok {
		state = strings.ToLower(s)
	}
	return []any{
		id, word("name"), state, board, moment("startDate"), moment("endDate"), moment("completeDate"),
		word("goal"),
	}
}

func isOldSprintKey(name string) bool {
	for _, k := range oldSprintKeys {
		if k == name {
			return true
		}
	}
	return false
}

// issueSprints makes a row for each of the sprints.
func (f *Flattener) issueSprints(sprints [][]any) [][]any {
	if len(sprints) == 0 {
		return nil
	}
	rows := make([][]any, len(sprints))
	for i, s := range sprints {
		rows[i] = []any{s[0], f.out.IssueKey, f.out.IssueID}
	}
	return rows
}
