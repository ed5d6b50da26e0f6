package service_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/service"
)

func TestTheVariablesOfThePredecessorConfigureJira(t *testing.T) {
	t.Setenv("JIRA_DOMAIN", "your.atlassian.net")
	t.Setenv("JIRA_EMAIL", "bot@example.com")
	t.Setenv("JIRA_API_TOKEN", "t0ken")
	t.Setenv("JIRA_WEBHOOK_SECRET", "s3cret")
	t.Setenv("JIRA_PROJECT", "SUP")
	whole := map[string]any{
		"site": "your.atlassian.net", "email": "bot@example.com", "api_token": "t0ken", "webhook_secret": "s3cret", "projects": []any{"SUP"},
	}
	for name, c := range map[string]struct {
		yaml string
		want []service.Source
	}{
		"alone":        {"", []service.Source{{Name: "jira", Type: "jira", Options: whole}}},
		"beside files": {"sources: [{name: shop, type: csv, path: x}]", []service.Source{{Name: "shop", Type: "csv", Options: map[string]any{"path": "x"}}, {Name: "jira", Type: "jira", Options: whole}}},
		"a site of its own, without secrets": {
			"sources: [{name: desk, type: jira, site: https://desk.example.com, email: other@example.com, projects: []}]",
			[]service.Source{{Name: "desk", Type: "jira", Options: map[string]any{
				"site": "https://desk.example.com", "email": "other@example.com", "api_token": "t0ken", "webhook_secret": "s3cret", "projects": []any{},
			}}},
		},
		"two sites": {
			"sources: [{name: a, type: jira, site: a}, {name: b, type: jira, site: b}]",
			[]service.Source{{Name: "a", Type: "jira", Options: map[string]any{"site": "a"}}, {Name: "b", Type: "jira", Options: map[string]any{"site": "b"}}},
		},
		"the name is taken": {"sources: [{name: jira, type: csv, path: x}]", []service.Source{{Name: "jira", Type: "csv", Options: map[string]any{"path": "x"}}}},
	} {
		config, data := dirs(t, c.yaml, "")
		i, err := service.LoadInstance(config, data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, i.Sources); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestThePreviousSecretOfWebhooksCountsBesideThePresentOne(t *testing.T) {
	t.Setenv("JIRA_DOMAIN", "your.atlassian.net")
	t.Setenv("JIRA_WEBHOOK_SECRET_PREVIOUS", "old")
	for present, want := range map[string]any{"new": []any{"new", "old"}, "": nil} {
		t.Setenv("JIRA_WEBHOOK_SECRET", present)
		config, data := dirs(t, "", "")
		i, err := service.LoadInstance(config, data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, i.Sources[0].Options["webhook_secret"]); diff != "" {
			t.Errorf("%q: %s", present, diff)
		}
	}
}
