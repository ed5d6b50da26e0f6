package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/audit"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// auditing shows the record to the routes, and records what the api does by itself.
type auditing struct {
	store    *audit.Store
	recorder *audit.Recorder
	log      zerolog.Logger
}

// Settings of the state that are about the record.
const (
	settingAuditHead     = "audit_head"
	settingAuditImported = "audit_log_imported"
)

// openAudit opens the record, and takes the predecessor's log into it the first time.
func openAudit(ctx context.Context, cfg Config, store *state.Store, bus *event.Bus) (*auditing, error) {
	keep, err := audit.ParseKeep(cfg.AuditKeep)
	if err != nil || keep < 0 {
		return nil, fault.New(fault.Invalid, "AGNES_AUDIT_KEEP must be a time such as 365d")
	}
	dir := filepath.Join(state.Dir(cfg.DataDir), "audit")
	a := &auditing{log: *zerolog.Ctx(ctx)}
	if a.store, err = audit.Open(ctx, audit.Config{Dir: dir, Heads: heads{store.Settings}, Keep: keep}); err != nil {
		return nil, err
	}
	a.recorder, err = audit.NewRecorder(audit.RecorderConfig{
		Dir: dir,
		Publish: func(ctx context.Context, id string, entries []string) error {
			return event.Publish(ctx, bus, event.AuditRecorded, "", &agnesv1.AuditRecorded{Records: entries}, event.Key("batch"), event.ID(id))
		},
	})
	if err == nil {
		err = a.takeOver(ctx, store)
	}
	if err != nil {
		return nil, errors.Join(err, a.close(ctx))
	}
	return a, nil
}

// takeOver makes the predecessor's log the first records. Its rows stay where they are.
func (a *auditing) takeOver(ctx context.Context, store *state.Store) error {
	if _, done, err := store.Settings.Get(ctx, settingAuditImported); done || err != nil {
		return err
	}
	rows, err := store.AuditLog(ctx)
	if err != nil {
		return err
	}
	const batch = 500
	for len(rows) > 0 {
		n := min(batch, len(rows))
		records := make([]chain.Record, n)
		for i, row := range rows[:n] {
			records[i] = importedRecord(row)
		}
		if err := a.store.Append(ctx, records); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return store.Settings.Put(ctx, settingAuditImported, time.Now().UTC().Format(time.RFC3339))
}

func importedRecord(row state.AuditRow) chain.Record {
	params := map[string]any{}
	if row.Params != "" {
		var whole any
		if json.Unmarshal([]byte(row.Params), &whole) != nil {
			whole = row.Params
		}
		if members, ok := whole.(map[string]any); ok {
			params = members
		} else {
			params["params"] = whole
		}
	}
	params["imported"] = true
	fields, err := audit.Params(params)
	if err != nil {
		fields = nil // what JSON gave can be written
	}
	return audit.RecordOf("imported:"+row.ID, &agnesv1.AuditRecorded{
		Actor: row.UserID, Action: row.Action, Resource: row.Resource, Result: row.Result, Params: fields, Service: name,
		Duration: durationpb.New(time.Duration(row.DurationMS) * time.Millisecond), RecordedAt: timestamppb.New(row.Time),
	}, row.Time)
}

// start takes entries from the bus, and keeps the record until ctx ends.
func (a *auditing) start(ctx context.Context, bus *event.Bus) (*event.Subscription, error) {
	// Trying again is all that can be done while the disk is full: an entry is never given up.
	forever := event.Consumer{Name: name, MaxAttempts: 1 << 30, RetryMax: 30 * time.Second}
	return event.ConsumeBatch(ctx, bus, event.AuditRecorded, forever, event.Batch{MaxCount: 64, MaxWait: 20 * time.Millisecond}, a.store.Recorded)
}

// close ends the record with a checkpoint.
func (a *auditing) close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	var err error
	if a.recorder != nil {
		err = a.recorder.Close()
	}
	if a.store != nil {
		err = errors.Join(err, a.store.Close(ctx))
	}
	return err
}

// end writes down what is still counted, and that the api stops.
func (a *auditing) end() {
	ctx, cancel := context.WithTimeout(a.log.WithContext(context.Background()), 5*time.Second)
	defer cancel()
	a.recorder.Flush(ctx)
	a.tell(ctx, "server.stop")
	_ = a.recorder.Forward(ctx) // it logs; what is left is handed over at the next start
}

// closeOrLog closes the record at the end of the api.
func (a *auditing) closeOrLog() {
	if err := a.close(a.log.WithContext(context.Background())); err != nil {
		a.log.Error().Err(err).Msg("the audit record could not be closed in order")
	}
}

// Record hands an entry of a request to the bus.
func (a *auditing) Record(ctx context.Context, e httpapi.Entry) error {
	params, err := audit.Params(e.Params)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "an entry of the record cannot be written")
	}
	return a.recorder.Record(ctx, &agnesv1.AuditRecorded{
		Actor: e.Actor.UserID, ActorEmail: e.Actor.Email, Credential: e.Actor.Credential, CredentialId: e.Actor.TokenID,
		Action: e.Action, Resource: e.Resource, Result: e.Result, Params: params, Duration: durationpb.New(e.Took),
		RemoteAddress: e.IP, UserAgent: e.UserAgent, RequestId: e.RequestID, RecordedAt: timestamppb.New(e.At), Service: name,
	})
}

// service records what no user did. service is who did it.
func (a *auditing) service(ctx context.Context, service, action, resource string, params map[string]any, failed error) error {
	if a == nil {
		return nil
	}
	result := httpapi.ResultOK
	if failed != nil {
		result = httpapi.ResultFailed
		params["error"] = string(fault.KindOf(failed))
	}
	fields, err := audit.Params(params)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return a.recorder.Record(ctx, &agnesv1.AuditRecorded{
		Action: action, Resource: resource, Result: result, Params: fields, Credential: "service", Service: service, RecordedAt: timestamppb.Now(),
	})
}

// registered records what a connector registered over the bus.
func (a *auditing) registered(ctx context.Context, source, by string, done state.Registered, failed error) error {
	tables := []any{}
	for _, t := range done.Registered {
		if len(tables) < 100 {
			tables = append(tables, t.ID)
		}
	}
	if failed == nil && len(tables) == 0 {
		return nil // everything was there already
	}
	params := map[string]any{"requested_by": by, "tables": tables, "registered": len(done.Registered), "skipped": len(done.Skipped)}
	return a.service(ctx, "connector", "registry.register", "source:"+source, params, failed)
}

// tell records the start or stop of the api, and logs where that fails: neither is held up by it.
func (a *auditing) tell(ctx context.Context, action string) {
	params := map[string]any{"version": service.ReadBuild().Version}
	if a.store.Broken != "" {
		params["record"] = a.store.Broken
	}
	if err := a.service(ctx, name, action, "service:"+name, params, nil); err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg(action + " could not be recorded")
	}
}

// Search finds records.
func (a *auditing) Search(ctx context.Context, f httpapi.AuditFilter) ([]httpapi.AuditRecord, bool, error) {
	found, more, err := a.store.Search(ctx, audit.Filter(f))
	list := make([]httpapi.AuditRecord, len(found))
	for i, r := range found {
		list[i] = httpapi.AuditRecord{
			Seq: r.Seq, ID: r.ID, Time: r.Time.Time, Action: r.Action, Resource: r.Resource, Result: r.Result, Actor: r.Actor, ActorEmail: r.ActorEmail,
			Credential: r.Credential, CredentialID: r.CredentialID, Service: r.Service, IP: r.IP, UserAgent: r.UserAgent, RequestID: r.RequestID,
			DurationMS: r.DurationMS, Params: r.Params, Hash: r.Hash,
		}
	}
	return list, more, err
}

// Export writes what matches.
func (a *auditing) Export(ctx context.Context, f httpapi.AuditFilter, mediaType string, w io.Writer) error {
	var err error
	if mediaType == httpapi.TypeCSV {
		_, err = a.store.ExportCSV(ctx, audit.Filter(f), w)
	} else {
		_, err = a.store.ExportNDJSON(ctx, audit.Filter(f), w)
	}
	return err
}

// Chain writes the record as it is kept.
func (a *auditing) Chain(ctx context.Context, w io.Writer) error { return a.store.Archive(ctx, w) }

// heads keeps the newest head of the record in the state, where whoever cuts the files does not reach it.
type heads struct{ settings *state.Settings }

// Head gives what Keep kept.
func (h heads) Head(ctx context.Context) (chain.Head, error) {
	text, ok, err := h.settings.Get(ctx, settingAuditHead)
	if !ok || err != nil {
		return chain.Head{}, err
	}
	return audit.ParseHead(text)
}

// Keep writes it down.
func (h heads) Keep(ctx context.Context, head chain.Head) error {
	return h.settings.Put(ctx, settingAuditHead, audit.HeadText(head))
}
