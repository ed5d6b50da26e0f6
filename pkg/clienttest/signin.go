package clienttest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// expiresAt is the name of a field that many answers have.
const expiresAt = "expires_at"

// signin is how people get in.
type signin struct {
	devices map[string]*device // by secret
	decided string
	pending int
	slow    int
	older   bool
	// homeless: it does not know its own address.
	homeless bool
}

type device struct {
	code, name, decision, user string
	pending, slow              int
}

func (s *signin) reset() {
	s.devices = map[string]*device{}
}

// DevicesEnd says what becomes of the next sign-ins by a device: "approved" (as Ann), "denied" or
// "expired", after so many polls that are answered with authorization_pending, the first slow of them with
// slow_down. An empty outcome leaves the decision to POST /auth/device/requests/{code}.
func (s *Server) DevicesEnd(outcome string, pending, slow int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decided, s.pending, s.slow = outcome, pending, slow
}

// Older makes the server one of the version before: without a sign-in by a device, and without scopes of
// tokens.
func (s *Server) Older() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.older = true
}

// Homeless makes the server one that does not know its own address: it names pages by their paths, and has
// no links to hand over.
func (s *Server) Homeless() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.homeless = true
}

// link is the address of a page, as far as the server knows it.
func (s *Server) link(path string) string {
	if s.homeless {
		return path
	}
	return s.URL + path
}

// Session makes a session of the user that began and ends at the given moments.
func (s *Server) Session(user string, began, ends time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	t := &token{id: fmt.Sprintf("tok-%04d", s.seq), user: user, kind: "session", method: "password", created: began, expires: &ends}
	secret := s.sign(t)
	s.tokens[secret] = t
	return secret
}

// sign makes a token whose claims can be read, as the server's can. Its signature is none.
func (s *Server) sign(t *token) string {
	claims := map[string]any{"sub": t.user, "typ": t.kind, "jti": t.id, "iat": t.created.Unix()}
	if t.expires != nil {
		claims["exp"] = t.expires.Unix()
	}
	for _, u := range s.users {
		if u.ID == t.user {
			claims["email"], claims["role"] = u.Email, u.Role
		}
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		panic(err) // the test's own data
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(raw) + "." + encode([]byte("signature of "+t.id))
}

func (t *token) prefix() string { return "abcd" + strings.TrimPrefix(t.id, "tok-") }

// scopeOf is what a personal access token needs for a request; empty for nothing.
func scopeOf(r *http.Request) string {
	path := r.URL.Path
	switch {
	case path == "/auth/me", path == "/auth/logout":
		return ""
	case strings.HasPrefix(path, "/api/admin/"), strings.HasPrefix(path, "/api/users"), strings.HasPrefix(path, "/auth/admin/"):
		return "admin"
	case path == "/api/query":
		return "query"
	case strings.HasPrefix(path, "/api/sync/"), strings.HasPrefix(path, "/api/data/"), strings.HasPrefix(path, "/api/upload"):
		return "sync"
	}
	return "read"
}

// session answers with a new session. The lock is held.
func (s *Server) session(w http.ResponseWriter, u User, method string) {
	secret := s.newToken(u.ID, "session", "", nil)
	s.tokens[secret].method = method
	answer(w, http.StatusOK, map[string]any{
		"access_token": secret, "token_type": "bearer", "user_id": u.ID, "email": u.Email, "role": u.Role, expiresAt: s.tokens[secret].expires,
	})
}

type userHandler = func(http.ResponseWriter, *http.Request, *User)

func (s *Server) signinRoutes(public func(string, http.HandlerFunc), user func(string, userHandler)) {
	public("GET /auth/ways", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{
			"password": true, "magic_link": true, "device": !s.older, "bootstrap": false, "providers": []any{map[string]any{"name": "google", "label": "Google"}},
		})
	})
	public("POST /auth/email/send-link", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"message": "If there is an account with this address, a link is on its way."})
	})
	s.linkRoutes(public)
	public("POST /auth/device/code", s.beginDevice)
	public("POST /auth/device/token", s.pollDevice)
	user("GET /auth/device/requests/{code}", s.deviceRequest)
	user("POST /auth/device/requests/{code}", s.deviceRequest)
	user("POST /auth/refresh", func(w http.ResponseWriter, r *http.Request, u *User) {
		_, t := s.who(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.kind != "session" {
			Problem(w, http.StatusForbidden, "forbidden", "a personal access token cannot do this: sign in first")
			return
		}
		t.revoked = true
		s.session(w, *u, t.method)
	})
	user("POST /auth/password/change", s.changePassword)
	user("GET /auth/sessions", func(w http.ResponseWriter, r *http.Request, u *User) {
		_, current := s.who(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		list := s.sessions(u.ID, current)
		answer(w, http.StatusOK, map[string]any{"sessions": list, "count": len(list)})
	})
	user("DELETE /auth/sessions/{id}", func(w http.ResponseWriter, r *http.Request, u *User) {
		s.endSessions(w, func(t *token) bool { return t.id == r.PathValue("id") && t.user == u.ID }, true)
	})
	user("POST /auth/logout/all", func(w http.ResponseWriter, r *http.Request, u *User) {
		var in struct {
			Keep bool `json:"keep_current"`
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		_, current := s.who(r)
		s.endSessions(w, func(t *token) bool { return t.user == u.ID && (!in.Keep || t != current) }, false)
	})
}

// linkRoutes sign in with the token of a link, which here is "link-token".
func (s *Server) linkRoutes(public func(string, http.HandlerFunc)) {
	use := func(method string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var in struct{ Email, Token, Password string }
			_ = json.NewDecoder(r.Body).Decode(&in)
			s.mu.Lock()
			defer s.mu.Unlock()
			if in.Token != "link-token" {
				Problem(w, http.StatusUnauthorized, "unauthenticated", "the link has been used or has ended: ask for a new one; "+in.Token)
				return
			}
			s.session(w, s.users[0], method)
		}
	}
	public("POST /auth/email/verify", use("magic_link"))
	public("POST /auth/password/setup", use("setup"))
}

func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, u *User) {
	var in struct {
		Old string `json:"old_password"`
		New string `json:"new_password"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.users {
		if s.users[i].ID != u.ID {
			continue
		}
		if s.users[i].Password != in.Old {
			Problem(w, http.StatusBadRequest, "invalid", "the present password is wrong: "+in.Old)
			return
		}
		s.users[i].Password = in.New
	}
	w.WriteHeader(http.StatusNoContent)
}

// sessions lists those of a user, or of all where userID is empty. The lock is held.
func (s *Server) sessions(userID string, current *token) []any {
	list := []any{}
	for _, secret := range slices.Sorted(maps.Keys(s.tokens)) {
		t := s.tokens[secret]
		if t.kind != "session" || (userID != "" && t.user != userID) {
			continue
		}
		entry := map[string]any{
			"id": t.id, "user_id": t.user, "method": t.method, "created_at": t.created, "last_seen": t.created, expiresAt: t.expires,
			"revoked_at": nil, "ip": "192.0.2.10", "user_agent": "da/1.2.3", "current": t == current,
		}
		if t.revoked {
			entry["revoked_at"] = time.Now()
		}
		if userID == "" {
			for _, u := range s.users {
				if u.ID == t.user {
					entry["user_email"] = u.Email
				}
			}
		}
		list = append(list, entry)
	}
	return list
}

// endSessions ends those that are meant; must: one of them has to be there.
func (s *Server) endSessions(w http.ResponseWriter, meant func(*token) bool, must bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(w, meant, must)
}

func (s *Server) end(w http.ResponseWriter, meant func(*token) bool, must bool) {
	ended := 0
	for _, t := range s.tokens {
		if t.kind == "session" && !t.revoked && meant(t) {
			t.revoked = true
			ended++
		}
	}
	if must && ended == 0 {
		Problem(w, http.StatusNotFound, "not_found", "there is no such session")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) beginDevice(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name string `json:"client_name"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.older {
		Problem(w, http.StatusNotFound, "not_found", "there is nothing at /auth/device/code")
		return
	}
	s.seq++
	secret := fmt.Sprintf("device-secret-%04d", s.seq)
	d := &device{code: fmt.Sprintf("WDJB-%04d", s.seq), name: in.Name, decision: s.decided, user: "u-1", pending: s.pending, slow: s.slow}
	s.devices[secret] = d
	answer(w, http.StatusOK, map[string]any{
		"device_code": secret, "user_code": d.code, "verification_uri": s.link("/auth/device"),
		"verification_uri_complete": s.link("/auth/device?user_code=" + d.code), "expires_in": 600, "interval": 0.01,
	})
}

func (s *Server) pollDevice(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Secret string `json:"device_code"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(reason, kind, detail string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]any{"error": reason, "kind": kind, "status": http.StatusBadRequest, "detail": detail})
	}
	d := s.devices[in.Secret]
	if d == nil {
		refuse("expired_token", "invalid", "the code is not known, or has ended: "+in.Secret)
		return
	}
	if d.slow > 0 {
		d.slow--
		refuse("slow_down", "busy", "too soon: wait longer between two polls")
		return
	}
	if d.pending > 0 || d.decision == "" {
		d.pending--
		refuse("authorization_pending", "busy", "nobody has agreed yet")
		return
	}
	delete(s.devices, in.Secret)
	switch d.decision {
	case "denied":
		refuse("access_denied", "invalid", "the sign-in was refused")
	case "expired":
		refuse("expired_token", "invalid", "the code has ended")
	default:
		for _, u := range s.users {
			if u.ID == d.user {
				s.session(w, u, "device")
			}
		}
	}
}

func (s *Server) deviceRequest(w http.ResponseWriter, r *http.Request, u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if d.code != r.PathValue("code") {
			continue
		}
		if r.Method == http.MethodGet {
			answer(w, http.StatusOK, map[string]any{
				"user_code": d.code, "client_name": d.name, "ip": "192.0.2.10", "created_at": time.Now(), expiresAt: time.Now().Add(10 * time.Minute),
			})
			return
		}
		var in struct{ Approve bool }
		_ = json.NewDecoder(r.Body).Decode(&in)
		d.user, d.pending = u.ID, 0
		if d.decision = "denied"; in.Approve {
			d.decision = "approved"
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	Problem(w, http.StatusNotFound, "not_found", "there is no such code, or it has ended")
}
