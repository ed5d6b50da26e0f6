package answer

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/agnes-platform/agnes/pkg/lake"
)

// readAheadBatches is how many batches (of about 2,000 rows) wait between DuckDB and the encoder.
const readAheadBatches = 8

// reader reads an answer in a goroutine of its own, a few batches ahead of the encoder, so that DuckDB
// and the encoder work at the same time. It alone touches the result until close.
type reader struct {
	batches chan arrow.RecordBatch
	stop    chan struct{}
}

func readAhead(result *lake.Result) *reader {
	r := &reader{batches: make(chan arrow.RecordBatch, readAheadBatches), stop: make(chan struct{})}
	go func() {
		defer close(r.batches)
		for result.Next() {
			batch := result.RecordBatch()
			batch.Retain()
			select {
			case r.batches <- batch:
			case <-r.stop:
				batch.Release()
				return
			}
		}
	}()
	return r
}

// close waits until the result is no longer touched. Where the answer was not read to its end, quit
// ends the statement, which may be far from its next batch.
func (r *reader) close(quit context.CancelFunc) {
	close(r.stop)
	select {
	case batch, more := <-r.batches:
		if !more {
			return
		}
		batch.Release()
	default:
	}
	quit()
	for batch := range r.batches {
		batch.Release()
	}
}
