package bigquery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Type is the word for BigQuery in `sources: [{type: …}]`, and the name of DuckDB's extension.
const Type = "bigquery"

// Environment variables of emulators, as other clients of BigQuery know them.
const (
	EnvEmulator        = "BIGQUERY_EMULATOR_HOST"
	EnvStorageEmulator = "BIGQUERY_STORAGE_EMULATOR_HOST"
	// EnvCredentials names Google's key file; the libraries read it themselves.
	EnvCredentials = "GOOGLE_APPLICATION_CREDENTIALS"
)

// Config of a Client.
type Config struct {
	// Project is the one that pays and in which jobs run.
	Project string
	// Location of jobs, such as EU; where it is empty BigQuery finds it by the tables of the query.
	Location string
	// CredentialsFile is Google's key file; empty means Application Default Credentials.
	CredentialsFile string
	// Endpoint and StorageEndpoint are an emulator's (host:port), which gets no credentials. Where only the
	// former is set, rows come by REST.
	Endpoint, StorageEndpoint string
	// Labels of every job.
	Labels map[string]string
	// Limits of waiting; zero values mean the defaults.
	Limits Limits
	// Metrics gets the client's counters; nil measures nothing.
	Metrics prometheus.Registerer
}

// Options are those of a source that are not the client's own.
type Options struct {
	// Projects whose data is read; at least one.
	Projects []Project
	// Datasets that are listed, as `dataset` or `project.dataset`; all where there are none.
	Datasets []string
	// Names of discovered tables: qualified (crm_orders) or table (orders).
	Names string
	// MaxBytesBilled bounds each query job of the source, in bytes.
	MaxBytesBilled int64
	// Streams of a table that are read side by side; zero leaves it to the client.
	Streams int
	// RemoteAttach lets tables stay in BigQuery.
	RemoteAttach bool
}

// Project whose data is read, and where it lies; an empty location is found out.
type Project struct {
	ID       string `json:"project"`
	Location string `json:"location"`
}

// UnmarshalJSON takes a project's id alone, too.
func (p *Project) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &p.ID) == nil {
		return nil
	}
	type plain Project
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(p))
}

// DefaultMaxBytesBilled bounds a query job where nothing else is configured: 100 GiB, some 0.6 USD.
const DefaultMaxBytesBilled = 100 << 30

// configFile are the options of a source in instance.yaml; docs/connector-bigquery.md describes them.
type configFile struct {
	BillingProject string            `json:"billing_project"`
	Project        string            `json:"project"`
	ProjectID      string            `json:"project_id"` // the predecessor's other name
	Projects       []Project         `json:"projects"`
	Location       string            `json:"location"`
	CredentialsEnv string            `json:"credentials_env"`
	Labels         map[string]string `json:"labels"`
	Datasets       []string          `json:"datasets"`
	Names          string            `json:"names"`
	MaxBytesBilled *int64            `json:"max_bytes_billed"`
	Streams        int               `json:"streams"`
	RemoteAttach   *bool             `json:"remote_attach"`
}

// ConfigOf reads the options of a source of the type bigquery. Those of the extractor's runtime are left out.
// Errors are fault.Invalid and name the option.
func ConfigOf(options map[string]any) (Config, Options, error) {
	options = maps.Clone(options)
	delete(options, "watch")
	delete(options, "auto_register")
	raw, err := json.Marshal(options)
	f := configFile{}
	if err == nil && len(options) > 0 {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		err = d.Decode(&f)
	}
	if err != nil {
		return Config{}, Options{}, fault.Wrap(err, fault.Invalid, "an option of BigQuery cannot be used: %s", err)
	}
	return f.read()
}

func (f configFile) read() (Config, Options, error) {
	invalid := func(option, format string, args ...any) (Config, Options, error) {
		return Config{}, Options{}, fault.New(fault.Invalid, "`%s`: %s", option, fmt.Sprintf(format, args...))
	}
	own := first(f.Project, f.ProjectID)
	if own == "" && len(f.Projects) == 0 {
		own = os.Getenv("BIGQUERY_PROJECT")
	}
	o := Options{Projects: f.Projects, Datasets: f.Datasets, Names: first(f.Names, NamesQualified), Streams: f.Streams, MaxBytesBilled: DefaultMaxBytesBilled, RemoteAttach: f.RemoteAttach == nil || *f.RemoteAttach}
	c := Config{Project: first(f.BillingProject, own), Location: first(f.Location, os.Getenv("BIGQUERY_LOCATION")), Labels: f.Labels}
	if len(o.Projects) == 0 && first(own, c.Project) != "" {
		o.Projects = []Project{{ID: first(own, c.Project), Location: c.Location}}
	}
	if len(o.Projects) == 0 {
		return invalid("project", "which project of Google's is to be read?")
	}
	c.Project = first(c.Project, o.Projects[0].ID)
	for _, id := range append([]string{c.Project}, ids(o.Projects)...) {
		if !validProject(id) {
			return invalid("project", "%q is not the id of a project", id)
		}
	}
	if o.Names != NamesQualified && o.Names != NamesTable {
		return invalid("names", "it is qualified (crm_orders) or table (orders)")
	}
	if f.MaxBytesBilled != nil {
		if o.MaxBytesBilled = *f.MaxBytesBilled; o.MaxBytesBilled <= 0 {
			return invalid("max_bytes_billed", "it is a number of bytes above 0")
		}
	}
	if o.Streams < 0 || o.Streams > maxStreams {
		return invalid("streams", "it is 1 to %d", maxStreams)
	}
	for _, d := range o.Datasets {
		if strings.Count(d, ".") > 1 || strings.Trim(d, ".") != d || d == "" {
			return invalid("datasets", "%q is neither `dataset` nor `project.dataset`", d)
		}
	}
	if f.CredentialsEnv != "" {
		if c.CredentialsFile = os.Getenv(f.CredentialsEnv); c.CredentialsFile == "" {
			return invalid("credentials_env", "the environment variable %s is not set", f.CredentialsEnv)
		}
	}
	c.Endpoint, c.StorageEndpoint = os.Getenv(EnvEmulator), os.Getenv(EnvStorageEmulator)
	return c, o, nil
}

// Ways in which discovered tables are named.
const (
	NamesQualified = "qualified"
	NamesTable     = "table"
)

func ids(projects []Project) []string {
	out := make([]string, len(projects))
	for i, p := range projects {
		out[i] = p.ID
	}
	return out
}

func first(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return t
		}
	}
	return ""
}
