package extract

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

const (
	settle      = 150 * time.Millisecond // how long notifications are gathered
	observeMin  = 500 * time.Millisecond // pause after a failure, doubling
	observeMax  = time.Minute
	reasonStart = "start"
	reasonWatch = "watch"
)

// discover answers what is there.
func (q *queue) discover(ctx context.Context, _ *agnesv1.DiscoverRequest) (*agnesv1.DiscoverResponse, error) {
	found, err := q.discovered(ctx)
	if err != nil {
		return nil, err
	}
	answer := &agnesv1.DiscoverResponse{}
	for _, t := range found {
		d := &agnesv1.DiscoveredTable{
			Name: t.Name, Bucket: t.Bucket, SourceTable: t.SourceTable, Description: t.Description, PrimaryKey: t.PrimaryKey,
			Rows: t.Rows, SizeBytes: t.SizeBytes, Problem: t.Problem, QueryMode: mode(t.QueryMode),
		}
		if !t.ChangedAt.IsZero() {
			d.ChangedAt = timestamppb.New(t.ChangedAt)
		}
		for _, c := range t.Columns {
			d.Columns = append(d.Columns, &agnesv1.DiscoveredColumn{Name: c.Name, Type: c.Type})
		}
		answer.Tables = append(answer.Tables, d)
	}
	return answer, nil
}

func mode(m string) string {
	if m == "" {
		return catalog.ModeLocal
	}
	return m
}

func (q *queue) discovered(ctx context.Context) ([]DiscoveredTable, error) {
	src, err := q.rt.open(ctx, q.source)
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.Close() }()
	found, err := src.Discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("discover the tables of %s: %w", q.source.Name, err)
	}
	slices.SortFunc(found, func(a, b DiscoveredTable) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// observe registers what is there and watches for changes, as the options of the source say.
func (q *queue) observe(soft context.Context) {
	if !q.source.enabled(OptionAutoRegister) && !q.source.enabled(OptionWatch) {
		return
	}
	ctx := q.log(soft, nil)
	if q.source.enabled(OptionAutoRegister) {
		q.persist(ctx, "the tables were not registered yet", func(ctx context.Context) error {
			return q.noticed(ctx, notice{listing: true, reason: reasonStart})
		})
	}
	if q.source.enabled(OptionWatch) {
		q.persist(ctx, "the source is not watched", q.watch)
	}
}

// persist does something until it succeeds or ctx ends, with growing pauses. A long life counts as a
// success as far as the pause goes.
func (q *queue) persist(ctx context.Context, failure string, do func(context.Context) error) {
	pause := observeMin
	for {
		started := time.Now()
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Since(started) > observeMax {
			pause = observeMin
		}
		zerolog.Ctx(ctx).Warn().Err(err).Dur("pause", pause).Msg(failure)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, observeMax)
	}
}

// notice is what a watcher noticed: tables that may have changed, or the listing itself.
type notice struct {
	tables  map[string]bool
	listing bool
	reason  string
}

// watch runs the source's watcher and requests what it notices.
func (q *queue) watch(ctx context.Context) error {
	src, err := q.rt.open(ctx, q.source)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	watcher, ok := src.(Watcher)
	if !ok {
		zerolog.Ctx(ctx).Warn().Msg("the source has the option watch, but its connector cannot watch")
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := &notices{wake: make(chan struct{}, 1)}
	var follower sync.WaitGroup
	follower.Go(func() { q.follow(ctx, n) })
	err = watcher.Watch(ctx, n.add)
	cancel()
	follower.Wait()
	if err == nil {
		err = fault.New(fault.Internal, "the watcher of %s ended by itself", q.source.Name)
	}
	return err
}

// notices gathers what a watcher notices until it is taken.
type notices struct {
	wake chan struct{}
	mu   sync.Mutex
	next notice
}

func (n *notices) add(tables ...string) {
	n.mu.Lock()
	if len(tables) == 0 {
		n.next.listing = true
	}
	if n.next.tables == nil {
		n.next.tables = map[string]bool{}
	}
	for _, t := range tables {
		n.next.tables[t] = true
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notices) take() notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.next
	n.next = notice{}
	taken.reason = reasonWatch
	return taken
}

func (q *queue) follow(ctx context.Context, n *notices) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		noticed := n.take()
		q.persist(ctx, "a change was noticed, but not requested yet", func(ctx context.Context) error { return q.noticed(ctx, noticed) })
	}
}

// noticed registers new tables where that is wanted, and requests a run of what is registered.
func (q *queue) noticed(ctx context.Context, n notice) error {
	registry, err := q.registry(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, t := range registry {
		known[t.GetName()] = true
	}
	unknown := slices.ContainsFunc(keys(n.tables), func(name string) bool { return !known[name] })
	var fresh []string
	if q.source.enabled(OptionAutoRegister) && (n.listing || unknown) {
		if fresh, err = q.register(ctx, registry); err != nil {
			return err
		}
	}
	if n.reason == reasonWatch && n.listing {
		return q.request(ctx, nil, n.reason) // whatever changed: tokens make the others cheap
	}
	tables := fresh
	for name := range n.tables {
		if known[name] && !slices.Contains(tables, name) {
			tables = append(tables, name)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	return q.request(ctx, tables, n.reason)
}

func keys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// register registers what is there and not registered yet, under whatever name, and gives the names.
func (q *queue) register(ctx context.Context, registry []*agnesv1.RegisteredTable) ([]string, error) {
	known, origins := map[string]bool{}, map[string]bool{}
	for _, t := range registry {
		known[t.GetName()] = true
		origins[catalog.Origins(t.GetSource(), t.GetBucket(), t.GetSourceTable(), t.GetName())[0]] = true
	}
	again := func(t DiscoveredTable) bool { // the same data by another name would have rules of its own (trap P1)
		return slices.ContainsFunc(catalog.Origins(q.source.Name, t.Bucket, t.SourceTable, t.Name), func(o string) bool { return origins[o] })
	}
	found, err := q.discovered(ctx)
	if err != nil {
		return nil, err
	}
	request := &agnesv1.RegisterTablesRequest{Source: q.source.Name, RequestedBy: "extractor-" + q.rt.cfg.Connector.Type}
	var names []string
	for _, t := range found {
		if t.Problem != "" || known[t.Name] || again(t) {
			continue
		}
		names = append(names, t.Name)
		request.Tables = append(request.Tables, &agnesv1.RegisteredTable{
			Name: t.Name, Source: q.source.Name, SourceType: q.rt.cfg.Connector.Type, Bucket: t.Bucket, SourceTable: t.SourceTable,
			QueryMode: mode(t.QueryMode), PrimaryKey: t.PrimaryKey, Description: t.Description, ProfileAfterSync: true,
		})
	}
	if len(names) == 0 {
		return nil, nil
	}
	if _, err := event.Call(ctx, q.rt.cfg.Bus, event.RegisterTables, request); err != nil {
		return nil, fmt.Errorf("register the tables of %s: %w", q.source.Name, err)
	}
	zerolog.Ctx(ctx).Info().Strs("tables", names).Msg("registered what was discovered")
	return names, nil
}

// request asks for a run of the source by way of the bus, so that it is one of those that everybody sees.
func (q *queue) request(ctx context.Context, tables []string, reason string) error {
	slices.Sort(tables)
	return event.Publish(ctx, q.rt.cfg.Bus, event.ExtractRequested, q.source.Name, &agnesv1.ExtractRequested{
		Tables: tables, Reason: reason, RequestedBy: "extractor-" + q.rt.cfg.Connector.Type, RequestedAt: timestamppb.Now(),
	}, event.Key(q.rt.cfg.Connector.Type))
}
