package extract

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// upserting makes the table what stands with the rows of a query, and tells what that did.
func (s *scripted) upserting(query string, done *Upserted) {
	s.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) (err error) {
		*done, err = w.Upsert(ctx, query)
		return err
	})
}

// A table that changed row by row has the very parts that reading all of it anew gives it, and only those
// that hold a change were written.
func TestUpsertGivesThePartsOfAWholeReading(t *testing.T) {
	t.Parallel()
	const base = "SELECT i AS id, 'name ' || hash(i) AS name, (i * 7) % 1000 AS amount FROM range(300000) r(i)"
	for name, c := range map[string]struct {
		delta    string
		inserted int64
		most     int // parts that it may write
	}{
		"append":        {"SELECT 300000 + i AS id, 'new' AS name, 1 AS amount FROM range(20000) r(i)", 20000, 20},
		"update newest": {"SELECT 297000 + i AS id, 'other' AS name, 2 AS amount FROM range(3000) r(i)", 0, 4},
		"insert before": {"SELECT -1 - i AS id, 'first' AS name, 3 AS amount FROM range(10) r(i)", 10, 2},
		"one row":       {"SELECT 150001 AS id, 'one' AS name, 4 AS amount", 0, 1},
		"the same row":  {"SELECT 7 AS id, 'name ' || hash(7::BIGINT) AS name, 49 AS amount", 0, 0},
		"anywhere":      {"SELECT i AS id, 'random' AS name, 5 AS amount FROM range(300000) r(i) WHERE hash(i + 1) % 100 = 0", 0, 1000},
		"nothing":       {"SELECT 1 AS id, 'x' AS name, 1 AS amount WHERE false", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			src := &scripted{}
			src.query("t", base)
			mustRun(t, runConfig(dir, src, keyed()))
			before := mustTable(t, mustVersion(t, dir), "t")
			delta := "SELECT id::BIGINT AS id, name, amount::BIGINT AS amount FROM (" + c.delta + ")"
			var done Upserted
			src.upserting(delta, &done)
			o := mustRun(t, runConfig(dir, src, keyed())).GetTables()[0]
			after := mustTable(t, mustVersion(t, dir), "t")
			if done.Inserted != c.inserted || done.Rows != 300000+c.inserted || after.Rows != done.Rows {
				t.Errorf("%+v, %d rows, want %d inserted: %s", done, after.Rows, c.inserted, o.GetError())
			}
			old, fresh := partSet(before.Parts), 0
			for sha := range partSet(after.Parts) {
				if !old[sha] {
					fresh++
				}
			}
			if fresh > c.most || int(o.GetPartsWritten()) != fresh {
				t.Errorf("%d of %d parts are new, at most %d may be: %v", fresh, len(after.Parts), c.most, o)
			}
			whole := t.TempDir()
			src.query("t", "SELECT * FROM ("+base+") WHERE id NOT IN (SELECT id FROM ("+delta+")) UNION ALL FROM ("+delta+")")
			mustRun(t, runConfig(whole, src, keyed()))
			if want := mustTable(t, mustVersion(t, whole), "t"); fmt.Sprint(want.Parts) != fmt.Sprint(after.Parts) {
				t.Errorf("it has %d parts, a whole reading gives %d others", len(after.Parts), len(want.Parts))
			}
		})
	}
}

// Whatever comes in whatever order, a table is what its rows are by key.
func TestUpsertsAddUp(t *testing.T) {
	t.Parallel()
	table := &agnesv1.RegisteredTable{Name: "t", Source: "src", PrimaryKey: []string{"a", "b"}}
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // any rows will do
		dir, src, held := t.TempDir(), &scripted{}, map[string]string{}
		rows := func(most int) string {
			list := []string{"(" + strings.Repeat("NULL, ", 3) + "false)"}
			for _, n := range random.Perm(60)[:random.IntN(most)] {
				key := fmt.Sprintf("'k%d', %d", n%7, n/7)
				held[key] = []string{"NULL", "''", "'x'", "'y'"}[random.IntN(4)]
				list = append(list, "("+key+", "+held[key]+", true)")
			}
			return "SELECT a::VARCHAR AS a, b::BIGINT AS b, v::VARCHAR AS v FROM (VALUES " + strings.Join(list, ", ") + ") q(a, b, v, there) WHERE there"
		}
		src.query("t", rows(40))
		mustRun(t, runConfig(dir, src, table))
		for range 5 {
			var done Upserted
			src.upserting(rows(30), &done)
			mustRun(t, runConfig(dir, src, table))
			if done.Rows != int64(len(held)) {
				t.Fatalf("seed %d: %+v, want %d rows", seed, done, len(held))
			}
		}
		want := []string{"SELECT NULL AS a, NULL AS b, NULL AS v WHERE false"}
		for key, value := range held {
			want = append(want, "SELECT "+key+", "+value)
		}
		files := readParquet(mustTable(t, mustVersion(t, dir), "t").Files)
		wanted := "(" + strings.Join(want, " UNION ALL ") + ")"
		difference := fmt.Sprintf("SELECT count(*) FROM ((SELECT * FROM %s EXCEPT ALL SELECT * FROM %s) UNION ALL (SELECT * FROM %s EXCEPT ALL SELECT * FROM %s))", files, wanted, wanted, files)
		if n := ask(t, difference); n != "0" {
			t.Errorf("seed %d: %s rows differ", seed, n)
		}
	}
}

// A table of several parts and row groups is what a plain table is after the same changes, whatever its columns
// and keys, and whatever stood twice.
func TestUpsertsOfManyPartsAddUp(t *testing.T) {
	t.Parallel()
	const rows = 150_000
	columns := map[string]string{
		"plain":  "i AS id, 'name ' || (x % 1000) AS name, (x % 7)::DOUBLE AS amount, x % 3 = 0 AS flag, NULL::INTEGER AS none",
		"nested": "i AS id, {'a': x, 'b': [x, NULL]} AS s, MAP {'k': x} AS m, INTERVAL (x % 3) DAY AS period, (x / 3)::DECIMAL(18, 3) AS amount",
		"places": "i AS id, x AS file_row_number, 'text ' || x AS file_index",
		"moved":  "CASE WHEN i < 40 THEN NULL ELSE i END AS id, 'k' || i % 40 AS k, 'text ' || x AS text, x % 5 AS n",
		"twice":  "i // 2 * 2 AS id, 'text ' || i AS text, x % 9 AS n",
	}
	keys := map[string][]string{"moved": {"id", "k"}}
	for name, list := range columns {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := keys[name]
			if key == nil {
				key = []string{"id"}
			}
			table := &agnesv1.RegisteredTable{Name: "t", Source: "src", PrimaryKey: key}
			dir, src, db := t.TempDir(), &scripted{}, memoryDB(t)
			first := fmt.Sprintf("SELECT %s FROM (SELECT i, i * 7 AS x FROM range(%d) r(i))", list, rows)
			src.query("t", first)
			mustRun(t, runConfig(dir, src, table))
			mustExec(t, db, "CREATE TABLE model AS "+first)
			for round, changed := range []string{
				"i % 100 = 7 AND i < 150000", "i % 997 = 1 AND i < 160000", "hash(i) % 50 = 0 AND i < 150000", "i = 70000 OR i = 39", "i >= 149000 AND i < 149500",
			} {
				delta := fmt.Sprintf("SELECT DISTINCT ON (%[1]s) * FROM (SELECT %[2]s FROM (SELECT i, i * 7 + CASE WHEN i %% 3 = 0 THEN 0 ELSE %[3]d END AS x FROM range(160000) r(i) WHERE %[4]s)) ORDER BY ALL",
					strings.Join(key, ", "), list, round+1, changed)
				mustExec(t, db, "CREATE OR REPLACE TABLE delta AS "+delta)
				var same []string
				for _, k := range key {
					same = append(same, "model."+k+" IS NOT DISTINCT FROM delta."+k)
				}
				mustExec(t, db, "DELETE FROM model WHERE EXISTS (SELECT 1 FROM delta WHERE "+strings.Join(same, " AND ")+")")
				mustExec(t, db, "INSERT INTO model FROM delta")
				var done Upserted
				src.upserting(delta, &done)
				o := mustRun(t, runConfig(dir, src, table)).GetTables()[0]
				if o.GetOutcome() == OutcomeFailed {
					t.Fatalf("round %d: %v", round, o)
				}
				after := mustTable(t, mustVersion(t, dir), "t")
				if len(after.Parts) < 3 {
					t.Fatalf("%d parts are not many", len(after.Parts))
				}
				files := readParquet(after.Files)
				const text = "SELECT CAST(to_json(q) AS VARCHAR) FROM "
				var n int64
				query := fmt.Sprintf("SELECT count(*) FROM ((%[1]s %[2]s q EXCEPT ALL %[1]s model q) UNION ALL (%[1]s model q EXCEPT ALL %[1]s %[2]s q))", text, files)
				if err := db.QueryRow(query).Scan(&n); err != nil || n != 0 {
					t.Fatalf("round %d: %d rows differ, %v", round, n, err)
				}
				order := fmt.Sprintf("SELECT count(*) FROM (SELECT (%[1]s) < lag((%[1]s)) OVER (ORDER BY file_index, file_row_number) AS wrong FROM %[2]s) WHERE wrong", key[0], files)
				if name != "places" {
					if err := db.QueryRow(order).Scan(&n); err != nil || n != 0 {
						t.Fatalf("round %d: %d rows are out of order, %v", round, n, err)
					}
				}
			}
		})
	}
}

// A part that is not laid out as it would be written is written whole.
func TestUpsertRewritesPartsOfAnotherLayout(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), &scripted{}
	part := func(from, to int) PartQuery {
		return PartQuery{SQL: fmt.Sprintf("SELECT i AS id, 'a' AS name FROM range(%d, %d) r(i) ORDER BY id", from, to), RowBytes: 20}
	}
	src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		_, err := w.WritePart(ctx, part(0, 5000))
		return err
	})
	mustRun(t, runConfig(dir, src, keyed()))
	src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		extended, err := w.ExtendPart(ctx, 0, part(5000, 5100))
		if !extended {
			t.Error("the part was not extended")
		}
		return err
	})
	mustRun(t, runConfig(dir, src, keyed()))
	var done Upserted
	src.upserting("SELECT * FROM (VALUES (7::BIGINT, 'b'), (5050::BIGINT, 'b')) v(id, name)", &done)
	mustOutcome(t, mustRun(t, runConfig(dir, src, keyed())), "t", OutcomeUpdated)
	files := readParquet(mustTable(t, mustVersion(t, dir), "t").Files)
	if got := ask(t, "SELECT count(*) || ' ' || CAST(list(id ORDER BY id) FILTER (name = 'b') AS VARCHAR) FROM "+files); got != "5100 [7, 5050]" {
		t.Errorf("%s, %+v", got, done)
	}
}

// What compares as equal need not be the same: a value that changed only so is changed, all the same.
func TestUpsertTellsZerosApart(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), &scripted{}
	src.query("t", "SELECT i AS id, i / 3 AS amount FROM range(5000) r(i)")
	mustRun(t, runConfig(dir, src, keyed()))
	var done Upserted
	src.upserting("SELECT 0::BIGINT AS id, '-0.0'::DOUBLE AS amount", &done)
	mustOutcome(t, mustRun(t, runConfig(dir, src, keyed())), "t", OutcomeUpdated)
	files := readParquet(mustTable(t, mustVersion(t, dir), "t").Files)
	if got := ask(t, "SELECT list(id) FROM "+files+" WHERE signbit(amount)"); got != "[0]" {
		t.Errorf("%s", got)
	}
}

// Columns that did not change are not written anew, which the work of a merge is measured by.
func TestUpsertWritesTheColumnsThatChanged(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), &scripted{}
	src.query("t", "SELECT i AS id, 'name ' || hash(i) AS name, (i * 7) % 1000 AS amount FROM range(300000) r(i)")
	mustRun(t, runConfig(dir, src, keyed()))
	before := mustTable(t, mustVersion(t, dir), "t")
	src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
		if err := w.partwise(); err != nil {
			return err
		}
		u, err := w.newUpsert(ctx, "SELECT i AS id, 'name ' || hash(i) AS name, -1::BIGINT AS amount FROM range(300000) r(i) WHERE i % 1000 = 0")
		if err != nil {
			return err
		}
		if err := u.find(ctx); err != nil {
			return err
		}
		if len(u.touched) != len(before.Parts) {
			t.Errorf("%d parts are touched, want %d", len(u.touched), len(before.Parts))
		}
		for _, touched := range u.touched {
			if f := touched.found; !f.clear || f.cuts > 0 || fmt.Sprint(f.changed) != "[2]" {
				t.Errorf("%+v", f)
			}
		}
		return ErrUnchanged
	})
	mustRun(t, runConfig(dir, src, keyed()))
}

func TestUpsertRefusesWhatItCannotDecide(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := &scripted{}
	src.query("t", "SELECT i AS id, 'a' AS name FROM range(50) r(i)")
	mustRun(t, runConfig(dir, src, keyed()))
	before := mustTable(t, mustVersion(t, dir), "t")
	var done Upserted
	src.upserting("SELECT * FROM (VALUES (7::BIGINT, 'b'), (7::BIGINT, 'c'), (8::BIGINT, 'd')) v(id, name)", &done)
	o := mustOutcome(t, mustRun(t, runConfig(dir, src, keyed())), "t", OutcomeFailed)
	if o.GetErrorKind() != string(fault.Conflict) || !strings.Contains(o.GetError(), "primary key (ID)") {
		t.Errorf("two rows of one key: %v", o)
	}
	src.upserting("SELECT * FROM (VALUES (7::BIGINT, 'b'), (7::BIGINT, 'b')) v(id, name)", &done)
	mustOutcome(t, mustRun(t, runConfig(dir, src, keyed())), "t", OutcomeUpdated)
	if done.Given != 1 || done.Rows != 50 {
		t.Errorf("one row twice: %+v", done)
	}
	for _, query := range []string{"SELECT 7 AS id, 'b' AS name", "SELECT 7::BIGINT AS id", "SELECT 7::BIGINT AS id, 'b' AS name, 1 AS more", "SELECT 'b' AS name, 7::BIGINT AS id"} {
		src.set("t", func(ctx context.Context, _ TableSpec, w *TableWriter) error {
			if _, err := w.Upsert(ctx, query); !errors.Is(err, ErrOtherColumns) {
				t.Errorf("%s: %v", query, err)
			}
			return w.Query(ctx, query, 0) // the whole table, instead
		})
		cfg := runConfig(t.TempDir(), src, keyed())
		src2 := &scripted{}
		src2.query("t", "SELECT i AS id, 'a' AS name FROM range(50) r(i)")
		first := cfg
		first.Connector = src2.connector()
		mustRun(t, first)
		cfg.Force = true
		o := mustRun(t, cfg).GetTables()[0]
		if o.GetOutcome() != OutcomeUpdated && !strings.Contains(query, "name, 7") {
			t.Errorf("%s: %v", query, o)
		}
	}
	if after := mustTable(t, mustVersion(t, dir), "t"); after.Rows != before.Rows {
		t.Errorf("%d rows", after.Rows)
	}
}

func memoryDB(tb testing.TB) *lake.DB {
	tb.Helper()
	db, err := lake.Open(context.Background(), lake.Options{TempDir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(tb testing.TB, db *lake.DB, statement string) {
	tb.Helper()
	if _, err := db.Exec(statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}
