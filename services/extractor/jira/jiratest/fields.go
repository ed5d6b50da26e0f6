package jiratest

import "slices"

// A field as GET /field lists it. kind says what its values are like, in the words of a field map.
type field struct {
	id, name, schema, kind string
}

const (
	fieldSprint     = "customfield_10020"
	fieldResolution = "resolution"
)

// systemFields in the order in which an issue has them. Those with a kind are kept as raw JSON.
var systemFields = []field{
	{id: "statuscategorychangedate", name: "Status Category Changed", schema: `{"type":"datetime","system":"statuscategorychangedate"}`},
	{id: "issuetype", name: "Issue Type", schema: `{"type":"issuetype","system":"issuetype"}`},
	{id: "parent", name: "Parent", kind: "raw"},
	{id: "project", name: "Project", schema: `{"type":"project","system":"project"}`},
	{id: "fixVersions", name: "Fix versions", schema: `{"type":"array","items":"version","system":"fixVersions"}`, kind: "list"},
	{id: fieldResolution, name: "Resolution", schema: `{"type":"resolution","system":"resolution"}`},
	{id: "resolutiondate", name: "Resolved", schema: `{"type":"datetime","system":"resolutiondate"}`},
	{id: "workratio", name: "Work Ratio", schema: `{"type":"number","system":"workratio"}`, kind: "raw"},
	{id: "watches", name: "Watchers", schema: `{"type":"watches","system":"watches"}`},
	{id: "lastViewed", name: "Last Viewed", schema: `{"type":"datetime","system":"lastViewed"}`, kind: "raw"},
	{id: "created", name: "Created", schema: `{"type":"datetime","system":"created"}`},
	{id: "priority", name: "Priority", schema: `{"type":"priority","system":"priority"}`},
	{id: "labels", name: "Labels", schema: `{"type":"array","items":"string","system":"labels"}`, kind: "list"},
	{id: "timeestimate", name: "Remaining Estimate", schema: `{"type":"number","system":"timeestimate"}`, kind: "raw"},
	{id: "timeoriginalestimate", name: "Original estimate", schema: `{"type":"number","system":"timeoriginalestimate"}`, kind: "raw"},
	{id: "timespent", name: "Time Spent", schema: `{"type":"number","system":"timespent"}`},
	{id: "versions", name: "Affects versions", schema: `{"type":"array","items":"version","system":"versions"}`, kind: "list"},
	{id: "issuelinks", name: "Linked Issues", schema: `{"type":"array","items":"issuelinks","system":"issuelinks"}`},
	{id: "assignee", name: "Assignee", schema: `{"type":"user","system":"assignee"}`},
	{id: "updated", name: "Updated", schema: `{"type":"datetime","system":"updated"}`},
	{id: "status", name: "Status", schema: `{"type":"status","system":"status"}`},
	{id: "components", name: "Components", schema: `{"type":"array","items":"component","system":"components"}`, kind: "list"},
	{id: "description", name: "Description", schema: `{"type":"string","system":"description"}`, kind: "adf"},
	{id: "attachment", name: "Attachment", schema: `{"type":"array","items":"attachment","system":"attachment"}`},
	{id: "summary", name: "Summary", schema: `{"type":"string","system":"summary"}`},
	{id: "creator", name: "Creator", schema: `{"type":"user","system":"creator"}`},
	{id: "reporter", name: "Reporter", schema: `{"type":"user","system":"reporter"}`},
	{id: "subtasks", name: "Sub-tasks", schema: `{"type":"array","items":"issuelinks","system":"subtasks"}`, kind: "list"},
	{id: "security", name: "Security Level", schema: `{"type":"securitylevel","system":"security"}`, kind: "raw"},
	{id: "environment", name: "Environment", schema: `{"type":"string","system":"environment"}`, kind: "adf"},
	{id: "duedate", name: "Due date", schema: `{"type":"date","system":"duedate"}`, kind: "date"},
	{id: "votes", name: "Votes", schema: `{"type":"votes","system":"votes"}`},
	{id: "comment", name: "Comment", schema: `{"type":"comments-page","system":"comment"}`},
	{id: "worklog", name: "Log Work", schema: `{"type":"array","items":"worklog","system":"worklog"}`},
}

// customFields have one of every kind; the ids of the service desk are those of the reference.
var customFields = []field{
	{id: "customfield_10002", name: "Organizations", schema: custom("array", "sd-customerorganization", "com.atlassian.servicedesk.servicedesk-customer-organizations:sd-customer-organizations"), kind: "organizations"},
	{id: "customfield_10004", name: "Severity", schema: custom("option", "", "select"), kind: "option"},
	{id: "customfield_10010", name: "Request Type", schema: custom("sd-customerrequesttype", "", "com.atlassian.servicedesk:vp-origin"), kind: "request"},
	{id: "customfield_10015", name: "Start date", schema: custom("date", "", "datepicker"), kind: "date"},
	{id: "customfield_10016", name: "Story point estimate", schema: custom("number", "", "com.pyxis.greenhopper.jira:jsw-story-points"), kind: "number"},
	{id: fieldSprint, name: "Sprint", schema: custom("array", "json", "com.pyxis.greenhopper.jira:gh-sprint"), kind: "sprint"},
	{id: "customfield_10100", name: "Outage began", schema: custom("datetime", "", "datetime"), kind: "datetime"},
	{id: "customfield_10101", name: "Product area", schema: custom("option-with-child", "", "cascadingselect"), kind: "cascade"},
	{id: "customfield_10103", name: "Account manager", schema: custom("user", "", "userpicker"), kind: "user"},
	{id: "customfield_10105", name: "Tags", schema: custom("array", "string", "labels"), kind: "labels"},
	{id: "customfield_10106", name: "Root cause", schema: custom("string", "", "textarea"), kind: "adf"},
	{id: "customfield_10156", name: "Request participants", schema: custom("array", "user", "com.atlassian.servicedesk:sd-request-participants"), kind: "users"},
	{id: "customfield_10157", name: "Satisfaction", schema: custom("sd-feedback", "", "com.atlassian.servicedesk:sd-request-feedback"), kind: "rating"},
	{id: "customfield_10161", name: "Time to resolution", schema: custom("sd-servicelevelagreement", "", "com.atlassian.servicedesk:sd-sla-field"), kind: "sla"},
	{id: "customfield_10323", name: "Triage", schema: custom("array", "option", "multicheckboxes"), kind: "options"},
	{id: "customfield_10325", name: "Custom URL", schema: custom("string", "", "url"), kind: "url"},
	{id: "customfield_10328", name: "Time to first response", schema: custom("sd-servicelevelagreement", "", "com.atlassian.servicedesk:sd-sla-field"), kind: "sla"},
	{id: "customfield_10330", name: "Context", schema: custom("string", "", "textarea"), kind: "adf"},
	{id: "customfield_10350", name: "Slack link", schema: custom("string", "", "textfield"), kind: "text"},
	{id: "customfield_10365", name: "Spam", schema: custom("option", "", "radiobuttons"), kind: "option"},
	{id: "customfield_10475", name: "Email address", schema: custom("string", "", "textfield"), kind: "text"},
	{id: "customfield_10511", name: "Configuration item", schema: custom("array", "option", "multiselect"), kind: "options"},
	{id: "customfield_10676", name: "Technical issue category", schema: custom("option", "", "select"), kind: "option"},
	{id: "customfield_11831", name: "L3 team", schema: custom("option", "", "select"), kind: "option"},
}

// SLAFields are the ids of the fields that SLARestricted hides.
var SLAFields = []string{"customfield_10328", "customfield_10161"}

func custom(kind, items, class string) string {
	out := `{"type":"` + kind + `"`
	if items != "" {
		out += `,"items":"` + items + `"`
	}
	if !slices.Contains([]byte(class), ':') {
		class = "com.atlassian.jira.plugin.system.customfieldtypes:" + class
	}
	return out + `,"custom":"` + class + `"`
}

// renderFields is the answer of GET /field.
func renderFields() []byte {
	var b buf
	b.open('[')
	one := func(f field, isCustom bool) {
		b.open('{')
		b.key("id")
		b.str(f.id)
		b.key("key")
		b.str(f.id)
		b.key("name")
		b.str(f.name)
		b.key("custom")
		b.bool(isCustom)
		b.key("orderable")
		b.bool(true)
		b.key("navigable")
		b.bool(f.id != "comment" && f.id != "attachment")
		b.key("searchable")
		b.bool(true)
		b.key("clauseNames")
		b.lit(`[` + quoted(f.id) + `]`)
		if f.schema != "" {
			b.key("schema")
			schema := f.schema
			if isCustom {
				schema += `,"customId":` + f.id[len("customfield_"):] + `}`
			}
			b.lit(schema)
		}
		b.close('}')
	}
	for _, f := range systemFields {
		one(f, false)
	}
	for _, f := range customFields {
		one(f, true)
	}
	b.close(']')
	return b
}
