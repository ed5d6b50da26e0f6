package clienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type group struct {
	id, name, description string
	members               []string // ids of users
}

type grant struct {
	UserID  string `json:"user_id,omitempty"`
	GroupID string `json:"group_id,omitempty"`
	Dataset string `json:"dataset"`
	Access  string `json:"access"`
	Force   bool   `json:"force,omitempty"`
}

func view(u User) map[string]any {
	return map[string]any{"id": u.ID, "email": u.Email, "name": u.Name, "role": u.Role, "active": !u.Inactive, "created_at": time.Unix(1_700_000_000, 0).UTC()}
}

// AddUser adds a user, who gets an id.
func (s *Server) AddUser(u User) User {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.ID = fmt.Sprintf("u-%d", len(s.users)+1)
	s.users = append(s.users, u)
	return u
}

// pageSize is how many users and grants a page has that asks for no number.
const pageSize = 3

// paged gives the page of a list that a request asks for.
func paged[T any](r *http.Request, list []T) []T {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit <= 0 {
		limit = pageSize
	}
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	offset = min(max(offset, 0), len(list))
	return list[offset:min(offset+limit, len(list))]
}

func (s *Server) peopleRoutes(locked func(string, http.HandlerFunc)) {
	locked("GET /api/users", func(w http.ResponseWriter, r *http.Request) {
		list, q := []any{}, r.URL.Query()
		for _, u := range s.users {
			found := strings.Contains(strings.ToLower(u.Email+" "+u.Name), strings.ToLower(q.Get("search")))
			if found && (q.Get("role") == "" || q.Get("role") == u.Role) && (q.Get("active") == "" || q.Get("active") == strconv.FormatBool(!u.Inactive)) {
				list = append(list, view(u))
			}
		}
		w.Header().Set("X-Total-Count", strconv.Itoa(len(list)))
		answer(w, http.StatusOK, paged(r, list))
	})
	locked("POST /api/users", s.addUser)
	one := func(pattern string, do func(http.ResponseWriter, *http.Request, *User)) {
		locked(pattern, func(w http.ResponseWriter, r *http.Request) {
			for i := range s.users {
				if s.users[i].ID == r.PathValue("id") {
					do(w, r, &s.users[i])
					return
				}
			}
			Problem(w, http.StatusNotFound, "not_found", "there is no user with this id")
		})
	}
	one("GET /api/users/{id}", func(w http.ResponseWriter, _ *http.Request, u *User) { answer(w, http.StatusOK, view(*u)) })
	one("PATCH /api/users/{id}", func(w http.ResponseWriter, r *http.Request, u *User) {
		_ = json.NewDecoder(r.Body).Decode(u)
		answer(w, http.StatusOK, view(*u))
	})
	one("DELETE /api/users/{id}", func(w http.ResponseWriter, _ *http.Request, u *User) {
		id := u.ID
		s.users = slices.DeleteFunc(s.users, func(u User) bool { return u.ID == id })
		w.WriteHeader(http.StatusNoContent)
	})
	one("POST /api/users/{id}/set-password", func(w http.ResponseWriter, r *http.Request, u *User) {
		_ = json.NewDecoder(r.Body).Decode(u)
		w.WriteHeader(http.StatusNoContent)
	})
	for verb, inactive := range map[string]bool{"activate": false, "deactivate": true} {
		one("POST /api/users/{id}/"+verb, func(w http.ResponseWriter, _ *http.Request, u *User) {
			u.Inactive = inactive
			answer(w, http.StatusOK, view(*u))
		})
	}
	one("POST /api/users/{id}/invite", func(w http.ResponseWriter, _ *http.Request, u *User) {
		answer(w, http.StatusOK, map[string]any{
			"invite_url": s.URL + "/auth/password/setup?email=" + u.Email + "&token=one-time", "email_sent": true, expiresAt: time.Now().AddDate(0, 0, 7),
		})
	})
	one("POST /api/users/{id}/reset-password", func(w http.ResponseWriter, _ *http.Request, u *User) {
		answer(w, http.StatusOK, map[string]any{
			"reset_token": "one-time", "reset_url": s.URL + "/auth/password/reset?email=" + u.Email + "&token=one-time", "email_sent": false, expiresAt: time.Now().AddDate(0, 0, 1),
		})
	})
	one("POST /api/users/{id}/logout", func(w http.ResponseWriter, _ *http.Request, u *User) {
		s.end(w, func(t *token) bool { return t.user == u.ID }, false)
	})
	locked("GET /api/admin/sessions", func(w http.ResponseWriter, r *http.Request) {
		list := slices.DeleteFunc(s.sessions("", nil), func(v any) bool {
			entry, _ := v.(map[string]any)
			q := r.URL.Query()
			return (q.Get("user_id") != "" && entry["user_id"] != q.Get("user_id")) || (q.Get("active") == "true" && entry["revoked_at"] != nil)
		})
		some := paged(r, list)
		answer(w, http.StatusOK, map[string]any{"sessions": some, "count": len(some), "total": len(list)})
	})
	locked("DELETE /api/admin/sessions/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.end(w, func(t *token) bool { return t.id == r.PathValue("id") }, true)
	})
}

func (s *Server) addUser(w http.ResponseWriter, r *http.Request) {
	var in struct {
		User
		Invite bool `json:"send_invite"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	for _, u := range s.users {
		if strings.EqualFold(u.Email, in.Email) {
			Problem(w, http.StatusConflict, "conflict", "there is a user "+in.Email+" already")
			return
		}
	}
	in.ID = fmt.Sprintf("u-%d", len(s.users)+1)
	if in.Role == "" {
		in.Role = "analyst"
	}
	s.users = append(s.users, in.User)
	made := view(in.User)
	if in.Invite {
		if made["invite_email_sent"] = false; !s.homeless {
			made["invite_url"] = s.URL + "/auth/password/setup?email=" + in.Email + "&token=one-time"
		}
	}
	answer(w, http.StatusCreated, made)
}

func (s *Server) groupView(g *group) map[string]any {
	n := 0
	for _, p := range s.grants {
		if p.GroupID == g.id {
			n++
		}
	}
	return map[string]any{"id": g.id, "name": g.name, "description": g.description, "members": len(g.members), "grants": n, "created_at": time.Unix(1_700_000_000, 0).UTC()}
}

func (s *Server) groupRoutes(locked func(string, http.HandlerFunc)) {
	locked("GET /api/admin/groups", func(w http.ResponseWriter, _ *http.Request) {
		list := []any{}
		for _, g := range s.groups {
			list = append(list, s.groupView(g))
		}
		answer(w, http.StatusOK, map[string]any{"groups": list, "count": len(list)})
	})
	locked("POST /api/admin/groups", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Name, Description string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		if slices.ContainsFunc(s.groups, func(g *group) bool { return strings.EqualFold(g.name, in.Name) }) {
			Problem(w, http.StatusConflict, "conflict", "there is a group "+in.Name+" already")
			return
		}
		s.seq++
		g := &group{id: fmt.Sprintf("g-%d", s.seq), name: in.Name, description: in.Description}
		s.groups = append(s.groups, g)
		answer(w, http.StatusCreated, s.groupView(g))
	})
	one := func(pattern string, do func(http.ResponseWriter, *http.Request, *group)) {
		locked(pattern, func(w http.ResponseWriter, r *http.Request) {
			for _, g := range s.groups {
				if g.id == r.PathValue("group") || strings.EqualFold(g.name, r.PathValue("group")) {
					do(w, r, g)
					return
				}
			}
			Problem(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is no group %q", r.PathValue("group")))
		})
	}
	one("GET /api/admin/groups/{group}", func(w http.ResponseWriter, _ *http.Request, g *group) {
		v, members := s.groupView(g), []any{}
		for _, u := range s.users {
			if slices.Contains(g.members, u.ID) {
				members = append(members, map[string]any{"user_id": u.ID, "email": u.Email, "name": u.Name})
			}
		}
		v["users"] = members
		v["permissions"] = slices.DeleteFunc(slices.Clone(s.grants), func(p grant) bool { return p.GroupID != g.id })
		answer(w, http.StatusOK, v)
	})
	one("PATCH /api/admin/groups/{group}", func(w http.ResponseWriter, r *http.Request, g *group) {
		in := struct{ Name, Description string }{g.name, g.description}
		_ = json.NewDecoder(r.Body).Decode(&in)
		g.name, g.description = in.Name, in.Description
		answer(w, http.StatusOK, s.groupView(g))
	})
	one("DELETE /api/admin/groups/{group}", func(w http.ResponseWriter, _ *http.Request, g *group) {
		s.groups = slices.DeleteFunc(s.groups, func(o *group) bool { return o == g })
		w.WriteHeader(http.StatusNoContent)
	})
	one("PUT /api/admin/groups/{group}/members/{user}", func(w http.ResponseWriter, r *http.Request, g *group) {
		if !slices.Contains(g.members, r.PathValue("user")) {
			g.members = append(g.members, r.PathValue("user"))
		}
		w.WriteHeader(http.StatusNoContent)
	})
	one("DELETE /api/admin/groups/{group}/members/{user}", func(w http.ResponseWriter, r *http.Request, g *group) {
		g.members = slices.DeleteFunc(g.members, func(id string) bool { return id == r.PathValue("user") })
		w.WriteHeader(http.StatusNoContent)
	})
}

// described is a grant as it is listed.
func (s *Server) described(p grant) map[string]any {
	v := map[string]any{"user_id": p.UserID, "dataset": p.Dataset, "access": p.Access, "granted_by": "ann@example.com", "granted_at": time.Unix(1_700_000_000, 0).UTC()}
	if p.GroupID != "" {
		delete(v, "user_id")
		v["group_id"] = p.GroupID
		for _, g := range s.groups {
			if g.id == p.GroupID {
				v["group_name"] = g.name
			}
		}
	}
	return v
}

func (s *Server) grantRoutes(locked func(string, http.HandlerFunc)) {
	same := func(a, b grant) bool {
		return a.UserID == b.UserID && a.GroupID == b.GroupID && a.Dataset == b.Dataset
	}
	read := func(w http.ResponseWriter, r *http.Request) (p grant, ok bool) {
		_ = json.NewDecoder(r.Body).Decode(&p)
		if (p.UserID == "") == (p.GroupID == "") || p.Dataset == "" {
			Problem(w, http.StatusBadRequest, "invalid", "a permission is of a user or of a group, on a dataset")
			return p, false
		}
		if p.Access == "" {
			p.Access = "read"
		}
		return p, true
	}
	locked("GET /auth/admin/tokens", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.tokenViews("")) })
	locked("DELETE /auth/admin/tokens/{id}", func(w http.ResponseWriter, r *http.Request) { s.dropToken(w, r, "") })
	locked("POST /api/admin/permissions", func(w http.ResponseWriter, r *http.Request) {
		if p, ok := read(w, r); ok {
			if strings.HasPrefix(p.Dataset, "ghost") && !p.Force {
				Problem(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is no table, bucket or source %q. To grant what does not exist yet, send \"force\": true", p.Dataset))
				return
			}
			s.grants = append(slices.DeleteFunc(s.grants, func(o grant) bool { return same(o, p) }), p)
			answer(w, http.StatusCreated, s.described(p))
		}
	})
	locked("DELETE /api/admin/permissions", func(w http.ResponseWriter, r *http.Request) {
		if p, ok := read(w, r); ok {
			s.grants = slices.DeleteFunc(s.grants, func(o grant) bool { return same(o, p) })
			answer(w, http.StatusOK, map[string]any{"revoked": true})
		}
	})
	list := func(w http.ResponseWriter, r *http.Request, userID string) {
		some, q := []any{}, r.URL.Query()
		for _, p := range s.grants {
			if (userID == "" || p.UserID == userID) && (q.Get("group_id") == "" || p.GroupID == q.Get("group_id")) && (q.Get("dataset") == "" || p.Dataset == q.Get("dataset")) {
				some = append(some, s.described(p))
			}
		}
		page := some
		if r.PathValue("user") == "" {
			page = paged(r, some)
		}
		answer(w, http.StatusOK, map[string]any{"permissions": page, "count": len(page), "total": len(some), "user_id": userID})
	}
	locked("GET /api/admin/permissions", func(w http.ResponseWriter, r *http.Request) { list(w, r, r.URL.Query().Get("user_id")) })
	locked("GET /api/admin/permissions/{user}", func(w http.ResponseWriter, r *http.Request) { list(w, r, r.PathValue("user")) })
	locked("GET /api/admin/access/{user}", func(w http.ResponseWriter, r *http.Request) {
		tables := []any{}
		for _, p := range s.grants {
			because := "grant " + p.Dataset
			for _, g := range s.groups {
				if g.id == p.GroupID && slices.Contains(g.members, r.PathValue("user")) {
					because = "group " + g.name + ": " + p.Dataset
				}
			}
			if p.UserID == r.PathValue("user") || strings.HasPrefix(because, "group ") {
				tables = append(tables, map[string]any{"id": p.Dataset, "source": "shop", "name": p.Dataset, "because": []string{because}})
			}
		}
		answer(w, http.StatusOK, map[string]any{"user_id": r.PathValue("user"), "role": "analyst", "tables": tables, "count": len(tables)})
	})
}
