package jiratest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// body is a document: a string has a paragraph for each line.
func body(v any) json.RawMessage {
	switch v := v.(type) {
	case nil:
		return nil
	case json.RawMessage:
		return v
	case string:
		return Text(strings.Split(v, "\n")...)
	}
	misuse("a text is a string or a document, not %T", v)
	return nil
}

// Comment adds a comment, a string or a document, and gives its id.
func (s *Site) Comment(key string, text any) int64 {
	var id int64
	s.do(func(at time.Time) {
		is := s.edit(key)
		s.touch(is, at)
		id = s.next()
		c := comment{id: id, author: s.actor(), created: at, updated: at, body: body(text)}
		c.editor = c.author
		is.comments = append(slices.Clone(is.comments), c)
		s.commentEvent(CommentCreated, is, &c, at)
	})
	return id
}

// EditComment changes the text of a comment.
func (s *Site) EditComment(key string, id int64, text any) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		k := slices.IndexFunc(is.comments, func(c comment) bool { return c.id == id })
		if k < 0 {
			misuse("no comment %d", id)
		}
		s.touch(is, at)
		is.comments = slices.Clone(is.comments)
		c := &is.comments[k]
		c.body, c.updated, c.editor = body(text), at, s.actor()
		s.commentEvent(CommentUpdated, is, c, at)
	})
}

// DeleteComment deletes a comment.
func (s *Site) DeleteComment(key string, id int64) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		k := slices.IndexFunc(is.comments, func(c comment) bool { return c.id == id })
		if k < 0 {
			misuse("no comment %d", id)
		}
		s.touch(is, at)
		c := is.comments[k]
		is.comments = slices.Delete(slices.Clone(is.comments), k, k+1)
		s.commentEvent(CommentDeleted, is, &c, at)
	})
}

// Worklog logs work on an issue and gives its id.
func (s *Site) Worklog(key string, spent time.Duration, text any) int64 {
	var id int64
	s.do(func(at time.Time) {
		is := s.edit(key)
		s.touch(is, at)
		id = s.next()
		w := worklog{id: id, author: s.actor(), created: at, updated: at, started: at.Add(-spent), seconds: int64(spent.Seconds()), body: body(text)}
		before := timeSpent(is)
		is.worklogs = append(slices.Clone(is.worklogs), w)
		s.worklogEvent(WorklogCreated, is, &w, before, at)
	})
	return id
}

// EditWorklog changes the time of a worklog.
func (s *Site) EditWorklog(key string, id int64, spent time.Duration) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		k := slices.IndexFunc(is.worklogs, func(w worklog) bool { return w.id == id })
		if k < 0 {
			misuse("no worklog %d", id)
		}
		s.touch(is, at)
		before := timeSpent(is)
		is.worklogs = slices.Clone(is.worklogs)
		w := &is.worklogs[k]
		w.seconds, w.updated = int64(spent.Seconds()), at
		s.worklogEvent(WorklogUpdated, is, w, before, at)
	})
}

// DeleteWorklog deletes a worklog.
func (s *Site) DeleteWorklog(key string, id int64) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		k := slices.IndexFunc(is.worklogs, func(w worklog) bool { return w.id == id })
		if k < 0 {
			misuse("no worklog %d", id)
		}
		s.touch(is, at)
		before, w := timeSpent(is), is.worklogs[k]
		is.worklogs = slices.Delete(slices.Clone(is.worklogs), k, k+1)
		s.worklogEvent(WorklogDeleted, is, &w, before, at)
	})
}

// Attach adds a file and gives its id.
func (s *Site) Attach(key, filename, mime string, content []byte) int64 {
	var id int64
	s.do(func(at time.Time) {
		is := s.edit(key)
		s.touch(is, at)
		id = s.next()
		a := attachment{id: id, author: s.actor(), filename: filename, mime: mime, size: int64(len(content)), created: at}
		is.attachments = append(slices.Clone(is.attachments), a)
		s.blobs[id] = slices.Clone(content)
		h := s.record(is, at, item{field: "Attachment", fieldID: "attachment", to: itoa(id), toString: filename})
		s.attachmentEvent(AttachmentCreated, is, &a, h, at)
	})
	return id
}

// DeleteAttachment deletes a file.
func (s *Site) DeleteAttachment(key string, id int64) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		k := slices.IndexFunc(is.attachments, func(a attachment) bool { return a.id == id })
		if k < 0 {
			misuse("no attachment %d", id)
		}
		s.touch(is, at)
		a := is.attachments[k]
		is.attachments = slices.Delete(slices.Clone(is.attachments), k, k+1)
		delete(s.blobs, id)
		h := s.record(is, at, item{field: "Attachment", fieldID: "attachment", from: itoa(id), fromString: a.filename})
		s.attachmentEvent(AttachmentDeleted, is, &a, h, at)
	})
}

// Link links two issues by a kind ("Blocks", "Cloners", "Duplicate", "Relates") and gives the link's id.
func (s *Site) Link(kind, from, to string) int64 {
	var id int64
	s.do(func(at time.Time) {
		k := slices.IndexFunc(linkKinds, func(l linkKind) bool { return l.name == kind })
		a, b := s.edit(from), s.edit(to)
		if k < 0 || a == b {
			misuse("no kind of links %q, or a link to itself", kind)
		}
		id = s.next()
		s.touch(a, at)
		s.touch(b, at)
		a.links = append(slices.Clone(a.links), link{id: id, kind: k, other: b.id, outgoing: true})
		b.links = append(slices.Clone(b.links), link{id: id, kind: k, other: a.id})
		s.record(a, at, item{field: "Link", fieldID: "issuelinks", to: b.key(), toString: "This issue " + linkKinds[k].outward + " " + b.key()})
		s.record(b, at, item{field: "Link", fieldID: "issuelinks", to: a.key(), toString: "This issue " + linkKinds[k].inward + " " + a.key()})
		s.linkEvent(LinkCreated, id, k, a.id, b.id, at)
	})
	return id
}

// Unlink deletes a link from an issue.
func (s *Site) Unlink(key string, id int64) {
	s.do(func(at time.Time) {
		a := s.edit(key)
		k := slices.IndexFunc(a.links, func(l link) bool { return l.id == id })
		if k < 0 {
			misuse("no link %d", id)
		}
		l := a.links[k]
		b := s.edit(itoa(l.other))
		same := func(o link) bool { return o.id == id }
		for _, is := range []*issue{a, b} {
			s.touch(is, at)
			is.links = slices.DeleteFunc(slices.Clone(is.links), same)
			s.record(is, at, item{field: "Link", fieldID: "issuelinks", fromString: "This issue was linked"})
		}
		if !l.outgoing {
			a, b = b, a
		}
		s.linkEvent(LinkDeleted, id, l.kind, a.id, b.id, at)
	})
}

// RemoteLink adds a link to something outside and gives its id. application may be empty.
func (s *Site) RemoteLink(key, url, title, application string) int64 {
	var id int64
	s.do(func(at time.Time) {
		is := s.edit(key)
		s.touch(is, at)
		id = s.next()
		r := remoteLink{id: id, url: url, title: title, application: application}
		if application != "" {
			r.appID = "com.example." + ascii(strings.ToLower(application))
		}
		is.remote = append(slices.Clone(is.remote), r)
		h := s.record(is, at, item{field: "RemoteWorkItemLink", fieldID: "RemoteWorkItemLink", to: itoa(id), toString: "This issue links to \"" + title + "\""})
		s.issueEvent(IssueUpdated, "issue_generic", is, h, at)
	})
	return id
}

// DeleteRemoteLink deletes a link to something outside.
func (s *Site) DeleteRemoteLink(key string, id int64) {
	s.do(func(at time.Time) {
		is := s.edit(key)
		k := slices.IndexFunc(is.remote, func(r remoteLink) bool { return r.id == id })
		if k < 0 {
			misuse("no remote link %d", id)
		}
		s.touch(is, at)
		title := is.remote[k].title
		is.remote = slices.Delete(slices.Clone(is.remote), k, k+1)
		h := s.record(is, at, item{field: "RemoteWorkItemLink", fieldID: "RemoteWorkItemLink", from: itoa(id), fromString: "This issue links to \"" + title + "\""})
		s.issueEvent(IssueUpdated, "issue_generic", is, h, at)
	})
}

// Sprint makes a sprint in the state "future" and gives its id.
func (s *Site) Sprint(name string) int64 {
	var id int64
	s.do(func(at time.Time) {
		s.sprintSeq++
		id = s.sprintSeq
		sp := &sprint{id: id, name: name, state: "future", board: s.boards}
		s.sprints[id] = sp
		s.sprintEvent(SprintCreated, sp, at)
	})
	return id
}

// StartSprint starts a sprint. As with every change of a sprint, the issues in it get neither an event nor
// another "updated", though the sprint is a field of theirs.
func (s *Site) StartSprint(id int64) {
	s.sprintDo(id, SprintStarted, func(sp *sprint, at time.Time) {
		sp.state, sp.start, sp.end = "active", at, at.AddDate(0, 0, 14)
	})
}

// CloseSprint ends a sprint.
func (s *Site) CloseSprint(id int64) {
	s.sprintDo(id, SprintClosed, func(sp *sprint, at time.Time) { sp.state, sp.complete = "closed", at })
}

// RenameSprint names a sprint anew.
func (s *Site) RenameSprint(id int64, name string) {
	s.sprintDo(id, SprintUpdated, func(sp *sprint, _ time.Time) { sp.name = name })
}

// DeleteSprint deletes a sprint: its issues have it no more.
func (s *Site) DeleteSprint(id int64) {
	s.sprintDo(id, SprintDeleted, func(sp *sprint, _ time.Time) { delete(s.sprints, sp.id) })
}

func (s *Site) sprintDo(id int64, event string, change func(*sprint, time.Time)) {
	s.do(func(at time.Time) {
		sp := s.sprints[id]
		if sp == nil {
			misuse("no sprint %d", id)
		}
		change(sp, at)
		s.sprintEvent(event, sp, at)
	})
}

// PutIntoSprint adds issues to a sprint.
func (s *Site) PutIntoSprint(id int64, keys ...string) {
	for _, key := range keys {
		s.do(func(at time.Time) {
			sp, is := s.sprints[id], s.edit(key)
			if sp == nil {
				misuse("no sprint %d", id)
			}
			s.touch(is, at)
			before := s.sprintNames(is)
			if !slices.Contains(is.sprints, id) {
				is.sprints = append(slices.Clone(is.sprints), id)
			}
			h := s.record(is, at, item{field: "Sprint", fieldID: fieldSprint, custom: true, fromString: before, to: itoa(id), toString: s.sprintNames(is)})
			s.issueEvent(IssueUpdated, "issue_generic", is, h, at)
		})
	}
}

func (s *Site) sprintNames(is *issue) string {
	var names []string
	for _, id := range is.sprints {
		if sp := s.sprints[id]; sp != nil {
			names = append(names, sp.name)
		}
	}
	return strings.Join(names, ", ")
}
