package answer

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// arrowStream is Arrow's IPC stream.
type arrowStream struct{ writer *ipc.Writer }

func newArrow(r *lake.Result, out *sink) encoder {
	return &arrowStream{writer: ipc.NewWriter(out, ipc.WithSchema(r.Schema()), ipc.WithAllocator(memory.DefaultAllocator))}
}

func (*arrowStream) begin() error { return nil }

func (e *arrowStream) batch(b arrow.RecordBatch) error { return e.writer.Write(b) }

func (e *arrowStream) end(int64, bool) error { return e.writer.Close() }

func (*arrowStream) close() {}

// parquetFile is a parquet file. What parquet or its writer cannot hold (unions, intervals, arrays of a
// fixed size) is written as text.
type parquetFile struct {
	out    *sink
	result *lake.Result
	schema *arrow.Schema
	texts  []bool // columns that are written as text
	writer *pqarrow.FileWriter
}

// parquetGroup is how many rows a row group has.
const parquetGroup = 122_880

// fastest is the level of zstd that compresses least.
const fastest = 1

func newParquet(r *lake.Result, out *sink) encoder {
	return &parquetFile{out: out, result: r}
}

func (e *parquetFile) begin() error {
	fields := e.result.Schema().Fields()
	e.texts = make([]bool, len(fields))
	for i, name := range uniqueNames(e.result.Columns()) {
		fields[i].Name = name
		duck := e.result.Columns()[i].Type
		if !fits(fields[i].Type) || duck == "UHUGEINT" || duck == "BIT" || duck == "BIGNUM" {
			e.texts[i] = true
			fields[i].Type, fields[i].Metadata = arrow.BinaryTypes.String, arrow.Metadata{}
		}
	}
	e.schema = arrow.NewSchema(fields, nil)
	var err error
	properties := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(fastest), parquet.WithMaxRowGroupLength(parquetGroup),
		// Dictionaries pay for texts, and cost more than they save for nearly unique numbers.
		parquet.WithDictionaryDefault(false), parquet.WithStoreDecimalAsInteger(true),
	}
	for _, f := range fields {
		if id := f.Type.ID(); id == arrow.STRING || id == arrow.DICTIONARY {
			properties = append(properties, parquet.WithDictionaryFor(f.Name, true))
		}
	}
	e.writer, err = pqarrow.NewFileWriter(e.schema, plainWriter{e.out},
		parquet.NewWriterProperties(properties...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return fmt.Errorf("write parquet: %w", err)
	}
	return nil
}

// fits tells whether parquet holds values of a type.
func fits(t arrow.DataType) bool {
	switch t := t.(type) {
	case *arrow.SparseUnionType, *arrow.MonthDayNanoIntervalType, *arrow.FixedSizeListType:
		return false
	case arrow.NestedType:
		for _, f := range t.Fields() {
			if !fits(f.Type) {
				return false
			}
		}
	}
	return true
}

func (e *parquetFile) batch(b arrow.RecordBatch) error {
	columns := make([]arrow.Array, b.NumCols())
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	for i := range columns {
		if e.texts[i] {
			columns[i] = asText(b.Column(i), e.result.Columns()[i].Type)
		} else {
			columns[i] = b.Column(i)
			columns[i].Retain()
		}
	}
	record := array.NewRecordBatch(e.schema, columns, b.NumRows())
	defer record.Release()
	return e.writer.WriteBuffered(record)
}

// asText writes the values of a column as the CSV format would, without its quotes.
func asText(a arrow.Array, duck string) arrow.Array {
	plain := csvStyle
	plain.text = func(b []byte, s string) []byte { return append(b, s...) }
	plain.nested = func(b, raw []byte) []byte { return append(b, raw...) }
	value := plain.value(a, duck)
	builder := array.NewStringBuilder(memory.DefaultAllocator)
	defer builder.Release()
	var text []byte
	for row := range a.Len() {
		if a.IsNull(row) {
			builder.AppendNull()
			continue
		}
		text = value(text[:0], row)
		builder.Append(string(text))
	}
	return builder.NewArray()
}

func (e *parquetFile) end(int64, bool) error {
	err := e.writer.Close()
	e.writer = nil
	return err
}

func (e *parquetFile) close() {
	if e.writer != nil {
		e.out.discard() // the footer of half a file is of no use
		_ = e.writer.Close()
	}
}

// plainWriter hides what else a sink is.
type plainWriter struct{ io.Writer }
