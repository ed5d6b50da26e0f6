package csv

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
)

// directFloor is the default of source.directFloor. What is smaller is copied into scratch in one go,
// so that what DuckDB reads cannot change.
const directFloor = 16 << 20

// changeTries is how often files that change while they are read are read again.
const changeTries = 3

// Extract reads the files of a table.
func (s *source) Extract(ctx context.Context, spec extract.TableSpec, w *extract.TableWriter) error {
	tables, err := s.tables(ctx)
	if err != nil {
		return err
	}
	t, err := find(tables, spec.Name, spec.SourceTable)
	if err != nil {
		return err
	}
	if t.problem != "" {
		return fault.New(fault.Invalid, "%s", t.problem)
	}
	options, err := t.configured.with(spec)
	if err != nil {
		return err
	}
	how, err := options.reading()
	if err != nil {
		return fault.New(fault.Invalid, "the options of the table %s: %s", spec.Name, err)
	}
	w.SetDescription(t.configured.Description)
	for try := 1; ; try++ {
		l, err := s.newLoad(spec, w, how, t.inputs)
		if err != nil {
			return err
		}
		err = s.extract(ctx, l, spec, w)
		switch {
		case !errors.Is(err, errChanged):
			return err
		case l.written || try == changeTries || len(spec.PrimaryKey) > 0:
			return fault.Wrap(err, fault.Unavailable, "%s: what was there before stays until it is at rest", strings.TrimSuffix(err.Error(), "."))
		}
		zerolog.Ctx(ctx).Info().Err(err).Msg("reading it again")
		if err := settle(ctx, t.inputs); err != nil {
			return err
		}
	}
}

// newLoad prepares one reading of the files.
func (s *source) newLoad(spec extract.TableSpec, w *extract.TableWriter, how *reading, inputs []input) (*load, error) {
	dir, err := w.ScratchDir()
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(dir, "load-")
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "there is no scratch space")
	}
	l := &load{
		engine: w, reading: how, inputs: inputs, scratch: scratch, directFloor: s.directFloor,
		workers: min(runtime.NumCPU(), 8), previous: map[string]string{},
		rejects: rejects{scratch: scratch, on: how.reject},
	}
	if spec.Previous != nil {
		l.previousColumns = spec.Previous.Columns
		for _, c := range spec.Previous.Columns {
			l.previous[strings.ToLower(c.Name)] = c.Type
		}
	}
	return l, nil
}

// extract reads the files once.
func (s *source) extract(ctx context.Context, l *load, spec extract.TableSpec, w *extract.TableWriter) error {
	defer func() { _ = os.RemoveAll(l.scratch) }()
	last := parseToken(spec.Token)
	var err error
	if l.tokens, err = look(ctx, l.inputs, last); err != nil {
		return err
	}
	if spec.Token != "" && !spec.Force {
		same, err := unchanged(ctx, l.inputs, l.tokens, last)
		if err != nil {
			return err
		}
		if same {
			return extract.ErrUnchanged
		}
	}
	if err := l.run(ctx); err != nil {
		return err
	}
	if n := l.rejects.count(); n > 0 {
		aside, err := w.Companion(naming.RejectsSuffix, "Rows of "+spec.Name+" that could not be read, and why")
		if err != nil {
			return err
		}
		if err := l.rejects.publish(ctx, aside); err != nil {
			return err
		}
		w.SetRejected(n)
	}
	w.SetToken(token{Version: tokenVersion, Files: l.tokens}.String())
	return nil
}
