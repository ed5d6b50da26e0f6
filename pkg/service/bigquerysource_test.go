package service_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/service"
)

func TestTheEnvironmentConfiguresAProjectOfBigQuery(t *testing.T) {
	for _, c := range []struct {
		name, config, project, location string
		want                            map[string]any
	}{
		{"nothing", "", "", "", nil},
		{"the predecessor's variables", "", "acme-data", "EU", map[string]any{"project": "acme-data", "location": "EU"}},
		{"a configured source wins", "sources: [{name: dwh, type: bigquery, project: other-data}]", "acme-data", "", map[string]any{"project": "other-data"}},
		{"the predecessor's block wins", "data_source: {type: bigquery, bigquery: {project: other-data, location: US}}", "acme-data", "", map[string]any{"project": "other-data", "location": "US"}},
		{"the predecessor's block says something else", "data_source: {type: local}", "acme-data", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("BIGQUERY_PROJECT", c.project)
			t.Setenv("BIGQUERY_LOCATION", c.location)
			config, data := dirs(t, c.config, "")
			i, err := service.LoadInstance(config, data)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			for _, s := range i.OfType("bigquery") {
				got = s.Options
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
