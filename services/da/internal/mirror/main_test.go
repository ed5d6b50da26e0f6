package mirror_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// pool are parquet files; file i has one row, whose column v is i. Odd ones have a column more.
var pool [][]byte

func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		hold(path)
		return
	}
	flag.Parse()
	// A check is a history of a workspace and takes a second; -rapid.checks asks for more.
	if f := flag.Lookup("rapid.checks"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set("25")
	}
	_ = flag.Set("rapid.nofailfile", "true") // the seed in the output is enough
	if err := fillPool(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func fillPool() error {
	dir, err := os.MkdirTemp("", "pool")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := lake.Open(context.Background(), lake.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for i := range 12 {
		path := filepath.Join(dir, fmt.Sprint(i))
		columns := fmt.Sprintf("%d AS v", i)
		if i%2 == 1 {
			columns += ", 'text' AS w"
		}
		if _, err := db.Exec("COPY (SELECT " + columns + ") TO " + lake.QuoteLiteral(path) + " (FORMAT parquet)"); err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pool = append(pool, raw)
	}
	return nil
}

// bench is a workspace with its server.
type bench struct {
	api    *clienttest.Server
	client *client.Client
	ws     *workspace.Workspace
	db     *localdb.DB
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func setUp(t fataler, dir string) (*bench, func()) {
	t.Helper()
	api := clienttest.New()
	c, err := client.New(client.Options{
		Server: api.URL, Token: api.Token("u-1", "pat"), Backoff: []time.Duration{time.Millisecond}, IdleTimeout: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ws, err := workspace.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	db := localdb.New(ws)
	db.Patience = 300 * time.Millisecond
	return &bench{api: api, client: c, ws: ws, db: db}, func() {
		c.Close()
		api.Close()
	}
}

func start(t *testing.T) *bench {
	t.Helper()
	b, stop := setUp(t, t.TempDir())
	t.Cleanup(stop)
	return b
}

// sync syncs once.
func (b *bench) sync(ctx context.Context, opts mirror.Options) (*mirror.Result, error) {
	return mirror.New(b.client, b.db, b.ws, opts).Sync(ctx)
}

// mustSync syncs and fails the test where anything is left undone.
func (b *bench) mustSync(t *testing.T, opts mirror.Options) *mirror.Result {
	t.Helper()
	r, err := b.sync(t.Context(), opts)
	if err != nil {
		t.Fatalf("sync: %v\n%+v", err, r.Errors)
	}
	return r
}

// table is a table of the shop with these files of the pool.
func table(name string, files ...int) clienttest.Table {
	t := clienttest.Table{Name: name, Source: "shop", Alias: true, Rows: int64(len(files)), Columns: []clienttest.Column{{Name: "v", Type: "INTEGER"}}}
	for _, i := range files {
		t.Parts = append(t.Parts, pool[i])
	}
	return t
}

// exec runs statements in the analyst's database, as the analyst would.
func (b *bench) exec(t fataler, statements ...string) {
	t.Helper()
	db, err := lake.Open(context.Background(), lake.Options{Path: b.ws.Database()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// ask gives the text of a single value of the analyst's database, or the error's.
func (b *bench) ask(t fataler, query string) string {
	t.Helper()
	db, err := lake.Open(context.Background(), lake.Options{Path: b.ws.Database(), ReadOnly: true})
	if err != nil {
		return "cannot open: " + err.Error()
	}
	defer func() { _ = db.Close() }()
	var got any
	if err := db.QueryRow(query).Scan(&got); err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprint(got)
}

// values asks a table for its rows.
func (b *bench) values(t fataler, name string) string {
	t.Helper()
	return b.ask(t, "SELECT list(v ORDER BY v)::VARCHAR FROM "+name)
}

// files lists the parts on disk, below data/parquet.
func (b *bench) files(t fataler) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(b.ws.Parquet(), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(b.ws.Parquet(), path)
			found = append(found, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// holdEnv makes the test's binary hold a database open until its standard input ends.
const holdEnv = "AGNES_TEST_HOLD"

// holdDatabase opens the database in another process until release is called.
func holdDatabase(t *testing.T, b *bench) (release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+b.ws.Database())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the other program: %q, %v", line, err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

func hold(path string) {
	db, err := lake.Open(context.Background(), lake.Options{Path: path})
	if err != nil {
		panic(err)
	}
	defer func() { _ = db.Close() }()
	_, _ = os.Stdout.WriteString("held\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
