package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
)

// SourcesDir is the folder of the catalog's documents, one per source.
func SourcesDir(dataDir string) string {
	return filepath.Join(dataDir, "analytics", "sources")
}

// ExtractsDir is where connectors put the parts of their tables: <source>/data/<table>/<part>.
func ExtractsDir(dataDir string) string { return filepath.Join(dataDir, "extracts") }

// DerivedDir is where the orchestrator puts the parts of tables that it copies out of extracts which have
// none: <source>/<table>/<part>.
func DerivedDir(dataDir string) string { return filepath.Join(dataDir, "analytics", "parts") }

// SourcePath is the document of a source. The name must be valid.
func SourcePath(dataDir, name string) string {
	return filepath.Join(SourcesDir(dataDir), name+".json")
}

// LoadSources reads every published source of a data directory, ordered by name. A document that
// cannot be used is a Problem that names it and hides no other. An error means that the listing
// itself failed, and says nothing about what is published: it is never the same as "no sources". A
// data directory in which nothing was published yet has none, without an error.
func LoadSources(dataDir string) ([]Source, []Problem, error) {
	if _, err := os.Stat(dataDir); err != nil {
		return nil, nil, fmt.Errorf("list the catalog: %w", err)
	}
	entries, err := os.ReadDir(SourcesDir(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the catalog: %w", err)
	}
	var sources []Source
	var problems []Problem
	for _, e := range entries {
		name, isDoc := strings.CutSuffix(e.Name(), ".json")
		if !isDoc || strings.HasPrefix(name, ".") {
			continue
		}
		s, err := LoadSource(dataDir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed since it was listed
		case err != nil:
			problems = append(problems, Problem{
				Code:    ProblemUnreadable,
				Message: fmt.Sprintf("the catalog document of source %q cannot be read; rebuild the source to write it anew", name),
			})
		default:
			sources = append(sources, s)
		}
	}
	sort.Slice(sources, func(i, j int) bool { return sources[i].Name < sources[j].Name })
	return sources, problems, nil
}

// LoadSource reads the published document of one source. The error wraps fs.ErrNotExist where the
// source is not published.
func LoadSource(dataDir, name string) (Source, error) {
	if err := ValidSourceName(name); err != nil {
		return Source{}, err
	}
	raw, err := os.ReadFile(SourcePath(dataDir, name))
	if err != nil {
		return Source{}, fmt.Errorf("read the catalog of source %s: %w", name, err)
	}
	var s Source
	if err := json.Unmarshal(raw, &s); err != nil {
		return Source{}, fmt.Errorf("read the catalog of source %s: %w", name, err)
	}
	if s.Name != name {
		return Source{}, fmt.Errorf("read the catalog of source %s: the document is that of %q", name, s.Name)
	}
	if err := checkPaths(s); err != nil {
		return Source{}, fmt.Errorf("read the catalog of source %s: %w", name, err)
	}
	return s, nil
}

// SaveSource publishes the document of a source: readers see the old one or the new one, whole. It
// returns after the new one is on the disk.
func SaveSource(dataDir string, s Source) error {
	if err := ValidSourceName(s.Name); err != nil {
		return err
	}
	if err := checkPaths(s); err != nil {
		return fmt.Errorf("publish source %s: %w", s.Name, err)
	}
	raw, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("publish source %s: %w", s.Name, err)
	}
	if err := replaceFile(dataDir, SourcePath(dataDir, s.Name), append(raw, '\n')); err != nil {
		return fmt.Errorf("publish source %s: %w", s.Name, err)
	}
	return nil
}

// RemoveSource takes a source out of the catalog; a source that is not there is none already.
func RemoveSource(dataDir, name string) error {
	if err := ValidSourceName(name); err != nil {
		return err
	}
	err := os.Remove(SourcePath(dataDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(SourcesDir(dataDir))
	}
	if err != nil {
		return fmt.Errorf("remove source %s: %w", name, err)
	}
	return nil
}

// checkPaths refuses a part outside the data directory, whoever wrote it.
func checkPaths(s Source) error {
	for _, t := range s.Tables {
		for _, p := range t.Parts {
			if !ValidPartPath(p.Path) {
				return fmt.Errorf("table %q: the path %q of a part is not inside the data directory", t.Name, p.Path)
			}
		}
	}
	return nil
}

// ValidPartPath tells whether p is a clean relative path with forward slashes that stays inside the
// folder it is relative to.
func ValidPartPath(p string) bool {
	return p != "" && p != "." && !strings.ContainsAny(p, "\\\x00") && path.Clean(p) == p && filepath.IsLocal(filepath.FromSlash(p))
}

// replaceTries bounds how often a scratch file is written anew that somebody's sweep took away.
const replaceTries = 3

// replaceFile writes a small file of a data directory whole: aside under tmp/, synced, renamed over
// target, the folder synced. Readers see the old content or the new one, also after a power cut.
func replaceFile(dataDir, target string, content []byte) error {
	scratch := filepath.Join(dataDir, "tmp")
	for _, d := range []string{scratch, filepath.Dir(target)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	var err error
	for range replaceTries {
		err = replaceOnce(scratch, target, content)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(target))
}

func replaceOnce(scratch, target string, content []byte) error {
	f, err := os.CreateTemp(scratch, filepath.Base(target)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), target)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// syncDir makes renames and removals in a folder survive a power cut. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
