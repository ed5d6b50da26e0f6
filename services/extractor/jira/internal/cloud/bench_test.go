package cloud_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// BenchmarkAssemble makes documents of issues as the API gives them: what a fetch costs beside the network.
func BenchmarkAssemble(b *testing.B) {
	s := jiratest.New(jiratest.Config{})
	defer s.Close()
	s.Populate(1000, 12, 1)
	issues := make([]json.RawMessage, 200)
	for i := range issues {
		issues[i] = s.Render(fmt.Sprint(10_001 + i*5))
		b.SetBytes(int64(len(issues[i])))
	}
	at := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := cloud.Assemble(issues[i%len(issues)], at); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzAssemble makes sure that whatever comes is refused, or becomes a document that can be read again
// as the same one.
func FuzzAssemble(f *testing.F) {
	s := jiratest.New(jiratest.Config{})
	s.Populate(20, 1, 1)
	for i := range 5 {
		f.Add([]byte(s.Render(fmt.Sprint(10_001 + i))))
	}
	s.Close()
	f.Add([]byte(`{"id":"1","key":"SUP-1","fields":{"created":"2026-01-01T00:00:00.000+0000","updated":"2026-01-01T00:00:00.000+0000","comment":{"comments":[{"id":1},{"id":"1"},7,null],"total":"x"}}}`))
	f.Fuzz(func(t *testing.T, issue []byte) {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		d, err := cloud.Assemble(issue, at)
		if err != nil {
			return
		}
		again, err := cloud.Assemble(d.JSON, at)
		if err != nil || again.ID != d.ID || again.Key != d.Key || !again.Updated.Equal(d.Updated) {
			t.Errorf("%v: %s of %s", err, d.JSON, issue)
		}
	})
}

// BenchmarkFetch reads issues one after the other from a site that answers in 20 ms.
func BenchmarkFetch(b *testing.B) {
	s, c := benchSite(b)
	for i := 0; b.Loop(); i++ {
		if _, err := c.Fetch(b.Context(), fmt.Sprint(10_001+i%5000)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.Calls()[jiratest.RouteIssue]+s.Calls()[jiratest.RouteRemoteLinks])/float64(b.N), "calls/op")
}

// BenchmarkBulkFetch reads a hundred issues at once, as a backfill does.
func BenchmarkBulkFetch(b *testing.B) {
	_, c := benchSite(b)
	c = c.Background()
	for i := 0; b.Loop(); i++ {
		refs := make([]string, 100)
		for k := range refs {
			refs[k] = fmt.Sprint(10_001 + (i*100+k)%5000)
		}
		if _, err := c.BulkFetch(b.Context(), refs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "issues/s")
}

func benchSite(b *testing.B) (*jiratest.Site, *cloud.Client) {
	b.Helper()
	s := jiratest.New(jiratest.Config{Latency: 20 * time.Millisecond})
	b.Cleanup(s.Close)
	s.Populate(5000, 12, 1)
	c, err := cloud.New(cloud.Config{Site: s.URL, Email: jiratest.DefaultEmail, Token: jiratest.DefaultToken})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return s, c
}
