package extract

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/disktest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// below gives the hash of every file below the folder of the source.
func below(t *testing.T, dataDir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(SourceDir(dataDir, "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		digest, err := lake.HashFile(path)
		found[path] = digest.SHA256
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func noise(rows int) string {
	return "SELECT i, md5(CAST(i AS VARCHAR)) || sha256(CAST(i AS VARCHAR)) AS noise FROM (SELECT unnest(range(" + strconv.Itoa(rows) + ")) AS i)"
}

// A full disk in any phase of a run leaves what stands as it is, byte for byte, is named by the outcome, and
// leaves nothing behind; with space again the next run goes well.
func TestAFullDiskKeepsWhatStands(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leave int64
		rows  int
		write func(rows int) func(ctx context.Context, t TableSpec, w *TableWriter) error
	}{
		"in the copy":            {leave: 256 << 10, rows: 100_000},
		"in the first byte":      {leave: 0, rows: 1_000},
		"in the stage of Append": {leave: 300 << 10, rows: 20_000, write: appended},
		"where it is foreseen":   {leave: 1 << 20, rows: 500, write: foreseen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := disktest.Small(t, "32m")
			s := &scripted{}
			s.query("small", "SELECT 1 AS x")
			s.query("grows", noise(100))
			cfg := runConfig(dir, s, register("small", "grows")...)
			cfg.Grace = -1
			mustRun(t, cfg)
			before := below(t, dir)

			ballast := disktest.Fill(t, dir, c.leave)
			write := c.write
			if write == nil {
				write = func(rows int) func(context.Context, TableSpec, *TableWriter) error {
					return func(ctx context.Context, _ TableSpec, w *TableWriter) error { return w.Query(ctx, noise(rows), 0) }
				}
			}
			s.set("grows", write(c.rows))
			ready, err := Run(t.Context(), cfg)
			if why := whyNot(ready, err, "grows"); !strings.Contains(why, "the disk of the data directory") || !strings.Contains(why, "free space") {
				t.Errorf("%q", why)
			}
			if err == nil && mustOutcome(t, ready, "grows", OutcomeFailed).GetErrorKind() != string(fault.Unavailable) {
				t.Errorf("%v", ready)
			}
			for path, hash := range before {
				if now := below(t, dir)[path]; now != hash {
					t.Errorf("%s is no longer what it was", filepath.Base(path))
				}
			}
			if rows := mustTable(t, mustVersion(t, dir), "grows").Rows; rows != 100 {
				t.Errorf("%d rows stand, not 100", rows)
			}
			if left, err := os.ReadDir(scratchRoot(dir)); err != nil || len(left) > 0 {
				t.Errorf("left in scratch: %v, %v", left, err)
			}

			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			s.query("grows", noise(c.rows))
			mustOutcome(t, mustRun(t, cfg), "grows", OutcomeUpdated)
			if rows := mustTable(t, mustVersion(t, dir), "grows").Rows; rows != int64(c.rows) {
				t.Errorf("%d rows stand, not %d", rows, c.rows)
			}
		})
	}
}

// whyNot is what a user reads of a run that did not go well for a table.
func whyNot(ready *agnesv1.ExtractReady, err error, table string) string {
	if err != nil {
		return sentence(err)
	}
	for _, o := range ready.GetTables() {
		if o.GetTable() == table {
			return o.GetError()
		}
	}
	return ""
}

func appended(rows int) func(context.Context, TableSpec, *TableWriter) error {
	return func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		if err := w.Columns(ctx, []catalog.Column{{Name: "i", Type: "BIGINT"}, {Name: "noise", Type: "VARCHAR"}}); err != nil {
			return err
		}
		for i := range rows {
			if err := w.Append(ctx, i, shortHash(strconv.Itoa(i))+shortHash(strconv.Itoa(-i))); err != nil {
				return err
			}
		}
		return nil
	}
}

func foreseen(int) func(context.Context, TableSpec, *TableWriter) error {
	return func(_ context.Context, _ TableSpec, w *TableWriter) error { return w.Room(2 << 20) }
}
