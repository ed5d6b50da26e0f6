package rows

import (
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// array is a list; nothing is an empty one.
func (f *Flattener) array(column string, v *jsontree.Value) []*jsontree.Value {
	if v == nil {
		return nil
	}
	if v.Type() != jsontree.Array {
		f.unexpected(column, "a list", v)
		return nil
	}
	return v.GetArray()
}

// lists gives the list that we fetched whole, where the document has it.
func (f *Flattener) lists(own string) (v *jsontree.Value, found bool) {
	v = present(f.doc.Get(own))
	return v, v != nil && v.Type() == jsontree.Array
}

// listed gives the elements of a list that is either kept beside the issue, or within it: in other,
// under key.
func (f *Flattener) listed(own string, other *jsontree.Value, key string) []*jsontree.Value {
	if v, found := f.lists(own); found {
		return v.GetArray()
	}
	return f.array(key, f.dig(key, present(other), key))
}

// objects makes a row of each object among the elements. Where two have the same id, such as an
// element that moved to the next page between two requests, the later counts.
func (f *Flattener) objects(elements []*jsontree.Value, id func(*jsontree.Value) string, row func(v *jsontree.Value) []any) [][]any {
	if len(elements) == 0 {
		return nil
	}
	rows := make([][]any, 0, len(elements))
	var seen map[string]int
	if len(elements) > 1 {
		seen = make(map[string]int, len(elements))
	}
	for _, v := range elements {
		if v.Type() != jsontree.Object {
			f.unexpected("", "an object", v)
			continue
		}
		r := row(v)
		if r == nil {
			continue
		}
		if key := id(v); seen != nil && key != "" {
			if at, again := seen[key]; again {
				rows[at] = r
				continue
			}
			seen[key] = len(rows)
		}
		rows = append(rows, r)
	}
	return rows
}

func ownID(v *jsontree.Value) string { return scalar(v.Get("id")) }

// id is the id of an element; one without is a problem.
func (f *Flattener) id(column string, v *jsontree.Value) any {
	if id := ownID(v); id != "" {
		return id
	}
	f.problem(column, "missing")
	return nil
}

// field is the text of a member.
func (f *Flattener) field(column string, v *jsontree.Value, key string) any {
	return f.string(column, present(v.Get(key)))
}

func (f *Flattener) time(column string, v *jsontree.Value, key string) any {
	return f.timestamp(column, present(v.Get(key)))
}

func (f *Flattener) comments() [][]any {
	return f.objects(f.listed("_comments", f.values[slotComment], "comments"), ownID, func(v *jsontree.Value) []any {
		author := present(v.Get("author"))
		return []any{
			f.id("comment_id", v), f.out.IssueKey, f.at("author_email", author, "emailAddress"), f.at("author_name", author, "displayName"),
			f.markdown("body", present(v.Get("body"))), f.time("created_at", v, "created"), f.time("updated_at", v, "updated"),
			f.at("update_author_email", present(v.Get("updateAuthor")), "emailAddress"), f.at("author_account_id", author, "accountId"), f.out.IssueID,
		}
	})
}

func (f *Flattener) attachments() [][]any {
	return f.objects(f.array("", f.values[slotAttachment]), ownID, func(v *jsontree.Value) []any {
		author := present(v.Get("author"))
		id, name := ownID(v), jsontree.Text(v.Get("filename"))
		var local, hierarchical any
		if id != "" && name != "" {
			hierarchical = hierarchicalPath(f.out.IssueKey, id, name)
			if f.local != nil {
				if path := f.local(f.out.IssueID, id, name); path != "" {
					local = path
				}
			}
		}
		return []any{
			f.id("attachment_id", v), f.out.IssueKey, f.field("filename", v, "filename"), local, hierarchical,
			f.integer("size_bytes", present(v.Get("size"))), f.field("mime_type", v, "mimeType"), f.at("author_email", author, "emailAddress"),
			f.time("created_at", v, "created"), f.field("content_url", v, "content"), f.field("thumbnail_url", v, "thumbnail"),
			f.at("author_account_id", author, "accountId"), f.out.IssueID,
		}
	})
}

// hierarchicalPath spreads the files of a project over folders of a thousand issues, as the
// predecessor did: 14/991/<id>_<file> for SUPPORT-14991.
func hierarchicalPath(key, id, name string) string {
	file := safeName(id) + "_" + safeName(name)
	number := key[strings.LastIndexByte(key, '-')+1:]
	if number == key || number == "" || strings.Trim(number, "0123456789") != "" {
		return "other/" + safeName(key) + "/" + file
	}
	thousands := "0"
	if n := len(number) - 3; n > 0 {
		thousands, number = number[:n], number[n:]
	}
	return thousands + "/" + number + "/" + file
}

// safeName makes one step of a path from a word of others.
func safeName(word string) string {
	word = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '/' || r == '\\' {
			return '_'
		}
		return r
	}, word)
	if word == "." || word == ".." {
		return "_"
	}
	return word
}

// changelog makes a row of each item of each history.
func (f *Flattener) changelog() [][]any {
	histories := f.listed("_changelog", f.doc.Get("changelog"), "histories")
	var rows [][]any
	seen := map[string]bool{}
	// From the end, so that of two histories with one id the later counts; the rows are sorted anyway.
	for i := len(histories) - 1; i >= 0; i-- {
		h := histories[i]
		if h.Type() != jsontree.Object {
			f.unexpected("", "an object", h)
			continue
		}
		id := ownID(h)
		if id != "" && seen[id] {
			continue
		}
		seen[id] = true
		rows = f.history(rows, h)
	}
	return rows
}

func (f *Flattener) history(rows [][]any, h *jsontree.Value) [][]any {
	author := present(h.Get("author"))
	id, email, name := f.id("change_id", h), f.at("author_email", author, "emailAddress"), f.at("author_name", author, "displayName")
	at, account := f.time("changed_at", h, "created"), f.at("author_account_id", author, "accountId")
	for i, v := range f.array("item", present(h.Get("items"))) {
		if v.Type() != jsontree.Object {
			f.unexpected("item", "an object", v)
			continue
		}
		rows = append(rows, []any{
			id, f.out.IssueKey, email, name, f.field("field_name", v, "field"), f.field("field_type", v, "fieldtype"),
			f.field("from_value", v, "fromString"), f.field("to_value", v, "toString"), at, account, f.out.IssueID, int64(i + 1),
		})
	}
	return rows
}

func (f *Flattener) issueLinks() [][]any {
	return f.objects(f.array("", f.values[slotLinks]), ownID, func(v *jsontree.Value) []any {
		direction, linked := "inward", present(v.Get("inwardIssue"))
		if linked == nil {
			direction, linked = "outward", present(v.Get("outwardIssue"))
		}
		if linked == nil {
			return nil
		}
		fields := f.dig("linked_issue_summary", linked, "fields")
		return []any{
			f.out.IssueKey, f.id("link_id", v), f.at("link_type", present(v.Get("type")), "name"), direction, f.at("linked_issue_key", linked, "key"),
			f.at("linked_issue_summary", fields, "summary"), f.at("linked_issue_status", fields, "status", "name"),
			f.at("linked_issue_priority", fields, "priority", "name"), f.out.IssueID,
		}
	})
}

func (f *Flattener) remoteLinks() [][]any {
	return f.objects(f.array("", present(f.doc.Get("_remote_links"))), ownID, func(v *jsontree.Value) []any {
		object, application := present(v.Get("object")), present(v.Get("application"))
		return []any{
			f.out.IssueKey, f.id("remote_link_id", v), f.at("url", object, "url"), f.at("title", object, "title"),
			f.at("application_name", application, "name"), f.at("application_type", application, "type"), f.out.IssueID,
		}
	})
}

func (f *Flattener) worklogs() [][]any {
	return f.objects(f.listed("_worklogs", f.values[slotWorklog], "worklogs"), ownID, func(v *jsontree.Value) []any {
		author := present(v.Get("author"))
		return []any{
			f.id("worklog_id", v), f.out.IssueKey, f.at("author_email", author, "emailAddress"), f.at("author_name", author, "displayName"),
			f.markdown("comment", present(v.Get("comment"))), f.time("started_at", v, "started"), f.field("time_spent", v, "timeSpent"),
			f.integer("time_spent_seconds", present(v.Get("timeSpentSeconds"))), f.time("created_at", v, "created"), f.time("updated_at", v, "updated"),
			f.at("update_author_email", present(v.Get("updateAuthor")), "emailAddress"), f.at("author_account_id", author, "accountId"), f.out.IssueID,
		}
	})
}
