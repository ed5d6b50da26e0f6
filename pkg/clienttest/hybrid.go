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
	}
	_ = json.Unmarshal(raw, &in)
	parts := []map[string]any{}
	for alias, sql := range in.Registered {
		if !strings.HasPrefix(sql, "SELECT ") {
			Problem(w, http.StatusBadRequest, "invalid", "BQ '"+alias+"': query_error: the query begins with SELECT or WITH: nothing else is registered")
			return
		}
		parts = append(parts, map[string]any{"alias": alias, "tables": []string{"acme.web.events"}, "bytes": 1, "max_bytes_billed": 10 << 20, "price_usd": 0.00006})
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
