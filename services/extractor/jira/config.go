package jira

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
)

// Type of the connector.
const Type = "jira"

// Options of a source in instance.yaml; docs/jira.md describes them.
type options struct {
	Site          string       `json:"site"`
	Email         string       `json:"email"`
	APIToken      string       `json:"api_token"`
	WebhookSecret any          `json:"webhook_secret"` // for agnes-jira-webhook
	Projects      []string     `json:"projects"`
	Fields        []rows.Field `json:"fields"`

	CloudID     string   `json:"cloud_id"`
	SLAEmail    string   `json:"sla_email"`
	SLAAPIToken string   `json:"sla_api_token"`
	SLAFields   []string `json:"sla_fields"`

	RemoteLinks *bool `json:"remote_links"`
	Concurrency int   `json:"concurrency"`

	ReconcileEvery string `json:"reconcile_every"`
	HealUpTo       int    `json:"heal_up_to"`
	SLAEvery       string `json:"sla_every"`

	WebhookURL string        `json:"webhook_url"`
	OAuth      *oauthOptions `json:"oauth"`

	Attachments *attachmentOptions `json:"attachments"`
	MediaHosts  []string           `json:"media_hosts"`
}

// attachmentOptions say whether the content of attachments is kept.
type attachmentOptions struct {
	Content    bool  `json:"content"`
	MaxMB      int64 `json:"max_mb"`
	QuotaMB    int64 `json:"quota_mb"`
	Concurrent int   `json:"concurrent"`
}

// settings are the options of a source, checked.
type settings struct {
	options
	fields                   rows.FieldMap
	reconcileEvery, slaEvery time.Duration
}

// Defaults of the options.
const (
	defaultReconcile = 30 * time.Minute
	defaultHealUpTo  = 100
	defaultSLA       = 15 * time.Minute
)

// defaultSLAFields are those of the predecessor's site.
var defaultSLAFields = []string{"customfield_10328", "customfield_10161"}

// readSettings checks the options of a source. Errors are fault.Invalid and name the option.
func readSettings(cfg extract.SourceConfig) (settings, error) {
	var s settings
	if err := cfg.Decode(&s.options); err != nil {
		return s, err
	}
	invalid := func(option, format string, args ...any) error {
		return fault.New(fault.Invalid, "the source %s: `%s`: %s", cfg.Name, option, fmt.Sprintf(format, args...))
	}
	s.Site = strings.TrimRight(strings.TrimSpace(s.Site), "/")
	if s.Site == "" {
		return s, invalid("site", "the address of the Jira site is missing, such as https://your.atlassian.net")
	}
	if !strings.Contains(s.Site, "://") {
		s.Site = "https://" + s.Site
	}
	if u, err := url.Parse(s.Site); err != nil || u.Host == "" {
		return s, invalid("site", "%q is no address, such as https://your.atlassian.net", s.Site)
	}
	if (s.Email == "") != (s.APIToken == "") {
		return s, invalid("api_token", "email and api_token belong together: without both, webhooks alone are read")
	}
	for _, p := range s.Projects {
		if !jira.ValidProjectKey(p) {
			return s, invalid("projects", "%q is not the key of a project", p)
		}
	}
	var err error
	if s.fields, err = rows.NewFieldMap(s.Fields); err != nil {
		return s, fault.Wrap(err, fault.Invalid, "the source %s: %s", cfg.Name, fault.Message(err))
	}
	if s.reconcileEvery, err = every(s.ReconcileEvery, defaultReconcile); err != nil {
		return s, invalid("reconcile_every", "%s", err)
	}
	if s.slaEvery, err = every(s.SLAEvery, defaultSLA); err != nil {
		return s, invalid("sla_every", "%s", err)
	}
	if s.HealUpTo == 0 {
		s.HealUpTo = defaultHealUpTo
	}
	if len(s.SLAFields) == 0 {
		s.SLAFields = slices.Clone(defaultSLAFields)
	}
	if o := s.OAuth; o != nil && (o.ClientID == "" || o.ClientSecret == "") {
		return s, invalid("oauth", "client_id and client_secret belong together")
	}
	if a := s.Attachments; a != nil && (a.MaxMB < 0 || a.QuotaMB < 0 || a.Concurrent < 0) {
		return s, invalid("attachments", "numbers must not be negative")
	}
	return s, nil
}

// every reads how often something happens: a duration of at least a minute, or "off", which is 0.
func every(text string, otherwise time.Duration) (time.Duration, error) {
	switch text {
	case "":
		return otherwise, nil
	case "off":
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Minute {
		return 0, fmt.Errorf("%q is neither a duration of at least 1m, such as 30m, nor off", text)
	}
	return d, nil
}
