package rows

import (
	"cmp"
	"slices"
	"time"

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
		rows = append(rows, []any{
			p.account, f.out.Month, known(p.name), known(p.email), p.active, known(p.zone), known(p.kind), instant(f.out.Updated), f.synced,
		})
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

// Fold makes the rows of a part from the rows of all issues of its month: it sorts them by the
// table's OrderBy, in place, and of the users, given with table == Users, it leaves one row per
// account and month: what was fetched last, with the latest of last_seen_at. The result does not
// depend on the order of the rows.
func (t Table) Fold(rows [][]any) [][]any {
	sortRows(rows, t.order())
	if t.Name != tableNames[Users] {
		return rows
	}
	account, month, seen, synced := t.column("account_id"), t.column("month"), t.column("last_seen_at"), t.column("_synced_at")
	out := rows[:0]
	for _, row := range rows {
		last := len(out) - 1
		if last < 0 || out[last][account] != row[account] || out[last][month] != row[month] {
			out = append(out, row)
			continue
		}
		newer, older := row, out[last]
		if c := fetched(newer[synced]).Compare(fetched(older[synced])); c < 0 || c == 0 && compareRows(newer, older, nil) < 0 {
			newer, older = older, newer
		}
		if older[seen] != nil && (newer[seen] == nil || newer[seen].(time.Time).Before(older[seen].(time.Time))) {
			newer = slices.Clone(newer)
			newer[seen] = older[seen]
		}
		out[last] = newer
	}
	clear(rows[len(out):])
	return out
}

// fetched is the instant of a value of _synced_at; the zero time where it is none.
func fetched(v any) time.Time {
	text, _ := v.(string)
	t, _ := parseTime([]byte(text))
	return t
}
