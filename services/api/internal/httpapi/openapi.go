package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// Tags of the operations, in the order of the reference.
const (
	tagAuth   = "Signing in"
	tagData   = "Data"
	tagSync   = "Sync"
	tagAdmin  = "Registry and sources"
	tagPeople = "Users and permissions"
	tagOps    = "Operations"

	tagUploads = "Uploads"
	tagConfig  = "Configuration"
	tagJira    = "Jira"
)

const description = `Agnes lands data from many sources, publishes it as immutable versions, and serves it: as SQL, and as files to keep a copy of.

Sign in with POST /auth/token and send the token as Authorization: Bearer …, or make a personal access token. What is not granted to you does not exist for you: it answers 404 with the same words as something that was never there.

Every error is one shape (RFC 9457): status, kind for programs, detail for people, and the request_id that names the request in the log of the server.`

// openAPI configures huma: our errors, no links to elsewhere, fields of newer clients tolerated.
func (s *Server) openAPI() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	config := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Agnes API", Version: s.build.Version, Description: description,
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "A session or a personal access token."},
					"cookie": {Type: "apiKey", In: "cookie", Name: SessionCookie, Description: "A session in a browser; changes need a page of the same origin."},
				},
			},
			Tags: []*huma.Tag{
				{Name: tagAuth, Description: "Sessions and personal access tokens. Each is checked against the state on every request, so that revoking works at once."},
				{Name: tagData, Description: "Ask with SQL, or fetch whole tables and their parts."},
				{Name: tagSync, Description: "Have sources extracted, and follow how that goes."},
				{Name: tagAdmin, Description: "What is extracted, from where, and when."},
				{Name: tagJira, Description: "Sites of Jira Cloud: what is kept of them, tasks over their issues, and what could not be taken in. Extracting anew from what is kept is POST /api/sync/trigger with the source and force."},
				{Name: tagPeople, Description: "Who may sign in, and what they may read."},
				{Name: tagUploads, Description: "Files that users send: sessions and artifacts of their work, and notes for assistants."},
				{Name: tagConfig, Description: "What the installation is called, where its data comes from, and who may sign up."},
				{Name: tagOps, Description: "Health, versions, and events that nobody could handle."},
			},
		},
		Formats:       map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{humasProblems},
	}
	if s.publicURL != "" {
		config.Servers = []*huma.Server{{URL: s.publicURL, Description: "This installation."}}
	}
	config.AllowAdditionalPropertiesByDefault = true
	return config
}

// jsonFormat writes and reads JSON; markup in texts is left as it is, since no page embeds it.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	},
	Unmarshal: json.Unmarshal,
}

// op describes one operation before its gate is put on.
type op struct {
	method, path, id, tag, summary, text string
	// scope a personal access token needs; empty: admin behind Admin and Curator and for changes, read
	// for what only looks.
	scope Scope
	// session closes it to personal access tokens.
	session bool
	// audit is the action that is recorded, "noun.verb": for everything that changes, asks with SQL or
	// hands data out.
	audit string
	// limit is the class that its requests are counted in.
	limit Class
	// status of a success; 0 for 200, or 204 where there is no body.
	status int
	// errors beyond those that the gate brings.
	errors []int
	// more changes what the fields above cannot say.
	more func(*huma.Operation)
}

// sentences say when a status is answered.
var sentences = map[int]string{
	http.StatusNotModified:                  "Nothing changed since the version that If-None-Match names. No body.",
	http.StatusBadRequest:                   "The request cannot be understood, or cannot be done as it stands; `detail` says why.",
	http.StatusUnauthorized:                 "No credential, or one that is unknown, expired or revoked.",
	http.StatusForbidden:                    "Known, but not allowed; also a browser's session from a page of another site.",
	http.StatusNotFound:                     "It does not exist, or is not granted to you: the words are the same.",
	http.StatusConflict:                     "The state says no: it is there already, or is being changed.",
	http.StatusPreconditionFailed:           "The version that If-Match names is gone.",
	http.StatusRequestTimeout:               "The body did not arrive in time.",
	http.StatusRequestEntityTooLarge:        "Larger than the server takes or gives; `detail` names the limit.",
	http.StatusUnsupportedMediaType:         "The body is of a media type that is not taken here, or has a Content-Encoding.",
	http.StatusNotAcceptable:                "None of the media types in Accept is one that the answer can have.",
	http.StatusUnprocessableEntity:          "A value does not fit its schema; `errors` names each.",
	http.StatusRequestedRangeNotSatisfiable: "The range begins behind the end; Content-Range tells the size.",
	http.StatusTooManyRequests:              "Too much at once. Try again after Retry-After seconds.",
	http.StatusInternalServerError:          "A defect of the server; the log has the details under `request_id`.",
	http.StatusBadGateway:                   "Something outside refused for good.",
	http.StatusServiceUnavailable:           "Something that this depends on is away. Try again later.",
}

// add registers an operation with its gate.
func add[I, O any](s *Server, gate Gate, o op, handle func(context.Context, *I) (*O, error)) {
	d := door{gate: gate, scope: o.scope, session: o.session, audit: o.audit, limit: o.limit}.withDefaults(o.method)
	operation := huma.Operation{
		Method: o.method, Path: o.path, OperationID: o.id, Summary: o.summary, Description: o.text, Tags: []string{o.tag},
		DefaultStatus: o.status, MaxBodyBytes: s.limits.MaxBody, BodyReadTimeout: s.limits.BodyTimeout,
		Responses:  map[string]*huma.Response{},
		Extensions: map[string]any{"x-gate": string(gate)},
	}
	statuses := append(slices.Clone(o.errors), http.StatusInternalServerError)
	if gate != Public {
		operation.Security = []map[string][]string{{"bearer": {}}, {"cookie": {}}}
		statuses = append(statuses, http.StatusUnauthorized, http.StatusServiceUnavailable)
		statuses = append(statuses, http.StatusForbidden) // the role, or the scope of a token
		if d.session {
			operation.Extensions["x-session"] = true // no scope opens it to a token
		} else {
			operation.Extensions["x-scope"] = string(d.scope)
		}
	}
	statuses = append(statuses, http.StatusTooManyRequests) // everything is counted; at least where the credential does not hold
	if o.method != http.MethodGet && o.method != http.MethodHead {
		statuses = append(statuses, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType) // a body that announces too much, or that it is compressed, is not read
	}
	if _, ok := typeOf[I]().FieldByName("Body"); ok {
		statuses = append(statuses, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity)
	}
	problem := s.api.OpenAPI().Components.Schemas.Schema(problemType, true, "Problem")
	for _, status := range statuses {
		operation.Responses[strconv.Itoa(status)] = s.refusal(status, problem)
	}
	if o.more != nil {
		o.more(&operation)
	}
	s.doors[o.method+" "+routerPath(o.path)] = d
	huma.Register(s.api, operation, answered(s, handle))
}

// refusal describes one error status.
func (s *Server) refusal(status int, problem *huma.Schema) *huma.Response {
	r := &huma.Response{Description: sentences[status]}
	if status == http.StatusNotModified {
		return r
	}
	r.Content = map[string]*huma.MediaType{"application/problem+json": {Schema: problem, Example: exampleProblem(status)}}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		r.Headers = map[string]*huma.Param{"Retry-After": {
			Description: "Seconds to wait before another try, where known.", Schema: &huma.Schema{Type: huma.TypeInteger},
		}}
	}
	return r
}

func exampleProblem(status int) map[string]any {
	return map[string]any{
		"type": problemKind, "title": titleOf(status), "status": status, "kind": string(kindOf(status)),
		"detail": strings.ReplaceAll(sentences[status], "`", ""), "request_id": "4KQ2T7M3XJ5Z6V8N9P0R",
	}
}

// routerPath writes the parameters of a path as the router does.
func routerPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// raw registers what answers a GET outside the OpenAPI document: pages, probes, proxies.
func (s *Server) raw(gate Gate, path string, h http.Handler) {
	s.rawDoor(door{gate: gate}, http.MethodGet, path, h)
}

// rawDoor is raw with everything that a door can have.
func (s *Server) rawDoor(d door, method, path string, h http.Handler) {
	s.doors[method+" "+path] = d.withDefaults(method)
	s.echo.Add(method, path, wrapHandler(h))
}

// describe writes down what huma cannot know: fields of types of other packages.
func (s *Server) describe() {
	fields := map[string]map[string]string{
		"Column": {"name": "The name of the column.", "type": "A DuckDB type, such as BIGINT or DECIMAL(18,2)."},
	}
	schemas := s.api.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own shapes of errors, which nothing answers with
	delete(schemas, "ErrorDetail")
	for name, docs := range fields {
		for field, doc := range docs {
			if schema, ok := schemas[name]; ok && schema.Properties[field] != nil {
				schema.Properties[field].Description = doc
			}
		}
	}
}
