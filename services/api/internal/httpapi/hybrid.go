package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Hybrid fetches queries of a warehouse that a statement joins to tables of the catalog.
type Hybrid interface {
	// Plan tells what the registered queries would cost, and runs none of them.
	Plan(ctx context.Context, q HybridQuestion) (HybridPlan, error)
	// Budget tells what the caller used today.
	Budget(ctx context.Context, c Caller) (Budget, error)
}

// HybridPlan is what registered queries would cost, and how to run them.
type HybridPlan struct {
	Parts []HybridPart
	// MaxRows bounds the answer beside the limit that was asked for; zero or less does not.
	MaxRows int
	// Fetch runs them, and gives them as views; forget removes what was fetched.
	Fetch func(ctx context.Context) (f HybridFetched, forget func(), err error)
}

// HybridFetched is what was fetched.
type HybridFetched struct {
	// Key is of this fetch alone.
	Key   string
	Views []lake.View
	Parts []HybridPart
}

// HybridQuestion is what a caller registers.
type HybridQuestion struct {
	Question
	Registered map[string]string
	MaxBytes   int64
	// NoSemiJoin sends no keys of local tables along.
	NoSemiJoin bool
}

// HybridSemiJoin is what is sent along with a registered query.
type HybridSemiJoin struct {
	Columns []string `json:"columns" doc:"Columns of the registered query that have to have one of the keys; none where nothing is sent along." example:"[\"order_id\"]"`
	Tables  []string `json:"tables" doc:"The local tables that the keys of each column come from." example:"[\"orders\"]"`
	Keys    int      `json:"keys" doc:"How many keys there are." example:"1204"`
	Why     string   `json:"why,omitempty" doc:"Why nothing, or not every key, is sent along."`
}

// HybridPart is one registered query.
type HybridPart struct {
	Alias    string         `json:"alias" doc:"The name that it has in the SQL." example:"events"`
	Tables   []string       `json:"tables" doc:"The tables of BigQuery that it reads." example:"[\"acme.web.events\"]"`
	Columns  []string       `json:"columns" doc:"Names of its columns." example:"[\"user_id\"]"`
	Bytes    int64          `json:"bytes" doc:"What BigQuery estimates that it reads." example:"52428800"`
	MaxBytes int64          `json:"max_bytes_billed" doc:"The most that it may be billed for, which is reserved in the budget while it runs." example:"52428800"`
	PriceUSD float64        `json:"price_usd" doc:"What that costs at the configured price, in US dollars." example:"0.0003"`
	Billed   int64          `json:"bytes_billed" doc:"What it was billed for; 0 where it was not run." example:"52428800"`
	Rows     int64          `json:"rows" doc:"How many rows were fetched; 0 where it was not run." example:"1204"`
	SemiJoin HybridSemiJoin `json:"semi_join" doc:"Keys of local tables that are sent along, so that only rows travel that can match."`
}

// HybridStats tells about registered queries.
type HybridStats struct {
	RegisteredAliases []string     `json:"registered_aliases" doc:"The aliases." example:"[\"events\"]"`
	AliasCount        int          `json:"alias_count" doc:"How many there are." example:"1"`
	Parts             []HybridPart `json:"parts" doc:"Each of them, with what it costs."`
}

// HybridAnswer is an answer as JSON, with what it cost.
type HybridAnswer struct {
	QueryAnswer
	Stats   HybridStats `json:"bq_stats" doc:"What was registered, and what it costs."`
	Explain bool        `json:"explain,omitempty" doc:"Nothing was run: the costs are estimates."`
}

// Budget is what remote queries of today were billed for.
type Budget struct {
	Day         string  `json:"day" doc:"The day, of UTC." example:"2026-01-31"`
	UserBytes   int64   `json:"user_bytes" doc:"Bytes that you were billed for today, or that are reserved for you." example:"52428800"`
	UserLimit   int64   `json:"user_limit_bytes" doc:"How many they may be; -1 for no bound." example:"1099511627776"`
	LeftBytes   int64   `json:"left_bytes" doc:"How many you may still be billed for today; -1 for no bound." example:"1099459198976"`
	QueryLimit  int64   `json:"query_limit_bytes" doc:"How many one query may be billed for; -1 for no bound." example:"107374182400"`
	PricePerTiB float64 `json:"price_per_tib_usd" doc:"What a TiB costs, in US dollars, as configured." example:"6.25"`
}

type budgetAnswer struct{ Body Budget }

type hybridQuestion struct {
	Accept string `header:"Accept" maxLength:"1000" doc:"As for /api/query; JSON where missing." example:"application/json"`
	Body   struct {
		SQL        string            `json:"sql" minLength:"1" maxLength:"1000000" doc:"One SELECT in DuckDB's dialect over tables that are granted to you and the aliases." example:"SELECT o.id, e.at FROM orders o JOIN events e ON e.order_id = o.id"`
		RegisterBQ map[string]string `json:"register_bq" minProperties:"1" maxProperties:"20" doc:"For each alias one SELECT in BigQuery's dialect. It is billed." example:"{\"events\":\"SELECT order_id, at FROM web.events\"}"`
		Limit      *int              `json:"limit,omitempty" nullable:"true" minimum:"1" doc:"The most rows to answer." example:"1000"`
		Explain    bool              `json:"explain,omitempty" doc:"Only tell what it would cost, and run nothing."`
		SemiJoin   *bool             `json:"semi_join,omitempty" nullable:"true" doc:"false: send no keys of local tables to BigQuery. They are sent where the SQL joins a registered query to a local table, so that only rows travel that can match."`
		MaxBytes   int64             `json:"max_bytes,omitempty" minimum:"0" doc:"Refuse where it may be billed for more; 0 for no bound beside the budget." example:"1073741824"`
	}
}

func (s *Server) hybridRoutes() {
	add(s, User, op{
		method: http.MethodPost, path: "/api/query/hybrid", id: "hybridQuery", scope: ScopeQuery, audit: "data.hybrid_query", limit: LimitQuery, tag: tagData, summary: "Ask over tables and BigQuery at once",
		text: "Estimates every registered query, which is free; refuses what is above the budget; runs them at BigQuery, each capped at what was reserved for it; and runs the SQL over their rows and the tables that are granted to you. A registered query may read what is granted to you of BigQuery; administrators may read what the server may.",
		errors: []int{
			http.StatusBadRequest, http.StatusNotFound, http.StatusNotAcceptable, http.StatusRequestEntityTooLarge,
			http.StatusUnprocessableEntity, http.StatusTooManyRequests,
		},
		more: s.describeHybrid,
	}, s.hybrid)
	add(s, User, op{
		method: http.MethodGet, path: "/api/query/budget", id: "queryBudget", scope: ScopeQuery, tag: tagData, summary: "What remote queries may still cost today",
		text: "A day is one of UTC. What is reserved for queries under way counts.",
	}, s.budget)
}

func (s *Server) describeHybrid(o *huma.Operation) {
	s.describeQuery(o)
	content := o.Responses["200"].Content
	content[TypeJSON] = &huma.MediaType{
		Schema: s.api.OpenAPI().Components.Schemas.Schema(typeOf[HybridAnswer](), true, "HybridAnswer"),
		Example: map[string]any{
			"columns": []string{"id"}, "types": []string{"BIGINT"}, "rows": [][]any{{1}}, "row_count": 1, "truncated": false,
			"bq_stats": map[string]any{"registered_aliases": []string{"events"}, "alias_count": 1, "parts": []any{map[string]any{
				"alias": "events", "tables": []string{"acme.web.events"}, "columns": []string{"order_id"}, "bytes": 100, "max_bytes_billed": 10485760,
				"price_usd": 0.00006, "bytes_billed": 10485760, "rows": 1, "semi_join": map[string]any{"columns": []string{"order_id"}, "tables": []string{"orders"}, "keys": 1},
			}}},
		},
	}
}

var errNoWarehouse = fault.New(fault.Invalid, "BigQuery is not configured here: add a source of the type bigquery, or set BIGQUERY_PROJECT")

func (s *Server) hybrid(ctx context.Context, in *hybridQuestion) (*streamed, error) {
	mediaType := negotiate(in.Accept)
	noteStatement(ctx, in.Body.SQL, mediaType)
	registered := map[string]any{}
	for alias, sql := range in.Body.RegisterBQ {
		registered[clip(alias, 64)] = clip(sql, mostSQL)
	}
	noteParam(ctx, "registered", registered)
	if mediaType == "" {
		return nil, errNotAcceptable()
	}
	if s.warehouse == nil {
		return nil, errNoWarehouse
	}
	limit, err := s.rowLimit(in.Body.Limit, mediaType)
	if err != nil {
		return nil, err
	}
	if err := lake.CheckRead(in.Body.SQL); err != nil { // before anything is paid
		return nil, fault.Wrap(err, fault.Invalid, "Query: query_error: %s", fault.Message(err))
	}
	snapshot, caller := s.published.Current(), callerOf(ctx)
	grants, err := s.access.Grants(ctx, caller, snapshot)
	if err != nil {
		return nil, err
	}
	q := Question{Caller: caller, Grants: grants, Snapshot: snapshot, SQL: in.Body.SQL, Limit: limit, MediaType: mediaType}
	plan, err := s.warehouse.Plan(ctx, HybridQuestion{Question: q, Registered: in.Body.RegisterBQ, MaxBytes: in.Body.MaxBytes, NoSemiJoin: in.Body.SemiJoin != nil && !*in.Body.SemiJoin})
	if err != nil {
		return nil, err
	}
	return &streamed{Body: func(hc huma.Context) {
		w, r := echoOf(hc)
		if in.Body.Explain {
			s.explainHybrid(w, r, plan)
			return
		}
		s.runHybrid(w, r, plan, q)
	}}, nil
}

func (s *Server) explainHybrid(w http.ResponseWriter, r *http.Request, plan HybridPlan) {
	raw, err := json.Marshal(HybridAnswer{
		QueryAnswer: QueryAnswer{Columns: []string{}, Types: []string{}, Rows: [][]any{}}, Stats: statsOf(plan.Parts), Explain: true,
	})
	if err = s.recorded(r.Context(), err); err != nil {
		writeProblem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", TypeJSON)
	_, _ = w.Write(raw) // a client that is gone needs no answer
}

// runHybrid fetches, and answers over what was fetched.
func (s *Server) runHybrid(w http.ResponseWriter, r *http.Request, plan HybridPlan, q Question) {
	fetched, done, err := plan.Fetch(r.Context())
	if err != nil {
		writeProblem(w, r, s.recorded(r.Context(), err))
		return
	}
	defer done()
	billed := map[string]any{}
	for _, p := range fetched.Parts {
		billed[p.Alias] = p.Billed
	}
	noteParam(r.Context(), "billed", billed)
	q.Fetched = &fetched
	if plan.MaxRows > 0 {
		q.Limit = min(q.Limit, plan.MaxRows)
	}
	s.stream(w, r, q)
}

func statsOf(parts []HybridPart) HybridStats {
	stats := HybridStats{RegisteredAliases: []string{}, AliasCount: len(parts), Parts: orEmpty(parts)}
	for _, p := range parts {
		stats.RegisteredAliases = append(stats.RegisteredAliases, p.Alias)
	}
	return stats
}

// withStats adds what was registered to an answer in JSON that goes through it: it keeps the last brace.
type withStats struct {
	to    io.Writer
	stats HybridStats
	held  []byte
}

// keep is more than the end of an answer: a brace and a line feed.
const keep = 8

func (a *withStats) Write(p []byte) (int, error) {
	a.held = append(a.held, p...)
	if out := len(a.held) - keep; out > 0 {
		if _, err := a.to.Write(a.held[:out]); err != nil {
			return 0, err
		}
		a.held = append(a.held[:0], a.held[out:]...)
	}
	return len(p), nil
}

// end writes the brace, with the stats before it.
func (a *withStats) end() error {
	raw, err := json.Marshal(a.stats)
	if err != nil {
		return err
	}
	body, _ := bytes.CutSuffix(bytes.TrimRight(a.held, " \n"), []byte("}"))
	_, err = io.WriteString(a.to, string(body)+`,"bq_stats":`+string(raw)+"}\n")
	return err
}

func (s *Server) budget(ctx context.Context, _ *none) (*budgetAnswer, error) {
	if s.warehouse == nil {
		return nil, errNoWarehouse
	}
	b, err := s.warehouse.Budget(ctx, callerOf(ctx))
	return &budgetAnswer{Body: b}, err
}

func errNotAcceptable() error {
	return &Problem{
		Type: problemKind, Title: titleOf(http.StatusNotAcceptable), Status: http.StatusNotAcceptable, Kind: fault.Invalid,
		Detail: "none of the media types in Accept is one that a query can be answered in: " + strings.Join(queryTypes, ", "),
	}
}
