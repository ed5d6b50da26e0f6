package service

import (
	"os"
	"slices"
)

// typeJira is the connector whose source the environment may configure.
const typeJira = "jira"

// jiraVariables are the predecessor's variables of its one Jira site, by the option of a source that
// each stands for.
var jiraVariables = map[string]string{
	"site": "JIRA_DOMAIN", "email": "JIRA_EMAIL", "api_token": "JIRA_API_TOKEN", "webhook_secret": "JIRA_WEBHOOK_SECRET",
	"cloud_id": "JIRA_CLOUD_ID", "sla_email": "JIRA_SLA_EMAIL", "sla_api_token": "JIRA_SLA_API_TOKEN",
}

// addJira adds the source "jira" that JIRA_DOMAIN and its like configure, where the configuration has no
// source of that type or name. Where it has one source of the type, the variables give the options that
// it leaves out, but for its site.
func (i *Instance) addJira() {
	given := map[string]any{}
	for option, variable := range jiraVariables {
		if v := os.Getenv(variable); v != "" {
			given[option] = v
		}
	}
	if previous := os.Getenv("JIRA_WEBHOOK_SECRET_PREVIOUS"); previous != "" && given["webhook_secret"] != nil {
		given["webhook_secret"] = []any{given["webhook_secret"], previous}
	}
	if project := os.Getenv("JIRA_PROJECT"); project != "" {
		given["projects"] = []any{project}
	}
	own := i.OfType(typeJira)
	if len(own) == 0 {
		taken := slices.ContainsFunc(i.Sources, func(s Source) bool { return s.Name == typeJira })
		if given["site"] != nil && !taken {
			i.Sources = append(i.Sources, Source{Name: typeJira, Type: typeJira, Options: given})
		}
		return
	}
	delete(given, "site")
	if len(own) > 1 {
		return
	}
	for n := range i.Sources {
		if s := &i.Sources[n]; s.Type == typeJira {
			for option, v := range s.Options {
				if v != nil && v != "" {
					given[option] = v
				}
			}
			s.Options = given
		}
	}
}
