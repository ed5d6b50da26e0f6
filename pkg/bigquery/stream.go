package bigquery

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/bigquery"
	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	// maxStreams bounds what a source may ask for.
	maxStreams = 64
	// defaultStreams are read side by side where nobody says.
	defaultStreams = 8
	// smallRows of a table are one stream.
	smallRows = 50_000
	// ahead is how many batches wait for who reads, over all streams: Google's have a few MiB at most.
	ahead = 4
)

// session says what is read.
type session struct {
	ref     TableRef
	schema  bigquery.Schema
	columns []string
	filter  string
	limit   int64
	streams int
	rows    int64 // -1 where unknown
}

// stream opens a read session and reads its streams side by side. The error is Google's own.
func (c *Client) stream(ctx context.Context, s session) (*Result, error) {
	streams := s.streams
	if streams <= 0 {
		streams = defaultStreams
	}
	if (s.rows >= 0 && s.rows <= smallRows) || (s.limit > 0 && s.limit <= smallRows) {
		streams = 1
	}
	call, cancel := context.WithTimeout(ctx, c.limits.Call)
	defer cancel()
	opened, err := c.read.CreateReadSession(call, &storagepb.CreateReadSessionRequest{
		Parent: "projects/" + c.config.Project, MaxStreamCount: int32(streams), PreferredMinStreamCount: 0,
		ReadSession: &storagepb.ReadSession{
			Table: s.ref.path(), DataFormat: storagepb.DataFormat_ARROW,
			ReadOptions: &storagepb.ReadSession_TableReadOptions{SelectedFields: s.columns, RowRestriction: s.filter},
		},
	})
	if err != nil {
		return nil, err
	}
	rows := s.rows
	if s.limit > 0 && rows > s.limit {
		rows = s.limit
	}
	r := &Result{columns: columnsOf(s.schema), rows: rows}
	header := schemaMessage(opened.GetArrowSchema().GetSerializedSchema())
	if r.reader, r.close, err = c.readStreams(ctx, s, header, opened.GetStreams()); err != nil {
		return nil, err
	}
	return r, nil
}

// readStreams starts a reader for each stream. A session of no rows has none.
func (c *Client) readStreams(ctx context.Context, s session, header []byte, streams []*storagepb.ReadStream) (array.RecordReader, func(), error) {
	raw, err := schemaOf(header)
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Unavailable, "BigQuery sent a schema that is none")
	}
	ctx, cancel := context.WithCancel(ctx)
	m := &merged{ctx: ctx, batches: make(chan arrow.RecordBatch, ahead), schema: plainSchema(raw), limit: s.limit}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, stream := range streams {
		f := &feed{client: c, ctx: groupCtx, name: stream.GetName(), table: s.ref.String(), pending: header}
		group.Go(func() error { return m.take(groupCtx, f) })
	}
	go func() {
		m.fail(group.Wait())
		close(m.batches)
	}()
	return m, func() {
		cancel()
		m.drain()
	}, nil
}

// schemaMessage is the first message of a stream, without what is behind it: the mark of an end there, as
// emulators send it, would end each stream before its first row. A schema has no body.
func schemaMessage(stream []byte) []byte {
	const word = 4 // of the marker, which old streams lack, and of the length of the head
	head := 0
	if len(stream) >= word && binary.LittleEndian.Uint32(stream) == math.MaxUint32 {
		head = word
	}
	if len(stream) < head+word {
		return stream
	}
	end := uint64(head+word) + uint64(binary.LittleEndian.Uint32(stream[head:]))
	return stream[:min(end, uint64(len(stream)))]
}

// schemaOf reads the message that begins each stream.
func schemaOf(header []byte) (*arrow.Schema, error) {
	r, err := ipc.NewReader(&feed{pending: header})
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return r.Schema(), nil
}

// feed is one read stream as the bytes of an Arrow stream. It resumes at its offset what stalls or is cut.
type feed struct {
	client *Client
	ctx    context.Context //nolint:containedctx // io.Reader has none
	name   string
	table  string

	pending []byte
	offset  int64 // rows that came
	ended   bool  // BigQuery said that there are no more
	failed  int   // attempts in a row without a row
	open    storagepb.BigQueryRead_ReadRowsClient
	cancel  context.CancelFunc
}

// Read gives bytes of the next message.
func (f *feed) Read(into []byte) (int, error) {
	for len(f.pending) == 0 {
		if f.client == nil {
			return 0, io.EOF
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(into, f.pending)
	f.pending = f.pending[n:]
	return n, nil
}

// next gets one message, or io.EOF.
func (f *feed) next() error {
	for {
		response, stalled, err := f.receive()
		switch {
		case err == nil:
			f.failed = 0
			f.offset += response.GetRowCount()
			f.pending = response.GetArrowRecordBatch().GetSerializedRecordBatch()
			return nil
		case errors.Is(err, io.EOF):
			f.ended = true
			f.close()
			return io.EOF
		}
		f.close()
		if err := f.mayResume(err, stalled); err != nil {
			return err
		}
	}
}

// mayResume waits before the stream is resumed; its error is why it is not.
func (f *feed) mayResume(err error, stalled bool) error {
	limits := f.client.limits
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	why, told := "cut", f.client.fail(f.ctx, err, "read "+f.table)
	if stalled {
		why = "stalled"
		told = fault.New(fault.Unavailable, "cannot read %s: a stream of BigQuery said nothing for %s, %d times in a row", f.table, limits.Stall, f.failed+1)
	}
	if !fault.Retryable(told) || f.failed >= limits.Resumes {
		return told
	}
	f.client.metrics.resume(why)
	pause := limits.Pause << f.failed
	f.failed++
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// receive waits for a message, under the watchdog: only Google is watched, not who takes the rows.
func (f *feed) receive() (response *storagepb.ReadRowsResponse, stalled bool, err error) {
	if f.open == nil {
		var ctx context.Context
		ctx, f.cancel = context.WithCancel(f.ctx)
		f.open, stalled, err = watched(f, func() (storagepb.BigQueryRead_ReadRowsClient, error) {
			return f.client.read.ReadRows(ctx, &storagepb.ReadRowsRequest{ReadStream: f.name, Offset: f.offset})
		})
		if err != nil {
			return nil, stalled, err
		}
	}
	return watched(f, f.open.Recv)
}

// watched cuts the stream when a call takes too long.
func watched[T any](f *feed, call func() (T, error)) (out T, stalled bool, err error) {
	var cut atomic.Bool
	watchdog := time.AfterFunc(f.client.limits.Stall, func() {
		cut.Store(true)
		f.cancel()
	})
	defer watchdog.Stop()
	out, err = call()
	return out, err != nil && cut.Load(), err
}

func (f *feed) close() {
	if f.cancel != nil {
		f.cancel()
	}
	f.open, f.cancel = nil, nil
}

// merged is the batches of all streams as they come.
type merged struct {
	ctx     context.Context //nolint:containedctx // array.RecordReader has none
	schema  *arrow.Schema
	batches chan arrow.RecordBatch
	limit   int64

	given   int64
	current arrow.RecordBatch
	once    sync.Once
	mu      sync.Mutex
	err     error
}

// take reads one stream to its end.
func (m *merged) take(ctx context.Context, f *feed) error {
	defer f.close()
	r, err := ipc.NewReader(f)
	if err != nil {
		return broken(f, err)
	}
	defer r.Release()
	rows := int64(0)
	for r.Next() {
		rows += r.RecordBatch().NumRows()
		batch, err := plainBatch(m.schema, r.RecordBatch())
		if err != nil {
			return broken(f, err)
		}
		select {
		case m.batches <- batch:
		case <-ctx.Done():
			batch.Release()
			return ctx.Err()
		}
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return broken(f, err)
	}
	if !f.ended || rows != f.offset { // rows are not left out in silence
		return fault.New(fault.Unavailable, "cannot read %s: BigQuery sent %d rows, of which %d could be read", f.table, f.offset, rows)
	}
	return nil
}

// broken is the error of a stream that is no Arrow; errors that have a kind keep it.
func broken(f *feed, err error) error {
	var told *fault.Error
	if errors.As(err, &told) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "cannot read %s: BigQuery sent rows that cannot be read", f.table)
}

func (m *merged) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
}

// drain lets go of what nobody takes.
func (m *merged) drain() {
	m.once.Do(func() {
		go func() {
			for b := range m.batches {
				b.Release()
			}
		}()
	})
}

func (m *merged) Retain()  {}
func (m *merged) Release() {}

func (m *merged) Schema() *arrow.Schema { return m.schema }

func (m *merged) Next() bool {
	if m.current != nil {
		m.current.Release()
		m.current = nil
	}
	if m.limit > 0 && m.given >= m.limit {
		return false
	}
	select {
	case batch, more := <-m.batches:
		if !more {
			return false
		}
		m.current = batch
	case <-m.ctx.Done():
		m.fail(fmt.Errorf("read rows of BigQuery: %w", m.ctx.Err()))
		return false
	}
	if left := m.limit - m.given; m.limit > 0 && m.current.NumRows() > left {
		whole := m.current
		m.current = whole.NewSlice(0, left)
		whole.Release()
	}
	m.given += m.current.NumRows()
	return true
}

func (m *merged) RecordBatch() arrow.RecordBatch { return m.current }

// Record is RecordBatch by its old name.
func (m *merged) Record() arrow.RecordBatch { return m.current }

func (m *merged) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}
