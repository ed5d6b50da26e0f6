package clienttest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// wishes are requests for access, and what users want to have synced.
type wishes struct {
	requests []map[string]any
	settings map[string]map[string]bool // by user, then dataset
	chosen   map[string]bool            // by id of a table, in the manifest
	setup    map[string]any
}

func (a *wishes) reset() {
	a.settings = map[string]map[string]bool{}
	a.chosen = map[string]bool{}
	a.setup = map[string]any{"data_source": "local", "keboola_token": ""}
}

// Want says in the manifest whether a table is wanted.
func (s *Server) Want(table string, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.chosen[table] = wanted
}

func (s *Server) wishRoutes(user func(string, userHandler)) {
	locked := func(pattern string, h userHandler) {
		user(pattern, func(w http.ResponseWriter, r *http.Request, u *User) {
			s.mu.Lock()
			defer s.mu.Unlock()
			h(w, r, u)
		})
	}
	locked("POST /api/access-requests", func(w http.ResponseWriter, r *http.Request, u *User) {
		var in struct {
			Table  string `json:"table_id"`
			Reason string `json:"reason"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		for _, q := range s.requests {
			if q["user_id"] == u.ID && q["table_id"] == in.Table && q["status"] == "pending" {
				Problem(w, http.StatusConflict, "conflict", "you have asked for this table already, and wait for an answer")
				return
			}
		}
		s.seq++
		q := map[string]any{
			"id": fmt.Sprintf("req-%d", len(s.requests)+1), "user_id": u.ID, "user_email": u.Email, "table_id": in.Table, "reason": in.Reason,
			"status": "pending", "reviewed_by": "", "reviewed_at": nil, "decision_reason": "", "created_at": time.Now(),
		}
		s.requests = append(s.requests, q)
		answer(w, http.StatusCreated, q)
	})
	locked("GET /api/access-requests/my", func(w http.ResponseWriter, _ *http.Request, u *User) {
		list := slices.DeleteFunc(slices.Clone(s.requests), func(q map[string]any) bool { return q["user_id"] != u.ID })
		answer(w, http.StatusOK, map[string]any{"requests": filled(list), "count": len(list)})
	})
	locked("DELETE /api/access-requests/{id}", func(w http.ResponseWriter, r *http.Request, u *User) {
		for _, q := range s.requests {
			if q["id"] == r.PathValue("id") && q["user_id"] == u.ID && q["status"] == "pending" {
				q["status"] = "cancelled"
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		Problem(w, http.StatusNotFound, "not_found", "you have no pending request with this id")
	})
	s.settingRoutes(locked)
}

func filled(list []map[string]any) []map[string]any {
	if list == nil {
		return []map[string]any{}
	}
	return list
}

func (s *Server) settingRoutes(locked func(string, userHandler)) {
	rows := func(u *User) []any {
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(s.settings[u.ID])) {
			list = append(list, map[string]any{
				"user_id": u.ID, "dataset": name, "enabled": s.settings[u.ID][name], "table_mode": "all", "tables": map[string]bool{}, "updated_at": time.Unix(1_700_000_000, 0).UTC(),
			})
		}
		return list
	}
	store := func(u *User, name string, enabled bool) bool {
		if name == "secret" {
			return false
		}
		if s.settings[u.ID] == nil {
			s.settings[u.ID] = map[string]bool{}
		}
		s.settings[u.ID][name] = enabled
		if _, is := s.tables[name]; is {
			s.version++
			s.chosen[name] = enabled
		}
		return true
	}
	locked("GET /api/settings", func(w http.ResponseWriter, _ *http.Request, u *User) {
		answer(w, http.StatusOK, map[string]any{"user_id": u.ID, "sync_settings": rows(u), "permissions": []any{}})
	})
	locked("PUT /api/settings/dataset", func(w http.ResponseWriter, r *http.Request, u *User) {
		var in struct {
			Dataset string
			Enabled bool
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		if !store(u, in.Dataset, in.Enabled) {
			Problem(w, http.StatusForbidden, "forbidden", "there is no dataset "+in.Dataset+", or it is not granted to you")
			return
		}
		answer(w, http.StatusOK, map[string]any{"dataset": in.Dataset, "enabled": in.Enabled})
	})
	locked("GET /api/sync/settings", func(w http.ResponseWriter, _ *http.Request, u *User) {
		on := slices.DeleteFunc(slices.Sorted(maps.Keys(s.settings[u.ID])), func(n string) bool { return !s.settings[u.ID][n] })
		answer(w, http.StatusOK, map[string]any{"user_id": u.ID, "settings": rows(u), "enabled_datasets": on})
	})
	locked("POST /api/sync/settings", func(w http.ResponseWriter, r *http.Request, u *User) {
		var in struct{ Datasets map[string]bool }
		_ = json.NewDecoder(r.Body).Decode(&in)
		updated := map[string]any{}
		for name, enabled := range in.Datasets {
			updated[name] = map[string]any{"enabled": enabled}
			if !store(u, name, enabled) {
				updated[name] = map[string]any{"error": "no permission"}
			}
		}
		answer(w, http.StatusOK, map[string]any{"updated": updated})
	})
	locked("GET /api/sync/table-subscriptions", func(w http.ResponseWriter, _ *http.Request, u *User) {
		answer(w, http.StatusOK, map[string]any{"user_id": u.ID, "subscriptions": rows(u)})
	})
	locked("POST /api/sync/table-subscriptions", func(w http.ResponseWriter, r *http.Request, u *User) {
		var in struct {
			Mode   string `json:"table_mode"`
			Tables map[string]bool
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		for name, wanted := range in.Tables {
			store(u, name, wanted)
		}
		answer(w, http.StatusOK, map[string]any{"table_mode": in.Mode, "updated": len(in.Tables)})
	})
}

// reviewRoutes are what administrators decide and configure.
func (s *Server) reviewRoutes(locked func(string, http.HandlerFunc)) {
	list := func(w http.ResponseWriter, status, user string) {
		some := slices.DeleteFunc(slices.Clone(s.requests), func(q map[string]any) bool {
			return (status != "" && q["status"] != status) || (user != "" && q["user_id"] != user)
		})
		answer(w, http.StatusOK, map[string]any{"requests": filled(some), "count": len(some), "total": len(some)})
	}
	locked("GET /api/access-requests", func(w http.ResponseWriter, r *http.Request) {
		list(w, r.URL.Query().Get("status"), r.URL.Query().Get("user_id"))
	})
	locked("GET /api/access-requests/pending", func(w http.ResponseWriter, _ *http.Request) { list(w, "pending", "") })
	for verb, status := range map[string]string{"approve": "approved", "deny": "denied"} {
		locked("POST /api/access-requests/{id}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Reason string }
			_ = json.NewDecoder(r.Body).Decode(&in)
			for _, q := range s.requests {
				if q["id"] == r.PathValue("id") && q["status"] == "pending" {
					q["status"], q["decision_reason"], q["reviewed_by"], q["reviewed_at"] = status, in.Reason, "ann@example.com", time.Now()
					if id, _ := q["user_id"].(string); verb == "approve" {
						table, _ := q["table_id"].(string)
						s.grants = append(s.grants, grant{UserID: id, Dataset: table, Access: "read"})
					}
					answer(w, http.StatusOK, map[string]any{"status": status, "id": q["id"]})
					return
				}
			}
			Problem(w, http.StatusNotFound, "not_found", "there is no pending request with this id")
		})
	}
	locked("GET /api/admin/configure", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"current": s.setup})
	})
	locked("POST /api/admin/configure", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		_ = json.NewDecoder(r.Body).Decode(&in)
		token, _ := in["keboola_token"].(string)
		if in["data_source"] == "keboola" && !strings.HasPrefix(token, "good") {
			Problem(w, http.StatusBadRequest, "invalid", "Keboola refused the token "+token)
			return
		}
		changed := []string{}
		if in["dry_run"] != true {
			changed = slices.Sorted(maps.Keys(in))
			delete(in, "dry_run")
			maps.Copy(s.setup, in)
			if token != "" {
				s.setup["keboola_token"] = "set"
			}
		}
		connection := "verified"
		if in["data_source"] == "local" {
			connection = "local"
		}
		answer(w, http.StatusOK, map[string]any{
			"status": "ok", "data_source": in["data_source"], "connection": connection, "tested": []string{"asked the source who the token belongs to: it is good"},
			"changed": changed, "restart": []string{},
		})
	})
}

// sent is what users uploaded.
type sent struct {
	uploads map[string][]byte // by user/kind/name
	room    int
}

func (a *sent) reset() {
	a.uploads = map[string][]byte{}
	a.room = 1 << 20
}

// Uploaded gives what a user uploaded under a name, and whether there is such a file.
func (s *Server) Uploaded(user, kind, name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, ok := s.uploads[user+"/"+kind+"/"+name]
	return raw, ok
}

func (s *Server) uploadRoutes(user func(string, userHandler)) {
	for _, kind := range []string{"sessions", "artifacts"} {
		user("POST /api/upload/"+kind, func(w http.ResponseWriter, r *http.Request, u *User) {
			file, head, err := r.FormFile("file")
			if err != nil {
				Problem(w, http.StatusBadRequest, "invalid", "the form has no file")
				return
			}
			raw, err := io.ReadAll(file)
			if err != nil || len(raw) > s.room {
				Problem(w, http.StatusRequestEntityTooLarge, "too_large", "the file is larger than what is taken")
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.uploads[u.ID+"/"+kind+"/"+head.Filename] = raw
			answer(w, http.StatusOK, map[string]any{"status": "ok", "filename": head.Filename, "size": len(raw), "sha256": Hash(raw)})
		})
	}
	user("POST /api/upload/local-md", func(w http.ResponseWriter, r *http.Request, u *User) {
		var in struct{ Content string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.uploads[u.ID+"/local-md/"+u.Email+".md"] = []byte(in.Content)
		answer(w, http.StatusOK, map[string]any{"status": "ok", "user": u.Email, "size": len(in.Content)})
	})
	list := func(w http.ResponseWriter, userID string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		files, size := []any{}, 0
		for _, key := range slices.Sorted(maps.Keys(s.uploads)) {
			parts := strings.SplitN(key, "/", 3)
			if parts[0] == userID {
				files = append(files, map[string]any{"kind": parts[1], "filename": parts[2], "size": len(s.uploads[key]), "modified_at": time.Unix(1_700_000_000, 0).UTC()})
				size += len(s.uploads[key])
			}
		}
		answer(w, http.StatusOK, map[string]any{"uploads": files, "quota": map[string]any{"files": len(files), "max_files": 1000, "bytes": size, "max_bytes": s.room}})
	}
	user("GET /api/uploads", func(w http.ResponseWriter, _ *http.Request, u *User) { list(w, u.ID) })
	user("GET /api/admin/uploads/{user}", func(w http.ResponseWriter, r *http.Request, _ *User) { list(w, r.PathValue("user")) })
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		user(method+" /api/uploads/{kind}/{name}", func(w http.ResponseWriter, r *http.Request, u *User) {
			s.mu.Lock()
			defer s.mu.Unlock()
			key := u.ID + "/" + r.PathValue("kind") + "/" + r.PathValue("name")
			raw, is := s.uploads[key]
			switch {
			case !is:
				Problem(w, http.StatusNotFound, "not_found", "you have sent no such file")
			case r.Method == http.MethodDelete:
				delete(s.uploads, key)
				w.WriteHeader(http.StatusNoContent)
			default:
				w.Header().Set("Content-Type", "application/octet-stream")
				_, _ = w.Write(raw)
			}
		})
	}
}

// record is what was done.
type record struct {
	entries []map[string]any
	chain   []byte
}

func (a *record) reset() { a.entries, a.chain = nil, nil }

// Recorded adds an entry to the record, with the next sequence number.
func (s *Server) Recorded(action, actor, resource, result string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.entries) + 1
	s.entries = append(s.entries, map[string]any{
		"seq": n, "id": fmt.Sprintf("e-%d", n), "time": time.Unix(1_700_000_000+int64(n), 0).UTC(), "action": action, "resource": resource, "result": result,
		"actor": "u-1", "actor_email": actor, "credential": "session", "credential_id": "tok-0001", "service": "api", "ip": "192.0.2.10",
		"user_agent": "da/1.2.3", "request_id": "req-1", "duration_ms": 1.5, "params": map[string]any{"n": n}, "hash": Hash([]byte(fmt.Sprint(n))),
	})
}

// Chain sets what the server gives as the record as it is kept.
func (s *Server) Chain(archive []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chain = archive
}

func (s *Server) recordRoutes(locked func(string, http.HandlerFunc)) {
	locked("GET /api/admin/audit", func(w http.ResponseWriter, r *http.Request) {
		some := s.matching(r)
		switch accept := r.Header.Get("Accept"); accept {
		case "text/csv":
			w.Header().Set("Content-Type", accept)
			_, _ = io.WriteString(w, "seq,action\n")
			for _, e := range some {
				_, _ = fmt.Fprintf(w, "%v,%v\n", e["seq"], e["action"])
			}
		case "application/x-ndjson":
			w.Header().Set("Content-Type", accept)
			for _, e := range some {
				writeJSON(w, e)
			}
		default:
			if r.URL.Query().Get("after") == "" {
				slices.Reverse(some)
			}
			page := paged(r, some)
			answer(w, http.StatusOK, map[string]any{"records": filled(page), "count": len(page), "more": len(page) < len(some)})
		}
	})
	locked("GET /api/admin/audit/chain", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/gzip")
		_, _ = w.Write(s.chain)
	})
}

// matching gives the entries that a search wants, oldest first.
func (s *Server) matching(r *http.Request) []map[string]any {
	q := r.URL.Query()
	number := func(name string) (n int) {
		_, _ = fmt.Sscan(cmp.Or(q.Get(name), "0"), &n)
		return n
	}
	before, after := number("before"), number("after")
	from, _ := time.Parse(time.RFC3339Nano, q.Get("from"))
	return slices.DeleteFunc(slices.Clone(s.entries), func(e map[string]any) bool {
		seq, _ := e["seq"].(int)
		action, _ := e["action"].(string)
		at, _ := e["time"].(time.Time)
		want := q.Get("action")
		noun, all := strings.CutSuffix(want, "*")
		return (before > 0 && seq >= before) || (after > 0 && seq <= after) || at.Before(from) ||
			(want != "" && action != want && (!all || !strings.HasPrefix(action, noun))) ||
			(q.Get("actor") != "" && e["actor_email"] != q.Get("actor")) || (q.Get("result") != "" && e["result"] != q.Get("result"))
	})
}
