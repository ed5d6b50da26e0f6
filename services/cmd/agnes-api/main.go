// Command agnes-api is the front door: REST, queries, downloads, the registry and who may do what.
package main

import (
	"context"

	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api"
)

func main() {
	run := func(ctx context.Context, cfg api.Config) error {
		cfg.Own = api.Own()
		return api.Run(ctx, cfg)
	}
	service.Main("agnes-api", run, api.Processes()...)
}
