package extract

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/catalog"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func keyed() *agnesv1.RegisteredTable {
	return &agnesv1.RegisteredTable{Name: "t", Source: "src", PrimaryKey: []string{"ID"}}
}

const manyRows = 300_000

func keyedRows(where, tail string) string {
	return fmt.Sprintf("SELECT i AS id, 'name ' || hash(i) AS name, (i * 7) %% 1000 AS amount FROM range(%d) r(i) WHERE %s %s", manyRows, where, tail)
}

func partSet(parts []catalog.Part) map[string]bool {
	set := map[string]bool{}
	for _, p := range parts {
		set[p.SHA256] = true
	}
	return set
}

// A small change touches few parts, and everything else keeps its bytes.
func TestSegmentsOfASmallChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("t", keyedRows("i % 10 <> 5", ""))
	mustRun(t, runConfig(dir, src, keyed()))
	base := mustTable(t, mustVersion(t, dir), "t")
	if n := len(base.Parts); n < 4 || n > 128 {
		t.Fatalf("%d parts", n)
	}
	all := "i % 10 <> 5"
	changes := map[string]string{
		"append":           keyedRows(all, "UNION ALL SELECT 300000 + i, 'new', 1 FROM range(500) r(i)"),
		"update one row":   keyedRows(all+" AND i <> 150001", "UNION ALL SELECT 150001, 'other', 2"),
		"insert in middle": keyedRows(all+" OR i BETWEEN 150000 AND 150100", ""),
		"delete ten":       keyedRows(all+" AND i NOT BETWEEN 1000 AND 1009", ""),
	}
	for name, query := range changes {
		src.query("t", query)
		o := mustOutcome(t, mustRun(t, runConfig(dir, src, keyed())), "t", OutcomeUpdated)
		after := mustTable(t, mustVersion(t, dir), "t")
		old, changed := partSet(base.Parts), 0
		for sha := range partSet(after.Parts) {
			if !old[sha] {
				changed++
			}
		}
		if changed < 1 || changed > 3 || int(o.GetPartsWritten()) != changed || int(o.GetPartsReused()) != len(after.Parts)-changed {
			t.Errorf("%s: %d of %d parts changed, outcome %v", name, changed, len(after.Parts), o)
		}
		src.query("t", keyedRows(all, ""))
		mustRun(t, runConfig(dir, src, keyed()))
		if back := mustTable(t, mustVersion(t, dir), "t"); back.Fingerprint != base.Fingerprint {
			t.Errorf("%s: taken back, the table is another one", name)
		}
	}
}

// Equal rows give equal bytes: in any order, on any number of threads, with duplicate and missing keys.
func TestSegmentsAreDeterministic(t *testing.T) {
	t.Parallel()
	src := &scripted{}
	var prints []string
	for i, order := range []string{"ORDER BY id", "ORDER BY name", "ORDER BY hash(id)", "ORDER BY amount DESC"} {
		dir := t.TempDir()
		src.query("t", "SELECT * FROM ("+keyedRows("true", "UNION ALL SELECT i, 'twin ' || i, 5 FROM range(500) r(i) UNION ALL SELECT NULL, 'none ' || i, 1 FROM range(300) r(i)")+") "+order)
		cfg := runConfig(dir, src, keyed())
		cfg.Threads = i + 1
		mustRun(t, cfg)
		table := mustTable(t, mustVersion(t, dir), "t")
		if table.Rows != manyRows+800 {
			t.Fatalf("%d rows", table.Rows)
		}
		prints = append(prints, table.Fingerprint)
		last := table.Files[len(table.Files)-1]
		if got := ask(t, "SELECT count(*) FROM read_parquet('"+last+"') WHERE id IS NULL"); got != "300" {
			t.Fatalf("missing keys do not stand last: %s", got)
		}
	}
	for _, p := range prints {
		if p != prints[0] {
			t.Fatalf("equal rows gave different parts: %v", prints)
		}
	}
}

func TestModulusBoundsTheParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.Int64Range(0, 1<<40).Draw(t, "rows")
		width := rapid.Int64Range(0, 1<<24).Draw(t, "width")
		m := modulus(rows, width)
		if m == 0 {
			if rows >= 2*maxSegmentFloor {
				t.Fatalf("%d rows in one part", rows)
			}
			return
		}
		if m&(m-1) != 0 || rows/m > segmentsAim || (m > maxSegmentFloor && rows/(m/2) <= segmentsAim) {
			t.Fatalf("modulus(%d, %d) = %d", rows, width, m)
		}
	})
}

func TestKeyOfAColumnThatIsNotThere(t *testing.T) {
	t.Parallel()
	src := &scripted{}
	src.query("t", "SELECT 1 AS other")
	o := mustOutcome(t, mustRun(t, runConfig(t.TempDir(), src, keyed())), "t", OutcomeFailed)
	if o.GetErrorKind() != "invalid" || o.GetError() == "" {
		t.Fatalf("outcome %v", o)
	}
}
