package orchestrator

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// A generated part is collected when it has not been published for the grace period. The time of its
// last change is when it was last published or written, so that nothing else has to be remembered:
// the parts that a publication drops are touched before it becomes visible.

// retire starts the grace period of the generated parts that next no longer has.
func (o *Orchestrator) retire(previous, next catalog.Source) {
	keep := generatedParts(next)
	now := o.now()
	for p := range generatedParts(previous) {
		if !keep[p] {
			_ = os.Chtimes(filepath.Join(o.dataDir, filepath.FromSlash(p)), now, now)
		}
	}
}

func generatedParts(s catalog.Source) map[string]bool {
	prefix := partsDir(s.Name) + "/"
	parts := make(map[string]bool)
	for _, t := range s.Tables {
		for _, p := range t.Parts {
			if strings.HasPrefix(p.Path, prefix) {
				parts[p.Path] = true
			}
		}
	}
	return parts
}

// Collect removes the generated parts of all sources that nobody has published for the grace period.
// It never looks at extracts/, which belong to their extractors.
func (o *Orchestrator) Collect(ctx context.Context) error {
	root := catalog.DerivedDir(o.dataDir)
	sources, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !s.IsDir() || catalog.ValidSourceName(s.Name()) != nil {
			continue
		}
		if err := o.collectSource(ctx, s.Name()); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("source", s.Name()).Msg("cannot collect old parts")
		}
	}
	return nil
}

func (o *Orchestrator) collectSource(ctx context.Context, source string) error {
	unlock, err := o.lock(ctx, source)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := catalog.LoadSource(o.dataDir, source)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // an unreadable document says nothing about what it holds
	}
	s.Name = source
	keep := generatedParts(s)
	dir := filepath.Join(o.dataDir, filepath.FromSlash(partsDir(source)))
	tables, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.IsDir() {
			o.collectTable(dir, t.Name(), keep)
		}
	}
	if len(s.Tables) == 0 {
		o.collectFolder(dir)
	}
	return nil
}

func (o *Orchestrator) collectTable(dir, table string, keep map[string]bool) {
	folder := filepath.Join(dir, table)
	files, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	source := filepath.Base(dir)
	for _, f := range files {
		if keep[path.Join(partsDir(source), table, f.Name())] {
			continue
		}
		info, err := f.Info()
		if err != nil || o.now().Sub(info.ModTime()) < o.grace {
			continue
		}
		if os.Remove(filepath.Join(folder, f.Name())) == nil {
			o.metrics.collected.Inc()
		}
	}
	_ = os.Remove(folder) // succeeds only if it is empty
}

// collectFolder removes the folder of a source without generated parts.
func (o *Orchestrator) collectFolder(dir string) {
	left, err := os.ReadDir(dir)
	if err == nil && len(left) == 1 && left[0].Name() == ".inputs.json" {
		_ = os.Remove(filepath.Join(dir, ".inputs.json"))
		_ = os.Remove(dir)
	}
}
