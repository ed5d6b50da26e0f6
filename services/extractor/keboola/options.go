package keboola

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/internal/storage"
)

// Type of the connector.
const Type = "keboola"

// Ways in which discovered tables are named.
const (
	namesQualified = "qualified"
	namesTable     = "table"
)

// Formats of exports.
const (
	formatCSV     = "csv"
	formatParquet = "parquet"
)

// options of a source in instance.yaml; docs/connector-keboola.md describes them.
type options struct {
	StackURL string `json:"stack_url"`
	URL      string `json:"url"` // the predecessor's other name
	Token    string `json:"token"`
	TokenEnv string `json:"token_env"`

	Buckets       []string `json:"buckets"`
	Names         string   `json:"names"`
	TypeProviders []string `json:"type_providers"`
	Format        string   `json:"format"`

	// RemoteAttach lets tables stay in Keboola, for DuckDB's community extension.
	RemoteAttach bool `json:"remote_attach"`

	StorageToken string `json:"storage_token"` // the predecessor documented it
	ProjectID    any    `json:"project_id"`    // and read none of both
}

// secrets are the options that the rows do not depend on: a new token must not make all tables be read anew.
var secrets = []string{"token", "token_env", "storage_token", "project_id"}

// readOptions checks the options of a source. Errors are fault.Invalid and name the option.
func readOptions(cfg extract.SourceConfig) (options, error) {
	var o options
	if err := cfg.Decode(&o); err != nil {
		return o, err
	}
	invalid := func(option, problem string) error {
		return fault.New(fault.Invalid, "the source %s: `%s`: %s", cfg.Name, option, problem)
	}
	o.StackURL = first(o.StackURL, o.URL, os.Getenv("KEBOOLA_STACK_URL"), os.Getenv("KBC_STACK_URL"))
	if o.TokenEnv != "" && o.Token == "" {
		if o.Token = os.Getenv(o.TokenEnv); o.Token == "" {
			return o, invalid("token_env", "the environment variable "+o.TokenEnv+" is not set")
		}
	}
	o.Token = first(o.Token, o.StorageToken, os.Getenv("KEBOOLA_STORAGE_TOKEN"), os.Getenv("KBC_STORAGE_TOKEN"))
	o.TokenEnv = first(o.TokenEnv, "KEBOOLA_STORAGE_TOKEN")
	o.Names, o.Format = first(o.Names, namesQualified), first(o.Format, formatCSV)
	if o.Names != namesQualified && o.Names != namesTable {
		return o, invalid("names", "it is qualified (crm_orders) or table (orders)")
	}
	if o.Format != formatCSV && o.Format != formatParquet {
		return o, invalid("format", "it is csv or parquet")
	}
	if len(o.TypeProviders) == 0 {
		o.TypeProviders = providers
	}
	for _, b := range o.Buckets {
		if stage, name, _ := strings.Cut(b, "."); stage == "" || name == "" {
			return o, invalid("buckets", b+" is not the id of a bucket with its stage, such as in.c-crm")
		}
	}
	return o, nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return t
		}
	}
	return ""
}

// visible is a source as the runtime sees it: without its secrets.
func visible(source extract.SourceConfig) extract.SourceConfig {
	source.Options = maps.Clone(source.Options)
	for _, name := range secrets {
		delete(source.Options, name)
	}
	return source
}

// Strategies of tables.
const (
	strategyFull        = "full_refresh"
	strategyIncremental = "incremental"
	strategyPartitioned = "partitioned"
)

// tableOptions are those of a table in the registry.
type tableOptions struct {
	Columns []string        `json:"columns"`
	Where   []storage.Where `json:"where"`
	Format  string          `json:"format"`
	// PartitionBy is the column whose date tells the part that a row is in; Partition how long a part is.
	PartitionBy string `json:"partition_by"`
	Partition   string `json:"partition"`
}

// readTable checks the options of a table, for which the source's own are the default.
func (o options) readTable(spec extract.TableSpec) (tableOptions, string, error) {
	var t tableOptions
	if err := spec.Decode(&t); err != nil {
		return t, "", err
	}
	for i := range t.Where {
		if t.Where[i].Operator == "" {
			t.Where[i].Operator = "eq"
		}
		if err := t.Where[i].Valid(); err != nil {
			return t, "", fault.Wrap(err, fault.Invalid, "the table %s: %s", spec.Name, fault.Message(err))
		}
	}
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "the table "+spec.Name+": "+format, args...)
	}
	t.Format = first(t.Format, o.Format)
	if t.Format != formatCSV && t.Format != formatParquet {
		return t, "", invalid("`format` is csv or parquet")
	}
	strategy := first(spec.SyncStrategy, strategyFull)
	switch strategy {
	case strategyFull:
	case strategyIncremental:
		if len(spec.PrimaryKey) == 0 {
			return t, "", invalid("incremental needs the primary key in the registry: without one nobody can tell a changed row from a new one")
		}
	case strategyPartitioned:
		if t.PartitionBy == "" {
			return t, "", invalid("partitioned needs `partition_by`, a column with dates")
		}
		if t.Partition = first(t.Partition, "month"); !slices.Contains(extract.PartitionLengths, t.Partition) {
			return t, "", invalid("`partition` is day, week, month, quarter or year")
		}
	default:
		return t, "", invalid("the strategy %q is none of full_refresh, incremental and partitioned", strategy)
	}
	return t, strategy, nil
}
