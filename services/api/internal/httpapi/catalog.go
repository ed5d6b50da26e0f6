package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// CatalogTable is one table that the caller can query.
type CatalogTable struct {
	ID           string           `json:"id" doc:"Names the table in every route." example:"orders"`
	Name         string           `json:"name" doc:"The table's name within its source." example:"orders"`
	Source       string           `json:"source" doc:"The source." example:"shop"`
	Alias        bool             `json:"alias" doc:"Whether the name alone stands for this table in SQL; otherwise it is source.name."`
	Description  string           `json:"description" doc:"What it holds."`
	SourceType   string           `json:"source_type" doc:"The connector of the source; empty where unknown." example:"csv"`
	SyncStrategy string           `json:"sync_strategy" doc:"How it is extracted; empty where it is not registered." example:"full_refresh"`
	QueryMode    string           `json:"query_mode" doc:"local, materialized or remote." example:"local"`
	Rows         int64            `json:"rows" doc:"Rows of the table." example:"120000"`
	SizeBytes    int64            `json:"size_bytes" doc:"Bytes of its parts." example:"1048576"`
	Updated      time.Time        `json:"updated" doc:"When the content was extracted." example:"2026-01-02T15:04:05Z"`
	Columns      []catalog.Column `json:"columns" doc:"The columns in order, with their DuckDB types."`
}

// Catalog lists them.
type Catalog struct {
	Tables []CatalogTable `json:"tables" doc:"Every table granted to you, by id."`
	Count  int            `json:"count" doc:"How many there are." example:"9"`
}

type catalogAnswer struct{ Body Catalog }

type tableQuestion struct {
	Table string `path:"table" maxLength:"400" doc:"The id of the table, its name, or source.name." example:"orders"`
}

type profileAnswer struct{ Body json.RawMessage }

func (s *Server) catalogRoutes() {
	add(s, User, op{
		method: http.MethodGet, path: "/api/catalog/tables", id: "catalog", tag: tagData, summary: "What I can query",
		text: "Every table granted to you with its columns.",
	}, s.catalog)
	add(s, User, op{
		method: http.MethodGet, path: "/api/catalog/profile/{table}", id: "profile", tag: tagData, summary: "What is in a table's columns",
		text:   "Counts, ranges, frequent values and alerts per column, as profiled after the last change. 404 also where a granted table was not profiled.",
		errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
		more: func(o *huma.Operation) {
			o.Responses["200"] = &huma.Response{
				Description: "The profile.",
				Content: map[string]*huma.MediaType{"application/json": {
					Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "table_id, row_count, column_count, columns with their statistics, alerts, profiled_at, and what else the profiler found."},
					Example: map[string]any{
						"table_id": "orders", "row_count": 120000, "column_count": 8, "profiled_at": "2026-01-02T15:04:05Z",
						"columns": []map[string]any{{"name": "status", "type": "VARCHAR", "null_count": 0, "unique_count": 4}},
					},
				}},
			}
		},
	}, s.profile)
}

func (s *Server) catalog(ctx context.Context, _ *none) (*catalogAnswer, error) {
	snapshot := s.published.Current()
	grants, err := s.access.Grants(ctx, callerOf(ctx), snapshot)
	if err != nil {
		return nil, err
	}
	out := &catalogAnswer{Body: Catalog{Tables: []CatalogTable{}}}
	for _, t := range snapshot.Tables() {
		if grants.Allows(t) {
			out.Body.Tables = append(out.Body.Tables, s.catalogTable(t))
		}
	}
	out.Body.Count = len(out.Body.Tables)
	return out, nil
}

func (s *Server) catalogTable(t *published.Table) CatalogTable {
	c := CatalogTable{
		ID: t.ID, Name: t.Name, Source: t.Source, Alias: t.Alias, Description: t.Description, QueryMode: t.QueryMode,
		Rows: t.Rows, SizeBytes: t.SizeBytes, Updated: t.ExtractedAt.UTC(), Columns: orEmpty(t.Columns), SourceType: s.sourceType(t.Source),
	}
	if t.Registered != nil {
		c.SyncStrategy = t.Registered.SyncStrategy
		if t.Registered.SourceType != "" {
			c.SourceType = t.Registered.SourceType
		}
	}
	return c
}

// sourceType is the configured connector of a source; empty where it is not configured.
func (s *Server) sourceType(source string) string {
	configured, _ := s.instance().Source(source)
	return configured.Type
}

func (s *Server) profile(ctx context.Context, in *tableQuestion) (*profileAnswer, error) {
	_, t, err := s.reach(ctx, in.Table)
	if err != nil {
		return nil, err
	}
	raw, err := s.profiles.Profile(ctx, t)
	return &profileAnswer{Body: raw}, err
}
