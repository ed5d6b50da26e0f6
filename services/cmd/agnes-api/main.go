// Command agnes-api is the front door: REST, queries, downloads, the registry and who may do what.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api"
)

func main() {
	service.Main("agnes-api", api.Run, service.Subcommand{Name: api.WorkerArgument, Run: api.QueryWorker})
}
