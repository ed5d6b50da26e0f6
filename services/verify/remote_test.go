//go:build verify

package verify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// extensionsDir is where PyPI's packages of DuckDB's extensions are, or the test is skipped.
func extensionsDir(t *testing.T, extension string) (dir, file string) {
	t.Helper()
	tool(t, "python/bin/python")
	found, _ := filepath.Glob(filepath.Join(os.Getenv("AGNES_VERIFY_TOOLS"), "python", "lib", "python3*", "site-packages", "duckdb_extension_"+extension+"_scanner", "extensions", "*", "*.duckdb_extension"))
	if len(found) == 0 {
		t.Skipf("SKIPPED PEER: duckdb-extension-%s-scanner is not installed; run make verify where PyPI can be reached", extension)
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(found[0])))), found[0]
}

// postgres is a real PostgreSQL with TLS and passwords.
type postgres struct {
	t         *testing.T
	bin, addr string
	admin     string // a connection string of the superuser
	server    *process
}

const postgresPassword = "it's a \\secret"

// newPostgres starts a cluster with the database shop, or skips the test. PostgreSQL does not run as root.
func newPostgres(t *testing.T) *postgres {
	t.Helper()
	bin := ""
	for _, candidate := range append([]string{"/usr/local/bin"}, globbed("/usr/lib/postgresql/*/bin")...) {
		if _, err := os.Stat(filepath.Join(candidate, "initdb")); err == nil {
			bin = candidate
		}
	}
	if bin == "" {
		t.Skip("SKIPPED PEER: PostgreSQL is not installed; on Debian: apt-get install postgresql")
	}
	dir, err := os.MkdirTemp("", "agnes-pg-") //nolint:usetesting // where another user may go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgres{t: t, bin: bin, addr: freeAddr(t)}
	_, port, _ := net.SplitHostPort(p.addr)
	password := filepath.Join(dir, "password")
	certificate(t, dir)
	if err := os.WriteFile(password, []byte("superuser's"), 0o600); err != nil {
		t.Fatal(err)
	}
	owner := []string{}
	if os.Getuid() == 0 {
		owner = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
		if out, err := exec.Command("chown", "-R", "65534:65534", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	data := filepath.Join(dir, "data")
	initdb := slices.Concat(owner, []string{filepath.Join(bin, "initdb"), "-D", data, "-U", "super", "--auth=scram-sha-256", "--pwfile=" + password, "--no-sync", "-E", "UTF8"})
	if out, err := exec.Command(initdb[0], initdb[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	run := slices.Concat(owner, []string{filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", dir, "-F", "-c", "ssl=on",
		"-c", "ssl_cert_file=" + filepath.Join(dir, "cert.pem"), "-c", "ssl_key_file=" + filepath.Join(dir, "key.pem"), "-c", "log_statement=all"})
	p.server = spawn(t, "postgres", nil, run[0], run[1:]...)
	p.admin = fmt.Sprintf("host=127.0.0.1 port=%s user=super password='superuser''s' dbname=", port)
	p.admin = strings.ReplaceAll(p.admin, "''", `\'`)
	eventually(t, 30*time.Second, "postgres", func() error {
		out, err := exec.Command(psqlPath(t), p.admin+"postgres", "-c", "SELECT 1").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	p.sql("postgres", "CREATE DATABASE shop")
	return p
}

func psqlPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("SKIPPED PEER: psql is not installed; on Debian: apt-get install postgresql")
	}
	return path
}

func globbed(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}

func (p *postgres) sql(database, statements string) {
	p.t.Helper()
	if out, err := exec.Command(psqlPath(p.t), p.admin+database, "-v", "ON_ERROR_STOP=1", "-c", statements).CombinedOutput(); err != nil {
		p.t.Fatalf("psql: %v: %s", err, out)
	}
}

// certificate writes cert.pem and key.pem of a server that nobody vouches for.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// attached writes an extract of the source into the data directory of s with tables of an attached catalog.
func (s *single) attached(source, extensionFile, alias, extension, attach, url, tokenEnv string, tables ...string) {
	s.t.Helper()
	args := append([]string{"testdata/remote_extract.py", filepath.Join(s.dir, "data", "extracts", source), extensionFile, alias, extension, attach, url, tokenEnv}, tables...)
	if out, err := exec.Command(tool(s.t, "python/bin/python"), args...).CombinedOutput(); err != nil {
		s.t.Fatalf("write the extract: %v: %s", err, out)
	}
}

// query asks and gives the answer as CSV.
func (v *visitor) query(sql string) reply {
	v.t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"sql": %q}`, sql))
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+"/api/query", body)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/csv")
	r.Header.Set("Authorization", "Bearer "+v.token)
	answer, err := v.http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(answer.Body); err != nil {
		v.t.Fatal(err)
	}
	return reply{status: answer.StatusCode, header: answer.Header, body: strings.ReplaceAll(text.String(), "\r\n", "\n")}
}

// published waits until the table of a source is in the catalog.
func (v *visitor) published(name string) {
	v.t.Helper()
	eventually(v.t, 30*time.Second, name+" published", func() error {
		if got := v.ask(http.MethodGet, "/api/catalog/tables", nil); !strings.Contains(got.body, `"`+name+`"`) {
			return fmt.Errorf("%d %.2000s", got.status, got.body)
		}
		return nil
	})
}

// analyst makes somebody who is granted the tables, and signs them in.
func (s *single) analyst(admin *visitor, email string, tables ...string) *visitor {
	s.t.Helper()
	const password = "a long enough password"
	var user struct {
		ID string `json:"id"`
	}
	admin.json(http.MethodPost, "/api/users", map[string]any{"email": email, "name": "Ann", "role": "analyst", "password": password}, http.StatusCreated, &user)
	for _, table := range tables {
		if got := admin.ask(http.MethodPost, "/api/admin/permissions", map[string]any{"user_id": user.ID, "dataset": table}); got.status >= 300 {
			s.t.Fatalf("grant %s: %d %s", table, got.status, got.body)
		}
	}
	return s.signIn(email, password)
}

// TestTrap_P2_ARemoteTableOfPostgresIsReachedAndItsCatalogIsNot: a granted table of a real PostgreSQL answers, with
// projections and conditions pushed down; its neighbours, its catalog and the functions of its extension are not there.
func TestTrap_P2_ARemoteTableOfPostgresIsReachedAndItsCatalogIsNot(t *testing.T) {
	dir, file := extensionsDir(t, "postgres")
	pg := newPostgres(t)
	pg.sql("shop", `
		CREATE ROLE reader LOGIN PASSWORD 'it''s a \secret';
		CREATE TABLE orders AS SELECT i::bigint AS id, 'customer ' || i % 100 AS customer, (i * 1.25)::numeric(12,2) AS amount, DATE '2026-01-01' + (i % 365)::int AS day,
			timestamptz '2026-01-01 10:00:00+02' + i * interval '1 minute' AS made, (CASE WHEN i % 10 = 0 THEN NULL ELSE 'it''s; --' END) AS note FROM generate_series(1, 20000) i;
		CREATE TABLE salaries AS SELECT 1 AS id, 'canary-remote-salary' AS secret;
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;`)
	_, port, _ := net.SplitHostPort(pg.addr)
	s := newSingle(t, "SHOP_DB_PASSWORD="+postgresPassword)
	h := &house{t: t, dir: s.dir}
	h.write("config/instance.yaml", fmt.Sprintf(`instance: {name: Verify}
sources:
  - {name: shop, type: csv, path: ../files, auto_register: true, watch: true}
remote_attach:
  extensions: [postgres]
  hosts: ["127.0.0.1:%s"]
  token_envs: [SHOP_DB_PASSWORD]
remote_query:
  extension_directory: %s
  max_bq_registration_rows: 15000
`, port, dir))
	s.agnes.stop()
	reader := fmt.Sprintf("host=127.0.0.1 port=%s dbname=shop user=reader password=%s", port, `'it\'s a \\secret'`)
	s.attached("erp", file, "pg", "postgres", reader, fmt.Sprintf("postgres://reader@127.0.0.1:%s/shop", port), "SHOP_DB_PASSWORD", "public.orders", "public.salaries")
	s.start()
	admin := s.signIn(adminEmail, adminPassword)
	admin.published("erp")
	ann := s.analyst(admin, "ann@example.com", "erp.orders")

	for sql, want := range map[string]string{
		"SELECT count(*) AS n, min(made) AS first, max(amount) AS most FROM erp.orders WHERE id <= 100":           "n,first,most\n100,2026-01-01T08:01:00Z,125.00\n",
		"SELECT id, note FROM erp.orders WHERE customer = 'customer 7' AND day = DATE '2026-01-08' AND id < 1000": "id,note\n7,it's; --\n",
		"SELECT count(*) AS n FROM erp.orders WHERE note IS NULL AND id IN (10, 11, 20)":                          "n\n2\n",
		"SELECT o.customer, e.amount FROM shop.orders o JOIN erp.orders e USING (id) WHERE e.id = 2 ORDER BY ALL": "customer,amount\n2,2.50\n",
		"SELECT id FROM erp.orders ORDER BY id DESC LIMIT 1 OFFSET 19999":                                         "",
	} {
		got := admin.query(sql)
		if want == "" {
			if got.status != http.StatusRequestEntityTooLarge || !strings.Contains(got.body, "15000 rows") {
				t.Errorf("%s: %d %s", sql, got.status, got.body)
			}
		} else if got.status != http.StatusOK || got.body != want {
			t.Errorf("%s: %d\n got %q\nwant %q", sql, got.status, got.body, want)
		}
	}
	if log := pg.server.output(); !strings.Contains(log, `"note"`) || strings.Contains(log, "SELECT *") && strings.Contains(log, `FROM "public"."orders" WHERE`) {
		t.Errorf("what PostgreSQL was asked: %s", tail(log, 3000))
	}
	if got := ann.query("SELECT count(*) AS n FROM orders WHERE id <= 5"); got.status == http.StatusOK {
		t.Errorf("the bare name stands for two tables: %d %s", got.status, got.body)
	}
	if got := ann.query("SELECT count(*) AS n FROM erp.orders WHERE id <= 5"); got.status != http.StatusOK || got.body != "n\n5\n" {
		t.Errorf("granted: %d %s", got.status, got.body)
	}
	for _, sql := range []string{
		"SELECT * FROM erp.salaries", "SELECT * FROM pg.public.salaries", "SELECT * FROM pg.public.orders", "SELECT * FROM salaries",
		"SELECT * FROM postgres_query('pg', 'SELECT secret FROM salaries')", "SELECT * FROM postgres_scan('host=127.0.0.1', 'public', 'salaries')",
		"CALL postgres_execute('pg', 'DROP TABLE salaries')", "SELECT * FROM erp.orders, query_table('salaries')", "SELECT getenv('SHOP_DB_PASSWORD')",
		"SELECT * FROM duckdb_secrets()", "SELECT database_name FROM duckdb_databases() WHERE database_name LIKE 'pg%'", "LOAD postgres", "ATTACH '' AS pg (TYPE postgres)",
	} {
		if got := ann.query("" + sql); strings.Contains(got.body, "canary") || strings.Contains(got.body, "secret,") || got.status == http.StatusOK && strings.Count(got.body, "\n") > 1 {
			t.Errorf("%s: %d %s", sql, got.status, got.body)
		}
	}
	s.noFetcher()
	pg.server.stop()
	if got := admin.query("SELECT max(id) AS m FROM erp.orders WHERE id < 77"); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "127.0.0.1") || strings.Contains(got.body, "secret") {
		t.Errorf("without PostgreSQL: %d %s", got.status, got.body)
	}
	if got := admin.query("SELECT count(*) AS n FROM shop.orders"); got.status != http.StatusOK || got.body != "n\n3\n" {
		t.Errorf("a local table: %d %s", got.status, got.body)
	}
	if out := s.agnes.output(); strings.Contains(out, `it's a \\secret`) || strings.Contains(out, postgresPassword) {
		t.Error("the log holds the password")
	}
}

// noFetcher waits until no process that fetches is left.
func (s *single) noFetcher() {
	s.t.Helper()
	eventually(s.t, 10*time.Second, "no process that fetches", func() error {
		for _, pid := range childrenOf(s.agnes.cmd.Process.Pid) {
			if strings.Contains(read(fmt.Sprintf("/proc/%d/cmdline", pid)), "remote-fetcher") {
				return fmt.Errorf("%d still runs", pid)
			}
		}
		return nil
	})
}

// TestTrap_B2_AMissingExtensionIsAnErrorOfItsTables: a missing extension is an error of the tables that need it, and of no other; what
// the allow-lists no longer allow is not read any more; and a SQLite file is reached by its own path alone.
func TestTrap_B2_AMissingExtensionIsAnErrorOfItsTables(t *testing.T) {
	dir, file := extensionsDir(t, "sqlite")
	s := newSingle(t)
	database := filepath.Join(s.dir, "outside", "till.db")
	script := "import sqlite3,sys,os;os.makedirs(os.path.dirname(sys.argv[1]));c=sqlite3.connect(sys.argv[1]);" +
		"c.execute('create table sales(id integer, item text, price real, sold date)');" +
		"c.executemany('insert into sales values (?,?,?,?)',[(i,'item %d'%(i%5),i*0.5,'2026-01-%02d'%(i%28+1)) for i in range(1000)]);" +
		"c.execute('create table pins(pin text)');c.execute('insert into pins values (?)',['canary-pin']);c.commit()"
	if out, err := exec.Command(tool(t, "python/bin/python"), "-c", script, database).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h := &house{t: t, dir: s.dir}
	configure := func(extensions, host string) {
		s.agnes.stop()
		h.write("config/instance.yaml", fmt.Sprintf(`instance: {name: Verify}
sources:
  - {name: shop, type: csv, path: ../files, auto_register: true, watch: true}
remote_attach: {extensions: [sqlite], hosts: [%q]}
remote_query: {extension_directory: %q, cache_seconds: -1}
`, host, extensions))
		s.start()
	}
	const count = "SELECT item, sum(price) AS total FROM till.sales WHERE id BETWEEN 10 AND 14 GROUP BY item ORDER BY item LIMIT 2"
	s.attached("till", file, "lite", "sqlite", database, database, "", "main.sales", "main.pins")
	configure(filepath.Join(s.dir, "outside"), database)
	admin := s.signIn(adminEmail, adminPassword)
	admin.published("till")
	admin.published("shop")
	if got := admin.query(count); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "extension_directory") {
		t.Errorf("without the extension: %d %s", got.status, got.body)
	}
	if got := admin.query("SELECT count(*) AS n FROM shop.orders"); got.status != http.StatusOK {
		t.Errorf("a local table beside it: %d %s", got.status, got.body)
	}

	configure(dir, database)
	admin = s.signIn(adminEmail, adminPassword)
	if got := admin.query(count); got.status != http.StatusOK || got.body != "item,total\nitem 0,5\nitem 1,5.5\n" {
		t.Errorf("with the extension: %d %q", got.status, got.body)
	}
	ann := s.analyst(admin, "ann@example.com", "till.sales")
	if got := ann.query("SELECT max(id) AS m FROM till.sales"); got.status != http.StatusOK || got.body != "m\n999\n" {
		t.Errorf("granted: %d %q", got.status, got.body)
	}
	for _, sql := range []string{
		"SELECT * FROM till.pins", "SELECT * FROM lite.main.pins", "SELECT * FROM sqlite_scan('" + database + "', 'pins')", "SELECT * FROM sqlite_query('lite', 'SELECT * FROM pins')",
		"SELECT * FROM read_text('" + database + "')", "SELECT * FROM read_parquet('" + filepath.Join(s.dir, "data", "tmp", "fetched", "remote", "*", "*") + "')",
	} {
		if got := ann.query(sql); got.status == http.StatusOK || strings.Contains(got.body, "canary") {
			t.Errorf("%s: %d %s", sql, got.status, got.body)
		}
	}
	s.noFetcher()

	// The publication is older than the list: what was allowed then is not now.
	configure(dir, "/srv/other.db")
	admin = s.signIn(adminEmail, adminPassword)
	eventually(t, 20*time.Second, "the table is withdrawn", func() error {
		if got := admin.query(count); got.status == http.StatusOK {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
}

// TestWhatFetchesReachesNothingElse asks the process that fetches for what no order of ours says, as somebody would who
// had taken over an extension.
func TestWhatFetchesReachesNothingElse(t *testing.T) {
	dir, _ := extensionsDir(t, "sqlite")
	extensionsDir(t, "postgres")
	pg := newPostgres(t)
	_, port, _ := net.SplitHostPort(pg.addr)
	place, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret.txt")
	if err := os.WriteFile(secret, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	lite := filepath.Join(outside, "lite.db")
	if out, err := exec.Command(tool(t, "python/bin/python"), "-c", "import sqlite3,sys;c=sqlite3.connect(sys.argv[1]);c.execute('create table t as select 1 a');c.commit()", lite).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fetch := func(attachment map[string]any, sql string, files []string, ports ...string) (failure, cause string) {
		attachment["Directory"] = dir
		order := map[string]any{"Attachment": attachment, "SQL": sql, "Path": filepath.Join(place, "x.parquet"), "MemoryBytes": 256 << 20, "DataBytes": 2 << 30, "Files": files, "Ports": []int{}}
		for _, p := range ports {
			number, _ := strconv.Atoi(p)
			order["Ports"] = []int{number}
		}
		raw, err := json.Marshal(order)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(binaries, "agnes-api"), "remote-fetcher")
		cmd.Env = []string{}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = in.Write(append(raw, '\n'))
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, said.String())
		}
		if said.Len() > 0 {
			t.Logf("without a layer: %s", said.String())
		}
		var report struct{ Failure, Cause string }
		if err := json.Unmarshal(out.Bytes(), &report); err != nil {
			t.Fatalf("%v: %s", err, out.String())
		}
		return report.Failure, report.Cause
	}
	sqlite := func() map[string]any { return map[string]any{"Alias": "x", "Extension": "sqlite", "Address": lite} }
	postgres := func() map[string]any {
		return map[string]any{"Alias": "x", "Extension": "postgres", "Address": pg.admin + "shop"}
	}
	if failure, cause := fetch(sqlite(), "SELECT * FROM x.t", []string{lite}); failure != "" {
		t.Fatalf("what it may: %s %s", failure, cause)
	}
	if failure, cause := fetch(postgres(), "SELECT 1", nil, port); failure != "" {
		t.Fatalf("where it may: %s %s", failure, cause)
	}
	for name, try := range map[string]func() (string, string){
		"another file": func() (string, string) {
			return fetch(sqlite(), "SELECT * FROM read_text('"+secret+"')", []string{lite})
		},
		"another database": func() (string, string) { return fetch(sqlite(), "SELECT * FROM x.t", nil) },
		"the password file": func() (string, string) {
			return fetch(sqlite(), "SELECT * FROM read_text('/etc/passwd')", []string{lite})
		},
		"its environment": func() (string, string) {
			return fetch(sqlite(), "SELECT * FROM read_text('/proc/self/environ')", []string{lite})
		},
		"another port": func() (string, string) { return fetch(postgres(), "SELECT 1", nil, "1") },
		"writing": func() (string, string) {
			return fetch(sqlite(), "SELECT * FROM sqlite_query('x', 'DELETE FROM t')", []string{lite})
		},
	} {
		if failure, cause := try(); failure == "" {
			t.Errorf("%s was reached", name)
		} else {
			t.Logf("%s: %.120s", name, cause)
		}
	}
}

// TestTrap_S6_AStatementThatIsGivenUpEndsWhereTheTableLives: the process that fetches goes with the one who asked, and so does
// what PostgreSQL does for it.
func TestTrap_S6_AStatementThatIsGivenUpEndsWhereTheTableLives(t *testing.T) {
	dir, file := extensionsDir(t, "postgres")
	pg := newPostgres(t)
	pg.sql("shop", "CREATE VIEW slow AS SELECT i AS id, (SELECT 'x' FROM pg_sleep(0.2)) || i AS name FROM generate_series(1, 1000) i WHERE i > 0 AND pg_sleep(0.1) IS NOT NULL")
	_, port, _ := net.SplitHostPort(pg.addr)
	s := newSingle(t, "SHOP_DB_PASSWORD=superuser's")
	h := &house{t: t, dir: s.dir}
	s.agnes.stop()
	h.write("config/instance.yaml", fmt.Sprintf("instance: {name: Verify}\nremote_attach: {extensions: [postgres], hosts: [\"127.0.0.1:%s\"], token_envs: [SHOP_DB_PASSWORD]}\nremote_query: {extension_directory: %q}\n", port, dir))
	s.attached("erp", file, "pg", "postgres", pg.admin+"shop", fmt.Sprintf("postgres://super@127.0.0.1:%s/shop?sslmode=require", port), "SHOP_DB_PASSWORD", "public.slow")
	s.start()
	admin := s.signIn(adminEmail, adminPassword)
	admin.published("erp")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url("/api/query"), strings.NewReader(`{"sql": "SELECT count(name) FROM erp.slow"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+admin.token)
	working := "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'agnes-%' AND state = 'active'"
	go func() {
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
			t.Errorf("it was answered: %d", answer.StatusCode)
		}
	}()
	activity := func(want string) func() error {
		return func() error {
			out, err := exec.Command(psqlPath(t), pg.admin+"shop", "-tAc", working).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != want && (want == "0" || got == "0") {
				return errors.Join(err, fmt.Errorf("%s at work", out))
			}
			return nil
		}
	}
	eventually(t, 15*time.Second, "PostgreSQL at work", activity("1"))
	<-ctx.Done()
	s.noFetcher()
	eventually(t, 20*time.Second, "PostgreSQL at rest", activity("0"))
	if left := globbed(filepath.Join(s.dir, "data", "tmp", "fetched", "remote", "*", "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
