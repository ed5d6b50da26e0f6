package api_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api"
)

// What nobody may be told: what is in tables that are not granted, and what the server has beside tables.
const (
	canaryTable  = "canaryinatable"
	canaryServer = "canaryontheserver"
)

// attack is a statement of testdata/hostile with what must become of it: refused (4xx), hidden (404 to whom
// the table is not granted), answered (but telling nothing), bomb (ends in time), heavy (a bomb that only a
// killed process ends), crash (one that ends its process by itself), works (200).
type attack struct{ family, expect, sql string }

func attacks(t *testing.T, pattern string) []attack {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var all []attack
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if expect, sql, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok && line[0] != '#' {
				all = append(all, attack{strings.TrimSuffix(filepath.Base(file), ".sql"), expect, sql})
			}
		}
	}
	return all
}

var placeholder = regexp.MustCompile(`\{\{(x|repeat:\d+):(.*?)\}\}`)

// expand fills what stands in double braces: {{x:00}} is a byte, {{repeat:3:a}} a text, others are names.
func expand(sql string, names map[string]string) string {
	for name, value := range names {
		sql = strings.ReplaceAll(sql, "{{"+name+"}}", value)
	}
	return placeholder.ReplaceAllStringFunc(sql, func(m string) string {
		part := placeholder.FindStringSubmatch(m)
		if part[1] == "x" {
			raw, _ := hex.DecodeString(part[2])
			return string(raw)
		}
		n, _ := strconv.Atoi(strings.TrimPrefix(part[1], "repeat:"))
		return strings.Repeat(part[2], n)
	})
}

// siege is a server with tables that are granted and others that are not, and with those who ask it.
type siege struct {
	*server
	names map[string]string
	roles map[string]string // role → token
	leaks []string          // what no answer may hold
}

func besiege(t *testing.T) *siege {
	t.Helper()
	s := &siege{server: newServer(t, func(c *api.Config) {
		c.QueryTimeout, c.QueryMemory, c.QueryConcurrency = 2*time.Second, 768, 2
	}), roles: map[string]string{}}
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret.csv")
	for _, path := range []string{secret, filepath.Join(s.dir, "secret.csv"), filepath.Join(s.dir, "state", "secret.json")} {
		if err := os.WriteFile(path, []byte(canaryServer+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.publish("shop",
		content{"orders", []string{"SELECT i::BIGINT AS id, 'c' || i AS customer FROM range(5) r(i)", "SELECT 5::BIGINT AS id, 'c5' AS customer"}},
		content{"order", []string{"SELECT 1 AS \"select\""}}, content{"dotted.name", []string{"SELECT 1 AS x"}}, content{"ärger", []string{"SELECT 1 AS \"größe\""}},
		content{"zz_bonus", []string{"SELECT 1::BIGINT AS id, '" + canaryTable + "' AS zz_column"}})
	s.publish("hr", content{"zz_people", []string{"SELECT 1::BIGINT AS id, '" + canaryTable + "' AS zz_column"}})
	s.publish("crm", content{"notes", []string{"SELECT 1::BIGINT AS id, 2 AS copy, 3 AS attach, 4 AS load, DATE '2026-01-01' AS last_update"}})
	s.published("orders", 6)
	s.published("notes", 1)
	s.published("zz_people", 1)
	for _, role := range []string{"viewer", "analyst"} {
		token, id := s.analyst(role + "@example.com")
		s.ask("PATCH", "/api/users/"+id, s.admin, map[string]string{"role": role}).into(t, &struct{}{})
		for _, table := range []string{"shop.orders", "shop.order", "shop.dotted.name", "shop.ärger", "crm.notes"} {
			s.ask("POST", "/api/admin/permissions", s.admin, map[string]string{"user_id": id, "dataset": table}).into(t, &struct{}{})
		}
		s.roles[role] = token
	}
	s.roles["admin"] = s.admin
	m := s.manifest(s.admin)
	part := func(table string) string {
		return filepath.Join(s.dir, "extracts", "shop", "data", table, m.Tables[table].Parts[0].SHA256+".parquet")
	}
	s.names = map[string]string{"hidden": part("zz_bonus"), "granted": part("orders"), "secret": secret, "outside": outside, "dir": s.dir}
	binary, _ := os.Executable()
	s.leaks = []string{canaryServer, s.dir, s.config, outside, filepath.Dir(binary), filepath.Join(os.TempDir(), "Test"), "stored_secrets"}
	return s
}

var squeeze = strings.NewReplacer(`\n`, "", "│", "", " ", "")

// told are the leaks that an answer holds and the statement does not.
func (s *siege) told(role, sql string, got answer) []string {
	leaks := s.leaks
	if role != "admin" {
		leaks = append([]string{canaryTable, "zz_bonus", "zz_people", "zz_column"}, leaks...)
	}
	all := got.body + fmt.Sprint(got.header, got.trailer)
	all += squeeze.Replace(all) // a plan wraps long lines
	lower := strings.ToLower(strings.ReplaceAll(sql, "' || '", ""))
	var found []string
	for _, leak := range leaks {
		if strings.Contains(all, leak) && !strings.Contains(lower, strings.ToLower(leak)) {
			found = append(found, leak)
		}
	}
	return found
}

// try asks once and tells what is wrong with the answer; empty where nothing is.
func (s *siege) try(role string, a attack) string {
	sql := expand(a.sql, s.names)
	began := time.Now()
	got := s.ask("POST", "/api/query", s.roles[role], map[string]any{"sql": sql, "limit": 1000})
	took := time.Since(began)
	shown := got.body
	if len(shown) > 400 {
		shown = shown[:400]
	}
	if leaks := s.told(role, sql, got); len(leaks) > 0 {
		return fmt.Sprintf("told %q: %s", leaks, shown)
	}
	ok := got.err == nil
	switch a.expect {
	case "works", "answered":
		ok = ok && got.status == 200
	case "refused":
		ok = ok && got.status/100 == 4
	case "hidden":
		ok = ok && (got.status == 404 || role == "admin" && got.status/100 != 5)
	case "bomb", "heavy":
		ok = (got.status == 200 || got.status/100 == 4 || got.status == 503) && took < 20*time.Second
	case "crash":
		ok = got.status != 200 && took < 20*time.Second
	default:
		return "nobody knows what is expected by " + a.expect
	}
	if !ok {
		return fmt.Sprintf("%d %v after %v: %s", got.status, got.err, took, shown)
	}
	return ""
}

// hashes are those of all files below the folders, apart from what a server writes by itself.
func (s *siege) hashes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, root := range []string{s.dir, s.config, s.names["outside"]} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			relative, _ := filepath.Rel(s.dir, path)
			if err != nil || e.IsDir() {
				if relative == "tmp" {
					return fs.SkipDir
				}
				return err
			}
			if strings.HasPrefix(relative, "state"+string(filepath.Separator)) && !strings.Contains(relative, "secret.json") {
				return nil
			}
			d, err := lake.HashFile(path)
			found[path] = d.SHA256
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	here, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range here {
		found["./"+e.Name()] = ""
	}
	return found
}

// resident is the memory of this process in bytes, or zero where nothing tells.
func resident() int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// memoryBound is what the server may grow by: the limit of all queries, and as much for what DuckDB does not
// count (texts and lists under way) and the race detector.
const memoryBound = 2 << 30

func TestTrap_P2_HostileStatements(t *testing.T) {
	if testing.Short() {
		t.Skip("some hundred statements")
	}
	t.Setenv("AGNES_CANARY", canaryServer)
	s := besiege(t)
	all := attacks(t, "hostile/*.sql")
	if len(all) < 200 {
		t.Fatalf("only %d statements", len(all))
	}
	s.storm(t, all, func(a attack) []string {
		if a.family == "bombs" {
			return nil
		}
		return []string{"viewer", "analyst", "admin"}
	})
}

// testWorkers has the tests run queries in processes apart, as the binaries do.
const testWorkers = "AGNES_TEST_WORKERS"

// TestTrap_E8_BombsEndInTime asks each bomb by one of the roles: what it costs does not depend on who asks.
// The heavy ones are for processes alone (make verify): they take many GB that DuckDB does not count, and
// nothing but the end of a process ends them.
func TestTrap_E8_BombsEndInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("two seconds for each of some")
	}
	s := besiege(t)
	memory, asked, heavy := resident(), 0, os.Getenv(testWorkers) != ""
	s.storm(t, attacks(t, "hostile/bombs.sql"), func(a attack) []string {
		if (a.expect == "heavy" || a.expect == "crash") && !heavy {
			return nil
		}
		asked++
		return []string{"viewer", "analyst", "admin"}[asked%3 : asked%3+1]
	})
	if grown := resident() - memory; grown > memoryBound {
		t.Errorf("the server grew by %d MB", grown>>20)
	}
}

// storm asks everything, a few at once, and looks at what is left of the server.
func (s *siege) storm(t *testing.T, all []attack, asking func(attack) []string) {
	t.Helper()
	before := s.hashes(t)
	work := make(chan func())
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	for _, a := range all {
		for _, role := range asking(a) {
			work <- func() {
				if wrong := s.try(role, a); wrong != "" {
					t.Errorf("%s, %s by the %s: %.200q\n %s", a.family, a.expect, role, a.sql, wrong)
				}
			}
		}
	}
	close(work)
	workers.Wait()
	after := s.hashes(t)
	for path, hash := range after {
		if was, ok := before[path]; !ok || was != hash {
			t.Errorf("%s is new or was changed", path)
		}
	}
	for path := range before {
		if _, ok := after[path]; !ok {
			t.Errorf("%s is gone", path)
		}
	}
	if got := s.ask("GET", "/readyz", "", nil); got.status != 200 {
		t.Errorf("afterwards /readyz says %d %s", got.status, got.body)
	}
	for role, token := range s.roles {
		if got := s.query(token, "SELECT count(*), max(customer) FROM orders"); fmt.Sprint(got.Rows) != "[[6 c5]]" {
			t.Errorf("afterwards the %s gets %v", role, got.Rows)
		}
	}
}

func TestTrap_E7_LegitimateStatementsWork(t *testing.T) {
	t.Parallel()
	s := besiege(t)
	all := attacks(t, "legitimate.sql")
	if len(all) < 80 {
		t.Fatalf("only %d statements", len(all))
	}
	for _, a := range all {
		for role := range s.roles {
			if wrong := s.try(role, a); wrong != "" {
				t.Errorf("the %s: %q\n %s", role, a.sql, wrong)
			}
		}
	}
	got := s.query(s.roles["analyst"], "SELECT DISTINCT table_name FROM information_schema.tables ORDER BY 1")
	if fmt.Sprint(got.Rows) != "[[dotted.name] [notes] [order] [orders] [ärger]]" {
		t.Errorf("information_schema lists %v", got.Rows)
	}
}

// TestTrap_P3_WhatIsHiddenHasTheWordsOfWhatNeverWas asks two houses the same: in one the table exists.
func TestTrap_P3_WhatIsHiddenHasTheWordsOfWhatNeverWas(t *testing.T) {
	t.Parallel()
	details := map[bool][]string{}
	statements := []string{
		"FROM zz_bonus", "FROM shop.zz_bonus", "FROM zz_bonu", "FROM shop.zz_bonsu", "SELECT * FROM orders JOIN zz_bonus USING (id)", "SELECT zz_colum FROM orders",
		"DESCRIBE zz_bonus", "FROM query('FROM zz_' || 'bonus')", "FROM hr.zz_people", "FROM zz_people", "SELECT shop.zz_bonus.id FROM orders", "FROM sql_auto_complete('FROM zz')",
	}
	for _, exists := range []bool{true, false} {
		s := newServer(t)
		tables := []content{{"orders", []string{"SELECT 1::BIGINT AS id"}}}
		if exists {
			tables = append(tables, content{"zz_bonus", []string{"SELECT 1::BIGINT AS id, 'x' AS zz_column"}})
			s.publish("hr", content{"zz_people", []string{"SELECT 1::BIGINT AS id"}})
		}
		s.publish("shop", tables...)
		s.published("orders", 1)
		ann, id := s.analyst("ann@example.com")
		s.ask("POST", "/api/admin/permissions", s.admin, map[string]string{"user_id": id, "dataset": "shop.orders"}).into(t, &struct{}{})
		for _, sql := range statements {
			got := s.ask("POST", "/api/query", ann, map[string]any{"sql": sql})
			var problem struct {
				Detail string
				Rows   [][]any
			}
			if err := json.Unmarshal([]byte(got.body), &problem); err != nil {
				t.Fatal(err)
			}
			details[exists] = append(details[exists], fmt.Sprint(got.status, problem))
		}
	}
	for i, sql := range statements {
		if details[true][i] != details[false][i] {
			t.Errorf("%s is answered with\n%s\nwhere the table exists and else with\n%s", sql, details[true][i], details[false][i])
		}
	}
}
