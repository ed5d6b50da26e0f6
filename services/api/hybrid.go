package api

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// hybrids shows BigQuery to the routes.
type hybrids struct {
	engine   *federation.Hybrid
	registry *state.Registry
	instance func() *service.Instance
	limits   service.RemoteQuery
	clients  *warehouses
	asking   *asking // set once the engine is there
}

// openHybrid prepares for hybrid queries; fetched is the folder of the rows.
func (h *house) openHybrid(fetched string, ledger *federation.Ledger) {
	limits := h.instance.RemoteQuery
	h.hybrids = &hybrids{
		registry: h.state.Registry, instance: h.live.Load, limits: limits, clients: h.warehouses,
		engine: federation.NewHybrid(federation.HybridConfig{
			Dir: fetched, Rows: limits.MaxRegistrationRows, MemoryBytes: limits.MemoryBytes(), Timeout: limits.Timeout(), Price: limits.Price, Ledger: ledger,
		}),
	}
}

// Plan estimates the registered queries.
func (h *hybrids) Plan(ctx context.Context, q httpapi.HybridQuestion) (httpapi.HybridPlan, error) {
	client, err := h.clients.of(ctx, "")
	if err != nil {
		return httpapi.HybridPlan{}, err
	}
	question := federation.HybridQuestion{
		User: q.Caller.UserID, Registered: q.Registered, MaxBytes: q.MaxBytes,
		SQL: q.SQL, Keys: h.asking.keys(q.Question), MaxKeys: h.limits.MaxPushdownKeys, NoSemiJoin: q.NoSemiJoin,
	}
	if !q.Caller.Admin() {
		tables, err := h.readable(ctx, q.Question)
		if err != nil {
			return httpapi.HybridPlan{}, err
		}
		question.Readable = func(t bigquery.TableRef) bool { return tables[t] }
	}
	plan, err := h.engine.Plan(ctx, client, question)
	if err != nil {
		return httpapi.HybridPlan{}, err
	}
	if err := h.asking.check(ctx, q.Question, plan.StandIns()); err != nil { // before anything is paid
		return httpapi.HybridPlan{}, err
	}
	return httpapi.HybridPlan{Parts: partsOf(plan), MaxRows: int(h.limits.MaxResultRows), Fetch: func(ctx context.Context) (httpapi.HybridFetched, func(), error) {
		fetched, err := h.engine.Fetch(ctx, client, plan)
		if err != nil {
			return httpapi.HybridFetched{}, nil, err
		}
		return httpapi.HybridFetched{Key: fetched.Dir(), Views: fetched.Views, Parts: partsOf(fetched.Plan)}, func() { _ = fetched.Close() }, nil
	}}, nil
}

// readable are the tables of BigQuery that are registered and granted, as BigQuery names them.
func (h *hybrids) readable(ctx context.Context, q httpapi.Question) (map[bigquery.TableRef]bool, error) {
	rows, err := h.registry.List(ctx, "")
	if err != nil {
		return nil, err
	}
	byID := make(map[string]state.RegisteredTable, len(rows))
	for _, row := range rows {
		byID[row.ID] = row
	}
	projects := map[string]string{}
	for _, s := range h.instance().OfType(typeBigQuery) {
		_, options, err := bigquery.ConfigOf(s.Options)
		if err == nil && len(options.Projects) == 1 {
			projects[s.Name] = options.Projects[0].ID
		} else if err == nil {
			projects[s.Name] = "" // a bucket has to name its project
		}
	}
	tables := map[bigquery.TableRef]bool{}
	for _, t := range q.Snapshot.Tables() {
		if t.Registered == nil || !q.Grants.Allows(t) {
			continue
		}
		row, ok := byID[t.Registered.ID]
		project, known := projects[t.Source]
		if !ok || !known || row.Bucket == "" || row.SourceTable == "" || project == "" && !strings.ContainsAny(row.Bucket, ".:") || !whole(row) {
			continue
		}
		if ref, err := bigquery.ParseTable(row.Bucket+"."+row.SourceTable, project); err == nil {
			tables[ref] = true
		}
	}
	return tables, nil
}

// whole tells whether a registration stands for all of its table: one that copies some columns or rows only
// grants no more than these.
func whole(row state.RegisteredTable) bool {
	var options map[string]json.RawMessage
	if len(row.Options) > 0 && json.Unmarshal(row.Options, &options) != nil {
		return false
	}
	for name := range options {
		switch name {
		case extract.OptionSchemaContract, "max_bytes_billed", "streams": // say how it is read, not what
		default:
			return false
		}
	}
	return true
}

func partsOf(plan *federation.HybridPlan) []httpapi.HybridPart {
	parts := make([]httpapi.HybridPart, len(plan.Parts))
	for i, p := range plan.Parts {
		parts[i] = httpapi.HybridPart{
			Alias: p.Alias, Tables: []string{}, Columns: []string{}, Bytes: p.Bytes, MaxBytes: p.Reserved, PriceUSD: p.Price, Billed: p.Billed, Rows: p.Rows,
			SemiJoin: httpapi.HybridSemiJoin{
				Columns: append([]string{}, p.SemiJoin.Columns...), Tables: append([]string{}, p.SemiJoin.Tables...), Keys: p.SemiJoin.Keys, Why: p.SemiJoin.Why,
			},
		}
		for _, t := range p.Tables {
			parts[i].Tables = append(parts[i].Tables, t.Project+"."+t.Dataset+"."+t.Table)
		}
		for _, c := range p.Columns {
			parts[i].Columns = append(parts[i].Columns, c.Name)
		}
	}
	return parts
}

// Budget tells what the caller used today.
func (h *hybrids) Budget(ctx context.Context, c httpapi.Caller) (httpapi.Budget, error) {
	use, err := h.engine.Use(ctx, c.UserID)
	return httpapi.Budget{
		Day: use.Day, UserBytes: use.User, UserLimit: use.Limits.UserDay, LeftBytes: use.Left(), QueryLimit: use.Limits.Query, PricePerTiB: max(h.limits.PricePerTiB, 0),
	}, err
}
