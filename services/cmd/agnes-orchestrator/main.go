// Command agnes-orchestrator turns extracts into the published catalog.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/orchestrator"
)

func main() { service.Main("agnes-orchestrator", orchestrator.Run) }
