package rows

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Proposal is how a custom field of a site could become columns.
type Proposal struct {
	// Field is an entry for the configuration as it stands.
	Field
	// Title is the field's name in Jira, Type what Jira says of its values.
	Title string `json:"title"`
	Type  string `json:"type"`
	// Mapped tells that the present map has the field already.
	Mapped bool `json:"mapped"`
}

// restField is an element of GET /rest/api/3/field.
type restField struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Custom bool   `json:"custom"`
	Schema struct {
		Type   string `json:"type"`
		Items  string `json:"items"`
		Custom string `json:"custom"`
	} `json:"schema"`
}

// kindsByCustom are kinds by the last word of schema.custom, where schema.type does not say enough.
var kindsByCustom = map[string]Kind{
	"textarea":                  KindADF,
	"gh-sprint":                 KindSprint,
	"sd-sla-field":              KindSLA,
	"cascadingselect":           KindCascading,
	"sd-request-participants":   KindUsers,
	"sd-customer-organizations": KindOptions,
}

// kindsByType are kinds by schema.type.
var kindsByType = map[string]Kind{
	"string": KindText, "number": KindNumber, "date": KindDate, "datetime": KindDatetime, "user": KindUser, "boolean": KindBoolean,
	"option": KindOption, "option-with-child": KindCascading, "option2": KindOption, "version": KindOption, "component": KindOption,
	"group": KindOption, "project": KindOption, "team": KindOption, "priority": KindOption, "resolution": KindOption, "issuetype": KindOption,
	"status": KindOption, "securitylevel": KindOption, "sd-servicelevelagreement": KindSLA,
}

// kindsByItems are kinds of lists by schema.items.
var kindsByItems = map[string]Kind{
	"string": KindOptions, "option": KindOptions, "option2": KindOptions, "version": KindOptions, "component": KindOptions, "group": KindOptions,
	"project": KindOptions, "team": KindOptions, "sd-customerorganization": KindOptions, "cmdb-object-field": KindOptions, "number": KindOptions,
	"user": KindUsers,
}

// DiscoverFields proposes an entry of the field map for each custom field in the answer of
// GET /rest/api/3/field, ordered by the number of the field; fields that give several columns have
// several. A field that the present map has keeps its entries there. The names of the others are made
// from those in Jira, and differ from all columns of the fields that the site has: what the map has of
// fields that this site lacks is free. A field whose values nobody can foresee is proposed as JSON.
// Errors are fault.Invalid.
func DiscoverFields(fieldsJSON []byte, present FieldMap) ([]Proposal, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(fieldsJSON, &elements); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "Jira's answer is not a list of fields")
	}
	var fields []restField
	for _, raw := range elements {
		var f restField
		// An element that is no field is passed over: one odd plugin must not hide the others.
		if json.Unmarshal(raw, &f) == nil && f.ID != "" && f.Custom {
			fields = append(fields, f)
		}
	}
	slices.SortStableFunc(fields, func(a, b restField) int {
		return cmp.Or(cmp.Compare(fieldNumber(a.ID), fieldNumber(b.ID)), strings.Compare(a.ID, b.ID))
	})
	mapped := map[string][]Field{}
	for _, f := range present.fields {
		mapped[f.ID] = append(mapped[f.ID], f)
	}
	n := namer{}
	for _, c := range slices.Concat(issueColumns, issueTail) {
		n[c.Name] = true
	}
	for _, f := range fields {
		for _, entry := range mapped[f.ID] {
			n.free(entry)
		}
	}
	var out []Proposal
	for _, f := range fields {
		p := Proposal{Title: f.Name, Type: f.describe(), Mapped: f.ID == present.sprint || len(mapped[f.ID]) > 0}
		if entries := mapped[f.ID]; len(entries) > 0 {
			for _, p.Field = range entries {
				out = append(out, p)
			}
			continue
		}
		for _, p.Field = range propose(f) {
			p.ID = f.ID
			p.Name = n.name(p.Field, f)
			out = append(out, p)
		}
	}
	return out, nil
}

// propose gives the entries for a field; their names are what is added to the field's own.
func propose(f restField) []Field {
	custom := f.Schema.Custom[strings.LastIndexByte(f.Schema.Custom, ':')+1:]
	switch {
	case f.Schema.Type == "sd-customerrequesttype":
		return []Field{{Name: "type", Kind: KindText, Path: "requestType.name"}, {Name: "status", Kind: KindText, Path: "currentStatus.status"}}
	case f.Schema.Type == "sd-feedback":
		return []Field{{Kind: KindInteger, Path: "rating"}}
	case kindsByCustom[custom] != "":
		return []Field{{Kind: kindsByCustom[custom]}}
	case f.Schema.Type == "array" && kindsByItems[f.Schema.Items] != "":
		return []Field{{Kind: kindsByItems[f.Schema.Items]}}
	case kindsByType[f.Schema.Type] != "":
		return []Field{{Kind: kindsByType[f.Schema.Type]}}
	}
	return []Field{{Kind: KindJSON}}
}

// describe says what Jira says of the values.
func (f restField) describe() string {
	text := f.Schema.Type
	if f.Schema.Items != "" {
		text += " of " + f.Schema.Items
	}
	if f.Schema.Custom != "" {
		text = strings.TrimSpace(text + " (" + f.Schema.Custom + ")")
	}
	return text
}

// fieldNumber is the number at the end of an id, for the order.
func fieldNumber(id string) int64 {
	n, err := strconv.ParseInt(id[strings.LastIndexByte(id, '_')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// namer holds the columns that are taken.
type namer map[string]bool

// name finds the name of an entry whose columns nobody else has: with the number of the field where
// its words alone are taken.
func (n namer) name(entry Field, f restField) string {
	words := slug(f.Name)
	number := slug(f.ID[strings.LastIndexByte(f.ID, '_')+1:])
	suffix := ""
	if entry.Name != "" {
		words, suffix = strings.TrimSuffix(words, "_type"), "_"+entry.Name
	}
	if words == "" {
		words = "field_" + number
	}
	for i := 0; ; i++ {
		tail := suffix
		switch {
		case i == 1:
			tail = "_" + number + suffix
		case i > 1:
			tail = "_" + number + "_" + strconv.Itoa(i) + suffix
		}
		entry.Name = words[:min(len(words), maxColumnWords-len(tail))] + tail
		if !columnName.MatchString(entry.Name) {
			entry.Name = "f_" + entry.Name
		}
		if n.free(entry) {
			return entry.Name
		}
	}
}

// maxColumnWords leaves room for what kinds add to a name.
const maxColumnWords = 40

// free takes the columns of an entry where none is taken.
func (n namer) free(entry Field) bool {
	if entry.Kind == KindSprint {
		return true
	}
	columns := columnsOf(entry)
	for _, c := range columns {
		if n[c.Name] {
			return false
		}
	}
	for _, c := range columns {
		n[c.Name] = true
	}
	return true
}

// slug makes a column's name of a title: small letters and digits without accents, other characters
// as one '_'.
func slug(title string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(title) {
		r = unicode.ToLower(r)
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			if gap && b.Len() > 0 {
				b.WriteByte('_')
			}
			gap = false
			b.WriteRune(r)
		case !unicode.Is(unicode.Mn, r):
			gap = true
		}
	}
	return b.String()
}
