package bigquerytest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/array"
	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"
)

const root = "/bigquery/v2/projects/{project}"

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+root+"/datasets", s.listDatasets)
	mux.HandleFunc("GET "+root+"/datasets/{dataset}/tables", s.listTables)
	mux.HandleFunc("GET "+root+"/datasets/{dataset}/tables/{table}", s.getTable)
	mux.HandleFunc("GET "+root+"/datasets/{dataset}/tables/{table}/data", s.tableData)
	mux.HandleFunc("POST "+root+"/jobs", s.insertJob)
	mux.HandleFunc("GET "+root+"/jobs/{job}", s.getJob)
	mux.HandleFunc("POST "+root+"/jobs/{job}/cancel", s.cancelJob)
	mux.HandleFunc("GET "+root+"/queries/{job}", s.queryResults)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.faults.Revoked {
			refuse(w, http.StatusUnauthorized, "authError", "Invalid Credentials")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) //nolint:errchkjson // a test that gets half an answer fails
}

func refuse(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{ //nolint:errchkjson // as above
		"code": code, "message": message, "errors": []googleapi.ErrorItem{{Reason: reason, Message: message}},
	}})
}

func (s *Server) listDatasets(w http.ResponseWriter, r *http.Request) {
	seen := map[string]bool{}
	list := &bq.DatasetList{}
	for _, id := range s.ids() {
		t := s.tables[id]
		if t.Project == r.PathValue("project") && !seen[t.Dataset] {
			seen[t.Dataset] = true
			list.Datasets = append(list.Datasets, &bq.DatasetListDatasets{DatasetReference: &bq.DatasetReference{ProjectId: t.Project, DatasetId: t.Dataset}})
		}
	}
	answer(w, list)
}

func (s *Server) ids() []string {
	ids := make([]string, 0, len(s.tables))
	for id := range s.tables {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	return ids
}

func (s *Server) listTables(w http.ResponseWriter, r *http.Request) {
	list := &bq.TableList{}
	for _, id := range s.ids() {
		t := s.tables[id]
		if t.Project == r.PathValue("project") && t.Dataset == r.PathValue("dataset") {
			list.Tables = append(list.Tables, &bq.TableListTables{TableReference: &bq.TableReference{ProjectId: t.Project, DatasetId: t.Dataset, TableId: t.Name}})
		}
	}
	answer(w, list)
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) (Table, bool) {
	id := r.PathValue("project") + "." + r.PathValue("dataset") + "." + r.PathValue("table")
	t, found := s.tables[id]
	if !found {
		t, found = s.results[id]
	}
	if !found {
		refuse(w, http.StatusNotFound, "notFound", "Not found: Table "+id)
	}
	return t, found
}

func (s *Server) getTable(w http.ResponseWriter, r *http.Request) {
	t, found := s.find(w, r)
	if !found {
		return
	}
	kind := t.Kind
	if kind == "" {
		kind = "TABLE"
	}
	answer(w, &bq.Table{
		TableReference: &bq.TableReference{ProjectId: t.Project, DatasetId: t.Dataset, TableId: t.Name}, Type: kind,
		Schema: &bq.TableSchema{Fields: t.Fields}, NumRows: uint64(t.rows()), NumBytes: t.Bytes, LastModifiedTime: uint64(t.Modified.UnixMilli()), Location: "EU",
	})
}

func rowsOf(t Table) []*bq.TableRow {
	var rows []*bq.TableRow
	for _, b := range t.Batches {
		for i := range int(b.NumRows()) {
			row := &bq.TableRow{}
			for _, c := range b.Columns() {
				cell := &bq.TableCell{}
				switch c := c.(type) {
				case *array.Timestamp:
					cell.V = strconv.FormatInt(int64(c.Value(i)), 10)
				default:
					cell.V = c.ValueStr(i)
				}
				if c.IsNull(i) {
					cell.V = nil
				}
				row.F = append(row.F, cell)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (s *Server) tableData(w http.ResponseWriter, r *http.Request) {
	if t, found := s.find(w, r); found {
		answer(w, &bq.TableDataList{Rows: rowsOf(t), TotalRows: t.rows()})
	}
}

var fromTable = regexp.MustCompile("(?i)from `([^`]+)`")

func (s *Server) insertJob(w http.ResponseWriter, r *http.Request) {
	job := &bq.Job{}
	if err := json.NewDecoder(r.Body).Decode(job); err != nil {
		refuse(w, http.StatusBadRequest, "invalid", err.Error())
		return
	}
	sql := strings.TrimSpace(job.Configuration.Query.Query)
	t, found := s.queries[sql]
	if m := fromTable.FindStringSubmatch(sql); !found && m != nil {
		t, found = s.tables[m[1]]
	}
	if !found {
		refuse(w, http.StatusBadRequest, "invalidQuery", "Syntax error, or a table that is not there")
		return
	}
	job.Statistics = &bq.JobStatistics{TotalBytesProcessed: t.Bytes, Query: &bq.JobStatistics2{StatementType: cmp.Or(t.Statement, "SELECT"), TotalBytesProcessed: t.Bytes, TotalBytesProcessedAccuracy: "PRECISE", Schema: &bq.TableSchema{Fields: t.Fields}}}
	if t.Name != "" {
		job.Statistics.Query.ReferencedTables = []*bq.TableReference{{ProjectId: t.Project, DatasetId: t.Dataset, TableId: t.Name}}
	}
	job.Status = &bq.JobStatus{State: "DONE"}
	if job.Configuration.DryRun {
		answer(w, job)
		return
	}
	project, id := r.PathValue("project"), job.JobReference.JobId
	job.JobReference.ProjectId, job.JobReference.Location = project, "EU"
	switch limit := job.Configuration.Query.MaximumBytesBilled; {
	case limit > 0 && t.Bytes > limit:
		job.Status.ErrorResult = &bq.ErrorProto{Reason: "bytesBilledLimitExceeded", Message: "Query exceeded limit for bytes billed"}
	case s.faults.FailJobs != "":
		job.Status.ErrorResult = &bq.ErrorProto{Reason: s.faults.FailJobs, Message: "the job failed"}
	case s.faults.SlowJobs:
		job.Status.State = "RUNNING"
	default:
		job.Statistics.Query.TotalBytesBilled = t.Bytes
	}
	t.Project, t.Dataset, t.Name, t.Kind = project, "_anon", id, ""
	job.Configuration.Query.DestinationTable = &bq.TableReference{ProjectId: project, DatasetId: t.Dataset, TableId: id}
	s.results[t.id()], s.jobs[id] = t, job
	select {
	case s.begun <- id:
	default:
	}
	answer(w, job)
}

func (s *Server) getJob(w http.ResponseWriter, r *http.Request) {
	if job, found := s.jobs[r.PathValue("job")]; found {
		answer(w, job)
		return
	}
	refuse(w, http.StatusNotFound, "notFound", "Not found: Job")
}

func (s *Server) cancelJob(w http.ResponseWriter, r *http.Request) {
	s.canceled = append(s.canceled, r.PathValue("job"))
	answer(w, &bq.JobCancelResponse{Job: s.jobs[r.PathValue("job")]})
}

func (s *Server) queryResults(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("job")
	t := s.results[r.PathValue("project")+"._anon."+id]
	answer(w, &bq.GetQueryResultsResponse{JobComplete: true, JobReference: s.jobs[id].JobReference, Schema: &bq.TableSchema{Fields: t.Fields}, Rows: rowsOf(t), TotalRows: uint64(t.rows())})
}
