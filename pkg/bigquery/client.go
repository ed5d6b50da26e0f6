package bigquery

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/bigquery"
	storage "cloud.google.com/go/bigquery/storage/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Limits of waiting for Google.
type Limits struct {
	// Call bounds one call, with Google's own retries: 60 s where it is zero.
	Call time.Duration
	// Job bounds a query job, which is then cancelled: 1 h where it is zero.
	Job time.Duration
	// Stall is how long a read stream may say nothing until it is cut and resumed: 60 s where it is zero (trap B1).
	Stall time.Duration
	// Resumes is how often in a row a stream is resumed without a row in between, and Pause how long the
	// first wait before that is: 4 and 500 ms where they are zero.
	Resumes int
	Pause   time.Duration
}

func (l Limits) withDefaults() Limits {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&l.Call, time.Minute)
	set(&l.Job, time.Hour)
	set(&l.Stall, time.Minute)
	set(&l.Pause, 500*time.Millisecond)
	if l.Resumes <= 0 {
		l.Resumes = 4
	}
	return l
}

// Client of one billing project. It is safe for concurrent use.
type Client struct {
	config  Config
	limits  Limits
	rest    *bigquery.Client
	read    *storage.BigQueryReadClient // nil: rows come by REST
	metrics metrics
}

// Open reads the credentials and makes a client; nothing is asked of Google yet.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if !validProject(cfg.Project) {
		return nil, fault.New(fault.Invalid, "%.80q is not the id of a project of Google's", cfg.Project)
	}
	c := &Client{config: cfg, limits: cfg.Limits.withDefaults()}
	var err error
	if c.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	rest, read, err := clientOptions(cfg)
	if err != nil {
		return nil, err
	}
	if c.rest, err = bigquery.NewClient(ctx, cfg.Project, rest...); err != nil {
		return nil, noCredentials(err)
	}
	c.rest.Location = cfg.Location
	if read == nil {
		return c, nil
	}
	if c.read, err = storage.NewBigQueryReadClient(ctx, read...); err != nil {
		_ = c.rest.Close()
		return nil, noCredentials(err)
	}
	return c, nil
}

// noCredentials tells what to do. The cause names the file and is not passed on.
func noCredentials(err error) error {
	return fault.New(fault.Unauthenticated, "there are no usable credentials of Google: set %s to a key file, or let the machine have an account (%s)", EnvCredentials, tell(err))
}

// Close ends connections.
func (c *Client) Close() error {
	err := c.rest.Close()
	if c.read != nil {
		if closed := c.read.Close(); err == nil {
			err = closed
		}
	}
	return err
}

// Project is the one that pays.
func (c *Client) Project() string { return c.config.Project }

func clientOptions(cfg Config) (rest, read []option.ClientOption, err error) {
	if cfg.Endpoint != "" {
		u, err := url.Parse(withScheme(cfg.Endpoint))
		if err != nil || u.Host == "" {
			return nil, nil, fault.New(fault.Invalid, "%s is not an address", EnvEmulator)
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = "/bigquery/v2/"
		}
		rest = []option.ClientOption{option.WithEndpoint(u.String()), option.WithoutAuthentication()}
		if cfg.StorageEndpoint != "" {
			read = []option.ClientOption{
				option.WithEndpoint(cfg.StorageEndpoint), option.WithoutAuthentication(),
				option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
			}
		}
		return rest, read, nil
	}
	var shared []option.ClientOption
	if cfg.CredentialsFile != "" {
		kind, err := credentialsKind(cfg.CredentialsFile)
		if err != nil {
			return nil, nil, err
		}
		shared = append(shared, option.WithAuthCredentialsFile(kind, cfg.CredentialsFile))
	}
	shared = append(shared, option.WithUserAgent("agnes"))
	return shared, shared, nil
}

func withScheme(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return "http://" + address
}

// credentialsKind looks into a key file for what it is.
func credentialsKind(path string) (option.CredentialsType, error) {
	var file struct {
		Type string `json:"type"`
	}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &file)
	}
	if err != nil {
		return "", fault.New(fault.Unauthenticated, "the key file of Google's that the environment names cannot be read")
	}
	switch kind := option.CredentialsType(file.Type); kind {
	case option.ServiceAccount, option.AuthorizedUser, option.ImpersonatedServiceAccount, option.ExternalAccount:
		return kind, nil
	default:
		return "", fault.New(fault.Unauthenticated, "the key file of Google's that the environment names is of no type that can be used")
	}
}
