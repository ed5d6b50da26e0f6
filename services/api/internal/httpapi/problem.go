package httpapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Problem is the one error shape of the API: RFC 9457 fields, plus the kind of the failure. Clients of
// the predecessor read `detail`, which is always one sentence for a person.
type Problem struct {
	Type      string         `json:"type" doc:"Always about:blank: the kind tells the nature of the failure." example:"about:blank"`
	Title     string         `json:"title" doc:"The text of the HTTP status." example:"Not Found"`
	Status    int            `json:"status" doc:"The HTTP status." example:"404"`
	Detail    string         `json:"detail" doc:"What went wrong, in one sentence for a person." example:"there is no table \"orders\", or it is not granted to you"`
	Kind      fault.Kind     `json:"kind" enum:"invalid,unauthenticated,forbidden,not_found,conflict,too_large,busy,unavailable,permanent,internal" doc:"A stable word for the nature of the failure, for programs." example:"not_found"`
	Instance  string         `json:"instance,omitempty" doc:"The path that was asked for, without its query string." example:"/api/data/orders/download"`
	RequestID string         `json:"request_id,omitempty" doc:"Names this request in the log of the server; also in the header X-Request-Id." example:"01J9ZC3Y6V"`
	Errors    []ProblemField `json:"errors,omitempty" doc:"With status 422: each value that was refused."`

	// Code is the error code of OAuth 2.0 that clients of the device flow read.
	Code string `json:"error,omitempty" doc:"Polling for a device's session alone: authorization_pending, slow_down, access_denied or expired_token (RFC 8628, section 3.5)."`

	retryAfter time.Duration
	header     http.Header
}

// ProblemField is one value of a request that was refused. The value itself is not repeated: it may be
// a secret.
type ProblemField struct {
	Location string `json:"location,omitempty" doc:"Where the value stands in the request." example:"body.email"`
	Message  string `json:"message" doc:"What it should have been." example:"expected string to be RFC 5322 email: mail: missing '@'"`
}

// problemKind is the type of every problem: the HTTP status says what it is (RFC 9457, section 4.2.1).
const problemKind = "about:blank"

var problemType = reflect.TypeFor[Problem]()

// Error gives the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status, for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType names the media type of RFC 9457, for huma.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders gives the headers that belong to the answer, for huma.
func (p *Problem) GetHeaders() http.Header {
	h := p.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	switch {
	case p.retryAfter > 0:
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	case p.Status == http.StatusTooManyRequests:
		h.Set("Retry-After", "1") // how long is not known
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="agnes"`)
	}
	return h
}

// statusClientGone is what the log shows where the client left before the answer: nginx's number.
const statusClientGone = 499

// statusOf is the one place that says what a kind means to HTTP.
func statusOf(kind fault.Kind) int {
	switch kind {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Busy:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Permanent:
		return http.StatusBadGateway
	case fault.Internal:
	}
	return http.StatusInternalServerError
}

// kindOf is the reverse, for statuses that huma, echo and the standard library decide.
func kindOf(status int) fault.Kind {
	switch status {
	case http.StatusUnauthorized:
		return fault.Unauthenticated
	case http.StatusForbidden:
		return fault.Forbidden
	case http.StatusNotFound:
		return fault.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fault.Conflict
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusTooManyRequests:
		return fault.Busy
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fault.Unavailable
	case http.StatusBadGateway:
		return fault.Permanent
	}
	if status >= http.StatusInternalServerError {
		return fault.Internal
	}
	return fault.Invalid
}

// problemOf turns any error into the answer for it. What is not a fault becomes a general sentence:
// the details go to the log.
func problemOf(ctx context.Context, err error) *Problem {
	p := newProblem(err)
	p.RequestID = requestID(ctx)
	p.Instance = requestPath(ctx)
	return p
}

func newProblem(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		c := *problem
		return &c
	}
	var model *huma.ErrorModel
	if errors.As(err, &model) {
		return fromHuma(model)
	}
	var refused *echo.HTTPError
	if errors.As(err, &refused) {
		return fromEcho(refused)
	}
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		err = fault.New(fault.TooLarge, "the request body is longer than %d bytes", tooLong.Limit)
	}
	kind := fault.KindOf(err)
	status := statusOf(kind)
	if errors.Is(err, context.Canceled) {
		status = statusClientGone
	}
	return &Problem{
		Type: problemKind, Title: titleOf(status), Status: status,
		Detail: fault.Message(err), Kind: kind, retryAfter: fault.RetryAfter(err),
	}
}

func titleOf(status int) string {
	if status == statusClientGone {
		return "Client Closed Request"
	}
	return http.StatusText(status)
}

// fromHuma rewrites an error that huma made: nearly always a request that does not fit its schema.
func fromHuma(m *huma.ErrorModel) *Problem {
	p := &Problem{
		Type: problemKind, Title: titleOf(m.Status), Status: m.Status,
		Detail: m.Detail, Kind: kindOf(m.Status),
	}
	if p.Kind == fault.Internal {
		p.Detail = fault.Message(errors.New(m.Detail))
		return p
	}
	var told []string
	for _, e := range m.Errors {
		if e == nil {
			continue
		}
		p.Errors = append(p.Errors, ProblemField{Location: e.Location, Message: e.Message})
		told = append(told, strings.TrimPrefix(e.Location+": "+e.Message, ": "))
	}
	if len(told) > 0 {
		p.Detail = fmt.Sprintf("%s: %s", m.Detail, strings.Join(told, "; "))
	}
	return p
}

// fromEcho rewrites an error of the router: an unknown path or a method that the path does not have.
func fromEcho(e *echo.HTTPError) *Problem {
	p := &Problem{Type: problemKind, Title: titleOf(e.Code), Status: e.Code, Kind: kindOf(e.Code)}
	switch e.Code {
	case http.StatusNotFound:
		p.Detail = "there is nothing at this path; /docs lists what there is"
	case http.StatusMethodNotAllowed:
		p.Detail = "this path does not take this method; the header Allow lists those it takes"
	default:
		p.Detail = strings.ToLower(titleOf(e.Code))
	}
	return p
}
