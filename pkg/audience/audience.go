// Package audience decides to whom events of the bus may be passed on, and what of them: the same rule for every
// service that tells people what happens.
package audience

import (
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/catalog"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Rule says to whom events of one kind may be passed on.
type Rule string

// The rules.
const (
	Addressed Rule = "addressed" // to the user that it names, or to all where it names none
	Readable  Rule = "readable"  // to everybody, without what is about tables that they cannot read
	Admins    Rule = "admins"    // to administrators
	Nobody    Rule = "nobody"    // it stays between services
)

// RuleOf gives the rule of a kind of event. A kind without one is for nobody.
func RuleOf(kind string) (Rule, bool) {
	switch kind {
	case "notification.raised":
		return Addressed, true
	case "extract.requested", "extract.progress", "extract.ready", "extract.failed", "analytics.published", "table.profiled":
		return Readable, true
	case "registry.changed", "audit.recorded":
		return Admins, true
	case "jira.received":
		return Nobody, true
	}
	return Nobody, false
}

// RequestRule says who may ask a request of the bus.
type RequestRule string

// The rules.
const (
	// RequestServices: services with credentials of the bus, for themselves. A service that asks on
	// behalf of a user checks first who it is, with token.check, and the scopes.
	RequestServices RequestRule = "services"
)

// RequestRuleOf gives the rule of a request of the bus, by its name; for one that is served per target,
// the name before the target.
func RequestRuleOf(method string) (RequestRule, bool) {
	switch method {
	case "registry.list", "registry.register", "token.check", "access.check", "chat.link", "discover", "test", "preview", "push-metadata", "jira.status", "jira.task", "jira.set-aside", "jira.fields":
		return RequestServices, true
	}
	return "", false
}

// Tables are what somebody can read.
type Tables interface {
	// Allows tells whether a table of a source is among them.
	Allows(source, table string) bool
	// Reaches tells whether any table of a source is.
	Reaches(source string) bool
}

// Viewer is who events are passed on to.
type Viewer struct {
	UserID string
	Admin  bool
	Tables Tables // what a user who is no administrator can read; nil for nothing
}

// See gives an event as the viewer may see it: without what is about tables that they cannot read. It is nil where
// nothing of it is for them. source is that of the envelope. The payload is not changed.
func (v Viewer) See(kind, source string, payload proto.Message) proto.Message {
	rule, _ := RuleOf(kind)
	switch rule {
	case Addressed:
		if n, ok := payload.(*agnesv1.NotificationRaised); ok && (n.GetUserId() == "" || n.GetUserId() == v.UserID) {
			return payload
		}
	case Admins:
		if v.Admin {
			return payload
		}
	case Readable:
		if v.Admin {
			return payload
		}
		if v.Tables != nil {
			return censor(v.Tables, source, proto.Clone(payload))
		}
	case Nobody:
	}
	return nil
}

// censor takes out of an event what is not about the tables that can be read; nil where nothing is left.
func censor(s Tables, source string, payload proto.Message) proto.Message {
	if own, ok := payload.(interface{ GetSource() string }); ok && own.GetSource() != "" {
		source = own.GetSource()
	}
	switch e := payload.(type) {
	case *agnesv1.ExtractRequested:
		all := len(e.GetTables()) == 0
		e.Tables, e.RequestedBy = keep(e.GetTables(), func(t string) bool { return s.Allows(source, t) }), ""
		if len(e.GetTables()) > 0 || (all && s.Reaches(source)) {
			return e
		}
	case *agnesv1.ExtractProgress:
		// How many tables there are would tell of those that are hidden.
		e.TablesDone, e.TablesTotal = 0, 0
		if e.GetTable() == "" {
			e.Rows, e.Bytes, e.BytesTotal = 0, 0, 0
		}
		if s.Allows(source, e.GetTable()) || (e.GetTable() == "" && s.Reaches(source)) {
			return e
		}
	case *agnesv1.ExtractReady:
		e.Tables = keep(e.GetTables(), func(t *agnesv1.TableOutcome) bool { return s.Allows(source, t.GetTable()) })
		if len(e.GetTables()) > 0 {
			return e
		}
	case *agnesv1.ExtractFailed:
		e.Error = "" // it may name tables that are hidden
		if s.Reaches(source) {
			return e
		}
	case *agnesv1.AnalyticsPublished:
		e.Tables = keep(e.GetTables(), func(t *agnesv1.TableChange) bool { return s.Allows(source, t.GetTable()) })
		// A collision is one with a table of another source, which may be hidden.
		e.Problems = keep(e.GetProblems(), func(p *agnesv1.Problem) bool {
			return s.Allows(p.GetSource(), p.GetTable()) && p.GetCode() != catalog.ProblemCollision
		})
		if len(e.GetTables())+len(e.GetProblems()) > 0 {
			return e
		}
	case *agnesv1.TableProfiled:
		if s.Allows(source, e.GetTable()) {
			return e
		}
	}
	return nil
}

func keep[T any](list []T, is func(T) bool) []T {
	var kept []T
	for _, v := range list {
		if is(v) {
			kept = append(kept, v)
		}
	}
	return kept
}
