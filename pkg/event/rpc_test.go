package event_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

type (
	listRequest  = agnesv1.ListRegistryRequest
	listResponse = agnesv1.ListRegistryResponse
)

func serve(t *testing.T, b *event.Bus, handle func(context.Context, *listRequest) (*listResponse, error)) *event.Subscription {
	t.Helper()
	sub, err := event.Serve(t.Context(), b, event.ListRegistry, handle)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestARequestIsAnswered(t *testing.T) {
	t.Parallel()
	server := eventtest.Server(t)
	caller, api := eventtest.Connect(t, server, "caller"), eventtest.Connect(t, server, "api")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{7}, SpanID: trace.SpanID{8}})
	sub := serve(t, api, func(ctx context.Context, r *listRequest) (*listResponse, error) {
		if trace.SpanContextFromContext(ctx).TraceID() != span.TraceID() {
			return nil, errors.New("no trace")
		}
		return &listResponse{Tables: []*agnesv1.RegisteredTable{{Id: r.GetSource(), OptionsJson: strings.Repeat("x", 2<<20)}}}, nil
	})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	answer, err := event.Call(ctx, caller, event.ListRegistry, &listRequest{Source: "crm"})
	if err != nil || answer.GetTables()[0].GetId() != "crm" || len(answer.GetTables()[0].GetOptionsJson()) != 2<<20 {
		t.Errorf("answered %v", err)
	}
	if err := sub.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := event.Call(t.Context(), caller, event.ListRegistry, &listRequest{}); !fault.Is(err, fault.Unavailable) || !errors.Is(err, event.ErrNobody) {
		t.Errorf("nobody serves, and the answer is %v", err)
	}
}

func TestAFailureTravelsAsKindAndMessage(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	var fate error
	serve(t, bus, func(context.Context, *listRequest) (*listResponse, error) {
		if fate == nil {
			panic("boom")
		}
		return nil, fate
	})
	for _, c := range []struct {
		err     error
		kind    fault.Kind
		message string
		after   time.Duration
	}{
		{fault.New(fault.NotFound, "no such source"), fault.NotFound, "no such source", 0},
		{fault.New(fault.Busy, "100 %% full").After(1500 * time.Millisecond), fault.Busy, "100 % full", 1500 * time.Millisecond},
		{errors.New("password=secret"), fault.Internal, "an internal error; the log of the server has the details", 0},
		{nil, fault.Internal, "the handler panicked", 0},
	} {
		fate = c.err
		_, err := event.Call(t.Context(), bus, event.ListRegistry, &listRequest{})
		if fault.KindOf(err) != c.kind || fault.Message(err) != c.message || fault.RetryAfter(err) != c.after || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v arrives as %v (%s, %s)", c.err, err, fault.KindOf(err), fault.RetryAfter(err))
		}
	}
}

func TestTrap_S6_TheWorkEndsWhenTheCallerGivesUp(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	ended := make(chan error, 1)
	serve(t, bus, func(ctx context.Context, _ *listRequest) (*listResponse, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := event.Call(ctx, bus, event.ListRegistry, &listRequest{}); !fault.Is(err, fault.Unavailable) || errors.Is(err, event.ErrNobody) {
		t.Errorf("the caller gets %v", err)
	}
	if err := receive(t, ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the work ended with %v", err)
	}
}

func TestSourcesAnswerForThemselves(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	for _, source := range []string{"crm", "shop"} {
		_, err := event.Serve(t.Context(), bus, event.Discover(source), func(context.Context, *agnesv1.DiscoverRequest) (*agnesv1.DiscoverResponse, error) {
			return &agnesv1.DiscoverResponse{Tables: []*agnesv1.DiscoveredTable{{Name: source}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	answer, err := event.Call(t.Context(), bus, event.Discover("shop"), &agnesv1.DiscoverRequest{})
	if err != nil || answer.GetTables()[0].GetName() != "shop" {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := event.Call(t.Context(), bus, event.Discover("a.*"), &agnesv1.DiscoverRequest{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an odd name gives %v", err)
	}
}

func TestTooManyRequestsAreToldSo(t *testing.T) {
	t.Parallel()
	bus := eventtest.Bus(t)
	release := make(chan struct{})
	serve(t, bus, func(context.Context, *listRequest) (*listResponse, error) {
		<-release
		return &listResponse{}, nil
	})
	const calls = 80
	answers := make(chan error, calls)
	for range calls {
		go func() {
			_, err := event.Call(t.Context(), bus, event.ListRegistry, &listRequest{})
			answers <- err
		}()
	}
	for range calls - 64 {
		if err := receive(t, answers); !fault.Is(err, fault.Busy) || fault.RetryAfter(err) == 0 {
			t.Errorf("got %v", err)
		}
	}
	close(release)
	for range 64 {
		if err := receive(t, answers); err != nil {
			t.Error(err)
		}
	}
}
