package rows

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"

	"github.com/agnes-platform/agnes/pkg/fault"
)

func TestDiscoverFields(t *testing.T) {
	t.Parallel()
	answer, err := os.ReadFile("testdata/fields.json")
	if err != nil {
		t.Fatal(err)
	}
	proposals, err := DiscoverFields(answer, mustMap(t))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var fields []Field
	for _, p := range proposals {
		line := fmt.Sprintf("%s %s %s", p.ID, p.Name, strings.Replace(string(p.Kind), "sprint", "kind=sprint", 1))
		if p.Path != "" {
			line += " " + p.Path
		}
		if p.Mapped {
			line += " mapped"
		}
		lines = append(lines, line)
		fields = append(fields, p.Field)
	}
	want := strings.Split(strings.TrimSpace(`
customfield_10002 organizations options mapped
customfield_10004 severity option mapped
customfield_10010 request_type text requestType.name mapped
customfield_10010 request_status text currentStatus.status mapped
customfield_10016 story_point_estimate number
customfield_10020 sprint kind=sprint mapped
customfield_10156 participants users mapped
customfield_10157 satisfaction integer rating mapped
customfield_10161 time_to_resolution sla mapped
customfield_10200 zadost_popis adf
customfield_10201 link text
customfield_10202 start_date date
customfield_10203 seen_at datetime
customfield_10204 approver user
customfield_10205 assignee_10205 user
customfield_10206 region cascading
customfield_10207 platforms options
customfield_10208 severity_10208 text
customfield_10209 team option
customfield_10210 affected_assets options
customfield_10211 field_10211 json
customfield_10212 f_2nd_line json
customfield_10213 a_very_long_name_of_a_field_that_somebod text
customfield_10214 a_very_long_name_of_a_field_that_s_10214 text
customfield_10215 summary_10215 text`), "\n")
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	// All of them together are a configuration.
	if _, err := NewFieldMap(fields); err != nil {
		t.Error(err)
	}
	raw, err := json.Marshal(proposals[1])
	if err != nil || string(raw) != `{"name":"severity","id":"customfield_10004","kind":"option","title":"Severity","type":"option (com.atlassian.jira.plugin.system.customfieldtypes:select)","mapped":true}` {
		t.Errorf("%s %v", raw, err)
	}
	for _, bad := range []string{``, `{}`, `{"errorMessages":["no"]}`} {
		if _, err := DiscoverFields([]byte(bad), FieldMap{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got, err := DiscoverFields([]byte(`[]`), FieldMap{}); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
}

// A column that the map has already is nobody else's; one of a field that is not there is free.
func TestDiscoverBesidesTheMap(t *testing.T) {
	t.Parallel()
	answer := []byte(`[{"id":"customfield_1","name":"Squad","custom":true,"schema":{"type":"option"}},{"id":"customfield_2","name":"Team","custom":true,"schema":{"type":"string"}},
		{"id":"customfield_3","name":"Severity","custom":true,"schema":{"type":"option"}},{"id":"customfield_4","name":"Sprint","custom":true,"schema":{"type":"array","items":"json","custom":"com.pyxis.greenhopper.jira:gh-sprint"}}]`)
	present := mustMap(t, Field{Use: "reference"}, Field{Name: "team", ID: "customfield_1", Kind: KindJSON})
	proposals, err := DiscoverFields(answer, present)
	if err != nil {
		t.Fatal(err)
	}
	want := []Proposal{
		{Field{Name: "team", ID: "customfield_1", Kind: KindJSON}, "Squad", "option", true},
		{Field{Name: "team_2", ID: "customfield_2", Kind: KindText}, "Team", "string", false},
		{Field{Name: "severity", ID: "customfield_3", Kind: KindOption}, "Severity", "option", false},
		{Field{Name: "sprint", ID: "customfield_4", Kind: KindSprint}, "Sprint", "array of json (com.pyxis.greenhopper.jira:gh-sprint)", false},
	}
	if diff := cmp.Diff(want, proposals); diff != "" {
		t.Error(diff)
	}
	// What is proposed can stand after what is there: it takes the place of what the site lacks.
	fields := []Field{{Use: "reference"}}
	for _, p := range proposals {
		fields = append(fields, p.Field)
	}
	if m := mustMap(t, fields...); m.sprint != "customfield_4" {
		t.Errorf("the sprint field is %s", m.sprint)
	}
}

// The names of any number of fields differ from each other and from the columns that are there.
func TestDiscoveredNamesDiffer(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range 200 {
		name := []string{"Same", "same!", "Same 10001", "Assignee", "", "é", strings.Repeat("x", 300)}[i%7]
		list = append(list, fmt.Sprintf(`{"id":"customfield_%d","name":%q,"custom":true,"schema":{"type":%q}}`, 10000+i%90, name, []string{"user", "string", "sd-servicelevelagreement", "sd-customerrequesttype"}[i%4]))
	}
	proposals, err := DiscoverFields([]byte("["+strings.Join(list, ",")+"]"), FieldMap{})
	if err != nil {
		t.Fatal(err)
	}
	var fields []Field
	for _, p := range proposals {
		fields = append(fields, p.Field)
	}
	if _, err := NewFieldMap(fields); err != nil || len(fields) < 200 {
		t.Errorf("%d fields: %v", len(fields), err)
	}
}

// docs/jira-fields.md says what the code does.
func TestDocs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../../../../docs/jira-fields.md")
	if err != nil {
		t.Fatal(err)
	}
	page := norm.NFC.String(string(raw))
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	var example struct{ Sources []struct{ Fields []Field } }
	var reference struct{ Fields []Field }
	if err := yaml.Unmarshal([]byte(blocks[0][1]), &example); err != nil || len(example.Sources) != 1 {
		t.Fatal(err)
	}
	if m := mustMap(t, example.Sources[0].Fields...); names(m.columns) != "severity, story_points DOUBLE, first_response_breached, first_response_goal_millis BIGINT, first_response_elapsed_millis BIGINT, request_type, assignee_account_id" || m.sprint != "customfield_10007" {
		t.Errorf("the first example has the columns %s", names(m.columns))
	}
	if err := yaml.Unmarshal([]byte(blocks[1][1]), &reference); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Reference(), reference.Fields); diff != "" {
		t.Error("the default differs:", diff)
	}
	for _, k := range kinds {
		if !regexp.MustCompile("\n\\| [^|]*`" + string(k) + "`").MatchString(page) {
			t.Errorf("nothing is said of the kind %s", k)
		}
	}
	short := func(text string) string { return strings.ReplaceAll(text, typeTimestamp, "TIMESTAMPTZ") }
	for i, table := range Tables(mustMap(t)) {
		columns := "`" + short(names(table.Columns)) + "`"
		if i == Issues {
			columns = "`" + short(names(issueColumns)) + "`, those of the field map, `" + names(issueTail) + "`"
		}
		line := fmt.Sprintf("| `%s` | `%s` | %s |", table.Name, strings.Join(table.PrimaryKey, "`, `"), columns)
		if !strings.Contains(page, line+"\n") {
			t.Errorf("there is no line\n%s", line)
		}
	}
}
