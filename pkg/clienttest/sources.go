package clienttest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// sourceRoutes answer what is asked of sources: shop works, and broken has a token that expired.
func (s *Server) sourceRoutes(locked func(string, http.HandlerFunc)) {
	known := func(w http.ResponseWriter, r *http.Request) bool {
		switch r.PathValue("source") {
		case "shop":
			return true
		case "broken":
			Problem(w, http.StatusBadRequest, "invalid", "the token has expired")
		default:
			Problem(w, http.StatusNotFound, "not_found", "there is no source "+r.PathValue("source"))
		}
		return false
	}
	locked("POST /api/admin/sources/{source}/test", func(w http.ResponseWriter, r *http.Request) {
		if known(w, r) {
			answer(w, http.StatusOK, map[string]any{"source": "shop", "findings": []string{"the token is accepted", "it may see 3 buckets"}})
		}
	})
	locked("POST /api/admin/sources/{source}/preview", func(w http.ResponseWriter, r *http.Request) {
		if !known(w, r) {
			return
		}
		var in struct {
			Table string
			Rows  int
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		if _, registered := s.registry[in.Table]; !registered && !slices.Contains(s.found, in.Table) {
			Problem(w, http.StatusNotFound, "not_found", "the source has no table "+in.Table)
			return
		}
		rows := [][]any{{"1", "a\nb"}, {"2", nil}, {"3", ""}}
		answer(w, http.StatusOK, map[string]any{
			"table": in.Table, "columns": []Column{{"id", "BIGINT"}, {"note", "VARCHAR"}}, "rows": rows[:min(in.Rows, len(rows))], "cut": in.Rows >= 3,
		})
	})
	locked("POST /api/admin/registry/{id}/push-metadata", s.pushMetadata)
}

func (s *Server) pushMetadata(w http.ResponseWriter, r *http.Request) {
	if _, found := s.registry[r.PathValue("id")]; !found {
		Problem(w, http.StatusNotFound, "not_found", "there is no registered table "+r.PathValue("id"))
		return
	}
	var in struct {
		Columns []struct{ Name, Type, Description string }
		DryRun  bool `json:"dry_run"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	pushed, problems := []any{}, []string{}
	for _, c := range in.Columns {
		if strings.HasPrefix(c.Name, "no_") {
			problems = append(problems, "the table has no column "+c.Name)
			continue
		}
		for key, value := range map[string]string{"KBC.datatype.basetype": c.Type, "KBC.description": c.Description} {
			if value != "" {
				pushed = append(pushed, map[string]any{"column": c.Name, "key": key, "value": value})
			}
		}
	}
	answer(w, http.StatusOK, map[string]any{"target": "in.c-shop." + r.PathValue("id"), "pushed": pushed, "problems": problems, "dry_run": in.DryRun})
}
