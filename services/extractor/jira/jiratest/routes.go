package jiratest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// account is who calls.
type account struct {
	known, app, sla bool
	failed          bool // had credentials, which were wrong
}

func (s *Site) who(r *http.Request) account {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return account{known: token == s.cfg.AppToken, app: token == s.cfg.AppToken, failed: token != s.cfg.AppToken}
	}
	email, token, ok := r.BasicAuth()
	switch {
	case ok && email == s.cfg.Email && token == s.cfg.Token:
		return account{known: true}
	case ok && email == s.cfg.SLAEmail && token == s.cfg.SLAToken:
		return account{known: true, sla: true}
	}
	return account{failed: ok}
}

// SetToken changes the API token of the account: the one in use is expired.
func (s *Site) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Token = token
}

type handler func(w http.ResponseWriter, r *http.Request, who account)

func (s *Site) routes() http.Handler {
	mux := http.NewServeMux()
	add := func(pattern, route string, h handler) {
		method, path, _ := strings.Cut(pattern, " ")
		f := s.faulty(route, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			who := s.who(r)
			s.mu.Unlock()
			switch {
			case who.failed:
				w.Header().Set("X-Seraph-Loginreason", "AUTHENTICATED_FAILED")
			case who.known:
				w.Header().Set("X-Seraph-Loginreason", "OK")
			}
			h(w, r, who)
		})
		mux.HandleFunc(method+" "+path, f)
		mux.HandleFunc(method+" /ex/jira/{cloud}"+path, func(w http.ResponseWriter, r *http.Request) {
			if r.PathValue("cloud") != s.cfg.CloudID {
				refusal(w, http.StatusNotFound, "No site with the cloud id %s", r.PathValue("cloud"))
				return
			}
			f(w, r)
		})
	}
	const rest = "/rest/api/3"
	add("GET "+rest+"/issue/{issue}", RouteIssue, s.getIssue)
	add("GET "+rest+"/issue/{issue}/comment", RouteComments, s.getComments)
	add("GET "+rest+"/issue/{issue}/worklog", RouteWorklogs, s.getWorklogs)
	add("GET "+rest+"/issue/{issue}/changelog", RouteChangelog, s.getChangelog)
	add("GET "+rest+"/issue/{issue}/remotelink", RouteRemoteLinks, s.getRemoteLinks)
	add("POST "+rest+"/issue/bulkfetch", RouteBulkFetch, s.bulkFetch)
	add("POST "+rest+"/search/jql", RouteSearch, s.search)
	add("GET "+rest+"/search/jql", RouteSearch, s.search)
	add("POST "+rest+"/search/approximate-count", RouteCount, s.count)
	add("GET "+rest+"/field", RouteFields, s.getFields)
	add("GET "+rest+"/myself", RouteMyself, s.getMyself)
	add("GET "+rest+"/serverInfo", RouteServerInfo, s.getServerInfo)
	add("GET "+rest+"/attachment/{id}", RouteAttachment, s.getAttachment)
	add("GET "+rest+"/attachment/content/{id}", RouteContent, s.getContent)
	add("POST "+rest+"/webhook", RouteWebhooks, s.registerHooks)
	add("GET "+rest+"/webhook", RouteWebhooks, s.listHooks)
	add("DELETE "+rest+"/webhook", RouteWebhooks, s.deleteHooks)
	add("PUT "+rest+"/webhook/refresh", RouteRefresh, s.refreshHooks)
	add("GET "+rest+"/webhook/failed", RouteFailed, s.failedHooks)
	add("POST /rest/webhooks/1.0/webhook", RouteAdminWebhooks, s.registerAdmin)
	add("GET /rest/webhooks/1.0/webhook", RouteAdminWebhooks, s.listAdmin)
	add("DELETE /rest/webhooks/1.0/webhook/{id}", RouteAdminWebhooks, s.deleteAdmin)
	add("GET /_edge/tenant_info", RouteTenant, func(w http.ResponseWriter, _ *http.Request, _ account) {
		answer(w, http.StatusOK, []byte(`{"cloudId":"`+s.cfg.CloudID+`"}`))
	})
	mux.HandleFunc("/", s.faulty(RouteUnknown, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("<html>Oops, you've found a dead link.</html>"))
	}))
	return mux
}

// unseen is how Jira answers a stranger who asks for an issue: as if there were none. That a token has
// expired shows in the header X-Seraph-LoginReason alone.
func unseen(w http.ResponseWriter) {
	refusal(w, http.StatusNotFound, "Issue does not exist or you do not have permission to see it.")
}

func refuseStranger(w http.ResponseWriter, who account) bool {
	if who.known {
		return false
	}
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("Client must be authenticated to access this resource."))
	return true
}

func (s *Site) getIssue(w http.ResponseWriter, r *http.Request, who account) {
	q := r.URL.Query()
	v := view{cut: s.cfg.Get, sla: who.sla, changelog: hasExpand(q["expand"], "changelog")}
	v.fieldsOf(q["fields"], "*all")
	s.mu.Lock()
	is, ok := s.lookup(r.PathValue("issue"))
	broken := len(s.broken) > 0 && q.Get("failFast") == "true"
	var b buf
	if ok && who.known && !broken {
		s.issue(&b, is, v)
	}
	s.mu.Unlock()
	switch {
	case !ok || !who.known:
		unseen(w)
	case broken:
		refusal(w, http.StatusInternalServerError, "A field could not be loaded.")
	default:
		answer(w, http.StatusOK, b)
	}
}

func hasExpand(lists []string, name string) bool {
	for _, l := range lists {
		if slices.Contains(strings.Split(l, ","), name) {
			return true
		}
	}
	return false
}

// window reads startAt and maxResults.
func window(r *http.Request, fallback, limit int) (start, size int) {
	start, _ = strconv.Atoi(r.URL.Query().Get("startAt"))
	size, err := strconv.Atoi(r.URL.Query().Get("maxResults"))
	if err != nil || size <= 0 {
		size = fallback
	}
	return max(start, 0), min(size, limit)
}

// page answers a part of a list of an issue.
func (s *Site) page(w http.ResponseWriter, r *http.Request, who account, limit int, name string, length func(*issue) int, one func(*buf, *issue, int)) {
	start, size := window(r, limit, limit)
	s.mu.Lock()
	is, ok := s.lookup(r.PathValue("issue"))
	var b buf
	if ok && who.known {
		total := length(is)
		end := min(total, start+size)
		b.open('{')
		b.key("self")
		b.str(s.URL + r.URL.Path)
		b.key("startAt")
		b.num(int64(start))
		b.key("maxResults")
		b.num(int64(size))
		b.key("total")
		b.num(int64(total))
		if name == "values" {
			b.key("isLast")
			b.bool(end >= total)
		}
		b.key(name)
		b.open('[')
		for i := start; i < end; i++ {
			one(&b, is, i)
		}
		b.close(']')
		b.close('}')
	}
	s.mu.Unlock()
	if !ok || !who.known {
		unseen(w)
		return
	}
	answer(w, http.StatusOK, b)
}

var listView = view{}

func (s *Site) getComments(w http.ResponseWriter, r *http.Request, who account) {
	s.page(w, r, who, s.cfg.MaxComments, "comments", func(is *issue) int { return len(is.comments) },
		func(b *buf, is *issue, i int) { s.comment(b, is, &is.comments[i], &listView) })
}

func (s *Site) getWorklogs(w http.ResponseWriter, r *http.Request, who account) {
	s.page(w, r, who, s.cfg.MaxWorklogs, "worklogs", func(is *issue) int { return len(is.worklogs) },
		func(b *buf, is *issue, i int) { s.worklog(b, is, &is.worklogs[i], &listView) })
}

func (s *Site) getChangelog(w http.ResponseWriter, r *http.Request, who account) {
	s.page(w, r, who, s.cfg.MaxHistories, "values", func(is *issue) int { return len(is.histories) },
		func(b *buf, is *issue, i int) { s.history(b, &is.histories[i], &listView) })
}

func (s *Site) getRemoteLinks(w http.ResponseWriter, r *http.Request, who account) {
	s.mu.Lock()
	is, ok := s.lookup(r.PathValue("issue"))
	var b buf
	if ok && who.known {
		b.open('[')
		for i := range is.remote {
			s.remoteLink(&b, is, &is.remote[i])
		}
		b.close(']')
	}
	s.mu.Unlock()
	if !ok || !who.known {
		unseen(w)
		return
	}
	answer(w, http.StatusOK, b)
}

// bulkFetch answers up to 100 issues in the order of their ids, and names what it did not find.
func (s *Site) bulkFetch(w http.ResponseWriter, r *http.Request, who account) {
	var ask struct {
		IssueIDsOrKeys []string `json:"issueIdsOrKeys"`
		Fields         []string `json:"fields"`
		Expand         []string `json:"expand"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		refusal(w, http.StatusBadRequest, "Invalid request payload. Refer to the REST API documentation and try again.")
		return
	}
	if len(ask.IssueIDsOrKeys) == 0 || len(ask.IssueIDsOrKeys) > 100 {
		refusal(w, http.StatusBadRequest, "The number of issue ids or keys must be between 1 and 100.")
		return
	}
	v := view{cut: s.cfg.Bulk, sla: who.sla, changelog: hasExpand(ask.Expand, "changelog")}
	v.fieldsOf(ask.Fields, "*navigable")
	s.mu.Lock()
	var found []*issue
	var missing []string
	for _, id := range ask.IssueIDsOrKeys {
		if is, ok := s.lookup(id); ok && who.known {
			found = append(found, is)
		} else {
			missing = append(missing, id)
		}
	}
	slices.SortFunc(found, func(a, b *issue) int { return int(a.id - b.id) })
	found = slices.CompactFunc(found, func(a, b *issue) bool { return a.id == b.id })
	var b buf
	b.open('{')
	b.key("issueErrors")
	b.open('[')
	for _, id := range missing {
		b.lit(`{"id":` + quoted(id) + `,"errorMessage":"Issue does not exist or you do not have permission to see it."}`)
	}
	b.close(']')
	b.key("issues")
	b.open('[')
	for _, is := range found {
		s.issue(&b, is, v)
	}
	b.close(']')
	b.close('}')
	s.mu.Unlock()
	answer(w, http.StatusOK, b)
}

func (s *Site) getFields(w http.ResponseWriter, _ *http.Request, _ account) {
	answer(w, http.StatusOK, renderFields())
}

func (s *Site) getMyself(w http.ResponseWriter, _ *http.Request, who account) {
	if refuseStranger(w, who) {
		return
	}
	s.mu.Lock()
	email := s.cfg.Email
	s.mu.Unlock()
	if who.sla {
		email = s.cfg.SLAEmail
	}
	answer(w, http.StatusOK, []byte(`{"self":"`+s.URL+`/rest/api/3/user?accountId=5b10ac8d82e05b22cc7d4ef5","accountId":"5b10ac8d82e05b22cc7d4ef5","accountType":"atlassian","emailAddress":"`+
		email+`","displayName":"Agnes","active":true,"timeZone":`+quoted(s.cfg.Location.String())+`,"locale":"en_US"}`))
}

func (s *Site) getServerInfo(w http.ResponseWriter, _ *http.Request, _ account) {
	answer(w, http.StatusOK, []byte(`{"baseUrl":"`+s.URL+`","version":"1001.0.0-SNAPSHOT","versionNumbers":[1001,0,0],"deploymentType":"Cloud","buildNumber":100300,"serverTime":"`+
		s.Now().In(s.cfg.Location).Format(jiraTime)+`","serverTitle":"Jira","defaultLocale":{"locale":"en_US"}}`))
}
