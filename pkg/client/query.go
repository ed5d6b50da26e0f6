package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

// Media types that a query can be answered in.
const (
	TypeJSON    = "application/json"
	TypeNDJSON  = "application/x-ndjson"
	TypeCSV     = "text/csv"
	TypeArrow   = "application/vnd.apache.arrow.stream"
	TypeParquet = "application/vnd.apache.parquet"
)

// QueryRequest is a question to the server.
type QueryRequest struct {
	SQL string
	// Limit is the most rows that are answered; 0 leaves it to the server.
	Limit int
	// Accept is the media type of the answer; empty means JSON.
	Accept string
	// Registered are queries of BigQuery by alias, which the SQL joins to tables; they are paid for.
	Registered map[string]string
	// NoSemiJoin sends no keys of local tables along with them.
	NoSemiJoin bool
}

// QueryStream is an answer that arrives while it is read. Close it.
type QueryStream struct {
	io.ReadCloser
	ContentType string
	// trailer is filled once the body was read to its end.
	resp *http.Response
}

// Truncated tells, once the body was read to its end, whether rows were left off.
func (s *QueryStream) Truncated() bool {
	return strings.EqualFold(s.resp.Header.Get(headerTruncated), "true") ||
		strings.EqualFold(s.resp.Trailer.Get(headerTruncated), "true")
}

const headerTruncated = "X-Agnes-Truncated"

// Query sends the SQL and gives the answer as a stream. A stream that breaks off is an error of Read,
// never a shorter answer.
func (c *Client) Query(ctx context.Context, q QueryRequest) (*QueryStream, error) {
	if q.Accept == "" {
		q.Accept = TypeJSON
	}
	body := map[string]any{"sql": q.SQL}
	if q.Limit > 0 {
		body["limit"] = q.Limit
	}
	r := request{method: http.MethodPost, path: "/api/query", body: body, header: http.Header{"Accept": {q.Accept}}, repeatable: true}
	if len(q.Registered) > 0 {
		body["register_bq"] = q.Registered
		if q.NoSemiJoin {
			body["semi_join"] = false
		}
		r.path, r.repeatable = "/api/query/hybrid", false // each time is paid for
	}
	stream, resp, err := c.stream(ctx, r) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, err
	}
	return &QueryStream{ReadCloser: stream, ContentType: resp.Header.Get("Content-Type"), resp: resp}, nil
}

// stream sends r and gives the body of the answer while it arrives. Close it.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, *http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var resp *http.Response
	err := c.retry(ctx, r, func(ctx context.Context) error {
		var err error
		resp, err = c.send(ctx, r) //nolint:bodyclose // the stream closes it
		return err
	})
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	body := &streamBody{client: c, ctx: ctx, cancel: cancel, body: resp.Body}
	body.watch = time.AfterFunc(c.opts.IdleTimeout, func() { cancel(errStalled) })
	return body, resp, nil
}

// streamBody turns the errors of a body into faults, and silence into an error.
type streamBody struct {
	client *Client
	ctx    context.Context //nolint:containedctx // the request's own, to tell why a read failed
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	watch  *time.Timer
}

func (s *streamBody) Read(p []byte) (int, error) {
	s.watch.Reset(s.client.opts.IdleTimeout)
	n, err := s.body.Read(p)
	s.watch.Stop()                   // the reader may take its time
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader gives io.EOF itself
		err = s.client.transportFault(s.ctx, err)
	}
	return n, err
}

func (s *streamBody) Close() error {
	s.watch.Stop()
	err := s.body.Close()
	s.cancel(nil)
	return err
}
