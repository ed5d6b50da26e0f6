package rows

import (
	"time"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// instant is a time, or nil for none.
func instant(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// issue makes the row of the table issues.
func (f *Flattener) issue() []any {
	v, o := f.values, &f.out
	person := func(slot int, email, name string) (address, display any) {
		return f.at(email, v[slot], "emailAddress"), f.at(name, v[slot], "displayName")
	}
	creatorEmail, creatorName := person(slotCreator, "creator_email", "creator_name")
	reporterEmail, reporterName := person(slotReporter, "reporter_email", "reporter_name")
	assigneeEmail, assigneeName := person(slotAssignee, "assignee_email", "assignee_name")
	row := make([]any, 0, len(issueColumns)+len(f.fields.columns)+len(issueTail))
	row = append(row,
		o.IssueKey, o.IssueID, f.base+"/browse/"+o.IssueKey,
		f.string("summary", v[slotSummary]), f.markdown("description", v[slotDescription]),
		f.at("issue_type", v[slotType], "name"),
		f.at("status", v[slotStatus], "name"), f.at("status_category", v[slotStatus], "statusCategory", "name"),
		f.at("priority", v[slotPriority], "name"), f.at("resolution", v[slotResolution], "name"),
		f.at("project_key", v[slotProject], "key"), f.at("project_name", v[slotProject], "name"),
		creatorEmail, creatorName, reporterEmail, reporterName, assigneeEmail, assigneeName,
		instant(o.Created), instant(o.Updated), f.timestamp("resolved_at", v[slotResolved]),
		f.string("due_date", v[slotDue]), f.list("labels", "label", v[slotLabels], labelWord),
		int64(len(o.Tables[Attachments])), f.commentCount(), int64(len(f.array("issuelink_count", v[slotLinks]))))
	for i := range f.customs {
		row = f.custom(row, &f.customs[i])
	}
	return append(row, f.synced, o.IssueKey+".json")
}

func labelWord(v *jsontree.Value) (string, bool) {
	word := scalar(v)
	return word, word != ""
}

// commentCount is how many comments there are: those that we have, unless we know that there are more.
func (f *Flattener) commentCount() any {
	count := int64(len(f.out.Tables[Comments]))
	_, complete := f.lists("_comments")
	if complete && !f.partial("comments") {
		return count
	}
	if total, ok := f.integer("comment_count", f.dig("comment_count", f.values[slotComment], "total")).(int64); ok && total > count {
		return total
	}
	return count
}

// custom appends the columns of a field of the map.
func (f *Flattener) custom(row []any, c *custom) []any {
	if c.Kind == KindSprint {
		return row
	}
	name := c.names[0]
	v := f.dig(name, f.values[c.slot], c.path...)
	switch c.Kind {
	case KindADF:
		text := f.markdown(name, v)
		if text == "" {
			text = nil
		}
		return append(row, text)
	case KindOption:
		return append(row, f.option(name, v))
	case KindOptions:
		return append(row, f.list(name, "option", v, optionWord))
	case KindCascading:
		return append(row, f.cascading(name, v))
	case KindNumber:
		return append(row, f.number(name, v))
	case KindInteger:
		return append(row, f.integer(name, v))
	case KindBoolean:
		return append(row, f.boolean(name, v))
	case KindDate:
		return append(row, f.date(name, v))
	case KindDatetime:
		return append(row, f.timestamp(name, v))
	case KindUser:
		return append(row, f.at(name, v, "emailAddress"), f.at(c.names[1], v, "displayName"), f.at(c.names[2], v, "accountId"))
	case KindUsers:
		return append(row, f.list(name, "user", v, emailWord))
	case KindAccount:
		return append(row, f.at(name, v, "accountId"))
	case KindAccounts:
		return append(row, f.list(name, "user", v, accountWord))
	case KindSLA:
		return f.sla(row, c, v)
	case KindJSON:
		return append(row, f.json(v))
	default:
		if v != nil && string(v.GetStringBytes("type")) == "doc" {
			return append(row, f.markdown(name, v))
		}
		return append(row, f.string(name, v))
	}
}

// sla appends whether the goal was missed, and the goal and the time used in milliseconds: of the
// cycle that runs, else of the last that ended. Jira puts an errorMessage in place of a value that
// the account may not see.
func (f *Flattener) sla(row []any, c *custom, v *jsontree.Value) []any {
	if v != nil && v.Type() != jsontree.Object {
		f.unexpected(c.names[0], "an SLA", v)
		v = nil
	}
	if v == nil || present(v.Get("errorMessage")) != nil {
		return append(row, nil, nil, nil)
	}
	cycle := present(v.Get("ongoingCycle"))
	if cycle == nil || cycle.GetObject() != nil && cycle.GetObject().Len() == 0 {
		cycle = nil
		if ended := f.array(c.names[0], present(v.Get("completedCycles"))); len(ended) > 0 {
			cycle = present(ended[len(ended)-1])
		}
	}
	var breached any
	switch f.boolean(c.names[0], f.dig(c.names[0], cycle, "breached")) {
	case true:
		breached = "True"
	case false:
		breached = "False"
	}
	return append(row, breached,
		f.integer(c.names[1], f.dig(c.names[1], cycle, "goalDuration", "millis")),
		f.integer(c.names[2], f.dig(c.names[2], cycle, "elapsedTime", "millis")))
}

// deletedIssue makes the row of the table deleted_issues, the only one of a deleted issue.
func (f *Flattener) deletedIssue(at *jsontree.Value) {
	f.table = DeletedIssues
	v, o := f.values, &f.out
	o.Tables[DeletedIssues] = [][]any{{
		o.IssueID, o.IssueKey, o.ProjectKey, f.timestamp("deleted_at", at),
		f.string("summary", v[slotSummary]), f.at("issue_type", v[slotType], "name"), f.at("status", v[slotStatus], "name"),
		instant(o.Created), instant(o.Updated),
	}}
}
