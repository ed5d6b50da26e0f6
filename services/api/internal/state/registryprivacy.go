package state

import (
	"context"
	"database/sql"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// What makes a table private holds for its data, not for one name of it. A table that is registered a
// second time, or is removed and found again by a connector, is not public only because nobody said
// otherwise; and a grant does not come to mean another table than it was given for.

// reads names what a row is extracted from: its source, bucket and source table. A row that names no
// source table is extracted by its own name.
func (t RegisteredTable) reads() string {
	table := t.SourceTable
	if table == "" {
		table = t.Name
	}
	return strings.ToLower(t.Source) + "\n" + t.Bucket + "\n" + table // none of them holds a line break
}

// Data is equal for rows that bring the same data under several names. Options tell rows apart that read
// one table of the source, for they can narrow it down.
func (t RegisteredTable) Data() string { return t.reads() + "\n" + string(t.Options) }

// settings that remember that a row was private which is removed: by the name of the table, and by what
// it was extracted from.
const removedPrivate = "removed_private."

func removedKeys(t RegisteredTable) []string {
	return []string{removedPrivate + "table " + strings.ToLower(catalog.TableID(t.Source, t.Name)), removedPrivate + "data " + t.reads()}
}

// privacy is what the registry knows of who may read its data.
type privacy struct {
	data    map[string]RegisteredTable // Data → a row that has it, a private one where there is one
	reads   map[string]bool            // what private rows are extracted from
	removed map[string]bool            // removedKeys of private rows that are gone
}

func privacyOf(ctx context.Context, q querier, standing []RegisteredTable) (privacy, error) {
	p := privacy{data: make(map[string]RegisteredTable, len(standing)), reads: map[string]bool{}, removed: map[string]bool{}}
	for _, t := range standing {
		p.note(t)
	}
	keys, err := collect(ctx, q, scanString, "SELECT key FROM settings WHERE key LIKE $1", removedPrivate+"%")
	for _, key := range keys {
		p.removed[key] = true
	}
	return p, err
}

func (p privacy) note(t RegisteredTable) {
	if _, there := p.data[t.Data()]; !there || !t.IsPublic {
		p.data[t.Data()] = t
	}
	if !t.IsPublic {
		p.reads[t.reads()] = true
	}
}

// settle decides whether a new row is public where its registration does not say it: not where the same
// table of the source is private, or was when it was removed. What is said holds, unless another row
// with the same data says otherwise.
func (p privacy) settle(t *RegisteredTable, said *bool) error {
	if said != nil {
		if other, there := p.data[t.Data()]; there && other.IsPublic != t.IsPublic {
			return fault.New(fault.Conflict, "table %q has the same data as %q, for which is_public is %t: leave it out, or change it there", t.Name, other.ID, other.IsPublic)
		}
		return nil
	}
	if p.reads[t.reads()] {
		t.IsPublic = false
	}
	for _, key := range removedKeys(*t) {
		if p.removed[key] {
			t.IsPublic = false
		}
	}
	return nil
}

// spreadPrivacy has every row with the data of a changed one be as public as it.
func spreadPrivacy(ctx context.Context, tx *sql.Tx, standing []RegisteredTable, t RegisteredTable) error {
	for _, other := range standing {
		if other.ID == t.ID || other.IsPublic == t.IsPublic || other.Data() != t.Data() {
			continue
		}
		if _, err := tx.ExecContext(ctx, "UPDATE table_registry SET is_public = $1 WHERE id = $2", t.IsPublic, other.ID); err != nil {
			return err
		}
	}
	return nil
}

// rememberPrivate keeps in mind that a row was private which is removed.
func rememberPrivate(ctx context.Context, tx *sql.Tx, r *Registry, t RegisteredTable) error {
	if t.IsPublic {
		return nil
	}
	for _, key := range removedKeys(t) {
		if err := putSetting(ctx, tx, key, t.ID, r.s.now()); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what rememberPrivate kept of a table that has a row again: the row says what it is.
func (p privacy) forget(ctx context.Context, tx *sql.Tx, t RegisteredTable) error {
	for _, key := range removedKeys(t) {
		if !p.removed[key] {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM settings WHERE key = $1", key); err != nil {
			return err
		}
	}
	return nil
}

// sourcesOf names every source that is known: by rows of the registry, and beyond them.
func (r *Registry) sourcesOf(rows []RegisteredTable) map[string]bool {
	sources := map[string]bool{}
	for _, t := range rows {
		sources[t.Source] = true
	}
	if r.s.opts.Sources != nil {
		for _, name := range r.s.opts.Sources() {
			sources[name] = true
		}
	}
	return sources
}

// ambiguous are the names by which "<name>.*" is a bucket, though a source is called so that is not the
// bucket's.
func ambiguous(rows []RegisteredTable, sources map[string]bool) map[string]bool {
	names := map[string]bool{}
	for _, t := range rows {
		if t.Bucket != t.Source && sources[t.Bucket] {
			names[t.Bucket] = true
		}
	}
	return names
}

// keepMeaning refuses a row whose bucket grants would come to mean that were given for a source.
func keepMeaning(ctx context.Context, q querier, t RegisteredTable, sources, already map[string]bool) error {
	if t.Bucket == t.Source || !sources[t.Bucket] || already[t.Bucket] {
		return nil
	}
	n, err := one(ctx, q, nil, scanInt, "SELECT count(*) FROM ("+everyPermission+") p WHERE p.dataset = $1", t.Bucket+".*")
	if err == nil && n > 0 {
		err = fault.New(fault.Conflict, "table %q: its bucket has the name of the source %s, and grants on %s.* would come to mean the bucket: revoke them first", t.Name, t.Bucket, t.Bucket)
	}
	return err
}

// dropGrants removes the grants on datasets that are gone, and those on buckets that are gone and have
// the name of a source, which they would come to mean.
func (r *Registry) dropGrants(ctx context.Context, tx *sql.Tx, before, after []RegisteredTable, gone ...string) error {
	sources := r.sourcesOf(before)
	still := ambiguous(after, sources)
	for name := range ambiguous(before, sources) {
		if !still[name] {
			gone = append(gone, name+".*")
		}
	}
	for _, dataset := range gone {
		for _, grants := range []string{"dataset_permissions", "group_permissions"} {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+grants+" WHERE dataset = $1", dataset); err != nil {
				return err
			}
		}
	}
	return nil
}
