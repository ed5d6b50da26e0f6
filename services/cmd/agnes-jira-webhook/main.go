// Command agnes-jira-webhook takes in the webhooks of Jira.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/jirawebhook"
)

func main() { service.Main("agnes-jira-webhook", jirawebhook.Run) }
