// Package bigquerytest is a BigQuery for tests, in this process: REST and the Storage Read API over gRPC, by
// Google's public API definitions. It serves tables that were put, and the texts of SQL that were put with a table
// of their rows; `SELECT … FROM` one table in backticks is answered with that table whole. Point a client at it
// with Config.Endpoint and Config.StorageEndpoint, or with the environment variables of emulators.
package bigquerytest

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	bq "google.golang.org/api/bigquery/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Table is one table of the fake.
type Table struct {
	Project, Dataset, Name string
	Kind                   string // TABLE where empty; VIEW has no read sessions
	Fields                 []*bq.TableFieldSchema
	Batches                []arrow.RecordBatch // kept as long as the server
	Modified               time.Time
	// Bytes that a query of it processes.
	Bytes int64
	// Restricted gives the rows of a read session with a row restriction; nil gives all of them.
	Restricted func(restriction string) []arrow.RecordBatch
	// Statement is what a dry run calls the text of SQL; SELECT where empty.
	Statement string
}

func (t Table) id() string { return t.Project + "." + t.Dataset + "." + t.Name }

func (t Table) rows() (n int64) {
	for _, b := range t.Batches {
		n += b.NumRows()
	}
	return n
}

// Faults of the server; the zero value has none.
type Faults struct {
	// DenySessions refuses read sessions as to an account that lacks the permission.
	DenySessions bool
	// Revoked refuses every call, as after the key was deleted; RevokedStreams the streams alone.
	Revoked, RevokedStreams bool
	// Stalls and Cuts are how many times a stream says nothing, or breaks off, after its first message.
	Stalls, Cuts int
	// FailJobs is the reason with which jobs fail.
	FailJobs string
	// SlowJobs never end by themselves.
	SlowJobs bool
	// EndedSchema and EndedBatches put Arrow's mark of the end behind the schema, as bqemulator does, or behind
	// each batch.
	EndedSchema, EndedBatches bool
	// LostResults have read sessions know nothing of the tables of results.
	LostResults bool
}

// Server is the fake.
type Server struct {
	// Endpoint and StorageEndpoint are where it listens.
	Endpoint, StorageEndpoint string

	mu       sync.Mutex
	tables   map[string]Table
	queries  map[string]Table
	jobs     map[string]*bq.Job
	results  map[string]Table
	streams  map[string][]arrow.RecordBatch
	faults   Faults
	canceled []string
	sessions int
	begun    chan string
}

// New starts a server, which ends with the test.
func New(tb testing.TB) *Server {
	tb.Helper()
	s, stop, err := Start(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return s
}

// Start starts a server until stop, outside of tests.
func Start(ctx context.Context) (s *Server, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	s = &Server{tables: map[string]Table{}, queries: map[string]Table{}, jobs: map[string]*bq.Job{}, results: map[string]Table{}, streams: map[string][]arrow.RecordBatch{}, begun: make(chan string, 100)}
	rest := httptest.NewServer(s.routes())
	s.Endpoint = rest.URL
	server := grpc.NewServer()
	storagepb.RegisterBigQueryReadServer(server, &readServer{s: s})
	go func() { _ = server.Serve(listener) }()
	s.StorageEndpoint = listener.Addr().String()
	return s, func() {
		server.Stop()
		rest.Close()
	}, nil
}

// Put adds a table, or replaces it.
func (s *Server) Put(t Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[t.id()] = t
}

// Drop removes a table.
func (s *Server) Drop(project, dataset, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tables, project+"."+dataset+"."+name)
}

// PutQuery makes a text of SQL one whose rows are those of the table.
func (s *Server) PutQuery(sql string, t Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries[strings.TrimSpace(sql)] = t
}

// Set replaces the faults.
func (s *Server) Set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Canceled are the ids of jobs that were cancelled.
func (s *Server) Canceled() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.canceled...)
}

// Labels are those that a job carried; nil where there is no such job.
func (s *Server) Labels(job string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[job]
	if j == nil {
		return nil
	}
	return maps.Clone(j.Configuration.Labels)
}

// Jobs is how many jobs ran, without dry runs.
func (s *Server) Jobs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs)
}

// Sessions is how many read sessions were opened.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Begun gives the id of each job as it begins.
func (s *Server) Begun() <-chan string { return s.begun }

type readServer struct {
	storagepb.UnimplementedBigQueryReadServer
	s *Server
}

func (r *readServer) CreateReadSession(_ context.Context, q *storagepb.CreateReadSessionRequest) (*storagepb.ReadSession, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.faults.Revoked:
		return nil, status.Error(codes.Unauthenticated, "the token was revoked")
	case s.faults.DenySessions:
		return nil, status.Error(codes.PermissionDenied, "request lacks bigquery.readsessions.create")
	}
	parts := strings.Split(q.GetReadSession().GetTable(), "/")
	if len(parts) != 6 {
		return nil, status.Error(codes.InvalidArgument, "not a table")
	}
	id := parts[1] + "." + parts[3] + "." + parts[5]
	t, found := s.tables[id]
	if !found && !s.faults.LostResults {
		t, found = s.results[id]
	}
	switch {
	case !found:
		return nil, status.Errorf(codes.NotFound, "Not found: Table %s", id)
	case t.Kind == "VIEW":
		return nil, status.Error(codes.InvalidArgument, "request failed: only external tables with connections, or tables can be read")
	}
	s.sessions++
	session := &storagepb.ReadSession{Name: fmt.Sprintf("%s/sessions/%d", q.GetParent(), s.sessions)}
	if len(t.Batches) == 0 {
		return nil, status.Error(codes.Internal, "a table of the fake needs a batch, if of no rows")
	}
	header, err := encode(t.Batches[0].Schema(), nil)
	if err != nil {
		return nil, err
	}
	if s.faults.EndedSchema {
		header = append(header, endOfStream...)
	}
	session.Schema = &storagepb.ReadSession_ArrowSchema{ArrowSchema: &storagepb.ArrowSchema{SerializedSchema: header}}
	batches := t.Batches
	if restriction := q.GetReadSession().GetReadOptions().GetRowRestriction(); restriction != "" && t.Restricted != nil {
		batches = t.Restricted(restriction)
	}
	count := min(max(int(q.GetMaxStreamCount()), 1), len(batches))
	for i := range count {
		name := fmt.Sprintf("%s/streams/%d", session.GetName(), i)
		for j := i; j < len(batches); j += count {
			s.streams[name] = append(s.streams[name], batches[j])
		}
		session.Streams = append(session.Streams, &storagepb.ReadStream{Name: name})
	}
	return session, nil
}

func (r *readServer) ReadRows(q *storagepb.ReadRowsRequest, to storagepb.BigQueryRead_ReadRowsServer) error {
	s := r.s
	s.mu.Lock()
	batches, ended := s.streams[q.GetReadStream()], s.faults.EndedBatches
	s.mu.Unlock()
	at := int64(0)
	for _, b := range batches {
		from := at
		if at += b.NumRows(); from < q.GetOffset() {
			continue // Google's offsets lie between messages
		}
		raw, err := encode(b.Schema(), b)
		if err != nil {
			return err
		}
		if ended {
			raw = append(raw, endOfStream...)
		}
		if err := to.Send(&storagepb.ReadRowsResponse{RowCount: b.NumRows(), Rows: &storagepb.ReadRowsResponse_ArrowRecordBatch{ArrowRecordBatch: &storagepb.ArrowRecordBatch{SerializedRecordBatch: raw}}}); err != nil {
			return err
		}
		if err := r.fail(to.Context()); err != nil {
			return err
		}
	}
	return nil
}

// fail does what the faults say after a message.
func (r *readServer) fail(ctx context.Context) error {
	s := r.s
	s.mu.Lock()
	f := &s.faults
	stall, cut := f.Stalls > 0, f.Cuts > 0
	if stall {
		f.Stalls--
	} else if cut {
		f.Cuts--
	}
	revoked := f.RevokedStreams
	s.mu.Unlock()
	switch {
	case revoked:
		return status.Error(codes.Unauthenticated, "the token was revoked")
	case stall:
		<-ctx.Done()
		return ctx.Err()
	case cut:
		return status.Error(codes.Unavailable, "connection reset")
	}
	return nil
}

// encode gives the message of a schema, or of a batch without its schema.
func encode(schema *arrow.Schema, batch arrow.RecordBatch) ([]byte, error) {
	var out messages
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if batch == nil {
		batch = emptyOf(schema)
		if err := w.Write(batch); err != nil {
			return nil, err
		}
		return out.schema(), nil
	}
	if err := w.Write(batch); err != nil {
		return nil, err
	}
	return out.batch(), nil
}
