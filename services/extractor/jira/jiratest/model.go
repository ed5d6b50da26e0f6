package jiratest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entity is something with an id and a name: an issue type, a priority, a resolution.
type entity struct {
	id   int64
	name string
	v3   []byte
	v2   []byte // as webhooks have it
}

type status struct {
	entity
	category string // the key: new, indeterminate, done
}

type user struct {
	account, email, name, kind string
	inactive                   bool
	v3, v2                     []byte
}

type project struct {
	entity
	key   string
	old   []string // keys it had before
	count int64    // of issues that a program created, and the generator's
	share [2]int   // which of ten generated issues it has: from, to
}

type keyOf struct {
	project int64
	number  int64
}

// issue is one issue in full. What is not named here stands in fields, as the JSON of the REST API.
type issue struct {
	id                          int64
	project                     *project
	number                      int64
	kind, priority, resolution  *entity
	status                      *status
	creator, reporter, assignee *user
	summary                     string
	created, updated, resolved  time.Time
	fields                      map[string]json.RawMessage
	comments                    []comment
	worklogs                    []worklog
	histories                   []history
	attachments                 []attachment
	links                       []link
	remote                      []remoteLink
	sprints                     []int64
	hidden                      bool
}

func (i *issue) key() string { return i.project.key + "-" + itoa(i.number) }

type comment struct {
	id               int64
	author, editor   *user
	body             json.RawMessage // ADF
	created, updated time.Time
	internal         bool
}

type worklog struct {
	id                        int64
	author                    *user
	body                      json.RawMessage
	created, updated, started time.Time
	seconds                   int64
}

type item struct {
	field, fieldID, from, fromString, to, toString string
	custom                                         bool
}

type history struct {
	id      int64
	author  *user
	created time.Time
	items   []item
}

type attachment struct {
	id             int64
	author         *user
	filename, mime string
	size           int64
	created        time.Time
}

type link struct {
	id       int64
	kind     int   // index of linkKinds
	other    int64 // the issue at the other end
	outgoing bool
}

type remoteLink struct {
	id                             int64
	url, title, application, appID string
}

type sprint struct {
	id                   int64
	name, state, goal    string
	start, end, complete time.Time
	board                int64
}

type linkKind struct {
	id                    int64
	name, inward, outward string
}

var linkKinds = []linkKind{
	{10000, "Blocks", "is blocked by", "blocks"},
	{10001, "Cloners", "is cloned by", "clones"},
	{10002, "Duplicate", "is duplicated by", "duplicates"},
	{10003, "Relates", "relates to", "relates to"},
}

var categories = map[string]struct {
	id          int64
	name, color string
}{
	"new": {2, "To Do", "blue-gray"}, "indeterminate": {4, "In Progress", "yellow"}, "done": {3, "Done", "green"},
}

// furnish makes what every site has.
func (s *Site) furnish() {
	for i, p := range []struct {
		key, name string
		share     [2]int
	}{{"SUP", "Support", [2]int{0, 7}}, {"OPS", "Operations", [2]int{7, 9}}, {"DEV", "Development", [2]int{9, 10}}} {
		pr := &project{key: p.key, share: p.share}
		pr.id, pr.name = int64(10000+i), p.name
		s.projects = append(s.projects, pr)
		s.paint(pr)
	}
	for i, d := range []struct{ name, category string }{
		{"Open", "new"}, {"Waiting for support", "new"}, {"In Progress", "indeterminate"},
		{"Waiting for customer", "indeterminate"}, {"Resolved", "done"}, {"Closed", "done"},
	} {
		st := &status{category: d.category}
		st.id, st.name = int64(10100+i), d.name
		c := categories[d.category]
		both(&st.entity, s.URL, func(rest string) string {
			return fmt.Sprintf(`{"self":"%s/status/%d","description":"","iconUrl":"%s/images/icons/statuses/generic.png","name":%s,"id":"%d","statusCategory":{"self":"%s/statuscategory/%d","id":%d,"key":"%s","colorName":"%s","name":"%s"}}`,
				rest, st.id, s.URL, quoted(d.name), st.id, rest, c.id, c.id, d.category, c.color, c.name)
		})
		s.statuses = append(s.statuses, st)
	}
	plain := func(path string, first int64, names ...string) []*entity {
		var all []*entity
		for i, name := range names {
			e := &entity{id: first + int64(i), name: name}
			both(e, s.URL, func(rest string) string {
				return fmt.Sprintf(`{"self":"%s/%s/%d","id":"%d","name":%s,"description":"","iconUrl":"%s/images/icons/%s/%d.svg"}`,
					rest, path, e.id, e.id, quoted(name), s.URL, path, e.id)
			})
			all = append(all, e)
		}
		return all
	}
	s.kinds = plain("issuetype", 10200, "Incident", "Service Request", "Bug", "Task", "Story", "Epic")
	s.ranks = plain("priority", 1, "Highest", "High", "Medium", "Low", "Lowest")
	s.outcomes = plain("resolution", 10300, "Done", "Won't Do", "Duplicate", "Cannot Reproduce")
	for i, name := range people {
		u := &user{account: fmt.Sprintf("5b10a2844c20165700%06x", 0xede21+i), name: name, kind: "atlassian"}
		first, _, _ := strings.Cut(strings.ToLower(name), " ")
		u.email = fmt.Sprintf("%s.%d@example.com", ascii(first), i)
		switch {
		case i%11 == 7:
			u.email = "" // keeps the address private
		case i%13 == 5:
			u.kind = "customer"
		case i == 0:
			u.kind, u.email = "app", "automation@example.com"
		}
		u.inactive = i%17 == 9
		u.v3, u.v2 = s.paintUser(u, "3"), s.paintUser(u, "2")
		s.users = append(s.users, u)
	}
}

// both fills the forms of an entity in answers (v3) and in webhooks, which have the URLs of version 2.
func both(e *entity, site string, render func(rest string) string) {
	e.v3, e.v2 = []byte(render(site+"/rest/api/3")), []byte(render(site+"/rest/api/2"))
}

// paint renders a project after its key or name changed.
func (s *Site) paint(p *project) {
	both(&p.entity, s.URL, func(rest string) string {
		return fmt.Sprintf(`{"self":"%s/project/%d","id":"%d","key":"%s","name":%s,"projectTypeKey":"service_desk","simplified":false,"avatarUrls":{"48x48":"%s/universal_avatar/%d"}}`,
			rest, p.id, p.id, p.key, quoted(p.name), rest, p.id)
	})
}

func (s *Site) paintUser(u *user, version string) []byte {
	var b buf
	b.open('{')
	b.key("self")
	b.str(s.URL + "/rest/api/" + version + "/user?accountId=" + u.account)
	b.key("accountId")
	b.str(u.account)
	if u.email != "" {
		b.key("emailAddress")
		b.str(u.email)
	}
	b.key("avatarUrls")
	b.lit(`{"48x48":"https://avatars.example.com/` + u.account + `/48"}`)
	b.key("displayName")
	b.str(u.name)
	b.key("active")
	b.bool(!u.inactive)
	b.key("timeZone")
	b.str(s.cfg.Location.String())
	b.key("accountType")
	b.str(u.kind)
	b.close('}')
	return b
}

func quoted(v string) string { return string(appendString(nil, v)) }

func ascii(v string) string {
	return strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return -1
		}
		return r
	}, v)
}

var people = []string{
	"Automation for Jira", "Ann Carter", "Bořek Novák", "Chloé Dubois", "Dmitri Ivanov", "Eve Customer", "Farid Haddad", "Grace Kim",
	"Héctor Ruiz", "Ines Gone", "Jan Kowalski", "Kaito 山田", "Lena Müller", "Mia Krystof", "Noor Aziz", "O'Brien Pat", "Priya Nair",
	"Quentin Roy", "Rosa \"Ro\" Lopez", "Sven Ångström", "Tara Singh", "Uma Rao", "Viktor Horák", "Wen Li", "Xenia P.", "Yusuf Demir",
	"Zoë Baker", "Ada Long", "Ben Short", "Cleo Wise", "Dan Brown", "Ella Stone", "Finn Hale", "Gita Das", "Hugo Lind", "Iva Malá",
	"Jack Reed", "Kira Bell", "Luis Vega", "Mona Fox",
}

// lookup finds an issue by id or key: one key may lead to an issue that has another one by now. The
// caller holds the lock, and must not change what it gets.
func (s *Site) lookup(idOrKey string) (*issue, bool) {
	id, ok := s.idOf(idOrKey)
	if !ok {
		return nil, false
	}
	is := s.at(id)
	return is, is != nil && !is.hidden
}

func (s *Site) idOf(idOrKey string) (int64, bool) {
	if id, err := strconv.ParseInt(idOrKey, 10, 64); err == nil {
		return id, true
	}
	prefix, digits, ok := cutLast(idOrKey, "-")
	number, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || number <= 0 {
		return 0, false
	}
	p := s.projectBy(prefix, true)
	if p == nil {
		return 0, false
	}
	if id, ok := s.byKey[keyOf{p.id, number}]; ok {
		return id, true
	}
	return s.gen.byNumber(p, number)
}

func cutLast(v, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(v, sep)
	if i < 0 {
		return "", "", false
	}
	return v[:i], v[i+len(sep):], true
}

// projectBy finds a project by its key, or by one that it had.
func (s *Site) projectBy(key string, old bool) *project {
	for _, p := range s.projects {
		if strings.EqualFold(p.key, key) || old && slices.ContainsFunc(p.old, func(o string) bool { return strings.EqualFold(o, key) }) {
			return p
		}
	}
	return nil
}

// at is the issue of an id; nil where there is none.
func (s *Site) at(id int64) *issue {
	if s.gone[id] {
		return nil
	}
	if is := s.issues[id]; is != nil {
		return is
	}
	return s.generate(id)
}

// edit is the issue of a key, to be changed.
func (s *Site) edit(idOrKey string) *issue {
	id, ok := s.idOf(idOrKey)
	if !ok {
		misuse("no issue %q", idOrKey)
	}
	is := s.at(id)
	if is == nil {
		misuse("the issue %q is gone", idOrKey)
	}
	s.issues[id] = is
	return is
}
