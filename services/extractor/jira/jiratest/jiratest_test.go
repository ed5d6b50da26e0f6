package jiratest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site starts one, with a caller of its API.
func site(t *testing.T, cfg jiratest.Config) (*jiratest.Site, func(method, path string, body, into any) reply) {
	t.Helper()
	s := jiratest.New(cfg)
	client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		s.Close()
		client.CloseIdleConnections()
	})
	return s, func(method, path string, body, into any) reply {
		t.Helper()
		var reader io.Reader
		if body != nil {
			b, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			reader = bytes.NewReader(b)
		}
		req, err := http.NewRequest(method, s.URL+path, reader)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(jiratest.DefaultEmail, jiratest.DefaultToken)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		out, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if into != nil {
			if err := json.Unmarshal(out, into); err != nil {
				t.Fatalf("%s %s: %v in %.300s", method, path, err, out)
			}
		}
		return reply{res.StatusCode, res.Header}
	}
}

// reply is what an answer was but for its body.
type reply struct {
	StatusCode int
	Header     http.Header
}

type page struct {
	Issues []struct {
		ID, Key string
		Fields  map[string]json.RawMessage
	}
	NextPageToken string
	IsLast        bool
}

func search(t *testing.T, call func(string, string, any, any) reply, jql string, size int, fields ...string) (keys []string, pages int) {
	t.Helper()
	token := ""
	for {
		var p page
		if res := call("POST", "/rest/api/3/search/jql", map[string]any{"jql": jql, "maxResults": size, "fields": fields, "nextPageToken": token}, &p); res.StatusCode != http.StatusOK {
			t.Fatalf("search %q: %d", jql, res.StatusCode)
		}
		pages++
		for _, is := range p.Issues {
			keys = append(keys, is.Key)
		}
		if p.IsLast {
			return keys, pages
		}
		token = p.NextPageToken
	}
}

func TestPopulatedIssuesAreCompleteUniqueAndFoundByIdAndKey(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{})
	s.Populate(1234, 12, 7)
	keys, pages := search(t, call, "project in (SUP, OPS, DEV) ORDER BY created ASC", 100, "key", "updated")
	if len(keys) != 1234 || pages != 13 {
		t.Fatalf("%d issues in %d pages", len(keys), pages)
	}
	unique := slices.Compact(slices.Sorted(slices.Values(keys)))
	if len(unique) != 1234 {
		t.Errorf("%d unique keys", len(unique))
	}
	ids := map[string]string{}
	kinds := map[string]int{}
	for _, key := range keys[:300] {
		var is struct {
			ID, Key   string
			Changelog struct{ Total int }
			Fields    map[string]any
		}
		call("GET", "/rest/api/3/issue/"+key+"?expand=changelog", nil, &is)
		if is.Key != key || ids[is.ID] != "" || is.Changelog.Total == 0 {
			t.Fatalf("%s is %s %s, also of %s", key, is.Key, is.ID, ids[is.ID])
		}
		ids[is.ID] = key
		for f, v := range is.Fields {
			if list, ok := v.([]any); v != nil && (!ok || len(list) > 0) {
				kinds[f]++
			}
		}
		for _, l := range is.Fields["issuelinks"].([]any) {
			link := l.(map[string]any)
			other, _ := link["outwardIssue"].(map[string]any)
			back := "inwardIssue"
			if other == nil {
				other, back = link["inwardIssue"].(map[string]any), "outwardIssue"
			}
			var end struct{ Fields map[string]any }
			call("GET", "/rest/api/3/issue/"+other["id"].(string), nil, &end)
			if !slices.ContainsFunc(end.Fields["issuelinks"].([]any), func(v any) bool {
				m := v.(map[string]any)
				o, _ := m[back].(map[string]any)
				return m["id"] == link["id"] && o != nil && o["key"] == key
			}) {
				t.Errorf("the link %v of %s is not at its other end", link["id"], key)
			}
		}
	}
	var fields []struct{ ID string }
	call("GET", "/rest/api/3/field", nil, &fields)
	for _, f := range fields {
		if kinds[f.ID] == 0 && !slices.Contains([]string{"parent", "lastViewed", "timeestimate", "versions", "subtasks", "security"}, f.ID) {
			t.Errorf("no issue has %s", f.ID)
		}
	}
}

func TestEmbeddedListsAreCutAndPagesHaveThemAll(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	for i := range 130 {
		s.Comment(key, fmt.Sprint("comment ", i))
		s.Update(key, jiratest.Set{"summary": fmt.Sprint("summary ", i)})
	}
	for range 25 {
		s.Worklog(key, time.Hour, nil)
	}
	var is struct {
		Changelog struct {
			Total     int
			Histories []struct{ ID string }
		}
		Fields struct {
			Comment struct {
				Total    int
				Comments []struct{ ID string }
			}
			Worklog struct {
				Total    int
				Worklogs []struct{ ID string }
			}
		}
	}
	call("GET", "/rest/api/3/issue/"+key+"?expand=changelog&fields=*all", nil, &is)
	if len(is.Fields.Comment.Comments) != 100 || is.Fields.Comment.Total != 130 || len(is.Fields.Worklog.Worklogs) != 20 || is.Fields.Worklog.Total != 25 {
		t.Errorf("embedded: %d of %d comments, %d of %d worklogs", len(is.Fields.Comment.Comments), is.Fields.Comment.Total, len(is.Fields.Worklog.Worklogs), is.Fields.Worklog.Total)
	}
	if len(is.Changelog.Histories) != 100 || is.Changelog.Total != 155 || is.Changelog.Histories[0].ID < is.Changelog.Histories[99].ID {
		t.Errorf("embedded changelog: %d of %d", len(is.Changelog.Histories), is.Changelog.Total)
	}
	var p struct {
		Total    int
		Comments []struct{ ID string }
	}
	call("GET", "/rest/api/3/issue/"+key+"/comment?startAt=100&maxResults=1000", nil, &p)
	if p.Total != 130 || len(p.Comments) != 30 {
		t.Errorf("page of comments: %d of %d", len(p.Comments), p.Total)
	}
}

func TestSearchRefusesWhatJiraRefuses(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{Location: time.FixedZone("CET", 3600)})
	s.Populate(100, 1, 1)
	for _, jql := range []string{"ORDER BY created ASC", "", "project = NOPE", "key in (SUP-1, SUP-9999)", "updated >= 'soon'", "shoe = 43", `project = "SUP`} {
		if res := call("POST", "/rest/api/3/search/jql", map[string]any{"jql": jql}, nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", jql, res.StatusCode)
		}
	}
	for jql, want := range map[string]int{
		"project = SUP": 70, "project not in (SUP, 'Operations')": 10, "key in (SUP-1, OPS-2) order by key": 2,
		"updated >= -60d AND created <= now": 100, "statusCategory = Done": -1, "statusCategory != Done": -1, "resolution is EMPTY": -1,
	} {
		keys, _ := search(t, call, jql, 5000, "key")
		if want >= 0 && len(keys) != want || want < 0 && (len(keys) == 0 || len(keys) == 100) {
			t.Errorf("%q finds %d, want %d", jql, len(keys), want)
		}
	}
	// A date is of the account's time zone.
	key := s.Create("SUP", nil)
	local := s.Now().In(time.FixedZone("CET", 3600))
	if keys, _ := search(t, call, "created >= '"+local.Format("2006-01-02 15:04")+"'", 10, "key"); !slices.Equal(keys, []string{key}) {
		t.Errorf("created since its own minute: %v", keys)
	}
	if keys, _ := search(t, call, "created >= '"+local.Add(time.Minute).Format("2006-01-02 15:04")+"'", 10, "key"); len(keys) != 0 {
		t.Errorf("created since the next minute: %v", keys)
	}
}

func TestMovedAndRekeyedIssuesAreFoundByTheirOldKeys(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{})
	s.Populate(50, 2, 3)
	moved := s.Move("SUP-3", "OPS")
	s.Rekey("OPS", "NET")
	for _, key := range []string{"SUP-3", moved, strings.Replace(moved, "OPS", "NET", 1)} {
		var is struct{ Key string }
		call("GET", "/rest/api/3/issue/"+key, nil, &is)
		if is.Key != strings.Replace(moved, "OPS", "NET", 1) {
			t.Errorf("%s leads to %s", key, is.Key)
		}
	}
	s.Delete("SUP-4")
	if res := call("GET", "/rest/api/3/issue/SUP-4", nil, nil); res.StatusCode != http.StatusNotFound {
		t.Errorf("deleted: %d", res.StatusCode)
	}
	if keys, _ := search(t, call, "project in (SUP, NET, DEV)", 5000, "key"); len(keys) != 49 {
		t.Errorf("%d issues", len(keys))
	}
}

func TestDeliveriesAreSignedNamedAndDisordered(t *testing.T) {
	t.Parallel()
	s, _ := site(t, jiratest.Config{})
	s.Keep()
	var got []jiratest.Delivery
	s.Hook(func(d jiratest.Delivery) { got = append(got, d) }, jiratest.Disorder{Duplicate: 0.3, Lose: 0.1, Window: 5, Seed: 4})
	a, b := s.Create("SUP", jiratest.Set{"description": "one\ntwo"}), s.Create("OPS", nil)
	c := s.Comment(a, "hello")
	s.EditComment(a, c, "hello again")
	s.DeleteComment(a, c)
	s.EditWorklog(a, s.Worklog(a, time.Hour, "work"), 2*time.Hour)
	s.DeleteAttachment(a, s.Attach(a, "x.txt", "text/plain", []byte("x")))
	s.Unlink(b, s.Link("Blocks", a, b))
	sp := s.Sprint("Sprint A")
	s.PutIntoSprint(sp, a)
	s.StartSprint(sp)
	s.CloseSprint(sp)
	s.DeleteRemoteLink(a, s.RemoteLink(a, "https://example.com", "Example", ""))
	s.Transition(a, "Resolved")
	s.Delete(s.Move(a, "DEV"))
	s.Flush()
	all := s.Deliveries()
	names := map[string]int{}
	for _, d := range all {
		names[d.Event]++
		var body struct {
			WebhookEvent string
			Timestamp    int64
			Issue        *struct {
				ID     string
				Fields map[string]any
			}
		}
		if err := json.Unmarshal(d.Body, &body); err != nil {
			t.Fatalf("%s: %v in %s", d.Event, err, d.Body)
		}
		if body.WebhookEvent != d.Event || body.Timestamp != d.At.UnixMilli() || d.Header.Get("X-Hub-Signature") != jiratest.Sign(jiratest.DefaultSecret, d.Body) {
			t.Errorf("%s: %s", d.Event, d.Body)
		}
		without := !strings.HasPrefix(d.Event, "jira:") && !strings.HasPrefix(d.Event, "comment_")
		if (body.Issue == nil) != without {
			t.Errorf("%s with an issue: %v", d.Event, body.Issue != nil)
		}
	}
	for _, e := range []string{jiratest.IssueCreated, jiratest.CommentDeleted, jiratest.WorklogUpdated, jiratest.AttachmentDeleted, jiratest.LinkDeleted, jiratest.SprintClosed, jiratest.IssueDeleted} {
		if names[e] == 0 {
			t.Errorf("no %s", e)
		}
	}
	seen := map[string]int{}
	ordered := true
	for i, d := range got {
		seen[d.ID]++
		ordered = ordered && (i == 0 || !d.At.Before(got[i-1].At))
	}
	if lost := len(all) - len(seen); lost == 0 || lost > len(all)/2 || len(got) == len(seen) || ordered {
		t.Errorf("of %d: %d came, %d of them different, in order: %v", len(all), len(got), len(seen), ordered)
	}
}

func TestDynamicWebhooksExpireUnlessRefreshed(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{AnyoneRegisters: true})
	reg := map[string]any{"url": "https://agnes.example.com/webhooks/jira", "webhooks": []any{
		map[string]any{"jqlFilter": "project = SUP", "events": []string{jiratest.IssueUpdated}},
		map[string]any{"jqlFilter": "project = SUP", "events": []string{jiratest.IssueDeleted}},
		map[string]any{"jqlFilter": "", "events": []string{jiratest.IssueDeleted}},
	}}
	var made struct {
		WebhookRegistrationResult []struct {
			CreatedWebhookID int64
			Errors           []string
		}
	}
	call("POST", "/rest/api/3/webhook", reg, &made)
	if r := made.WebhookRegistrationResult; len(r) != 3 || r[0].CreatedWebhookID == 0 || len(r[2].Errors) == 0 {
		t.Fatalf("%+v", made)
	}
	s.Advance(20 * 24 * time.Hour)
	call("PUT", "/rest/api/3/webhook/refresh", map[string]any{"webhookIds": []int64{made.WebhookRegistrationResult[0].CreatedWebhookID}}, nil)
	s.Advance(20 * 24 * time.Hour)
	var list struct {
		Values []struct{ ID int64 }
	}
	call("GET", "/rest/api/3/webhook", nil, &list)
	if len(list.Values) != 1 || list.Values[0].ID != made.WebhookRegistrationResult[0].CreatedWebhookID {
		t.Errorf("after 40 days: %+v", list)
	}
	strict, call := site(t, jiratest.Config{})
	_ = strict
	if res := call("POST", "/rest/api/3/webhook", reg, nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("an account that is no app: %d", res.StatusCode)
	}
}

func TestFaultsAreOfARouteAndACount(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	s.Fail(jiratest.Fault{Route: jiratest.RouteIssue, Skip: 1, Times: 2, Status: 429, RetryAfter: 3 * time.Second})
	var got []int
	for range 4 {
		res := call("GET", "/rest/api/3/issue/"+key, nil, nil)
		got = append(got, res.StatusCode)
		if res.StatusCode == http.StatusTooManyRequests && (res.Header.Get("Retry-After") != "3" || res.Header.Get("X-Ratelimit-Remaining") != "0") {
			t.Errorf("headers: %v", res.Header)
		}
	}
	if !slices.Equal(got, []int{200, 429, 429, 200}) || s.Calls()[jiratest.RouteIssue] != 4 {
		t.Errorf("%v, %v", got, s.Calls())
	}
	s.Fail(jiratest.Fault{Route: jiratest.RouteIssue, Times: 1, Cut: 20})
	req, _ := http.NewRequest(http.MethodGet, s.URL+"/rest/api/3/issue/"+key, nil)
	req.SetBasicAuth(jiratest.DefaultEmail, jiratest.DefaultToken)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if out, err := io.ReadAll(res.Body); err == nil || len(out) != 20 {
		t.Errorf("a cut answer: %v after %d bytes", err, len(out))
	}
}

func TestAttachmentsRedirectToTheMediaHost(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	id := s.Attach(key, "x.txt", "text/plain", []byte("content"))
	res := call("GET", fmt.Sprintf("/rest/api/3/attachment/content/%d", id), nil, nil)
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to.String(), s.MediaURL) {
		t.Fatalf("%d to %s", res.StatusCode, to)
	}
}

func BenchmarkGetIssue(b *testing.B) {
	s := jiratest.New(jiratest.Config{})
	defer s.Close()
	s.Populate(500_000, 36, 1)
	b.ReportAllocs()
	for i := range b.N {
		s.Render(fmt.Sprint(10_001 + i*7919%500_000))
	}
}

func TestSearchSeesChangesLate(t *testing.T) {
	t.Parallel()
	s, call := site(t, jiratest.Config{SearchLag: time.Minute})
	s.Populate(100, 2, 5)
	s.Advance(time.Hour)
	before, made := s.Now(), s.Create("SUP", nil)
	s.Update("SUP-1", jiratest.Set{"summary": "x"})
	since := fmt.Sprintf("updated >= %d", before.UnixMilli())
	if keys, _ := search(t, call, since, 100, "key"); len(keys) != 0 {
		t.Errorf("at once: %v", keys)
	}
	s.Advance(2 * time.Minute)
	if keys, _ := search(t, call, since+" ORDER BY key", 100, "key"); !slices.Equal(keys, []string{"SUP-1", made}) {
		t.Errorf("later: %v", keys)
	}
}

func BenchmarkSearchOfHalfAMillion(b *testing.B) {
	s := jiratest.New(jiratest.Config{})
	defer s.Close()
	s.Populate(500_000, 36, 1)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	for b.Loop() {
		req, _ := http.NewRequest(http.MethodGet, s.URL+"/rest/api/3/search/jql?fields=key&jql="+url.QueryEscape("project in (SUP, OPS, DEV) ORDER BY updated ASC"), nil)
		req.SetBasicAuth(jiratest.DefaultEmail, jiratest.DefaultToken)
		res, err := client.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
}
