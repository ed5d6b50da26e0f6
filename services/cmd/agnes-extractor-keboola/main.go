// Command agnes-extractor-keboola extracts the tables of Keboola projects.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/extractor/keboola"
)

func main() { service.Main("agnes-extractor-keboola", keboola.Run) }
