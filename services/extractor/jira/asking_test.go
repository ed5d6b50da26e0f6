package jira

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// asked opens a source beside a site of Jira, with more options.
func asked(t *testing.T, options map[string]any) *source {
	t.Helper()
	all := &sites{}
	t.Cleanup(func() { _ = all.close() })
	dir := t.TempDir()
	src, err := all.connector().Open(t.Context(), extract.SourceConfig{Name: "jira", Type: Type, Options: options, DataDir: dir, RawDir: filepath.Join(dir, "raw")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return src.(*source)
}

func account(site *jiratest.Site) map[string]any {
	return map[string]any{"site": site.URL, "email": jiratest.DefaultEmail, "api_token": jiratest.DefaultToken}
}

func TestPreviewShowsTheNewestIssues(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	t.Cleanup(site.Close)
	var last string
	for range 30 {
		last = site.Create("SUP", jiratest.Set{"summary": "something"})
	}
	site.Comment(last, "a comment")
	s := asked(t, account(site))
	issues, err := s.Preview(t.Context(), extract.TableSpec{Name: "issues"}, 20)
	if err != nil || len(issues.Rows) != 20 {
		t.Fatalf("%d rows of issues, %v", len(issues.Rows), err)
	}
	key := position(issues.Columns, "issue_key")
	if got := *issues.Rows[0][key]; got != last {
		t.Errorf("the first issue is %s, not the newest, %s", got, last)
	}
	if comments, err := s.Preview(t.Context(), extract.TableSpec{Name: "renamed", SourceTable: "comments"}, 20); err != nil || len(comments.Rows) != 1 {
		t.Errorf("%d rows of comments, %v", len(comments.Rows), err)
	}
	users, err := s.Preview(t.Context(), extract.TableSpec{Name: "users"}, 20)
	seen := map[string]bool{}
	for _, row := range users.Rows {
		if id := *row[0]; seen[id] {
			t.Errorf("the user %s is there twice", id)
		} else {
			seen[id] = true
		}
	}
	if err != nil || len(seen) == 0 {
		t.Errorf("%d users, %v", len(seen), err)
	}
	if _, err := s.Preview(t.Context(), extract.TableSpec{Name: "missing"}, 20); !fault.Is(err, fault.NotFound) {
		t.Errorf("a table that is missing: %v", err)
	}
}

func TestPreviewOfNothing(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	t.Cleanup(site.Close)
	for name, options := range map[string]map[string]any{"an empty site": account(site), "no account": {"site": site.URL}} {
		p, err := asked(t, options).Preview(t.Context(), extract.TableSpec{Name: "issues"}, 20)
		if err != nil || len(p.Rows) != 0 || len(p.Columns) == 0 {
			t.Errorf("%s: %d rows of %d columns, %v", name, len(p.Rows), len(p.Columns), err)
		}
	}
}

func TestTestSaysWhoTheAccountIs(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	t.Cleanup(site.Close)
	site.Create("SUP", jiratest.Set{"summary": "something"})
	findings, err := asked(t, account(site)).Test(t.Context())
	if got := strings.Join(findings, "\n"); err != nil || !strings.Contains(got, "is accepted by "+site.URL) || !strings.Contains(got, "about 1 issues in all projects") {
		t.Errorf("%v: %s", err, got)
	}
	wrong := account(site)
	wrong["api_token"] = "revoked"
	if _, err := asked(t, wrong).Test(t.Context()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a token that was revoked: %v", err)
	}
	findings, err = asked(t, map[string]any{"site": site.URL}).Test(t.Context())
	if got := strings.Join(findings, "\n"); err != nil || !strings.Contains(got, "no account is configured") {
		t.Errorf("%v: %s", err, got)
	}
}
