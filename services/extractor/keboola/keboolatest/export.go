package keboolatest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// job is an export under way.
type job struct {
	id     int64
	table  string
	export Export
	left   int // polls until it ends; negative never
	end    JobPlan
	file   int64 // of its result
	ended  bool
}

// file is a file of the project.
type file struct {
	id     int64
	key    string // of the file in its store; slices and the manifest have keys that begin with it
	name   string
	sliced bool
	size   int64
}

var filter = regexp.MustCompile(`\AwhereFilters\[(\d+)\]\[(column|operator|dataType|values)\](?:\[(\d+)\])?\z`)

// readExport reads the form of an export; a problem is what the API says of it.
func (p *Project) readExport(r *http.Request, t *table) (e Export, problem string) {
	e.Table = t.ID
	if err := r.ParseForm(); err != nil {
		return e, "the form cannot be read"
	}
	where := map[int]*Where{}
	names := make([]string, 0, len(r.PostForm))
	for name := range r.PostForm {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := r.PostForm.Get(name)
		m := filter.FindStringSubmatch(name)
		switch {
		case name == "gzip":
			e.Gzip = value == "1" || value == "true"
		case name == "format" && (value == "rfc"), name == "limit":
		case name == "fileType":
			e.Parquet = value == "parquet"
			if value != "csv" && (!e.Parquet || !p.cfg.Parquet) {
				return e, "fileType: parquet is not supported by this project"
			}
		case name == "changedSince":
			since, ok := parseSince(value)
			if !ok {
				return e, "changedSince: not a date"
			}
			e.ChangedSince = since
		case name == "columns":
			e.Columns = append(e.Columns, strings.Split(value, ",")...)
		case strings.HasPrefix(name, "columns["):
			e.Columns = append(e.Columns, value)
		case m != nil:
			n, _ := strconv.Atoi(m[1])
			if where[n] == nil {
				where[n] = &Where{}
			}
			switch m[2] {
			case "column":
				where[n].Column = value
			case "operator":
				where[n].Operator = value
			case "values":
				where[n].Values = append(where[n].Values, value)
			}
		default:
			return e, name + ": this field was not expected"
		}
	}
	for n := range len(where) {
		if where[n] == nil {
			return e, "whereFilters must be numbered from 0"
		}
		e.Where = append(e.Where, *where[n])
	}
	source := p.source(t)
	for _, w := range e.Where {
		if !slices.Contains(source.Columns, w.Column) || len(w.Values) == 0 || !slices.Contains([]string{"", "eq", "ne", "gt", "ge", "lt", "le"}, w.Operator) {
			return e, "whereFilters: column, operator or values are not valid"
		}
	}
	for _, c := range e.Columns {
		if !slices.Contains(source.Columns, c) {
			return e, fmt.Sprintf("columns: the column %s does not exist", c)
		}
	}
	return e, ""
}

// export begins a job.
func (p *Project) export(w http.ResponseWriter, r *http.Request, t *table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, problem := p.readExport(r, t)
	if problem != "" {
		refuse(w, http.StatusBadRequest, "storage.tables.validation", "Invalid parameters - "+problem)
		return
	}
	j := &job{id: p.next(), table: t.ID, export: e, left: p.cfg.Polls}
	for i := range p.plans {
		plan := &p.plans[i]
		if plan.Times < 0 || plan.Table != "" && plan.Table != t.ID {
			continue
		}
		j.end, j.left = *plan, plan.Polls
		if plan.Times > 0 {
			if plan.Times--; plan.Times == 0 {
				plan.Times = -1
			}
		}
		break
	}
	p.jobs[j.id] = j
	reply(w, http.StatusAccepted, p.jobJSON(j, "waiting"))
}

func (p *Project) jobJSON(j *job, status string) map[string]any {
	out := map[string]any{
		"id": j.id, "status": status, "url": fmt.Sprintf("%s%sjobs/%d", p.URL, prefix, j.id), "operationName": "tableExport",
		"tableId": j.table, "createdTime": p.clock.Format(timeFormat), "results": nil,
	}
	switch status {
	case "success":
		out["results"] = map[string]any{"file": map[string]any{"id": j.file}, "cacheHit": false}
	case "error":
		out["error"] = map[string]any{"code": j.end.Code, "message": j.end.Message, "exceptionId": "keboola-0123456789"}
	}
	return out
}

func (p *Project) serveJob(w http.ResponseWriter, id string) {
	n, _ := strconv.ParseInt(id, 10, 64)
	p.mu.Lock()
	defer p.mu.Unlock()
	j := p.jobs[n]
	switch {
	case j == nil:
		refuse(w, http.StatusNotFound, "storage.jobs.notFound", "Job not found")
		return
	case j.left != 0:
		j.left--
		reply(w, http.StatusOK, p.jobJSON(j, "processing"))
		return
	case j.end.Status != "":
		reply(w, http.StatusOK, p.jobJSON(j, j.end.Status))
		return
	case j.end.Message != "" || j.end.Code != "":
		reply(w, http.StatusOK, p.jobJSON(j, "error"))
		return
	}
	if !j.ended {
		if err := p.finish(j); err != nil {
			refuse(w, http.StatusInternalServerError, "storage.internal", err.Error())
			return
		}
		j.ended = true
	}
	reply(w, http.StatusOK, p.jobJSON(j, "success"))
}

// finish writes the file of a job.
func (p *Project) finish(j *job) error {
	f := &file{id: p.next(), name: j.table + ".csv", sliced: !p.cfg.Unsliced}
	f.key = fmt.Sprintf("exp-15/%d/table-exports/%s/%d.csv", DefaultProjectID, strings.ReplaceAll(j.table, ".", "/"), f.id)
	if j.export.Gzip {
		f.key += ".gz"
	}
	p.files[f.id], j.file = f, f.id
	if p.answer != nil {
		if paths := p.answer(j.export); paths != nil {
			return p.storePrepared(f, paths)
		}
	}
	t := p.tables[j.table]
	if t == nil {
		return fmt.Errorf("the table %s is gone", j.table)
	}
	columns, rows := p.source(t).selected(j.export)
	if p.cfg.Unsliced {
		content := packed(append([]byte(header(columns)), lines(rows)...), j.export.Gzip)
		f.size = int64(len(content))
		return p.store.Put(f.key, content, "")
	}
	var keys []string
	step := p.cfg.SliceRows
	if step == 0 {
		step = max(1, len(rows))
	}
	for chunk := range slices.Chunk(rows, step) {
		// The name of a slice is not the number of its rows: backends write them side by side.
		key := fmt.Sprintf("%s%d_%d_0.csv", f.key, len(keys)%3, len(keys))
		if j.export.Gzip {
			key += ".gz"
		}
		content := packed(lines(chunk), j.export.Gzip)
		if err := p.store.Put(key, content, ""); err != nil {
			return err
		}
		f.size += int64(len(content))
		keys = append(keys, key)
	}
	return p.manifest(f, keys)
}

func (p *Project) storePrepared(f *file, paths []string) error {
	var keys []string
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%s%d.csv.gz", f.key, i)
		if err := p.store.Put(key, nil, path); err != nil {
			return err
		}
		f.size += info.Size()
		keys = append(keys, key)
	}
	return p.manifest(f, keys)
}

// manifest lists the slices, in no order that means anything: the last one first.
func (p *Project) manifest(f *file, keys []string) error {
	slices.Reverse(keys)
	entries := []map[string]string{}
	for _, key := range keys {
		entries = append(entries, map[string]string{"url": p.store.Locator(key)})
	}
	raw, err := json.Marshal(map[string]any{"entries": entries})
	if err != nil {
		return err
	}
	return p.store.Put(f.key+"manifest", raw, "")
}

func (p *Project) serveFile(w http.ResponseWriter, r *http.Request, id string) {
	n, _ := strconv.ParseInt(id, 10, 64)
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.files[n]
	if f == nil {
		refuse(w, http.StatusNotFound, "storage.files.notFound", "File not found")
		return
	}
	until := time.Now().Add(p.cfg.CredentialsLast)
	key := f.key
	if f.sliced {
		key += "manifest"
	}
	out := map[string]any{
		"id": f.id, "name": f.name, "isSliced": f.sliced, "isEncrypted": true, "sizeBytes": f.size, "provider": p.store.Provider(),
		"region": Region, "url": p.store.SignedURL(key, until), "tags": []string{"table-export"}, "created": p.clock.Format(timeFormat),
	}
	if r.URL.Query().Get("federationToken") == "1" {
		for k, v := range p.store.Credentials(f.key, until) {
			out[k] = v
		}
	}
	reply(w, http.StatusOK, out)
}

// lines writes rows as the API does: every value in quotes but NULL, which is nothing at all.
func lines(rows [][]*string) []byte {
	var b bytes.Buffer
	for _, row := range rows {
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			if v != nil {
				b.WriteByte('"')
				b.WriteString(strings.ReplaceAll(*v, `"`, `""`))
				b.WriteByte('"')
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func header(columns []string) string { return `"` + strings.Join(columns, `","`) + "\"\n" }

func packed(content []byte, zip bool) []byte {
	if !zip {
		return content
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(content)
	_ = z.Close()
	return b.Bytes()
}
