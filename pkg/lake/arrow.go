//go:build duckdb_arrow

package lake

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/duckdb/duckdb-go/v2/arrowmapping"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// arrowConverter lets DuckDB write Arrow itself, and shares the memory.
type arrowConverter struct {
	options arrowmapping.ArrowOptions
	fields  *arrow.Schema
}

func newConverter(result *mapping.Result, types []mapping.LogicalType, names []string) (converter, error) {
	c := &arrowConverter{options: arrowmapping.ResultGetArrowOptions(result)}
	schema, failed := arrowmapping.NewArrowSchema(c.options, types, names)
	if err := errorData(failed); err != nil {
		c.close()
		return nil, err
	}
	c.fields = schema
	return c, nil
}

func (c *arrowConverter) schema() *arrow.Schema { return c.fields }

func (c *arrowConverter) batch(chunk mapping.DataChunk) (arrow.RecordBatch, error) {
	batch, failed := arrowmapping.DataChunkToArrowArray(c.options, c.fields, chunk)
	if err := errorData(failed); err != nil {
		return nil, err
	}
	return batch, nil
}

func (c *arrowConverter) close() { arrowmapping.DestroyArrowOptions(&c.options) }

func errorData(data mapping.ErrorData) error {
	defer mapping.DestroyErrorData(&data)
	if !mapping.ErrorDataHasError(data) {
		return nil
	}
	return scrubText(mapping.ErrorDataMessage(data))
}
