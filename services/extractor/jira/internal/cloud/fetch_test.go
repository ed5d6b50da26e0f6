package cloud_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func TestASmallIssueTakesOneCallAndItsRemoteLinksBeside(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	key := s.Create("SUP", jiratest.Set{"summary": "Büro <&>", "description": jiratest.Rich("x"), "customfield_10004": jiratest.Option("Sev 1")})
	s.Comment(key, "hello")
	s.Worklog(key, time.Hour, "work")
	s.RemoteLink(key, "https://example.com/?a=1&b=2", "Example", "Confluence")
	s.ResetCalls()
	d := fetch(t, c, key)
	if calls := s.Calls(); calls[jiratest.RouteIssue] != 1 || calls[jiratest.RouteRemoteLinks] != 1 || len(calls) != 2 {
		t.Errorf("calls: %v", calls)
	}
	got := read(t, d)
	comments, worklogs, histories := truth(t, s, key)
	for _, diff := range []string{cmp.Diff(comments, got.Comments), cmp.Diff(worklogs, got.Worklogs), cmp.Diff(histories, got.Changelog)} {
		if diff != "" {
			t.Error(diff)
		}
	}
	if len(got.Remote) != 1 || got.Remote[0]["object"].(map[string]any)["title"] != "Example" {
		t.Errorf("remote links: %v", got.Remote)
	}
	if got.Key != key || got.ID != d.ID || got.Fields["summary"] != "Büro <&>" || d.Key != key || len(d.Partial) > 0 || d.Problem != nil {
		t.Errorf("document: %+v", d)
	}
	if !d.Updated.Equal(s.Now()) || !d.Created.Before(d.Updated) || d.SyncedAt.Format(time.RFC3339Nano) != got.Synced {
		t.Errorf("times: %+v, at %v", d, s.Now())
	}
	for _, key := range []string{"changelog", "_partial", "expand"} {
		if _, there := got.keys[key]; there {
			t.Errorf("the document has %s", key)
		}
	}
	if n := got.Fields["comment"].(map[string]any)["total"]; n != 1.0 || bytes.Contains(d.JSON, []byte(`\u003c`)) {
		t.Errorf("total of comments %v in %s", n, d.JSON)
	}
}

func TestTrap_J3_EveryPageOfEveryListIsRead(t *testing.T) {
	t.Parallel()
	// Small pages: the same arithmetic as with a hundred, in a hundredth of the calls.
	cut := jiratest.Embedded{Comments: 3, Worklogs: 2, Histories: 3}
	s, c := start(t, jiratest.Config{Get: cut, Bulk: jiratest.Embedded{Comments: 2, Worklogs: 1, Histories: 1}, MaxComments: 4, MaxWorklogs: 3, MaxHistories: 5})
	for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 25} {
		key := s.Create("SUP", nil)
		for i := range n {
			s.Comment(key, fmt.Sprint(i))
			s.Worklog(key, time.Hour, fmt.Sprint(i))
		}
		for range n {
			s.Update(key, jiratest.Set{"summary": "x"})
		}
		comments, worklogs, histories := truth(t, s, key)
		if len(comments) != n || len(histories) != 2*n {
			t.Fatalf("the site has %d comments and %d histories", len(comments), len(histories))
		}
		one := fetch(t, c, key)
		many, err := c.BulkFetch(t.Context(), []string{one.ID})
		if err != nil || len(many.Documents) != 1 {
			t.Fatalf("bulk: %v, %+v", err, many)
		}
		for name, d := range map[string]cloud.Document{"alone": one, "among many": many.Documents[0]} {
			got := read(t, d)
			for list, diff := range map[string]string{
				"comments": cmp.Diff(comments, got.Comments), "worklogs": cmp.Diff(worklogs, got.Worklogs), "changelog": cmp.Diff(histories, got.Changelog),
			} {
				if diff != "" && (n > 0 || !strings.Contains(diff, "{}")) {
					t.Errorf("%d %s, read %s: %s", n, list, name, diff)
				}
			}
			if len(d.Partial) > 0 || d.Problem != nil {
				t.Errorf("%d, read %s: partial %v: %v", n, name, d.Partial, d.Problem)
			}
		}
		if diff := cmp.Diff(canonical(t, one), canonical(t, many.Documents[0])); diff != "" {
			t.Errorf("one state, two documents: %s", diff)
		}
	}
}

// canonical is a document without the time of its reading.
func canonical(t *testing.T, d cloud.Document) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(d.JSON, &out); err != nil {
		t.Fatal(err)
	}
	delete(out, "_synced_at")
	fields := out["fields"].(map[string]any)
	for _, f := range []string{"comment", "worklog"} { // how long their pages are
		delete(fields[f].(map[string]any), "maxResults")
	}
	return out
}

func TestTrap_J3_AListThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	t.Parallel()
	s := jiratest.New(jiratest.Config{Get: jiratest.Embedded{Comments: 2}, MaxComments: 4})
	t.Cleanup(s.Close)
	key := s.Create("SUP", nil)
	var ids []int64
	for i := range 13 {
		ids = append(ids, s.Comment(key, fmt.Sprint(i)))
	}
	// As soon as the first page is out, its first comment is deleted: what was fifth is fourth now.
	var once sync.Once
	c := client(t, s, func(cfg *cloud.Config) {
		cfg.Transport = hook{http.DefaultTransport, func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/comment") && r.URL.Query().Get("startAt") == "0" {
				once.Do(func() { s.DeleteComment(key, ids[0]) })
			}
		}}
	})
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	d := fetch(t, c, key)
	comments, _, _ := truth(t, s, key)
	if diff := cmp.Diff(comments, read(t, d).Comments); diff != "" || len(comments) != 12 || len(d.Partial) > 0 {
		t.Errorf("partial %v: %s", d.Partial, diff)
	}
}

// hook calls after each answer, before its reader gets it.
type hook struct {
	next  http.RoundTripper
	after func(*http.Request)
}

func (h hook) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := h.next.RoundTrip(r)
	h.after(r)
	return res, err
}

// issueFirst holds the answers of an issue's remote links until the issue itself was answered: a pause that
// they ask for would else hold up the issue, and the whole fetch would fail, as it should.
func issueFirst(cfg *cloud.Config) {
	answered := make(chan struct{})
	var once sync.Once
	cfg.Transport = hook{http.DefaultTransport.(*http.Transport).Clone(), func(r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/remotelink"):
			<-answered
		case strings.HasSuffix(path.Dir(r.URL.Path), "/issue"):
			once.Do(func() { close(answered) })
		}
	}}
}

func TestTrap_J2_APartThatFailsIsPartialAndEmptiesNothing(t *testing.T) {
	t.Parallel()
	for _, part := range []struct {
		route, name, key string
		known            int // of its items even so: what the issue has embedded
	}{
		{jiratest.RouteComments, cloud.Comments, "_comments", 3},
		{jiratest.RouteWorklogs, cloud.Worklogs, "_worklogs", 3},
		{jiratest.RouteChangelog, cloud.Changelog, "_changelog", 3},
		{jiratest.RouteRemoteLinks, cloud.RemoteLinks, "_remote_links", -1},
	} {
		for name, f := range map[string]jiratest.Fault{
			"broken":       {Status: 500},
			"cut":          {Cut: 30},
			"nonsense":     {Body: "<html>maintenance</html>"},
			"empty":        {Body: "{}"},
			"null":         {Body: "null"},
			"half":         {Malformed: true},
			"gone":         {Refuse: true},
			"forbidden":    {Status: 403},
			"not found":    {Status: 404},
			"throttled":    {Status: 429, RetryAfter: time.Hour},
			"wrong answer": {Body: `{"total":99,"comments":null}`},
		} {
			t.Run(part.name+" "+name, func(t *testing.T) {
				t.Parallel()
				s, c := start(t, jiratest.Config{Get: jiratest.Embedded{Comments: 3, Worklogs: 3, Histories: 3}}, retries(1), issueFirst)
				key := s.Create("SUP", nil)
				for range 5 {
					s.Comment(key, "c")
					s.Worklog(key, time.Hour, nil)
				}
				s.RemoteLink(key, "https://example.com", "Example", "")
				f.Route = part.route
				s.Fail(f)
				d := fetch(t, c, key)
				got := read(t, d)
				if f.Status == http.StatusTooManyRequests {
					// The pause is that of all calls: others that were not under way yet are partial too.
					if !slices.Contains(d.Partial, part.name) || !fault.Is(d.Problem, fault.Busy) || fault.RetryAfter(d.Problem) < time.Hour {
						t.Errorf("partial %v because %v", d.Partial, d.Problem)
					}
					return
				}
				if !slices.Equal(d.Partial, []string{part.name}) || !slices.Equal(got.Partial, d.Partial) || d.Problem == nil {
					t.Errorf("partial %v, in it %v, because %v", d.Partial, got.Partial, d.Problem)
				}
				if f.Status != 403 && !fault.Retryable(d.Problem) {
					t.Errorf("a passing problem is final: %v", d.Problem)
				}
				counts := map[string]int{"_comments": len(got.Comments), "_worklogs": len(got.Worklogs), "_changelog": len(got.Changelog), "_remote_links": len(got.Remote)}
				want := map[string]int{"_comments": 5, "_worklogs": 5, "_changelog": 6, "_remote_links": 1}
				want[part.key] = max(0, part.known)
				if diff := cmp.Diff(want, counts); diff != "" {
					t.Error(diff)
				}
				if _, there := got.keys[part.key]; there != (part.known >= 0) {
					t.Errorf("%s is there: %v", part.key, there)
				}
				s.Mend()
				if d := fetch(t, c, key); len(d.Partial) > 0 || d.Problem != nil {
					t.Errorf("after it is mended: %v %v", d.Partial, d.Problem)
				}
			})
		}
	}
}

func TestTrap_J2_AFieldThatCannotBeLoadedFailsTheFetch(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, retries(1))
	key := s.Create("SUP", jiratest.Set{"customfield_10004": jiratest.Option("Sev 1")})
	s.BreakField("customfield_10004")
	_, err := c.Fetch(t.Context(), key)
	wantKind(t, err, fault.Unavailable)
	s.BreakField("")
	if got := read(t, fetch(t, c, key)); got.Fields["customfield_10004"] == nil {
		t.Error("the field is gone")
	}
}

func TestTrap_J2_ATokenThatExpiredIsNoDeletion(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	s.SetToken("another")
	// Jira answers as to a stranger: 404 for the issue, nothing found, and 200 for both of the others.
	_, err := c.Fetch(t.Context(), key)
	wantKind(t, err, fault.Unauthenticated)
	if !strings.Contains(fault.Message(err), "JIRA_API_TOKEN") {
		t.Errorf("it does not say what to do: %s", fault.Message(err))
	}
	_, err = c.BulkFetch(t.Context(), []string{key})
	wantKind(t, err, fault.Unauthenticated)
	wantKind(t, c.Search(t.Context(), "project = SUP", nil, func(cloud.Page) error { return nil }), fault.Unauthenticated)
	_, err = c.Fields(t.Context())
	wantKind(t, err, fault.Unauthenticated)
}

func TestTrap_J2_SilenceAboutAnIssueIsBelievedOnlyWhereTheAccountIsKnown(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, retries(1))
	key := s.Create("SUP", nil)
	s.Delete(key)
	// A proxy takes the header away that tells a stranger: the account is asked for.
	s.Fail(jiratest.Fault{Route: jiratest.RouteMyself, Times: 1, Status: 401, Header: http.Header{}})
	_, err := c.Fetch(t.Context(), key)
	wantKind(t, err, fault.Unauthenticated)
	for range 3 {
		_, err = c.Fetch(t.Context(), key)
		wantKind(t, err, fault.NotFound)
	}
	if n := s.Calls()[jiratest.RouteMyself]; n != 2 {
		t.Errorf("the account was asked for %d times", n)
	}
	// A site that is suspended has nothing at all.
	s.Fail(jiratest.Fault{Status: 404, Body: "Your site is suspended"})
	_, err = client(t, s).Fetch(t.Context(), s.Create("SUP", nil))
	wantKind(t, err, fault.Unavailable)
	s.Mend()
	hidden := s.Create("SUP", nil)
	s.Hide(hidden)
	_, err = c.Fetch(t.Context(), hidden)
	wantKind(t, err, fault.NotFound)
}

func TestFailuresOfAnIssueHaveTheirKindsAndAreTriedAgainWhereItHelps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault jiratest.Fault
		kind  fault.Kind
		calls int
	}{
		"401":             {jiratest.Fault{Status: 401}, fault.Unauthenticated, 1},
		"403":             {jiratest.Fault{Status: 403}, fault.Forbidden, 1},
		"404":             {jiratest.Fault{Status: 404}, fault.NotFound, 1},
		"400":             {jiratest.Fault{Status: 400}, fault.Invalid, 1},
		"moved away":      {jiratest.Fault{Status: 301, Location: "https://other.example.com/"}, fault.Permanent, 1},
		"500":             {jiratest.Fault{Status: 500}, fault.Unavailable, 3},
		"503":             {jiratest.Fault{Status: 503}, fault.Unavailable, 3},
		"cut":             {jiratest.Fault{Cut: 50}, fault.Unavailable, 3},
		"refused":         {jiratest.Fault{Refuse: true}, fault.Unavailable, -1},
		"malformed":       {jiratest.Fault{Malformed: true}, fault.Unavailable, 3},
		"a page of HTML":  {jiratest.Fault{Body: "<html>"}, fault.Unavailable, 3},
		"no issue":        {jiratest.Fault{Body: `{"id":"1","key":"SUP-1"}`}, fault.Permanent, 1},
		"a wild key":      {jiratest.Fault{Body: `{"id":"1","key":"../x","fields":{}}`}, fault.Permanent, 1},
		"no times":        {jiratest.Fault{Body: `{"id":"1","key":"SUP-1","fields":{"created":"soon"}}`}, fault.Permanent, 1},
		"a long throttle": {jiratest.Fault{Status: 429, RetryAfter: time.Hour}, fault.Busy, 1},
		"too slow":        {jiratest.Fault{Delay: time.Minute}, fault.Unavailable, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client := start(t, jiratest.Config{}, retries(2), func(cfg *cloud.Config) {
				if c.fault.Delay > 0 {
					cfg.CallTimeout = 500 * time.Millisecond
				}
			})
			key := s.Create("SUP", nil)
			c.fault.Route = jiratest.RouteIssue
			s.Fail(c.fault)
			_, err := client.Fetch(soon(t), key)
			wantKind(t, err, c.kind)
			// Go itself repeats what ended without an answer.
			if n := s.Calls()[jiratest.RouteIssue]; n != c.calls && (c.calls >= 0 || n < 3) {
				t.Errorf("%d calls, want %d: %v", n, c.calls, err)
			}
			if c.fault.RetryAfter > 0 && fault.RetryAfter(err) < c.fault.RetryAfter {
				t.Errorf("it asks to come again after %v", fault.RetryAfter(err))
			}
		})
	}
}

func TestAPassingFailureIsOvercome(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	for _, f := range []jiratest.Fault{{Status: 502}, {Cut: 10}, {Refuse: true}, {Malformed: true}} {
		f.Times = 1
		s.Fail(f)
	}
	if d := fetch(t, c, key); len(d.Partial) > 0 {
		t.Errorf("partial: %v", d.Partial)
	}
}

func TestAnAnswerThatIsTooLargeIsNotReadOn(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{}, func(c *cloud.Config) { c.MaxBody = 32 << 10 })
	small, large := s.Create("SUP", nil), s.Create("SUP", jiratest.Set{"description": strings.Repeat("long ", 10_000)})
	_, err := c.Fetch(t.Context(), large)
	wantKind(t, err, fault.TooLarge)
	fetch(t, c, small)
	// Many issues that are too much together are read in smaller parts.
	refs := []string{small}
	for range 9 {
		refs = append(refs, s.Create("SUP", jiratest.Set{"description": strings.Repeat("long ", 1000)}))
	}
	b, err := c.BulkFetch(t.Context(), refs)
	if err != nil || len(b.Documents) != 10 {
		t.Errorf("%d documents: %v", len(b.Documents), err)
	}
}

func TestTrap_J12_OnlyIdsAndKeysGetIntoAPath(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	for _, ref := range []string{
		"", ".", "..", "../myself", "SUP-1/../../../rest/api/3/myself", "SUP-1/comment", "SUP-1?fields=x", "SUP-1#x", "SUP-1%2F..", "sup 1", "SUP-0", "SUP-", "-1",
		"1e9", "0x10", "SUP-1\n", "https://evil.example.com/x", "@evil.example.com", strings.Repeat("A", 5000) + "-1", "99999999999999999999",
	} {
		_, err := c.Fetch(t.Context(), ref)
		wantKind(t, err, fault.Invalid)
		_, err = c.BulkFetch(t.Context(), []string{ref})
		wantKind(t, err, fault.Invalid)
		_, err = c.Attachment(t.Context(), ref)
		wantKind(t, err, fault.Invalid)
		wantKind(t, c.DeleteWebhook(t.Context(), cloud.Webhook{Kind: cloud.AdminWebhook, ID: ref}), fault.Invalid)
	}
	if calls := s.Calls(); len(calls) != 0 {
		t.Errorf("the site was called: %v", calls)
	}
}

func TestAMovedIssueIsFoundByItsOldKey(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	key := s.Create("SUP", nil)
	before := fetch(t, c, key)
	moved := s.Move(key, "OPS")
	if d := fetch(t, c, key); d.ID != before.ID || d.Key != moved {
		t.Errorf("%s is %s now", key, d.Key)
	}
}

func TestTheSecondAccountsFieldsReplaceTheFirstOnes(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{SLARestricted: true}, withSLA)
	sla := map[string]any{"name": "Time to resolution", "completedCycles": []any{}}
	key := s.Create("SUP", jiratest.Set{"customfield_10161": sla})
	id := func(d cloud.Document) any { return read(t, d).Fields["customfield_10161"].(map[string]any)["name"] }
	d := fetch(t, c, key)
	if id(d) != "Time to resolution" || len(d.Partial) > 0 {
		t.Errorf("%v, partial %v", read(t, d).Fields["customfield_10161"], d.Partial)
	}
	for _, r := range s.Requests(jiratest.RouteIssue) {
		if (r.Account == jiratest.DefaultSLAEmail) != strings.HasPrefix(r.Path, "/ex/jira/"+jiratest.DefaultCloudID+"/rest/api/3/issue/") {
			t.Errorf("%s called %s", r.Account, r.Path)
		}
	}
	b, err := c.BulkFetch(t.Context(), []string{key})
	if err != nil || len(b.Documents) != 1 || id(b.Documents[0]) != "Time to resolution" {
		t.Errorf("bulk: %v %+v", err, b)
	}
	hits, err := c.BulkFields(t.Context(), []string{key}, append([]string{"updated"}, jiratest.SLAFields...))
	if err != nil || len(hits) != 1 || !bytes.Contains(hits[0].Fields["customfield_10161"], []byte("resolution")) || hits[0].Updated.IsZero() {
		t.Errorf("fields: %v %+v", err, hits)
	}
	// Its failure leaves the issue whole but for these fields.
	for _, status := range []int{401, 403, 404, 500} {
		s.Mend()
		s.Fail(jiratest.Fault{Account: jiratest.DefaultSLAEmail, Status: status})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		d, err := client(t, s, withSLA, retries(1)).Fetch(ctx, key)
		cancel()
		if err != nil || !slices.Equal(d.Partial, []string{cloud.SLA}) || d.Problem == nil || fault.Is(d.Problem, fault.NotFound) {
			t.Errorf("%d: partial %v: %v, %v", status, d.Partial, d.Problem, err)
		}
		b, err := client(t, s, withSLA, retries(1)).BulkFetch(t.Context(), []string{key})
		if err != nil || len(b.Documents) != 1 || !slices.Equal(b.Documents[0].Partial, []string{cloud.SLA}) {
			t.Errorf("%d in bulk: %+v, %v", status, b, err)
		}
	}
}

func TestAssembleKeepsWhatAWebhookHas(t *testing.T) {
	t.Parallel()
	s, _ := start(t, jiratest.Config{})
	s.Keep()
	key := s.Create("SUP", nil)
	var event struct{ Issue json.RawMessage }
	if err := json.Unmarshal(s.Deliveries()[0].Body, &event); err != nil {
		t.Fatal(err)
	}
	d, err := cloud.Assemble(event.Issue, time.Now())
	if err != nil || d.Key != key || !slices.Equal(d.Partial, []string{cloud.Changelog, cloud.Comments, cloud.RemoteLinks, cloud.Worklogs}) {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, k := range []string{"_comments", "_worklogs", "_changelog", "_remote_links"} {
		if _, there := read(t, d).keys[k]; there {
			t.Errorf("%s is there, as if it were empty", k)
		}
	}
	if _, err := cloud.Assemble(json.RawMessage(`{"id":"1"}`), time.Now()); !fault.Is(err, fault.Permanent) {
		t.Errorf("no issue: %v", err)
	}
}

func TestBulkFetchTellsWhatIsAbsent(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(250, 3, 9)
	var refs []string
	for i := range 250 {
		refs = append(refs, fmt.Sprint(10_001+i))
	}
	s.Delete("SUP-1")
	s.Move("SUP-2", "DEV")
	refs[1] = "SUP-2"
	b, err := c.Background().BulkFetch(t.Context(), refs)
	if err != nil || len(b.Documents) != 249 || !slices.Equal(b.Absent, []string{"10001"}) || len(b.Failed) > 0 {
		t.Fatalf("%d documents, absent %v, failed %v: %v", len(b.Documents), b.Absent, b.Failed, err)
	}
	if n := s.Calls()[jiratest.RouteBulkFetch]; n != 3 {
		t.Errorf("%d calls", n)
	}
	for _, d := range b.Documents[:40] {
		if diff := cmp.Diff(canonical(t, fetch(t, c, d.ID)), canonical(t, d)); diff != "" {
			t.Errorf("%s: %s", d.Key, diff)
		}
	}
}
