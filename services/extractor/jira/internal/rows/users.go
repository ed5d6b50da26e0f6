package rows

import (
	"cmp"
	"slices"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// person is what a document tells of an account.
type person struct {
	account, name, email, zone, kind string
	active                           any // bool or nil
}

// users makes a row of each account that appears anywhere in the document with what Jira tells of
// it. Where it appears several times, the row does not depend on the order of the document.
func (f *Flattener) users() [][]any {
	f.walk(f.doc)
	if len(f.people) == 0 {
		return nil
	}
	slices.SortFunc(f.people, func(a, b person) int { return cmp.Compare(a.account, b.account) })
	rows := make([][]any, 0, len(f.people))
	for i := 0; i < len(f.people); {
		p := f.people[i]
		for i++; i < len(f.people) && f.people[i].account == p.account; i++ {
			p.add(f.people[i])
		}
		rows = append(rows, []any{p.account, known(p.name), known(p.email), p.active, known(p.zone), known(p.kind)})
	}
	return rows
}

func known(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// add completes what is known, whatever the order: where two differ, the greater text stays.
func (p *person) add(o person) {
	p.name, p.email, p.zone, p.kind = max(p.name, o.name), max(p.email, o.email), max(p.zone, o.zone), max(p.kind, o.kind)
	if p.active == nil || o.active == true {
		p.active = o.active
	}
}

// walk collects the accounts below v. Mentions in rich text tell nothing of an account but a name.
func (f *Flattener) walk(v *jsontree.Value) {
	switch v.Type() {
	case jsontree.Array:
		for _, e := range v.GetArray() {
			f.walk(e)
		}
	case jsontree.Object:
		if string(v.GetStringBytes("type")) == "doc" {
			return
		}
		if account := v.GetStringBytes("accountId"); len(account) > 0 {
			f.person(account, v)
		}
		v.GetObject().Visit(func(_ []byte, member *jsontree.Value) { f.walk(member) })
	default:
	}
}

func (f *Flattener) person(account []byte, v *jsontree.Value) {
	p := person{
		account: string(account), name: jsontree.Text(v.Get("displayName")), email: jsontree.Text(v.Get("emailAddress")),
		zone: jsontree.Text(v.Get("timeZone")), kind: jsontree.Text(v.Get("accountType")),
	}
	if a := v.Get("active"); a != nil && (a.Type() == jsontree.True || a.Type() == jsontree.False) {
		p.active = a.Type() == jsontree.True
	}
	f.people = append(f.people, p)
}
