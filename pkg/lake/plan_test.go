package lake

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	remote := View{Schema: "crm", Name: "deals", Aliases: []string{"deals"}, Remote: true, Columns: []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "name c1=2", Type: "VARCHAR"}}}
	s, err := OpenSession(t.Context(), SessionOptions{Plan: true, Views: []View{{Schema: "a", Name: "b", Columns: []catalog.Column{{Name: "x", Type: "DATE"}}}, remote}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, sql := range []string{`SELECT "name c1=2" FROM deals WHERE id > 5 LIMIT 3`, `EXPLAIN ANALYZE SELECT "name c1=2" FROM crm.deals WHERE id > 5 LIMIT 3;`} {
		p, err := s.Plan(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(p.Explain, `"c0>5"`) || !strings.Contains(p.Explain, `"c1"`) || !strings.Contains(p.Tree, `"BASE_TABLE"`) {
			t.Errorf("%s: %s %s", sql, p.Explain, p.Tree)
		}
		_, name, _ := strings.Cut(p.Explain, `"Table": "`)
		name, _, _ = strings.Cut(name, `",`)
		if at, ok := StandInOf(strings.ReplaceAll(name, `\"`, `"`)); !ok || at != 1 {
			t.Errorf("the stand-in %s is that of view %d %v", name, at, ok)
		}
	}
	if _, err := s.Plan(t.Context(), "SELECT nothing FROM deals"); ClassOf(err) != ClassBinder {
		t.Errorf("an unknown column: %v", err)
	}
	if _, err := s.Plan(t.Context(), "CREATE TABLE x (a INT)"); err == nil {
		t.Error("a CREATE was planned")
	}
}

// What was not fetched is an error and never an empty column.
func TestSessionFetched(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "fetched.parquet")
	db, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), "COPY (SELECT 7::BIGINT AS id) TO "+QuoteLiteral(file)); err != nil {
		t.Fatal(err)
	}
	columns := []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "name", Type: "VARCHAR"}}
	s, err := OpenSession(context.Background(), SessionOptions{Views: []View{
		{Schema: "crm", Name: "deals", Remote: true, Columns: columns, Files: []string{file}, Fetched: []string{"id"}},
		{Schema: "crm", Name: "other", Remote: true, Columns: columns},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for sql, want := range map[string]string{
		"SELECT id FROM crm.deals": "[7]", "SELECT count(*) FROM crm.deals": "[1]", "SELECT name FROM crm.deals": "remote",
		"SELECT count(name) FROM crm.deals": "remote", "SELECT id FROM crm.deals WHERE name IS NULL": "remote", "SELECT id FROM crm.other": "remote",
		"SELECT count(*) FROM crm.other": "remote", "SELECT column_name FROM (DESCRIBE crm.other) LIMIT 1": "[id]",
	} {
		got := ""
		r, err := s.Query(t.Context(), sql)
		if err == nil {
			for r.Next() {
				got += fmt.Sprint(strings.Split(r.RecordBatch().Column(0).String(), " "))
				got = strings.NewReplacer(`"`, "", "[[", "[", "]]", "]").Replace(got)
			}
			err = r.Err()
			r.Close()
		}
		if IsRemote(err) {
			got = "remote"
		} else if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
