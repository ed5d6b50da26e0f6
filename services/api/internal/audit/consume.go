package audit

import (
	"context"
	"time"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Recorded takes a batch of events into the record. The bus keeps them until it returns nil.
func (s *Store) Recorded(ctx context.Context, batch []event.Event[*agnesv1.AuditRecorded]) error {
	var list []entry
	for _, e := range batch {
		if len(e.Payload.GetRecords()) == 0 {
			one, err := entryOf(RecordOf(e.ID, e.Payload, e.Time))
			if err != nil {
				return err
			}
			list = append(list, one)
			continue
		}
		for _, text := range e.Payload.GetRecords() {
			id, at, err := chain.ReadEntry([]byte(text))
			if err != nil || len(text) > chain.MaxLine/2 {
				s.log.Error().Str("event_id", e.ID).Msg("an event carries something that is no entry of the record")
				continue
			}
			list = append(list, entry{id: id, at: at, raw: []byte(text)})
		}
	}
	return s.append(ctx, list)
}

// RecordOf is an event as it goes into the record. Any service may have published it, so it is cleaned
// here too.
func RecordOf(id string, m *agnesv1.AuditRecorded, published time.Time) chain.Record {
	clean(m)
	at := published
	if m.GetRecordedAt() != nil {
		at = m.GetRecordedAt().AsTime()
	}
	if at.Year() < 1 || at.Year() > 9999 {
		at = time.Unix(0, 0)
	}
	return chain.Record{
		ID: clip(id, maxField), Time: chain.Time{Time: at.UTC()}, Action: m.GetAction(), Resource: m.GetResource(), Result: m.GetResult(),
		Actor: m.GetActor(), ActorEmail: m.GetActorEmail(), Credential: m.GetCredential(), CredentialID: m.GetCredentialId(),
		Service: m.GetService(), IP: m.GetRemoteAddress(), UserAgent: m.GetUserAgent(), RequestID: m.GetRequestId(),
		DurationMS: float64(m.GetDuration().AsDuration().Microseconds()) / 1000, Params: m.GetParams().AsMap(),
	}
}
