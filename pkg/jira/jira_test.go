package jira_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/jira"
)

func TestTrap_J12_KeysAndIDsFitTheGrammarOrAreNone(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 255)
	for key, project := range map[string]string{
		"SUP-1": "SUP", "AB-1234567890123456789": "AB", "A1-9": "A1", "A_B2-10": "A_B2", long + "-1": long,
		"": "", "SUP": "", "SUP-": "", "-1": "", "SUP-0": "", "SUP-01": "", "SUP--1": "", "sup-1": "", "S-1": "", "1A-1": "", "_A-1": "",
		"SUP-1/../..": "", "../SUP-1": "", "SUP-1?x=1": "", "SUP-1#": "", "SUP-1 ": "", " SUP-1": "", "SUP-1\n": "", "SÜP-1": "", "SUP-１": "",
		"SUP-1-1": "", "SUP-+1": "", "SUP-1e3": "", "SUP-12345678901234567890": "", "A" + long + "-1": "", "SUP-1\x00": "", "SUP%2F-1": "",
	} {
		if got := jira.ProjectOf(key); got != project || jira.ValidIssueKey(key) != (project != "") {
			t.Errorf("%q: the project is %q, not %q", key, got, project)
		}
	}
	for id, want := range map[string]bool{"1": true, "10100": true, "": false, "-1": false, "1/2": false, "..": false, "1.5": false, "٣": false, "12345678901234567890": false} {
		if jira.ValidID(id) != want {
			t.Errorf("%q", id)
		}
	}
	for _, body := range []string{
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"10100","key":"../../etc/passwd"}}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"1/../../x","key":"SUP-1"}}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"https://evil.example","key":"SUP-1"}}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"id":-1}}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"key":["SUP-1"]}}`,
		`{"webhookEvent":"jira:issue_updated","issue":"SUP-1"}`,
		`{"webhookEvent":"jira:issue_updated","issue_key":"SUP-1/.."}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"1","fields":{"project":{"key":"../X"}}}}`,
		`{"webhookEvent":"jira:issue_updated","issue":{"id":"1","fields":[]}}`,
		`{"webhookEvent":"comment_created","comment":{"id":"1?expand=x"}}`,
		`{"webhookEvent":"worklog_created","worklog":{"id":"1","issueId":"SUP-1"}}`,
		`{"webhookEvent":"attachment_created","attachment":{"id":{"a":1}}}`,
		`{"webhookEvent":"issuelink_created","issueLink":{"id":1,"sourceIssueId":1.5}}`,
		`{"webhookEvent":"issuelink_created","issueLink":{"id":1,"inwardIssue":{"key":"sup-1"}}}`,
		`{"webhookEvent":"sprint_started","sprint":{"id":"four"}}`,
	} {
		var invalid *jira.InvalidError
		if e, err := jira.ParseEvent([]byte(body)); !errors.As(err, &invalid) || strings.Contains(err.Error(), "..") {
			t.Errorf("%s: %+v %v", body, e, err)
		}
	}
}

func TestTimesAreReadAsJiraWritesThem(t *testing.T) {
	t.Parallel()
	want := time.Date(2024, 5, 6, 5, 8, 9, 123_000_000, time.UTC)
	for _, text := range []string{"2024-05-06T07:08:09.123+0200", "2024-05-06T07:08:09.123+02:00", "2024-05-06T05:08:09.123Z"} {
		if got, ok := jira.ParseTime(text); !ok || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%s: %v %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "2024-05-06", "yesterday", "2024-13-06T07:08:09+0200", "1714979289123"} {
		if got, ok := jira.ParseTime(text); ok || !got.IsZero() {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestTrap_J11_WithoutASecretNothingIsVerified(t *testing.T) {
	t.Parallel()
	body := []byte(`{}`)
	for _, secret := range [][]byte{nil, {}} {
		if err := jira.VerifySignature(secret, body, jira.Sign(secret, body)); !errors.Is(err, jira.ErrNoSecret) {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

func TestSecretsAreATextOrAList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		option any
		want   []string
	}{
		{nil, nil}, {"", nil}, {" ", nil}, {"a, b", []string{"a, b"}}, {" a ", []string{"a"}}, {[]any{}, nil}, {[]any{"", nil, "old"}, []string{"old"}},
		{[]any{"new", "old"}, []string{"new", "old"}},
	} {
		got, err := jira.Secrets(c.option)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%v: %v\n%s", c.option, err, diff)
		}
	}
	for _, option := range []any{12345678, []any{"a", 3.5}, map[string]any{"a": "b"}, true, []any{[]any{"a"}}} {
		if got, err := jira.Secrets(option); err == nil || strings.Contains(err.Error(), "1234") {
			t.Errorf("%v: %v %v", option, got, err)
		}
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	secret, body := []byte("It's a Secret to Everybody"), []byte("Hello World!")
	// The example of the documentation of the WebSub kind of signature.
	const right = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
	if got := jira.Sign(secret, body); got != right {
		t.Fatalf("signed as %s", got)
	}
	bare := strings.TrimPrefix(right, "sha256=")
	wrong := jira.Sign([]byte("another"), body)
	for name, c := range map[string]struct {
		given []string
		want  error
	}{
		"with the prefix":              {[]string{right}, nil},
		"bare":                         {[]string{bare}, nil},
		"in capitals":                  {[]string{"SHA256=" + strings.ToUpper(bare)}, nil},
		"in the second header":         {[]string{"", right}, nil},
		"beside one of an older kind":  {[]string{"sha1=" + bare[:40], right}, nil},
		"beside a wrong one":           {[]string{wrong, right}, nil},
		"another secret":               {[]string{wrong}, jira.ErrBadSecret},
		"one digit less":               {[]string{right[:len(right)-1]}, jira.ErrUnsigned},
		"one digit more":               {[]string{right + "0"}, jira.ErrUnsigned},
		"none":                         {nil, jira.ErrUnsigned},
		"empty":                        {[]string{"", ""}, jira.ErrUnsigned},
		"only the prefix":              {[]string{"sha256="}, jira.ErrUnsigned},
		"another kind":                 {[]string{"sha1=" + bare}, jira.ErrUnsigned},
		"the prefix twice":             {[]string{"sha256=" + right}, jira.ErrUnsigned},
		"not hexadecimal":              {[]string{"sha256=" + strings.Repeat("g", 64)}, jira.ErrUnsigned},
		"not ASCII":                    {[]string{"sha256=" + strings.Repeat("é", 32)}, jira.ErrUnsigned},
		"not UTF-8":                    {[]string{"sha256=" + strings.Repeat("\xff", 64)}, jira.ErrUnsigned},
		"the secret itself":            {[]string{string(secret)}, jira.ErrUnsigned},
		"all zeros":                    {[]string{strings.Repeat("0", 64)}, jira.ErrBadSecret},
		"very long":                    {[]string{strings.Repeat("a", 1<<20)}, jira.ErrUnsigned},
		"digits of another alphabet":   {[]string{"sha256=" + strings.Repeat("١", 32)}, jira.ErrUnsigned},
		"with spaces around, as typed": {[]string{" " + right + " "}, nil},
	} {
		err := jira.VerifySignature(secret, body, c.given...)
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if jira.Signed(c.given...) == errors.Is(c.want, jira.ErrUnsigned) {
			t.Errorf("%s: it is taken for a signature, or is not", name)
		}
	}
	if err := jira.VerifySignature(secret, append(body, '\n'), right); !errors.Is(err, jira.ErrBadSecret) {
		t.Errorf("another body: %v", err)
	}
}

func TestEventsAreReadByTheirExactNames(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 5, 6, 7, 8, 9, 123_000_000, time.UTC)
	for name, c := range map[string]struct {
		body string
		want jira.Event
	}{
		"an issue that was updated": {
			`{"timestamp":1714979289123,"webhookEvent":"jira:issue_updated","issue_event_type_name":"issue_generic","user":{"accountId":"a"},
			"issue":{"id":"10100","key":"SUP-7","self":"https://example.atlassian.net/rest/api/2/10100","fields":{"summary":"\"fields\":{\"updated\":\"x\"}","project":{"key":"SUP"},"updated":"2024-05-06T09:08:09.123+0200"}},
			"changelog":{"id":"1","items":[{"field":"status"}]}}`,
			jira.Event{
				Kind: jira.KindIssueUpdated, IssueID: "10100", IssueKey: "SUP-7", ProjectKey: "SUP", Timestamp: at, Updated: at,
				Issue: json.RawMessage("*"), Changelog: json.RawMessage(`{"id":"1","items":[{"field":"status"}]}`), User: json.RawMessage(`{"accountId":"a"}`),
			},
		},
		"an issue that was moved": {
			`{"webhookEvent":"jira:issue_updated","issue":{"id":"10100","key":"OPS-3"},"changelog":{"items":[{"field":"project","fromString":"Support"},{"field":"Key","fromString":"SUP-7","toString":"OPS-3"}]}}`,
			jira.Event{
				Kind: jira.KindIssueUpdated, IssueID: "10100", IssueKey: "OPS-3", ProjectKey: "OPS", PreviousKey: "SUP-7", Issue: json.RawMessage("*"),
				Changelog: json.RawMessage(`{"items":[{"field":"project","fromString":"Support"},{"field":"Key","fromString":"SUP-7","toString":"OPS-3"}]}`),
			},
		},
		"an issue that was deleted": {
			`{"webhookEvent":"jira:issue_deleted","issue":{"id":10100,"key":"SUP-7"}}`,
			jira.Event{Kind: jira.KindIssueDeleted, IssueID: "10100", IssueKey: "SUP-7", ProjectKey: "SUP", Issue: json.RawMessage("*")},
		},
		"an issue of which only the id is known": {
			`{"webhookEvent":"jira:issue_created","issue":{"id":"10100","fields":{"project":{"key":"SUP"}}}}`,
			jira.Event{Kind: jira.KindIssueCreated, IssueID: "10100", ProjectKey: "SUP", Issue: json.RawMessage("*")},
		},
		"the post function of a workflow": {
			`{"transition":{"transitionId":5},"timestamp":1714979289123,"issue":{"id":"10100","key":"SUP-7"}}`,
			jira.Event{Kind: jira.KindIssueUpdated, IssueID: "10100", IssueKey: "SUP-7", ProjectKey: "SUP", Timestamp: at, Issue: json.RawMessage("*")},
		},
		"the key at the top, as the predecessor took it": {
			`{"webhookEvent":"jira:issue_updated","issue":null,"issue_key":"SUP-7"}`,
			jira.Event{Kind: jira.KindIssueUpdated, IssueKey: "SUP-7", ProjectKey: "SUP"},
		},
		"a comment with an extract of its issue": {
			`{"webhookEvent":"comment_created","comment":{"id":"20","self":"https://example.atlassian.net/rest/api/2/issue/10100/comment/20"},"issue":{"id":"10100","key":"SUP-7","fields":{"summary":"s"}}}`,
			jira.Event{
				Kind: jira.KindComment, IssueID: "10100", IssueKey: "SUP-7", ProjectKey: "SUP", CommentID: "20", Issue: json.RawMessage("*"),
				Entity: json.RawMessage(`{"id":"20","self":"https://example.atlassian.net/rest/api/2/issue/10100/comment/20"}`),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkEvent(t, c.body, c.want)
		})
	}
}

func checkEvent(t *testing.T, body string, want jira.Event) {
	t.Helper()
	got, err := jira.ParseEvent([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		Name  string          `json:"webhookEvent"`
		Issue json.RawMessage `json:"issue"`
	}
	if err := json.Unmarshal([]byte(body), &parts); err != nil {
		t.Fatal(err)
	}
	want.Name = parts.Name
	if string(want.Issue) == "*" {
		want.Issue = parts.Issue
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestTrap_J1_OnlyIssueDeletedDeletesAnIssue(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]jira.Kind{
		"jira:issue_deleted": jira.KindIssueDeleted,
		"comment_deleted":    jira.KindComment, "attachment_deleted": jira.KindAttachment, "worklog_deleted": jira.KindWorklog,
		"issuelink_deleted": jira.KindIssueLink, "sprint_deleted": jira.KindSprint, "remote_issue_link_deleted": jira.KindRemoteLink,
		"project_deleted": jira.KindOther, "issue_property_deleted": jira.KindOther, "jira:version_deleted": jira.KindOther, "board_deleted": jira.KindOther,
		"project_soft_deleted": jira.KindOther, "user_deleted": jira.KindOther, "issuetype_deleted": jira.KindOther,
		"issue_deleted": jira.KindOther, "JIRA:ISSUE_DELETED": jira.KindOther, "jira:issue_deleted\n": jira.KindOther, "xjira:issue_deleted": jira.KindOther,
	} {
		raw, err := json.Marshal(map[string]any{"webhookEvent": name, "issue": map[string]any{"id": "10100", "key": "SUP-7"}})
		if err != nil {
			t.Fatal(err)
		}
		e, err := jira.ParseEvent(raw)
		if err != nil || e.Kind != want || e.Name != name {
			t.Errorf("%s: %+v %v, want %s", name, e, err, want)
		}
	}
}

func TestTrap_J10_EventsWithoutAnIssueAreRead(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]jira.Event{
		`{"webhookEvent":"attachment_created","attachment":{"id":"30","self":"https://example.atlassian.net/rest/api/2/attachment/30","filename":"x.txt"}}`: {
			Kind: jira.KindAttachment, AttachmentID: "30", Entity: json.RawMessage(`{"id":"30","self":"https://example.atlassian.net/rest/api/2/attachment/30","filename":"x.txt"}`),
		},
		`{"webhookEvent":"attachment_deleted"}`: {Kind: jira.KindAttachment},
		`{"webhookEvent":"comment_deleted","comment":{"id":20,"self":"https://example.atlassian.net/rest/api/2/issue/10100/comment/20"}}`: {
			Kind: jira.KindComment, CommentID: "20", IssueID: "10100",
			Entity: json.RawMessage(`{"id":20,"self":"https://example.atlassian.net/rest/api/2/issue/10100/comment/20"}`),
		},
		`{"webhookEvent":"comment_deleted","comment":{"id":"20","self":"https://evil.example/issue/../../x/comment/20"}}`: {
			Kind: jira.KindComment, CommentID: "20", Entity: json.RawMessage(`{"id":"20","self":"https://evil.example/issue/../../x/comment/20"}`),
		},
		`{"webhookEvent":"worklog_created","worklog":{"id":"40","issueId":"10100"}}`: {
			Kind: jira.KindWorklog, WorklogID: "40", IssueID: "10100", Entity: json.RawMessage(`{"id":"40","issueId":"10100"}`),
		},
		`{"webhookEvent":"issuelink_created","issueLink":{"id":50,"sourceIssueId":10100,"destinationIssueId":10101,"systemLink":false}}`: {
			Kind: jira.KindIssueLink, LinkID: "50", IssueID: "10100", LinkedIssueID: "10101",
			Entity: json.RawMessage(`{"id":50,"sourceIssueId":10100,"destinationIssueId":10101,"systemLink":false}`),
		},
		`{"webhookEvent":"issuelink_deleted","issueLink":{"id":"50","outwardIssue":{"id":"10100","key":"SUP-7"},"inwardIssue":{"key":"OPS-1"}}}`: {
			Kind: jira.KindIssueLink, LinkID: "50", IssueID: "10100", IssueKey: "SUP-7", ProjectKey: "SUP", LinkedIssueKey: "OPS-1",
			Entity: json.RawMessage(`{"id":"50","outwardIssue":{"id":"10100","key":"SUP-7"},"inwardIssue":{"key":"OPS-1"}}`),
		},
		`{"webhookEvent":"sprint_closed","sprint":{"id":4,"state":"closed"}}`: {
			Kind: jira.KindSprint, SprintID: "4", Entity: json.RawMessage(`{"id":4,"state":"closed"}`),
		},
		`{"webhookEvent":"remote_issue_link_created","remoteIssueLink":{"id":6,"issueId":10100}}`: {
			Kind: jira.KindRemoteLink, RemoteLinkID: "6", IssueID: "10100", Entity: json.RawMessage(`{"id":6,"issueId":10100}`),
		},
		`{"webhookEvent":"project_created","project":{"id":"no","key":"../.."}}`: {Kind: jira.KindOther},
	} {
		checkEvent(t, body, want)
	}
	link, err := jira.ParseEvent([]byte(`{"webhookEvent":"issuelink_created","issueLink":{"id":50,"sourceIssueId":10100,"destinationIssueId":10101}}`))
	if diff := cmp.Diff([]jira.Ref{{ID: "10100"}, {ID: "10101"}}, link.Issues()); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if refs := (jira.Event{}).Issues(); len(refs) != 0 {
		t.Errorf("%v", refs)
	}
}

func TestWhatIsNoWebhookIsRefused(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"": "empty", " \r\n\t": "empty", "null": "object", "[]": "object", `"x"`: "object", "1": "object", "true": "object",
		"{": "not JSON", "{}x": "not JSON", `{"a":}`: "not JSON", "\ufeff{}": "not JSON", "\v{}": "not JSON", "issue=1": "not JSON", "\x00": "not JSON",
		`{"a":1,}`: "not JSON", strings.Repeat("[", 100_000): "not JSON",
		"{}": "nothing", `{"a":1}`: "nothing", `{"Issue":{"key":"SUP-1"}}`: "nothing", " { } ": "nothing",
		`{"webhookEvent":null}`: "no issue", `{"timestamp":1}`: "no issue", `{"webhookEvent":"jira:issue_created"}`: "no issue",
		`{"webhookEvent":"jira:issue_updated","issue":{}}`: "no issue", `{"webhookEvent":"jira:issue_updated","issue":{"ID":"1"}}`: "no issue",
		`{"webhookEvent":1}`: "webhookEvent", `{"webhookEvent":""}`: "webhookEvent", `{"webhookEvent":["jira:issue_created"]}`: "webhookEvent",
		`{"webhookEvent":"` + strings.Repeat("x", 129) + `"}`: "webhookEvent",
	} {
		var invalid *jira.InvalidError
		e, err := jira.ParseEvent([]byte(body))
		if !errors.As(err, &invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %+v %v, want one with %q", body, e, err, want)
		}
		if diff := cmp.Diff(jira.Event{}, e); diff != "" {
			t.Errorf("%.40q: something came with the error:\n%s", body, diff)
		}
	}
}

func TestTimestampsOutOfRangeAreNone(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"0", "-1", "1.5", `"1714979289123"`, "null", "253402300800000", "99999999999999999999", "1e12"} {
		e, err := jira.ParseEvent([]byte(`{"timestamp":` + at + `,"webhookEvent":"sprint_started"}`))
		if err != nil || !e.Timestamp.IsZero() {
			t.Errorf("%s: %v %v", at, e.Timestamp, err)
		}
	}
}

// exact is what ParseEvent has to find, by another way: decoding everything.
func exact(t *testing.T, raw []byte, path ...string) (found any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	if err := decoder.Decode(&found); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	for _, name := range path {
		m, _ := found.(map[string]any)
		found = m[name]
	}
	return found
}

func FuzzParseEvent(f *testing.F) {
	for _, seed := range []string{
		`{"timestamp":1714979289123,"webhookEvent":"jira:issue_updated","issue":{"id":"10100","key":"SUP-7","fields":{"updated":"2024-05-06T09:08:09.123+0200","project":{"key":"SUP"}}},"changelog":{"items":[{"field":"Key","fromString":"OPS-1"}]}}`,
		`{"webhookEvent":"issuelink_created","issueLink":{"id":50,"sourceIssueId":10100,"destinationIssueId":10101}}`,
		`{"webhookEvent":"comment_deleted","comment":{"id":20,"self":"https://example.atlassian.net/rest/api/2/issue/10100/comment/20"}}`,
		`{"webhookEvent":"worklog_created","worklog":{"id":"40","issueId":"10100"}}`, `{"webhookEvent":"attachment_created","attachment":{"id":"30"}}`,
		`{"webhookEvent":"sprint_started","sprint":{"id":4}}`, `null`, `{}`, ``, `{"\u0069ssue":{"k\u0065y":"SUP-\u0031"},"issue":{"key":"\\\"SUP-2"}}`,
		`{"a":[1,{"b":"]}\\"}],"issue" : { "id" : 1 , "key" : "SUP-1" } , "issue":{"id":2}}`, "{\"webhookEvent\":\"\xff\",\"issue\":{}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := jira.ParseEvent(body)
		if err != nil {
			var invalid *jira.InvalidError
			if !errors.As(err, &invalid) || invalid.Reason == "" {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		for _, key := range []string{e.IssueKey, e.PreviousKey, e.LinkedIssueKey} {
			if key != "" && !jira.ValidIssueKey(key) {
				t.Errorf("%q: key %q", body, key)
			}
		}
		for _, id := range []string{e.IssueID, e.LinkedIssueID, e.CommentID, e.WorklogID, e.AttachmentID, e.LinkID, e.RemoteLinkID, e.SprintID} {
			if id != "" && !jira.ValidID(id) {
				t.Errorf("%q: id %q", body, id)
			}
		}
		if e.ProjectKey != "" && !jira.ValidProjectKey(e.ProjectKey) {
			t.Errorf("%q: project %q", body, e.ProjectKey)
		}
		if e.Kind != jira.KindOf(e.Name) {
			t.Errorf("%q: %s is %s", body, e.Name, e.Kind)
		}
		if name, _ := exact(t, body, "webhookEvent").(string); name != e.Name {
			t.Errorf("%q: the name is %q, not %q", body, e.Name, name)
		}
		for name, part := range map[string]json.RawMessage{"issue": e.Issue, "changelog": e.Changelog, "user": e.User} {
			want := exact(t, body, name)
			if part == nil && (want == nil || e.Kind == jira.KindOther) {
				continue
			}
			if part == nil {
				t.Errorf("%q: no %s", body, name)
			} else if diff := cmp.Diff(want, exact(t, part)); diff != "" {
				t.Errorf("%q: the %s differs:\n%s", body, name, diff)
			}
		}
		if key, _ := exact(t, body, "issue", "key").(string); key != "" && e.Kind != jira.KindOther && e.Kind != jira.KindIssueLink && key != e.IssueKey {
			t.Errorf("%q: the key is %q, not %q", body, e.IssueKey, key)
		}
		if updated, _ := exact(t, body, "issue", "fields", "updated").(string); e.Kind != jira.KindOther {
			if want, _ := jira.ParseTime(updated); !want.Equal(e.Updated) {
				t.Errorf("%q: updated %v, not %v", body, e.Updated, want)
			}
		}
	})
}

func FuzzGrammar(f *testing.F) {
	for _, seed := range []string{"SUP-1", "SUP", "A_1-20", "SUP-01", "../SUP-1", "S-1", "10100"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if jira.ValidIssueKey(text) {
			if project := jira.ProjectOf(text); !jira.ValidProjectKey(project) || !jira.ValidID(strings.TrimPrefix(text, project+"-")) {
				t.Errorf("%q of %q", text, project)
			}
		}
		if jira.ValidIssueKey(text) || jira.ValidProjectKey(text) || jira.ValidID(text) {
			if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
				t.Errorf("%q is let through", text)
			}
		}
	})
}

func FuzzVerifySignature(f *testing.F) {
	f.Add([]byte("secret"), []byte("{}"), "sha256=00")
	f.Fuzz(func(t *testing.T, secret, body []byte, header string) {
		right := jira.Sign(secret, body)
		err := jira.VerifySignature(secret, body, header, right)
		if (err == nil) != (len(secret) > 0) {
			t.Errorf("%v", err)
		}
		given := strings.ToLower(strings.TrimSpace(header))
		if jira.VerifySignature(secret, body, header) == nil && "sha256="+strings.TrimPrefix(given, "sha256=") != right {
			t.Errorf("%q is taken for %q", header, right)
		}
	})
}

// BenchmarkParseEvent reads a webhook of the usual size: an issue with 400 fields.
func BenchmarkParseEvent(b *testing.B) {
	fields := map[string]any{"updated": "2024-05-06T09:08:09.123+0200", "project": map[string]any{"key": "SUP"}, "summary": strings.Repeat("text ", 40)}
	for i := range 400 {
		fields["customfield_"+string(rune('a'+i%26))+strings.Repeat("0", i%7)+time.Duration(i).String()] = map[string]any{"self": "https://example.atlassian.net/x", "value": "v", "id": i}
	}
	body, err := json.Marshal(map[string]any{"timestamp": 1714979289123, "webhookEvent": "jira:issue_updated", "issue": map[string]any{"id": "10100", "key": "SUP-7", "fields": fields}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := jira.ParseEvent(body); err != nil {
			b.Fatal(err)
		}
	}
}
