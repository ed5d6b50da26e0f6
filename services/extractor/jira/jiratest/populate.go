package jiratest

import (
	"encoding/json"
	"fmt"
	"time"
)

// generator makes issues out of their number: nothing of them is held in memory until one changes.
type generator struct {
	n          int64
	seed       uint64
	start, end time.Time
	sprints    int64
	rich       []json.RawMessage // documents, made once
}

// firstIssue is the id of the first generated issue.
const firstIssue = 10_001

// Populate fills an empty site with n issues, created over the months before now, of every kind of field
// and with lists of every length: most issues are small, a few have more comments, worklogs or histories
// than one answer holds. The same seed gives the same site. It costs nothing until issues are read, so
// that half a million are as cheap as ten.
func (s *Site) Populate(n, months int, seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen.n > 0 || len(s.issues) > 0 {
		misuse("Populate fills an empty site")
	}
	end := s.now()
	s.gen = generator{n: int64(n), seed: seed, start: end.AddDate(0, -months, 0), end: end, sprints: max(1, int64(months)*2)}
	for _, subject := range subjects {
		s.gen.rich = append(s.gen.rich, Rich(subject))
	}
	for _, p := range s.projects {
		p.count = s.gen.countOf(p)
	}
	s.sprintSeq = s.gen.sprints
	span := end.Sub(s.gen.start) / time.Duration(s.gen.sprints)
	for i := range s.gen.sprints {
		sp := &sprint{
			id: i + 1, name: fmt.Sprintf("Sprint %d", i+1), state: "closed", board: s.boards,
			start: s.gen.start.Add(span * time.Duration(i)), end: s.gen.start.Add(span * time.Duration(i+1)),
		}
		sp.complete = sp.end
		if i%5 == 0 {
			sp.goal = "Fewer open incidents"
		}
		if i == s.gen.sprints-1 {
			sp.state, sp.complete = "active", time.Time{}
		}
		s.sprints[sp.id] = sp
	}
}

// countOf is how many of the generated issues a project has.
func (g *generator) countOf(p *project) int64 {
	width := int64(p.share[1] - p.share[0])
	return g.n/10*width + min(max(g.n%10-int64(p.share[0]), 0), width)
}

// byNumber is the id of the issue with a number within a project.
func (g *generator) byNumber(p *project, number int64) (int64, bool) {
	width := int64(p.share[1] - p.share[0])
	if width == 0 || number > g.countOf(p) {
		return 0, false
	}
	return firstIssue + (number-1)/width*10 + int64(p.share[0]) + (number-1)%width, true
}

// draw is a stream of numbers that depends on the seed, an issue and a purpose.
type draw struct{ state uint64 }

func (g *generator) draw(i int64, purpose uint64) *draw {
	return &draw{state: mix(g.seed ^ mix(uint64(i)*0x9E3779B97F4A7C15+purpose))} //nolint:gosec // an index
}

func mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

func (d *draw) n(n int) int {
	d.state += 0x9E3779B97F4A7C15
	return int(mix(d.state) % uint64(n)) //nolint:gosec // a length
}

func (d *draw) one(of int) bool { return d.n(of) == 0 }

func pick[T any](d *draw, from []T) T { return from[d.n(len(from))] }

// span is when the issue of an index was created and last updated. Indices are in the order of creation.
func (g *generator) span(i int64) (created, updated time.Time) {
	d := g.draw(i, 1)
	step := g.end.Sub(g.start) / time.Duration(g.n+1)
	created = g.start.Add(step*time.Duration(i) + time.Duration(d.n(max(int(step), 1))))
	room := min(g.end.Sub(created), 45*24*time.Hour)
	updated = created.Add(time.Duration(float64(room) * float64(d.n(1000)) / 1000))
	return created.Truncate(time.Millisecond), updated.Truncate(time.Millisecond)
}

// statusOf depends on the age: what is old is done.
func (s *Site) statusOf(i int64) *status {
	d := s.gen.draw(i, 2)
	if i < s.gen.n*9/10 && !d.one(20) {
		return s.statuses[4+d.n(2)]
	}
	return s.statuses[d.n(4)]
}

// head is an issue without its lists and most of its fields: enough for search and for links.
func (s *Site) head(id int64) *issue {
	if s.gone[id] {
		return nil
	}
	if is := s.issues[id]; is != nil {
		return is
	}
	i := id - firstIssue
	if i < 0 || i >= s.gen.n {
		return nil
	}
	is := &issue{}
	s.sketch(is, i)
	d := s.gen.draw(i, 3)
	is.kind, is.priority = pick(d, s.kinds), pick(d, s.ranks)
	is.summary = pick(d, subjects) + " " + pick(d, troubles) + " " + pick(d, places)
	is.creator, is.reporter = pick(d, s.users), pick(d, s.users)
	if !d.one(5) {
		is.assignee = pick(d, s.users)
	}
	if is.status.category == "done" {
		is.resolution = pick(d, s.outcomes)
	}
	return is
}

// sketch fills in what a search looks at.
func (s *Site) sketch(is *issue, i int64) {
	is.id, is.status, is.resolution, is.resolved = firstIssue+i, s.statusOf(i), nil, time.Time{}
	is.created, is.updated = s.gen.span(i)
	if is.status.category == "done" {
		is.resolution, is.resolved = s.outcomes[0], is.updated // some resolution: head tells which
	}
	for _, p := range s.projects {
		if r := int(i % 10); r >= p.share[0] && r < p.share[1] {
			is.project, is.number = p, i/10*int64(p.share[1]-p.share[0])+int64(r-p.share[0])+1
			break
		}
	}
}

// generate is a generated issue in full; nil where the id is none of them.
func (s *Site) generate(id int64) *issue {
	is := s.head(id)
	if is == nil {
		return nil
	}
	i := id - firstIssue
	is.fields = make(map[string]json.RawMessage, 32)
	s.generateFields(is, s.gen.draw(i, 4))
	s.generateSprints(is, i)
	s.generateLists(is, s.gen.draw(i, 5))
	s.generateHistories(is, s.gen.draw(i, 6))
	s.generateLinks(is, i)
	return is
}

// length of a list: mostly a few, now and then more than one answer holds.
func (d *draw) length(few, many, one int) int {
	if d.one(one) {
		return many + d.n(many)
	}
	return d.n(few + 1)
}

func (s *Site) generateLists(is *issue, d *draw) {
	room := is.updated.Sub(is.created)
	at := func(k, n int) time.Time {
		return is.created.Add(room * time.Duration(k+1) / time.Duration(n+1)).Truncate(time.Millisecond)
	}
	base := is.id * 1000
	n := d.length(5, 105, 150)
	for k := range n {
		c := comment{id: base + int64(k), author: pick(d, s.users), created: at(k, n), internal: d.one(6)}
		c.editor, c.updated = c.author, c.created
		if d.one(12) {
			c.editor, c.updated = pick(d, s.users), c.created.Add(min(time.Minute, is.updated.Sub(c.created)))
		}
		if d.one(8) {
			c.body = pick(d, s.gen.rich)
		} else {
			c.body = Text(pick(d, remarks), pick(d, remarks))
		}
		is.comments = append(is.comments, c)
	}
	n = d.length(1, 21, 200)
	for k := range n {
		w := worklog{id: base + int64(k), author: pick(d, s.users), created: at(k, n), seconds: int64(1+d.n(16)) * 900}
		w.updated, w.started = w.created, w.created.Add(-time.Duration(w.seconds)*time.Second)
		if d.one(2) {
			w.body = Text(pick(d, remarks))
		}
		is.worklogs = append(is.worklogs, w)
	}
	n = max(0, d.n(5)-2)
	for k := range n {
		f := pick(d, files)
		is.attachments = append(is.attachments, attachment{
			id: base + int64(k), author: pick(d, s.users), filename: f.name, mime: f.mime, size: int64(200 + d.n(40_000)), created: at(k, n),
		})
	}
	if d.one(4) {
		r := remoteLink{id: base, url: fmt.Sprintf("https://wiki.example.com/pages/%d?src=jira&x=1", is.id), title: "Runbook: " + pick(d, subjects)}
		if d.one(2) {
			r.application, r.appID = "Confluence", "com.atlassian.confluence"
		}
		is.remote = append(is.remote, r)
	}
}

// generateHistories tells how the issue came to be as it is; the last one was made when it was updated.
func (s *Site) generateHistories(is *issue, d *draw) {
	n := 1 + d.length(8, 110, 200)
	room := is.updated.Sub(is.created)
	for k := range n {
		h := history{id: is.id*1000 + int64(k), author: pick(d, s.users), created: is.created.Add(room * time.Duration(k+1) / time.Duration(n)).Truncate(time.Millisecond)}
		if d.one(40) {
			h.author = nil
		}
		switch {
		case k == n-1:
			h.items = append(h.items, item{
				field: "status", fieldID: "status", from: itoa(s.statuses[0].id), fromString: s.statuses[0].name,
				to: itoa(is.status.id), toString: is.status.name,
			})
			if is.resolution != nil {
				h.items = append(h.items, item{field: fieldResolution, fieldID: fieldResolution, to: itoa(is.resolution.id), toString: is.resolution.name})
			}
		case d.one(3):
			u := pick(d, s.users)
			h.items = append(h.items, item{field: "assignee", fieldID: "assignee", to: u.account, toString: u.name})
		case d.one(4):
			h.items = append(h.items, item{field: "Severity", fieldID: "customfield_10004", custom: true, fromString: "Sev 3", toString: pick(d, severities)})
		default:
			h.items = append(h.items, item{field: "labels", fieldID: "labels", fromString: "", toString: pick(d, words)})
		}
		is.histories = append(is.histories, h)
	}
}

// linkFrom is the issue that a generated one links to, by its index; -1 where it links to none. The other
// end is found by asking its successors, so that no list of links is needed.
func (g *generator) linkFrom(i int64) (target int64, kind int) {
	d := g.draw(i, 7)
	if i < 1 || i >= g.n || !d.one(6) {
		return -1, 0
	}
	return i - 1 - int64(d.n(min(3, int(i)))), d.n(len(linkKinds))
}

func (s *Site) generateLinks(is *issue, i int64) {
	if target, kind := s.gen.linkFrom(i); target >= 0 {
		is.links = append(is.links, link{id: is.id * 1000, kind: kind, other: firstIssue + target, outgoing: true})
	}
	for j := i + 1; j <= i+3; j++ {
		if target, kind := s.gen.linkFrom(j); target == i {
			is.links = append(is.links, link{id: (firstIssue + j) * 1000, kind: kind, other: firstIssue + j})
		}
	}
}

func (s *Site) generateSprints(is *issue, i int64) {
	if is.project.key == "SUP" || !s.gen.draw(i, 8).one(2) {
		return
	}
	first := i*s.gen.sprints/s.gen.n + 1
	is.sprints = append(is.sprints, first)
	if first > 1 && s.gen.draw(i, 9).one(4) {
		is.sprints = []int64{first - 1, first}
	}
}
