package clienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// sites are the sites of Jira that the server has.
type sites struct {
	jiraNames []string
	tasks     []map[string]any
	ending    string
	restarts  bool
	aside     []map[string]any
	looks     int
}

// Jira says which sources of the type jira there are from now on.
func (s *Server) Jira(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jiraNames = names
}

// JiraTasksEnd says how tasks over a site end from now on: "done", "failed", "stopped", "different" (a
// comparison that found too much), or "restarted" (the extractor starts again in the middle, goes on with
// a backfill and knows nothing of other tasks).
func (s *Server) JiraTasksEnd(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = state
}

// AddSetAside adds what could not be taken in.
func (s *Server) AddSetAside(number int, key, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside = slices.Insert(s.aside, 0, map[string]any{
		"number": number, "issue_id": "10042", "issue_key": key, "origin": "rows", "reason": reason, "at": time.Unix(1_700_000_000, 0).UTC(), "times": 2,
	})
}

func (s *Server) jiraRoutes(add func(string, http.HandlerFunc)) {
	const path = "/api/admin/sources/{source}/jira"
	of := func(pattern string, h http.HandlerFunc) {
		add(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !slices.Contains(s.jiraNames, r.PathValue("source")) {
				Problem(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is no source %q in the configuration", r.PathValue("source")))
				return
			}
			h(w, r)
		})
	}
	of("GET "+path+"/status", s.jiraStatus)
	of("POST "+path+"/tasks", s.startTask)
	of("POST "+path+"/tasks/{task}/stop", func(w http.ResponseWriter, r *http.Request) {
		t := s.task(r.PathValue("task"))
		if t == nil || t["state"] != "running" {
			Problem(w, http.StatusNotFound, "not_found", "no "+r.PathValue("task")+" is running")
			return
		}
		before := map[string]any{"name": t["name"], "state": "running"}
		t["state"] = "stopped"
		answer(w, http.StatusOK, before)
	})
	of("GET "+path+"/set-aside", func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		list := slices.Clone(s.aside[:min(len(s.aside), limit)])
		answer(w, http.StatusOK, map[string]any{"set_aside": orNone(list), "count": len(list), "total": len(s.aside)})
	})
	of("GET "+path+"/set-aside/{number}", func(w http.ResponseWriter, r *http.Request) {
		for _, a := range s.aside {
			if fmt.Sprint(a["number"]) == r.PathValue("number") {
				a["body"] = map[string]any{"key": a["issue_key"]}
				answer(w, http.StatusOK, a)
				return
			}
		}
		Problem(w, http.StatusNotFound, "not_found", "nothing is set aside under the number "+r.PathValue("number"))
	})
	of("POST "+path+"/set-aside/retry", func(w http.ResponseWriter, _ *http.Request) {
		taken := len(s.aside)
		s.aside = nil
		answer(w, http.StatusOK, map[string]any{"taken_in": taken, "left": 0})
	})
	for _, pattern := range []string{"POST " + path + "/set-aside/{number}/retry", "DELETE " + path + "/set-aside/{number}"} {
		of(pattern, func(w http.ResponseWriter, r *http.Request) {
			before := len(s.aside)
			s.aside = slices.DeleteFunc(s.aside, func(a map[string]any) bool { return fmt.Sprint(a["number"]) == r.PathValue("number") })
			if len(s.aside) == before {
				Problem(w, http.StatusNotFound, "not_found", "nothing is set aside under the number "+r.PathValue("number"))
				return
			}
			answer(w, http.StatusOK, map[string]any{"taken_in": 1, "left": len(s.aside)})
		})
	}
	of("GET "+path+"/fields", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"count": 1, "yaml": "fields:\n- use: reference\n- name: size\n  id: customfield_10016\n  kind: number\n", "fields": []any{
			map[string]any{"id": "customfield_10016", "name": "Size", "custom": true, "type": "number", "column": "size", "kind": "number", "mapped": false},
		}})
	})
}

func orNone(list []map[string]any) []map[string]any {
	if list == nil {
		return []map[string]any{}
	}
	return list
}

func (s *Server) task(name string) map[string]any {
	for _, t := range s.tasks {
		if t["name"] == name {
			return t
		}
	}
	return nil
}

func (s *Server) startTask(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name, JQL, URL string
		Issues         []string
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.log = append(s.log, fmt.Sprintf("TASK %+v", in))
	if t := s.task(in.Name); t != nil && t["state"] == "running" {
		Problem(w, http.StatusConflict, "conflict", "a "+in.Name+" is running: wait for its end, or stop it")
		return
	}
	t := map[string]any{"name": in.Name, "state": "running", "reason": "request", "started_at": time.Now().UTC(), "jql": in.JQL, "message": ""}
	out := map[string]any{"task": t, "webhooks": []any{}, "hints": []any{}}
	if in.Name == "register" {
		t["state"], t["message"] = "done", "the webhook was made"
		out["webhooks"] = []any{map[string]any{"id": "7", "kind": "admin", "url": in.URL, "events": []string{"jira:issue_updated"}, "enabled": true}}
		out["hints"] = []any{"What happened before now comes by a backfill: da admin jira backfill"}
	} else {
		s.tasks = append(slices.DeleteFunc(s.tasks, func(o map[string]any) bool { return o["name"] == in.Name }), t)
		s.looks, s.restarts = 0, s.ending == "restarted"
	}
	answer(w, http.StatusOK, out)
}

// jiraStatus moves tasks on by a step with every look at them.
func (s *Server) jiraStatus(w http.ResponseWriter, r *http.Request) {
	s.looks++
	for i, t := range s.tasks {
		if t["state"] != "running" {
			continue
		}
		s.step(t)
		if s.restarts && s.looks == 2 {
			s.restarts = false
			s.tasks = slices.Delete(s.tasks, i, i+1)
			if t["name"] == "backfill" {
				t["reason"], t["started_at"] = "resume", time.Now().UTC()
				s.tasks = append(s.tasks, t)
			}
			break
		}
	}
	problems := []any{}
	if len(s.aside) > 0 {
		problems = append(problems, map[string]any{"code": "set_aside", "message": fmt.Sprintf("%d could not be taken in", len(s.aside))})
	}
	answer(w, http.StatusOK, map[string]any{
		"source": r.PathValue("source"), "site": "https://your.atlassian.net", "account": map[string]any{"configured": true, "ok": true, "name": "Agnes"},
		"issues": 50000, "deleted": 17, "partial": 3, "open": 1200, "set_aside": len(s.aside), "refetches": 2, "oldest_refetch": time.Now().Add(-5 * time.Minute).UTC(),
		"newest_update": time.Now().UTC(), "last_webhook": nil, "unpublished": 4, "reconcile_every": "30m0s", "sla_every": "",
		"attachments": map[string]any{"kept": true, "files": 3, "bytes": 4096, "quota": 1 << 30}, "tasks": orNone(slices.Clone(s.tasks)), "problems": problems,
	})
}

// step does a part of a task.
func (s *Server) step(t map[string]any) {
	t["total"], t["done"], t["changed"], t["failed"] = 1000, min(s.looks*400, 1000), s.looks*100, 0
	if s.looks < 3 {
		return
	}
	t["state"], t["finished_at"] = "done", time.Now().UTC()
	switch s.ending {
	case "failed":
		t["state"], t["message"] = "failed", "Jira answers 502"
	case "stopped":
		t["state"] = "stopped"
	case "different":
		t["message"] = "900 differences are more than 100, so nothing was done"
		t["differences"] = map[string]any{
			"in_jira": 1000, "kept": 100, "missing": 900, "above_threshold": true, "missing_keys": []string{"SUP-1", "SUP-2", "SUP-3", "SUP-4", "SUP-5", "SUP-6"},
		}
	}
}
