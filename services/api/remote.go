package api

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/published"
	"github.com/agnes-platform/agnes/services/api/internal/query"
	"github.com/agnes-platform/agnes/services/api/internal/query/attach"
)

// remotes fetches remote tables for statements.
type remotes struct {
	store      *federation.Store
	extensions *attach.Fetcher
	clients    *warehouses
	ledger     *federation.Ledger
	instance   func() *service.Instance
}

// openRemote makes what statements need that read what is not copied. The folder of what is fetched is made anew: what
// a killed process left is of no use.
func (h *house) openRemote() error {
	dir := query.FetchedDir(h.cfg.DataDir)
	if err := os.RemoveAll(dir); err != nil {
		return fault.Wrap(err, fault.Invalid, "cannot clear %s", dir)
	}
	err := os.MkdirAll(filepath.Join(dir, "hybrid"), 0o700)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "cannot make %s", dir)
	}
	limits := h.instance.RemoteQuery
	ledger := federation.NewLedger(federation.BucketBudget(h.bus), federation.BudgetLimits{
		Query: limits.MaxBytesPerQuery, UserDay: limits.MaxBytesPerUserDay, Day: limits.MaxBytesPerDay,
	})
	h.warehouses = &warehouses{instance: h.live.Load}
	h.openHybrid(filepath.Join(dir, "hybrid"), ledger)
	store, err := federation.NewStore(federation.StoreOptions{
		Dir: filepath.Join(dir, "remote"), TTL: limits.Cache(), Timeout: limits.Timeout(),
		Limits: federation.Limits{Rows: limits.MaxRegistrationRows, Bytes: limits.MemoryBytes()},
	})
	if err != nil {
		return err
	}
	extensions := limits.ExtensionDirectory
	if extensions == "" && limits.AllowInstall {
		extensions = filepath.Join(h.cfg.DataDir, "extensions")
	}
	if limits.AllowInstall {
		if err := os.MkdirAll(extensions, 0o755); err != nil { //nolint:gosec // what is there is signed, and no secret
			return fault.Wrap(err, fault.Invalid, "cannot make remote_query.extension_directory")
		}
	}
	h.remotes = &remotes{
		store: store, clients: h.warehouses, ledger: ledger, instance: h.live.Load,
		extensions: attach.New(attach.Config{
			Command: h.cfg.process(FetcherArgument), Directory: extensions, Install: limits.AllowInstall, Token: os.Getenv,
		}),
	}
	return nil
}

// sweepEvery is how often what was fetched is looked at, for what is too old.
const sweepEvery = time.Minute

// run removes what is too old until ctx ends.
func (r *remotes) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.store.Sweep()
		}
	}
}

// asked is the remotes for one question of somebody whose grants are those of the place.
func (r *remotes) asked(q httpapi.Question, place string) query.Remote {
	return &remoteQuestion{remotes: r, question: q, place: place, spending: r.ledger.Spend(q.Caller.UserID)}
}

type remoteQuestion struct {
	*remotes
	question httpapi.Question
	place    string
	spending *federation.Spending
}

// Fetch gives a file for each scan, of tables that are granted and whose attachments are allowed as the configuration
// stands now.
func (r *remoteQuestion) Fetch(ctx context.Context, scans []federation.Scan) (files []string, release func(), err error) {
	files = make([]string, len(scans))
	releases := make([]func(), len(scans))
	release = func() {
		for _, done := range releases {
			if done != nil {
				done()
			}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var once sync.Once
	var first error
	for i, s := range scans {
		all.Go(func() {
			var failed error
			if files[i], releases[i], failed = r.fetch(ctx, s); failed != nil {
				once.Do(func() { first = failed })
				cancel(failed)
			}
		})
	}
	all.Wait()
	if first != nil {
		release()
		return nil, nil, first
	}
	return files, release, nil
}

func (r *remoteQuestion) fetch(ctx context.Context, s federation.Scan) (path string, release func(), err error) {
	t, source, err := r.table(s.Table)
	if err != nil {
		return "", nil, err
	}
	var fetcher federation.Fetcher = r.extensions
	if t.Remote.Extension == catalog.ExtensionBigQuery {
		client, err := r.clients.of(ctx, source)
		if err != nil {
			return "", nil, fault.Wrap(err, fault.Unavailable, "the table %s cannot be read: %s", t.ID, fault.Message(err))
		}
		if fetcher, t, err = federation.OpenBigQueryTable(ctx, client, r.spending, t); err != nil {
			return "", nil, err
		}
	}
	return r.store.Get(ctx, r.place, s, t, fetcher)
}

// table finds a remote table that the question may read.
func (r *remoteQuestion) table(id string) (t federation.Table, source string, err error) {
	found := r.granted(id)
	if found == nil {
		return t, "", fault.New(fault.NotFound, "there is no table %s", id)
	}
	alias, path, ok := catalog.RemotePath(found.RemoteSQL)
	publisher, known := r.question.Snapshot.Source(found.Source)
	if !ok || !known {
		return t, "", fault.New(fault.Unavailable, "the table %s has no definition that can be read: its source has to run again", id)
	}
	remote, ok := publisher.Remote(alias)
	if !ok || r.instance().RemoteAttach.Refuse(remote) != "" {
		return t, "", fault.New(fault.Unavailable, "the table %s lives where this server may not attach: whoever runs it finds in docs/remote-tables.md what remote_attach has to allow", id)
	}
	return federation.Table{ID: id, Remote: remote, Path: path, Columns: found.Columns, Version: found.Fingerprint}, found.Source, nil
}

func (r *remoteQuestion) granted(id string) *published.Table {
	for _, t := range r.question.Snapshot.Tables() {
		if t.Qualified() == id && !t.Copied() && r.question.Grants.Allows(t) {
			return t
		}
	}
	return nil
}
