package csv

import (
	"context"
	"sync"

	"github.com/agnes-platform/agnes/pkg/extract"
)

// Type is the word for this connector in `sources: [{type: csv}]`.
const Type = "csv"

// Connector reads files: CSV, TSV, JSON and Parquet.
var Connector = extract.Connector{Type: Type, Open: open}

// source is one open source. It holds nothing open.
type source struct {
	cfg     extract.SourceConfig
	options *sourceOptions
	// directFloor is the size in bytes from which a file is read where it lies.
	directFloor int64

	mu     sync.Mutex
	listed []table
}

// tables lists the tables, once for as long as the source is open: a run of a thousand tables does
// not read the folder a thousand times.
func (s *source) tables(ctx context.Context) ([]table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listed != nil {
		return s.listed, nil
	}
	listed, err := s.listing(ctx)
	if err != nil {
		return nil, err
	}
	s.listed = listed
	return listed, nil
}

func open(_ context.Context, cfg extract.SourceConfig) (extract.Source, error) {
	o, err := readOptions(cfg)
	if err != nil {
		return nil, err
	}
	return &source{cfg: cfg, options: o, directFloor: directFloor}, nil
}

// Close has nothing to release.
func (s *source) Close() error { return nil }
