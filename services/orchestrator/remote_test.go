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
		Extensions: []string{"keboola", "bigquery", "postgres", "sqlite"},
		Hosts:      []string{"connection.keboola.com", "project=acme", "db.example.com:5432", "/srv/shop.db"},
		TokenEnvs:  []string{"KEBOOLA_STORAGE_TOKEN"},
	}
	good := catalog.Remote{Alias: "kbc", Extension: "keboola", URL: "https://connection.keboola.com", TokenEnv: "KEBOOLA_STORAGE_TOKEN"}
	with := func(change func(*catalog.Remote)) catalog.Remote {
		r := good
		change(&r)
		return r
	}
	pg := func(url string) catalog.Remote {
		return catalog.Remote{Alias: "pg", Extension: "postgres", URL: url, TokenEnv: "KEBOOLA_STORAGE_TOKEN"}
	}
	lite := func(path string) catalog.Remote {
		return catalog.Remote{Alias: "lite", Extension: "sqlite", URL: path}
	}
	cases := map[string]struct {
		remote catalog.Remote
		ok     bool
	}{
		"allowed":                {good, true},
		"host in capitals":       {with(func(r *catalog.Remote) { r.URL = "https://Connection.Keboola.COM/" }), true},
		"ambient":                {catalog.Remote{Alias: "bq", Extension: "bigquery", URL: "project=acme"}, true},
		"extension":              {with(func(r *catalog.Remote) { r.Extension = "shellfs" }), false},
		"extension's case":       {with(func(r *catalog.Remote) { r.Extension = "KEBOOLA" }), false},
		"other host":             {with(func(r *catalog.Remote) { r.URL = "https://evil.example" }), false},
		"host as user":           {with(func(r *catalog.Remote) { r.URL = "https://connection.keboola.com@evil.example" }), false},
		"a secret in it":         {with(func(r *catalog.Remote) { r.URL = "https://user:hunter2@connection.keboola.com" }), false},
		"a secret as text":       {with(func(r *catalog.Remote) { r.URL = "password=hunter2;host=connection.keboola.com" }), false},
		"host as prefix":         {with(func(r *catalog.Remote) { r.URL = "https://connection.keboola.com.evil.example" }), false},
		"host behind slash":      {with(func(r *catalog.Remote) { r.URL = `https://evil.example\@connection.keboola.com` }), false},
		"other port":             {with(func(r *catalog.Remote) { r.URL = "https://connection.keboola.com:8443" }), false},
		"not https":              {with(func(r *catalog.Remote) { r.URL = "http://connection.keboola.com" }), false},
		"a file":                 {with(func(r *catalog.Remote) { r.URL = "file:///etc/passwd" }), false},
		"nothing":                {with(func(r *catalog.Remote) { r.URL = "" }), false},
		"token variable":         {with(func(r *catalog.Remote) { r.TokenEnv = "JWT_SECRET_KEY" }), false},
		"an alias as SQL":        {with(func(r *catalog.Remote) { r.Alias = `k" (TYPE x); --` }), false},
		"postgres":               {pg("postgres://reader@db.example.com:5432/shop"), true},
		"postgres over TLS":      {pg("postgresql://reader@DB.example.com:5432/shop?sslmode=verify-full"), true},
		"postgres elsewhere":     {pg("postgres://reader@db.example.com/shop"), false}, // another port
		"postgres with password": {pg("postgres://reader:hunter2@db.example.com:5432/shop"), false},
		"postgres by parameter":  {pg("postgres://reader@db.example.com:5432/shop?host=evil.example"), false},
		"postgres with a file":   {pg("postgres://reader@db.example.com:5432/shop?passfile=/etc/shadow"), false},
		"postgres, two hosts":    {pg("postgres://reader@db.example.com:5432,evil.example:5432/shop"), false},
		"postgres by a socket":   {pg("postgres://reader@%2Ftmp:5432/shop"), false},
		"postgres without TLS":   {pg("postgres://reader@db.example.com:5432/shop?sslmode=allow"), false},
		"postgres, key=value":    {pg("host=db.example.com"), false},
		"a file of SQLite":       {lite("/srv/shop.db"), true},
		"another case of it":     {lite("/srv/Shop.db"), false},
		"another file":           {lite("/srv/other.db"), false},
		"a way to another file":  {lite("/srv/x/../shop.db"), false},
		"a URI of SQLite":        {lite("file:/srv/shop.db"), false},
		"a reserved alias":       {with(func(r *catalog.Remote) { r.Alias = "main" }), false},
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
