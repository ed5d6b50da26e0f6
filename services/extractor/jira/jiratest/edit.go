package jiratest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Set is new values of fields by their ids. Strings name a status, priority, issue type, resolution or
// user (by name or address), and become a document where the field is one; nil empties the field; any
// other value is the JSON that the REST API has.
type Set map[string]any

// Option is the value of a field with options.
func Option(value string) map[string]any { return map[string]any{"value": value, "id": "10699"} }

// do makes a change at the site's next moment, and sends what it caused.
func (s *Site) do(change func(at time.Time)) {
	s.mu.Lock()
	func() {
		defer s.mu.Unlock() // also where the test asked for what cannot be
		change(s.tick())
	}()
	s.deliver()
}

// touch notes that an issue changes, before it does.
func (s *Site) touch(is *issue, at time.Time) {
	if was, ok := s.changed[is.id]; !ok || at.Sub(was.at) > s.cfg.SearchLag {
		c := change{at: at}
		if s.cfg.SearchLag > 0 {
			before := *is
			c.before = &before
		}
		s.changed[is.id] = c
	}
	is.updated = at
}

// change is what search saw of an issue before.
type change struct {
	at     time.Time
	before *issue // nil: it did not exist
}

// actor is who makes changes: somebody else each time.
func (s *Site) actor() *user { return s.users[1+int(s.seq)%(len(s.users)-1)] }

func (s *Site) userBy(v any) *user {
	if v == nil {
		return nil
	}
	for _, u := range s.users {
		if u.name == v || u.email != "" && u.email == v || u.account == v {
			return u
		}
	}
	misuse("no user %v", v)
	return nil
}

// Users gives the account ids of the site's users, in order.
func (s *Site) Users() []string {
	out := make([]string, len(s.users))
	for i, u := range s.users {
		out[i] = u.account
	}
	return out
}

func named[E interface{ base() *entity }](kind string, all []E, name any) E {
	for _, e := range all {
		if strings.EqualFold(e.base().name, fmt.Sprint(name)) {
			return e
		}
	}
	misuse("no %s %v", kind, name)
	panic("unreachable")
}

func (e *entity) base() *entity { return e }

// Create makes an issue in a project and gives its key.
func (s *Site) Create(project string, set Set) string {
	var key string
	s.do(func(at time.Time) {
		p := s.projectBy(project, false)
		if p == nil {
			misuse("no project %q", project)
		}
		p.count++
		is := &issue{
			id: s.next(), project: p, number: p.count, kind: s.kinds[0], priority: s.ranks[2], status: s.statuses[0],
			creator: s.actor(), reporter: s.actor(), summary: "Issue", created: at, updated: at, fields: map[string]json.RawMessage{},
		}
		s.issues[is.id], s.byKey[keyOf{p.id, is.number}] = is, is.id
		s.changed[is.id] = change{at: at}
		s.apply(is, set, at)
		key = is.key()
		s.issueEvent(IssueCreated, "issue_created", is, nil, at)
	})
	return key
}

// Update sets fields of an issue.
func (s *Site) Update(key string, set Set) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		s.touch(is, at)
		items := s.apply(is, set, at)
		kind := "issue_generic"
		if _, ok := set["assignee"]; ok && len(set) == 1 {
			kind = "issue_assigned"
		}
		s.issueEvent(IssueUpdated, kind, is, s.record(is, at, items...), at)
	})
}

// Transition moves an issue to a status: into the category done with a resolution, out of it without.
func (s *Site) Transition(key, status string) { s.Update(key, Set{"status": status}) }

// record adds a history; nil where nothing changed.
func (s *Site) record(is *issue, at time.Time, items ...item) *history {
	if len(items) == 0 {
		return nil
	}
	is.histories = append(slices.Clone(is.histories), history{id: s.next(), author: s.actor(), created: at, items: items})
	return &is.histories[len(is.histories)-1]
}

// apply sets fields in a stable order, and tells what changed.
func (s *Site) apply(is *issue, set Set, at time.Time) []item {
	ids := make([]string, 0, len(set))
	for id := range set {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var items []item
	is.fields = cloneFields(is.fields)
	for _, id := range ids {
		items = append(items, s.applyOne(is, id, set[id], at)...)
	}
	return items
}

func cloneFields(m map[string]json.RawMessage) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(m)+4)
	for k, v := range m {
		out[k] = v
	}
	return out
}

func (s *Site) applyOne(is *issue, id string, v any, at time.Time) []item {
	of := func(field string, before, after *entity) item {
		it := item{field: field, fieldID: field}
		if before != nil {
			it.from, it.fromString = itoa(before.id), before.name
		}
		if after != nil {
			it.to, it.toString = itoa(after.id), after.name
		}
		return it
	}
	switch id {
	case "summary":
		text, ok := v.(string)
		if !ok {
			misuse("a summary is a string, not %T", v)
		}
		it := item{field: id, fieldID: id, fromString: is.summary, toString: text}
		is.summary = text
		return []item{it}
	case "status":
		return s.applyStatus(is, named("status", s.statuses, v), at)
	case "priority":
		it := is.priority
		is.priority = named("priority", s.ranks, v)
		return []item{of(id, it, is.priority)}
	case "issuetype":
		it := is.kind
		is.kind = named("issue type", s.kinds, v)
		return []item{of(id, it, is.kind)}
	case fieldResolution:
		it := is.resolution
		is.resolution, is.resolved = nil, time.Time{}
		if v != nil {
			is.resolution, is.resolved = named(fieldResolution, s.outcomes, v), at
		}
		return []item{of(id, it, is.resolution)}
	case "assignee", "reporter":
		target := &is.assignee
		if id == "reporter" {
			target = &is.reporter
		}
		it := item{field: id, fieldID: id}
		if *target != nil {
			it.from, it.fromString = (*target).account, (*target).name
		}
		if *target = s.userBy(v); *target != nil {
			it.to, it.toString = (*target).account, (*target).name
		}
		return []item{it}
	}
	return s.applyRaw(is, id, v)
}

func (s *Site) applyStatus(is *issue, to *status, at time.Time) []item {
	before := is.status
	is.status = to
	items := []item{{
		field: "status", fieldID: "status", from: itoa(before.id), fromString: before.name, to: itoa(to.id), toString: to.name,
	}}
	switch done := to.category == "done"; {
	case done && is.resolution == nil:
		is.resolution, is.resolved = s.outcomes[0], at
		items = append(items, item{field: fieldResolution, fieldID: fieldResolution, to: itoa(is.resolution.id), toString: is.resolution.name})
	case !done && is.resolution != nil:
		items = append(items, item{field: fieldResolution, fieldID: fieldResolution, from: itoa(is.resolution.id), fromString: is.resolution.name})
		is.resolution, is.resolved = nil, time.Time{}
	}
	return items
}

func (s *Site) applyRaw(is *issue, id string, v any) []item {
	f, isCustom := fieldBy(id)
	it := item{field: f.name, fieldID: id, custom: isCustom, fromString: plainValue(is.fields[id])}
	if !isCustom {
		it.field = id
	}
	switch text, isText := v.(string); {
	case v == nil:
		delete(is.fields, id)
	case isText && f.kind == "adf":
		is.fields[id] = Text(strings.Split(text, "\n")...)
	default:
		is.fields[id] = marshal(v)
	}
	it.toString = plainValue(is.fields[id])
	return []item{it}
}

func plainValue(raw json.RawMessage) string {
	if len(raw) > 0 && raw[0] == '{' {
		if text := plain(raw); text != "" {
			return text
		}
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

func fieldBy(id string) (f field, isCustom bool) {
	for _, f := range customFields {
		if f.id == id {
			return f, true
		}
	}
	for _, f := range systemFields {
		if f.id == id {
			return f, false
		}
	}
	misuse("no field %q", id)
	return field{}, false
}

// Move puts an issue into another project, and gives its new key. The old one goes on leading to it.
func (s *Site) Move(key, project string) string {
	var moved string
	s.do(func(at time.Time) {
		is, p := s.edit(key), s.projectBy(project, false)
		if p == nil {
			misuse("no project %q", project)
		}
		s.touch(is, at)
		from, was := is.project, is.key()
		s.byKey[keyOf{from.id, is.number}] = is.id
		p.count++
		is.project, is.number = p, p.count
		s.byKey[keyOf{p.id, is.number}] = is.id
		moved = is.key()
		h := s.record(is, at,
			item{field: "project", fieldID: "project", from: itoa(from.id), fromString: from.name, to: itoa(p.id), toString: p.name},
			item{field: "Key", fieldID: "Key", fromString: was, toString: moved})
		s.issueEvent(IssueUpdated, "issue_moved", is, h, at)
	})
	return moved
}

// Rekey gives a project another key, and with it all its issues, whose old keys go on leading to them.
// Jira tells it by project_updated alone: no issue has an event, nor another "updated".
func (s *Site) Rekey(project, key string) {
	s.do(func(at time.Time) {
		p := s.projectBy(project, false)
		if p == nil || s.projectBy(key, true) != nil {
			misuse("no project %q, or %q is taken", project, key)
		}
		p.old, p.key = append(p.old, p.key), key
		s.paint(p)
		var b buf
		s.begin(&b, ProjectUpdated, at)
		b.key("project")
		b.raw(p.v2)
		b.close('}')
		s.emit(ProjectUpdated, nil, b, at)
	})
}

// Delete deletes an issue, and the links to it.
func (s *Site) Delete(key string) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		s.touch(is, at)
		for _, l := range is.links {
			if other := s.at(l.other); other != nil {
				s.issues[other.id] = other
				other.links = slices.DeleteFunc(slices.Clone(other.links), func(o link) bool { return o.id == l.id })
			}
		}
		s.issueEvent(IssueDeleted, "", is, nil, at)
		delete(s.issues, is.id)
		s.gone[is.id] = true
	})
}

// Hide takes the account's permission to see an issue: it answers 404 as if it were gone, and no event
// tells so. Show gives it back.
func (s *Site) Hide(key string) { s.setHidden(key, true) }

// Show undoes Hide.
func (s *Site) Show(key string) { s.setHidden(key, false) }

func (s *Site) setHidden(key string, hidden bool) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		updated := is.updated
		s.touch(is, at)
		is.hidden, is.updated = hidden, updated
	})
}

// BreakField makes the loading of a field fail, as it does where an app is down: answers leave it away,
// or fail as a whole where failFast=true is asked for. An empty id mends all.
func (s *Site) BreakField(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		clear(s.broken)
		return
	}
	s.broken[id] = true
}
