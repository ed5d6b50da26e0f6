package clienttest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// hybrid tells what registered queries would cost, or answers as query does where at least one is registered.
func (s *Server) hybrid(w http.ResponseWriter, r *http.Request, u *User) {
	raw, _ := io.ReadAll(r.Body)
	var in struct {
		Registered map[string]string `json:"register_bq"`
		Explain    bool              `json:"explain"`
		SemiJoin   *bool             `json:"semi_join"`
	}
	_ = json.Unmarshal(raw, &in)
	parts := []map[string]any{}
	for alias, sql := range in.Registered {
		if !strings.HasPrefix(sql, "SELECT ") {
			Problem(w, http.StatusBadRequest, "invalid", "BQ '"+alias+"': query_error: the query begins with SELECT or WITH: nothing else is registered")
			return
		}
		join := map[string]any{"columns": []string{"id"}, "tables": []string{"orders"}, "keys": 12}
		if in.SemiJoin != nil && !*in.SemiJoin {
			join = map[string]any{"columns": []string{}, "tables": []string{}, "keys": 0, "why": "it is switched off"}
		}
		parts = append(parts, map[string]any{"alias": alias, "semi_join": join, "tables": []string{"acme.web.events"}, "bytes": 1, "max_bytes_billed": 10 << 20, "price_usd": 0.00006})
	}
	if len(parts) == 0 {
		Problem(w, http.StatusUnprocessableEntity, "invalid", "expected register_bq")
		return
	}
	if in.Explain {
		writeJSON(w, map[string]any{"columns": []string{}, "rows": [][]any{}, "bq_stats": map[string]any{"parts": parts}})
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(raw))
	s.query(w, r, u)
}
