package extract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// collect removes the parts of a source that nothing refers to, neither its extract.duckdb nor its
// published catalog, once they were seen so for the whole grace period. When a part was first seen
// unreferenced is remembered in the source's folder: a file's own times tell nothing about that.
// The caller holds the source's lock. Whenever what is referred to cannot be told for certain,
// nothing is removed; failures are logged, for the run that came before did succeed.
func collect(ctx context.Context, dataDir, source, scratch string, grace time.Duration, step func(string)) {
	c := collector{dataDir: dataDir, source: source, grace: max(grace, 0), now: time.Now(), step: step}
	if err := c.collect(ctx, scratch); err != nil && ctx.Err() == nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("source", source).Msg("old parts were not collected")
	}
}

type collector struct {
	dataDir, source string
	grace           time.Duration
	now             time.Time
	step            func(string)
}

func (c collector) collect(ctx context.Context, scratch string) error {
	referenced, err := c.referenced(ctx)
	if err != nil {
		return err
	}
	ages := c.ages()
	next := map[string]int64{}
	paths, err := c.parts()
	if err != nil {
		return err
	}
	for _, p := range paths {
		if referenced[p] {
			continue
		}
		first, known := ages[p]
		if !known || first > c.now.Unix() { // a clock that was set back starts anew
			first = c.now.Unix()
		}
		if c.now.Sub(time.Unix(first, 0)) < c.grace {
			next[p] = first
			continue
		}
		c.step("collect")
		if err := os.Remove(filepath.Join(c.dataDir, filepath.FromSlash(p))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an old part: %w", err)
		}
		_ = os.Remove(filepath.Dir(filepath.Join(c.dataDir, filepath.FromSlash(p)))) // where it was the last one
	}
	return c.remember(ages, next, scratch)
}

// referenced are the parts that somebody may still read.
func (c collector) referenced(ctx context.Context) (map[string]bool, error) {
	paths := map[string]bool{}
	v, err := OpenVersion(ctx, c.dataDir, c.source)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, errors.New("there is no extract to compare with")
	case err != nil:
		return nil, err
	}
	for _, p := range v.Problems {
		if p.Table == "" {
			return nil, fmt.Errorf("the extract is not fully readable: %s", p.Message)
		}
	}
	for _, t := range v.Tables {
		for _, p := range t.Parts {
			paths[p.Path] = true
		}
	}
	for _, t := range v.damaged {
		for _, p := range t.Parts {
			paths[p.Path] = true
		}
	}
	published, err := catalog.LoadSource(c.dataDir, c.source)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, t := range published.Tables {
		for _, p := range t.Parts {
			paths[p.Path] = true
		}
	}
	return paths, nil
}

// parts lists the content-named files of the source: others are not ours to remove.
func (c collector) parts() ([]string, error) {
	base := filepath.Join(SourceDir(c.dataDir, c.source), dataFolder)
	folders, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the parts: %w", err)
	}
	var paths []string
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(base, folder.Name()))
		if err != nil {
			return nil, fmt.Errorf("list the parts: %w", err)
		}
		for _, f := range files {
			if f.Type().IsRegular() && partName.MatchString(f.Name()) {
				paths = append(paths, path.Join(extractsDir, c.source, dataFolder, folder.Name(), f.Name()))
			}
		}
	}
	return paths, nil
}

func (c collector) ageFile() string { return filepath.Join(SourceDir(c.dataDir, c.source), ageFile) }

// ages reads when parts were first seen unreferenced. What cannot be read starts anew: too old is safe.
func (c collector) ages() map[string]int64 {
	raw, err := os.ReadFile(c.ageFile())
	if err != nil {
		return nil
	}
	var ages map[string]int64
	if err := json.Unmarshal(raw, &ages); err != nil {
		return nil
	}
	return ages
}

func (c collector) remember(before, now map[string]int64, scratch string) error {
	if fmt.Sprint(before) == fmt.Sprint(now) {
		return nil
	}
	raw, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("remember unreferenced parts: %w", err)
	}
	return writeAside(scratch, c.ageFile(), raw)
}

// writeAside publishes a small file by way of scratch.
func writeAside(scratch, final string, data []byte) error {
	tmp := filepath.Join(scratch, filepath.Base(final))
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(final), err)
	}
	return lake.SwapFile(tmp, final)
}
