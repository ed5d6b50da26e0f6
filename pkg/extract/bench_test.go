package extract

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkPublication is what one publication costs beside its rows: a source of 11 tables of 49
// columns in 36 parts each, as a feed publishes it several times a second.
func BenchmarkPublication(b *testing.B) {
	dir := b.TempDir()
	s := &scripted{}
	var names []string
	for i := range 11 {
		name := fmt.Sprintf("table_%02d", i)
		names = append(names, name)
		s.set(name, func(ctx context.Context, t TableSpec, w *TableWriter) error {
			for part := range 36 {
				if _, err := w.WritePart(ctx, PartQuery{SQL: wideRow(part), RowBytes: 100}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	cfg := runConfig(dir, s, register(names...)...)
	mustRun(b, cfg)
	state, _, err := loadState(context.Background(), dir, "src")
	if err != nil {
		b.Fatal(err)
	}
	for name, w := range map[string]*warm{"build": nil, "build-warm": newWarm(dir, 1)} {
		b.Run(name, func(b *testing.B) {
			n, out := 0, b.TempDir()
			for b.Loop() {
				n++
				if err := buildExtract(context.Background(), w, dir, filepath.Join(out, fmt.Sprint(n)), state); err != nil {
					b.Fatal(err)
				}
			}
			if w != nil {
				w.close()
			}
		})
	}
	reader := NewReader(dir)
	defer reader.Close()
	for name, open := range map[string]func(context.Context) (*Version, error){
		"OpenVersion":      func(ctx context.Context) (*Version, error) { return OpenVersion(ctx, dir, "src") },
		"OpenVersion-warm": func(ctx context.Context) (*Version, error) { return reader.OpenVersion(ctx, "src") },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if v, err := open(context.Background()); err != nil || len(v.Tables) != len(names) {
					b.Fatal(v, err)
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
