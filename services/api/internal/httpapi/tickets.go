package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Tickets stand for credentials towards the gateway of events, for pages, which cannot read their session.
type Tickets interface {
	// Issue gives a ticket for a credential, and how long it can be used, once.
	Issue(ctx context.Context, token string) (ticket string, ttl time.Duration, err error)
}

// EventTicket lets a page connect to /ws/notifications.
type EventTicket struct {
	Ticket    string `json:"ticket" doc:"For the first frame: {\"type\":\"auth\",\"ticket\":…}. It works once." example:"n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"`
	ExpiresIn int    `json:"expires_in" doc:"Seconds within which it has to be used." example:"60"`
}

type ticketAnswer struct{ Body EventTicket }

type ticketQuestion struct{ header credential }

// Resolve notes the credential, for huma: the ticket stands for it.
func (q *ticketQuestion) Resolve(ctx huma.Context) []error {
	_, r := echoOf(ctx)
	q.header = credentialOf(r)
	return nil
}

func (s *Server) ticketRoutes() {
	add(s, User, op{
		method: http.MethodPost, path: "/api/events/ticket", id: "eventTicket", scope: ScopeRead, audit: "ticket.create", tag: tagOps, summary: "Get a ticket for the stream of events",
		text:   "For pages: their session is in a cookie that they cannot read, and a WebSocket is told who connects in its first frame. Other clients send their token there.",
		status: http.StatusCreated,
	}, s.eventTicket)
}

func (s *Server) eventTicket(ctx context.Context, in *ticketQuestion) (*ticketAnswer, error) {
	ticket, ttl, err := s.tickets.Issue(ctx, in.header.token)
	return &ticketAnswer{Body: EventTicket{Ticket: ticket, ExpiresIn: int(ttl.Seconds())}}, err
}
