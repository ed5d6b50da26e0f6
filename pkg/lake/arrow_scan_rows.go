//go:build !duckdb_arrow

package lake

import (
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// registerArrow needs the driver's own half of Arrow.
func registerArrow(any, array.RecordReader, string) (release func(), err error) {
	return nil, fault.New(fault.Permanent, "this program was built without the tag duckdb_arrow, and cannot read Arrow")
}
