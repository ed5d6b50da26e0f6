package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// RegisteredTable is one row of the table registry: what is to be extracted, and how.
type RegisteredTable struct {
	// ID names the row: the name in lower case with '_' for spaces, or "source.id" where a table of
	// another source has that id.
	ID string
	// Name is the table's name within its source.
	Name   string
	Source string // empty only in rows of a predecessor that named no source type
	// SourceType is the connector's type, where it was given.
	SourceType       string
	Bucket           string
	SourceTable      string
	SyncStrategy     string
	QueryMode        string
	SyncSchedule     string
	ProfileAfterSync bool
	PrimaryKey       []string
	Folder           string
	Description      string
	RegisteredBy     string
	// IsPublic lets every active user read the table.
	IsPublic     bool
	RegisteredAt time.Time
	// Options are the connector's options for this table, a JSON object; nil for none.
	Options json.RawMessage
}

// NewTable is a table to register. Name and Source (or SourceType, which stands for a source of that
// name) are needed; everything else has a default.
type NewTable struct {
	Name             string
	Source           string
	SourceType       string
	Bucket           string
	SourceTable      string
	SyncStrategy     string // empty means full_refresh
	QueryMode        string // empty means local
	SyncSchedule     string
	ProfileAfterSync *bool // nil means true
	PrimaryKey       []string
	Folder           string
	Description      string
	IsPublic         *bool // nil means true
	Options          json.RawMessage
	// Found tells that a connector found the table and nobody chose its name: where the same table of the
	// source is registered under another name, it is not registered again (trap P1).
	Found bool
}

// TableChange is what to change of a registered table; nil leaves a field as it is, and an empty value
// clears it. Name and source are the table's identity: register another one instead.
type TableChange struct {
	SourceType       *string
	Bucket           *string
	SourceTable      *string
	SyncStrategy     *string
	QueryMode        *string
	SyncSchedule     *string
	ProfileAfterSync *bool
	PrimaryKey       *[]string
	Folder           *string
	Description      *string
	IsPublic         *bool
	Options          *json.RawMessage
	// Source can be given to a row that has none.
	Source *string
}

// Refused is a table that was not registered, and why.
type Refused struct {
	Name string
	Err  error
}

// Registered tells what became of tables that were registered together.
type Registered struct {
	Registered []RegisteredTable
	// Skipped are ids of tables that were registered before.
	Skipped []string
	Refused []Refused
}

// Registry is the table of what is to be extracted.
type Registry struct{ s *Store }

const selectRegistry = `SELECT id, name, source, source_type, bucket, source_table, sync_strategy, query_mode, sync_schedule,
	profile_after_sync, primary_key, folder, description, registered_by, is_public, registered_at, CAST(options AS VARCHAR) FROM table_registry`

func scanTable(r *sql.Rows) (RegisteredTable, error) {
	t := RegisteredTable{ProfileAfterSync: true}
	var key, options string
	err := r.Scan(&t.ID, &t.Name, text{&t.Source}, text{&t.SourceType}, text{&t.Bucket}, text{&t.SourceTable},
		text{&t.SyncStrategy}, text{&t.QueryMode}, text{&t.SyncSchedule}, flag{&t.ProfileAfterSync}, text{&key},
		text{&t.Folder}, text{&t.Description}, text{&t.RegisteredBy}, flag{&t.IsPublic}, moment{&t.RegisteredAt}, text{&options})
	t.PrimaryKey = splitKey(key)
	t.Options = optionsOf(options)
	if t.Source == "" {
		t.Source = t.SourceType
	}
	if t.QueryMode == "" {
		t.QueryMode = catalog.ModeLocal
	}
	return t, err
}

// optionsOf reads the column; NULL and null are nil.
func optionsOf(stored string) json.RawMessage {
	if stored == "" || stored == "null" {
		return nil
	}
	return json.RawMessage(stored)
}

var errNotRegistered = fault.New(fault.NotFound, "there is no such table in the registry")

// List gives the registered tables ordered by id: of one source, or of all where source is empty.
func (r *Registry) List(ctx context.Context, source string) ([]RegisteredTable, error) {
	if source == "" {
		return readAll(ctx, r.s, scanTable, selectRegistry+" ORDER BY id")
	}
	return readAll(ctx, r.s, scanTable, selectRegistry+" WHERE coalesce(source, source_type) = $1 ORDER BY id", source)
}

// Get gives a table by its id; fault.NotFound where there is none.
func (r *Registry) Get(ctx context.Context, id string) (RegisteredTable, error) {
	return readOne(ctx, r.s, errNotRegistered, scanTable, selectRegistry+" WHERE id = $1", id)
}

// Register adds a table; by is the user or service that does. fault.Conflict where its source has a
// table of that name already.
func (r *Registry) Register(ctx context.Context, t NewTable, by string) (RegisteredTable, error) {
	done, err := r.RegisterAll(ctx, []NewTable{t}, by)
	switch {
	case err != nil:
		return RegisteredTable{}, err
	case len(done.Refused) > 0:
		return RegisteredTable{}, done.Refused[0].Err
	case len(done.Skipped) > 0:
		return RegisteredTable{}, fault.New(fault.Conflict, "the table %s is registered already", done.Skipped[0])
	}
	return done.Registered[0], nil
}

// RegisterAll adds those of the tables that can be registered and are not yet, in one write. Tables
// that are registered stay as they are.
func (r *Registry) RegisterAll(ctx context.Context, tables []NewTable, by string) (Registered, error) {
	var done Registered
	err := r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		standing, err := collect(ctx, tx, scanTable, selectRegistry)
		if err != nil {
			return err
		}
		intake, err := r.intakeOf(ctx, tx, standing)
		if err != nil {
			return err
		}
		done = Registered{}
		var rows [][]any
		known := originsOf(standing)
		for _, n := range tables {
			if id := known.registered(n); n.Found && id != "" {
				done.Skipped = append(done.Skipped, id)
				continue
			}
			switch t, there, err := intake.admit(ctx, n.row(by, r.s.now()), n.IsPublic); {
			case fault.Is(err, fault.Invalid), fault.Is(err, fault.Conflict):
				done.Refused = append(done.Refused, Refused{Name: n.Name, Err: err})
			case err != nil:
				return err
			case there:
				done.Skipped = append(done.Skipped, t.ID)
			default:
				rows = append(rows, t.values())
				done.Registered = append(done.Registered, t)
			}
		}
		return insertRows(ctx, tx, `INSERT INTO table_registry (id, name, source, source_type, bucket, source_table, sync_strategy, query_mode, sync_schedule,
			profile_after_sync, primary_key, folder, description, registered_by, is_public, registered_at, options)`, rows, "")
	})
	return done, err
}

// row fills in the defaults.
func (n NewTable) row(by string, now time.Time) RegisteredTable {
	t := RegisteredTable{
		Name: strings.TrimSpace(n.Name), Source: strings.TrimSpace(n.Source), SourceType: strings.TrimSpace(n.SourceType),
		Bucket: n.Bucket, SourceTable: n.SourceTable, SyncStrategy: n.SyncStrategy, QueryMode: n.QueryMode,
		SyncSchedule: n.SyncSchedule, ProfileAfterSync: true, PrimaryKey: n.PrimaryKey, Folder: n.Folder,
		Description: n.Description, RegisteredBy: by, IsPublic: true, RegisteredAt: now, Options: n.Options,
	}
	if n.ProfileAfterSync != nil {
		t.ProfileAfterSync = *n.ProfileAfterSync
	}
	if n.IsPublic != nil {
		t.IsPublic = *n.IsPublic
	}
	if t.Source == "" {
		t.Source = t.SourceType
	}
	return t
}

func (t RegisteredTable) values() []any {
	return []any{
		t.ID, t.Name, orNull(t.Source), orNull(t.SourceType), orNull(t.Bucket), orNull(t.SourceTable), t.SyncStrategy, t.QueryMode,
		orNull(t.SyncSchedule), t.ProfileAfterSync, orNull(joinKey(t.PrimaryKey)), orNull(t.Folder), orNull(t.Description),
		orNull(t.RegisteredBy), t.IsPublic, timeOrNull(t.RegisteredAt), orNull(string(t.Options)),
	}
}

// intake takes rows into the registry, each beside those that stand and those that were taken before.
type intake struct {
	registry *Registry
	tx       *sql.Tx
	ids      map[string]bool
	tables   map[string]string // folded source and name → id
	sources  map[string]bool
	buckets  map[string]bool // those that have the name of a source
	private  privacy
}

func (r *Registry) intakeOf(ctx context.Context, tx *sql.Tx, standing []RegisteredTable) (*intake, error) {
	i := &intake{registry: r, tx: tx, ids: make(map[string]bool, len(standing)), tables: tablesOf(standing), sources: r.sourcesOf(standing)}
	for _, t := range standing {
		i.ids[t.ID] = true
	}
	i.buckets = ambiguous(standing, i.sources)
	var err error
	i.private, err = privacyOf(ctx, tx, standing)
	return i, err
}

func tablesOf(rows []RegisteredTable) map[string]string {
	tables := make(map[string]string, len(rows))
	for _, t := range rows {
		tables[strings.ToLower(catalog.TableID(t.Source, t.Name))] = t.ID
	}
	return tables
}

// origins are what rows are extracted from → their ids.
type origins map[string]string

func originsOf(rows []RegisteredTable) origins {
	known := make(origins, len(rows))
	for _, t := range rows {
		known[catalog.Origins(t.Source, t.Bucket, t.SourceTable, t.Name)[0]] = t.ID
	}
	return known
}

// registered gives the id of a row that brings the same data; empty where there is none.
func (o origins) registered(n NewTable) string {
	for _, origin := range catalog.Origins(n.Source, n.Bucket, n.SourceTable, strings.TrimSpace(n.Name)) {
		if id := o[origin]; id != "" {
			return id
		}
	}
	return ""
}

// admit checks a row, gives it an id and takes it. Where its source has the table already it gives that
// id, and there is true: a second row for the same table would carry rules of its own.
func (i *intake) admit(ctx context.Context, t RegisteredTable, public *bool) (_ RegisteredTable, there bool, err error) {
	if t, err = i.registry.check(t); err != nil {
		return t, false, err
	}
	table := strings.ToLower(catalog.TableID(t.Source, t.Name))
	if t.ID, there = i.tables[table]; there {
		return t, true, nil
	}
	if t.ID = i.id(t); t.ID == "" {
		return t, false, fault.New(fault.Conflict, "the id of table %q is taken by another table", t.Name)
	}
	if err := i.private.settle(&t, public); err != nil {
		return t, false, err
	}
	if err := keepMeaning(ctx, i.tx, t, i.sources, i.buckets); err != nil {
		return t, false, err
	}
	if err := i.private.forget(ctx, i.tx, t); err != nil {
		return t, false, err
	}
	i.ids[t.ID], i.tables[table], i.sources[t.Source] = true, t.ID, true
	i.private.note(t)
	return t, false, nil
}

// id is the one that a new row gets; empty where all are taken. One that reads as the qualified name of
// another source's table is not given: grants may stand on that name.
func (i *intake) id(t RegisteredTable) string {
	plain := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(t.Name)), " ", "_")
	qualified := strings.ToLower(t.Source) + "." + plain
	if prefix, _, dotted := strings.Cut(plain, "."); !i.ids[plain] && (!dotted || prefix == t.Source || !i.sources[prefix]) {
		return plain
	}
	if i.ids[qualified] {
		return ""
	}
	return qualified
}

// Update changes a table, and gives it with the names of the fields that were given. Whether it is public
// holds for every row with the same data.
func (r *Registry) Update(ctx context.Context, id string, c TableChange) (RegisteredTable, []string, error) {
	var t RegisteredTable
	var updated []string
	err := r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		standing, err := collect(ctx, tx, scanTable, selectRegistry)
		if err != nil {
			return err
		}
		if t, err = pick(standing, id); err != nil {
			return err
		}
		before := t
		if updated, err = t.apply(c); err != nil {
			return err
		}
		if t, err = r.check(t); err != nil {
			return err
		}
		if other, there := tablesOf(standing)[strings.ToLower(catalog.TableID(t.Source, t.Name))]; there && other != id && t.Source != before.Source {
			return fault.New(fault.Conflict, "the table %s is registered already", other)
		}
		if err := r.keepRules(ctx, tx, standing, before, t, c.IsPublic != nil); err != nil {
			return err
		}
		v := t.values()
		_, err = tx.ExecContext(ctx, `UPDATE table_registry SET source = $2, source_type = $3, bucket = $4, source_table = $5, sync_strategy = $6, query_mode = $7,
			sync_schedule = $8, profile_after_sync = $9, primary_key = $10, folder = $11, description = $12, is_public = $13, options = $14 WHERE id = $1`,
			v[0], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[14], v[16])
		return err
	})
	return t, updated, err
}

func pick(tables []RegisteredTable, id string) (RegisteredTable, error) {
	for _, t := range tables {
		if t.ID == id {
			return t, nil
		}
	}
	return RegisteredTable{}, errNotRegistered
}

// keepRules refuses a change by which a rule would come to mean something else, drops the grants on a
// bucket that is gone with it, and has a word on who may read hold for all rows of the data.
func (r *Registry) keepRules(ctx context.Context, tx *sql.Tx, standing []RegisteredTable, before, t RegisteredTable, public bool) error {
	if public {
		if err := spreadPrivacy(ctx, tx, standing, t); err != nil {
			return err
		}
	}
	if t.Bucket == before.Bucket {
		return nil
	}
	sources := r.sourcesOf(standing)
	if err := keepMeaning(ctx, tx, t, sources, ambiguous(standing, sources)); err != nil {
		return err
	}
	return r.dropGrants(ctx, tx, standing, append(without(standing, t.ID), t))
}

func without(rows []RegisteredTable, id string) []RegisteredTable {
	return slices.DeleteFunc(slices.Clone(rows), func(t RegisteredTable) bool { return t.ID == id })
}

// Delete takes a table out of the registry, with the grants that name it: a later table of that name is
// another one. That it was private is kept in mind: where it is found again and nobody says what it is,
// it is private.
func (r *Registry) Delete(ctx context.Context, id string) (RegisteredTable, error) {
	var t RegisteredTable
	err := r.s.write(ctx, touchesAccess, func(ctx context.Context, tx *sql.Tx) error {
		standing, err := collect(ctx, tx, scanTable, selectRegistry)
		if err != nil {
			return err
		}
		if t, err = pick(standing, id); err != nil {
			return err
		}
		if err := r.dropGrants(ctx, tx, standing, without(standing, id), id, catalog.TableID(t.Source, t.Name)); err != nil {
			return err
		}
		if err := rememberPrivate(ctx, tx, r, t); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM table_registry WHERE id = $1", id)
		return err
	})
	return t, err
}
