package httpapi

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Results of an Entry.
const (
	ResultOK      = "ok"
	ResultRefused = "refused" // not allowed: unauthenticated, forbidden, not found, too many
	ResultFailed  = "failed"  // allowed, and did not work
)

// Entry is one line of the record of who did what.
type Entry struct {
	// Action is "noun.verb", such as user.create.
	Action string
	// Resource is what it was done to: "kind:id", such as user:0d0f…; may be empty.
	Resource string
	// Result is one of the Result constants.
	Result string
	// Actor is who did it; the zero Caller is a stranger, or the server itself.
	Actor Caller
	// Params say more. They hold no secret.
	Params                   map[string]any
	Took                     time.Duration
	IP, UserAgent, RequestID string
	At                       time.Time
}

// Recorder writes down who did what.
type Recorder interface {
	// Record returns when the entry survives the end of the process. It may fold refusals of one kind
	// that come in masses into one entry with their number.
	Record(ctx context.Context, e Entry) error
}

// noted is what handlers say about their request for its entry.
type noted struct {
	mu       sync.Mutex
	resource string
	params   map[string]any
	actor    *Caller
}

// noteResource says what the request is about; an empty id is none.
func noteResource(ctx context.Context, kind, id string) {
	if id == "" {
		return
	}
	n := &infoOf(ctx).noted
	n.mu.Lock()
	defer n.mu.Unlock()
	n.resource = kind + ":" + id
}

// noteParam adds a detail to the entry of the request. It must not be a secret.
func noteParam(ctx context.Context, key string, value any) {
	n := &infoOf(ctx).noted
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.params == nil {
		n.params = map[string]any{}
	}
	n.params[key] = value
}

// noteActor says who it turned out to be, where the door did not know: a sign-in.
func noteActor(ctx context.Context, c Caller) {
	n := &infoOf(ctx).noted
	n.mu.Lock()
	defer n.mu.Unlock()
	n.actor = &c
}

// resultOf is the Result for an error.
func resultOf(err error) string {
	if err == nil {
		return ResultOK
	}
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.Busy:
		return ResultRefused
	default:
		return ResultFailed
	}
}

// record writes the entry of a request once its handler is done. Where that fails for something that
// changed the server, the answer says so: what cannot be recorded is not confirmed.
func (s *Server) record(info *requestInfo, d door, began time.Time, err error) error {
	if d.audit == "" || s.recorder == nil {
		return nil
	}
	info.noted.mu.Lock()
	defer info.noted.mu.Unlock()
	if waits(err) {
		return nil
	}
	e := Entry{
		Action: d.audit, Resource: info.noted.resource, Result: resultOf(err), Actor: info.caller, Params: maps.Clone(info.noted.params),
		Took: time.Since(began), IP: info.remote, UserAgent: clip(info.agent, 300), RequestID: info.id, At: began.UTC(),
	}
	if info.noted.actor != nil {
		e.Actor = *info.noted.actor
	}
	if err != nil {
		if e.Params == nil {
			e.Params = map[string]any{}
		}
		e.Params["error"] = string(newProblem(err).Kind)
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordWait)
	defer cancel()
	return s.recorder.Record(ctx, e)
}

// recordWait bounds how long an answer waits for its entry, which does not end with its caller.
const recordWait = 10 * time.Second

// clip bounds a text that a client chose.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
