package attach

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
)

// Config of a Fetcher.
type Config struct {
	// Command is the command line of a process that fetches (Main): this same binary with Argument. Empty: fetches
	// run in this process.
	Command []string
	// Directory holds DuckDB's extensions; Install has those that are missing fetched into it.
	Directory string
	Install   bool
	// Token gives the value of an environment variable that an attachment names.
	Token func(variable string) string
	// MemoryBytes bounds DuckDB in each process; zero means 512 MiB.
	MemoryBytes int64
}

// Fetcher is a federation.Fetcher of catalogs that an extension of DuckDB reads.
type Fetcher struct {
	cfg   Config
	slots chan struct{}
}

const (
	// fetching is how many processes run at once; others wait.
	fetching = 4
	// standardMemory bounds DuckDB where nothing is configured, and beyondMemory is what a process may ask
	// the kernel for on top.
	standardMemory = 512 << 20
	beyondMemory   = 2 << 30
)

// New returns a Fetcher.
func New(cfg Config) *Fetcher {
	if cfg.MemoryBytes <= 0 {
		cfg.MemoryBytes = standardMemory
	}
	return &Fetcher{cfg: cfg, slots: make(chan struct{}, fetching)}
}

// Fetch reads the scan in a process of its own.
func (f *Fetcher) Fetch(ctx context.Context, s federation.Scan, t federation.Table, l federation.Limits, path string) (federation.Amount, error) {
	token := ""
	if t.Remote.TokenEnv != "" {
		if token = f.cfg.Token(t.Remote.TokenEnv); token == "" {
			return federation.Amount{}, fault.New(fault.Unavailable, "the table %s needs the variable %s, which this server does not have", t.ID, t.Remote.TokenEnv)
		}
	}
	o, err := f.order(s, t, l, token, path)
	if err != nil {
		return federation.Amount{}, fault.Wrap(err, fault.Unavailable, "the table %s has an attachment that cannot be used", t.ID)
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return federation.Amount{}, context.Cause(ctx)
	}
	r, err := f.run(ctx, o)
	if err != nil {
		return federation.Amount{}, err
	}
	if r.Failure != "" {
		if token != "" {
			r.Cause = strings.ReplaceAll(r.Cause, token, "…")
		}
		zerolog.Ctx(ctx).Warn().Str(service.FieldTable, t.ID).Str("extension", t.Remote.Extension).Str("failure", string(r.Failure)).Str("cause", r.Cause).
			Msg("a remote table could not be read")
	}
	if l.Rows > 0 && r.Rows > l.Rows {
		return federation.Amount{}, fault.New(fault.TooLarge, "the statement needs more than %d rows of %s, which is the limit; filter or aggregate where it can be done at its place", l.Rows, t.ID)
	}
	return federation.Amount{Rows: r.Rows, Bytes: r.Bytes}, r.faultOf(t.ID, t.Remote.Extension)
}

// order says what the process is to do.
func (f *Fetcher) order(s federation.Scan, t federation.Table, l federation.Limits, token, path string) (order, error) {
	a, files, ports, err := attachmentOf(t.Remote, token)
	if err != nil {
		return order{}, err
	}
	if f.cfg.Directory != "" {
		if a.Directory, err = filepath.Abs(f.cfg.Directory); err != nil {
			return order{}, err
		}
	}
	if a.Install = f.cfg.Install; a.Install {
		ports = append(ports, 80, 443) // DuckDB's repositories
	}
	if l.Rows > 0 && (s.Limit == 0 || s.Limit > l.Rows) {
		s.Limit = l.Rows + 1 // one more tells that there are more
	}
	return order{
		Attachment: a, SQL: federation.SelectDuckDB(s, t), Path: path, MemoryBytes: f.cfg.MemoryBytes, DataBytes: f.cfg.MemoryBytes + beyondMemory,
		MaxBytes: l.Bytes, Files: files, Ports: ports,
	}, nil
}

// attachmentOf is the attachment of a catalog, the files that it is made of, and the ports that it is behind.
func attachmentOf(r catalog.Remote, token string) (a lake.Attachment, files []string, ports []uint16, err error) {
	a = lake.Attachment{Alias: r.Alias, Extension: r.Extension, Address: r.URL}
	switch r.Extension {
	case service.ExtensionSQLite:
		return a, []string{r.URL, r.URL + "-wal", r.URL + "-shm"}, nil, nil
	case service.ExtensionPostgres:
		p, err := service.ParsePostgresURL(r.URL)
		if err != nil {
			return a, nil, nil, err
		}
		port, err := strconv.ParseUint(p.Port, 10, 16)
		if err != nil {
			return a, nil, nil, fmt.Errorf("the port of the URL: %w", err)
		}
		application := "agnes-" + rand.Text()
		a.Address = conninfo(p, application)
		a.Cancel = "SELECT * FROM postgres_query(" + lake.QuoteLiteral(r.Alias) + ", " + lake.QuoteLiteral(
			"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = "+lake.QuoteLiteral(application)) + ")"
		if token != "" {
			a.Secret = map[string]string{"PASSWORD": token}
		}
		return a, nil, []uint16{uint16(port)}, nil
	}
	if token != "" {
		a.Options = map[string]string{"TOKEN": token}
	}
	port := uint64(443)
	if u, err := url.Parse(r.URL); err == nil && u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil {
			return a, nil, nil, fmt.Errorf("the port of the URL: %w", err)
		}
	}
	return a, nil, []uint16{uint16(port)}, nil
}

// run runs the order in a process of its own, which ends with ctx.
func (f *Fetcher) run(ctx context.Context, o order) (report, error) {
	if len(f.cfg.Command) == 0 {
		r := fetch(ctx, o)
		if r.Failure != "" && ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		return r, nil
	}
	cmd := exec.CommandContext(ctx, f.cfg.Command[0], f.cfg.Command[1:]...) //nolint:gosec // the service's own binary
	cmd.Env = []string{"HOME=/nonexistent", "GOMAXPROCS=" + strconv.Itoa(fetchThreads), "GOMEMLIMIT=256MiB"}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		cmd.Env, o.Files = append(cmd.Env, "SSL_CERT_FILE="+file), append(o.Files, file)
	}
	cmd.Dir = string(filepath.Separator)
	cmd.WaitDelay = grace + time.Second
	var answer, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, &said
	orders, err := cmd.StdinPipe()
	if err != nil {
		return report{}, fmt.Errorf("start a fetch: %w", err)
	}
	cmd.Cancel = orders.Close // it ends by itself
	if err := cmd.Start(); err != nil {
		return report{}, fault.Wrap(err, fault.Unavailable, "no process can be started to fetch a remote table at the moment; try again")
	}
	sent := json.NewEncoder(orders).Encode(o) // and the pipe stays open: its end is the process's
	ended := cmd.Wait()
	if ctx.Err() != nil {
		return report{}, context.Cause(ctx)
	}
	var r report
	told := json.NewDecoder(io.LimitReader(&answer, 1<<20)).Decode(&r)
	if err := errors.Join(sent, ended, told); err != nil {
		r = report{Failure: failedOther, Cause: fmt.Sprintf("the process ended (%v); it said: %.4000s", err, said.String())}
	}
	if said.Len() > 0 {
		zerolog.Ctx(ctx).Debug().Str("said", said.String()).Msg("a fetch ran with less than all layers around it")
	}
	return r, nil
}

// authorities is where most systems have the certificates of authorities, for libpq, which knows of none.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// conninfo is a connection string of libpq. A role may cancel what runs for it, which is known by the application.
func conninfo(p service.PostgresURL, application string) string {
	pairs := [][2]string{
		{"host", p.Host}, {"port", p.Port}, {"dbname", p.Database}, {"user", p.User}, {"sslmode", p.SSLMode},
		{"connect_timeout", "15"}, {"application_name", application},
	}
	if strings.HasPrefix(p.SSLMode, "verify-") {
		pairs = append(pairs, [2]string{"sslrootcert", authorities})
	}
	text := make([]string, len(pairs))
	for i, pair := range pairs {
		text[i] = pair[0] + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(pair[1]) + "'"
	}
	return strings.Join(text, " ")
}
