package catalog_test

import (
	"slices"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

func TestRemotePath(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string][]string{
		`SELECT * FROM kbc."in.c-crm".orders`:                      {"kbc", "in.c-crm", "orders"},
		`SELECT * FROM "KBC"."in.c-crm"."or""ders";`:               {"kbc", "in.c-crm", `or"ders`},
		"select a, \"b c\"\nfrom bq.shop.orders":                   {"bq", "shop", "orders"},
		`SELECT * FROM bq.orders`:                                  {"bq", "orders"},
		`SELECT * FROM orders`:                                     nil,
		`SELECT * FROM a.b.c.d`:                                    nil,
		`SELECT * FROM read_text('/etc/passwd')`:                   nil,
		`SELECT (SELECT content FROM read_text('x')) FROM kbc.a.b`: nil,
		`SELECT * FROM kbc.a.b, read_text('/etc/passwd')`:          nil,
		`SELECT * FROM kbc.a.b WHERE getenv('X') = 'a'`:            nil,
		`SELECT * FROM kbc.a.b; DROP TABLE x`:                      nil,
		`SELECT * FROM kbc.a.b UNION ALL SELECT * FROM x.y.z`:      nil,
		`SELECT * FROM '/etc/passwd'`:                              nil,
		`SELECT * FROM "/etc/passwd"`:                              nil,
		``:                                                         nil,
	} {
		alias, path, ok := catalog.RemotePath(sql)
		if ok != (want != nil) || ok && !slices.Equal(append([]string{alias}, path...), want) {
			t.Errorf("RemotePath(%q) = %q, %q, %v; want %q", sql, alias, path, ok, want)
		}
	}
}
