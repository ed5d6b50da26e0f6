package event_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestTokenHoldsAnything(t *testing.T) {
	t.Parallel()
	for text, token := range map[string]string{
		"csv": "csv", "": "", "a.b": "a=2Eb", "*": "=2A", ">": "=3E", "a b\n": "a=20b=0A", "=2E": "=3D2E", "kůň": "k=C5=AF=C5=88", "-_": "-_",
	} {
		if got := event.Token(text); got != token {
			t.Errorf("Token(%q) = %q, want %q", text, got, token)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[=0-9A-F.]{0,20}`)).Draw(t, "text")
		token := event.Token(text)
		if strings.ContainsAny(token, ".*> \t\r\n") || event.Untoken(token) != text {
			t.Fatalf("%q becomes %q and %q", text, token, event.Untoken(token))
		}
	})
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, key, want string }{
		{"crm", "csv", "agnes.v1.extract.requested.crm.csv"},
		{"crm", "", "agnes.v1.extract.requested.crm"},
		{"", "", "agnes.v1.extract.requested.-"},
		{"", "a.b", "agnes.v1.extract.requested.-.a=2Eb"},
	} {
		if got, err := event.ExtractRequested.Subject(c.source, c.key); err != nil || got != c.want {
			t.Errorf("subject of %q and %q is %q, %v", c.source, c.key, got, err)
		}
	}
	for _, source := range []string{"a.b", "*", ">", "a b", "main", "../x", strings.Repeat("x", 65)} {
		if _, err := event.ExtractReady.Subject(source, ""); !fault.Is(err, fault.Invalid) {
			t.Errorf("the source %q gives %v", source, err)
		}
	}
	if _, err := event.ExtractReady.Subject("crm", strings.Repeat(".", 1000)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("a long key gives %v", err)
	}
}

func TestWhatIsOnTheWireIsReadable(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "agnes-extractor-csv")
	conn := raw(t, server)
	sub, err := conn.SubscribeSync("agnes.>")
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	err = event.Publish(ctx, bus, event.ExtractReady, "crm", &ready{Source: "crm", RunIds: []string{"r1"}, Changed: true},
		event.ID("id-1"), event.Key("a b"), event.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsg(eventtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "agnes.v1.extract.ready.crm.a=20b" {
		t.Errorf("subject %s", msg.Subject)
	}
	for header, want := range map[string]string{
		"ce-id": "id-1", "ce-type": "extract.ready", "ce-source": "agnes-extractor-csv", "ce-time": "2026-01-02T03:04:05Z", "ce-specversion": "1.0",
		"content-type": "application/json", "Nats-Msg-Id": "id-1", "traceparent": "00-01000000000000000000000000000000-0200000000000000-01",
	} {
		if got := msg.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	var payload map[string]any
	if err := json.Unmarshal(msg.Data, &payload); err != nil || payload["source"] != "crm" || payload["changed"] != true {
		t.Errorf("payload %s: %v", msg.Data, err)
	}
}

func TestTheHandlerHasTheTraceAndTheEnvelope(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	type seen struct {
		event readyEv
		span  trace.SpanContext
	}
	got := make(chan seen, 1)
	consume(t, bus, quick("c"), func(ctx context.Context, e readyEv) error {
		got <- seen{e, trace.SpanContextFromContext(ctx)}
		return nil
	})
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{8}})
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	err := event.Publish(trace.ContextWithSpanContext(t.Context(), span), bus, event.ExtractReady, "crm", &ready{Changed: true},
		event.Key("k.1"), event.ID("i"), event.At(at))
	if err != nil {
		t.Fatal(err)
	}
	s := receive(t, got)
	e := s.event
	if e.ID != "i" || e.Kind != "extract.ready" || e.Source != "crm" || e.Key != "k.1" || e.Origin != "test" || !e.Time.Equal(at) ||
		e.Sequence != 1 || e.Attempt != 1 || !e.Payload.GetChanged() {
		t.Errorf("got %+v", e)
	}
	if s.span.TraceID() != span.TraceID() || !s.span.IsRemote() {
		t.Errorf("got the span %+v", s.span)
	}
}

func TestWhatStrangersPublishIsRead(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	bus := eventtest.Connect(t, server, "test")
	conn := raw(t, server)
	got := make(chan readyEv, 1)
	consume(t, bus, quick("c"), into(got))
	next := func(subject string, data string, header nats.Header) readyEv {
		if err := conn.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(data), Header: header}); err != nil {
			t.Fatal(err)
		}
		return receive(t, got)
	}
	empty := next("agnes.v1.extract.ready.crm", "{}", nil)
	if empty.Source != "crm" || empty.ID != "AGNES_EVENTS:1" || empty.Time.IsZero() || empty.Payload == nil {
		t.Errorf("{} without headers is %+v", empty)
	}
	if e := next("agnes.v1.extract.ready.crm", "", nil); e.Payload == nil || e.ID == empty.ID {
		t.Errorf("an empty payload is %+v", e)
	}
	if e := next("agnes.v1.extract.ready.crm.x.y", `{"changed":true,"fromTheFuture":{"a":1}}`, nil); !e.Payload.GetChanged() || e.Key != "x.y" {
		t.Errorf("unknown fields give %+v", e)
	}
	if e := next("agnes.v1.extract.ready.-", `{"run_ids":["r"]}`, nil); e.Source != "" || e.Payload.GetRunIds()[0] != "r" {
		t.Errorf("no source gives %+v", e)
	}
	if e := next("agnes.v1.extract.ready.crm", "{}", nats.Header{"ce-time": {"yesterday"}, "Nats-Msg-Id": {"m"}}); e.ID != "m" || e.Time.IsZero() {
		t.Errorf("odd headers give %+v", e)
	}
}

func TestALargePayloadTravels(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	events := eventtest.Collect(t, bus, event.ExtractReady)
	big := &ready{}
	for range 20_000 {
		big.Tables = append(big.Tables, &agnesv1.TableOutcome{Table: "a_table_with_a_name", Outcome: "updated", Hash: strings.Repeat("0123456789abcdef", 4)})
	}
	if err := event.Publish(t.Context(), bus, event.ExtractReady, "crm", big); err != nil {
		t.Fatal(err)
	}
	if got := len(events.Next().Payload.GetTables()); got != len(big.GetTables()) {
		t.Errorf("%d tables arrived of %d", got, len(big.GetTables()))
	}
}

func TestPublishingAnIDAgainIsDropped(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	events := eventtest.Collect(t, bus, event.ExtractReady)
	for _, c := range []struct {
		id        string
		duplicate bool
	}{{"one", false}, {"one", true}, {"two", false}} {
		duplicate := !c.duplicate
		publish(t, bus, "crm", event.ID(c.id), event.Duplicate(&duplicate))
		if duplicate != c.duplicate {
			t.Errorf("%s is a duplicate: %v", c.id, duplicate)
		}
	}
	if a, b := events.Next().ID, events.Next().ID; a != "one" || b != "two" {
		t.Errorf("got %s and %s", a, b)
	}
}
