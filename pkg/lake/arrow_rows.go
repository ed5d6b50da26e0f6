//go:build !duckdb_arrow

package lake

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// rowConverter builds the batches value by value. It is what a build without the tag duckdb_arrow
// has: the same batches, slower.
type rowConverter struct {
	fields  *arrow.Schema
	columns []column
}

func newConverter(_ *mapping.Result, types []mapping.LogicalType, names []string) (converter, error) {
	c := &rowConverter{columns: make([]column, len(types))}
	fields := make([]arrow.Field, len(types))
	for i, t := range types {
		var err error
		if c.columns[i], err = columnOf(t); err != nil {
			return nil, fmt.Errorf("column %q: %w", names[i], err)
		}
		fields[i] = arrow.Field{Name: names[i], Type: c.columns[i].kind, Nullable: true, Metadata: c.columns[i].metadata}
	}
	c.fields = arrow.NewSchema(fields, nil)
	return c, nil
}

func (c *rowConverter) schema() *arrow.Schema { return c.fields }

func (c *rowConverter) batch(chunk mapping.DataChunk) (arrow.RecordBatch, error) {
	rows := int(mapping.DataChunkGetSize(chunk))
	arrays := make([]arrow.Array, len(c.columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for i := range c.columns {
		b := c.columns[i].builder()
		v := viewOf(mapping.DataChunkGetVector(chunk, mapping.IdxT(i)), &c.columns[i])
		for row := range rows {
			c.columns[i].put(b, v, row)
		}
		arrays[i] = b.NewArray()
		b.Release()
	}
	return array.NewRecordBatch(c.fields, arrays, int64(rows)), nil
}

func (c *rowConverter) close() {}

// column is how vectors of one type become Arrow.
type column struct {
	kind     arrow.DataType
	metadata arrow.Metadata
	children []column
	values   []string // of an enumeration
	size     int      // of a fixed-size list
	nested   mapping.Type
	// appendTo adds the value of a row that is not null.
	appendTo func(c *column, b array.Builder, v *vectorView, row int)
}

// vectorView is the memory of a vector and those inside it.
type vectorView struct {
	data     unsafe.Pointer
	validity unsafe.Pointer // nil: nothing is null
	children []*vectorView
}

func viewOf(v mapping.Vector, c *column) *vectorView {
	view := &vectorView{data: mapping.VectorGetData(v), validity: mapping.VectorGetValidity(v)}
	switch c.nested {
	case mapping.TypeList, mapping.TypeMap:
		view.children = []*vectorView{viewOf(mapping.ListVectorGetChild(v), &c.children[0])}
	case mapping.TypeArray:
		view.children = []*vectorView{viewOf(mapping.ArrayVectorGetChild(v), &c.children[0])}
	case mapping.TypeStruct, mapping.TypeUnion:
		for i := range c.children {
			view.children = append(view.children, viewOf(mapping.StructVectorGetChild(v, mapping.IdxT(i)), &c.children[i]))
		}
	}
	return view
}

func (v *vectorView) null(row int) bool {
	if v.validity == nil {
		return false
	}
	word := *(*uint64)(unsafe.Add(v.validity, row/64*8))
	return word&(1<<(row%64)) == 0
}

func at[T any](v *vectorView, row int) T {
	var zero T
	return *(*T)(unsafe.Add(v.data, uintptr(row)*unsafe.Sizeof(zero)))
}

// text is the string or blob of a row: 16 bytes that hold up to 12 themselves, or a pointer.
func (v *vectorView) text(row int) string {
	const size, inlined = 16, 12
	p := unsafe.Add(v.data, uintptr(row)*size)
	length := int(*(*uint32)(p))
	if length <= inlined {
		return string(unsafe.Slice((*byte)(unsafe.Add(p, 4)), length))
	}
	return string(unsafe.Slice(*(**byte)(unsafe.Add(p, 8)), length))
}

func (c *column) put(b array.Builder, v *vectorView, row int) {
	switch {
	case c.nested == mapping.TypeUnion: // has no nulls of its own
		c.appendTo(c, b, v, row)
	case v.null(row):
		b.AppendNull()
	default:
		c.appendTo(c, b, v, row)
	}
}

func (c *column) builder() array.Builder {
	if c.values == nil {
		return array.NewBuilder(memory.DefaultAllocator, c.kind)
	}
	words := array.NewStringBuilder(memory.DefaultAllocator)
	defer words.Release()
	words.AppendValues(c.values, nil)
	dictionary := words.NewArray()
	defer dictionary.Release()
	kind, _ := c.kind.(*arrow.DictionaryType)
	return array.NewDictionaryBuilderWithDict(memory.DefaultAllocator, kind, dictionary)
}

// copied is a column of plain values that Arrow stores as DuckDB does.
func copied[T any, B interface{ Append(T) }](kind arrow.DataType) column {
	return column{kind: kind, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		any(b).(B).Append(at[T](v, row)) //nolint:forcetypeassert // the builder was made for kind
	}}
}

var plainColumns = map[mapping.Type]column{
	mapping.TypeBoolean:     copied[bool, *array.BooleanBuilder](arrow.FixedWidthTypes.Boolean),
	mapping.TypeTinyInt:     copied[int8, *array.Int8Builder](arrow.PrimitiveTypes.Int8),
	mapping.TypeSmallInt:    copied[int16, *array.Int16Builder](arrow.PrimitiveTypes.Int16),
	mapping.TypeInteger:     copied[int32, *array.Int32Builder](arrow.PrimitiveTypes.Int32),
	mapping.TypeBigInt:      copied[int64, *array.Int64Builder](arrow.PrimitiveTypes.Int64),
	mapping.TypeUTinyInt:    copied[uint8, *array.Uint8Builder](arrow.PrimitiveTypes.Uint8),
	mapping.TypeUSmallInt:   copied[uint16, *array.Uint16Builder](arrow.PrimitiveTypes.Uint16),
	mapping.TypeUInteger:    copied[uint32, *array.Uint32Builder](arrow.PrimitiveTypes.Uint32),
	mapping.TypeUBigInt:     copied[uint64, *array.Uint64Builder](arrow.PrimitiveTypes.Uint64),
	mapping.TypeFloat:       copied[float32, *array.Float32Builder](arrow.PrimitiveTypes.Float32),
	mapping.TypeDouble:      copied[float64, *array.Float64Builder](arrow.PrimitiveTypes.Float64),
	mapping.TypeDate:        copied[arrow.Date32, *array.Date32Builder](arrow.FixedWidthTypes.Date32),
	mapping.TypeTime:        copied[arrow.Time64, *array.Time64Builder](arrow.FixedWidthTypes.Time64us),
	mapping.TypeTimeNS:      copied[arrow.Time64, *array.Time64Builder](arrow.FixedWidthTypes.Time64ns),
	mapping.TypeTimestamp:   copied[arrow.Timestamp, *array.TimestampBuilder](&arrow.TimestampType{Unit: arrow.Microsecond}),
	mapping.TypeTimestampS:  copied[arrow.Timestamp, *array.TimestampBuilder](&arrow.TimestampType{Unit: arrow.Second}),
	mapping.TypeTimestampMS: copied[arrow.Timestamp, *array.TimestampBuilder](&arrow.TimestampType{Unit: arrow.Millisecond}),
	mapping.TypeTimestampNS: copied[arrow.Timestamp, *array.TimestampBuilder](&arrow.TimestampType{Unit: arrow.Nanosecond}),
	mapping.TypeTimestampTZ: copied[arrow.Timestamp, *array.TimestampBuilder](&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}),
	mapping.TypeVarchar: {kind: arrow.BinaryTypes.String, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		b.(*array.StringBuilder).Append(v.text(row)) //nolint:forcetypeassert // made for kind
	}},
	mapping.TypeBlob: binaryColumn(arrow.Metadata{}), mapping.TypeBit: binaryColumn(arrow.Metadata{}),
	mapping.TypeBigNum: binaryColumn(arrow.NewMetadata(
		[]string{"ARROW:extension:metadata", "ARROW:extension:name"}, []string{`{"type_name":"bignum","vendor_name":"DuckDB"}`, "arrow.opaque"})),
	mapping.TypeGeometry: binaryColumn(arrow.NewMetadata(
		[]string{"ARROW:extension:metadata", "ARROW:extension:name"}, []string{"{}", "geoarrow.wkb"})),
	mapping.TypeHugeInt: hugeColumn(), mapping.TypeUHugeInt: hugeColumn(),
	mapping.TypeSQLNull: {kind: arrow.PrimitiveTypes.Int32, appendTo: func(_ *column, b array.Builder, _ *vectorView, _ int) { b.AppendNull() }},
	mapping.TypeTimeTZ: {kind: arrow.FixedWidthTypes.Time64us, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		b.(*array.Time64Builder).Append(arrow.Time64(at[uint64](v, row) >> 24)) //nolint:forcetypeassert // made for kind
	}},
	mapping.TypeUUID: {kind: arrow.BinaryTypes.String, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		low, high := at[[2]uint64](v, row)[0], at[[2]uint64](v, row)[1]^1<<63 // stored so that it sorts as a signed number
		b.(*array.StringBuilder).Append(fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1)))
	}},
	mapping.TypeInterval: {kind: arrow.FixedWidthTypes.MonthDayNanoInterval, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		i := at[struct {
			months, days int32
			micros       int64
		}](v, row)
		b.(*array.MonthDayNanoIntervalBuilder).Append(arrow.MonthDayNanoInterval{Months: i.months, Days: i.days, Nanoseconds: i.micros * 1000})
	}},
}

func binaryColumn(metadata arrow.Metadata) column {
	return column{kind: arrow.BinaryTypes.Binary, metadata: metadata, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		b.(*array.BinaryBuilder).AppendString(v.text(row))
	}}
}

func hugeColumn() column {
	return column{kind: &arrow.Decimal128Type{Precision: 38}, appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
		words := at[[2]uint64](v, row)
		b.(*array.Decimal128Builder).Append(decimal128.New(int64(words[1]), words[0]))
	}}
}

// columnOf tells how a type becomes Arrow.
func columnOf(t mapping.LogicalType) (column, error) {
	id := mapping.GetTypeId(t)
	if c, ok := plainColumns[id]; ok {
		return c, nil
	}
	switch id {
	case mapping.TypeDecimal:
		return decimalColumn(t)
	case mapping.TypeEnum:
		return enumColumn(t), nil
	case mapping.TypeList, mapping.TypeArray:
		return listColumn(id, t)
	case mapping.TypeMap:
		return mapColumn(t)
	case mapping.TypeStruct:
		return structColumn(t)
	case mapping.TypeUnion:
		return unionColumn(t)
	}
	return column{}, fmt.Errorf("the type %s cannot be answered; cast it to VARCHAR", typeName(t))
}

func childColumn(t mapping.LogicalType) (column, error) {
	defer mapping.DestroyLogicalType(&t)
	return columnOf(t)
}

func decimalColumn(t mapping.LogicalType) (column, error) {
	stored := mapping.DecimalInternalType(t)
	return column{
		kind: &arrow.Decimal128Type{Precision: int32(mapping.DecimalWidth(t)), Scale: int32(mapping.DecimalScale(t))},
		appendTo: func(_ *column, b array.Builder, v *vectorView, row int) {
			var n decimal128.Num
			switch stored {
			case mapping.TypeSmallInt:
				n = decimal128.FromI64(int64(at[int16](v, row)))
			case mapping.TypeInteger:
				n = decimal128.FromI64(int64(at[int32](v, row)))
			case mapping.TypeBigInt:
				n = decimal128.FromI64(at[int64](v, row))
			default:
				words := at[[2]uint64](v, row)
				n = decimal128.New(int64(words[1]), words[0])
			}
			b.(*array.Decimal128Builder).Append(n)
		},
	}, nil
}

func enumColumn(t mapping.LogicalType) column {
	var index arrow.DataType
	var read func(v *vectorView, row int) int
	switch mapping.EnumInternalType(t) {
	case mapping.TypeUTinyInt:
		index, read = arrow.PrimitiveTypes.Uint8, func(v *vectorView, row int) int { return int(at[uint8](v, row)) }
	case mapping.TypeUSmallInt:
		index, read = arrow.PrimitiveTypes.Uint16, func(v *vectorView, row int) int { return int(at[uint16](v, row)) }
	default:
		index, read = arrow.PrimitiveTypes.Uint32, func(v *vectorView, row int) int { return int(at[uint32](v, row)) }
	}
	c := column{kind: &arrow.DictionaryType{IndexType: index, ValueType: arrow.BinaryTypes.String}}
	c.values = make([]string, mapping.EnumDictionarySize(t))
	for i := range c.values {
		c.values[i] = mapping.EnumDictionaryValue(t, mapping.IdxT(i))
	}
	c.appendTo = func(c *column, b array.Builder, v *vectorView, row int) {
		_ = b.(*array.BinaryDictionaryBuilder).AppendString(c.values[read(v, row)]) // it is in the dictionary
	}
	return c
}

func listColumn(id mapping.Type, t mapping.LogicalType) (column, error) {
	child := mapping.ListTypeChildType
	if id == mapping.TypeArray {
		child = mapping.ArrayTypeChildType
	}
	element, err := childColumn(child(t))
	if err != nil {
		return column{}, err
	}
	c := column{children: []column{element}, nested: id}
	field := arrow.Field{Name: "l", Type: element.kind, Nullable: true, Metadata: element.metadata}
	if id == mapping.TypeArray {
		field.Name = ""
		c.size = int(mapping.ArrayTypeArraySize(t))
		c.kind = arrow.FixedSizeListOfField(int32(c.size), field)
		c.appendTo = func(c *column, b array.Builder, v *vectorView, row int) {
			list := b.(*array.FixedSizeListBuilder)
			list.Append(true)
			for i := range c.size {
				c.children[0].put(list.ValueBuilder(), v.children[0], row*c.size+i)
			}
		}
		return c, nil
	}
	c.kind = arrow.ListOfField(field)
	c.appendTo = func(c *column, b array.Builder, v *vectorView, row int) {
		list := b.(*array.ListBuilder)
		list.Append(true)
		entry := at[[2]uint64](v, row) // offset, length
		for i := range entry[1] {
			c.children[0].put(list.ValueBuilder(), v.children[0], int(entry[0]+i))
		}
	}
	return c, nil
}

func mapColumn(t mapping.LogicalType) (column, error) {
	key, err := childColumn(mapping.MapTypeKeyType(t))
	if err != nil {
		return column{}, err
	}
	value, err := childColumn(mapping.MapTypeValueType(t))
	if err != nil {
		return column{}, err
	}
	entries := column{children: []column{key, value}, nested: mapping.TypeStruct}
	c := column{kind: arrow.MapOf(key.kind, value.kind), children: []column{entries}, nested: mapping.TypeMap}
	c.appendTo = func(c *column, b array.Builder, v *vectorView, row int) {
		m := b.(*array.MapBuilder)
		m.Append(true)
		entry, pair := at[[2]uint64](v, row), &c.children[0]
		for i := range entry[1] {
			pair.children[0].put(m.KeyBuilder(), v.children[0].children[0], int(entry[0]+i))
			pair.children[1].put(m.ItemBuilder(), v.children[0].children[1], int(entry[0]+i))
		}
	}
	return c, nil
}

func structColumn(t mapping.LogicalType) (column, error) {
	c := column{nested: mapping.TypeStruct}
	fields := make([]arrow.Field, mapping.StructTypeChildCount(t))
	for i := range fields {
		child, err := childColumn(mapping.StructTypeChildType(t, mapping.IdxT(i)))
		if err != nil {
			return column{}, err
		}
		c.children = append(c.children, child)
		fields[i] = arrow.Field{Name: mapping.StructTypeChildName(t, mapping.IdxT(i)), Type: child.kind, Nullable: true, Metadata: child.metadata}
	}
	c.kind = arrow.StructOf(fields...)
	c.appendTo = func(c *column, b array.Builder, v *vectorView, row int) {
		s := b.(*array.StructBuilder)
		s.Append(true)
		for i := range c.children {
			c.children[i].put(s.FieldBuilder(i), v.children[i], row)
		}
	}
	return c, nil
}

// unionColumn reads a union: DuckDB keeps the tag as the first child of a struct.
func unionColumn(t mapping.LogicalType) (column, error) {
	c := column{nested: mapping.TypeUnion, children: []column{plainColumns[mapping.TypeUTinyInt]}}
	fields := make([]arrow.Field, mapping.UnionTypeMemberCount(t))
	codes := make([]arrow.UnionTypeCode, len(fields))
	for i := range fields {
		child, err := childColumn(mapping.UnionTypeMemberType(t, mapping.IdxT(i)))
		if err != nil {
			return column{}, err
		}
		c.children = append(c.children, child)
		fields[i] = arrow.Field{Name: mapping.UnionTypeMemberName(t, mapping.IdxT(i)), Type: child.kind, Nullable: true, Metadata: child.metadata}
		codes[i] = arrow.UnionTypeCode(i)
	}
	c.kind = arrow.SparseUnionOf(fields, codes)
	c.appendTo = func(c *column, b array.Builder, v *vectorView, row int) {
		u := b.(*array.SparseUnionBuilder)
		tag := 0
		if !v.children[0].null(row) && !v.null(row) {
			tag = int(at[uint8](v.children[0], row))
		}
		u.Append(arrow.UnionTypeCode(tag))
		for i := range codes {
			if i == tag {
				c.children[i+1].put(u.Child(i), v.children[i+1], row)
			} else {
				u.Child(i).AppendNull()
			}
		}
	}
	return c, nil
}
