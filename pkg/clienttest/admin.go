package clienttest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// admin is what administrators see and change.
type admin struct {
	registry map[string]map[string]any
	grants   []grant
	groups   []*group
	letters  map[string]map[string]any
	runs     []map[string]any
	polls    int
	outcome  string
	rebuilt  []string
	found    []string
}

func (a *admin) reset() {
	a.registry = map[string]map[string]any{}
	a.letters = map[string]map[string]any{}
	a.outcome = "succeeded"
	a.found = []string{"customers", "orders"}
}

// RunsEnd says how runs end from now on: "succeeded", "partial" or "failed".
func (s *Server) RunsEnd(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcome = status
}

// AddDeadLetter adds an event that nobody could handle.
func (s *Server) AddDeadLetter(seq int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letters[fmt.Sprint(seq)] = map[string]any{
		"seq": seq, "subject": "agnes.v1.extract.ready.shop", "consumer": "orchestrator", "error": "the extract is gone",
		"kind": "permanent", "attempts": 3, "time": time.Unix(1_700_000_000, 0).UTC(), "event_id": "e-1", "payload": map[string]any{"source": "shop"},
	}
}

// Rebuilt gives the sources that were asked to be rebuilt.
func (s *Server) Rebuilt() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rebuilt)
}

func (s *Server) adminRoutes(add func(string, http.HandlerFunc)) {
	locked := func(pattern string, h http.HandlerFunc) {
		add(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			h(w, r)
		})
	}
	locked("GET /api/admin/registry", func(w http.ResponseWriter, _ *http.Request) {
		list := sorted(s.registry)
		answer(w, http.StatusOK, map[string]any{"tables": list, "count": len(list)})
	})
	locked("POST /api/admin/register-table", s.register)
	locked("PUT /api/admin/registry/{id}", s.update)
	locked("DELETE /api/admin/registry/{id}", func(w http.ResponseWriter, r *http.Request) {
		drop(w, s.registry, r.PathValue("id"), "there is no registered table")
	})
	locked("GET /api/admin/registry/{id}/history", func(w http.ResponseWriter, r *http.Request) {
		if _, found := s.registry[r.PathValue("id")]; !found {
			Problem(w, http.StatusNotFound, "not_found", "there is no registered table "+r.PathValue("id"))
			return
		}
		past := []any{map[string]any{
			"run_id": "r1", "reason": "schedule", "at": "2026-01-31T05:00:00Z", "outcome": "failed", "rows": 20, "bytes": 2048, "duration_ms": 1500,
			"error": "the columns changed", "error_kind": "conflict", "schema_changes": []any{map[string]any{"column": "more", "change": "added", "to_type": "DATE"}},
		}, map[string]any{
			"run_id": "r0", "reason": "manual", "at": "2026-01-30T05:00:00Z", "outcome": "updated", "rows": 19, "bytes": 1024, "duration_ms": 900,
			"schema_changes": []any{map[string]any{"column": "id", "change": "retyped", "from_type": "INTEGER", "to_type": "BIGINT"}},
		}}
		answer(w, http.StatusOK, map[string]any{"id": r.PathValue("id"), "runs": past, "count": len(past)})
	})
	locked("GET /api/admin/discover-tables", func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		for _, name := range s.found {
			_, registered := s.registry[name]
			list = append(list, map[string]any{
				"id": name, "name": name, "source_table": name + ".csv", "columns": []Column{{"id", "BIGINT"}}, "rows": -1,
				"size_bytes": 2048, "registered": registered, "primary_key": []string{},
			})
		}
		answer(w, http.StatusOK, map[string]any{"tables": list, "count": len(list), "source": r.URL.Query().Get("source")})
	})
	locked("POST /api/admin/discover-and-register", func(w http.ResponseWriter, _ *http.Request) {
		registered, skipped, tables := 0, 0, []any{}
		for _, name := range s.found {
			if _, is := s.registry[name]; is {
				skipped++
				continue
			}
			s.registry[name] = map[string]any{"id": name, "name": name, "source": "shop", "query_mode": "local", "primary_key": []string{}}
			registered++
			tables = append(tables, map[string]any{"id": name, "name": name, "status": "registered"})
		}
		answer(w, http.StatusOK, map[string]any{"registered": registered, "skipped": skipped, "errors": []any{}, "tables": tables})
	})
	s.sourceRoutes(locked)
	locked("GET /api/admin/sources", func(w http.ResponseWriter, _ *http.Request) {
		list := []any{map[string]any{
			"name": "shop", "type": "csv", "generation": 3, "published_at": time.Unix(1_700_000_000, 0).UTC(), "tables": len(s.tables), "problems": []any{},
		}}
		for _, name := range s.jiraNames {
			list = append(list, map[string]any{"name": name, "type": "jira", "generation": 1, "tables": 10, "problems": []any{}})
		}
		answer(w, http.StatusOK, map[string]any{"sources": list})
	})
	locked("POST /api/admin/rebuild", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Source string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		s.rebuilt = append(s.rebuilt, in.Source)
		answer(w, http.StatusOK, map[string]any{"status": "announced", "sources": []string{in.Source}})
	})
	locked("POST /api/sync/trigger", s.trigger)
	locked("GET /api/sync/runs", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"runs": s.runs, "count": len(s.runs)})
	})
	locked("GET /api/sync/runs/{id}", s.run)
	locked("GET /api/admin/dead-letters", func(w http.ResponseWriter, _ *http.Request) {
		list := sorted(s.letters)
		answer(w, http.StatusOK, map[string]any{"dead_letters": list, "count": len(list)})
	})
	for _, pattern := range []string{"POST /api/admin/dead-letters/{seq}/replay", "DELETE /api/admin/dead-letters/{seq}"} {
		locked(pattern, func(w http.ResponseWriter, r *http.Request) {
			drop(w, s.letters, r.PathValue("seq"), "there is no such dead letter")
		})
	}
	s.jiraRoutes(locked)
	s.peopleRoutes(locked)
	s.groupRoutes(locked)
	s.grantRoutes(locked)
	s.reviewRoutes(locked)
	s.recordRoutes(locked)
}

func sorted(m map[string]map[string]any) []any {
	list := []any{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

func drop(w http.ResponseWriter, m map[string]map[string]any, key, missing string) {
	if _, ok := m[key]; !ok {
		Problem(w, http.StatusNotFound, "not_found", missing+" "+key)
		return
	}
	delete(m, key)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	_ = json.NewDecoder(r.Body).Decode(&in)
	name, _ := in["name"].(string)
	id := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), " ", "_")
	if _, is := s.registry[id]; is {
		Problem(w, http.StatusConflict, "conflict", fmt.Sprintf("a table %q is registered already", id))
		return
	}
	in["id"] = id
	s.registry[id] = in
	answer(w, http.StatusCreated, map[string]any{"id": id, "name": name, "status": "registered"})
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	entry, is := s.registry[r.PathValue("id")]
	if !is {
		Problem(w, http.StatusNotFound, "not_found", "there is no registered table "+r.PathValue("id"))
		return
	}
	var in map[string]any
	_ = json.NewDecoder(r.Body).Decode(&in)
	maps.Copy(entry, in)
	answer(w, http.StatusOK, map[string]any{"id": r.PathValue("id"), "updated": slices.Sorted(maps.Keys(in))})
}

func (s *Server) trigger(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Tables []string `json:"tables"`
		Source string   `json:"source"`
		Force  bool     `json:"force"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	id := fmt.Sprintf("run-%d", len(s.runs)+1)
	s.runs = slices.Insert(s.runs, 0, map[string]any{
		"id": id, "status": "queued", "reason": "manual", "requested_by": "u-1", "requested_at": time.Now().UTC(), "source": "shop", "force": in.Force,
		"sources": []any{}, "tables": []any{}, "progress": map[string]any{"tables_total": 2},
	})
	s.polls = 0
	answer(w, http.StatusOK, map[string]any{"status": "triggered", "run_id": id, "tables": "all", "message": "the sync was requested"})
}

// run moves on by a step with every look at it.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	for _, run := range s.runs {
		if run["id"] != r.PathValue("id") {
			continue
		}
		s.polls++
		table := func(name, outcome, phase, err string) map[string]any {
			return map[string]any{"table_id": name, "source": "shop", "table": name, "outcome": outcome, "phase": phase, "rows": 120, "bytes": 4096, "error": err, "duration_ms": 15}
		}
		switch s.polls {
		case 1:
			run["status"], run["tables"] = "running", []any{table("customers", "", "reading", "")}
		case 2:
			run["status"], run["tables"] = "publishing", []any{table("customers", "updated", "done", ""), table("orders", "", "writing", "")}
		default:
			run["status"], run["finished_at"], run["duration_ms"] = s.outcome, time.Now().UTC(), 1234
			last := table("orders", "unchanged", "done", "")
			if s.outcome != "succeeded" {
				last = table("orders", "failed", "done", "orders.csv line 7: a quote is not closed")
			}
			run["tables"] = []any{table("customers", "updated", "done", ""), last}
			run["progress"] = map[string]any{"tables_done": 2, "tables_total": 2, "rows": 240, "bytes": 8192}
		}
		answer(w, http.StatusOK, run)
		return
	}
	Problem(w, http.StatusNotFound, "not_found", "there is no run "+r.PathValue("id"))
}
