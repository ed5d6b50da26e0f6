// Command agnes-extractor-csv brings files in: CSV, TSV, JSON and Parquet.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/extractor/csv"
)

func main() { service.Main("agnes-extractor-csv", csv.Run) }
