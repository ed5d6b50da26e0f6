package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Media types of answers to queries.
const (
	TypeJSON    = "application/json"
	TypeNDJSON  = "application/x-ndjson"
	TypeCSV     = "text/csv"
	TypeArrow   = "application/vnd.apache.arrow.stream"
	TypeParquet = "application/vnd.apache.parquet"
)

// headerTruncated tells that rows were left off: a trailer, known only once all rows are sent.
const headerTruncated = "X-Agnes-Truncated"

var queryTypes = []string{TypeJSON, TypeNDJSON, TypeCSV, TypeArrow, TypeParquet}

// QueryAnswer is an answer as JSON. Whole numbers beyond 2^53 and decimals are texts, so that no
// client loses digits; NaN and infinities are texts; dates and times are ISO 8601.
type QueryAnswer struct {
	Columns   []string `json:"columns" doc:"Names of the columns." example:"[\"answer\"]"`
	Types     []string `json:"types" doc:"DuckDB types of the columns." example:"[\"INTEGER\"]"`
	Rows      [][]any  `json:"rows" doc:"The rows, each a list of values." example:"[[42]]"`
	RowCount  int64    `json:"row_count" doc:"How many rows there are." example:"1"`
	Truncated bool     `json:"truncated" doc:"Whether the limit left rows off."`
}

type queryQuestion struct {
	Accept string `header:"Accept" maxLength:"1000" doc:"application/json, application/x-ndjson, text/csv, application/vnd.apache.arrow.stream or application/vnd.apache.parquet; JSON where missing." example:"text/csv"`
	Body   struct {
		SQL   string `json:"sql" minLength:"1" maxLength:"1000000" doc:"One SELECT (or EXPLAIN, DESCRIBE, SHOW, SUMMARIZE) in DuckDB's dialect. Tables are named by name, or source.name." example:"SELECT status, count(*) FROM orders GROUP BY 1"`
		Limit *int   `json:"limit,omitempty" nullable:"true" minimum:"1" doc:"The most rows to answer. Where missing: 1000 for JSON, and the server's maximum for the others." example:"1000"`
	}
}

func (s *Server) queryRoutes() {
	add(s, User, op{
		method: http.MethodPost, path: "/api/query", id: "query", scope: ScopeQuery, audit: "data.query", limit: LimitQuery, tag: tagData, summary: "Ask with SQL",
		text: "Runs one statement over exactly what is granted to you and streams the answer in the media type that Accept asks for. A stream that breaks off is a failure, never a shorter answer: the connection is cut. Leaving ends the query.",
		errors: []int{
			http.StatusBadRequest, http.StatusNotFound, http.StatusNotAcceptable, http.StatusRequestEntityTooLarge,
			http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		},
		more: s.describeQuery,
	}, s.query)
}

func (s *Server) describeQuery(o *huma.Operation) {
	schema := s.api.OpenAPI().Components.Schemas.Schema(typeOf[QueryAnswer](), true, "QueryAnswer")
	binary := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	text := &huma.Schema{Type: huma.TypeString}
	o.Responses["200"] = &huma.Response{
		Description: "The rows.",
		Headers: map[string]*huma.Param{
			headerTruncated: {Description: "true where the limit left rows off. A trailer for all but JSON.", Schema: &huma.Schema{Type: huma.TypeString}},
		},
		Content: map[string]*huma.MediaType{
			TypeJSON: {Schema: schema, Example: map[string]any{
				"columns": []string{"status", "count_star()"}, "types": []string{"VARCHAR", "BIGINT"},
				"rows": [][]any{{"paid", 118204}, {"open", 1796}}, "row_count": 2, "truncated": false,
			}},
			TypeNDJSON:  {Schema: text, Example: "{\"status\":\"paid\",\"count_star()\":118204}\n{\"status\":\"open\",\"count_star()\":1796}\n"},
			TypeCSV:     {Schema: text, Example: "status,count_star()\npaid,118204\nopen,1796\n"},
			TypeArrow:   {Schema: binary},
			TypeParquet: {Schema: binary},
		},
	}
}

func (s *Server) query(ctx context.Context, in *queryQuestion) (*streamed, error) {
	mediaType := negotiate(in.Accept)
	noteStatement(ctx, in.Body.SQL, mediaType)
	if mediaType == "" {
		return nil, errNotAcceptable()
	}
	limit, err := s.rowLimit(in.Body.Limit, mediaType)
	if err != nil {
		return nil, err
	}
	snapshot := s.published.Current()
	caller := callerOf(ctx)
	grants, err := s.access.Grants(ctx, caller, snapshot)
	if err != nil {
		return nil, err
	}
	question := Question{Caller: caller, Grants: grants, Snapshot: snapshot, SQL: in.Body.SQL, Limit: limit, MediaType: mediaType}
	return &streamed{Body: func(hc huma.Context) {
		w, r := echoOf(hc)
		s.stream(w, r, question)
	}}, nil
}

// negotiate picks the media type of an answer; empty where Accept has none that we can send.
func negotiate(accept string) string {
	if strings.TrimSpace(accept) == "" {
		return TypeJSON
	}
	if exact := negotiation.SelectQValueFast(accept, queryTypes); exact != "" {
		return exact
	}
	for _, one := range strings.Split(accept, ",") {
		name, _, _ := strings.Cut(one, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "*/*", "application/*", "application/problem+json":
			return TypeJSON
		case "text/*":
			return TypeCSV
		}
	}
	return ""
}

func (s *Server) rowLimit(asked *int, mediaType string) (int, error) {
	switch {
	case asked != nil && *asked > s.limits.MaxRows:
		return 0, &Problem{
			Type: problemKind, Title: titleOf(http.StatusUnprocessableEntity), Status: http.StatusUnprocessableEntity, Kind: fault.Invalid,
			Detail: "the limit is at most " + strconv.Itoa(s.limits.MaxRows) + " rows",
			Errors: []ProblemField{{Location: "body.limit", Message: "expected number <= " + strconv.Itoa(s.limits.MaxRows)}},
		}
	case asked != nil:
		return *asked, nil
	case mediaType == TypeJSON:
		return s.limits.DefaultRows, nil
	}
	return s.limits.MaxRows, nil
}

// stream writes the answer. Until the first byte an error becomes a status; after it the connection is
// cut, so that half an answer never looks whole.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, q Question) {
	begun := false
	var stats *withStats
	head := func() io.Writer {
		begun = true
		h := w.Header()
		h.Set("Content-Type", contentType(q.MediaType))
		h.Set("Vary", "Accept, Authorization, Cookie")
		h.Set("Trailer", headerTruncated)
		w.WriteHeader(http.StatusOK)
		if q.Fetched != nil && q.MediaType == TypeJSON {
			stats = &withStats{to: w, stats: statsOf(q.Fetched.Parts)}
			return stats
		}
		return w
	}
	recorded := false
	defer func() {
		if lost := recover(); lost != nil {
			if !recorded {
				_ = s.recorded(r.Context(), fault.New(fault.Internal, "a defect"))
			}
			panic(lost)
		}
	}()
	summary, err := s.queries.Query(r.Context(), q, head)
	noteAnswer(r.Context(), summary)
	recorded = true
	err = s.recorded(r.Context(), err) // the end of the answer goes out only after it: whole means recorded
	if err == nil && !begun {
		head()
	}
	if err == nil && stats != nil {
		err = stats.end()
	}
	switch {
	case err == nil:
		w.Header().Set(headerTruncated, strconv.FormatBool(summary.Truncated))
	case begun:
		infoOf(r.Context()).failure = err
		panic(http.ErrAbortHandler)
	default:
		writeProblem(w, r, err)
	}
}

// mostSQL is how much of a statement is recorded.
const mostSQL = 10 << 10

// noteStatement keeps what is asked in the record; the hash is that of the whole text.
func noteStatement(ctx context.Context, sql, mediaType string) {
	sum := sha256.Sum256([]byte(sql))
	noteParam(ctx, "sql", clip(sql, mostSQL))
	noteParam(ctx, "sql_sha256", hex.EncodeToString(sum[:]))
	noteParam(ctx, "media_type", mediaType)
}

// noteAnswer keeps what was answered.
func noteAnswer(ctx context.Context, q QuerySummary) {
	tables := make([]any, len(q.Tables))
	for i, t := range q.Tables {
		tables[i] = t
	}
	noteParam(ctx, "tables", tables)
	noteParam(ctx, "rows", q.Rows)
	noteParam(ctx, "bytes", q.Bytes)
	noteParam(ctx, "waited_ms", float64(q.Waited.Microseconds())/1000)
	noteParam(ctx, "truncated", q.Truncated)
}

func contentType(mediaType string) string {
	if mediaType == TypeCSV {
		return TypeCSV + "; charset=utf-8; header=present"
	}
	return mediaType
}
