package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

// draft is a publication in the making: what the extract holds, checked against what stands on
// disk and what was published before.
type draft struct {
	o        *Orchestrator
	version  *extract.Version
	previous catalog.Source
	inputs   *inputs
	tables   []catalog.Table
	problems []catalog.Problem
	remotes  []catalog.Remote
	refused  map[string]string // reason by alias in lower case
	// incomplete says that a later try may publish more without a change of the extract.
	incomplete bool
}

// fill publishes what can be published of every table. It fails only where going on makes no sense:
// a table that cannot be published is a problem and hides nothing else.
func (d *draft) fill(ctx context.Context, lists service.AllowLists) error {
	d.remotes, d.refused = allowedRemotes(d.version.Remotes, lists)
	for _, alias := range slices.Sorted(maps.Keys(d.refused)) {
		d.problem("", catalog.ProblemRemoteRefused, fmt.Sprintf("the attachment %.60q is refused: %s", alias, d.refused[alias]))
	}
	for _, t := range d.version.Tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.add(ctx, t); err != nil {
			return err
		}
	}
	d.takeOverProblems()
	sort.Slice(d.tables, func(i, j int) bool { return d.tables[i].Name < d.tables[j].Name })
	sortProblems(d.problems)
	return nil
}

// add publishes one table, or keeps its last version, or leaves it out with a problem.
func (d *draft) add(ctx context.Context, t extract.VersionTable) error {
	if err := catalog.ValidTableName(t.Name); err != nil {
		d.problem(t.Name, catalog.ProblemBadName, err.Error())
		return nil
	}
	published := t.Table
	switch t.Stored {
	case extract.StoredRemote:
		d.addRemote(published)
		return nil
	case extract.StoredParts:
		if missing := d.o.missingPart(published.Parts); missing != nil {
			d.keep(t.Name, catalog.ProblemMissingFile, missing.Error())
			return nil
		}
	default:
		parts, err := d.materialise(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldTable, t.Name).Msg("a table could not be copied out of its extract")
			d.keep(t.Name, problemCode(err), fault.Message(err))
			return nil
		}
		published.Parts = parts
		published.Rows, published.SizeBytes = 0, 0
		for _, p := range parts {
			published.Rows += p.Rows
			published.SizeBytes += p.SizeBytes
		}
	}
	published.RemoteSQL = ""
	published.Fingerprint = catalog.Fingerprint(published)
	d.tables = append(d.tables, published)
	return nil
}

// addRemote lists a table that stays where it is, if its attachment is allowed.
func (d *draft) addRemote(t catalog.Table) {
	alias, _, ok := catalog.RemotePath(t.RemoteSQL)
	reason := d.refused[alias]
	switch {
	case !ok:
		reason = "its definition is not a plain SELECT of columns of one table of an attached catalog"
	case reason == "" && !d.attaches(alias):
		reason = fmt.Sprintf("the extract attaches no catalog %q", alias)
	}
	if reason != "" {
		d.problem(t.Name, catalog.ProblemRemoteRefused, "the remote table is not published: "+reason)
		return
	}
	t.Parts = nil
	t.Fingerprint = catalog.Fingerprint(t)
	d.tables = append(d.tables, t)
}

func (d *draft) attaches(alias string) bool {
	for _, r := range d.remotes {
		if strings.EqualFold(r.Alias, alias) {
			return true
		}
	}
	return false
}

// takeOverProblems keeps the last version of tables that the extract lists but that could not be
// read: a failure is not a removal.
func (d *draft) takeOverProblems() {
	seen := make(map[string]bool)
	for _, p := range d.version.Problems {
		lost := p.Code == catalog.ProblemUnreadable || p.Code == catalog.ProblemMissingFile
		if p.Table == "" || !lost || seen[p.Table] {
			d.problems = append(d.problems, p)
			continue
		}
		seen[p.Table] = true
		d.keep(p.Table, p.Code, p.Message)
	}
}

// keep reports a problem of a table and publishes its last version again, where that is whole.
func (d *draft) keep(table, code, message string) {
	d.incomplete = true
	if d.restore(table) {
		message += "; its last good version stays published"
	} else {
		message += "; it is not published"
	}
	d.problem(table, code, message)
}

func (d *draft) restore(table string) bool {
	t, ok := d.previous.Table(table)
	if !ok || t.QueryMode == catalog.ModeRemote || d.o.missingPart(t.Parts) != nil {
		return false
	}
	d.tables = append(d.tables, t)
	return true
}

func (d *draft) problem(table, code, message string) {
	d.problems = append(d.problems, catalog.Problem{Table: table, Code: code, Message: message})
}

// missingPart tells which part is not there in the size it was written with. It is the error of the
// file system where that is neither here nor there.
func (o *Orchestrator) missingPart(parts []catalog.Part) error {
	for _, p := range parts {
		if !catalog.ValidPartPath(p.Path) {
			return fault.New(fault.Invalid, "the path of a part leaves the data directory")
		}
		info, err := os.Stat(filepath.Join(o.dataDir, filepath.FromSlash(p.Path)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fault.New(fault.NotFound, "the part %s is missing", p.Path)
		case err != nil:
			return fault.New(fault.Unavailable, "the part %s cannot be read", p.Path)
		case !info.Mode().IsRegular():
			return fault.New(fault.NotFound, "the part %s is not a file", p.Path)
		case info.Size() != p.SizeBytes:
			return fault.New(fault.NotFound, "the part %s has %d bytes instead of %d", p.Path, info.Size(), p.SizeBytes)
		}
	}
	return nil
}

func problemCode(err error) string {
	if fault.Is(err, fault.NotFound) || errors.Is(err, fs.ErrNotExist) {
		return catalog.ProblemMissingFile
	}
	return catalog.ProblemUnreadable
}

func sortProblems(problems []catalog.Problem) {
	sort.Slice(problems, func(i, j int) bool {
		a, b := problems[i], problems[j]
		if a.Table != b.Table {
			return a.Table < b.Table
		}
		return a.Code+a.Message < b.Code+b.Message
	})
}
