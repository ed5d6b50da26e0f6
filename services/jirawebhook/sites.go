package jirawebhook

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/service"
)

// sourceType is the connector whose sources send webhooks.
const sourceType = "jira"

// weakSecret is the length in bytes below which a secret can be guessed.
const weakSecret = 16

// site is a source as the intake knows it.
type site struct {
	name string
	// secrets are those that may sign: the present one, and an earlier one while it is replaced.
	secrets  [][]byte
	projects []string
	// open takes everything from everybody.
	open bool
	// broken is the site of a source that is not configured correctly: what it sends has to come again.
	broken bool
}

// usable tells whether webhooks of the site can be accepted at all.
func (s site) usable() bool { return len(s.secrets) > 0 || s.open }

// wants tells whether an event is about a project that the source is limited to. What does not say its
// project is wanted, and so is what leaves a project that is.
func (s site) wants(e jira.Event) bool {
	if len(s.projects) == 0 || e.ProjectKey == "" || e.LinkedIssueID != "" && e.LinkedIssueKey == "" {
		return true
	}
	return slices.ContainsFunc([]string{e.ProjectKey, jira.ProjectOf(e.PreviousKey), jira.ProjectOf(e.LinkedIssueKey)}, func(project string) bool {
		return slices.Contains(s.projects, project)
	})
}

// sites are the configured sources of Jira.
type sites struct {
	list []site
	// stranger stands for a source that does not exist, so that nobody learns which do.
	stranger site
}

// sitesOf reads the sources. One that is not configured correctly accepts nothing; the others go on.
func sitesOf(ctx context.Context, instance *service.Instance, allowUnsigned bool) *sites {
	log := zerolog.Ctx(ctx)
	all := &sites{stranger: site{secrets: [][]byte{[]byte(rand.Text())}}}
	owner := map[string]string{}
	for _, source := range instance.OfType(sourceType) {
		s, err := siteOf(source)
		switch {
		case err != nil:
			log.Error().Err(err).Str(service.FieldSource, source.Name).Msg("the source is not configured correctly: Jira is asked to send its webhooks again")
			s.broken = true
		case len(s.secrets) > 0:
		case allowUnsigned:
			s.open = true
			log.Warn().Str(service.FieldSource, s.name).Msg("AGNES_JIRA_ALLOW_UNSIGNED: WEBHOOKS ARE ACCEPTED FROM ANYBODY WHO REACHES THIS ADDRESS, for development only")
		default:
			log.Warn().Str(service.FieldSource, s.name).Msg("the source has no webhook_secret: its webhooks are refused")
		}
		for _, secret := range s.secrets {
			if len(secret) < weakSecret {
				log.Warn().Str(service.FieldSource, s.name).Int("bytes", len(secret)).Int("wanted", weakSecret).Msg("a webhook_secret is short enough to be guessed")
			}
			if other, taken := owner[string(secret)]; taken && other != s.name {
				log.Warn().Str(service.FieldSource, s.name).Str("other", other).Msg("two sources have one webhook_secret: their webhooks have to be sent to " + pathWebhook + "/<source>")
			}
			owner[string(secret)] = s.name
		}
		all.list = append(all.list, s)
	}
	return all
}

// siteOf reads the options of a source that concern the intake. What could be read comes with an error, too.
func siteOf(source service.Source) (site, error) {
	s := site{name: source.Name}
	secrets, err := jira.Secrets(source.Options["webhook_secret"])
	if err != nil {
		return s, fault.New(fault.Invalid, "webhook_secret: %s", err)
	}
	for _, secret := range secrets {
		s.secrets = append(s.secrets, []byte(secret))
	}
	list, isList := source.Options["projects"].([]any)
	if !isList && source.Options["projects"] != nil {
		return s, fault.New(fault.Invalid, "projects: it has to be a list of keys of projects")
	}
	for _, one := range list {
		key, _ := one.(string)
		if !jira.ValidProjectKey(key) {
			return s, fault.New(fault.Invalid, "projects: %.40q is not the key of a project", fmt.Sprint(one))
		}
		s.projects = append(s.projects, key)
	}
	return s, nil
}

// candidates are the sites that a webhook may be from: by the path, or every usable one. No error and
// none means that nobody is found out about.
func (s *sites) candidates(source string, named bool) ([]site, error) {
	var list []site
	for _, one := range s.list {
		if !named || one.name == source {
			list = append(list, one)
		}
	}
	if named && len(list) == 0 && len(s.list) > 0 {
		return []site{s.stranger}, nil
	}
	list = slices.DeleteFunc(list, func(one site) bool { return !one.usable() })
	if len(list) == 0 {
		return nil, errNotConfigured
	}
	return list, nil
}

// verified finds the site whose secret signed the body; where none did, the one that takes everything.
// previous tells that it was not the first of its secrets.
func verified(candidates []site, body []byte, signatures []string) (found site, previous bool, err error) {
	var signed, open []site
	for _, s := range candidates {
		nth := slices.IndexFunc(s.secrets, func(secret []byte) bool { return jira.VerifySignature(secret, body, signatures...) == nil })
		switch {
		case nth >= 0:
			signed, previous = append(signed, s), nth > 0
		case s.open:
			open = append(open, s)
		}
	}
	if len(signed) == 0 {
		signed = open
	}
	switch len(signed) {
	case 0:
		return site{}, false, jira.ErrBadSecret
	case 1:
		return signed[0], previous, nil
	}
	return site{}, false, errAmbiguous
}

var (
	errNotConfigured = errors.New("no source has a secret to verify webhooks with")
	errAmbiguous     = fmt.Errorf("the webhook may be from several sources: send it to %s/<source>", pathWebhook)
)
