package service_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/service"
)

func TestTheEnvironmentConfiguresAProjectOfKeboola(t *testing.T) {
	for _, c := range []struct {
		name, config string
		env          map[string]string
		want         map[string]any // of the one source of the type; nil for none
	}{
		{"nothing", "", nil, nil},
		{"the predecessor's variables", "", map[string]string{"KEBOOLA_STACK_URL": "https://connection.example.com", "KEBOOLA_STORAGE_TOKEN": "secret"},
			map[string]any{"stack_url": "https://connection.example.com", "token_env": "KEBOOLA_STORAGE_TOKEN", "auto_register": true}},
		{"its other ones", "", map[string]string{"KBC_STACK_URL": "https://connection.example.com"},
			map[string]any{"stack_url": "https://connection.example.com", "token_env": "KBC_STORAGE_TOKEN", "auto_register": true}},
		{"a configured source wins", "sources: [{name: crm, type: keboola, stack_url: https://other.example.com}]", map[string]string{"KEBOOLA_STACK_URL": "https://connection.example.com"},
			map[string]any{"stack_url": "https://other.example.com"}},
		{"the predecessor's block wins", "data_source: {type: keboola, keboola: {stack_url: https://other.example.com, token_env: T}}", map[string]string{"KEBOOLA_STACK_URL": "https://connection.example.com"},
			map[string]any{"stack_url": "https://other.example.com", "token_env": "T"}},
		{"the predecessor's block says that there is none", "data_source: {type: local}", map[string]string{"KEBOOLA_STACK_URL": "https://connection.example.com"}, nil},
		{"the name is taken", "sources: [{name: keboola, type: csv}]", map[string]string{"KEBOOLA_STACK_URL": "https://connection.example.com"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range []string{"KEBOOLA_STACK_URL", "KEBOOLA_STORAGE_TOKEN", "KBC_STACK_URL", "KBC_STORAGE_TOKEN"} {
				t.Setenv(v, c.env[v])
			}
			config, data := dirs(t, c.config, "")
			i, err := service.LoadInstance(config, data)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			for _, s := range i.OfType("keboola") {
				got = s.Options
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
