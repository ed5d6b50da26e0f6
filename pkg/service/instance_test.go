package service_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

// dirs makes a config and a data folder with the two files; an empty text makes no file.
func dirs(t *testing.T, config, state string) (configDir, dataDir string) {
	t.Helper()
	configDir, dataDir = t.TempDir(), t.TempDir()
	put := func(path, text string) {
		if text == "" {
			return
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(configDir, "instance.yaml"), config)
	put(filepath.Join(dataDir, "state", "instance.yaml"), state)
	return configDir, dataDir
}

func TestInstanceIsReadWithVariablesAndOverlay(t *testing.T) {
	t.Setenv("AGNES_TEST_DIR", "/srv/files")
	config, data := dirs(t, `
instance: {name: "Shop"}
sources:
  - name: shop
    type: csv
    path: ${AGNES_TEST_DIR}/shop
    tables: {orders: {columns: {zip: VARCHAR}, note: "${AGNES_TEST_UNSET}${AGNES_TEST_ALSO_UNSET:-fallback}"}}
    parallel: 8
  - {name: crm, type: keboola}
aliases: {orders: shop.orders}
remote_attach: {extensions: [bigquery], hosts: [example.com]}
unknown_to_us: [1, 2]
`, `
sources: [{name: crm, type: keboola, stack_url: "https://example.com"}]
`)
	i, err := service.LoadInstance(config, data)
	if err != nil {
		t.Fatal(err)
	}
	want := []service.Source{
		{Name: "shop", Type: "csv", Options: map[string]any{
			"path":     "/srv/files/shop",
			"parallel": uint64(8),
			"tables":   map[string]any{"orders": map[string]any{"columns": map[string]any{"zip": "VARCHAR"}, "note": "fallback"}},
		}},
		{Name: "crm", Type: "keboola", Options: map[string]any{"stack_url": "https://example.com"}},
	}
	if d := cmp.Diff(want, i.Sources); d != "" {
		t.Error(d)
	}
	if !slices.Equal(i.Unset, []string{"AGNES_TEST_UNSET"}) {
		t.Errorf("unset: %v", i.Unset)
	}
	if i.Name != "Shop" || i.Aliases["orders"] != "shop.orders" || !slices.Equal(i.RemoteAttach.Hosts, []string{"example.com"}) {
		t.Errorf("got %+v", i)
	}
	if _, ok := i.Source("crm"); !ok || len(i.OfType("csv")) != 1 {
		t.Error("a source is not found by its name or type")
	}
}

func TestPredecessorsDataSourceIsReadAsOneSource(t *testing.T) {
	t.Parallel()
	config, data := dirs(t, "data_source:\n  type: keboola\n  keboola: {stack_url: https://example.com, token_env: KEBOOLA_STORAGE_TOKEN}\n", "")
	i, err := service.LoadInstance(config, data)
	if err != nil {
		t.Fatal(err)
	}
	want := []service.Source{{Name: "keboola", Type: "keboola", Options: map[string]any{"stack_url": "https://example.com", "token_env": "KEBOOLA_STORAGE_TOKEN"}}}
	if d := cmp.Diff(want, i.Sources); d != "" {
		t.Error(d)
	}
}

func TestMissingAndEmptyFilesAreAnEmptyInstance(t *testing.T) {
	t.Parallel()
	config, data := dirs(t, "# nothing yet\n", "")
	for _, dir := range []string{config, filepath.Join(config, "nowhere")} {
		i, err := service.LoadInstance(dir, data)
		if err != nil || len(i.Sources) != 0 || i.Name != "Agnes" {
			t.Errorf("%s: %+v, %v", dir, i, err)
		}
	}
}

func TestBadInstanceNamesFileAndReason(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"sources: [{name: x, type: ":                                             "not valid YAML",
		"sources: [{type: csv}]":                                                 `sources[0]: source name ""`,
		"sources: [{name: ../up, type: csv}]":                                    "source name",
		"sources: [{name: main, type: csv}]":                                     "reserved",
		"sources: [{name: a}]":                                                   "the type is missing",
		"sources: [{name: a, type: csv}, {name: A, type: csv}]":                  "used twice",
		"sources: {a: b}":                                                        "instance.yaml",
		"data_source: {type: 'bad name'}":                                        "data_source",
		"sources: [{name: a, type: csv}]\nremote_attach: {hosts: {a: {b: [c]}}}": "instance.yaml",
	} {
		config, data := dirs(t, text, "")
		_, err := service.LoadInstance(config, data)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), reason) || !strings.Contains(fault.Message(err), "instance.yaml") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAllowedDomainsAreAList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config, state string
		want          []string
	}{
		"none":            {config: "instance: {name: x}"},
		"one":             {config: "auth: {allowed_domain: Example.COM}", want: []string{"example.com"}},
		"several":         {config: "auth: {allowed_domain: \"b.example.com, @a.example.com\"}", want: []string{"a.example.com", "b.example.com"}},
		"a list":          {config: "auth: {allowed_domains: [example.com, example.org, example.com]}", want: []string{"example.com", "example.org"}},
		"the later wins":  {config: "auth: {allowed_domain: example.com}", state: "auth: {allowed_domain: example.org}", want: []string{"example.org"}},
		"the later none":  {config: "auth: {allowed_domain: example.com}", state: "auth: {allowed_domain: \"\"}", want: []string{}},
		"the later mute":  {config: "auth: {allowed_domain: example.com}", state: "auth: {}", want: []string{"example.com"}},
		"a name of a LAN": {config: "auth: {allowed_domain: localhost}", want: []string{"localhost"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, err := service.LoadInstance(dirs(t, c.config, c.state))
			if err != nil || !slices.Equal(i.AllowedDomains, c.want) {
				t.Errorf("got %v %v, want %v", i, err, c.want)
			}
		})
	}
	for _, bad := range []string{"*", "*.example.com", "exa mple.com/", "http://example.com", ".", "example..com", "-a.example.com", "[[1]]"} {
		if _, err := service.LoadInstance(dirs(t, "auth: {allowed_domain: \""+bad+"\"}", "")); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestALaterDataSourceTakesThePlaceOfTheEarlier(t *testing.T) {
	t.Parallel()
	const config = "sources: [{name: shop, type: csv}]\ndata_source: {type: keboola, keboola: {stack_url: \"https://example.com\"}}"
	for state, want := range map[string]string{
		"":                           "[shop keboola]",
		"data_source: {type: local}": "[shop]",
		"data_source: {type: bigquery, bigquery: {project: p}}": "[shop bigquery]",
		"data_source: {type: keboola, keboola: {stack_url: x}}": "[shop keboola]",
		"instance: {name: x}": "[shop keboola]",
	} {
		i, err := service.LoadInstance(dirs(t, config, state))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range i.Sources {
			names = append(names, s.Name)
		}
		if got := "[" + strings.Join(names, " ") + "]"; got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
}
