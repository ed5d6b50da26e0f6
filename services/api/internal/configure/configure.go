// Package configure changes what an administrator may change while Agnes runs: the name of the
// installation, where its data comes from, and who may sign up. What is not secret is written to
// DATA_DIR/state/instance.yaml, over what stands in CONFIG_DIR; secrets go to DATA_DIR/state/.env_overlay.
package configure

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// The data sources that can be configured.
const (
	keboola  = "keboola"
	bigquery = "bigquery"
	local    = "local"
)

// keySource is the name of the setting, in requests and in the file.
const keySource = "data_source"

// Names of the variables that the overlay holds.
const (
	tokenEnv = "KEBOOLA_STORAGE_TOKEN"
	urlEnv   = "KEBOOLA_STACK_URL"
)

// What Connection can be.
const (
	connectionVerified  = "verified"
	connectionNotTested = "not tested"
	connectionLocal     = "local"
)

// Config of a Service.
type Config struct {
	ConfigDir, DataDir string
	Guard              *Guard
	// Reload takes over what was written.
	Reload func(ctx context.Context, by string, i *service.Instance) error
	// TLS is for tests; nil for the roots of the system.
	TLS *tls.Config
}

// Service reads and changes the configuration. It is safe for concurrent use.
type Service struct {
	cfg Config
	mu  sync.Mutex
}

// New makes a Service.
func New(c Config) *Service { return &Service{cfg: c} }

// Current tells what holds now; secrets only as "set".
func (s *Service) Current(context.Context) (httpapi.SetupResult, error) {
	i, err := service.LoadInstance(s.cfg.ConfigDir, s.cfg.DataDir)
	if err != nil {
		return httpapi.SetupResult{}, err
	}
	return httpapi.SetupResult{Connection: connectionNotTested, Current: currentOf(i)}, nil
}

func currentOf(i *service.Instance) map[string]string {
	now := map[string]string{
		"instance_name": i.Name, "allowed_domain": strings.Join(i.AllowedDomains, ", "), keySource: local,
		"keboola_url": "", "keboola_token": "", "bigquery_project": "", "bigquery_location": "",
	}
	option := func(src service.Source, key string) string {
		text, _ := src.Options[key].(string)
		return text
	}
	if src, ok := i.Source(bigquery); ok {
		now[keySource], now["bigquery_project"], now["bigquery_location"] = bigquery, option(src, "project"), option(src, "location")
	}
	if src, ok := i.Source(keboola); ok {
		now[keySource], now["keboola_url"] = keboola, option(src, "stack_url")
		env := option(src, "token_env")
		if env == "" {
			env = tokenEnv
		}
		if os.Getenv(env) != "" {
			now["keboola_token"] = "set"
		}
	}
	return now
}

// change is what a Setup comes to.
type change struct {
	yaml    []setting
	overlay map[string]string
	stack   *url.URL
	restart string
}

var (
	projectName  = regexp.MustCompile(`\A[a-z0-9][a-z0-9.:-]{3,62}[a-z0-9]\z`)
	locationName = regexp.MustCompile(`\A[A-Za-z0-9-]{2,40}\z`)
)

// Configure tests what it is given, writes it and has it take effect. Nothing is written where a value
// is refused or a test fails, nor in a dry run.
func (s *Service) Configure(ctx context.Context, by httpapi.Caller, in httpapi.Setup) (httpapi.SetupResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := httpapi.SetupResult{Connection: connectionNotTested}
	c, err := s.read(in)
	if err != nil {
		return out, err
	}
	overlay, err := s.overlay(c)
	if err != nil {
		return out, err
	}
	switch in.DataSource {
	case keboola:
		if out.Tested, err = s.testKeboola(ctx, c.stack, in.KeboolaToken); err != nil {
			return out, err
		}
		out.Connection = connectionVerified
	case bigquery:
		if out.Tested, err = s.testBigQuery(ctx, in.BigQueryProject, in.BigQueryLocation); err != nil {
			return out, err
		}
		out.Connection = connectionVerified
	case local:
		out.Connection = connectionLocal
	}
	path := filepath.Join(s.cfg.DataDir, "state", service.InstanceFile)
	text, names, err := merged(path, c.yaml)
	if err != nil {
		return out, err
	}
	next, err := s.check(text)
	if err != nil {
		return out, err
	}
	for k, v := range c.overlay {
		if os.Getenv(k) != v {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	out.Changed, out.Current = names, currentOf(next)
	if c.restart != "" && len(names) > 0 {
		out.Restart = []string{c.restart}
	}
	if in.DryRun || len(names) == 0 {
		return out, nil
	}
	if err := s.write(path, text, overlay, c.overlay); err != nil {
		return out, err
	}
	written, err := service.LoadInstance(s.cfg.ConfigDir, s.cfg.DataDir)
	if err != nil {
		return out, err
	}
	out.Current = currentOf(written)
	if err := s.cfg.Reload(ctx, by.UserID, written); err != nil {
		return out, fault.Wrap(err, fault.Unavailable, "the configuration is written, but not everything took it over: restart the api")
	}
	return out, nil
}

// read checks every value.
func (s *Service) read(in httpapi.Setup) (change, error) {
	c := change{overlay: map[string]string{}}
	for _, f := range []struct{ name, value string }{
		{keySource, in.DataSource}, {"keboola_token", in.KeboolaToken}, {"keboola_url", in.KeboolaURL}, {"bigquery_project", in.BigQueryProject},
		{"bigquery_location", in.BigQueryLocation}, {"instance_name", in.InstanceName}, {"allowed_domain", in.AllowedDomain},
	} {
		odd := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
		if strings.ContainsFunc(f.value, odd) || !utf8.ValidString(f.value) || len(f.value) > 2000 {
			return c, fault.New(fault.Invalid, "%s must be one line of text", f.name)
		}
		if strings.Contains(f.value, "${") { // it would be replaced from the environment, and shown
			return c, fault.New(fault.Invalid, "%s must not hold ${", f.name)
		}
	}
	if name := strings.TrimSpace(in.InstanceName); name != "" {
		c.yaml = append(c.yaml, setting{[]string{"instance", "name"}, name})
	}
	if in.AllowedDomain != "" {
		domains, err := service.ParseDomains(in.AllowedDomain)
		if err != nil {
			return c, err
		}
		c.yaml = append(c.yaml, setting{[]string{"auth", "allowed_domain"}, strings.Join(domains, ", ")})
	}
	switch in.DataSource {
	case "":
		if in.KeboolaToken+in.KeboolaURL+in.BigQueryProject+in.BigQueryLocation != "" {
			return c, fault.New(fault.Invalid, "name the data_source that this is for: keboola or bigquery")
		}
		return c, nil
	case keboola:
		return s.readKeboola(c, in)
	case bigquery:
		if !projectName.MatchString(in.BigQueryProject) {
			return c, fault.New(fault.Invalid, "bigquery_project must be the id of a project, such as example-project-1")
		}
		c.yaml = append(c.yaml, setting{[]string{keySource, "bigquery", "project"}, in.BigQueryProject})
		if in.BigQueryLocation != "" {
			if !locationName.MatchString(in.BigQueryLocation) {
				return c, fault.New(fault.Invalid, "bigquery_location must be a location such as EU or us-central1")
			}
			c.yaml = append(c.yaml, setting{[]string{keySource, "bigquery", "location"}, in.BigQueryLocation})
		}
		c.restart = "extractor-bigquery"
	case local:
	default:
		return c, fault.New(fault.Invalid, "data_source must be keboola, bigquery or local")
	}
	c.yaml = append(c.yaml, setting{[]string{keySource, "type"}, in.DataSource})
	return c, nil
}

func (s *Service) readKeboola(c change, in httpapi.Setup) (change, error) {
	if in.KeboolaToken == "" || in.KeboolaURL == "" {
		return c, fault.New(fault.Invalid, "keboola needs keboola_token and keboola_url")
	}
	if strings.ContainsFunc(in.KeboolaToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return c, fault.New(fault.Invalid, "keboola_token must be a token: letters, digits and signs, without spaces")
	}
	var err error
	if c.stack, err = s.cfg.Guard.URL("keboola_url", in.KeboolaURL); err != nil {
		return c, err
	}
	c.yaml = append(c.yaml,
		setting{[]string{keySource, "type"}, keboola},
		setting{[]string{keySource, "keboola", "stack_url"}, c.stack.String()},
		setting{[]string{keySource, "keboola", "token_env"}, tokenEnv},
	)
	c.overlay[tokenEnv], c.overlay[urlEnv] = in.KeboolaToken, c.stack.String()
	c.restart = "extractor-keboola"
	return c, nil
}

// overlay gives what the overlay is to hold. A variable that the environment of the process sets by
// itself wins at every start, so that another value here would be a lie.
func (s *Service) overlay(c change) (map[string]string, error) {
	standing, err := service.ReadOverlay(s.cfg.DataDir)
	if err != nil {
		return nil, err
	}
	next := maps.Clone(standing)
	for k, v := range c.overlay {
		if now := os.Getenv(k); now != "" && now != v && now != standing[k] {
			return nil, fault.New(fault.Conflict, "%s is set in the environment of the server, which wins over what is configured here: change it there, or unset it", k)
		}
		next[k] = v
	}
	return next, nil
}

// check reads the configuration as it would be.
func (s *Service) check(text []byte) (*service.Instance, error) {
	scratch, err := lake.NewScratch(filepath.Join(s.cfg.DataDir, "tmp"), "configure")
	if err != nil {
		return nil, err
	}
	defer func() { _ = scratch.Close() }()
	if err := lake.WriteFileAtomic(filepath.Join(scratch.Dir, "state", service.InstanceFile), text, 0o600); err != nil {
		return nil, err
	}
	return service.LoadInstance(s.cfg.ConfigDir, scratch.Dir)
}

// write puts both files in place, and the secrets into the environment of this process.
func (s *Service) write(path string, text []byte, overlay, changed map[string]string) error {
	file := filepath.Join(filepath.Dir(path), service.OverlayFile)
	before, beforeErr := os.ReadFile(file)
	if len(changed) > 0 {
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(overlay)) {
			fmt.Fprintf(&b, "%s=%s\n", k, overlay[k])
		}
		if err := lake.WriteFileAtomic(file, []byte(b.String()), 0o600); err != nil {
			return err
		}
	}
	if err := lake.WriteFileAtomic(path, text, 0o600); err != nil {
		if len(changed) > 0 && beforeErr == nil {
			_ = lake.WriteFileAtomic(file, before, 0o600) // as well as it can be taken back
		}
		return err
	}
	for k, v := range changed {
		if err := os.Setenv(k, v); err != nil {
			return fmt.Errorf("set %s: %w", k, err)
		}
	}
	return nil
}
