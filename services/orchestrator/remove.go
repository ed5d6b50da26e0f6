package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	// A writer that removes extract.duckdb before it renames the new one into place leaves a gap.
	goneLooks = 3
	gonePause = 150 * time.Millisecond
)

// removeIfGone takes a source out of the catalog if complete listings prove that its folder holds no
// extract any more. Whatever could not be read counts as there, and then everything stays.
func (o *Orchestrator) removeIfGone(ctx context.Context, previous catalog.Source, runIDs []string) (Result, error) {
	for range goneLooks {
		gone, err := o.verifiablyGone(previous.Name)
		if err != nil {
			return Result{}, err
		}
		if !gone {
			if previous.PublishedAt.IsZero() {
				return Result{}, fault.New(fault.Unavailable, "source %s has no extract.duckdb yet", previous.Name)
			}
			return o.publishBroken(ctx, previous, fault.New(fault.NotFound, "extract.duckdb is missing while the folder of the source holds data"), runIDs)
		}
		if !pause(ctx, gonePause) {
			return Result{}, ctx.Err()
		}
	}
	if previous.PublishedAt.IsZero() {
		return o.answerNothing(ctx, previous, runIDs)
	}
	return o.remove(ctx, previous, runIDs)
}

// verifiablyGone lists the folder of extracts and, if it is there, that of the source. The extract
// is gone where both listings succeeded and hold neither it nor any data.
func (o *Orchestrator) verifiablyGone(source string) (bool, error) {
	extracts := catalog.ExtractsDir(o.dataDir)
	entries, err := os.ReadDir(extracts)
	if err != nil {
		return false, fault.Wrap(err, fault.Unavailable, "the folder of extracts cannot be listed")
	}
	for _, e := range entries {
		if e.Name() != source {
			continue
		}
		inside, err := os.ReadDir(filepath.Join(extracts, source))
		if err != nil {
			return false, fault.Wrap(err, fault.Unavailable, "the folder of source %s cannot be listed", source)
		}
		for _, f := range inside {
			// What a connector remembers and lock files are no extract.
			if f.Name() != "raw" && !strings.HasPrefix(f.Name(), ".") {
				return false, nil
			}
		}
	}
	return true, nil
}

// answerNothing tells the runs that wait that there is nothing to publish.
func (o *Orchestrator) answerNothing(ctx context.Context, s catalog.Source, runIDs []string) (Result, error) {
	if len(runIDs) > 0 {
		if err := o.announce(ctx, "", o.announcement(s, nil, runIDs)); err != nil {
			return Result{}, fault.Wrap(err, fault.Unavailable, "the answer for source %s could not be announced", s.Name)
		}
	}
	return Result{Source: s.Name, Generation: s.Generation}, nil
}

// remove takes a source out of the catalog and announces that all its tables are gone.
func (o *Orchestrator) remove(ctx context.Context, previous catalog.Source, runIDs []string) (Result, error) {
	next := catalog.Source{Name: previous.Name, Generation: previous.Generation + 1, PublishedAt: o.now().UTC(), Version: catalog.VersionOf(nil)}
	result := Result{Source: next.Name, Generation: next.Generation, Changes: changes(previous.Tables, nil), Published: true, Removed: true}
	m := o.announcement(next, result.Changes, runIDs)
	if err := o.noteAnnouncement(m); err != nil {
		return Result{}, err
	}
	raw, err := json.Marshal(next)
	if err == nil {
		err = o.replace(o.removedPath(next.Name), raw)
	}
	if err == nil {
		o.retire(previous, next)
		err = catalog.RemoveSource(o.dataDir, next.Name)
	}
	if err != nil {
		return Result{}, fault.Wrap(err, fault.Unavailable, "source %s cannot be taken out of the catalog", next.Name)
	}
	zerolog.Ctx(ctx).Info().Int("tables", len(previous.Tables)).Msg("the source is gone and is no longer published")
	o.forget(next.Name)
	o.metrics.problemsOf(next.Name, nil)
	o.published(next.Name)
	if err := o.announce(ctx, announcementID(m), m); err != nil {
		return Result{}, fault.Wrap(err, fault.Unavailable, "the removal of source %s could not be announced", next.Name)
	}
	return result, o.dropNoted(next.Name)
}

// removedPath remembers the generation in which a source was removed, so that generations never go
// back when it returns.
func (o *Orchestrator) removedPath(source string) string {
	return filepath.Join(o.dataDir, "analytics", "removed", source+".json")
}

func (o *Orchestrator) removedAt(source string) (uint64, error) {
	raw, err := os.ReadFile(o.removedPath(source))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var s catalog.Source
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		return 0, fmt.Errorf("read in which generation source %s was removed: %w", source, err)
	}
	return s.Generation, nil
}
