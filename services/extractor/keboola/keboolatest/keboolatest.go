// Package keboolatest is a Keboola project for tests, benchmarks and verification, written from the public
// documentation of the Storage API: tokens and what they may see, buckets (with stage, linked ones too),
// tables with columns, keys and metadata of columns by provider, aliases, previews, exports as jobs, and
// files on the stores of three clouds with the credentials that each of them wants. It fails in the ways
// that the API, its jobs, the stores and networks do.
//
// Where Keboola's backends differ the fake takes the harder case, and says so at the method or the field.
package keboolatest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"
)

// Defaults of a Config.
const (
	DefaultToken     = "1234-567890-aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789" //nolint:gosec // a placeholder of tests
	DefaultProjectID = 1234
	DefaultName      = "Example project"
)

// The clouds whose stores hold a project's files.
const (
	AWS   = "aws"
	Azure = "azure"
	GCP   = "gcp"
)

// Config of a project. The zero value is a project on AWS whose exports are one slice.
type Config struct {
	// Token is the first token, which may read every bucket; AddToken makes others.
	Token string
	// Cloud is one of the constants; Store replaces the plain HTTP server that stands for it.
	Cloud string
	Store Store
	// SliceRows is the most rows of a slice; zero is no limit. Unsliced exports one file instead, whose
	// first line names the columns, as the older backends do.
	SliceRows int
	Unsliced  bool
	// Polls is how often an export is "processing" before it ends.
	Polls int
	// CredentialsLast is how long the credentials of a file are good, in real time; zero is an hour.
	CredentialsLast time.Duration
	// Start is the first time of the project's clock, which moves on by a second with every change.
	Start time.Time
	// Parquet tells that the project exports files of that type.
	Parquet bool
}

// Project is the fake. Its methods may be called while it serves.
type Project struct {
	// URL of the stack, without a slash at its end.
	URL   string
	cfg   Config
	store Store

	server *httptest.Server

	mu      sync.Mutex
	clock   time.Time
	seq     int64
	tokens  map[string]*Token
	buckets map[string]*Bucket
	tables  map[string]*table
	jobs    map[int64]*job
	files   map[int64]*file
	pushed  []Pushed
	answer  func(Export) []string
	plans   []JobPlan
	watch   func(Request)
	traffic
	faults
}

// Token is what a token may do.
type Token struct {
	Token       string
	Description string
	// Master sees every bucket. Others see those of Buckets: a bucket's id to "read" or "write".
	Master  bool
	Buckets map[string]string
	Expired bool
	Revoked bool
}

// Bucket holds tables.
type Bucket struct {
	// ID has the stage: in.c-crm. Linked buckets belong to another project.
	ID          string
	Description string
	Linked      bool
}

// Table is what Put makes. A nil value is NULL.
type Table struct {
	ID          string // in.c-crm.orders
	Columns     []string
	PrimaryKey  []string
	Description string
	// Metadata are those of columns, by the column's name.
	Metadata map[string][]Metadata
	// AliasOf is the table that this one shows. It has neither rows nor metadata of columns of its own.
	AliasOf string
}

// Metadata is one entry about a column.
type Metadata struct{ Provider, Key, Value string }

// BaseType is the entry that says of what type a column is.
func BaseType(provider, baseType string) Metadata {
	return Metadata{provider, "KBC.datatype.basetype", baseType}
}

// Pushed is metadata of a column that a client sent.
type Pushed struct {
	Table, Column string
	Metadata
}

// New starts a project without buckets. Close it.
func New(cfg Config) *Project {
	if cfg.Token == "" {
		cfg.Token = DefaultToken
	}
	if cfg.Cloud == "" {
		cfg.Cloud = AWS
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	}
	if cfg.CredentialsLast == 0 {
		cfg.CredentialsLast = time.Hour
	}
	p := &Project{
		cfg: cfg, clock: cfg.Start, seq: 1000, tokens: map[string]*Token{}, buckets: map[string]*Bucket{}, tables: map[string]*table{},
		jobs: map[int64]*job{}, files: map[int64]*file{},
	}
	p.forget()
	p.tokens[cfg.Token] = &Token{Token: cfg.Token, Description: "agnes@example.com", Master: true}
	p.store = cfg.Store
	if p.store == nil {
		p.store = newPlainStore(cfg.Cloud, p)
	}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	p.URL = p.server.URL
	return p
}

// Close ends the servers, and with them every request under way.
func (p *Project) Close() {
	p.server.CloseClientConnections()
	p.server.Close()
	p.store.Close()
}

// AddToken makes a token; one of the same text is replaced.
func (p *Project) AddToken(t Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[t.Token] = &t
}

// Revoke makes a token worth nothing.
func (p *Project) Revoke(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[token].Revoked = true
}

// AddBucket makes a bucket. Put makes those that it needs.
func (p *Project) AddBucket(b Bucket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buckets[b.ID] = &b
}

// Now is the time of the project.
func (p *Project) Now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clock
}

// Advance moves the project's clock on.
func (p *Project) Advance(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = p.clock.Add(d)
}

func (p *Project) tick() time.Time {
	p.clock = p.clock.Add(time.Second)
	return p.clock
}

func (p *Project) next() int64 {
	p.seq++
	return p.seq
}

// Pushed gives the metadata that clients sent, oldest first.
func (p *Project) Pushed() []Pushed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.pushed)
}

// JobPlan says how an export ends that would succeed.
type JobPlan struct {
	// Table is its id; empty for any. Times is how many exports, 0 for all.
	Table string
	Times int
	// Polls are those that are answered "processing"; a negative number never ends.
	Polls int
	// Code and Message fail the job. Status replaces success where it is set, such as "cancelled".
	Code, Message, Status string
}

// PlanJobs adds a plan; the first that fits an export decides. Without arguments it removes all.
func (p *Project) PlanJobs(plans ...JobPlan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(plans) == 0 {
		p.plans = nil
	}
	p.plans = append(p.plans, plans...)
}

// Export is what a client asked for.
type Export struct {
	Table        string
	Columns      []string
	ChangedSince time.Time // zero for all rows
	Where        []Where
	Gzip         bool
	Parquet      bool
}

// Where keeps the rows whose column is, or is not, one of the values, or compares with the first of them.
type Where struct {
	Column, Operator string
	Values           []string
}

// Answer lets f give the files (gzip, one slice each) that answer an export instead of the rows of the
// table: for benchmarks, whose tables nobody wants to hold in memory. nil files leave it to the table.
func (p *Project) Answer(f func(Export) []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// misuse reports an error of the test that uses the project.
func misuse(format string, args ...any) {
	panic("keboolatest: " + fmt.Sprintf(format, args...))
}
