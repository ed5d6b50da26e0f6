// Command agnes-extractor-bigquery extracts tables of Google BigQuery.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/extractor/bigquery"
)

func main() { service.Main("agnes-extractor-bigquery", bigquery.Run) }
