package audit_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/audit"
)

func paramsOf(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	p, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestALongEntryIsForwardedWhole records texts that JSON writes six times as long.
func TestALongEntryIsForwardedWhole(t *testing.T) {
	t.Parallel()
	b := &bus{heard: map[string]chain.Record{}}
	r := recorder(t, audit.RecorderConfig{Dir: t.TempDir(), Publish: b.publish})
	defer func() { _ = r.Close() }()
	list := make([]any, 6)
	for i := range list {
		list[i] = strings.Repeat("<", 10_000)
	}
	for _, action := range []string{"a.before", "a.long", "a.behind"} {
		m := &agnesv1.AuditRecorded{Action: action}
		if action == "a.long" {
			m.Params = paramsOf(t, map[string]any{"list": list})
		}
		if err := r.Record(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Forward(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.count(); got != 3 {
		t.Errorf("%d of 3 entries came", got)
	}
	for _, one := range b.heard {
		if got, _ := one.Params["list"].([]any); one.Action == "a.long" && len(got) != 6 {
			t.Errorf("%d of 6 texts", len(got))
		}
	}
}

// TestAFoldedEntrySaysOnlyWhatAllShare refuses downloads of many tables, and queries.
func TestAFoldedEntrySaysOnlyWhatAllShare(t *testing.T) {
	t.Parallel()
	b := &bus{heard: map[string]chain.Record{}}
	r := recorder(t, audit.RecorderConfig{Dir: t.TempDir(), Publish: b.publish})
	defer func() { _ = r.Close() }()
	const asked = 40
	for i := range asked {
		for _, m := range []*agnesv1.AuditRecorded{
			{Action: "data.download", Resource: fmt.Sprintf("table:t%d", i), Params: paramsOf(t, map[string]any{"error": "not_found", "table": fmt.Sprint(i)})},
			{Action: "data.query", Params: paramsOf(t, map[string]any{"error": "not_found", "sql": fmt.Sprintf("SELECT %d FROM salaries", i)})},
		} {
			m.Result, m.Actor, m.RemoteAddress, m.RecordedAt = "refused", "u1", "192.0.2.1", timestamppb.Now()
			if err := r.Record(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.Flush(t.Context())
	if err := r.Forward(t.Context()); err != nil {
		t.Fatal(err)
	}
	statements := map[any]bool{}
	folded := 0
	for _, one := range b.heard {
		if one.Action == "data.query" {
			statements[one.Params["sql"]] = true
		}
		if one.Params["folded"] == true {
			folded++
			if one.Resource != "" || one.Params["table"] != nil || one.Params["error"] != "not_found" || one.Params["count"] != float64(asked-5) {
				t.Errorf("%q %v", one.Resource, one.Params)
			}
		}
	}
	if len(statements) != asked || folded != 1 {
		t.Errorf("%d of %d statements, %d folded entries", len(statements), asked, folded)
	}
}

// stalled is a client that takes nothing until it is let go.
type stalled struct {
	asked chan struct{}
	once  sync.Once
	gone  chan struct{}
}

func (s *stalled) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.asked) })
	<-s.gone
	return len(b), nil
}

func TestASlowReaderOfAnArchiveHoldsUpNobody(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	s := open(t, audit.Config{Dir: t.TempDir(), Keep: time.Hour, SegmentBytes: 2000, Now: func() time.Time { return now }})
	add(t, s, entries(0, 20))
	add(t, s, entries(20, 20))
	now = now.Add(2 * time.Hour)
	client := &stalled{asked: make(chan struct{}), gone: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- s.Archive(context.WithoutCancel(t.Context()), client) }()
	<-client.asked
	if done, err := s.Sweep(); done || err != nil {
		t.Errorf("swept beneath an archive: %v %v", done, err)
	}
	if err := s.Archive(t.Context(), io.Discard); err != nil { // it would wait for ever behind a sweep that waits
		t.Error(err)
	}
	close(client.gone)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if done, err := s.Sweep(); !done || err != nil {
		t.Errorf("not swept: %v %v", done, err)
	}
	if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestRecordsAreFoundAfterTheClockWentBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_003_600, 0)
	s := open(t, audit.Config{Dir: t.TempDir(), Now: func() time.Time { return now }})
	defer func() { _ = s.Close(context.WithoutCancel(t.Context())) }()
	list := entries(0, 2)
	list[0].Time = chain.Time{Time: now}
	add(t, s, list[:1])
	now = now.Add(-3 * time.Hour)
	list[1].Time = chain.Time{Time: now}
	add(t, s, list[1:])
	found, _, err := s.Search(t.Context(), audit.Filter{From: time.Unix(1_700_003_000, 0)})
	if err != nil || len(found) != 1 || found[0].Seq != 1 {
		t.Errorf("%v %+v", err, found)
	}
}
