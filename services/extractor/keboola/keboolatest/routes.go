package keboolatest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// prefix is where the Storage API is.
const prefix = "/v2/storage/"

const timeFormat = "2006-01-02T15:04:05-0700"

// refuse answers an error as the API has it.
func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]any{"error": message, "code": code, "exceptionId": "keboola-0123456789", "status": "error"})
}

func reply(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		misuse("%v", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// route tells which route a path is, and the ids in it.
func route(r *http.Request) (name string, ids []string) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, prefix), "/")
	if !strings.HasPrefix(r.URL.Path, prefix) {
		return RouteUnknown, nil
	}
	get := r.Method == http.MethodGet
	post := r.Method == http.MethodPost
	switch n := len(parts); {
	case get && n == 2 && parts[0] == "tokens" && parts[1] == "verify":
		return RouteVerify, nil
	case get && n == 1 && parts[0] == "buckets":
		return RouteBuckets, nil
	case get && n == 1 && parts[0] == "tables":
		return RouteTables, nil
	case get && n == 3 && parts[0] == "buckets" && parts[2] == "tables":
		return RouteTables, parts[1:2]
	case get && n == 2 && parts[0] == "tables":
		return RouteTable, parts[1:]
	case get && n == 3 && parts[0] == "tables" && parts[2] == "data-preview":
		return RoutePreview, parts[1:2]
	case post && n == 3 && parts[0] == "tables" && parts[2] == "export-async":
		return RouteExport, parts[1:2]
	case post && n == 5 && parts[0] == "tables" && parts[2] == "columns" && parts[4] == "metadata":
		return RouteMetadata, []string{parts[1], parts[3]}
	case get && n == 2 && parts[0] == "jobs":
		return RouteJob, parts[1:]
	case get && n == 2 && parts[0] == "files":
		return RouteFile, parts[1:]
	}
	return RouteUnknown, nil
}

// serve is the Storage API.
func (p *Project) serve(w http.ResponseWriter, r *http.Request) {
	name, ids := route(r)
	fault, leave := p.arrive(name, r)
	defer leave()
	w, done := p.fails(fault, w, r)
	if done {
		return
	}
	p.mu.Lock()
	token := p.tokens[r.Header.Get("X-Storageapi-Token")]
	p.mu.Unlock()
	if token == nil || token.Revoked || token.Expired {
		code := "storage.tokenInvalid"
		if token != nil && token.Expired {
			code = "storage.tokenExpired"
		}
		refuse(w, http.StatusUnauthorized, code, "Invalid access token")
		return
	}
	switch name {
	case RouteVerify:
		reply(w, http.StatusOK, p.verify(token))
	case RouteBuckets:
		reply(w, http.StatusOK, p.listBuckets(token))
	case RouteTables:
		p.listTables(w, r, token, ids)
	case RouteTable, RoutePreview, RouteExport, RouteMetadata:
		p.serveTable(w, r, token, name, ids)
	case RouteJob:
		p.serveJob(w, ids[0])
	case RouteFile:
		p.serveFile(w, r, ids[0])
	default:
		refuse(w, http.StatusNotFound, "notFound", "Route not found")
	}
}

func (p *Project) verify(t *Token) map[string]any {
	permissions := map[string]string{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.buckets {
		if t.Master {
			permissions[id] = "manage"
		} else if v := t.Buckets[id]; v != "" {
			permissions[id] = v
		}
	}
	var buckets any = permissions
	if len(permissions) == 0 {
		buckets = []any{} // PHP has one empty array
	}
	return map[string]any{
		"id": "42", "description": t.Description, "isMasterToken": t.Master, "canManageBuckets": t.Master, "isExpired": t.Expired, "isDisabled": false,
		"expires": nil, "bucketPermissions": buckets,
		"owner": map[string]any{"id": DefaultProjectID, "name": DefaultName, "features": []string{}, "fileStorageProvider": p.cfg.Cloud, "defaultBackend": "snowflake"},
	}
}

func (t *Token) sees(bucket string) bool { return t.Master || t.Buckets[bucket] != "" }

func (p *Project) bucketJSON(b *Bucket) map[string]any {
	stage, name, _ := strings.Cut(b.ID, ".")
	out := map[string]any{"id": b.ID, "name": name, "displayName": strings.TrimPrefix(name, "c-"), "stage": stage, "description": b.Description, "backend": "snowflake"}
	if b.Linked {
		out["sourceBucket"] = map[string]any{"id": b.ID, "name": name, "project": map[string]any{"id": 77, "name": "Another project"}}
	}
	return out
}

func (p *Project) listBuckets(token *Token) []any {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []any{}
	for _, b := range sorted(p.buckets) {
		if token.sees(b.ID) {
			out = append(out, p.bucketJSON(b))
		}
	}
	return out
}

func sorted[V any](m map[string]V) []V {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]V, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out
}

func (p *Project) listTables(w http.ResponseWriter, r *http.Request, token *Token, ids []string) {
	include := strings.Split(r.URL.Query().Get("include"), ",")
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(ids) == 1 && !token.sees(ids[0]) {
		refuse(w, http.StatusForbidden, "accessDenied", "You don't have access to the resource.")
		return
	}
	out := []any{}
	for _, t := range sorted(p.tables) {
		bucket := bucketOf(t.ID)
		if token.sees(bucket) && (len(ids) == 0 || ids[0] == bucket) {
			out = append(out, p.tableJSON(t, include))
		}
	}
	reply(w, http.StatusOK, out)
}

// tableJSON is a table as the API shows it; all of it where include is nil.
func (p *Project) tableJSON(t *table, include []string) map[string]any {
	has := func(what string) bool { return include == nil || slices.Contains(include, what) }
	shown := p.source(t)
	name := t.ID[len(bucketOf(t.ID))+1:]
	count, size := int64(len(shown.rows)), int64(0)
	for _, r := range shown.rows {
		for _, v := range r.values {
			if v != nil {
				size += int64(len(*v))
			}
		}
	}
	if shown.rowsCount >= 0 {
		count, size = shown.rowsCount, shown.bytesCount
	}
	out := map[string]any{
		"id": t.ID, "uri": p.URL + prefix + "tables/" + t.ID, "name": name, "displayName": name, "primaryKey": orEmpty(shown.PrimaryKey),
		"created": t.created.Format(timeFormat), "lastImportDate": shown.imported.Format(timeFormat), "lastChangeDate": shown.changed.Format(timeFormat),
		"rowsCount": count, "dataSizeBytes": size, "isAlias": t.AliasOf != "", "isTyped": false,
	}
	if has("columns") {
		out["columns"] = shown.Columns
	}
	if has("buckets") {
		out["bucket"] = p.bucketJSON(p.buckets[bucketOf(t.ID)])
	}
	if has("metadata") {
		out["metadata"] = []any{}
		if t.Description != "" {
			out["metadata"] = metadataJSON([]Metadata{{"user", "KBC.description", t.Description}})
		}
	}
	if has("columnMetadata") {
		out["columnMetadata"] = columnsJSON(t.Metadata)
	}
	if t.AliasOf != "" {
		out["sourceTable"] = map[string]any{
			"id": shown.ID, "name": shown.ID[len(bucketOf(shown.ID))+1:], "columnMetadata": columnsJSON(shown.Metadata),
			"project": map[string]any{"id": DefaultProjectID, "name": DefaultName},
		}
	}
	return out
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func metadataJSON(entries []Metadata) []any {
	out := []any{}
	for i, m := range entries {
		out = append(out, map[string]any{"id": strconv.Itoa(i + 1), "key": m.Key, "value": m.Value, "provider": m.Provider, "timestamp": "2026-01-01T00:00:00+0000"})
	}
	return out
}

func columnsJSON(columns map[string][]Metadata) any {
	if len(columns) == 0 {
		return []any{} // PHP has one empty array
	}
	out := map[string]any{}
	for c, entries := range columns {
		out[c] = metadataJSON(entries)
	}
	return out
}

// source is the table whose rows a table shows.
func (p *Project) source(t *table) *table {
	if t.AliasOf == "" {
		return t
	}
	of := p.tables[t.AliasOf]
	if of == nil {
		misuse("%s is an alias of %s, which is not there", t.ID, t.AliasOf)
	}
	return of
}

func (p *Project) serveTable(w http.ResponseWriter, r *http.Request, token *Token, name string, ids []string) {
	p.mu.Lock()
	t := p.tables[ids[0]]
	p.mu.Unlock()
	switch {
	case strings.Count(ids[0], ".") < 2:
		refuse(w, http.StatusNotFound, "storage.tables.notFound", "The table "+strconv.Quote(ids[0])+" was not found in the project")
		return
	case !token.sees(bucketOf(ids[0])):
		refuse(w, http.StatusForbidden, "accessDenied", "You don't have access to the resource.")
		return
	case t == nil:
		refuse(w, http.StatusNotFound, "storage.tables.notFound", "The table "+strconv.Quote(ids[0])+" was not found in the bucket "+strconv.Quote(bucketOf(ids[0])))
		return
	}
	switch name {
	case RouteTable:
		p.mu.Lock()
		out := p.tableJSON(t, nil)
		p.mu.Unlock()
		reply(w, http.StatusOK, out)
	case RoutePreview:
		p.preview(w, r, t)
	case RouteExport:
		p.export(w, r, t)
	case RouteMetadata:
		p.push(w, r, t, ids[1])
	}
}

func (p *Project) preview(w http.ResponseWriter, r *http.Request, t *table) {
	limit := 100
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			refuse(w, http.StatusBadRequest, "storage.tables.validation", "limit must be between 1 and 1000")
			return
		}
		limit = n
	}
	e := Export{}
	if c := r.URL.Query().Get("columns"); c != "" {
		e.Columns = strings.Split(c, ",")
	}
	p.mu.Lock()
	columns, rows := p.source(t).selected(e)
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	line := func(values []*string) {
		texts := make([]string, len(values))
		for i, v := range values {
			if v != nil { // what is missing is nothing, what is empty is quoted
				texts[i] = `"` + strings.ReplaceAll(*v, `"`, `""`) + `"`
			}
		}
		_, _ = io.WriteString(w, strings.Join(texts, ",")+"\n")
	}
	head := make([]*string, len(columns))
	for i := range columns {
		head[i] = &columns[i]
	}
	line(head)
	for _, row := range rows[:min(limit, len(rows))] {
		line(row)
	}
}

func (p *Project) push(w http.ResponseWriter, r *http.Request, t *table, column string) {
	var in struct {
		Provider string
		Metadata []struct{ Key, Value string }
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil || in.Provider == "" {
		refuse(w, http.StatusBadRequest, "storage.metadata.validation", "provider and metadata are required")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(t.Columns, column) {
		refuse(w, http.StatusNotFound, "storage.tables.columnNotExists", "Column not found")
		return
	}
	if t.Metadata == nil {
		t.Metadata = map[string][]Metadata{}
	}
	for _, m := range in.Metadata {
		entry := Metadata{in.Provider, m.Key, m.Value}
		t.Metadata[column] = append(slices.DeleteFunc(t.Metadata[column], func(o Metadata) bool { return o.Provider == entry.Provider && o.Key == entry.Key }), entry)
		p.pushed = append(p.pushed, Pushed{t.ID, column, entry})
	}
	reply(w, http.StatusCreated, metadataJSON(t.Metadata[column]))
}

// parseSince reads the time of changedSince: seconds, or one of the forms of ISO 8601.
func parseSince(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0), true
	}
	for _, layout := range []string{time.RFC3339, timeFormat, "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
