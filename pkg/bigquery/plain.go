package bigquery

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// DuckDB knows no decimals of 256 bits, which BIGNUMERIC comes as: they become texts, which it casts.

// plainSchema is a schema without them.
func plainSchema(s *arrow.Schema) *arrow.Schema {
	fields := s.Fields()
	for i := range fields {
		fields[i].Type, fields[i].Metadata = plainType(fields[i].Type), arrow.Metadata{}
	}
	return arrow.NewSchema(fields, nil)
}

func plainType(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.Decimal256Type:
		return arrow.BinaryTypes.String
	case *arrow.ListType:
		return arrow.ListOfField(arrow.Field{Name: "item", Type: plainType(t.Elem()), Nullable: true})
	case *arrow.StructType:
		fields := make([]arrow.Field, t.NumFields())
		for i, f := range t.Fields() {
			fields[i] = arrow.Field{Name: f.Name, Type: plainType(f.Type), Nullable: true}
		}
		return arrow.StructOf(fields...)
	}
	return t
}

func plainBatch(schema *arrow.Schema, batch arrow.RecordBatch) (arrow.RecordBatch, error) {
	if int(batch.NumCols()) != schema.NumFields() {
		return nil, fmt.Errorf("%d columns, not %d", batch.NumCols(), schema.NumFields())
	}
	columns := make([]arrow.Array, batch.NumCols())
	defer func() {
		for _, c := range columns {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i := range columns {
		data := plainData(batch.Column(i).Data(), schema.Field(i).Type)
		columns[i] = array.MakeFromData(data)
		data.Release()
	}
	return array.NewRecordBatch(schema, columns, batch.NumRows()), nil
}

// plainData gives data of a type that plainType made; the caller releases it.
func plainData(from arrow.ArrayData, to arrow.DataType) arrow.ArrayData {
	if arrow.TypeEqual(from.DataType(), to) {
		from.Retain()
		return from
	}
	if _, wide := from.DataType().(*arrow.Decimal256Type); wide {
		return texts(from)
	}
	children := make([]arrow.ArrayData, len(from.Children()))
	for i, child := range from.Children() {
		switch t := to.(type) {
		case *arrow.ListType:
			children[i] = plainData(child, t.Elem())
		case *arrow.StructType:
			children[i] = plainData(child, t.Field(i).Type)
		default:
			child.Retain()
			children[i] = child
		}
	}
	data := array.NewData(to, from.Len(), from.Buffers(), children, from.NullN(), from.Offset())
	for _, c := range children {
		c.Release()
	}
	return data
}

func texts(from arrow.ArrayData) arrow.ArrayData {
	numbers := array.NewDecimal256Data(from)
	defer numbers.Release()
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Reserve(numbers.Len())
	for i := range numbers.Len() {
		if numbers.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(trimmed(numbers.ValueStr(i)))
	}
	out := b.NewArray()
	defer out.Release()
	out.Data().Retain()
	return out.Data()
}

// trimmed is a number without the zeros behind its point: BigQuery writes it so.
func trimmed(number string) string {
	end, point := len(number), -1
	for i := range number {
		if number[i] == '.' {
			point = i
		}
	}
	if point < 0 {
		return number
	}
	for end > point && (number[end-1] == '0' || number[end-1] == '.') {
		end--
	}
	return number[:end]
}
