package jira

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// corpus is a site of which so many issues are kept, and what runs its extractor.
type corpus struct {
	site   *site
	config extract.RunConfig
	ids    []int64
}

func newCorpus(tb testing.TB, issues, months int) *corpus {
	tb.Helper()
	upstream := jiratest.New(jiratest.Config{})
	defer upstream.Close()
	upstream.Populate(issues, months, 7)
	dir := tb.TempDir()
	cfg := extract.SourceConfig{Name: "jira", Type: Type, Options: map[string]any{"site": upstream.URL}, DataDir: dir, RawDir: filepath.Join(extract.SourceDir(dir, "jira"), "raw")}
	all := &sites{configs: map[string]extract.SourceConfig{"jira": cfg}}
	tb.Cleanup(func() { _ = all.close() })
	s, err := all.get(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	c := &corpus{site: s, config: extract.RunConfig{Connector: all.connector(), Source: visible(cfg), Limits: extract.Limits{Tables: 2, MemoryBytes: 512 << 20}}}
	for name := range s.tables {
		c.config.Registry = append(c.config.Registry, &agnesv1.RegisteredTable{Name: name, Source: "jira", SourceTable: name})
	}
	keys := upstream.Keys()
	const batch = 500
	for len(keys) > 0 {
		some := keys[:min(batch, len(keys))]
		keys = keys[len(some):]
		err := s.store.Write(tb.Context(), func(tx *store.Tx) error {
			for _, key := range some {
				doc, err := cloud.Assemble(upstream.Render(key), time.Now())
				if err != nil {
					return err
				}
				id, err := strconv.ParseInt(doc.ID, 10, 64)
				if err != nil {
					return err
				}
				c.ids = append(c.ids, id)
				if err := s.merge(tb.Context(), tx, incoming{doc: doc, fetched: true}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return c
}

func (c *corpus) run(tb testing.TB) *agnesv1.ExtractReady {
	tb.Helper()
	ready, err := extract.Run(tb.Context(), c.config)
	if err != nil {
		tb.Fatal(err)
	}
	if err := failure(ready); err != nil {
		tb.Fatal(err)
	}
	return ready
}

// touch changes so many issues by chance: their summary, and a comment more.
func (c *corpus) touch(tb testing.TB, random *rand.Rand, n int) {
	tb.Helper()
	err := c.site.store.Write(tb.Context(), func(tx *store.Tx) error {
		for range n {
			id := c.ids[random.IntN(len(c.ids))]
			old, _, err := tx.Get(tb.Context(), id)
			if err != nil {
				return err
			}
			var doc, fields map[string]json.RawMessage
			if err := json.Unmarshal(old.JSON, &doc); err != nil {
				return err
			}
			if err := json.Unmarshal(doc["fields"], &fields); err != nil {
				return err
			}
			now := time.Now().UTC()
			fields["summary"] = json.RawMessage(strconv.Quote(fmt.Sprint("changed ", random.Int())))
			fields["updated"] = json.RawMessage(strconv.Quote(now.Format("2006-01-02T15:04:05.000-0700")))
			if doc["fields"], err = marshal(fields); err != nil {
				return err
			}
			doc["_synced_at"] = json.RawMessage(strconv.Quote(now.Format(time.RFC3339Nano)))
			raw, err := marshal(doc)
			if err != nil {
				return err
			}
			if _, err := c.site.put(tb.Context(), tx, id, raw, old, true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkFold is what one publication costs: so many issues changed, of 50,000 over 36 months.
func BenchmarkFold(b *testing.B) {
	c := newCorpus(b, 50_000, 36)
	began := time.Now()
	c.run(b)
	b.Logf("everything anew: %s", time.Since(began))
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 5, 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				c.touch(b, random, n)
				c.run(b)
			}
		})
	}
}
