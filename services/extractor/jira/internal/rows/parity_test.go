package rows

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const site = "https://your.atlassian.net"

// corpus reads the issues of testdata, by name.
func corpus(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(paths) < 20 {
		tb.Fatalf("%d documents: %v", len(paths), err)
	}
	docs := map[string][]byte{}
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			tb.Fatal(err)
		}
		docs[strings.TrimSuffix(filepath.Base(p), ".json")] = raw
	}
	return docs
}

func flatten(tb testing.TB, doc []byte, fields ...Field) Rows {
	tb.Helper()
	rows, err := Flatten(doc, mustMap(tb, fields...), Site{URL: site})
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

// parity gathers which of the intended differences were seen.
type parity struct {
	t    *testing.T
	seen map[string]int
}

// TestParity compares every value of the corpus with the predecessor's, column by column. Where they
// differ, it has to be one of the differences that docs/jira-fields.md lists, and each of those has
// to be seen.
func TestParity(t *testing.T) {
	t.Parallel()
	p := parity{t: t, seen: map[string]int{}}
	for name, raw := range corpus(t) {
		p.document(name, raw)
	}
	listed, err := os.ReadFile("../../../../../docs/jira-fields.md")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		id := fmt.Sprintf("D%d", i+1)
		if !strings.Contains(string(listed), "\n| "+id+" |") {
			t.Errorf("docs/jira-fields.md does not list %s", id)
		}
		byHand := slices.Contains([]string{"D6", "D12", "D16"}, id) // see TestDifferencesThatParityCannotShow
		if p.seen[id] == 0 && !byHand {
			t.Errorf("no document of the corpus shows %s", id)
		}
	}
	if strings.Contains(string(listed), "\n| D17 |") {
		t.Error("docs/jira-fields.md lists a difference that this test knows nothing of")
	}
}

func (p *parity) document(name string, raw []byte) {
	var doc object
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		p.t.Fatal(err)
	}
	got := flatten(p.t, raw)
	want, err := refTables(doc)
	if err != nil {
		p.seen["D8"]++
		if name != "garbage" && !strings.HasPrefix(name, "null-") {
			p.t.Errorf("%s: %v", name, err)
		}
		return
	}
	if month := refMonth(doc); month != got.Month {
		p.seen["D7"]++
		if !strings.HasPrefix(name, "border-") && (month != "now" || got.Month != UndatedMonth) {
			p.t.Errorf("%s: the month is %s, want %s", name, got.Month, month)
		}
	}
	if got.Deleted {
		p.seen["D15"]++
		return
	}
	for i, table := range Tables(mustMap(p.t)) {
		if rows, known := want[table.Name]; known {
			p.table(name, doc, table, got.Tables[i], rows)
		}
	}
}

func (p *parity) table(name string, doc object, table Table, got [][]any, want []object) {
	where := name + ": " + table.Name
	own := map[string]string{"comments": "_comments", "changelog": "_changelog"}[table.Name]
	if list, whole := doc[own].([]any); whole {
		p.seen["D9"]++
		distinct := map[any]bool{}
		for _, e := range list {
			if id := e.(object)["id"]; distinct[id] {
				p.seen["D10"]++
			} else {
				distinct[id] = true
			}
		}
		if len(got) != len(distinct) || len(got) <= len(want) {
			p.t.Errorf("%s: %d rows, want the whole list of %d", where, len(got), len(distinct))
		}
		return
	}
	if len(got) != len(want) {
		p.t.Errorf("%s: %d rows, want %d", where, len(got), len(want))
		return
	}
	// Rows come in another order; find each by its id.
	key := map[string]string{"issues": "issue_id", "comments": "comment_id", "attachments": "attachment_id", "changelog": "change_id", "issuelinks": "link_id", "remote_links": "remote_link_id"}[table.Name]
	at := table.column(key)
	used := map[int]bool{}
	for i, w := range want {
		j := slices.IndexFunc(got, func(r []any) bool { return r[at] == w[key] })
		for j >= 0 && used[j] {
			j++ // items of one history keep their order
		}
		if j < 0 || j >= len(got) || got[j][at] != w[key] {
			p.t.Errorf("%s: no row %v", where, w[key])
			continue
		}
		used[j] = true
		if i != j {
			p.seen["D11"]++
		}
		for c, column := range table.Columns {
			value, known := w[column.Name]
			if !known {
				p.seen["D14"]++
				if c < len(w) {
					p.t.Errorf("%s: the column %s stands among the predecessor's", where, column.Name)
				}
				continue
			}
			if difference := p.value(doc, column.Name, got[j][c], value); difference == "" {
				p.t.Errorf("%s %v: %s is %#v, want %#v", where, w[key], column.Name, got[j][c], value)
			}
		}
	}
}

// value compares two values and names the difference that explains what is between them: "" where
// none does, "none" where there is none.
func (p *parity) value(doc object, column string, got, want any) string {
	difference := ""
	gotText, _ := got.(string)
	wantText, wantIsText := want.(string)
	wantTime, wantIsTime := want.(time.Time)
	gotTime, _ := got.(time.Time)
	_, whole := doc["_comments"]
	switch {
	case reflect.DeepEqual(got, want):
		return "none"
	case wantIsTime && gotTime.Equal(wantTime):
		return "none"
	case wantIsTime && gotTime.Truncate(time.Second).Equal(wantTime):
		difference = "D3"
	case (column == "description" || column == "body") && got == nil && want == "":
		difference = "D2"
	case slices.Contains([]string{"description", "body", "context"}, column) && wantIsText && sameWords(gotText, wantText):
		difference = "D1"
	case column == "participants" && sameList(gotText, wantText, true):
		difference = "D5"
	case wantIsText && strings.HasPrefix(wantText, "[") && sameList(gotText, wantText, false):
		difference = "D4"
	case column == "comment_count" && whole:
		difference = "D9"
	case column == "hierarchical_path" && wantIsText && strings.HasSuffix(gotText, strings.ReplaceAll(wantText[strings.Index(wantText, "_")+1:], "/", "_")):
		difference = "D13"
	}
	if difference != "" {
		p.seen[difference]++
	}
	return difference
}

// sameWords tells that the words of a text come in the other in their order, whatever is around them.
func sameWords(markdown, plain string) bool {
	rest := markdown
	for _, word := range strings.Fields(plain) {
		i := strings.Index(rest, word)
		if i < 0 {
			return false
		}
		rest = rest[i+len(word):]
	}
	return true
}

// sameList tells that two texts are the same JSON list; with names, null in want is any text.
func sameList(got, want string, names bool) bool {
	var a, b []any
	if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || len(a) != len(b) {
		return false
	}
	hidden := false
	for i := range a {
		if names && b[i] == nil {
			hidden = true
			continue
		}
		if a[i] != b[i] {
			return false
		}
	}
	return hidden == names
}

// What the predecessor cannot be compared in, by hand.
func TestDifferencesThatParityCannotShow(t *testing.T) {
	t.Parallel()
	docs := corpus(t)
	fields := []Field{{Name: "ci", ID: "customfield_10511", Kind: KindOptions}}
	if got := column(t, flatten(t, docs["garbage"], fields...), Issues, "ci", fields...); got[0] != `["9"]` { // D6
		t.Errorf("an asset is %v", got[0])
	}
	times := flatten(t, docs["times"]) // D16
	if got := column(t, times, Issues, "resolved_at"); got[0] != nil {
		t.Errorf("30 February is %v", got[0])
	}
	if want := []Problem{{"issues", "updated_at", "expected a time, found another text", 1}, {"issues", "resolved_at", "expected a time, found another text", 1}}; !slices.Equal(times.Problems, want) {
		t.Errorf("problems %v", times.Problems)
	}
	local := Site{URL: site, LocalPath: func(issue, id, name string) string { // D12
		if id == "901" {
			return ""
		}
		return "raw/" + issue + "/" + id
	}}
	rows, err := Flatten(docs["attachments"], mustMap(t), local)
	if err != nil {
		t.Fatal(err)
	}
	if got := column(t, rows, Attachments, "local_path"); !slices.Equal(got, []any{nil, "raw/10114/902"}) {
		t.Errorf("local paths %v", got)
	}
}

// column gives the values of a column.
func column(tb testing.TB, rows Rows, table int, name string, fields ...Field) (out []any) {
	tb.Helper()
	at := Tables(mustMap(tb, fields...))[table].column(name)
	for _, r := range rows.Tables[table] {
		out = append(out, r[at])
	}
	return out
}
