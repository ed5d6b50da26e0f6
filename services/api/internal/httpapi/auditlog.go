package httpapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const typeGzip = "application/gzip"

// AuditPage is a piece of the record.
type AuditPage struct {
	Records []AuditRecord `json:"records" doc:"Newest first."`
	Count   int           `json:"count" doc:"How many are listed." example:"0"`
	More    bool          `json:"more" doc:"Whether there are others beyond the last: ask again with before set to its seq (or after, where you page forwards)."`
}

type auditQuestion struct {
	Accept    string    `header:"Accept" maxLength:"1000" doc:"application/json for a page; text/csv or application/x-ndjson for everything that matches, oldest first." example:"application/json"`
	From      time.Time `query:"from" doc:"Only what happened at or after this time." example:"2026-01-02T00:00:00Z"`
	Until     time.Time `query:"until" doc:"Only what happened before this time." example:"2026-01-03T00:00:00Z"`
	Actor     string    `query:"actor" maxLength:"320" doc:"A user's id or e-mail address." example:"ann@example.com"`
	Action    string    `query:"action" maxLength:"100" doc:"An action, or noun.* for all of a noun." example:"user.*"`
	Resource  string    `query:"resource" maxLength:"400" doc:"What it was done to, as it stands in the record." example:"table:orders"`
	Result    string    `query:"result" enum:"ok,refused,failed" doc:"What came of it." example:"refused"`
	IP        string    `query:"ip" maxLength:"64" doc:"The address of the client." example:"192.0.2.7"`
	RequestID string    `query:"request_id" maxLength:"64" doc:"The id of the request." example:"4KQ2T7M3XJ5Z6V8N9P0R"`
	Text      string    `query:"text" maxLength:"400" doc:"A text anywhere in resource or params, whatever the case." example:"orders"`
	Before    int64     `query:"before" minimum:"0" doc:"Only records with a smaller seq: pages backwards." example:"100"`
	After     int64     `query:"after" minimum:"0" doc:"Only records with a greater seq: pages forwards." example:"100"`
	Limit     int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most records of a page. An export has no limit."`
}

func (q *auditQuestion) filter() AuditFilter {
	return AuditFilter{
		From: q.From, Until: q.Until, Actor: q.Actor, Action: q.Action, Resource: q.Resource, Result: q.Result, IP: q.IP,
		RequestID: q.RequestID, Text: q.Text, Before: q.Before, After: q.After, Limit: q.Limit,
	}
}

// note keeps in the record what was looked for.
func (q *auditQuestion) note(ctx context.Context) {
	for name, value := range map[string]string{
		"actor": q.Actor, "action": q.Action, "resource": q.Resource, "result": q.Result, "ip": q.IP, "request_id": q.RequestID, "text": q.Text,
	} {
		if value != "" {
			noteParam(ctx, name, value)
		}
	}
	for name, at := range map[string]time.Time{"from": q.From, "until": q.Until} {
		if !at.IsZero() {
			noteParam(ctx, name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	for name, seq := range map[string]int64{"before": q.Before, "after": q.After} {
		if seq > 0 {
			noteParam(ctx, name, seq)
		}
	}
}

func (s *Server) auditRoutes() {
	const path = "/api/admin/audit"
	add(s, Admin, op{
		method: http.MethodGet, path: path, id: "audit", audit: "audit.read", tag: tagOps, summary: "Search the record of who did what",
		text:   "Newest first, a page at a time. With Accept text/csv or application/x-ndjson everything that matches is sent, oldest first; a stream that breaks off is cut. Reading the record is recorded too.",
		errors: []int{http.StatusNotAcceptable, http.StatusUnprocessableEntity, http.StatusTooManyRequests},
		more:   s.describeAudit,
	}, s.audit)
	add(s, Admin, op{
		method: http.MethodGet, path: path + "/chain", id: "auditChain", audit: "audit.export", tag: tagOps, summary: "Fetch the record as it is kept",
		text: "An archive (tar, gzip) of the segments, the signed checkpoints and the public key, up to a checkpoint that is made for it: `da admin audit verify` proves it offline.",
		more: func(o *huma.Operation) {
			o.Responses["200"] = &huma.Response{Description: "The archive.", Content: map[string]*huma.MediaType{
				typeGzip: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
			}}
		},
	}, s.auditChain)
}

func (s *Server) describeAudit(o *huma.Operation) {
	schema := s.api.OpenAPI().Components.Schemas.Schema(typeOf[AuditPage](), true, "AuditPage")
	text := &huma.Schema{Type: huma.TypeString}
	o.Responses["200"] = &huma.Response{Description: "The records.", Content: map[string]*huma.MediaType{
		TypeJSON: {Schema: schema}, TypeNDJSON: {Schema: text}, TypeCSV: {Schema: text},
	}}
}

// auditTypes are those of an answer from the record.
var auditTypes = []string{TypeJSON, TypeNDJSON, TypeCSV}

func auditType(accept string) string {
	if strings.TrimSpace(accept) == "" || strings.Contains(accept, "*/*") {
		if exact := negotiation.SelectQValueFast(accept, auditTypes); exact != "" {
			return exact
		}
		return TypeJSON
	}
	return negotiation.SelectQValueFast(accept, auditTypes)
}

func (s *Server) audit(ctx context.Context, in *auditQuestion) (*streamed, error) {
	mediaType := auditType(in.Accept)
	in.note(ctx)
	if mediaType != TypeJSON {
		infoOf(ctx).door.audit = "audit.export"
		noteParam(ctx, "media_type", mediaType)
	}
	switch {
	case s.auditLog == nil:
		return nil, fault.New(fault.Unavailable, "the record is not kept here")
	case mediaType == "":
		return nil, &Problem{
			Type: problemKind, Title: titleOf(http.StatusNotAcceptable), Status: http.StatusNotAcceptable, Kind: fault.Invalid,
			Detail: "none of the media types in Accept is one that the record can be answered in: " + strings.Join(auditTypes, ", "),
		}
	case !in.From.IsZero() && !in.Until.IsZero() && !in.From.Before(in.Until):
		return nil, fault.New(fault.Invalid, "from must be before until")
	}
	filter := in.filter()
	if mediaType == TypeJSON {
		return s.auditPage(ctx, filter)
	}
	filter.Limit, filter.Ascending = 0, true
	name := "audit.csv"
	if mediaType == TypeNDJSON {
		name = "audit.ndjson"
	}
	return s.auditStream(ctx, contentType(mediaType), name, func(ctx context.Context, w io.Writer) error {
		return s.auditLog.Export(ctx, filter, mediaType, w)
	})
}

func (s *Server) auditPage(ctx context.Context, filter AuditFilter) (*streamed, error) {
	records, more, err := s.auditLog.Search(ctx, filter)
	if err != nil {
		return nil, err
	}
	if records == nil {
		records = []AuditRecord{}
	}
	noteParam(ctx, "count", len(records))
	if err := s.recorded(ctx, nil); err != nil {
		return nil, unrecorded(ctx, err)
	}
	page := AuditPage{Records: records, Count: len(records), More: more}
	return &streamed{Body: func(hc huma.Context) {
		w, r := echoOf(hc)
		w.Header().Set("Content-Type", TypeJSON)
		w.WriteHeader(http.StatusOK)
		if err := jsonFormat.Marshal(w, page); err != nil {
			infoOf(r.Context()).failure = err
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

func (s *Server) auditChain(ctx context.Context, _ *struct{}) (*streamed, error) {
	if s.auditLog == nil {
		return nil, fault.New(fault.Unavailable, "the record is not kept here")
	}
	noteParam(ctx, "media_type", typeGzip)
	return s.auditStream(ctx, typeGzip, "audit.tar.gz", s.auditLog.Chain)
}

// auditStream records that the record leaves the house, then lets it go.
func (s *Server) auditStream(ctx context.Context, mediaType, name string, write func(context.Context, io.Writer) error) (*streamed, error) {
	if err := s.recorded(ctx, nil); err != nil {
		return nil, unrecorded(ctx, err)
	}
	return &streamed{Body: func(hc huma.Context) {
		w, r := echoOf(hc)
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
		w.WriteHeader(http.StatusOK)
		if err := write(r.Context(), w); err != nil {
			infoOf(r.Context()).failure = err
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
	}}, nil
}

// unrecorded keeps a request that could not be recorded from being recorded once more as its failure.
func unrecorded(ctx context.Context, err error) error {
	infoOf(ctx).door.audit = ""
	return err
}
