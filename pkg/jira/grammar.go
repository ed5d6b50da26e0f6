// Package jira is what the intake of webhooks and the extractor of Jira agree about: the grammar of
// keys and ids, the names of events, how a webhook is read, and how its signature is checked. What does
// not fit the grammar never gets into a URL, a path or a table. It imports the standard library only.
package jira

import (
	"strings"
	"time"
)

// Jira stores a key in 255 characters, and the numbers of issues and ids in 64 bits.
const (
	maxProjectKey = 255
	maxDigits     = 19
)

// ValidProjectKey tells whether key can be the key of a project: a capital letter, then at least one
// more capital letter, digit or underscore. What is stricter in one site (ten characters in Jira Cloud) is not
// asked for here.
func ValidProjectKey(key string) bool {
	if len(key) < 2 || len(key) > maxProjectKey || key[0] < 'A' || key[0] > 'Z' {
		return false
	}
	for i := 1; i < len(key); i++ {
		if c := key[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// ValidIssueKey tells whether key can be the key of an issue: that of its project, a hyphen, and a
// number from 1 without leading zeros.
func ValidIssueKey(key string) bool {
	project, number, found := strings.Cut(key, "-")
	return found && ValidProjectKey(project) && ValidID(number) && number[0] != '0'
}

// ValidID tells whether id can be the id of an issue, a comment, a worklog, an attachment, a link or a
// sprint: decimal digits.
func ValidID(id string) bool {
	if id == "" || len(id) > maxDigits {
		return false
	}
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return false
		}
	}
	return true
}

// ProjectOf is the key of the project in the key of an issue; empty where the key is not valid.
func ProjectOf(issueKey string) string {
	if !ValidIssueKey(issueKey) {
		return ""
	}
	project, _, _ := strings.Cut(issueKey, "-")
	return project
}

// ParseTime reads a moment as Jira writes it, such as 2024-05-06T07:08:09.123+0200, in UTC. ok is
// false for what is none.
func ParseTime(text string) (t time.Time, ok bool) {
	for _, layout := range []string{"2006-01-02T15:04:05-0700", time.RFC3339} { // both read fractions of seconds
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
