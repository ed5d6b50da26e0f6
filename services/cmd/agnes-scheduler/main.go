// Command agnes-scheduler decides when tables are extracted.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/scheduler"
)

func main() { service.Main("agnes-scheduler", scheduler.Run) }
