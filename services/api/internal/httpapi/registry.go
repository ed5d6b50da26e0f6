package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// RegistryList lists registered tables.
type RegistryList struct {
	Tables []RegisteredTable `json:"tables" doc:"By id."`
	Count  int               `json:"count" doc:"How many there are." example:"9"`
}

type registryAnswer struct{ Body RegistryList }

type registryQuestion struct {
	Source string `query:"source" maxLength:"64" doc:"Only tables of this source." example:"shop"`
}

type registeredAnswer struct{ Body RegisteredTable }

type registerQuestion struct{ Body NewTable }

// Registered names a table that was just registered.
type Registered struct {
	ID     string `json:"id" doc:"Names the table in every route." example:"orders"`
	Name   string `json:"name" doc:"The table's name within its source." example:"orders"`
	Status string `json:"status" doc:"Always registered." example:"registered"`
	// IsPublic tells what became of a registration that did not say it.
	IsPublic bool `json:"is_public" doc:"Whether every user can read it."`
}

type newRegisteredAnswer struct{ Body Registered }

type updateQuestion struct {
	ID   string `path:"id" maxLength:"400" doc:"The id of the table." example:"orders"`
	Body TableChange
}

// Updated names what was changed.
type Updated struct {
	ID      string   `json:"id" doc:"The id of the table." example:"orders"`
	Updated []string `json:"updated" doc:"The fields that were given." example:"[\"description\"]"`
}

type updatedAnswer struct{ Body Updated }

func (s *Server) registryRoutes() {
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/registry", id: "listRegistry", tag: tagAdmin, summary: "List registered tables",
		text: "By id.", errors: []int{http.StatusUnprocessableEntity},
	}, s.listRegistry)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/registry/{id}", id: "getRegistered", tag: tagAdmin, summary: "Look at a registered table",
		text: "Its row of the registry.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.getRegistered)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/registry/{id}/history", id: "registeredHistory", tag: tagAdmin, summary: "What became of a table in its runs",
		text: "Newest first, as far as runs are remembered: outcome, size, duration, error, and which columns changed.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.registeredHistory)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/admin/register-table", id: "registerTable", audit: "registry.register", tag: tagAdmin, summary: "Register a table",
		text:   "From the next run on it is extracted. Nothing is extracted by this call. Without is_public it is public, unless the same table of the source is registered as private, or was when it was removed.",
		status: http.StatusCreated, errors: []int{http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.registerTable)
	add(s, Admin, op{
		method: http.MethodPut, path: "/api/admin/registry/{id}", id: "updateRegistered", audit: "registry.update", tag: tagAdmin, summary: "Change a registered table",
		text:   "Only what is given changes. is_public holds for every registration of the same data.",
		errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity},
	}, s.updateRegistered)
	add(s, Admin, op{
		method: http.MethodDelete, path: "/api/admin/registry/{id}", id: "removeRegistered", audit: "registry.delete", tag: tagAdmin, summary: "Take a table out of the registry",
		text:   "It is not extracted any more; its source's next run takes it out of the catalog. The grants on it go with it.",
		status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.removeRegistered)
}

func (s *Server) listRegistry(ctx context.Context, in *registryQuestion) (*registryAnswer, error) {
	list, err := s.tables.List(ctx, in.Source)
	return &registryAnswer{Body: RegistryList{Tables: orEmpty(list), Count: len(list)}}, err
}

type byTableID struct {
	ID string `path:"id" maxLength:"400" doc:"The id of the table." example:"orders"`
}

func (s *Server) getRegistered(ctx context.Context, in *byTableID) (*registeredAnswer, error) {
	t, err := s.tables.Get(ctx, in.ID)
	return &registeredAnswer{Body: t}, err
}

type historyQuestion struct {
	ID    string `path:"id" maxLength:"400" doc:"The id of the table." example:"orders"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"The most runs to list."`
}

// TableHistory lists what became of a table.
type TableHistory struct {
	ID    string     `json:"id" doc:"The id of the table." example:"orders"`
	Runs  []TableRun `json:"runs" doc:"Newest first."`
	Count int        `json:"count" doc:"How many are listed." example:"3"`
}

type historyAnswer struct{ Body TableHistory }

func (s *Server) registeredHistory(ctx context.Context, in *historyQuestion) (*historyAnswer, error) {
	t, err := s.tables.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	list, err := s.runs.History(ctx, t.Source, t.Name, in.Limit)
	return &historyAnswer{Body: TableHistory{ID: t.ID, Runs: orEmpty(list), Count: len(list)}}, err
}

func (s *Server) registerTable(ctx context.Context, in *registerQuestion) (*newRegisteredAnswer, error) {
	if strings.TrimSpace(in.Body.Name) == "" {
		return nil, blank("name")
	}
	t := in.Body
	if err := s.settleSource(&t); err != nil {
		return nil, err
	}
	made, err := s.tables.Register(ctx, callerOf(ctx), t)
	noteResource(ctx, "table", made.ID)
	noteParam(ctx, "name", t.Name)
	noteParam(ctx, "source", t.Source)
	return &newRegisteredAnswer{Body: Registered{ID: made.ID, Name: made.Name, Status: "registered", IsPublic: made.IsPublic}}, err
}

// blank is the refusal of a value that is only spaces, which a schema cannot say.
func blank(field string) error {
	p := newProblem(fault.New(fault.Invalid, "validation failed: body.%s: expected more than spaces", field))
	p.Status, p.Title = http.StatusUnprocessableEntity, titleOf(http.StatusUnprocessableEntity)
	p.Errors = []ProblemField{{Location: "body." + field, Message: "expected more than spaces"}}
	return p
}

// settleSource finds the source of a table that is to be registered: the one that is named, or the
// only one of its type.
func (s *Server) settleSource(t *NewTable) error {
	if t.Source == "" {
		candidates := s.instance().Sources
		if t.SourceType != "" {
			candidates = s.instance().OfType(t.SourceType)
		}
		if len(candidates) != 1 {
			names := make([]string, len(candidates))
			for i, c := range candidates {
				names[i] = c.Name
			}
			return fault.New(fault.Invalid, "name the source of the table; it could be one of: %s", orNone(names))
		}
		t.Source = candidates[0].Name
	}
	configured, ok := s.instance().Source(t.Source)
	if !ok {
		if _, published := s.published.Current().Source(t.Source); published {
			return nil // another program extracts it
		}
		return fault.New(fault.Invalid, "there is no source %q in the configuration; there are: %s", t.Source, orNone(s.sourceNames()))
	}
	if t.SourceType == "" {
		t.SourceType = configured.Type
	}
	if t.SourceType != configured.Type {
		return fault.New(fault.Invalid, "the source %q is of type %s, not %s", t.Source, configured.Type, t.SourceType)
	}
	return nil
}

func (s *Server) sourceNames() []string {
	names := make([]string, len(s.instance().Sources))
	for i, c := range s.instance().Sources {
		names[i] = c.Name
	}
	return names
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (s *Server) updateRegistered(ctx context.Context, in *updateQuestion) (*updatedAnswer, error) {
	if in.Body.Source != nil && *in.Body.Source != "" {
		if _, ok := s.instance().Source(*in.Body.Source); !ok {
			return nil, fault.New(fault.Invalid, "there is no source %q in the configuration; there are: %s", *in.Body.Source, orNone(s.sourceNames()))
		}
	}
	if in.Body.Name != nil && strings.TrimSpace(*in.Body.Name) == "" {
		return nil, blank("name")
	}
	noteResource(ctx, "table", in.ID)
	updated, err := s.tables.Update(ctx, callerOf(ctx), in.ID, in.Body)
	noteParam(ctx, "changed", strings.Join(updated, " "))
	if in.Body.IsPublic != nil {
		noteParam(ctx, "is_public", *in.Body.IsPublic)
	}
	return &updatedAnswer{Body: Updated{ID: in.ID, Updated: orEmpty(updated)}}, err
}

func (s *Server) removeRegistered(ctx context.Context, in *byTableID) (*none, error) {
	noteResource(ctx, "table", in.ID)
	return nil, s.tables.Delete(ctx, callerOf(ctx), in.ID)
}

// Discovery is what a source has.
type Discovery struct {
	Tables []DiscoveredTable `json:"tables" doc:"What is there, by name."`
	Count  int               `json:"count" doc:"How many there are." example:"9"`
	Source string            `json:"source" doc:"The source that was asked; empty for several." example:"shop"`
}

type discoveryAnswer struct{ Body Discovery }

type discoverQuestion struct {
	Source string `query:"source" maxLength:"64" doc:"The source to ask; all configured ones where missing." example:"shop"`
}

type registerAllQuestion struct {
	Body *struct {
		Source string `json:"source,omitempty" nullable:"true" maxLength:"64" doc:"The source to ask; all configured ones where missing." example:"shop"`
	}
}

// Registration is what came of registering all that was discovered.
type Registration struct {
	Registered int                `json:"registered" doc:"How many tables are new in the registry." example:"9"`
	Skipped    int                `json:"skipped" doc:"How many were in it before." example:"0"`
	Errors     []RegistrationFail `json:"errors" doc:"What could not be registered, and why. Nothing else is held up by it."`
	Tables     []Registered       `json:"tables" doc:"The new ones."`
}

// RegistrationFail is a table or source that could not be registered.
type RegistrationFail struct {
	Source string `json:"source" doc:"The source." example:"shop"`
	Table  string `json:"table" doc:"The table; empty for the source as a whole."`
	Error  string `json:"error" doc:"Why."`
}

type registrationAnswer struct{ Body Registration }

func (s *Server) discoverRoutes() {
	unreachable := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadGateway}
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/discover-tables", id: "discover", tag: tagAdmin, summary: "See what a source has",
		text: "Asks the extractor of the source. 503 names the program to start where none answers.", errors: unreachable,
	}, s.discover)
	add(s, Admin, op{
		method: http.MethodPost, path: "/api/admin/discover-and-register", id: "discoverAndRegister", audit: "registry.discover", tag: tagAdmin, summary: "Register all that a source has",
		text: "Tables that are registered stay as they are.", errors: unreachable,
	}, s.discoverAndRegister)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/sources", id: "sources", tag: tagAdmin, summary: "List sources",
		text: "Those of the configuration and those that are published, with what is wrong with each.",
	}, s.listSources)
}

// asked gives the sources that a discovery means.
func (s *Server) asked(source string) ([]string, error) {
	if source == "" {
		if len(s.instance().Sources) == 0 {
			return nil, fault.New(fault.NotFound, "no source is configured: add one to instance.yaml")
		}
		return s.sourceNames(), nil
	}
	if _, ok := s.instance().Source(source); !ok {
		return nil, fault.New(fault.NotFound, "there is no source %q in the configuration; there are: %s", source, orNone(s.sourceNames()))
	}
	return []string{source}, nil
}

func (s *Server) discoverOne(ctx context.Context, source string) ([]DiscoveredTable, error) {
	var found []DiscoveredTable
	err := s.askSource(ctx, source, func(ctx context.Context) (err error) {
		found, err = s.bus.Discover(ctx, source)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, err := s.tables.List(ctx, source)
	if err != nil {
		return nil, err
	}
	byName, byOrigin := make(map[string]string, len(rows)), make(map[string]string, len(rows))
	for _, r := range rows {
		byName[r.Name] = r.ID
		byOrigin[catalog.Origins(source, r.Bucket, r.SourceTable, r.Name)[0]] = r.ID
	}
	for i, t := range found {
		id, registered := byName[t.Name]
		for _, origin := range catalog.Origins(source, t.Bucket, t.SourceTable, t.Name) {
			if other := byOrigin[origin]; !registered && other != "" {
				id, registered = other, true // under another name
			}
		}
		found[i].Registered = registered
		if registered {
			found[i].ID = id
		}
		found[i].Columns, found[i].PrimaryKey = orEmpty(t.Columns), orEmpty(t.PrimaryKey)
	}
	return found, nil
}

func (s *Server) discover(ctx context.Context, in *discoverQuestion) (*discoveryAnswer, error) {
	sources, err := s.asked(in.Source)
	if err != nil {
		return nil, err
	}
	out := &discoveryAnswer{Body: Discovery{Tables: []DiscoveredTable{}}}
	for _, source := range sources {
		found, err := s.discoverOne(ctx, source)
		if err != nil {
			return nil, err
		}
		out.Body.Tables = append(out.Body.Tables, found...)
	}
	if len(sources) == 1 {
		out.Body.Source = sources[0]
	}
	out.Body.Count = len(out.Body.Tables)
	return out, nil
}

func (s *Server) discoverAndRegister(ctx context.Context, in *registerAllQuestion) (*registrationAnswer, error) {
	source := ""
	if in.Body != nil {
		source = in.Body.Source
	}
	sources, err := s.asked(source)
	if err != nil {
		return nil, err
	}
	noteResource(ctx, "source", strings.Join(sources, ","))
	out := &registrationAnswer{Body: Registration{Errors: []RegistrationFail{}, Tables: []Registered{}}}
	defer func() { noteParam(ctx, "registered", out.Body.Registered) }()
	for _, source := range sources {
		found, err := s.discoverOne(ctx, source)
		if err != nil {
			if len(sources) == 1 {
				return nil, err
			}
			out.Body.Errors = append(out.Body.Errors, RegistrationFail{Source: source, Error: fault.Message(err)})
			continue
		}
		if err := s.registerFound(ctx, source, found, &out.Body); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// registerFound registers what can be extracted and is not registered yet, all at once.
func (s *Server) registerFound(ctx context.Context, source string, found []DiscoveredTable, out *Registration) error {
	var wanted []NewTable
	for _, t := range found {
		switch {
		case t.Registered:
			out.Skipped++
		case t.Problem != "":
			out.Errors = append(out.Errors, RegistrationFail{Source: source, Table: t.Name, Error: t.Problem})
		default:
			wanted = append(wanted, NewTable{
				Name: t.Name, Source: source, SourceType: s.sourceType(source), Bucket: t.Bucket, SourceTable: t.SourceTable,
				QueryMode: t.QueryMode, PrimaryKey: t.PrimaryKey, Description: t.Description,
			})
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	made, err := s.tables.RegisterAll(ctx, callerOf(ctx), wanted)
	if err != nil {
		return err
	}
	out.Registered += made.Registered
	out.Skipped += made.Skipped
	out.Tables = append(out.Tables, made.Tables...)
	for _, e := range made.Errors {
		e.Source = source
		out.Errors = append(out.Errors, e)
	}
	return nil
}

// SourceStatus is a source and what is published of it.
type SourceStatus struct {
	Name        string          `json:"name" doc:"The name of the source." example:"shop"`
	Type        string          `json:"type" doc:"Its connector; empty where it is not configured." example:"csv"`
	Generation  uint64          `json:"generation" doc:"Grows with every publication; 0 before the first."`
	PublishedAt *time.Time      `json:"published_at" doc:"When it was published last; null for never."`
	Tables      int             `json:"tables" doc:"How many tables are published." example:"9"`
	Problems    []SourceProblem `json:"problems" doc:"What could not be published."`
}

// SourceProblem is something that could not be published. It hides nothing else.
type SourceProblem struct {
	Table   string `json:"table" doc:"The table; empty for the source as a whole."`
	Code    string `json:"code" doc:"unreadable, missing_file, bad_name, collision or remote_refused." example:"collision"`
	Message string `json:"message" doc:"What is wrong, and what to do."`
}

// SourceList lists sources.
type SourceList struct {
	Sources []SourceStatus `json:"sources" doc:"By name."`
}

type sourcesAnswer struct{ Body SourceList }

func (s *Server) listSources(_ context.Context, _ *none) (*sourcesAnswer, error) {
	snapshot := s.published.Current()
	var list []SourceStatus
	for _, src := range snapshot.Sources() {
		at := src.PublishedAt.UTC()
		status := SourceStatus{
			Name: src.Name, Type: s.sourceType(src.Name), Generation: src.Generation, PublishedAt: &at,
			Tables: len(src.Tables), Problems: problemsOf(append(slices.Clone(src.Problems), snapshot.Collisions(src.Name)...)),
		}
		list = append(list, status)
	}
	for _, configured := range s.instance().Sources {
		if _, there := snapshot.Source(configured.Name); !there {
			list = append(list, SourceStatus{Name: configured.Name, Type: configured.Type, Problems: []SourceProblem{}})
		}
	}
	slices.SortFunc(list, func(a, b SourceStatus) int { return strings.Compare(a.Name, b.Name) })
	return &sourcesAnswer{Body: SourceList{Sources: orEmpty(list)}}, nil
}

func problemsOf(problems []catalog.Problem) []SourceProblem {
	out := make([]SourceProblem, 0, len(problems))
	seen := map[[2]string]bool{}
	for _, p := range problems {
		key := [2]string{p.Table, p.Code}
		if !seen[key] {
			out = append(out, SourceProblem{Table: p.Table, Code: p.Code, Message: p.Message})
		}
		seen[key] = true
	}
	return out
}
