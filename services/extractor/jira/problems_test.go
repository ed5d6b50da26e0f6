package jira

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// An issue with odd values is kept, and what is left out of its rows is counted by column; another
// source of the same process counts in the same metric.
func TestValuesLeftOutAreCounted(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	for _, name := range []string{"jira", "other"} {
		dir := t.TempDir()
		s, err := openSite(t.Context(), extract.SourceConfig{
			Name: name, Type: Type, DataDir: dir, RawDir: dir, Options: map[string]any{"site": "https://your.atlassian.net"},
		}, registry)
		if err != nil {
			t.Fatal(err)
		}
		doc := []byte(`{"id":"10001","key":"SUP-1","fields":{"created":"2024-05-01","summary":{},"customfield_10004":[]},"_comments":[1,2],"_synced_at":"2024-05-02T00:00:00Z"}`)
		err = s.store.Write(t.Context(), func(tx *store.Tx) error {
			_, err := s.put(t.Context(), tx, 10001, doc, store.Document{}, false)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for labels, want := range map[[2]string]float64{{"issues", "summary"}: 1, {"issues", "severity"}: 1, {"comments", ""}: 2, {"issues", "labels"}: 0} {
			if got := testutil.ToFloat64(s.leftOut.values.WithLabelValues(name, labels[0], labels[1])); got != want {
				t.Errorf("%s: %v: %v, want %v", name, labels, got, want)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}
