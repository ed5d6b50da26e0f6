package bigquery

import (
	"fmt"
	"strings"

	"cloud.google.com/go/bigquery"
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// maxDigits of a number of DuckDB; BIGNUMERIC has up to 77.
const maxDigits = 38

func columnsOf(schema bigquery.Schema) []catalog.Column {
	columns := make([]catalog.Column, len(schema))
	for i, f := range schema {
		columns[i] = catalog.Column{Name: f.Name, Type: typeOf(f)}
	}
	return columns
}

// typeOf is the type of a field in DuckDB.
func typeOf(f *bigquery.FieldSchema) string {
	if f.Repeated {
		return elementType(f) + "[]"
	}
	return elementType(f)
}

var plainTypes = map[bigquery.FieldType]string{
	bigquery.StringFieldType: "VARCHAR", bigquery.BytesFieldType: "BLOB", bigquery.IntegerFieldType: "BIGINT", bigquery.FloatFieldType: "DOUBLE",
	bigquery.BooleanFieldType: "BOOLEAN", bigquery.TimestampFieldType: "TIMESTAMP WITH TIME ZONE", bigquery.DateFieldType: "DATE",
	bigquery.TimeFieldType: "TIME", bigquery.DateTimeFieldType: "TIMESTAMP", bigquery.GeographyFieldType: "VARCHAR",
	bigquery.IntervalFieldType: "INTERVAL", bigquery.JSONFieldType: "JSON",
	"INT64": "BIGINT", "FLOAT64": "DOUBLE", "BOOL": "BOOLEAN", // as some write them
}

func elementType(f *bigquery.FieldSchema) string {
	if t, ok := plainTypes[f.Type]; ok {
		return t
	}
	switch f.Type {
	case bigquery.NumericFieldType:
		if f.Precision > 0 {
			return fmt.Sprintf("DECIMAL(%d,%d)", f.Precision, f.Scale)
		}
		return "DECIMAL(38,9)"
	case bigquery.BigNumericFieldType:
		if f.Precision > 0 && f.Precision <= maxDigits {
			return fmt.Sprintf("DECIMAL(%d,%d)", f.Precision, f.Scale)
		}
		return "VARCHAR"
	case bigquery.RecordFieldType, "STRUCT":
		fields := make([]string, len(f.Schema))
		for i, child := range f.Schema {
			fields[i] = lake.QuoteIdent(child.Name) + " " + typeOf(child)
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	case bigquery.RangeFieldType:
		bound := "VARCHAR"
		if f.RangeElementType != nil {
			bound = elementType(&bigquery.FieldSchema{Type: f.RangeElementType.Type})
		}
		return `STRUCT("start" ` + bound + `, "end" ` + bound + ")"
	default:
		return "VARCHAR" // of a type that came after this
	}
}

// arrowSchema is the schema of rows that come by REST.
func arrowSchema(schema bigquery.Schema) *arrow.Schema {
	return arrow.NewSchema(arrowFields(schema), nil)
}

func arrowFields(schema bigquery.Schema) []arrow.Field {
	fields := make([]arrow.Field, len(schema))
	for i, f := range schema {
		fields[i] = arrow.Field{Name: f.Name, Type: arrowType(f), Nullable: true}
	}
	return fields
}

func arrowType(f *bigquery.FieldSchema) arrow.DataType {
	if f.Repeated {
		return arrow.ListOf(arrowElement(f))
	}
	return arrowElement(f)
}

var plainArrow = map[string]arrow.DataType{
	"VARCHAR": arrow.BinaryTypes.String, "JSON": arrow.BinaryTypes.String, "BLOB": arrow.BinaryTypes.Binary,
	"BIGINT": arrow.PrimitiveTypes.Int64, "DOUBLE": arrow.PrimitiveTypes.Float64, "BOOLEAN": arrow.FixedWidthTypes.Boolean,
	"DATE": arrow.FixedWidthTypes.Date32, "TIME": arrow.FixedWidthTypes.Time64us, "INTERVAL": arrow.FixedWidthTypes.MonthDayNanoInterval,
	"TIMESTAMP": &arrow.TimestampType{Unit: arrow.Microsecond}, "TIMESTAMP WITH TIME ZONE": &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
}

func arrowElement(f *bigquery.FieldSchema) arrow.DataType {
	if t, ok := plainArrow[elementType(f)]; ok {
		return t
	}
	switch f.Type {
	case bigquery.NumericFieldType, bigquery.BigNumericFieldType:
		if f.Precision > 0 {
			return &arrow.Decimal128Type{Precision: int32(f.Precision), Scale: int32(f.Scale)}
		}
		return &arrow.Decimal128Type{Precision: maxDigits, Scale: numericScale}
	case bigquery.RangeFieldType:
		bound := arrow.DataType(arrow.BinaryTypes.String)
		if f.RangeElementType != nil {
			bound = arrowElement(&bigquery.FieldSchema{Type: f.RangeElementType.Type})
		}
		return arrow.StructOf(arrow.Field{Name: "start", Type: bound, Nullable: true}, arrow.Field{Name: "end", Type: bound, Nullable: true})
	default:
		return arrow.StructOf(arrowFields(f.Schema)...)
	}
}

// numericScale is the number of digits of NUMERIC behind the point.
const numericScale = 9
