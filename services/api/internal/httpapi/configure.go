package httpapi

import (
	"context"
	"net/http"
)

// SetupBody is what an administrator configures. What is missing or null stays as it is.
type SetupBody struct {
	DataSource       string `json:"data_source,omitempty" nullable:"true" enum:"keboola,bigquery,local" doc:"Where data comes from; local for files only." example:"keboola"`
	KeboolaToken     string `json:"keboola_token,omitempty" nullable:"true" maxLength:"2000" doc:"A Storage API token. It is kept apart from the configuration and never shown."`
	KeboolaURL       string `json:"keboola_url,omitempty" nullable:"true" maxLength:"2000" doc:"The address of the stack." example:"https://connection.example.com"`
	BigQueryProject  string `json:"bigquery_project,omitempty" nullable:"true" maxLength:"100" doc:"The id of the project." example:"example-project-1"`
	BigQueryLocation string `json:"bigquery_location,omitempty" nullable:"true" maxLength:"40" doc:"The location of its datasets." example:"EU"`
	InstanceName     string `json:"instance_name,omitempty" nullable:"true" maxLength:"200" doc:"What the installation is called." example:"Agnes"`
	AllowedDomain    string `json:"allowed_domain,omitempty" nullable:"true" maxLength:"2000" doc:"Domains, separated by commas, whose people may sign up by themselves." example:"example.com"`
	DryRun           bool   `json:"dry_run,omitempty" doc:"Check and test, and write nothing."`
}

type configQuestion struct{ Body SetupBody }

// SetupDone tells what was tested, and what is different now.
type SetupDone struct {
	Status     string   `json:"status" doc:"Always ok." example:"ok"`
	DataSource string   `json:"data_source" doc:"Where data comes from now." example:"keboola"`
	Connection string   `json:"connection" enum:"verified,not tested,local" doc:"verified only where it was really tried."`
	Tested     []string `json:"tested" doc:"What was tried, and what it showed."`
	Changed    []string `json:"changed" doc:"The settings that are different now; in a dry run: that would be."`
	Restart    []string `json:"restart" doc:"The services that take it over when they are started again; empty where all have it already."`
	DryRun     bool     `json:"dry_run" doc:"Whether nothing was written."`
}

type configAnswer struct{ Body SetupDone }

// SetupNow is what is configured.
type SetupNow struct {
	Current map[string]string `json:"current" doc:"Setting → value; secrets as \"set\" or empty."`
}

type configNowAnswer struct{ Body SetupNow }

func (s *Server) configureRoutes() {
	const path = "/api/admin/configure"
	add(s, Admin, op{
		method: http.MethodGet, path: path, id: "configuration", tag: tagConfig, summary: "What is configured",
		text: "What holds now, of that which can be configured here. Secrets are shown as set.",
	}, s.configuration)
	add(s, Admin, op{
		method: http.MethodPost, path: path, id: "configure", audit: "config.update", tag: tagConfig, summary: "Configure the installation",
		text:   "A connection is tried before anything is written; where that fails, or a value is refused, nothing changes. It takes effect at once, except for the services that `restart` names.",
		errors: []int{http.StatusConflict},
	}, s.configure)
}

func (s *Server) configuration(ctx context.Context, _ *none) (*configNowAnswer, error) {
	now, err := s.configurer.Current(ctx)
	return &configNowAnswer{Body: SetupNow{Current: now.Current}}, err
}

func (s *Server) configure(ctx context.Context, in *configQuestion) (*configAnswer, error) {
	b := in.Body
	noteResource(ctx, "config", "instance")
	noteParam(ctx, "dry_run", b.DryRun)
	done, err := s.configurer.Configure(ctx, callerOf(ctx), Setup(b))
	if err != nil {
		return nil, err
	}
	noteParam(ctx, "changed", done.Changed)
	noteParam(ctx, "connection", done.Connection)
	return &configAnswer{Body: SetupDone{
		Status: ResultOK, DataSource: done.Current["data_source"], Connection: done.Connection,
		Tested: orEmpty(done.Tested), Changed: orEmpty(done.Changed), Restart: orEmpty(done.Restart), DryRun: b.DryRun,
	}}, nil
}
