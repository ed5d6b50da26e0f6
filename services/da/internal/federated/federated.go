// Package federated answers statements on the analyst's own machine over what is not copied to it: granted tables that
// stay in BigQuery, and queries of BigQuery that are registered for one statement. Google is asked with the analyst's own
// account; the server is not involved.
package federated

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// Config of an Asker.
type Config struct {
	Workspace *workspace.Workspace
	State     *workspace.State
	// BudgetFile is where what was billed is counted, over all workspaces of the machine.
	BudgetFile string
	// Project pays for queries; empty: that of the tables.
	Project string
	// Agree is shown what registered queries may cost, and tells whether they may run.
	Agree func(*federation.HybridPlan) (bool, error)
	// Note tells what was fetched.
	Note func(format string, args ...any)
}

// Asker answers statements.
type Asker struct {
	cfg    Config
	db     *localdb.DB
	limits service.RemoteQuery
	ledger *federation.Ledger
}

// New returns an Asker with the limits that a server has where nothing is configured.
func New(cfg Config) *Asker {
	limits := service.DefaultRemoteQuery()
	return &Asker{
		cfg: cfg, db: localdb.New(cfg.Workspace), limits: limits,
		ledger: federation.NewLedger(federation.FileBudget(cfg.BudgetFile), federation.BudgetLimits{
			Query: limits.MaxBytesPerQuery, UserDay: limits.MaxBytesPerUserDay, Day: limits.MaxBytesPerDay,
		}),
	}
}

// user is the one that the budget of this machine belongs to.
const user = "me"

// Mentions tells which tables that stay where they live a statement may read.
func Mentions(s *workspace.State, sql string) []workspace.RemoteTable {
	byName := map[string][]workspace.RemoteTable{}
	for _, t := range s.Remote {
		name := strings.ToLower(t.Name)
		byName[name] = append(byName[name], t)
	}
	var found []workspace.RemoteTable
	for _, name := range lake.Mentioned(sql, slices.Sorted(maps.Keys(byName))).Names {
		found = append(found, byName[name]...)
	}
	return found
}

// Question is a statement with what is registered for it.
type Question struct {
	localdb.Question
	// Registered are queries of BigQuery by alias; NoSemiJoin sends no keys of local tables along with them.
	Registered map[string]string
	NoSemiJoin bool
	// Parquet is a file that the answer is written to in the place of rows.
	Parquet string
}

// ErrRefused tells that Agree did not let the registered queries run.
var ErrRefused = errors.New("nothing was run")

// Query answers a statement. Rows are nil where the answer went into a file.
func (a *Asker) Query(ctx context.Context, q Question) (rows *localdb.Rows, err error) {
	if err := lake.CheckRead(q.SQL); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "da-fetched-*")
	if err != nil {
		return nil, fault.Wrap(err, fault.Permanent, "there is no room for fetched rows")
	}
	run := &running{Asker: a, q: q, dir: dir}
	defer func() {
		if rows == nil {
			_ = run.end()
		}
	}()
	if err := run.prepare(ctx); err != nil {
		return nil, err
	}
	if rows, err = run.answer(ctx); rows != nil {
		rows.Then(run.end)
	}
	return rows, err
}

// running is one statement under way.
type running struct {
	*Asker
	q       Question
	dir     string
	client  *bigquery.Client
	views   []lake.View
	store   *federation.Store
	spend   *federation.Spending
	release []func()
}

// end frees what the statement took.
func (r *running) end() error {
	for _, f := range r.release {
		f()
	}
	var err error
	if r.store != nil {
		err = r.store.Close()
	}
	if r.client != nil {
		err = errors.Join(err, r.client.Close())
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

// prepare makes the views: synced tables, the analyst's own that are mentioned, those that stay where they live, and
// what is registered.
func (r *running) prepare(ctx context.Context) error {
	r.views = r.db.Views(r.cfg.State.Tables)
	taken := map[string]bool{}
	for _, v := range r.views {
		taken[strings.ToLower(v.Schema+"."+v.Name)] = true
		for _, alias := range v.Aliases {
			taken[strings.ToLower("main."+alias)] = true
		}
	}
	own, err := r.db.Own(ctx, r.q.Question, taken, r.dir)
	if err != nil {
		return err
	}
	for _, t := range r.cfg.State.Remote {
		v := lake.View{Schema: t.Source, Name: t.Name, Columns: t.Columns, Remote: true}
		if t.Alias && !slices.ContainsFunc(own, func(o lake.View) bool { return o.Schema == "main" && strings.EqualFold(o.Name, t.Name) }) {
			v.Aliases = []string{t.Name}
		}
		r.views = append(r.views, v)
	}
	r.views = append(r.views, own...)
	r.spend = r.ledger.Spend(user)
	r.store, err = federation.NewStore(federation.StoreOptions{
		Dir: filepath.Join(r.dir, "remote"), Timeout: r.limits.Timeout(), Limits: federation.Limits{Rows: r.limits.MaxRegistrationRows, Bytes: r.limits.MemoryBytes()},
	})
	if err != nil || len(r.q.Registered) == 0 {
		return err
	}
	return r.register(ctx)
}

// register fetches what is registered, once it is agreed what that costs.
func (r *running) register(ctx context.Context) error {
	client, err := r.open(ctx, r.anyProject())
	if err != nil {
		return err
	}
	hybrid := federation.NewHybrid(federation.HybridConfig{
		Ledger: r.ledger, Dir: r.dir, Rows: r.limits.MaxRegistrationRows, MemoryBytes: r.limits.MemoryBytes(), Timeout: r.limits.Timeout(), Price: r.limits.Price,
	})
	plan, err := hybrid.Plan(ctx, client, federation.HybridQuestion{
		User: user, Registered: r.q.Registered, SQL: r.q.SQL, Keys: r.keys, MaxKeys: r.limits.MaxPushdownKeys, NoSemiJoin: r.q.NoSemiJoin,
	})
	if err != nil {
		return err
	}
	// What is wrong with the statement is told before anything is paid.
	if _, _, err := r.db.Needs(ctx, federation.Shadow(slices.Clone(r.views), plan.StandIns()), r.q.Question); err != nil {
		return err
	}
	yes, err := r.cfg.Agree(plan)
	if err == nil && !yes {
		err = ErrRefused
	}
	if err != nil {
		return err
	}
	fetched, err := hybrid.Fetch(ctx, client, plan)
	if err != nil {
		return err
	}
	r.views = federation.Shadow(r.views, fetched.Views)
	return nil
}

// keys are those of a table of the workspace, or of the analyst's own.
func (r *running) keys(ctx context.Context, sql string, most int) (set federation.KeySet, err error) {
	rows, err := r.db.Over(ctx, r.views, localdb.Question{SQL: sql, Limit: most, Form: localdb.Text})
	if err != nil {
		return set, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		set.Values = append(set.Values, rows.Row()[0].Text)
	}
	if len(rows.Columns) == 1 {
		set.Type = rows.Columns[0].Type
	}
	return set, rows.Err()
}

// anyProject is that of a granted table, for who names none; empty where there is none.
func (r *running) anyProject() string {
	for _, id := range slices.Sorted(maps.Keys(r.cfg.State.Remote)) {
		if t := r.cfg.State.Remote[id]; t.BigQuery != nil {
			return t.BigQuery.Project
		}
	}
	return ""
}

// open gives the client of Google's. project is that of the table in question.
func (r *running) open(ctx context.Context, project string) (*bigquery.Client, error) {
	if r.client != nil {
		return r.client, nil
	}
	billing := cmp.Or(r.cfg.Project, os.Getenv("BIGQUERY_PROJECT"), os.Getenv("GOOGLE_CLOUD_PROJECT"), project)
	if billing == "" {
		return nil, fault.New(fault.Invalid, "which project of Google's is to pay? Set BIGQUERY_PROJECT, or let the server answer: add --remote")
	}
	cfg, _, err := bigquery.ConfigOf(map[string]any{"project": billing})
	if err != nil {
		return nil, err
	}
	client, err := bigquery.Open(context.WithoutCancel(ctx), cfg)
	if fault.Is(err, fault.Unauthenticated) {
		return nil, fault.Wrap(err, fault.Permanent,
			"this machine has no credentials of Google's: run `gcloud auth application-default login`, or let the server answer: add --remote")
	}
	if err != nil {
		return nil, err
	}
	r.client = client
	return client, nil
}

// answer plans the statement, fetches what it needs, and asks.
func (r *running) answer(ctx context.Context) (*localdb.Rows, error) {
	views := r.views
	if !lake.ExplainOf(r.q.SQL) {
		scans, known, err := r.db.Needs(ctx, views, r.q.Question)
		if err != nil {
			return nil, err
		}
		if known {
			if views, err = r.holding(ctx, scans); err != nil {
				return nil, err
			}
		}
	}
	rows, err := r.ask(ctx, views)
	if !lake.IsRemote(err) {
		return rows, err
	}
	var scans []federation.Scan
	for _, t := range Mentions(r.cfg.State, r.q.SQL) {
		scans = append(scans, federation.All(catalog.TableID(t.Source, t.Name), t.Columns))
	}
	if views, err = r.holding(ctx, scans); err != nil {
		return nil, err
	}
	return r.ask(ctx, views)
}

func (r *running) ask(ctx context.Context, views []lake.View) (*localdb.Rows, error) {
	if r.q.Parquet == "" {
		return r.db.Over(ctx, views, r.q.Question)
	}
	_, err := r.db.OverParquet(ctx, views, r.q.Question, r.q.Parquet)
	return nil, err
}

// holding fetches scans one after the other, and gives the views with their files.
func (r *running) holding(ctx context.Context, scans []federation.Scan) ([]lake.View, error) {
	files := make([]string, len(scans))
	for i, s := range scans {
		var err error
		if files[i], err = r.fetch(ctx, s); err != nil {
			return nil, err
		}
	}
	return federation.Holding(r.views, scans, files), nil
}

func (r *running) fetch(ctx context.Context, s federation.Scan) (string, error) {
	var found workspace.RemoteTable
	for _, t := range r.cfg.State.Remote {
		if catalog.TableID(t.Source, t.Name) == s.Table {
			found = t
		}
	}
	if found.BigQuery == nil {
		return "", fault.New(fault.Permanent, "the table %s can only be asked on the server: add --remote", s.Table)
	}
	client, err := r.open(ctx, found.BigQuery.Project)
	if err != nil {
		return "", err
	}
	before := r.store.Stats()
	fetcher, table, err := federation.OpenBigQueryTable(ctx, client, r.spend, federation.Table{
		ID: s.Table, Columns: found.Columns, Path: []string{found.BigQuery.Dataset, found.BigQuery.Table},
		Remote: catalog.Remote{Alias: "bq", Extension: catalog.ExtensionBigQuery, URL: "project=" + found.BigQuery.Project},
	})
	if err != nil {
		return "", hint(err)
	}
	path, release, err := r.store.Get(ctx, user, s, table, fetcher)
	if err != nil {
		return "", hint(err)
	}
	r.release = append(r.release, release)
	if after := r.store.Stats(); after.Fetches > before.Fetches {
		r.cfg.Note("Read %d rows of %s from BigQuery (%s).", after.Rows-before.Rows, s.Table, federation.Size(after.Bytes-before.Bytes))
	}
	return path, nil
}

// hint tells why Google refused: it is the analyst's own account, and there is another way.
func hint(err error) error {
	cause := errors.Unwrap(err)
	if cause == nil || !fault.Is(err, fault.Unavailable) {
		return err
	}
	return fault.Wrap(err, fault.Permanent, "%s (%.300s); the server may be able to: add --remote", fault.Message(err), fault.Message(cause))
}
