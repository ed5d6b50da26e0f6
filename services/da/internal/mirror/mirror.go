// Package mirror keeps a workspace equal to what the server grants: it compares the manifest with what
// is on disk, fetches the parts that are missing, switches each table to its new version at once, and
// removes what is gone. Whatever stops it, the workspace shows whole versions, and the next run goes on
// from there.
package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// Server is what the mirror needs of the API.
type Server interface {
	Server() string
	Manifest(ctx context.Context, etag string) (client.Manifest, bool, error)
	DownloadPart(ctx context.Context, part client.PartRef, file client.PartFile, progress func(int64)) error
	Catalog(ctx context.Context) ([]client.CatalogTable, json.RawMessage, error)
}

// Views shows tables in the analyst's database.
type Views interface {
	// Publish makes the database show exactly these tables, in one transaction, and leaves alone what
	// is not ours. fault.Busy: another program has the database open.
	Publish(ctx context.Context, tables map[string]workspace.Table) (Published, error)
}

// Published tells what Publish could not show.
type Published struct {
	// Refused are tables that are not shown, by id, and why.
	Refused map[string]error
	// Notes are things the analyst should know that are no failures.
	Notes []string
}

// Options say what to do.
type Options struct {
	// Tables bounds the sync to these; empty means all, and only then are tables removed.
	Tables []string
	// DryRun plans and changes nothing.
	DryRun bool
	// All syncs what the user switched off on the server, too.
	All bool
	// Verify reads every part again and compares its hash, not only its size.
	Verify bool
	// SwitchServer gives a workspace that belongs to another server to this one.
	SwitchServer bool
	// Parallel is how many parts are fetched at a time; 0 means 4.
	Parallel int
	// Progress is told what happens; nil tells nobody.
	Progress Progress
}

// Progress follows a sync. It is called by several goroutines at once.
type Progress interface {
	// Start tells what will be fetched.
	Start(tables, parts int, bytes int64)
	// Table announces a table and the bytes that are missing of it.
	Table(id string, bytes int64)
	// Bytes tells that the good bytes of a table became more, or fewer.
	Bytes(id string, delta int64)
	// Fetched tells that all parts of a table are there, or why not.
	Fetched(id string, err error)
	// End tells that nothing more will be fetched.
	End()
}

// Result is what a sync did. It is also the answer of `da sync --json`.
type Result struct {
	DryRun bool `json:"dry_run,omitempty"`
	// Downloaded are the tables that now stand in a new version: in a dry run, those that would.
	Downloaded []Change `json:"downloaded"`
	// Skipped are the tables that were as they should be.
	Skipped []string `json:"skipped"`
	// Removed are the tables that are gone from the server, or no longer granted.
	Removed []string `json:"removed"`
	// Unwanted are the tables that the user switched off, which are not synced.
	Unwanted []string `json:"unwanted,omitempty"`
	Errors   []Error  `json:"errors"`
	Notes    []string `json:"notes,omitempty"`
	// Bytes is what was fetched; in a dry run, what would be.
	Bytes int64 `json:"bytes"`
	// Freed is what removing old parts gave back.
	Freed int64 `json:"freed_bytes,omitempty"`
	// Total is the number of tables that the server has for this workspace.
	Total    int       `json:"tables_total"`
	SyncedAt time.Time `json:"synced_at,omitzero"`
}

// Change is one table with a new version.
type Change struct {
	Table     string `json:"table"`
	Rows      int64  `json:"rows"`
	SizeBytes int64  `json:"size_bytes"`
	// Fetched is how many bytes of it were missing.
	Fetched int64 `json:"fetched_bytes"`
	Parts   int   `json:"parts"`
	New     bool  `json:"new,omitempty"`
}

// Error is one table that is not as it should be; Table is empty where it concerns all.
type Error struct {
	Table string     `json:"table"`
	Error string     `json:"error"`
	Kind  fault.Kind `json:"kind"`
}

// Mirror syncs one workspace.
type Mirror struct {
	server Server
	views  Views
	ws     *workspace.Workspace
	opts   Options
	now    func() time.Time
	create func(path string) (File, error)
}

// New gives a mirror of server in ws.
func New(server Server, views Views, ws *workspace.Workspace, opts Options) *Mirror {
	if opts.Parallel <= 0 {
		opts.Parallel = 4
	}
	if opts.Progress == nil {
		opts.Progress = silent{}
	}
	return &Mirror{server: server, views: views, ws: ws, opts: opts, now: time.Now, create: openFile}
}

// pass is one sync at work.
type pass struct {
	*Mirror
	state *workspace.State
	// before is what the workspace showed at the beginning.
	before   map[string]workspace.Table
	manifest client.Manifest
	// modified: the manifest is another one than that of the state.
	modified bool
	want     wanted
	unwanted []string // by id, what the user switched off
	plan     plan
	inv      workspace.Inventory
	failed   map[string]error // by id
	whole    []error          // failures of no single table
	bytes    atomic.Int64     // fetched
	notes    []string
	// published: the plan was carried out, but for what failed.
	published bool
	freed     int64
	syncedAt  time.Time
}

// Sync makes the workspace equal to what the server grants. The result tells what was done also where
// an error is returned; an error means that the workspace is not, or not wholly, as it should be.
func (m *Mirror) Sync(ctx context.Context) (*Result, error) {
	p, err := m.begin(ctx)
	if err != nil {
		return emptyResult(), err
	}
	if m.opts.DryRun {
		return p.dryRun(), p.complaint()
	}
	if err := m.ws.Create(); err != nil {
		return emptyResult(), err
	}
	unlock, err := m.ws.Lock()
	if err != nil {
		return emptyResult(), err
	}
	defer unlock()
	if now, _, err := m.ws.LoadState(); err != nil || !reflect.DeepEqual(now, p.state) {
		// Somebody else synced between the first look and the lock.
		if p, err = m.begin(ctx); err != nil {
			return emptyResult(), err
		}
	}
	if p.plan.nothing() && p.shown() {
		p.published = true
		p.remember(ctx, p.next())
		return p.result(), p.complaint()
	}
	p.fetch(ctx)
	if p.outdated() && p.renewed(ctx) {
		p.fetch(ctx)
	}
	if ctx.Err() != nil {
		return p.result(), fault.Wrap(context.Cause(ctx), fault.Unavailable, "interrupted: what was fetched is kept, run `da sync` again to go on")
	}
	// From here on not to be interrupted: it is short, and another try would only repeat it.
	p.publish(context.WithoutCancel(ctx))
	return p.result(), p.complaint()
}

// begin reads the state, checks whose workspace this is, asks for the manifest and plans.
func (m *Mirror) begin(ctx context.Context) (*pass, error) {
	state, damaged, err := m.ws.LoadState()
	if err != nil {
		return nil, err
	}
	p := &pass{Mirror: m, state: state, before: state.Tables}
	if damaged {
		p.notes = append(p.notes, m.ws.StateFile()+" was damaged: everything was compared anew")
	}
	etag := state.ManifestETag
	if state.Server != "" && state.Server != m.server.Server() {
		if !m.opts.SwitchServer {
			return nil, fault.New(fault.Conflict,
				"the workspace %s belongs to %s, not to %s: use another workspace, or --switch-server to replace its tables", m.ws.Root, state.Server, m.server.Server())
		}
		etag = ""
	}
	if m.opts.Verify || m.opts.All || len(m.opts.Tables) > 0 || state.Remote == nil {
		etag = ""
	}
	if p.manifest, p.modified, err = m.server.Manifest(ctx, etag); err != nil {
		return nil, err
	}
	return p, p.compare(ctx)
}

// compare plans from the manifest.
func (p *pass) compare(ctx context.Context) (err error) {
	if p.modified {
		p.want = readManifest(p.manifest, p.state.Tables)
	} else {
		p.want = wanted{tables: p.state.Tables, remote: p.state.Remote}
	}
	chosen, err := choose(p.opts.Tables, p.want)
	if err != nil {
		return err
	}
	p.leaveOut(chosen)
	p.failed = map[string]error{}
	maps.Copy(p.failed, p.want.invalid)
	if p.inv, err = p.ws.Take(); err != nil {
		return err
	}
	if p.opts.Verify {
		if err := p.rehash(ctx); err != nil {
			return err
		}
	}
	p.plan = makePlan(p.want, chosen, p.state.Tables, p.inv)
	return nil
}

// leaveOut takes away what the user switched off, unless it was asked for.
func (p *pass) leaveOut(chosen map[string]bool) {
	p.unwanted = nil
	if !p.modified {
		p.unwanted = p.state.Unwanted // that of the same manifest
		return
	}
	for _, id := range slices.Sorted(maps.Keys(p.manifest.Tables)) {
		if wanted := p.manifest.Tables[id].Wanted; wanted == nil || *wanted {
			continue
		}
		p.unwanted = append(p.unwanted, id)
		if !p.opts.All && !chosen[id] {
			delete(p.want.tables, id)
			delete(p.want.invalid, id)
		}
	}
}

// shown tells, without opening the database, that it shows what the state says.
func (p *pass) shown() bool {
	if p.opts.Verify || p.state.Root != p.ws.Root || p.state.Server != p.server.Server() {
		return false
	}
	_, err := os.Stat(p.ws.Database())
	return err == nil
}

// outdated tells whether parts could not be had in a way that a newer manifest may explain.
func (p *pass) outdated() bool {
	for id, err := range p.failed {
		if p.want.invalid[id] == nil && (client.StatusCode(err) != 0 || errors.Is(err, client.ErrWrongBytes)) {
			return len(p.whole) == 0
		}
	}
	return false
}

// renewed asks for the manifest once more and plans again where it is another one.
func (p *pass) renewed(ctx context.Context) bool {
	manifest, modified, err := p.server.Manifest(ctx, p.manifest.ETag)
	if err != nil || !modified {
		return false // the failures so far say what there is to say
	}
	p.manifest, p.modified = manifest, true
	if err := p.compare(ctx); err != nil {
		p.whole = append(p.whole, err)
		return false
	}
	return true
}

// publish shows what is complete, remembers it, and only then removes what it replaced.
func (p *pass) publish(ctx context.Context) {
	next := p.next()
	published, err := p.views.Publish(ctx, next)
	if err != nil {
		p.whole = append(p.whole, err)
		return
	}
	p.notes = append(p.notes, published.Notes...)
	for id, err := range published.Refused {
		p.failed[id] = err
		if old, ok := p.state.Tables[id]; ok {
			next[id] = old
		} else {
			delete(next, id)
		}
	}
	p.published = true
	p.remember(ctx, next)
}

// next is what the workspace shows after this pass: every table in the newest version that is complete.
func (p *pass) next() map[string]workspace.Table {
	next := maps.Clone(p.state.Tables)
	for _, id := range p.plan.remove {
		delete(next, id)
	}
	for _, id := range p.plan.keep {
		next[id] = p.want.tables[id]
	}
	for _, c := range p.plan.change {
		if p.failed[c.id] == nil {
			next[c.id] = c.table
		}
	}
	return next
}

// remember writes down what stands, and deletes what nothing refers to any more.
func (p *pass) remember(ctx context.Context, tables map[string]workspace.Table) {
	if p.modified {
		p.saveSchema(ctx)
	}
	state := &workspace.State{Server: p.server.Server(), Root: p.ws.Root, Tables: tables, Unwanted: p.unwanted, Remote: p.want.remote}
	if p.complaint() == nil && len(p.opts.Tables) == 0 && (!p.opts.All || len(p.unwanted) == 0) {
		state.ManifestETag = p.manifest.ETag
	}
	if p.modified || !p.plan.nothing() || !p.shown() {
		if err := p.ws.SaveState(state); err != nil {
			p.whole = append(p.whole, err)
			return // the old state still refers to the old parts
		}
	}
	p.state = state
	p.freed = p.sweep()
	last := workspace.LastSync{TriedAt: p.now().UTC().Truncate(time.Millisecond), Server: state.Server, Tables: len(tables), Errors: len(p.failed) + len(p.whole)}
	last.Complete = last.Errors == 0
	if before := p.ws.LoadLastSync(); before != nil {
		last.SyncedAt = before.SyncedAt
	}
	if last.Complete && len(p.opts.Tables) == 0 {
		last.SyncedAt = last.TriedAt
	}
	p.syncedAt = last.SyncedAt
	if err := p.ws.SaveLastSync(last); err != nil {
		p.whole = append(p.whole, err)
	}
}

// saveSchema keeps the server's catalog for reading offline.
func (p *pass) saveSchema(ctx context.Context) {
	_, raw, err := p.server.Catalog(ctx)
	if err == nil {
		err = p.ws.SaveSchema(raw)
	}
	if err != nil {
		p.whole = append(p.whole, fault.Wrap(err, fault.KindOf(err), "%s was not renewed: %s", p.ws.SchemaFile(), fault.Message(err)))
	}
}

// sweep deletes the parts that neither the state nor the manifest refers to. Begun parts of what is
// still wanted stay, to be resumed.
func (p *pass) sweep() int64 {
	keep := map[string]map[string]bool{}
	add := func(id, name string) {
		folder := workspace.FolderOf(id)
		if keep[folder] == nil {
			keep[folder] = map[string]bool{}
		}
		keep[folder][name] = true
	}
	for id, t := range p.state.Tables {
		for _, part := range t.Parts {
			add(id, part.SHA256+workspace.PartExt)
		}
	}
	for id, t := range p.want.tables {
		for _, part := range t.Parts {
			add(id, part.SHA256+workspace.PartExt)
			if !p.inv.Has(id, part.SHA256, part.SizeBytes) {
				add(id, part.SHA256+workspace.PartExt+workspace.PartialExt)
			}
		}
	}
	return p.ws.Sweep(p.inv, func(folder, file string) bool { return keep[folder][file] })
}

// complaint is the error of the pass as a whole; nil where all is as it should be.
func (p *pass) complaint() error {
	if len(p.whole) > 0 {
		return p.whole[0]
	}
	if len(p.failed) > 0 {
		first := ""
		for id := range p.failed {
			if first == "" || id < first {
				first = id
			}
		}
		return fault.Wrap(p.failed[first], fault.KindOf(p.failed[first]), "%d of %d tables could not be synced; what is there of them is their last whole version", len(p.failed), p.total())
	}
	return nil
}

func (p *pass) total() int { return len(p.want.tables) + len(p.want.invalid) }

func emptyResult() *Result {
	return &Result{Downloaded: []Change{}, Skipped: []string{}, Removed: []string{}, Errors: []Error{}}
}

func (p *pass) result() *Result {
	r := emptyResult()
	r.Notes, r.Bytes, r.Freed, r.Total, r.SyncedAt = p.notes, p.bytes.Load(), p.freed, p.total(), p.syncedAt
	r.Skipped = append(r.Skipped, p.plan.keep...)
	if !p.opts.All && len(p.opts.Tables) == 0 {
		r.Unwanted = p.unwanted
	}
	if p.published {
		r.Removed = append(r.Removed, p.plan.remove...)
		for _, c := range p.plan.change {
			if p.failed[c.id] == nil {
				r.Downloaded = append(r.Downloaded, c.describe(p.before))
			}
		}
	}
	for _, err := range p.whole {
		r.Errors = append(r.Errors, Error{Error: fault.Message(err), Kind: fault.KindOf(err)})
	}
	for id, err := range p.failed {
		r.Errors = append(r.Errors, Error{Table: id, Error: fault.Message(err), Kind: fault.KindOf(err)})
	}
	sort.SliceStable(r.Errors, func(i, j int) bool { return r.Errors[i].Table < r.Errors[j].Table })
	return r
}

// dryRun is the result of doing nothing.
func (p *pass) dryRun() *Result {
	p.published = true
	r := p.result()
	r.DryRun = true
	for _, c := range p.plan.change {
		r.Bytes += c.missingBytes()
	}
	return r
}

type silent struct{}

func (silent) Start(int, int, int64) {}
func (silent) Table(string, int64)   {}
func (silent) Bytes(string, int64)   {}
func (silent) Fetched(string, error) {}
func (silent) End()                  {}
