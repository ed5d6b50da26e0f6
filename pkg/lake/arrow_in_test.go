//go:build duckdb_arrow

package lake

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

var arrowSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "na me", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
}, nil)

// arrowBatch has the rows from..to-1.
func arrowBatch(from, to int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrowSchema)
	defer b.Release()
	for i := from; i < to; i++ {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%3 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("a text that is not inlined, number %d", i))
		}
		tags := b.Field(2).(*array.ListBuilder)
		tags.Append(true)
		for range i % 3 {
			tags.ValueBuilder().(*array.StringBuilder).Append("x")
		}
		b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
	}
	return b.NewRecordBatch()
}

// failingReader gives some batches, and then an error.
type failingReader struct {
	array.RecordReader
	err error
}

func (r failingReader) Err() error { return r.err }

func arrowReader(t *testing.T, batches, rows int) array.RecordReader {
	t.Helper()
	list := make([]arrow.RecordBatch, batches)
	for i := range list {
		list[i] = arrowBatch(i*rows, (i+1)*rows)
	}
	r, err := array.NewRecordReader(arrowSchema, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		b.Release()
	}
	t.Cleanup(r.Release)
	return r
}

func openMemory(t *testing.T) *DB {
	t.Helper()
	db, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestCopyArrowWritesWhatComes(t *testing.T) {
	t.Parallel()
	db, path := openMemory(t), filepath.Join(t.TempDir(), "out.parquet")
	columns := []catalog.Column{
		{Name: "at", Type: "TIMESTAMP WITH TIME ZONE"}, {Name: "id", Type: "DECIMAL(38,9)"}, {Name: "na me", Type: "VARCHAR"}, {Name: "tags", Type: "VARCHAR[]"},
	}
	rows, err := CopyArrow(t.Context(), db, arrowReader(t, 40, 1000), ArrowCopy{Path: path, Columns: columns, GroupRows: 2048})
	if err != nil || rows != 40_000 {
		t.Fatalf("%d rows: %v", rows, err)
	}
	got, err := ParquetColumns(t.Context(), db, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(columns, got); diff != "" {
		t.Error(diff)
	}
	var text string
	err = db.QueryRowContext(t.Context(), `SELECT concat_ws(' ', count(DISTINCT id), sum(id)::BIGINT, count("na me"), sum(len(tags)), epoch_us(max("at"))) FROM read_parquet(`+QuoteLiteral(path)+`)`).Scan(&text)
	if want := "40000 799980000 26666 39999 39999"; err != nil || text != want {
		t.Errorf("%s, not %s: %v", text, want, err)
	}
}

// TestCopyArrowOfSomeColumns: whichever they are, and in whatever order.
func TestCopyArrowOfSomeColumns(t *testing.T) {
	db := openMemory(t)
	all := []catalog.Column{{Name: "id", Type: "BIGINT"}, {Name: "na me", Type: "VARCHAR"}, {Name: "tags", Type: "VARCHAR[]"}, {Name: "at", Type: "TIMESTAMP WITH TIME ZONE"}}
	wanted := map[string]string{"id": "13", "na me": "a text that is not inlined, number 13", "tags": "[x]", "at": "1970-01-01 00:00:00.000013+00"}
	for mask := 1; mask < 1<<len(all); mask++ {
		var columns []catalog.Column
		for i := len(all) - 1; i >= 0; i-- { // not the stream's order
			if mask&(1<<i) != 0 {
				columns = append(columns, all[i])
			}
		}
		path := filepath.Join(t.TempDir(), "part.parquet")
		if rows, err := CopyArrow(t.Context(), db, arrowReader(t, 2, 10), ArrowCopy{Path: path, Columns: columns}); err != nil || rows != 20 {
			t.Fatalf("%v: %d rows, %v", columns, rows, err)
		}
		for _, c := range columns {
			var got string
			if err := db.QueryRowContext(t.Context(), "SELECT CAST("+QuoteIdent(c.Name)+" AS VARCHAR) FROM read_parquet("+QuoteLiteral(path)+") LIMIT 1 OFFSET 13").Scan(&got); err != nil || got != wanted[c.Name] {
				t.Errorf("%v: %s is %q, %v", columns, c.Name, got, err)
			}
		}
	}
	if _, err := CopyArrow(t.Context(), db, arrowReader(t, 1, 1), ArrowCopy{Path: filepath.Join(t.TempDir(), "x"), Columns: []catalog.Column{{Name: "nothing", Type: "INTEGER"}}}); err == nil {
		t.Error("a column that is not there was copied")
	}
}

func TestCopyArrowPassesTheReadersErrorOn(t *testing.T) {
	t.Parallel()
	lost := errors.New("the stream was lost")
	_, err := CopyArrow(t.Context(), openMemory(t), failingReader{arrowReader(t, 3, 10), lost}, ArrowCopy{Path: filepath.Join(t.TempDir(), "out.parquet")})
	if !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := CopyArrow(ctx, openMemory(t), arrowReader(t, 3, 10), ArrowCopy{Path: filepath.Join(t.TempDir(), "out.parquet")}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestAnArrowViewIsReadOnce(t *testing.T) {
	t.Parallel()
	db := openMemory(t)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	view, err := NewArrowView(t.Context(), conn, "v", arrowReader(t, 2, 10), nil)
	if err != nil {
		t.Fatal(err)
	}
	count := func() (n int64, err error) {
		err = conn.QueryRowContext(t.Context(), "SELECT count(*) FROM ("+view.Select()+")").Scan(&n)
		return n, err
	}
	if n, err := count(); n != 20 || err != nil || view.Err() != nil {
		t.Errorf("%d rows: %v, %v", n, err, view.Err())
	}
	if n, err := count(); err == nil || view.Err() == nil {
		t.Errorf("read twice: %d rows", n)
	}
	if err := view.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.ExecContext(t.Context(), "FROM v"); err == nil {
		t.Error("the view is still there")
	}
}
