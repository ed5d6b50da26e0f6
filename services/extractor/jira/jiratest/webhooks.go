package jiratest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hookLife is how long a dynamic webhook lives unless it is refreshed.
const hookLife = 30 * 24 * time.Hour

// registered are the webhooks that the API registered: dynamic ones of the app, which expire, and those of
// administrators, which do not and which may have a secret.
type registered struct {
	dynamic map[int64]*dynamicHook
	admin   map[int64]*adminHook
	seq     int64
	failed  []failedHook
	deliver func(url, secret string, d Delivery)
}

type dynamicHook struct {
	id      int64
	url     string
	jql     string
	events  []string
	expires time.Time
}

type adminHook struct {
	id      int64
	name    string
	url     string
	jql     string
	events  []string
	enabled bool
	secret  string
}

type failedHook struct {
	id, url string
	body    []byte
	at      time.Time
}

// Registered lets deliveries go to the webhooks that were registered through the API as well: deliver
// gets the URL, the secret and the delivery, signed with that secret where there is one.
func (s *Site) Registered(deliver func(url, secret string, d Delivery)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.register.deliver = deliver
}

// FailWebhook puts a delivery onto the list of failed webhooks.
func (s *Site) FailWebhook(url string, d Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.register.failed = append(s.register.failed, failedHook{id: d.ID, url: url, body: d.Body, at: s.now()})
}

// registeredDeliver sends a delivery to the webhooks that are alive, ask for the event, and whose filter
// finds the issue.
func (s *Site) registeredDeliver(d Delivery, is *issue) {
	if s.register.deliver == nil {
		return
	}
	wanted := func(events []string, jql string) bool {
		if !slices.Contains(events, d.Event) {
			return false
		}
		if jql == "" || is == nil {
			return true
		}
		q, problem := s.parse(jql)
		return problem == "" && q.matches(is)
	}
	for _, h := range s.register.dynamic {
		if s.now().Before(h.expires) && wanted(h.events, h.jql) {
			s.register.deliver(h.url, s.cfg.Secret, d)
		}
	}
	for _, h := range s.register.admin {
		if !h.enabled || !wanted(h.events, h.jql) {
			continue
		}
		own := d
		own.Header = d.Header.Clone()
		own.Header.Del("X-Hub-Signature")
		if h.secret != "" {
			own.Header.Set("X-Hub-Signature", Sign(h.secret, d.Body))
		}
		s.register.deliver(h.url, h.secret, own)
	}
}

func (s *Site) mayRegister(w http.ResponseWriter, who account) bool {
	if refuseStranger(w, who) {
		return false
	}
	if who.app || s.cfg.AnyoneRegisters {
		return true
	}
	refusal(w, http.StatusForbidden, "Only Connect and OAuth 2.0 apps can use this operation.")
	return false
}

func (s *Site) registerHooks(w http.ResponseWriter, r *http.Request, who account) {
	if !s.mayRegister(w, who) {
		return
	}
	var ask struct {
		URL      string `json:"url"`
		Webhooks []struct {
			JQLFilter string   `json:"jqlFilter"`
			Events    []string `json:"events"`
		} `json:"webhooks"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.URL == "" || len(ask.Webhooks) == 0 {
		refusal(w, http.StatusBadRequest, "The request is invalid: a url and webhooks are required.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]any, 0, len(ask.Webhooks))
	for _, h := range ask.Webhooks {
		var errs []string
		if _, problem := s.parse(h.JQLFilter); problem != "" {
			errs = append(errs, "The clause watchCount is unsupported: "+problem)
		}
		for _, e := range h.Events {
			if !slices.Contains(AllEvents, e) {
				errs = append(errs, "The event "+e+" is not supported.")
			}
		}
		if len(h.Events) == 0 {
			errs = append(errs, "Specify at least one event.")
		}
		if len(errs) > 0 {
			results = append(results, map[string]any{"errors": errs})
			continue
		}
		s.register.seq++
		id := 1000 + s.register.seq
		s.register.dynamic[id] = &dynamicHook{id: id, url: ask.URL, jql: h.JQLFilter, events: h.Events, expires: s.now().Add(hookLife)}
		results = append(results, map[string]any{"createdWebhookId": id})
	}
	answer(w, http.StatusOK, marshal(map[string]any{"webhookRegistrationResult": results}))
}

func (s *Site) listHooks(w http.ResponseWriter, r *http.Request, who account) {
	if !s.mayRegister(w, who) {
		return
	}
	start, size := window(r, 100, 100)
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.register.dynamic, func(_ int64, h *dynamicHook) bool { return !s.now().Before(h.expires) })
	ids := slices.Sorted(maps.Keys(s.register.dynamic))
	values := []any{}
	for _, id := range ids[min(start, len(ids)):min(start+size, len(ids))] {
		h := s.register.dynamic[id]
		values = append(values, map[string]any{
			"id": h.id, "url": h.url, "jqlFilter": h.jql, "events": h.events, "expirationDate": h.expires.UnixMilli(),
		})
	}
	answer(w, http.StatusOK, marshal(map[string]any{
		"startAt": start, "maxResults": size, "total": len(ids), "isLast": start+size >= len(ids), "values": values,
	}))
}

type hookIDs struct {
	WebhookIDs []int64 `json:"webhookIds"`
}

func readIDs(w http.ResponseWriter, r *http.Request) (hookIDs, bool) {
	var ask hookIDs
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || len(ask.WebhookIDs) == 0 {
		refusal(w, http.StatusBadRequest, "The list of webhook IDs is missing.")
		return ask, false
	}
	return ask, true
}

func (s *Site) deleteHooks(w http.ResponseWriter, r *http.Request, who account) {
	if !s.mayRegister(w, who) {
		return
	}
	ask, ok := readIDs(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ask.WebhookIDs {
		delete(s.register.dynamic, id)
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *Site) refreshHooks(w http.ResponseWriter, r *http.Request, who account) {
	if !s.mayRegister(w, who) {
		return
	}
	ask, ok := readIDs(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until := s.now().Add(hookLife)
	for _, id := range ask.WebhookIDs {
		if h := s.register.dynamic[id]; h != nil && s.now().Before(h.expires) {
			h.expires = until
		}
	}
	answer(w, http.StatusOK, marshal(map[string]any{"expirationDate": until.In(s.cfg.Location).Format(jiraTime)}))
}

func (s *Site) failedHooks(w http.ResponseWriter, r *http.Request, who account) {
	if !s.mayRegister(w, who) {
		return
	}
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	values := []any{}
	for _, f := range s.register.failed {
		if f.at.UnixMilli() > after && s.now().Sub(f.at) < 72*time.Hour {
			values = append(values, map[string]any{"id": f.id, "url": f.url, "body": string(f.body), "failureTime": f.at.UnixMilli()})
		}
	}
	answer(w, http.StatusOK, marshal(map[string]any{"maxResults": 100, "values": values}))
}

func (s *Site) registerAdmin(w http.ResponseWriter, r *http.Request, who account) {
	if refuseStranger(w, who) {
		return
	}
	var ask struct {
		Name    string            `json:"name"`
		URL     string            `json:"url"`
		Events  []string          `json:"events"`
		Filters map[string]string `json:"filters"`
		Secret  string            `json:"secret"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Name == "" || ask.URL == "" {
		refusal(w, http.StatusBadRequest, "A webhook needs a name and a URL.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.register.seq++
	id := s.register.seq
	h := &adminHook{id: id, name: ask.Name, url: ask.URL, jql: ask.Filters["issue-related-events-section"], events: ask.Events, enabled: true, secret: ask.Secret}
	s.register.admin[id] = h
	answer(w, http.StatusCreated, marshal(s.adminJSON(h)))
}

func (s *Site) adminJSON(h *adminHook) map[string]any {
	return map[string]any{
		"name": h.name, "url": h.url, "excludeBody": false, "filters": map[string]string{"issue-related-events-section": h.jql},
		"events": h.events, "enabled": h.enabled, "self": fmt.Sprintf("%s/rest/webhooks/1.0/webhook/%d", s.URL, h.id),
		"lastUpdatedDisplayName": "Agnes", "lastUpdated": s.now().UnixMilli(), "isSigned": h.secret != "",
	}
}

func (s *Site) listAdmin(w http.ResponseWriter, _ *http.Request, who account) {
	if refuseStranger(w, who) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.register.admin)) {
		out = append(out, s.adminJSON(s.register.admin[id]))
	}
	answer(w, http.StatusOK, marshal(out))
}

func (s *Site) deleteAdmin(w http.ResponseWriter, r *http.Request, who account) {
	if refuseStranger(w, who) {
		return
	}
	id, err := strconv.ParseInt(strings.TrimSpace(r.PathValue("id")), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.register.admin[id]; err != nil || !ok {
		refusal(w, http.StatusNotFound, "No webhook with the id %s", r.PathValue("id"))
		return
	}
	delete(s.register.admin, id)
	w.WriteHeader(http.StatusNoContent)
}
