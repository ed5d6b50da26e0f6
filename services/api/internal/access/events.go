package access

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/catalog"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
)

// EventRule says to whom events of one kind may be passed on.
type EventRule string

// The rules.
const (
	EventAddressed EventRule = "addressed" // to the user that it names, or to all where it names none
	EventReadable  EventRule = "readable"  // to everybody, without what is about tables that they cannot read
	EventAdmins    EventRule = "admins"    // to administrators
	EventNobody    EventRule = "nobody"    // it stays between services
)

// RuleOf gives the rule of a kind of event. A kind without one is for nobody.
func RuleOf(kind string) (EventRule, bool) {
	switch kind {
	case "notification.raised":
		return EventAddressed, true
	case "extract.requested", "extract.progress", "extract.ready", "extract.failed", "analytics.published", "table.profiled":
		return EventReadable, true
	case "registry.changed", "audit.recorded":
		return EventAdmins, true
	case "jira.received":
		return EventNobody, true
	}
	return EventNobody, false
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
	case "registry.list", "registry.register", "token.check", "chat.link", "discover", "test", "preview", "push-metadata", "jira.status", "jira.task", "jira.set-aside", "jira.fields":
		return RequestServices, true
	}
	return "", false
}

// MaySee gives an event as the caller may see it: without what is about tables that they cannot read. It
// is nil where nothing of it is for them. source is that of the envelope. The payload is not changed.
func (a *Authorizer) MaySee(ctx context.Context, c identity.Caller, of *Published, kind, source string, payload proto.Message) (proto.Message, error) {
	rule, _ := RuleOf(kind)
	switch rule {
	case EventAddressed:
		if n, ok := payload.(*agnesv1.NotificationRaised); ok && (n.GetUserId() == "" || n.GetUserId() == c.UserID) {
			return payload, nil
		}
	case EventAdmins:
		if c.Admin() {
			return payload, nil
		}
	case EventReadable:
		if c.Admin() {
			return payload, nil
		}
		set, err := a.Readable(ctx, c, of)
		if err != nil {
			return nil, err
		}
		return set.censor(source, proto.Clone(payload)), nil
	case EventNobody:
	}
	return nil, nil //nolint:nilnil // nothing of it is for the caller, and that is no error
}

// censor takes out of an event what is not about the tables of the set; nil where nothing is left.
func (s *Set) censor(source string, payload proto.Message) proto.Message {
	if own, ok := payload.(interface{ GetSource() string }); ok && own.GetSource() != "" {
		source = own.GetSource()
	}
	switch e := payload.(type) {
	case *agnesv1.ExtractRequested:
		all := len(e.GetTables()) == 0
		e.Tables, e.RequestedBy = keep(e.GetTables(), func(t string) bool { return s.Allows(source, t) }), ""
		if len(e.GetTables()) > 0 || (all && s.reaches(source)) {
			return e
		}
	case *agnesv1.ExtractProgress:
		// How many tables there are would tell of those that are hidden.
		e.TablesDone, e.TablesTotal = 0, 0
		if e.GetTable() == "" {
			e.Rows, e.Bytes, e.BytesTotal = 0, 0, 0
		}
		if s.Allows(source, e.GetTable()) || (e.GetTable() == "" && s.reaches(source)) {
			return e
		}
	case *agnesv1.ExtractReady:
		e.Tables = keep(e.GetTables(), func(t *agnesv1.TableOutcome) bool { return s.Allows(source, t.GetTable()) })
		if len(e.GetTables()) > 0 {
			return e
		}
	case *agnesv1.ExtractFailed:
		e.Error = "" // it may name tables that are hidden
		if s.reaches(source) {
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

// reaches tells whether a table of the source is in the set.
func (s *Set) reaches(source string) bool {
	for _, n := range s.Tables() {
		if n.Source == source {
			return true
		}
	}
	return false
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
