// Package clienttest is a server for tests that answers as the HTTP API of Agnes is described: sign-in,
// manifest, downloads with ranges and entity tags, queries, registry and runs. It can be told to fail
// in the ways that networks, proxies and servers do.
package clienttest

import (
	"crypto/md5" //nolint:gosec // as the API has it
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Table is a table as the server publishes it.
type Table struct {
	ID, Source, Name, Description string
	Alias                         bool
	Remote                        bool
	BigQuery                      *catalog.BigQueryTable // where a remote table lives, if there
	Rows                          int64
	Columns                       []Column
	// Parts are the parquet files.
	Parts [][]byte
}

// Column is a column of a table.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// User is somebody who can sign in.
type User struct {
	ID, Email, Password, Role, Name string
	Inactive                        bool
}

// Server is the fake. Its methods may be called while it serves.
type Server struct {
	*httptest.Server
	mu      sync.Mutex
	version int
	tables  map[string]Table
	raw     map[string]any // entries of the manifest as they are, for hostile ones
	parts   map[string][]byte
	users   []User
	tokens  map[string]*token // by secret
	faults  []*Fault
	log     []string
	seq     int
	admin
	sites
	signin
	wishes
	sent
	record
}

type token struct {
	id, name, user, kind, method string
	created                      time.Time
	expires                      *time.Time
	revoked                      bool
	scopes                       []string
}

// New starts a server with one administrator, whose password is "password".
func New() *Server {
	s := &Server{
		tables: map[string]Table{}, raw: map[string]any{}, parts: map[string][]byte{}, tokens: map[string]*token{},
		users: []User{{ID: "u-1", Email: "ann@example.com", Password: "password", Role: "admin"}},
	}
	s.admin.reset()
	s.signin.reset()
	s.wishes.reset()
	s.sent.reset()
	s.record.reset()
	mux := http.NewServeMux()
	s.routes(mux)
	s.Server = httptest.NewServer(s.faulty(mux))
	return s
}

// Token makes a token of the user, "pat" or "session".
func (s *Server) Token(user, kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newToken(user, kind, kind, nil)
}

func (s *Server) newToken(user, kind, name string, expires *time.Time) string {
	s.seq++
	secret := fmt.Sprintf("secret-%s-%04d", kind, s.seq)
	t := &token{id: fmt.Sprintf("tok-%04d", s.seq), name: name, user: user, kind: kind, created: time.Now(), expires: expires}
	if kind == "session" {
		if expires == nil {
			end := time.Now().Add(24 * time.Hour)
			t.expires = &end
		}
		t.method = "password"
		secret = s.sign(t)
	}
	s.tokens[secret] = t
	return secret
}

// RevokeAll ends every token.
func (s *Server) RevokeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		t.revoked = true
	}
}

// Publish replaces everything that is published.
func (s *Server) Publish(tables ...Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.tables = map[string]Table{}
	for _, t := range tables {
		if t.ID == "" {
			t.ID = t.Name
		}
		s.tables[t.ID] = t
		for _, p := range t.Parts {
			s.parts[Hash(p)] = p
		}
	}
}

// PublishRaw puts an entry into the manifest as it is.
func (s *Server) PublishRaw(id string, entry any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.raw[id] = entry
}

// Forget deletes parts that no published table has any more, as the server does after a while.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := map[string]bool{}
	for _, t := range s.tables {
		for _, p := range t.Parts {
			keep[Hash(p)] = true
		}
	}
	maps.DeleteFunc(s.parts, func(hash string, _ []byte) bool { return !keep[hash] })
}

// Hash is the SHA-256 of a part, in hex.
func Hash(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// Requests gives what was asked so far, as "METHOD /path?query", and forgets it.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// Downloads counts the requests for parts among requests.
func Downloads(requests []string) int {
	n := 0
	for _, r := range requests {
		if strings.Contains(r, "/download") {
			n++
		}
	}
	return n
}

func (s *Server) routes(mux *http.ServeMux) {
	public := func(pattern string, h http.HandlerFunc) { mux.HandleFunc(pattern, h) }
	user := func(pattern string, h func(http.ResponseWriter, *http.Request, *User)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			u, t := s.who(r)
			if u == nil {
				Problem(w, http.StatusUnauthorized, "unauthenticated", "the token is unknown, revoked or expired; sign in again")
				return
			}
			if need := scopeOf(r); t.kind == "pat" && need != "" && len(t.scopes) > 0 && !slices.Contains(t.scopes, need) {
				Problem(w, http.StatusForbidden, "forbidden", "this personal access token lacks the scope "+need+": make one that has it")
				return
			}
			h(w, r, u)
		})
	}
	public("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "healthy", "version": "1.2.3", "timestamp": time.Now().UTC(), "services": map[string]any{}})
	})
	public("GET /api/version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"version": "1.2.3", "channel": "stable", "schema_version": 8})
	})
	public("POST /auth/token", s.login)
	user("POST /auth/logout", s.logout)
	user("GET /auth/me", s.me)
	user("POST /auth/tokens", s.createToken)
	user("GET /auth/tokens", s.listTokens)
	user("DELETE /auth/tokens/{id}", s.revokeToken)
	user("GET /api/sync/manifest", s.manifest)
	user("GET /api/data/{table}/download", s.download)
	user("GET /api/catalog/tables", s.catalog)
	user("GET /api/catalog/profile/{table}", s.profile)
	user("POST /api/query", s.query)
	user("POST /api/query/hybrid", s.hybrid)
	s.signinRoutes(public, user)
	s.wishRoutes(user)
	s.uploadRoutes(user)
	s.adminRoutes(func(pattern string, h http.HandlerFunc) {
		user(pattern, func(w http.ResponseWriter, r *http.Request, u *User) {
			if u.Role != "admin" {
				Problem(w, http.StatusForbidden, "forbidden", "this needs the role admin")
				return
			}
			h(w, r)
		})
	})
}

// Problem answers with an error as the API does.
func Problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Request-Id", "req-1")
	w.WriteHeader(status)
	writeJSON(w, map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail, "kind": kind})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	writeJSON(w, body)
}

func writeJSON(w http.ResponseWriter, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // the test's own data
	}
	_, _ = w.Write(append(raw, '\n'))
}

func (s *Server) who(r *http.Request) (*User, *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if t == nil || t.revoked || (t.expires != nil && t.expires.Before(time.Now())) {
		return nil, nil
	}
	for i := range s.users {
		if s.users[i].ID == t.user && !s.users[i].Inactive {
			u := s.users[i]
			return &u, t
		}
	}
	return nil, nil
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ Email, Password string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.users {
		if strings.EqualFold(u.Email, in.Email) && u.Password == in.Password && in.Password != "" && !u.Inactive {
			s.session(w, u, "password")
			return
		}
	}
	Problem(w, http.StatusUnauthorized, "unauthenticated", "e-mail or password is wrong: "+in.Password)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request, _ *User) {
	_, t := s.who(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.revoked = t.kind == "session"
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) me(w http.ResponseWriter, r *http.Request, u *User) {
	_, t := s.who(r)
	answer(w, http.StatusOK, map[string]any{
		"user_id": u.ID, "email": u.Email, "name": "Ann", "role": u.Role,
		"credential": map[string]any{"kind": t.kind, "id": t.id, expiresAt: t.expires, "scopes": t.scopes},
	})
}

func (s *Server) createToken(w http.ResponseWriter, r *http.Request, u *User) {
	if _, t := s.who(r); t.kind != "session" {
		Problem(w, http.StatusForbidden, "forbidden", "a token cannot make tokens: sign in with a password")
		return
	}
	var in struct {
		Name string `json:"name"`
		Days *int   `json:"expires_in_days"`
		// Scopes are the default ones where left out.
		Scopes []string `json:"scopes"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	defer s.mu.Unlock()
	var expires *time.Time
	if in.Days != nil {
		at := time.Now().AddDate(0, 0, *in.Days).UTC()
		expires = &at
	}
	secret := s.newToken(u.ID, "pat", in.Name, expires)
	t := s.tokens[secret]
	switch t.scopes = in.Scopes; {
	case s.older:
		t.scopes = nil
	case len(t.scopes) == 0:
		t.scopes = []string{"read", "query", "sync"}
	}
	answer(w, http.StatusCreated, map[string]any{
		"id": t.id, "name": t.name, "prefix": t.prefix(), "token": secret, "created_at": t.created, expiresAt: expires, "scopes": t.scopes,
	})
}

func (s *Server) listTokens(w http.ResponseWriter, _ *http.Request, u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, s.tokenViews(u.ID))
}

// tokenViews lists the tokens of a user; an empty user means everybody's.
func (s *Server) tokenViews(userID string) []any {
	list := []any{}
	for _, secret := range slices.Sorted(maps.Keys(s.tokens)) {
		t := s.tokens[secret]
		if t.kind != "pat" || (userID != "" && t.user != userID) {
			continue
		}
		entry := map[string]any{
			"id": t.id, "name": t.name, "prefix": t.prefix(), "created_at": t.created, expiresAt: t.expires,
			"last_used_at": t.created, "last_used_ip": "192.0.2.10", "revoked_at": nil, "scopes": t.scopes,
		}
		if userID == "" {
			entry["user_id"] = t.user
			for _, u := range s.users {
				if u.ID == t.user {
					entry["user_email"] = u.Email
				}
			}
		}
		if t.revoked {
			entry["revoked_at"] = time.Now()
		}
		list = append(list, entry)
	}
	return list
}

func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request, u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropToken(w, r, u.ID)
}

// dropToken ends a token of a user; an empty user means anybody's.
func (s *Server) dropToken(w http.ResponseWriter, r *http.Request, userID string) {
	for _, t := range s.tokens {
		if t.id == r.PathValue("id") && (userID == "" || t.user == userID) {
			t.revoked = true
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	Problem(w, http.StatusNotFound, "not_found", "there is no such token")
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	etag := fmt.Sprintf(`W/"v%d-%s"`, s.version, u.ID)
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	tables, remote := map[string]any{}, map[string]any{}
	for id, t := range s.tables {
		if t.Remote {
			remote[id] = t.entry()
			continue
		}
		entry := t.entry()
		if wanted, chosen := s.chosen[id]; chosen {
			entry["wanted"] = wanted
		}
		tables[id] = entry
	}
	maps.Copy(tables, s.raw)
	answer(w, http.StatusOK, map[string]any{
		"tables": tables, "remote_tables": remote, "assets": map[string]any{}, "generation": fmt.Sprint(s.version), "server_time": time.Now().UTC(),
	})
}

func (t Table) entry() map[string]any {
	parts := []any{}
	var whole []byte
	for _, p := range t.Parts {
		sum := md5.Sum(p) //nolint:gosec // as the API has it
		parts = append(parts, map[string]any{"sha256": Hash(p), "md5": hex.EncodeToString(sum[:]), "size_bytes": len(p), "rows": 1})
		whole = append(whole, p...)
	}
	columns := t.Columns
	if columns == nil {
		columns = []Column{}
	}
	mode := "local"
	if t.Remote {
		mode = "remote"
	}
	entry := map[string]any{
		"hash": Hash(whole)[:32], "sha256": Hash(whole), "size_bytes": len(whole) + 7, "updated": time.Unix(1_700_000_000, 0).UTC(), "rows": t.Rows,
		"name": t.Name, "source": t.Source, "alias": t.Alias, "query_mode": mode, "description": t.Description,
		"fingerprint": Hash(whole), "columns": columns, "parts": parts,
	}
	if t.BigQuery != nil {
		entry["bigquery"] = t.BigQuery
	}
	return entry
}

func (s *Server) find(id string) (Table, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tables[id]
	return t, ok
}

func (s *Server) download(w http.ResponseWriter, r *http.Request, _ *User) {
	t, ok := s.find(r.PathValue("table"))
	hash := r.URL.Query().Get("part")
	s.mu.Lock()
	part, stored := s.parts[hash]
	s.mu.Unlock()
	has := slices.ContainsFunc(t.Parts, func(p []byte) bool { return Hash(p) == hash })
	if !ok || !stored || !has {
		Problem(w, http.StatusNotFound, "not_found", "there is no such part of this table, or it is not granted to you; fetch the manifest again")
		return
	}
	w.Header().Set("ETag", `"`+hash+`"`)
	w.Header().Set("Content-Type", "application/vnd.apache.parquet")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(part)))
}

func (s *Server) catalog(w http.ResponseWriter, _ *http.Request, _ *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.tables)) {
		e := s.tables[id].entry()
		delete(e, "parts")
		e["id"] = id
		list = append(list, e)
	}
	answer(w, http.StatusOK, map[string]any{"tables": list, "count": len(list)})
}

func (s *Server) profile(w http.ResponseWriter, r *http.Request, _ *User) {
	t, ok := s.find(r.PathValue("table"))
	if !ok {
		Problem(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is no table %q, or it is not granted to you", r.PathValue("table")))
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"table_id": t.ID, "row_count": t.Rows, "column_count": len(t.Columns), "columns": t.Columns, "sample_rows": []any{},
	})
}

// query answers every question with the same two rows, in the media type that was asked for.
func (s *Server) query(w http.ResponseWriter, r *http.Request, _ *User) {
	var in struct {
		SQL   string `json:"sql"`
		Limit *int   `json:"limit"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	if strings.Contains(in.SQL, "nothere") {
		Problem(w, http.StatusNotFound, "not_found", "Catalog Error: Table with name nothere does not exist!")
		return
	}
	rows := [][]any{{1, "one"}, {2, nil}}
	truncated := in.Limit != nil && *in.Limit < len(rows)
	if truncated {
		rows = rows[:*in.Limit]
	}
	w.Header().Set("Trailer", "X-Agnes-Truncated")
	switch accept := r.Header.Get("Accept"); accept {
	case "text/csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		text := "n,word\n"
		for _, row := range rows {
			word, _ := row[1].(string)
			text += fmt.Sprintf("%v,%s\n", row[0], word)
		}
		_, _ = w.Write([]byte(text))
	case "application/x-ndjson":
		w.Header().Set("Content-Type", accept)
		for _, row := range rows {
			writeJSON(w, map[string]any{"n": row[0], "word": row[1]})
		}
	case "application/vnd.apache.parquet":
		w.Header().Set("Content-Type", accept)
		_, _ = w.Write([]byte("PAR1PAR1"))
	default:
		answer(w, http.StatusOK, map[string]any{
			"columns": []string{"n", "word"}, "types": []string{"INTEGER", "VARCHAR"}, "rows": rows, "row_count": len(rows), "truncated": truncated,
		})
	}
	w.Header().Set("X-Agnes-Truncated", strconv.FormatBool(truncated))
}
