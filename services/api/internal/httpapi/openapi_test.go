package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// spec is the part of an OpenAPI document that the tests look at.
type spec struct {
	OpenAPI    string                          `json:"openapi"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	ID          string              `json:"operationId"`
	Summary     string              `json:"summary"`
	Description string              `json:"description"`
	Tags        []string            `json:"tags"`
	Gate        string              `json:"x-gate"`
	Scope       string              `json:"x-scope"`
	Session     bool                `json:"x-session"`
	Security    []any               `json:"security"`
	Parameters  []parameter         `json:"parameters"`
	Responses   map[string]response `json:"responses"`
	RequestBody *struct {
		Content map[string]media `json:"content"`
	} `json:"requestBody"`
}

type parameter struct {
	Name, In, Description string
}

type media struct {
	Schema  schema `json:"schema"`
	Example any    `json:"example"`
}

type response struct {
	Description string           `json:"description"`
	Content     map[string]media `json:"content"`
}

type schema struct {
	Ref         string            `json:"$ref"`
	Type        any               `json:"type"`
	Description string            `json:"description"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
}

func specOf(t *testing.T, h *house) spec {
	t.Helper()
	var s spec
	if err := json.Unmarshal([]byte(h.ask("GET", "/openapi.json", "", "").body), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenAPIIsComplete(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := specOf(t, h)
	if s.OpenAPI != "3.1.0" || len(s.Paths) < 30 {
		t.Fatalf("%s with %d paths", s.OpenAPI, len(s.Paths))
	}
	ids := map[string]bool{}
	for path, item := range s.Paths {
		for method, o := range item {
			name := strings.ToUpper(method) + " " + path
			if o.ID == "" || ids[o.ID] || o.Summary == "" || o.Description == "" || len(o.Tags) != 1 || o.Gate == "" {
				t.Errorf("%s is not described: %+v", name, o)
			}
			ids[o.ID] = true
			if (o.Gate == "public") != (len(o.Security) == 0) {
				t.Errorf("%s: gate %s, security %v", name, o.Gate, o.Security)
			}
			if wants := o.Gate != "public" && !o.Session; wants != (o.Scope != "") {
				t.Errorf("%s: gate %s, scope %q, sessions alone %v", name, o.Gate, o.Scope, o.Session)
			}
			for _, p := range o.Parameters {
				if p.Description == "" {
					t.Errorf("%s: parameter %s is not described", name, p.Name)
				}
			}
			checkResponses(t, name, o)
			if o.RequestBody != nil {
				for mediaType, m := range o.RequestBody.Content {
					checkSchema(t, name+" body "+mediaType, m.Schema)
				}
			}
		}
	}
	for name, c := range s.Components.Schemas {
		checkSchema(t, name, c)
	}
}

func checkResponses(t *testing.T, name string, o operation) {
	t.Helper()
	success := false
	for status, r := range o.Responses {
		success = success || status[0] == '2'
		if r.Description == "" {
			t.Errorf("%s: status %s is not described", name, status)
		}
		if status >= "400" && r.Content["application/problem+json"].Schema.Ref != "#/components/schemas/Problem" {
			t.Errorf("%s: status %s has another shape than Problem", name, status)
		}
		for mediaType, m := range r.Content {
			checkSchema(t, fmt.Sprintf("%s %s %s", name, status, mediaType), m.Schema)
		}
	}
	if !success || o.Responses["500"].Description == "" {
		t.Errorf("%s: statuses %v", name, o.Responses)
	}
	if o.Gate != "public" && o.Responses["401"].Description == "" || o.Gate == "admin" && o.Responses["403"].Description == "" {
		t.Errorf("%s: its gate's refusals are not described", name)
	}
}

func checkSchema(t *testing.T, name string, s schema) {
	t.Helper()
	for field, p := range s.Properties {
		if p.Description == "" && p.Ref == "" {
			t.Errorf("%s: field %s is not described", name, field)
		}
		checkSchema(t, name+"."+field, p)
	}
	if s.Items != nil {
		checkSchema(t, name+"[]", *s.Items)
	}
}

// TestStatusesAreThoseOfTheDocument asks every operation in several wrong ways and compares.
func TestStatusesAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := specOf(t, h)
	for path, item := range s.Paths {
		for method, o := range item {
			concrete := strings.NewReplacer("{table}", "orders", "{id}", "x", "{user_id}", "x", "{seq}", "1").Replace(path)
			for _, token := range []string{"", "ann", "forged"} {
				got := h.ask(strings.ToUpper(method), concrete, token, "")
				status := fmt.Sprint(got.status)
				if _, known := o.Responses[status]; !known && got.err == nil && token != "ann" {
					t.Errorf("%s %s as %q: status %s is not in the document (%v)", method, path, token, status, keys(o.Responses))
				}
			}
			if o.RequestBody != nil {
				got := h.ask(strings.ToUpper(method), concrete, "admin", `{"`)
				if _, known := o.Responses[fmt.Sprint(got.status)]; !known {
					t.Errorf("%s %s with a broken body: status %d is not in the document", method, path, got.status)
				}
			}
		}
	}
}

func keys(m map[string]response) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func TestPagesNeedNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, path := range []string{"/", "/docs", "/static/style.css", "/static/docs.js", "/static/icon.svg"} {
		got := h.ask("GET", path, "", "")
		if got.status != 200 {
			t.Errorf("%s: %d", path, got.status)
		}
		for _, word := range []string{"//cdn", "googleapis", "unpkg", "<script>", "style=", "onclick=", "innerHTML"} {
			if strings.Contains(got.body, word) {
				t.Errorf("%s holds %q", path, word)
			}
		}
		if again := h.ask("GET", path, "", "", "If-None-Match: "+got.header.Get("ETag")); again.status != 304 {
			t.Errorf("%s again: %d", path, again.status)
		}
	}
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(h.ask("GET", "/openapi.yaml", "", "").body), &doc); err != nil || doc["openapi"] != "3.1.0" {
		t.Errorf("openapi.yaml: %v %v", doc["openapi"], err)
	}
}

func TestAStrayedBrowserGetsAPageAndAProgramAProblem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
	for _, tc := range []struct {
		method, path, accept, want string
	}{
		{"GET", "/nothing", browser, "text/html"},
		{"GET", "/nothing", "Accept: */*", "application/problem+json"},
		{"GET", "/api/nothing", browser, "application/problem+json"},
		{"GET", "/auth/nothing", browser, "application/problem+json"},
		{"POST", "/nothing", browser, "application/problem+json"},
	} {
		got := h.ask(tc.method, tc.path, "", "", tc.accept)
		if got.status != 404 || !strings.HasPrefix(got.header.Get("Content-Type"), tc.want) || !strings.Contains(strings.ToLower(got.body), "there is nothing at this path") {
			t.Errorf("%s %s %s: %d %s %.200s", tc.method, tc.path, tc.accept, got.status, got.header.Get("Content-Type"), got.body)
		}
	}
	for from, to := range map[string]string{"/tokens": "/account#tokens", "/profile": "/account", "/dashboard": "/"} {
		if got := h.ask("GET", from, "", "", browser); got.header.Get("Location") != to {
			t.Errorf("%s leads to %q, want %q (%d)", from, got.header.Get("Location"), to, got.status)
		}
	}
}

// TestOpenAPIShowsWhatToSend demands an example for whatever has to be sent, where neither its type nor a
// list of values says what it looks like; and that no schema is left over.
func TestOpenAPIShowsWhatToSend(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	raw := h.ask("GET", "/openapi.json", "", "").body
	var doc struct {
		Paths      map[string]map[string]map[string]any `json:"paths"`
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(raw), &doc); err != nil {
		t.Fatal(err)
	}
	shown := func(v any) bool {
		m, _ := v.(map[string]any)
		for _, key := range []string{"example", "examples", "enum", "default", "$ref", "oneOf", "anyOf"} {
			if m[key] != nil {
				return true
			}
		}
		return m["type"] == "boolean" || m["type"] == "object" || m["type"] == "array" || m["format"] == "binary"
	}
	for name, s := range doc.Components.Schemas {
		if !strings.Contains(raw, "#/components/schemas/"+name+`"`) {
			t.Errorf("nothing uses the schema %s", name)
		}
		required, _ := s["required"].([]any)
		properties, _ := s["properties"].(map[string]any)
		if strings.HasSuffix(name, "Body") && !strings.HasSuffix(name, "AnswerBody") {
			for _, field := range required {
				if p := properties[fmt.Sprint(field)]; !shown(p) {
					t.Errorf("%s.%s has no example", name, field)
				}
			}
		}
	}
	for path, item := range doc.Paths {
		for method, o := range item {
			parameters, _ := o["parameters"].([]any)
			for _, p := range parameters {
				m, _ := p.(map[string]any)
				if m["in"] == "path" && !shown(m) && !shown(m["schema"]) {
					t.Errorf("%s %s: the parameter %s has no example", method, path, m["name"])
				}
			}
		}
	}
}
