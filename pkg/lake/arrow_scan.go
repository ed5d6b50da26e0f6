//go:build duckdb_arrow

package lake

import (
	"database/sql/driver"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/duckdb/duckdb-go/v2"
)

// registerArrow makes a view of a reader on a connection of the driver.
func registerArrow(conn any, reader array.RecordReader, name string) (release func(), err error) {
	of, ok := conn.(driver.Conn)
	if !ok {
		return nil, fmt.Errorf("%T is not a connection", conn)
	}
	a, err := duckdb.NewArrowFromConn(of)
	if err != nil {
		return nil, err
	}
	return a.RegisterView(reader, name)
}
