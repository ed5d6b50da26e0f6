package da_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/bigquery/bigquerytest"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"da": func() {
		os.Exit(da.Main()) //nolint:forbidigo // this is a main function
	}})
}

type serverKey struct{}

// TestScripts runs the commands of testdata/*.txtar against a fake server of their own. Beside da, a
// script has:
//
//	publish NAME SQL…     the tables that the server has from now on; parts are separated by |
//	remote NAME [PROJECT.DATASET.TABLE COLUMN:TYPE…]  adds a table that only the server can be asked for, or that lives in BigQuery
//	bigquery              has BigQuery answer from now on: it has acme.web.events (id, kind) with 10 rows
//	fault KEY=VALUE…      makes requests fail: path, times, after, status, retry, cut, flip, stall, page
//	heal                  ends all faults
//	revoke-tokens         ends all sessions and tokens
//	runs-end STATUS       how syncs of the server end from now on
//	dead-letter SEQ       adds an event that nobody could handle
//	code N da …           is exec for a command that ends with the exit code N
//	jira SOURCE…          the sites of Jira that the server has from now on
//	jira-tasks-end STATE  how tasks over them end from now on
//	set-aside N KEY WHY   adds what could not be taken in of Jira
//	asked [not] TEXT      tells whether a request since the last look contained the text
//	devices OUTCOME N     what becomes of the next sign-ins by a code, after N polls: approved, denied, expired
//	older                 the server is of the version before: no sign-in by a code, no scopes of tokens
//	homeless              the server does not know its own address
//	store-session AGE LEFT stores a session that began so long ago, and ends in so long
//	recorded ACTION USER RESOURCE RESULT  adds an entry to the record
//	record-of N           the server's record of what was done is a new one of N signed entries
//	uploaded KIND NAME TEXT compares what the server was sent
//	mode FILE PERM        compares a file's permissions
//
// and the variables ESC (the character), SERVER, TOKEN (a personal access token) and the usual DA_….
func TestScripts(t *testing.T) {
	t.Parallel()
	google := warehouse(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			api := clienttest.New()
			env.Defer(api.Close)
			env.Values[serverKey{}] = api
			env.Setenv("SERVER", api.URL)
			env.Setenv("TOKEN", api.Token("u-1", "pat"))
			env.Setenv("DA_SERVER", api.URL)
			env.Setenv("DA_CONFIG_DIR", filepath.Join(env.WorkDir, "config"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("TZ", "UTC")
			env.Setenv("ESC", "\x1b")
			env.Cd = filepath.Join(env.WorkDir, "ws")
			return os.MkdirAll(env.Cd, 0o750)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"publish": publish,
			"remote":  remote,
			"bigquery": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Setenv(bigquery.EnvEmulator, google.Endpoint)
				ts.Setenv(bigquery.EnvStorageEmulator, google.StorageEndpoint)
			},
			"fault":         inject,
			"heal":          func(ts *testscript.TestScript, _ bool, _ []string) { server(ts).Heal() },
			"revoke-tokens": func(ts *testscript.TestScript, _ bool, _ []string) { server(ts).RevokeAll() },
			"runs-end":      func(ts *testscript.TestScript, _ bool, args []string) { server(ts).RunsEnd(args[0]) },
			"dead-letter": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[0])
				ts.Check(err)
				server(ts).AddDeadLetter(n)
			},
			"jira":           func(ts *testscript.TestScript, _ bool, args []string) { server(ts).Jira(args...) },
			"jira-tasks-end": func(ts *testscript.TestScript, _ bool, args []string) { server(ts).JiraTasksEnd(args[0]) },
			"set-aside": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[0])
				ts.Check(err)
				server(ts).AddSetAside(n, args[1], args[2])
			},
			"asked": asked,
			"devices": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				server(ts).DevicesEnd(args[0], n, 0)
			},
			"homeless":      func(ts *testscript.TestScript, _ bool, _ []string) { server(ts).Homeless() },
			"older":         func(ts *testscript.TestScript, _ bool, _ []string) { server(ts).Older() },
			"store-session": storeSession,
			"recorded": func(ts *testscript.TestScript, _ bool, args []string) {
				server(ts).Recorded(args[0], args[1], args[2], args[3])
			},
			"record-of": recordOf,
			"uploaded": func(ts *testscript.TestScript, neg bool, args []string) {
				got, there := server(ts).Uploaded("u-1", args[0], args[1])
				if neg == there || (there && !strings.Contains(string(got), args[2])) {
					ts.Fatalf("%s: %t %q", args[1], there, got)
				}
			},
			"code": code,
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
					ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
				}
			},
		},
	})
}

func server(ts *testscript.TestScript) *clienttest.Server {
	s, _ := ts.Value(serverKey{}).(*clienttest.Server)
	return s
}

var published sync.Map // *clienttest.Server → []clienttest.Table

func publish(ts *testscript.TestScript, _ bool, args []string) {
	var tables []clienttest.Table
	for i := 0; i+1 < len(args); i += 2 {
		t := clienttest.Table{Name: args[i], Source: "shop", Alias: true, Description: "what " + args[i] + " holds"}
		for _, query := range strings.Split(args[i+1], "|") {
			part, columns, rows := parquet(ts, query)
			t.Parts = append(t.Parts, part)
			t.Columns = columns
			t.Rows += rows
		}
		tables = append(tables, t)
	}
	published.Store(server(ts), tables)
	server(ts).Publish(tables...)
}

func remote(ts *testscript.TestScript, _ bool, args []string) {
	tables, _ := published.Load(server(ts))
	list, _ := tables.([]clienttest.Table)
	t := clienttest.Table{Name: args[0], Source: "shop", Remote: true, Alias: true}
	if len(args) > 1 {
		path := strings.Split(args[1], ".")
		t.BigQuery = &catalog.BigQueryTable{Project: path[0], Dataset: path[1], Table: path[2]}
		for _, column := range args[2:] {
			name, kind, _ := strings.Cut(column, ":")
			t.Columns = append(t.Columns, clienttest.Column{Name: name, Type: kind})
		}
	}
	list = append(list, t)
	published.Store(server(ts), list)
	server(ts).Publish(list...)
}

// warehouse is BigQuery with the table acme.web.events of 10 rows, 20 MiB large.
func warehouse(t *testing.T) *bigquerytest.Server {
	t.Helper()
	ids, kinds := array.NewInt64Builder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
	for i := range 10 {
		ids.Append(int64(i))
		kinds.Append("kind " + strconv.Itoa(i%2))
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "kind", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	s := bigquerytest.New(t)
	s.Put(bigquerytest.Table{
		Project: "acme", Dataset: "web", Name: "events", Bytes: 20 << 20, Fields: bigquerytest.Fields("id", "INTEGER", "kind", "STRING"),
		Batches: []arrow.RecordBatch{array.NewRecordBatch(schema, []arrow.Array{ids.NewArray(), kinds.NewArray()}, 10)},
	})
	return s
}

// parquet makes a part out of a query.
func parquet(ts *testscript.TestScript, query string) (part []byte, columns []clienttest.Column, rows int64) {
	ctx := context.Background()
	db, err := lake.Open(ctx, lake.Options{})
	ts.Check(err)
	defer func() { _ = db.Close() }()
	path := filepath.Join(ts.MkAbs("."), ".part")
	defer func() { _ = os.Remove(path) }()
	_, err = db.ExecContext(ctx, "COPY ("+query+") TO "+lake.QuoteLiteral(path)+" (FORMAT parquet)")
	ts.Check(err)
	described, err := db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+query+")")
	ts.Check(err)
	defer func() { _ = described.Close() }()
	for described.Next() {
		var c clienttest.Column
		ts.Check(described.Scan(&c.Name, &c.Type))
		columns = append(columns, c)
	}
	ts.Check(described.Err())
	ts.Check(db.QueryRowContext(ctx, "SELECT count(*) FROM ("+query+")").Scan(&rows))
	part, err = os.ReadFile(path)
	ts.Check(err)
	return part, columns, rows
}

func inject(ts *testscript.TestScript, _ bool, args []string) {
	values := url.Values{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		values.Set(key, value)
	}
	number := func(key string) int {
		if values.Get(key) == "" {
			return 0
		}
		n, err := strconv.Atoi(values.Get(key))
		ts.Check(err)
		return n
	}
	f := clienttest.Fault{
		Path: values.Get("path"), Times: number("times"), After: number("after"), Status: number("status"), RetryAfter: number("retry"),
		Flip: values.Has("flip"), Stall: values.Has("stall"), Page: values.Has("page"),
	}
	if values.Has("cut") {
		f.Cut = clienttest.Bytes(number("cut"))
	}
	server(ts).Inject(f)
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func asked(ts *testscript.TestScript, neg bool, args []string) {
	all := strings.Join(server(ts).Requests(), "\n")
	if args[0] == "not" {
		neg, args = true, args[1:]
	}
	if strings.Contains(all, args[0]) == neg {
		ts.Fatalf("the server was asked:\n%s", all)
	}
}

func storeSession(ts *testscript.TestScript, _ bool, args []string) {
	age, err := time.ParseDuration(args[0])
	ts.Check(err)
	left, err := time.ParseDuration(args[1])
	ts.Check(err)
	token := server(ts).Session("u-1", time.Now().Add(-age), time.Now().Add(left))
	raw, err := json.Marshal(map[string]string{"access_token": token, "email": "ann@example.com", "role": "admin", "server": server(ts).URL})
	ts.Check(err)
	dir := ts.Getenv("DA_CONFIG_DIR")
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(os.WriteFile(filepath.Join(dir, "token.json"), raw, 0o600))
}

// recordOf makes a record with a key that is new each time, and publishes it as an archive, which is also
// written to chain.tar.gz.
func recordOf(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	public, private, err := ed25519.GenerateKey(nil)
	ts.Check(err)
	var lines []byte
	head := audit.Head{Hash: audit.ZeroHash}
	for i := range n {
		var line []byte
		line, head, err = audit.Line(head, audit.Record{ID: fmt.Sprint(i), Action: "user.create", Result: "ok", Time: audit.Time{Time: time.Unix(int64(1_700_000_000+i), 0).UTC()}})
		ts.Check(err)
		lines = append(lines, line...)
	}
	point, err := audit.Sign(audit.Checkpoint{Kind: audit.KindCheckpoint, Seq: head.Seq, Hash: head.Hash, Records: int64(n), Time: audit.Time{Time: time.Now()}, Prev: audit.ZeroHash}, private)
	ts.Check(err)
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	files := tar.NewWriter(zipped)
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{audit.PublicKeyFile, []byte(audit.FormatPublicKey(public))}, {audit.CheckpointsFile, point},
		{audit.SegmentsDir + "/" + audit.SegmentName(1), lines},
	} {
		ts.Check(files.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.content))}))
		_, err := files.Write(f.content)
		ts.Check(err)
	}
	ts.Check(files.Close())
	ts.Check(zipped.Close())
	server(ts).Chain(b.Bytes())
	ts.Check(os.WriteFile(ts.MkAbs("chain.tar.gz"), b.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("key.pub"), []byte(audit.FormatPublicKey(public)), 0o600))
	ts.Setenv("HEAD", fmt.Sprintf("%d:%s", head.Seq, head.Hash))
}
