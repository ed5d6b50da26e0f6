package rows

import (
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/adf"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// UndatedMonth is the month of an issue whose time of creation is missing or no time. It never
// changes, so that such an issue does not wander from part to part.
const UndatedMonth = "1970-01"

// MonthOf is the month that an issue created at t belongs to: YYYY-MM in UTC.
func MonthOf(t time.Time) string { return t.UTC().Format("2006-01") }

// Site is what the rows depend on besides the document.
type Site struct {
	// URL is the address of the Jira site, such as https://your.atlassian.net; a bare host is taken for https.
	URL string
	// LocalPath tells where the content of an attachment is kept, "" where it is not. It may be nil.
	// Its answer must not change unless the document does.
	LocalPath func(issueID, attachmentID, filename string) string
}

// Rows are the rows of one issue.
type Rows struct {
	IssueID, IssueKey, ProjectKey string
	// Month is the month that all rows belong to: see MonthOf and UndatedMonth.
	Month string
	// Created, Updated and SyncedAt are zero where the document does not tell.
	Created, Updated, SyncedAt time.Time
	// Deleted tells that the document is that of a deleted issue: it has a row of deleted_issues alone.
	Deleted bool
	// Tables are the rows by table, each in the order of Tables(fields)[i].Columns and sorted by its
	// OrderBy.
	Tables [TableCount][][]any
	// Problems are the values that were left out, counted; nil where all is well.
	Problems []Problem
}

// Problem is a kind of value that did not fit its column, and was left out.
type Problem struct {
	Table, Column string
	Reason        string // such as "expected a number, found a list"; nothing of the value itself
	Count         int
}

// Flattener makes rows of one document after the other. It is not safe for concurrent use.
type Flattener struct {
	fields  FieldMap
	base    string
	local   func(issueID, attachmentID, filename string) string
	customs []custom
	slots   map[string]int // field id → index in values
	sprint  int            // slot of the sprint field
	order   [TableCount][]int

	parser jsontree.Parser
	adf    adf.Renderer
	// values are the fields of the present document by slot; nil where missing or null.
	values []*jsontree.Value
	doc    *jsontree.Value
	out    Rows
	synced any // _synced_at as it stands
	people []person
	text   []byte // scratch
	table  int    // what problems are counted for
}

// custom is an entry of the field map at work.
type custom struct {
	Field
	slot  int
	path  []string
	names []string // of its columns
}

// Slots of the fields that every issue has.
const (
	slotSummary = iota
	slotDescription
	slotType
	slotStatus
	slotPriority
	slotResolution
	slotProject
	slotCreator
	slotReporter
	slotAssignee
	slotCreated
	slotUpdated
	slotResolved
	slotDue
	slotLabels
	slotAttachment
	slotComment
	slotLinks
	slotWorklog
	slotCount
)

var slotNames = [slotCount]string{
	"summary", "description", "issuetype", "status", "priority", "resolution", "project", "creator", "reporter", "assignee",
	"created", "updated", "resolutiondate", "duedate", "labels", "attachment", "comment", "issuelinks", "worklog",
}

// NewFlattener returns a Flattener for the documents of a site.
func NewFlattener(fields FieldMap, site Site) *Flattener {
	f := &Flattener{fields: fields, base: baseURL(site.URL), local: site.LocalPath, slots: map[string]int{}}
	slot := func(id string) int {
		if _, found := f.slots[id]; !found {
			f.slots[id] = len(f.slots)
		}
		return f.slots[id]
	}
	for _, name := range slotNames {
		slot(name)
	}
	for _, field := range fields.fields {
		c := custom{Field: field, slot: slot(field.ID)}
		if field.Path != "" {
			c.path = strings.Split(field.Path, ".")
		}
		for _, column := range columnsOf(field) {
			c.names = append(c.names, column.Name)
		}
		f.customs = append(f.customs, c)
	}
	f.sprint = slot(fields.sprint)
	f.values = make([]*jsontree.Value, len(f.slots))
	for i, t := range Tables(fields) {
		f.order[i] = t.order()
	}
	return f
}

func baseURL(url string) string {
	url = strings.TrimRight(strings.TrimSpace(url), "/")
	if !strings.Contains(url, "://") {
		url = "https://" + url
	}
	return url
}

// Flatten makes the rows of one document, which are the caller's own. A value of a shape that nobody
// foresaw is NULL and a problem. The error, of the kind fault.Permanent, is for a document that is no
// issue: no JSON object, or without id, key or fields.
func (f *Flattener) Flatten(doc []byte) (Rows, error) {
	root, cut, err := f.parser.Parse(doc)
	if err != nil {
		return Rows{}, fault.Wrap(err, fault.Permanent, "the issue's document is %s", err)
	}
	f.doc, f.out, f.table, f.people = root, Rows{}, Issues, f.people[:0]
	defer func() { f.doc, f.out, f.synced = nil, Rows{}, nil }()
	if root.Type() != jsontree.Object {
		return Rows{}, fault.New(fault.Permanent, "the issue's document is %s, not an object", kindOf(root))
	}
	if cut {
		f.problem("", "nested too deeply: what is further down is left out")
	}
	o := &f.out
	o.IssueID, o.IssueKey = scalar(root.Get("id")), jsontree.Text(root.Get("key"))
	if o.IssueID == "" || o.IssueKey == "" {
		return Rows{}, fault.New(fault.Permanent, "the issue's document has no id or no key")
	}
	deleted := present(root.Get("_deleted_at"))
	o.Deleted = deleted != nil
	if !f.spread(root.Get("fields")) && !o.Deleted {
		return Rows{}, fault.New(fault.Permanent, "the document of the issue %s has no fields", o.IssueID)
	}
	f.head(root)
	if o.Deleted {
		f.deletedIssue(deleted)
	} else {
		f.flatten()
	}
	for i := range o.Tables {
		if len(o.Tables[i]) > 1 {
			sortRows(o.Tables[i], f.order[i])
		}
	}
	return *o, nil
}

// Flatten makes the rows of one document. Use a Flattener for several.
func Flatten(doc []byte, fields FieldMap, site Site) (Rows, error) {
	return NewFlattener(fields, site).Flatten(doc)
}

// spread puts the fields into their slots and tells whether there are any.
func (f *Flattener) spread(fields *jsontree.Value) bool {
	clear(f.values)
	if fields == nil || fields.Type() != jsontree.Object {
		return false
	}
	fields.GetObject().Visit(func(key []byte, v *jsontree.Value) {
		if slot, found := f.slots[string(key)]; found {
			f.values[slot] = present(v)
		}
	})
	return true
}

// head reads what the rows of all tables need.
func (f *Flattener) head(root *jsontree.Value) {
	o := &f.out
	o.ProjectKey = jsontree.Text(f.dig("project_key", f.values[slotProject], "key"))
	if o.ProjectKey == "" {
		o.ProjectKey, _, _ = strings.Cut(o.IssueKey, "-")
	}
	if t, ok := f.timestamp("created_at", f.values[slotCreated]).(time.Time); ok {
		o.Created, o.Month = t, MonthOf(t)
	} else {
		o.Month = UndatedMonth
		if f.values[slotCreated] == nil {
			f.problem("created_at", "missing: the issue belongs to the month "+UndatedMonth)
		}
	}
	if t, ok := f.timestamp("updated_at", f.values[slotUpdated]).(time.Time); ok {
		o.Updated = t
	}
	synced := present(root.Get("_synced_at"))
	f.synced = f.string("_synced_at", synced)
	if t, ok := parseTime(synced.GetStringBytes()); ok {
		o.SyncedAt = t
	}
}

func (f *Flattener) flatten() {
	add := func(table int, rows [][]any) { f.out.Tables[table] = rows }
	f.table = Comments
	add(Comments, f.comments())
	f.table = Attachments
	add(Attachments, f.attachments())
	f.table = Changelog
	add(Changelog, f.changelog())
	f.table = IssueLinks
	add(IssueLinks, f.issueLinks())
	f.table = RemoteLinks
	add(RemoteLinks, f.remoteLinks())
	f.table = Worklogs
	add(Worklogs, f.worklogs())
	f.table = Sprints
	add(Sprints, f.sprints())
	add(IssueSprints, f.issueSprints(f.out.Tables[Sprints]))
	f.table = Users
	add(Users, f.users())
	f.table = Issues
	add(Issues, [][]any{f.issue()})
}

// problem counts a value that is left out.
func (f *Flattener) problem(column, reason string) {
	table := tableNames[f.table]
	for i := range f.out.Problems {
		if p := &f.out.Problems[i]; p.Table == table && p.Column == column && p.Reason == reason {
			p.Count++
			return
		}
	}
	f.out.Problems = append(f.out.Problems, Problem{Table: table, Column: column, Reason: reason, Count: 1})
}

// unexpected counts a value of a shape that does not fit.
func (f *Flattener) unexpected(column, wanted string, v *jsontree.Value) {
	f.problem(column, "expected "+wanted+", found "+kindOf(v))
}

var tableNames = func() (names [TableCount]string) {
	for i, t := range Tables(FieldMap{}) {
		names[i] = t.Name
	}
	return names
}()

// partial tells that a list of the document is known not to be complete.
func (f *Flattener) partial(list string) bool {
	return slices.ContainsFunc(f.doc.GetArray("_partial"), func(v *jsontree.Value) bool { return jsontree.Text(v) == list })
}
