package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// DeadLetter is an event that a consumer gave up.
type DeadLetter struct {
	Seq      uint64    `json:"seq" doc:"Names the letter." example:"17"`
	Subject  string    `json:"subject" doc:"The subject of the event." example:"agnes.v1.extract.ready.shop"`
	Source   string    `json:"source" doc:"The source that the event is about; empty for none." example:"shop"`
	Consumer string    `json:"consumer" doc:"Who gave it up." example:"orchestrator"`
	Error    string    `json:"error" doc:"Why, in a sentence; the log of the consumer has more under the event's id."`
	Kind     string    `json:"kind" doc:"The kind of the error." example:"invalid"`
	Attempts int       `json:"attempts" doc:"How often it was tried." example:"1"`
	Time     time.Time `json:"time" doc:"When it was given up."`
	EventID  string    `json:"event_id" doc:"The id of the event."`
	Payload  any       `json:"payload" doc:"The event: JSON where it is, else its text."`
}

// DeadLetterList lists letters.
type DeadLetterList struct {
	DeadLetters []DeadLetter `json:"dead_letters" doc:"Oldest first."`
	Count       int          `json:"count" doc:"How many are listed." example:"0"`
}

type deadLettersAnswer struct{ Body DeadLetterList }

type deadLettersQuestion struct {
	Source   string `query:"source" maxLength:"64" doc:"Only events about this source." example:"shop"`
	Consumer string `query:"consumer" maxLength:"64" pattern:"^[A-Za-z0-9_-]*$" doc:"Only what this consumer gave up." example:"orchestrator"`
	After    uint64 `query:"after" doc:"Continue behind the letter of this number." example:"100"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most letters to list."`
}

type bySeq struct {
	Seq uint64 `path:"seq" doc:"The number of the letter." example:"17"`
}

// Replayed says that an event was handed to its consumer again.
type Replayed struct {
	Seq    uint64 `json:"seq" doc:"The number that the letter had." example:"17"`
	Status string `json:"status" doc:"Always replayed. If the event fails again it is a letter again." example:"replayed"`
}

type replayedAnswer struct{ Body Replayed }

type rebuildQuestion struct {
	Body *struct {
		Source string `json:"source,omitempty" nullable:"true" maxLength:"64" doc:"The source; all that are configured or published where missing." example:"shop"`
	}
}

// Rebuilding names the sources whose extracts were announced.
type Rebuilding struct {
	Status  string   `json:"status" doc:"Always announced." example:"announced"`
	Sources []string `json:"sources" doc:"The sources." example:"[\"shop\"]"`
}

type rebuildingAnswer struct{ Body Rebuilding }

func (s *Server) opsRoutes() {
	const path = "/api/admin/dead-letters"
	add(s, Admin, op{
		method: http.MethodGet, path: path, id: "deadLetters", tag: tagOps, summary: "List events that were given up",
		text: "An event comes here when trying again cannot help, or did not help often enough.", errors: []int{http.StatusUnprocessableEntity},
	}, s.deadLetters)
	add(s, Admin, op{
		method: http.MethodPost, path: path + "/{seq}/replay", id: "replayDeadLetter", audit: "dead_letter.replay", tag: tagOps, summary: "Try an event again",
		text:   "It goes to the consumer that gave it up and to no other, and the letter is removed.",
		errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.replay)
	add(s, Admin, op{
		method: http.MethodDelete, path: path + "/{seq}", id: "dropDeadLetter", audit: "dead_letter.drop", tag: tagOps, summary: "Drop an event for good",
		text: "It cannot be replayed any more.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.drop)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/admin/rebuild", id: "rebuild", scope: ScopeSync, audit: "source.rebuild", tag: tagOps, summary: "Publish extracts anew",
		text:   "Announces the extract of a source, as an extractor does when it is done: for extracts that another program wrote, or when a catalog document was damaged.",
		errors: []int{http.StatusBadRequest, http.StatusUnprocessableEntity},
	}, s.rebuild)
}

func (s *Server) deadLetters(ctx context.Context, in *deadLettersQuestion) (*deadLettersAnswer, error) {
	letters, err := s.bus.DeadLetters(ctx, event.LetterFilter{Source: in.Source, Consumer: in.Consumer, After: in.After, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := &deadLettersAnswer{Body: DeadLetterList{DeadLetters: make([]DeadLetter, len(letters)), Count: len(letters)}}
	for i, l := range letters {
		out.Body.DeadLetters[i] = DeadLetter{
			Seq: l.Number, Subject: l.Subject, Source: l.Source, Consumer: l.Consumer, Error: l.Error, Kind: string(l.ErrorKind),
			Attempts: l.Attempts, Time: l.FailedAt.UTC(), EventID: l.EventID, Payload: payloadOf(l.Payload),
		}
	}
	return out, nil
}

func payloadOf(raw []byte) any {
	if json.Valid(raw) {
		return json.RawMessage(raw)
	}
	return string(raw)
}

func (s *Server) replay(ctx context.Context, in *bySeq) (*replayedAnswer, error) {
	noteResource(ctx, "dead_letter", strconv.FormatUint(in.Seq, 10))
	return &replayedAnswer{Body: Replayed{Seq: in.Seq, Status: "replayed"}}, s.bus.ReplayDeadLetter(ctx, in.Seq)
}

func (s *Server) drop(ctx context.Context, in *bySeq) (*none, error) {
	noteResource(ctx, "dead_letter", strconv.FormatUint(in.Seq, 10))
	return nil, s.bus.DropDeadLetter(ctx, in.Seq)
}

func (s *Server) rebuild(ctx context.Context, in *rebuildQuestion) (*rebuildingAnswer, error) {
	var sources []string
	if in.Body != nil && in.Body.Source != "" {
		sources = []string{in.Body.Source}
	} else {
		all, err := s.listSources(ctx, &none{})
		if err != nil {
			return nil, err
		}
		for _, src := range all.Body.Sources {
			sources = append(sources, src.Name)
		}
	}
	noteResource(ctx, "source", strings.Join(sources, ","))
	for _, source := range sources {
		if err := s.bus.Rebuild(ctx, source); err != nil {
			if fault.Is(err, fault.Internal) {
				return nil, fault.Wrap(err, fault.Unavailable, "the extract of source %q could not be announced", source)
			}
			return nil, err
		}
	}
	return &rebuildingAnswer{Body: Rebuilding{Status: "announced", Sources: orEmpty(sources)}}, nil
}
