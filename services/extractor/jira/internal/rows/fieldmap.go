package rows

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Kind says how the value of a field becomes a column. The words are those of the configuration.
type Kind string

// The kinds. What each takes and gives is described in docs/jira-fields.md.
const (
	KindText      Kind = "text"      // text, number or truth value, as a text; rich text as Markdown
	KindADF       Kind = "adf"       // rich text as Markdown; an empty one is NULL
	KindOption    Kind = "option"    // the value or name of a choice, version, component, group, team …
	KindOptions   Kind = "options"   // a JSON list of such; nothing is []
	KindCascading Kind = "cascading" // a choice in two steps: "Parent -> Child"
	KindNumber    Kind = "number"    // DOUBLE
	KindInteger   Kind = "integer"   // BIGINT
	KindBoolean   Kind = "boolean"   // BOOLEAN
	KindDate      Kind = "date"      // DATE; of an instant the day in UTC
	KindDatetime  Kind = "datetime"  // TIMESTAMP WITH TIME ZONE
	KindUser      Kind = "user"      // three columns: _email, _name and _account_id
	KindUsers     Kind = "users"     // a JSON list of e-mail addresses; a display name where the address is hidden
	KindAccount   Kind = "account"   // the account id of a user
	KindAccounts  Kind = "accounts"  // a JSON list of account ids
	KindSLA       Kind = "sla"       // three columns: _breached, _goal_millis and _elapsed_millis
	KindJSON      Kind = "json"      // the value as JSON text
	KindSprint    Kind = "sprint"    // no column: the field fills the table sprints
)

// Field is an entry of the field map: one field of Jira and its columns.
type Field struct {
	// Name of the column, or what the names of several columns start with.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// ID of the field in Jira, such as customfield_10004; any key of an issue's `fields`.
	ID   string `json:"id,omitempty" yaml:"id,omitempty"`
	Kind Kind   `json:"kind,omitempty" yaml:"kind,omitempty"`
	// Path leads into the value, such as requestType.name; empty for the value itself.
	Path string `json:"path,omitempty" yaml:"path,omitempty"`
	// Use stands for a list of fields and excludes the rest of the entry: "reference" for Reference.
	Use string `json:"use,omitempty" yaml:"use,omitempty"`
}

// UseReference is the one list that Field.Use knows.
const UseReference = "reference"

// defaultSprintField is the id that Jira Cloud gives to the sprint field of every site.
const defaultSprintField = "customfield_10020"

// MaxFields is the largest number of fields that a map may have.
const MaxFields = 500

// Reference is the field map of the predecessor, which is the default: with it the table issues has
// exactly the predecessor's 49 columns. Its ids are those of one site; another one replaces them.
func Reference() []Field {
	return []Field{
		{Name: "request_type", ID: "customfield_10010", Kind: KindText, Path: "requestType.name"},
		{Name: "request_status", ID: "customfield_10010", Kind: KindText, Path: "currentStatus.status"},
		{Name: "severity", ID: "customfield_10004", Kind: KindOption},
		{Name: "triage", ID: "customfield_10323", Kind: KindOptions},
		{Name: "configuration_item", ID: "customfield_10511", Kind: KindOptions},
		{Name: "participants", ID: "customfield_10156", Kind: KindUsers},
		{Name: "organizations", ID: "customfield_10002", Kind: KindOptions},
		{Name: "spam", ID: "customfield_10365", Kind: KindOption},
		{Name: "context", ID: "customfield_10330", Kind: KindADF},
		{Name: "custom_url", ID: "customfield_10325", Kind: KindText},
		{Name: "slack_link", ID: "customfield_10350", Kind: KindOption},
		{Name: "technical_issue_category", ID: "customfield_10676", Kind: KindOption},
		{Name: "email_address", ID: "customfield_10475", Kind: KindOption},
		{Name: "satisfaction", ID: "customfield_10157", Kind: KindInteger, Path: "rating"},
		{Name: "first_response", ID: "customfield_10328", Kind: KindSLA},
		{Name: "time_to_resolution", ID: "customfield_10161", Kind: KindSLA},
		{Name: "l3_team", ID: "customfield_11831", Kind: KindOption},
		{Name: "sprint", ID: defaultSprintField, Kind: KindSprint},
	}
}

// columnsOf gives the columns of a field.
func columnsOf(f Field) []catalog.Column {
	one := func(kind string) []catalog.Column { return []catalog.Column{{Name: f.Name, Type: kind}} }
	switch f.Kind {
	case KindNumber:
		return one(typeNumber)
	case KindInteger:
		return one(typeInteger)
	case KindBoolean:
		return one(typeBoolean)
	case KindDate:
		return one(typeDate)
	case KindDatetime:
		return one(typeTimestamp)
	case KindUser:
		return columns(f.Name+"_email", f.Name+"_name", f.Name+"_account_id")
	case KindSLA:
		return columns(f.Name+"_breached", integer, f.Name+"_goal_millis", integer, f.Name+"_elapsed_millis")
	case KindSprint:
		return nil
	default:
		return one(typeText)
	}
}

var kinds = []Kind{
	KindText, KindADF, KindOption, KindOptions, KindCascading, KindNumber, KindInteger, KindBoolean, KindDate, KindDatetime,
	KindUser, KindUsers, KindAccount, KindAccounts, KindSLA, KindJSON, KindSprint,
}

// FieldMap is a checked list of fields. The zero FieldMap has none: see NewFieldMap.
type FieldMap struct {
	fields  []Field
	columns []catalog.Column // of the table issues
	sprint  string           // id of the field that fills the table sprints
}

var columnName = regexp.MustCompile(`\A[a-z_][a-z0-9_]{0,62}\z`)

// NewFieldMap checks the fields of a configuration. None at all are those of Reference. An entry
// {use: reference} stands for these, and a later entry of the same name then takes the place of the
// earlier. Where no entry is of the kind sprint, Jira's usual field is. Errors are fault.Invalid.
func NewFieldMap(fields []Field) (FieldMap, error) {
	if len(fields) == 0 {
		fields = []Field{{Use: UseReference}}
	}
	var m FieldMap
	var replaceable int // how many of m.fields came from a list
	for i, f := range fields {
		if f.Use != "" {
			if f != (Field{Use: UseReference}) {
				return FieldMap{}, fault.New(fault.Invalid, "fields: entry %d: `use` takes %q and stands alone", i+1, UseReference)
			}
			if i > 0 {
				return FieldMap{}, fault.New(fault.Invalid, "fields: `use: %s` must come first", UseReference)
			}
			m.fields = Reference()
			replaceable = len(m.fields)
			continue
		}
		if err := f.check(); err != nil {
			return FieldMap{}, fault.New(fault.Invalid, "fields: entry %d (%.80q): %s", i+1, f.Name, err)
		}
		same := slices.IndexFunc(m.fields[:replaceable], func(o Field) bool {
			return o.Name == f.Name || o.Kind == KindSprint && f.Kind == KindSprint
		})
		if same >= 0 {
			m.fields[same] = f
			continue
		}
		m.fields = append(m.fields, f)
	}
	if len(m.fields) > MaxFields {
		return FieldMap{}, fault.New(fault.Invalid, "fields: %d entries are more than %d", len(m.fields), MaxFields)
	}
	return m, m.compile()
}

// check tells what is wrong with an entry by itself.
func (f Field) check() error {
	switch {
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("kind %.40q is none of %s", string(f.Kind), join(kinds))
	case f.ID == "" || strings.ContainsFunc(f.ID, func(r rune) bool { return r <= ' ' }):
		return fmt.Errorf("id %.40q is not the id of a field", f.ID)
	case f.Kind != KindSprint && !columnName.MatchString(f.Name):
		return errors.New("a name has 1 to 63 small letters, digits and '_', and does not start with a digit")
	case f.Path != "" && slices.Contains(strings.Split(f.Path, "."), ""):
		return fmt.Errorf("path %.80q has an empty step", f.Path)
	}
	return nil
}

func join(kinds []Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// compile finds the columns and refuses a name that two have.
func (m *FieldMap) compile() error {
	taken := map[string]string{}
	for _, c := range slices.Concat(issueColumns, issueTail) {
		taken[c.Name] = "a column that every map has"
	}
	for _, f := range m.fields {
		if f.Kind == KindSprint {
			if m.sprint != "" {
				return fault.New(fault.Invalid, "fields: %s and %s are both of the kind %s", m.sprint, f.ID, KindSprint)
			}
			m.sprint = f.ID
		}
		for _, c := range columnsOf(f) {
			if by, found := taken[c.Name]; found {
				return fault.New(fault.Invalid, "fields: the column %s of %s is also %s", c.Name, f.ID, by)
			}
			taken[c.Name] = "a column of " + f.ID
			m.columns = append(m.columns, c)
		}
	}
	if m.sprint == "" {
		m.sprint = defaultSprintField
	}
	return nil
}

// Fields gives the entries in effect, in the order of their columns.
func (m FieldMap) Fields() []Field { return slices.Clone(m.fields) }

// SprintField is the id of the field that tells the sprints of an issue.
func (m FieldMap) SprintField() string { return m.sprint }

// rules is raised whenever documents give other rows than before, so that what was made by older
// rules is made again.
const rules = 1

// Fingerprint changes when documents have to be flattened again: with the fields, the definitions of
// the tables and the rules of this package. The site is not part of it.
func (m FieldMap) Fingerprint() string {
	raw, err := json.Marshal([]any{rules, m.fields, m.sprint, Tables(m)})
	if err != nil {
		panic(err) // texts only
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
