// Command agnes-extractor-jira keeps Jira sites: it takes in their webhooks, and publishes their tables.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/extractor/jira"
)

func main() { service.Main("agnes-extractor-jira", jira.Run, jira.RebuildCommand()) }
