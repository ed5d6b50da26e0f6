package rows

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The predecessor's rules, written down plainly and apart from the code under test: maps, no types,
// and a panic wherever Python would have raised. Values are string, int64, time.Time or nil.

type object = map[string]any

// refTables makes the rows of the six tables, by column.
func refTables(doc object) (tables map[string][]object, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the predecessor fails: %v", r)
		}
	}()
	return map[string][]object{
		"issues": {refIssue(doc)}, "comments": refComments(doc), "attachments": refAttachments(doc), "changelog": refChangelog(doc),
		"issuelinks": refLinks(doc), "remote_links": refRemoteLinks(doc),
	}, nil
}

// get is d.get(key) of Python.
func get(d any, key string) any { return d.(object)[key] }

// getOr is d.get(key, fallback): null is not the fallback.
func getOr(d any, key string, fallback any) any {
	if v, found := d.(object)[key]; found {
		return v
	}
	return fallback
}

// maybe is (d or {}).get(key).
func maybe(d any, keys ...string) any {
	for _, key := range keys {
		if d == nil {
			return nil
		}
		d = get(d, key)
	}
	return d
}

func refStr(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return v
	case json.Number:
		return v.String()
	}
	panic(fmt.Sprintf("str(%T)", v))
}

func refText(node any) string {
	switch n := node.(type) {
	case nil:
		return ""
	case string:
		return n
	case []any:
		var parts []string
		for _, e := range n {
			parts = append(parts, refText(e))
		}
		return strings.Join(parts, " ")
	case object:
		own, _ := n["text"].(string)
		return strings.TrimSpace(own + " " + refText(n["content"]))
	}
	return ""
}

func refTime(v any) any {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	text = regexp.MustCompile(`\.\d+`).ReplaceAllString(text, "")
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05-0700", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return nil
}

func refInt(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	f, err := n.Float64()
	if err != nil {
		panic(err)
	}
	return int64(f)
}

func refOption(v any) any {
	d, ok := v.(object)
	if !ok {
		return refStr(v)
	}
	for _, key := range []string{"value", "name"} {
		if s, _ := d[key].(string); s != "" {
			return s
		}
	}
	panic("str(dict)")
}

func refOptions(v any) any {
	out := []any{}
	if v != nil {
		for _, e := range v.([]any) {
			out = append(out, refOption(e))
		}
	}
	return refDumps(out)
}

// refDumps is json.dumps of a list of texts: a space after commas, letters beyond ASCII escaped.
func refDumps(list []any) string {
	var parts []string
	for _, e := range list {
		raw, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		ascii := ""
		for _, r := range string(raw) {
			if r < 0x80 {
				ascii += string(r)
				continue
			}
			ascii += fmt.Sprintf(`\u%04x`, r)
		}
		parts = append(parts, ascii)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func refSLA(row object, name string, v any) {
	row[name+"_breached"], row[name+"_goal_millis"], row[name+"_elapsed_millis"] = nil, nil, nil
	d, ok := v.(object)
	if !ok {
		return
	}
	if _, failed := d["errorMessage"]; failed {
		return
	}
	cycle, _ := d["ongoingCycle"].(object)
	if len(cycle) == 0 {
		completed, _ := d["completedCycles"].([]any)
		if len(completed) == 0 {
			return
		}
		cycle = completed[len(completed)-1].(object)
	}
	switch cycle["breached"] {
	case true:
		row[name+"_breached"] = "True"
	case false:
		row[name+"_breached"] = "False"
	}
	row[name+"_goal_millis"] = refInt(maybe(cycle["goalDuration"], "millis"))
	row[name+"_elapsed_millis"] = refInt(maybe(cycle["elapsedTime"], "millis"))
}

func refIssue(doc object) object {
	f := doc["fields"]
	row := object{
		"issue_key": doc["key"], "issue_id": doc["id"], "issue_url": "https://your.atlassian.net/browse/" + doc["key"].(string),
		"summary": refStr(get(f, "summary")), "description": refText(get(f, "description")), "issue_type": maybe(get(f, "issuetype"), "name"),
		"status": maybe(get(f, "status"), "name"), "status_category": maybe(get(f, "status"), "statusCategory", "name"),
		"priority": maybe(get(f, "priority"), "name"), "resolution": maybe(get(f, "resolution"), "name"),
		"project_key": maybe(get(f, "project"), "key"), "project_name": maybe(get(f, "project"), "name"),
		"created_at": refTime(get(f, "created")), "updated_at": refTime(get(f, "updated")), "resolved_at": refTime(get(f, "resolutiondate")),
		"due_date": refStr(get(f, "duedate")), "labels": refDumps(getOr(f, "labels", []any{}).([]any)),
		"attachment_count": int64(len(getOr(f, "attachment", []any{}).([]any))),
		"comment_count":    refInt(getOr(getOr(f, "comment", object{}), "total", json.Number("0"))),
		"issuelink_count":  int64(len(getOr(f, "issuelinks", []any{}).([]any))),
		"request_type":     maybe(get(f, "customfield_10010"), "requestType", "name"), "request_status": maybe(get(f, "customfield_10010"), "currentStatus", "status"),
		"severity": refOption(get(f, "customfield_10004")), "triage": refOptions(get(f, "customfield_10323")),
		"configuration_item": refOptions(get(f, "customfield_10511")), "organizations": refOptions(get(f, "customfield_10002")),
		"spam": refOption(get(f, "customfield_10365")), "custom_url": refStr(get(f, "customfield_10325")),
		"slack_link": refOption(get(f, "customfield_10350")), "technical_issue_category": refOption(get(f, "customfield_10676")),
		"email_address": refOption(get(f, "customfield_10475")), "satisfaction": refInt(maybe(get(f, "customfield_10157"), "rating")),
		"l3_team": refOption(get(f, "customfield_11831")), "_synced_at": doc["_synced_at"], "_raw_file": doc["key"].(string) + ".json",
	}
	for _, who := range []string{"creator", "reporter", "assignee"} {
		row[who+"_email"], row[who+"_name"] = maybe(get(f, who), "emailAddress"), maybe(get(f, who), "displayName")
	}
	emails := []any{}
	if v := get(f, "customfield_10156"); v != nil {
		for _, u := range v.([]any) {
			emails = append(emails, get(u, "emailAddress"))
		}
	}
	row["participants"] = refDumps(emails)
	row["context"] = nil
	if text := refText(get(f, "customfield_10330")); text != "" {
		row["context"] = text
	}
	refSLA(row, "first_response", get(f, "customfield_10328"))
	refSLA(row, "time_to_resolution", get(f, "customfield_10161"))
	return row
}

func refComments(doc object) (rows []object) {
	for _, c := range getOr(getOr(doc["fields"], "comment", object{}), "comments", []any{}).([]any) {
		rows = append(rows, object{
			"comment_id": get(c, "id"), "issue_key": doc["key"], "author_email": maybe(get(c, "author"), "emailAddress"),
			"author_name": maybe(get(c, "author"), "displayName"), "body": refText(get(c, "body")), "created_at": refTime(get(c, "created")),
			"updated_at": refTime(get(c, "updated")), "update_author_email": maybe(get(c, "updateAuthor"), "emailAddress"),
		})
	}
	return rows
}

func refAttachments(doc object) (rows []object) {
	key := doc["key"].(string)
	for _, a := range getOr(doc["fields"], "attachment", []any{}).([]any) {
		id, name := get(a, "id").(string), get(a, "filename").(string)
		path := "other/" + key
		if m := regexp.MustCompile(`-(\d+)$`).FindStringSubmatch(key); m != nil {
			n := m[1]
			path = "0/" + n
			if len(n) > 3 {
				path = n[:len(n)-3] + "/" + n[len(n)-3:]
			}
		}
		rows = append(rows, object{
			"attachment_id": id, "issue_key": key, "filename": name, "local_path": nil, "hierarchical_path": path + "/" + id + "_" + name,
			"size_bytes": refInt(get(a, "size")), "mime_type": get(a, "mimeType"), "author_email": maybe(get(a, "author"), "emailAddress"),
			"created_at": refTime(get(a, "created")), "content_url": get(a, "content"), "thumbnail_url": get(a, "thumbnail"),
		})
	}
	return rows
}

func refChangelog(doc object) (rows []object) {
	for _, h := range getOr(getOr(doc, "changelog", object{}), "histories", []any{}).([]any) {
		for _, item := range getOr(h, "items", []any{}).([]any) {
			rows = append(rows, object{
				"change_id": get(h, "id"), "issue_key": doc["key"], "author_email": maybe(get(h, "author"), "emailAddress"),
				"author_name": maybe(get(h, "author"), "displayName"), "field_name": refStr(get(item, "field")), "field_type": refStr(get(item, "fieldtype")),
				"from_value": refStr(get(item, "fromString")), "to_value": refStr(get(item, "toString")), "changed_at": refTime(get(h, "created")),
			})
		}
	}
	return rows
}

func refLinks(doc object) (rows []object) {
	for _, l := range getOr(doc["fields"], "issuelinks", []any{}).([]any) {
		direction := "inward"
		linked := get(l, "inwardIssue")
		if linked == nil {
			direction, linked = "outward", get(l, "outwardIssue")
		}
		if linked == nil {
			continue
		}
		fields := get(linked, "fields")
		rows = append(rows, object{
			"issue_key": doc["key"], "link_id": get(l, "id"), "link_type": maybe(get(l, "type"), "name"), "direction": direction,
			"linked_issue_key": get(linked, "key"), "linked_issue_summary": maybe(fields, "summary"),
			"linked_issue_status": maybe(fields, "status", "name"), "linked_issue_priority": maybe(fields, "priority", "name"),
		})
	}
	return rows
}

func refRemoteLinks(doc object) (rows []object) {
	for _, l := range getOr(doc, "_remote_links", []any{}).([]any) {
		target, application := getOr(l, "object", object{}), getOr(l, "application", object{})
		rows = append(rows, object{
			"issue_key": doc["key"], "remote_link_id": refStr(get(l, "id")), "url": get(target, "url"), "title": get(target, "title"),
			"application_name": get(application, "name"), "application_type": get(application, "type"),
		})
	}
	return rows
}

// refMonth is the month in the offset of the text.
func refMonth(doc object) any {
	if t, ok := refTime(get(doc["fields"], "created")).(time.Time); ok {
		return t.Format("2006-01")
	}
	return "now"
}
