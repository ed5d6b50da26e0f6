package cloud_test

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start gives a site and a client of it.
func start(t *testing.T, site jiratest.Config, change ...func(*cloud.Config)) (*jiratest.Site, *cloud.Client) {
	t.Helper()
	s := jiratest.New(site)
	t.Cleanup(s.Close)
	return s, client(t, s, change...)
}

func client(t *testing.T, s *jiratest.Site, change ...func(*cloud.Config)) *cloud.Client {
	t.Helper()
	media, err := url.Parse(s.MediaURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := cloud.Config{
		Source: "jira", Site: s.URL, Email: jiratest.DefaultEmail, Token: jiratest.DefaultToken,
		Gateway: s.URL, MediaHosts: []string{media.Host}, CallTimeout: 20 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := cloud.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func withSLA(c *cloud.Config) {
	c.SLA = cloud.Account{Email: jiratest.DefaultSLAEmail, Token: jiratest.DefaultSLAToken}
	c.SLAFields, c.CloudID = jiratest.SLAFields, jiratest.DefaultCloudID
}

// patience lets a test run into the end of it.
func patience(d time.Duration) func(*cloud.Config) {
	return func(c *cloud.Config) { c.Patience, c.BackgroundPatience = d, d }
}

func retries(n int) func(*cloud.Config) { return func(c *cloud.Config) { c.Retries = n } }

func fetch(t *testing.T, c *cloud.Client, ref string) cloud.Document {
	t.Helper()
	d, err := c.Fetch(t.Context(), ref)
	if err != nil {
		t.Fatalf("fetch %s: %v", ref, err)
	}
	return d
}

// doc is a document, read.
type doc struct {
	ID, Key   string
	Fields    map[string]any
	Comments  []item   `json:"_comments"`
	Worklogs  []item   `json:"_worklogs"`
	Changelog []item   `json:"_changelog"`
	Remote    []item   `json:"_remote_links"`
	Synced    string   `json:"_synced_at"`
	Partial   []string `json:"_partial"`
	keys      map[string]json.RawMessage
}

type item map[string]any

func read(t *testing.T, d cloud.Document) doc {
	t.Helper()
	var out doc
	if err := json.Unmarshal(d.JSON, &out); err != nil {
		t.Fatalf("%v in %.200s", err, d.JSON)
	}
	if err := json.Unmarshal(d.JSON, &out.keys); err != nil {
		t.Fatal(err)
	}
	return out
}

// truth is what the site has of an issue, read without the client.
func truth(t *testing.T, s *jiratest.Site, ref string) (comments, worklogs, histories []item) {
	t.Helper()
	var is struct {
		Fields struct {
			Comment struct{ Comments []item }
			Worklog struct{ Worklogs []item }
		}
		Changelog struct{ Histories []item }
	}
	if err := json.Unmarshal(s.Render(ref), &is); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(is.Changelog.Histories)
	return is.Fields.Comment.Comments, is.Fields.Worklog.Worklogs, is.Changelog.Histories
}

// wantKind fails the test unless err is of the kind, and says nothing that it must not.
func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Errorf("kind %q, want %q: %v", fault.KindOf(err), kind, err)
	}
	if err == nil {
		return
	}
	for _, secret := range []string{jiratest.DefaultToken, jiratest.DefaultSLAToken, jiratest.DefaultAppToken, "media-token", "6d656469612d746f6b656e"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
}

// soon fails a test that takes longer than a call of the site ever should.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
