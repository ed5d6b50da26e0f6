package csv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
)

// input is one file of a table.
type input struct {
	// rel is the name that people see: relative to the folder that was configured.
	rel string
	// path is the real path, with links resolved.
	path        string
	format      string // empty: unknown
	compression string
	size        int64
	modified    time.Time
}

// table is what a listing found, or was told, to be a table.
type table struct {
	name        string
	sourceTable string // what the registry keeps of it: a file or a pattern
	inputs      []input
	problem     string // why it cannot be extracted as it stands
	configured  configuredTable
}

// root is one configured path.
type root struct {
	dir     string // the folder that nothing may lead out of, as it was written
	pattern string // within dir
	written string
	file    bool // the path is one file, whatever it links to
	many    bool // every file is a table of its own
}

// roots looks at the configured paths. A path that is not there is an error: a folder that is away
// is not an empty one.
func roots(base string, paths list) ([]root, error) {
	var out []root
	for _, written := range paths {
		abs := filepath.Clean(filepath.FromSlash(written))
		if written == "" {
			return nil, fault.New(fault.Invalid, "a path is empty")
		}
		if !filepath.IsAbs(abs) {
			abs = filepath.Join(base, abs)
		}
		r := root{written: written}
		info, err := os.Stat(abs)
		switch {
		case err == nil && info.IsDir():
			r.dir, r.pattern, r.many = abs, "*", true
		case err == nil || !strings.ContainsAny(written, "*?[{"):
			// What is not there is a file if it is called like one: then only its table is missing.
			_, format, _ := naming.Split(filepath.Base(abs))
			if _, above := os.Stat(filepath.Dir(abs)); err != nil && (format == "" || above != nil || !errors.Is(err, fs.ErrNotExist)) {
				return nil, fault.Wrap(err, fault.Unavailable, "the path %s cannot be read", written)
			}
			r.dir, r.pattern, r.file = filepath.Dir(abs), escapePattern(filepath.Base(abs)), true
		default:
			if !doublestar.ValidatePattern(filepath.ToSlash(abs)) {
				return nil, fault.New(fault.Invalid, "the path %s is not a valid pattern", written)
			}
			dir, pattern := doublestar.SplitPattern(filepath.ToSlash(abs))
			r.dir, r.pattern = filepath.FromSlash(dir), pattern
			r.many = naming.Glob(pattern) == ""
			if _, err := os.Stat(r.dir); err != nil {
				return nil, fault.Wrap(err, fault.Unavailable, "the folder of %s cannot be read", written)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func escapePattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "{", `\{`).Replace(name)
}

// found is what a walk came across.
type found struct {
	input
	problem string
}

// walk lists what a root holds, ordered by name. known tells that files of unknown names count too.
func (r root) walk(ctx context.Context, known bool) ([]found, error) {
	dir, err := filepath.EvalSymlinks(r.dir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder of %s cannot be read", r.written)
	}
	var out []found
	visit := func(rel string, entry fs.DirEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Base(rel)
		_, format, compression := naming.Split(name)
		if !r.file && naming.Hidden(name) || format == "" && !known {
			return nil
		}
		f := found{input: input{rel: rel, format: format, compression: compression}}
		f.look(filepath.Join(dir, filepath.FromSlash(rel)), dir, r.file)
		if f.problem == problemFolder && !strings.Contains(path.Base(r.pattern), ".") && format == "" {
			return nil // a subfolder, in a pattern for anything
		}
		out = append(out, f)
		return nil
	}
	err = doublestar.GlobWalk(os.DirFS(dir), r.pattern, visit, doublestar.WithFailOnIOErrors(), doublestar.WithNoFollow())
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the files of %s cannot be listed", r.written)
	}
	slices.SortFunc(out, func(a, b found) int { return cmp.Compare(a.rel, b.rel) })
	return out, nil
}

const problemFolder = "it is a folder, not a file"

// look finds out what the path is. Links are followed within the folder; a file that was named by
// itself may link to anywhere.
func (f *found) look(at, dir string, anywhere bool) {
	target, err := filepath.EvalSymlinks(at)
	if err != nil {
		f.problem = unreadable(err)
		if errors.Is(err, fs.ErrNotExist) {
			f.problem = "it is a link to a file that is not there"
		}
		return
	}
	if within, err := filepath.Rel(dir, target); !anywhere && (err != nil || within == ".." || strings.HasPrefix(within, ".."+string(filepath.Separator))) {
		f.problem = "it is a link that leads out of its folder"
		return
	}
	info, err := os.Stat(target)
	switch {
	case err != nil:
		f.problem = unreadable(err)
	case info.IsDir():
		f.problem = problemFolder
	case !info.Mode().IsRegular():
		f.problem = "it is not a regular file"
	default:
		f.path, f.size, f.modified = target, info.Size(), info.ModTime()
	}
}

// unreadable says why a file cannot be read, without its path on the server.
func unreadable(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "it may not be read by this service"
	case errors.Is(err, fs.ErrNotExist):
		return "it is not there any more"
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return "it cannot be read: " + err.Error()
}

// listing lists the tables of a source, ordered by name. Two tables of one name are both there, each
// with its problem.
func (s *source) listing(ctx context.Context) ([]table, error) {
	paths, err := roots(s.cfg.ConfigDir, s.options.Path)
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	var tables []table
	for _, name := range slices.Sorted(maps.Keys(s.options.tables)) {
		t := s.options.tables[name]
		if len(t.Path) == 0 {
			continue
		}
		made, err := s.fromPaths(ctx, name, t, paths)
		if err != nil {
			return nil, err
		}
		for _, in := range made.inputs {
			taken[in.path] = true
		}
		tables = append(tables, made)
	}
	for _, r := range paths {
		more, err := s.fromRoot(ctx, r, taken)
		if err != nil {
			return nil, err
		}
		tables = append(tables, more...)
	}
	tables = s.configure(tables)
	slices.SortStableFunc(tables, func(a, b table) int { return cmp.Compare(a.name, b.name) })
	markCollisions(tables)
	return tables, nil
}

// fromPaths makes the table that has paths of its own in the configuration. They start from the
// first folder of the source.
func (s *source) fromPaths(ctx context.Context, name string, c configuredTable, paths []root) (table, error) {
	base := s.cfg.ConfigDir
	if len(paths) > 0 {
		base = paths[0].dir
	}
	t := table{name: name, sourceTable: strings.Join(c.Path, ", "), configured: c}
	own, err := roots(base, c.Path)
	if err != nil {
		return t, fmt.Errorf("tables.%s: %w", name, err)
	}
	for _, r := range own {
		files, err := r.walk(ctx, c.Format != "")
		if err != nil {
			return t, fmt.Errorf("tables.%s: %w", name, err)
		}
		t.add(files...)
	}
	if len(t.inputs) == 0 && t.problem == "" {
		t.problem = "no file matches " + t.sourceTable
	}
	return t, nil
}

// add takes files into the table, each once. The first problem of a file is the table's.
func (t *table) add(files ...found) {
	for _, f := range files {
		if f.problem != "" {
			if t.problem == "" {
				t.problem = f.rel + ": " + f.problem
			}
			continue
		}
		if !slices.ContainsFunc(t.inputs, func(in input) bool { return in.path == f.path }) {
			t.inputs = append(t.inputs, f.input)
		}
	}
}

// fromRoot makes the tables of a path: one per file, or one of all its files. Each file is taken once.
func (s *source) fromRoot(ctx context.Context, r root, taken map[string]bool) ([]table, error) {
	files, err := r.walk(ctx, s.options.Format != "" && r.pattern != "*")
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f found) bool { return f.path != "" && taken[f.path] })
	for _, f := range files {
		if f.path != "" {
			taken[f.path] = true
		}
	}
	if !r.many && !r.file {
		t := table{name: naming.Glob(r.pattern), sourceTable: r.pattern}
		t.add(files...)
		if len(files) == 0 {
			return nil, nil
		}
		return []table{t}, nil
	}
	if r.file && len(files) == 0 {
		base := filepath.Base(filepath.FromSlash(r.written))
		if _, err := os.Lstat(filepath.Join(r.dir, base)); err == nil {
			return nil, nil // another table has it
		}
		stem, _, _ := naming.Split(base)
		return []table{{name: naming.Table(stem), sourceTable: base, problem: base + ": it is not there"}}, nil
	}
	var out []table
	for _, f := range files {
		stem, format, _ := naming.Split(path.Base(f.rel))
		if format == "" { // the configuration says what it is
			stem = strings.TrimSuffix(stem, path.Ext(stem))
		}
		t := table{name: naming.Table(stem), sourceTable: f.rel}
		t.add(f)
		out = append(out, t)
	}
	return out, nil
}

// configure gives the tables the options that the configuration has for them. One that is configured
// and not there is a table with a problem.
func (s *source) configure(tables []table) []table {
	found := map[string]bool{}
	for i := range tables {
		t := &tables[i]
		found[t.name] = true
		if c, ok := s.options.tables[t.name]; ok && len(c.Path) == 0 {
			t.configured = c
		} else if !ok {
			t.configured = configuredTable{tableOptions: s.options.inherited()}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.options.tables)) {
		if !found[name] {
			tables = append(tables, table{
				name: name, configured: s.options.tables[name],
				problem: "no file makes a table of this name: give it a `path`",
			})
		}
	}
	return tables
}

// markCollisions tells the tables that would have one name. Which one gets it is for the
// configuration to say, not for the alphabet.
func markCollisions(tables []table) {
	byName := map[string][]int{}
	for i, t := range tables {
		key := strings.ToLower(t.name)
		byName[key] = append(byName[key], i)
	}
	for _, same := range byName {
		if len(same) < 2 {
			continue
		}
		var from []string
		for _, i := range same {
			from = append(from, tables[i].sourceTable)
		}
		for _, i := range same {
			tables[i].problem = fmt.Sprintf("%s would all be the table %s: name them under `tables`", strings.Join(from, ", "), tables[i].name)
		}
	}
}

// find picks the table of a registry row: by what it was registered from, or by its name, or else
// the listed files that its source_table matches as a pattern.
func find(tables []table, name, sourceTable string) (table, error) {
	for _, t := range tables {
		if sourceTable != "" && t.sourceTable == sourceTable && t.name == name {
			return t, nil
		}
	}
	for _, by := range []func(t table) bool{
		func(t table) bool { return sourceTable != "" && t.sourceTable == sourceTable },
		func(t table) bool { return t.name == name },
		func(t table) bool { return strings.EqualFold(t.name, name) },
	} {
		if i := slices.IndexFunc(tables, by); i >= 0 {
			return tables[i], nil
		}
	}
	made := table{name: name, sourceTable: sourceTable}
	if doublestar.ValidatePattern(sourceTable) && sourceTable != "" {
		for _, t := range tables {
			for _, in := range t.inputs {
				if doublestar.MatchUnvalidated(sourceTable, in.rel) {
					made.configured = t.configured
					made.add(found{input: in})
				}
			}
		}
	}
	if len(made.inputs) == 0 {
		what := cmp.Or(sourceTable, name)
		return made, fault.New(fault.NotFound, "no file of the source makes the table %s (%s)", name, what)
	}
	return made, nil
}
