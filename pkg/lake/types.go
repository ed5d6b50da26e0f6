package lake

import (
	"fmt"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// typeWords are DuckDB's names of the types without parameters.
var typeWords = map[mapping.Type]string{
	mapping.TypeBoolean: "BOOLEAN", mapping.TypeTinyInt: "TINYINT", mapping.TypeSmallInt: "SMALLINT", mapping.TypeInteger: "INTEGER",
	mapping.TypeBigInt: "BIGINT", mapping.TypeUTinyInt: "UTINYINT", mapping.TypeUSmallInt: "USMALLINT", mapping.TypeUInteger: "UINTEGER",
	mapping.TypeUBigInt: "UBIGINT", mapping.TypeFloat: "FLOAT", mapping.TypeDouble: "DOUBLE", mapping.TypeTimestamp: "TIMESTAMP",
	mapping.TypeDate: "DATE", mapping.TypeTime: "TIME", mapping.TypeInterval: "INTERVAL", mapping.TypeHugeInt: "HUGEINT",
	mapping.TypeUHugeInt: "UHUGEINT", mapping.TypeVarchar: "VARCHAR", mapping.TypeBlob: "BLOB", mapping.TypeTimestampS: "TIMESTAMP_S",
	mapping.TypeTimestampMS: "TIMESTAMP_MS", mapping.TypeTimestampNS: "TIMESTAMP_NS", mapping.TypeUUID: "UUID", mapping.TypeTimeTZ: "TIME WITH TIME ZONE",
	mapping.TypeTimestampTZ: "TIMESTAMP WITH TIME ZONE", mapping.TypeBit: "BIT", mapping.TypeBigNum: "BIGNUM", mapping.TypeSQLNull: `"NULL"`,
	mapping.TypeTimeNS: "TIME_NS", mapping.TypeGeometry: "GEOMETRY", mapping.TypeVariant: "VARIANT",
}

// typeName is what DuckDB calls a type. The values of an enumeration are left off.
func typeName(t mapping.LogicalType) string {
	if alias := mapping.LogicalTypeGetAlias(t); alias != "" {
		return alias
	}
	id := mapping.GetTypeId(t)
	if word, ok := typeWords[id]; ok {
		return word
	}
	switch id {
	case mapping.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", mapping.DecimalWidth(t), mapping.DecimalScale(t))
	case mapping.TypeEnum:
		return "ENUM"
	case mapping.TypeList:
		return childName(mapping.ListTypeChildType(t)) + "[]"
	case mapping.TypeArray:
		return fmt.Sprintf("%s[%d]", childName(mapping.ArrayTypeChildType(t)), mapping.ArrayTypeArraySize(t))
	case mapping.TypeMap:
		return "MAP(" + childName(mapping.MapTypeKeyType(t)) + ", " + childName(mapping.MapTypeValueType(t)) + ")"
	case mapping.TypeStruct:
		fields := make([]string, mapping.StructTypeChildCount(t))
		for i := range fields {
			at := mapping.IdxT(i)
			fields[i] = fieldName(mapping.StructTypeChildName(t, at)) + " " + childName(mapping.StructTypeChildType(t, at))
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	case mapping.TypeUnion:
		fields := make([]string, mapping.UnionTypeMemberCount(t))
		for i := range fields {
			at := mapping.IdxT(i)
			fields[i] = fieldName(mapping.UnionTypeMemberName(t, at)) + " " + childName(mapping.UnionTypeMemberType(t, at))
		}
		return "UNION(" + strings.Join(fields, ", ") + ")"
	}
	return "UNKNOWN"
}

// childName names a type that the caller owns, and gives it back.
func childName(t mapping.LogicalType) string {
	defer mapping.DestroyLogicalType(&t)
	return typeName(t)
}

// fieldName quotes a field where DuckDB would.
func fieldName(name string) string {
	for i, r := range name {
		if r != '_' && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return QuoteIdent(name)
		}
	}
	if name == "" {
		return QuoteIdent(name)
	}
	return name
}
