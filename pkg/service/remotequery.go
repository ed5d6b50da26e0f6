package service

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/goccy/go-yaml"
)

// Unlimited is the value of a limit that bounds nothing. A limit of 0 is one that was not configured.
const Unlimited = -1

// RemoteQuery bounds queries over what stays where it lives: hybrid ones, and tables that are asked in
// place. In the file a limit of 0 means its default, and -1 means none; what is read has its defaults.
type RemoteQuery struct {
	// MaxRegistrationRows bounds the rows of one registered query or fetched table; 500,000.
	MaxRegistrationRows int64 `yaml:"max_bq_registration_rows"`
	// MaxMemoryMB bounds, in MiB, what one registered query or fetched table is as Arrow; 2048.
	MaxMemoryMB int64 `yaml:"max_memory_mb"`
	// MaxResultRows bounds the rows of the answer; 100,000.
	MaxResultRows int64 `yaml:"max_result_rows"`
	// TimeoutSeconds bounds a hybrid query as a whole, jobs elsewhere included; 300.
	TimeoutSeconds int64 `yaml:"timeout_seconds"`
	// MaxBytesPerQuery bounds what all parts of one query may be billed for; 100 GiB.
	MaxBytesPerQuery int64 `yaml:"max_bytes_per_query"`
	// MaxBytesPerUserDay bounds what one user may be billed for in a day of UTC; 1 TiB.
	MaxBytesPerUserDay int64 `yaml:"max_bytes_per_user_day"`
	// MaxBytesPerDay bounds that over all users; 5 TiB.
	MaxBytesPerDay int64 `yaml:"max_bytes_per_day"`
	// PricePerTiB in US dollars is for showing what a query costs; 6.25. 0 in the file means the default, and
	// a negative one that nothing is charged.
	PricePerTiB float64 `yaml:"price_per_tib"`
	// MaxPushdownKeys is how many distinct keys of a local table may be sent along with a registered query;
	// 10,000. -1 sends none: this one is a feature, and not a bound that could be left off.
	MaxPushdownKeys int64 `yaml:"max_pushdown_keys"`
	// ExtensionDirectory holds DuckDB's extensions for remote attachments; empty for none, or with AllowInstall for
	// DATA_DIR/extensions.
	ExtensionDirectory string `yaml:"extension_directory"`
	// AllowInstall lets an extension that is missing be installed there from DuckDB's own repositories.
	AllowInstall bool `yaml:"allow_install"`
	// CacheSeconds is how long what was fetched of a remote table answers for it; 300, and -1 for the shortest time.
	CacheSeconds int64 `yaml:"cache_seconds"`
}

// DefaultRemoteQuery is what counts where nothing is configured.
func DefaultRemoteQuery() RemoteQuery {
	const gib = 1 << 30
	return RemoteQuery{
		MaxRegistrationRows: 500_000, MaxMemoryMB: 2048, MaxResultRows: 100_000, TimeoutSeconds: 300,
		MaxBytesPerQuery: 100 * gib, MaxBytesPerUserDay: 1024 * gib, MaxBytesPerDay: 5 * 1024 * gib,
		PricePerTiB: 6.25, MaxPushdownKeys: 10_000, CacheSeconds: 300,
	}
}

// Timeout of a hybrid query; 0 for none.
func (q RemoteQuery) Timeout() time.Duration {
	if q.TimeoutSeconds < 0 || q.TimeoutSeconds > math.MaxInt64/int64(time.Second) {
		return 0
	}
	return time.Duration(q.TimeoutSeconds) * time.Second
}

// Cache is how long what was fetched of a remote table answers for it; never zero.
func (q RemoteQuery) Cache() time.Duration {
	if q.CacheSeconds <= 0 {
		return time.Millisecond
	}
	return time.Duration(q.CacheSeconds) * time.Second
}

// maxCache is how long what was fetched may answer at most.
const maxCache = 24 * time.Hour

// MemoryBytes is MaxMemoryMB in bytes; negative for no bound.
func (q RemoteQuery) MemoryBytes() int64 {
	if q.MaxMemoryMB < 0 || q.MaxMemoryMB > math.MaxInt64>>20 {
		return Unlimited
	}
	return q.MaxMemoryMB << 20
}

// Price in US dollars of bytes that are billed.
func (q RemoteQuery) Price(bytes int64) float64 {
	const tib = 1 << 40
	return max(q.PricePerTiB, 0) * float64(bytes) / tib
}

// mergeRemoteQuery takes over what a file says; the later file wins key by key.
func (i *Instance) mergeRemoteQuery(block map[string]any) error {
	if len(block) == 0 {
		return nil
	}
	raw, err := yaml.Marshal(block)
	if err != nil {
		return fmt.Errorf("remote_query: %w", err)
	}
	asked := i.RemoteQuery
	// Keys that are not known are the predecessor's default_format and output_dir, which nothing read.
	if err := yaml.Unmarshal(raw, &asked); err != nil {
		return fmt.Errorf("remote_query: %s", yaml.FormatError(err, false, false))
	}
	if i.RemoteQuery, err = asked.checked(); err != nil {
		return fmt.Errorf("remote_query: %w", err)
	}
	return nil
}

// checked gives the configuration with defaults in place of zeros.
func (q RemoteQuery) checked() (RemoteQuery, error) {
	standard := DefaultRemoteQuery()
	for _, l := range []struct {
		name     string
		value    *int64
		standard int64
	}{
		{"max_bq_registration_rows", &q.MaxRegistrationRows, standard.MaxRegistrationRows},
		{"max_memory_mb", &q.MaxMemoryMB, standard.MaxMemoryMB},
		{"max_result_rows", &q.MaxResultRows, standard.MaxResultRows},
		{"timeout_seconds", &q.TimeoutSeconds, standard.TimeoutSeconds},
		{"max_bytes_per_query", &q.MaxBytesPerQuery, standard.MaxBytesPerQuery},
		{"max_bytes_per_user_day", &q.MaxBytesPerUserDay, standard.MaxBytesPerUserDay},
		{"max_bytes_per_day", &q.MaxBytesPerDay, standard.MaxBytesPerDay},
		{"cache_seconds", &q.CacheSeconds, standard.CacheSeconds},
		{"max_pushdown_keys", &q.MaxPushdownKeys, standard.MaxPushdownKeys},
	} {
		switch {
		case *l.value == 0:
			*l.value = l.standard
		case *l.value < Unlimited:
			return q, fmt.Errorf("%s is a positive number, 0 for the default, or -1 for none, not %d", l.name, *l.value)
		}
	}
	if q.CacheSeconds > int64(maxCache/time.Second) {
		return q, errors.New("cache_seconds is at most a day")
	}
	if math.IsNaN(q.PricePerTiB) || math.IsInf(q.PricePerTiB, 0) {
		return q, errors.New("price_per_tib is an amount of US dollars")
	}
	if q.PricePerTiB == 0 {
		q.PricePerTiB = standard.PricePerTiB
	}
	return q, nil
}
