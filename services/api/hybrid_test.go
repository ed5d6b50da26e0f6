package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api"
)

// remoteIDs is a table of BigQuery with ids from 0 on.
func remoteIDs(name string, rows int64) bigquerytest.Table {
	b := array.NewInt64Builder(memory.DefaultAllocator)
	for i := range rows {
		b.Append(i)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	return bigquerytest.Table{
		Project: "acme", Dataset: "web", Name: name, Bytes: 20 << 20, Fields: bigquerytest.Fields("id", "INTEGER"),
		Batches: []arrow.RecordBatch{array.NewRecordBatch(schema, []arrow.Array{b.NewArray()}, rows)},
	}
}

type hybridAnswer struct {
	rows
	Explain bool
	Stats   struct {
		RegisteredAliases []string `json:"registered_aliases"`
		AliasCount        int      `json:"alias_count"`
		Parts             []struct {
			Bytes  int64
			Price  float64 `json:"price_usd"`
			Billed int64   `json:"bytes_billed"`
			Rows   int64

			SemiJoin struct {
				Columns, Tables []string
				Keys            int
				Why             string
			} `json:"semi_join"`
		}
	} `json:"bq_stats"`
}

func TestHybridQueryJoinsBigQueryToTheCatalog(t *testing.T) {
	fake := bigquerytest.New(t)
	fake.Put(remoteIDs("events", 10))
	fake.Put(remoteIDs("secrets", 10))
	fake.Put(remoteIDs("people", 10))
	t.Setenv(bigquery.EnvEmulator, fake.Endpoint)
	t.Setenv(bigquery.EnvStorageEmulator, fake.StorageEndpoint)
	s := newServer(t, func(c *api.Config) {
		text := instanceYAML + "  - {name: web, type: bigquery, project: acme}\nremote_query: {max_bytes_per_user_day: 50000000, max_result_rows: 4}\n"
		if err := os.WriteFile(filepath.Join(c.ConfigDir, service.InstanceFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	s.publish("shop", content{"orders", []string{"SELECT 3 AS id UNION ALL SELECT 4 UNION ALL SELECT 99"}}, content{"salaries", []string{"SELECT 1 AS id"}})
	s.publish("web", content{"clicks", []string{"SELECT 1 AS id"}}, content{"people", []string{"SELECT 1 AS id"}})
	s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": "orders", "source": "shop", "source_type": "csv", "is_public": true}).into(t, &struct{}{})
	s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{
		"name": "clicks", "source": "web", "source_type": "bigquery", "bucket": "web", "source_table": "events", "is_public": true,
	}).into(t, &struct{}{})
	s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{
		"name": "people", "source": "web", "source_type": "bigquery", "bucket": "web", "source_table": "people", "is_public": true,
		"options": map[string]any{"columns": []string{"id"}},
	}).into(t, &struct{}{})
	s.published("clicks", 1)
	s.published("people", 1)
	ann, _ := s.analyst("ann@example.com")
	ask := func(token, sql, remote string, more ...any) answer {
		body := map[string]any{"sql": sql, "register_bq": map[string]string{"e": remote}}
		for i := 0; i < len(more); i += 2 {
			body[fmt.Sprint(more[i])] = more[i+1]
		}
		return s.ask("POST", "/api/query/hybrid", token, body)
	}
	const join, events, secrets = "SELECT o.id FROM orders o JOIN e USING (id) ORDER BY 1", "SELECT * FROM `acme.web.events`", "SELECT * FROM `acme.web.secrets`"

	var got hybridAnswer
	ask(ann, join, events, "explain", true).into(t, &got)
	if !got.Explain || fake.Jobs() != 0 || len(got.Stats.Parts) != 1 || got.Stats.Parts[0].Bytes != 20<<20 || got.Stats.Parts[0].Price == 0 {
		t.Errorf("explained: %+v, %d jobs", got, fake.Jobs())
	}
	got = hybridAnswer{}
	ask(ann, join, events).into(t, &got)
	if fmt.Sprint(got.Rows, got.RowCount, got.Truncated, got.Stats.RegisteredAliases, got.Stats.AliasCount) != "[[3] [4]] 2 false [e] 1" || got.Stats.Parts[0].Rows != 10 || got.Stats.Parts[0].Billed != 20<<20 {
		t.Errorf("joined: %+v", got)
	}
	if csv := s.ask("POST", "/api/query/hybrid", s.admin, map[string]any{"sql": join, "register_bq": map[string]string{"e": secrets}}, "Accept: text/csv"); csv.body != "id\r\n3\r\n4\r\n" {
		t.Errorf("CSV for an administrator: %d %q", csv.status, csv.body)
	}
	got = hybridAnswer{}
	ask(s.admin, "SELECT * FROM e", events).into(t, &got)
	if got.RowCount != 4 || !got.Truncated {
		t.Errorf("max_result_rows: %+v", got)
	}
	jobs := fake.Jobs()
	for name, c := range map[string]struct {
		answer answer
		want   string
	}{
		"not granted": {ask(ann, join, secrets), "BQ 'e': bq_error: BigQuery cannot answer the query"},
		// Some of its columns are granted, which says nothing of the others (traps P1, P6).
		"granted in part": {ask(ann, join, "SELECT * FROM `acme.web.people`"), "BQ 'e': bq_error: BigQuery cannot answer the query"},
		"two statements":  {ask(ann, join, events+"; DROP TABLE x"), "BQ 'e': query_error:"},
		"max_bytes":       {ask(ann, join, events, "max_bytes", 1000), "Query: budget:"},
		"writes":          {ask(ann, "DROP TABLE orders", events), "Query: query_error:"},
		"catalog":         {ask(ann, join, "SELECT * FROM web.INFORMATION_SCHEMA.TABLES"), "BQ 'e': query_error:"},
		"reserved":        {s.ask("POST", "/api/query/hybrid", ann, map[string]any{"sql": join, "register_bq": map[string]string{"main": events}}), "BQ 'main': query_error:"},
	} {
		if c.answer.status != 400 || !strings.Contains(c.answer.body, c.want) {
			t.Errorf("%s: %d %s", name, c.answer.status, c.answer.body)
		}
	}
	// What is wrong with the statement is told before anything is paid.
	if got := ask(ann, "SELECT * FROM salaries, e", events); got.status != 404 {
		t.Errorf("a table that is not granted: %d %s", got.status, got.body)
	}
	if got := ask(ann, "SELECT o.id FROM orders o JOIN e ON o.id = e.nothing", events); got.status != 400 {
		t.Errorf("a column that is not there: %d %s", got.status, got.body)
	}
	if fake.Jobs() != jobs {
		t.Errorf("%d jobs were run for what is refused", fake.Jobs()-jobs)
	}
	// Keys are sent along unless somebody does not want it.
	for _, c := range []struct {
		sql  string
		more []any
		want string
	}{
		{join, nil, "[id] [orders] 3 "},
		{join, []any{"semi_join", false}, "[] [] 0 it is switched off"},
		{"SELECT o.id FROM orders o JOIN e ON o.id = e.id AND o.id < 50", nil, "[id] [orders] 2 "},
		{"SELECT e.id FROM e LEFT JOIN orders o USING (id)", nil, "[] [] 0 no join of the alias"},
		{"SELECT e.id FROM e JOIN clicks o ON o.id::VARCHAR = e.id::VARCHAR", nil, "[] [] 0 no join of the alias"},
	} {
		var got hybridAnswer
		ask(ann, c.sql, events, append(c.more, "explain", true)...).into(t, &got)
		j := got.Stats.Parts[0].SemiJoin
		if told := fmt.Sprint(j.Columns, j.Tables, j.Keys, " ", j.Why); !strings.HasPrefix(told, c.want) {
			t.Errorf("%s %v: %s, want %s", c.sql, c.more, told, c.want)
		}
	}
	got = hybridAnswer{}
	ask(ann, join, events).into(t, &got)
	if fmt.Sprint(got.Rows) != "[[3] [4]]" {
		t.Errorf("joined once more: %+v", got)
	}
	var budget struct {
		User, Left int64
	}
	raw := s.ask("GET", "/api/query/budget", ann, nil)
	_, rest, _ := strings.Cut(raw.body, `"user_bytes":`)
	if _, err := fmt.Sscanf(rest, "%d,", &budget.User); err != nil || budget.User != 40<<20 {
		t.Errorf("the budget: %v %s", err, raw.body)
	}
	if got := ask(ann, join, events); got.status != 400 || !strings.Contains(got.body, "Query: budget:") {
		t.Errorf("above the budget of the day: %d %s", got.status, got.body)
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "tmp", "fetched", "hybrid")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// Waiting does not mend a server that has no BigQuery: nobody is told to try again.
func TestHybridQueryWithoutBigQuerySaysWhatToConfigure(t *testing.T) {
	t.Setenv("BIGQUERY_PROJECT", "")
	s := newServer(t)
	got := s.ask("POST", "/api/query/hybrid", s.admin, map[string]any{"sql": "SELECT * FROM e", "register_bq": map[string]string{"e": "SELECT 1 AS x"}})
	if got.status != 400 || !strings.Contains(got.body, "add a source of the type bigquery") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
