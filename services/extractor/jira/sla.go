package jira

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// The clocks of service levels run while no event says so: those of open issues are read again and again.

// slaFields are the ids of the fields of the kind sla.
func (s *site) slaFields() []string {
	var ids []string
	for _, f := range s.fields.Fields() {
		if f.Kind == rows.KindSLA && !slices.Contains(ids, f.ID) {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// refreshSLA reads the SLA fields of all open issues.
func (f *feed) refreshSLA(reason string) (*agnesv1.JiraTask, error) {
	if _, err := f.ask(); err != nil {
		return nil, err
	}
	return f.tasks.start(taskSLA, reason, func(ctx context.Context, t *task) error {
		if err := f.runSLA(ctx, t); err != nil {
			return err
		}
		f.fold.wake()
		return f.succeeded(ctx, taskSLA)
	})
}

func (f *feed) runSLA(ctx context.Context, t *task) error {
	client, err := f.ask()
	if err != nil {
		return err
	}
	fields := f.slaFields()
	if len(fields) == 0 {
		t.update(func(s *agnesv1.JiraTask) { s.Message = "the field map has no field of the kind sla" })
		return nil
	}
	var ids []string
	err = f.store.OpenIssues(ctx, func(d store.Document) error { ids = append(ids, strconv.FormatInt(d.ID, 10)); return nil })
	if err != nil {
		return err
	}
	t.update(func(s *agnesv1.JiraTask) { s.Total = int64(len(ids)) })
	for part := range slices.Chunk(ids, 2*pageOfIssues) {
		at := f.now()
		hits, err := client.BulkFields(ctx, part, fields)
		if err != nil {
			return err
		}
		changed, err := f.takeSLA(ctx, hits, fields, at)
		if err != nil {
			return err
		}
		t.add(len(part), changed, len(part)-len(hits))
		f.fold.wakeWithin(backfillPause)
	}
	return nil
}

// takeSLA keeps the fields of issues that were read at a time.
func (f *feed) takeSLA(ctx context.Context, hits []cloud.Hit, fields []string, at time.Time) (changed int, err error) {
	err = f.store.Write(ctx, func(tx *store.Tx) error {
		changed = 0
		for _, h := range hits {
			id, err := strconv.ParseInt(h.ID, 10, 64)
			if err != nil {
				continue
			}
			old, found, err := tx.Get(ctx, id)
			if err != nil {
				return err
			}
			if !found || !old.Deleted.IsZero() || old.Synced.After(at) {
				continue
			}
			doc, news := withFields(old.JSON, h.Fields, fields)
			if !news {
				continue
			}
			if doc, err = withMember(doc, "_synced_at", at.UTC().Format(time.RFC3339Nano)); err != nil {
				return err
			}
			changed++
			if err := f.keep(ctx, tx, id, parse(doc), old, true); err != nil {
				return err
			}
		}
		return nil
	})
	return changed, err
}

// withFields gives the document with the values of fields, where they are values.
func withFields(doc []byte, values map[string]json.RawMessage, ids []string) (edited []byte, news bool) {
	var whole, fields map[string]json.RawMessage
	if json.Unmarshal(doc, &whole) != nil || json.Unmarshal(whole["fields"], &fields) != nil || fields == nil {
		return nil, false
	}
	for _, id := range ids {
		v, found := values[id]
		var problem struct {
			Message string `json:"errorMessage"`
		}
		if !found || (json.Unmarshal(v, &problem) == nil && problem.Message != "") || bytes.Equal(v, fields[id]) {
			continue
		}
		fields[id], news = v, true
	}
	if !news {
		return nil, false
	}
	var err error
	if whole["fields"], err = marshal(fields); err != nil {
		return nil, false
	}
	edited, err = marshal(whole)
	return edited, err == nil
}
