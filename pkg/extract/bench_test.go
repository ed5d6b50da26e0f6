package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// benchSource is a source of 11 tables of 49 columns in 36 parts each. patch gives three of them, of
// which the last part is another one.
func benchSource(b *testing.B) (cfg RunConfig, patch func()) {
	b.Helper()
	s := &scripted{}
	var names []string
	for i := range 11 {
		name := fmt.Sprintf("table_%02d", i)
		names = append(names, name)
		s.set(name, func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			for part := range 36 {
				if _, err := w.WritePart(ctx, PartQuery{SQL: wideRow(part), RowBytes: 100}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	cfg = runConfig(b.TempDir(), s, register(names...)...)
	mustRun(b, cfg)
	patched := 0
	return cfg, func() {
		patched++
		for _, name := range names[:3] {
			s.set(name, func(ctx context.Context, _ TableSpec, w *TableWriter) error {
				for part := range 35 {
					if err := w.KeepPart(part); err != nil {
						return err
					}
				}
				if err := w.TempTable(ctx, "fresh", wideRow(35+patched)); err != nil {
					return err
				}
				_, err := w.WritePart(ctx, PartQuery{SQL: "SELECT * FROM fresh", RowBytes: 100})
				return err
			})
		}
	}
}

// BenchmarkPublication is what a publication costs that changes one row in each of three tables, as a feed
// makes them several times a second: the whole run, and of it the building of extract.duckdb; and reading
// that. Cold is with a DuckDB for each.
func BenchmarkPublication(b *testing.B) {
	cfg, patch := benchSource(b)
	dir := cfg.Source.DataDir
	cfg.Tables = []string{"table_00", "table_01", "table_02"}
	cfg.memory = &memory{}
	w := newWarm(dir, 3, 512<<20)
	defer w.close()
	reader := NewReader(dir)
	defer reader.Close()
	state, _, err := loadState(context.Background(), dir, "src")
	if err != nil {
		b.Fatal(err)
	}
	built := filepath.Join(b.TempDir(), "built")
	run := func(w *warm) func(context.Context) error {
		return func(ctx context.Context) error {
			patch()
			cfg.warm = w
			ready, err := Run(ctx, cfg)
			if err == nil && !ready.GetChanged() {
				err = errors.New("nothing changed")
			}
			return err
		}
	}
	build := func(w *warm) func(context.Context) error {
		return func(ctx context.Context) error {
			return errors.Join(buildExtract(ctx, w, dir, built, state), os.Remove(built))
		}
	}
	read := func(open func(context.Context) (*Version, error)) func(context.Context) error {
		return func(ctx context.Context) error {
			v, err := open(ctx)
			if err == nil && len(v.Tables) != 11 {
				err = fmt.Errorf("%d tables", len(v.Tables))
			}
			return err
		}
	}
	for _, c := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"run/cold", run(nil)},
		{"run/warm", run(w)},
		{"build/cold", build(nil)},
		{"build/warm", build(w)},
		{"read/cold", read(func(ctx context.Context) (*Version, error) { return OpenVersion(ctx, dir, "src") })},
		{"read/warm", read(func(ctx context.Context) (*Version, error) { return reader.OpenVersion(ctx, "src") })},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.do(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// wideRow is a row of 49 columns that differs by its part.
func wideRow(part int) string {
	columns := make([]string, 49)
	for i := range columns {
		columns[i] = fmt.Sprintf("'part %d' AS column_%02d", part, i)
	}
	return "SELECT " + strings.Join(columns, ", ")
}
