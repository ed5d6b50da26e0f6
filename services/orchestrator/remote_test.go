package orchestrator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/service"
)

func TestAllowedRemotes(t *testing.T) {
	t.Parallel()
	lists := service.AllowLists{
		Extensions: []string{"keboola", "bigquery"},
		Hosts:      []string{"connection.keboola.com", "project=acme"},
		TokenEnvs:  []string{"KEBOOLA_STORAGE_TOKEN"},
	}
	good := catalog.Remote{Alias: "kbc", Extension: "keboola", URL: "https://connection.keboola.com", TokenEnv: "KEBOOLA_STORAGE_TOKEN"}
	with := func(change func(*catalog.Remote)) catalog.Remote {
		r := good
		change(&r)
		return r
	}
	cases := map[string]struct {
		remote catalog.Remote
		ok     bool
	}{
		"allowed":           {good, true},
		"host in capitals":  {with(func(r *catalog.Remote) { r.URL = "https://Connection.Keboola.COM/" }), true},
		"ambient":           {catalog.Remote{Alias: "bq", Extension: "bigquery", URL: "project=acme"}, true},
		"extension":         {with(func(r *catalog.Remote) { r.Extension = "shellfs" }), false},
		"extension's case":  {with(func(r *catalog.Remote) { r.Extension = "KEBOOLA" }), false},
		"other host":        {with(func(r *catalog.Remote) { r.URL = "https://evil.example" }), false},
		"host as user":      {with(func(r *catalog.Remote) { r.URL = "https://connection.keboola.com@evil.example" }), false},
		"a secret in it":    {with(func(r *catalog.Remote) { r.URL = "https://user:hunter2@connection.keboola.com" }), false},
		"a secret as text":  {with(func(r *catalog.Remote) { r.URL = "password=hunter2;host=connection.keboola.com" }), false},
		"host as prefix":    {with(func(r *catalog.Remote) { r.URL = "https://connection.keboola.com.evil.example" }), false},
		"host behind slash": {with(func(r *catalog.Remote) { r.URL = `https://evil.example\@connection.keboola.com` }), false},
		"other port":        {with(func(r *catalog.Remote) { r.URL = "https://connection.keboola.com:8443" }), false},
		"not https":         {with(func(r *catalog.Remote) { r.URL = "http://connection.keboola.com" }), false},
		"a file":            {with(func(r *catalog.Remote) { r.URL = "file:///etc/passwd" }), false},
		"nothing":           {with(func(r *catalog.Remote) { r.URL = "" }), false},
		"token variable":    {with(func(r *catalog.Remote) { r.TokenEnv = "JWT_SECRET_KEY" }), false},
		"an alias as SQL":   {with(func(r *catalog.Remote) { r.Alias = `k" (TYPE x); --` }), false},
		"a reserved alias":  {with(func(r *catalog.Remote) { r.Alias = "main" }), false},
	}
	for name, c := range cases {
		allowed, refused := allowedRemotes([]catalog.Remote{c.remote}, lists)
		if (len(allowed) == 1) != c.ok || (len(refused) == 0) != c.ok {
			t.Errorf("%s: allowed %v, refused %v; want allowed: %v", name, allowed, refused, c.ok)
		}
		if strings.Contains(fmt.Sprint(refused), "hunter2") {
			t.Errorf("%s: the reason tells the secret: %v", name, refused)
		}
	}
	if allowed, _ := allowedRemotes([]catalog.Remote{good}, service.AllowLists{}); len(allowed) != 0 {
		t.Error("an empty list allowed an attachment")
	}
	evil := with(func(r *catalog.Remote) { r.Alias, r.URL = "KBC", "https://evil.example" })
	if allowed, refused := allowedRemotes([]catalog.Remote{good, evil}, lists); len(allowed) != 0 || refused["kbc"] == "" {
		t.Errorf("an alias with two meanings: allowed %v, refused %v; want neither", allowed, refused)
	}
}

func TestRemoteAlias(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`SELECT * FROM kbc."in.c-crm".orders`:                      "kbc",
		`SELECT * FROM "KBC"."in.c-crm"."or""ders";`:               "kbc",
		"select a, \"b c\"\nfrom bq.shop.orders":                   "bq",
		`SELECT * FROM bq.orders`:                                  "bq",
		`SELECT * FROM orders`:                                     "",
		`SELECT * FROM read_text('/etc/passwd')`:                   "",
		`SELECT (SELECT content FROM read_text('x')) FROM kbc.a.b`: "",
		`SELECT * FROM kbc.a.b, read_text('/etc/passwd')`:          "",
		`SELECT * FROM kbc.a.b WHERE getenv('X') = 'a'`:            "",
		`SELECT * FROM kbc.a.b; DROP TABLE x`:                      "",
		`SELECT * FROM kbc.a.b UNION ALL SELECT * FROM x.y.z`:      "",
		`SELECT * FROM '/etc/passwd'`:                              "",
		`SELECT * FROM "/etc/passwd"`:                              "",
		``:                                                         "",
	} {
		if got, ok := remoteAlias(sql); got != want || ok != (want != "") {
			t.Errorf("remoteAlias(%q) = %q, %v; want %q", sql, got, ok, want)
		}
	}
}
