package wsgateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// stored are the kinds that clients are told of and can have told again.
var stored = []event.AnyKind{event.ExtractReady, event.ExtractFailed, event.AnalyticsPublished, event.RegistryChanged, event.NotificationRaised}

// hub hands what happens to every client.
type hub struct {
	cfg     Config
	bus     *event.Bus
	journal *journal
	people  *people
	metrics *metrics
	shards  []*shard

	came        atomic.Uint64  // clients, ever
	connections atomic.Int64   // that are open, let in or not
	pending     atomic.Int64   // of these, that have not said who they are
	closing     sync.WaitGroup // connections that are being ended
	mu          sync.Mutex
	all         map[*client]struct{} // that are open, let in or not
	last        place                // of the last stored event; only the listener's
}

// shard is some of the clients, which one goroutine serves in turn.
type shard struct {
	wake chan struct{} // holds a token while something came

	mu      sync.Mutex
	clients []*client // replaced, not changed, so that it can be walked without mu
}

func newHub(cfg Config, bus *event.Bus, m *metrics, shards int) *hub {
	h := &hub{cfg: cfg, bus: bus, journal: newJournal(cfg.History), people: newPeople(bus, cfg.PerUser), metrics: m, all: map[*client]struct{}{}}
	for range shards {
		h.shards = append(h.shards, &shard{wake: make(chan struct{}, 1)})
	}
	return h
}

// start reads what was stored last, and listens from there on.
func (h *hub) start(ctx context.Context) ([]*event.Subscription, error) {
	extent, err := event.ExtentOf(ctx, h.bus, event.AnalyticsPublished)
	if err != nil {
		return nil, err
	}
	epoch := epochOf(extent.Since)
	from := uint64(0)
	if n := uint64(h.cfg.History); extent.Newest > n { //nolint:gosec // positive
		from = extent.Newest - n
	}
	if extent.Oldest > 0 {
		from = max(from, extent.Oldest-1)
	}
	h.last = place{epoch, from}
	h.journal.begin(h.last)
	err = event.Recall(ctx, h.bus, stored, from, extent.Newest, func(_ context.Context, e event.Event[proto.Message]) error {
		h.append(e, place{epoch, e.Sequence})
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.last = place{epoch, extent.Newest}
	all, err := event.ListenAll(ctx, h.bus, stored, event.Listener{After: extent.Newest, All: true}, h.happened)
	if err != nil {
		return nil, err
	}
	progress, err := event.Listen(ctx, h.bus, event.ExtractProgress, event.Listener{}, func(_ context.Context, e event.Event[*agnesv1.ExtractProgress]) error {
		h.tell(&entry{kind: e.Kind, source: e.Source, at: e.Time, topic: topicOfKind(e.Kind), payload: e.Payload})
		return nil
	})
	if err != nil {
		return []*event.Subscription{all}, err
	}
	return []*event.Subscription{all, progress}, nil
}

// happened passes on a stored event.
func (h *hub) happened(ctx context.Context, e event.Event[proto.Message]) error {
	if e.Sequence <= h.last.seq { // the bus lost its store and counts from the start
		extent, err := event.ExtentOf(ctx, h.bus, event.AnalyticsPublished)
		if err != nil {
			return err
		}
		zerolog.Ctx(ctx).Warn().Msg("the bus was made anew: what clients missed of before cannot be told again")
		h.last = place{epochOf(extent.Since), e.Sequence - 1}
		h.journal.begin(h.last)
	}
	h.last.seq = e.Sequence
	if p, ok := e.Payload.(*agnesv1.AnalyticsPublished); ok && adds(p) {
		h.people.recheck(ctx, e.Source) // who may read a new table is told of it
	}
	h.append(e, h.last)
	h.ring()
	return nil
}

func adds(p *agnesv1.AnalyticsPublished) bool {
	return slices.ContainsFunc(p.GetTables(), func(t *agnesv1.TableChange) bool { return t.GetChange() == "added" })
}

func (h *hub) append(e event.Event[proto.Message], at place) {
	made := entryOf(e, at)
	h.journal.append(made)
	h.metrics.messages.WithLabelValues(made.topic.names()[0]).Inc()
}

// tell passes on something that is not stored.
func (h *hub) tell(e *entry) {
	h.journal.append(e)
	h.metrics.messages.WithLabelValues(e.topic.names()[0]).Inc()
	h.ring()
}

// ring wakes who serves the clients.
func (h *hub) ring() {
	for _, s := range h.shards {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// work serves a shard until ctx ends.
func (h *hub) work(ctx context.Context, s *shard) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	every := int64(max(h.cfg.PingEvery/time.Second, 1))
	for n := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			for _, c := range s.list() {
				c.advance()
			}
		case now := <-tick.C:
			n++
			for i, c := range s.list() {
				if (n+int64(i))%every == 0 { // not all at once
					c.beat(now, h.cfg.PingEvery)
				}
				c.caughtUp()
			}
		}
	}
}

func (s *shard) list() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients
}

// add has a client told what happens.
func (h *hub) add(c *client) {
	c.shard = h.shards[h.came.Add(1)%uint64(len(h.shards))]
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if !c.ended.Load() {
		c.shard.clients = append(c.shard.clients[:len(c.shard.clients):len(c.shard.clients)], c)
	}
}

func (h *hub) remove(c *client) {
	if c.shard == nil {
		return
	}
	c.shard.mu.Lock()
	defer c.shard.mu.Unlock()
	if i := slices.Index(c.shard.clients, c); i >= 0 {
		c.shard.clients = slices.Delete(slices.Clone(c.shard.clients), i, i+1)
	}
}

// opened counts a client in, and closed out.
func (h *hub) opened(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[c] = struct{}{}
}

func (h *hub) closed(c *client) {
	h.remove(c)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, c)
}

// dropAll ends every connection.
func (h *hub) dropAll(code websocket.StatusCode, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.all {
		c.drop(code, why)
	}
}

// slow ends the connection of a client that does not read.
func (h *hub) slow(c *client, err error) {
	if c.ended.Swap(true) {
		return
	}
	h.dropped(codeSlow, "it does not read: "+err.Error())
	_ = c.wire.Close() // a frame is cut off: nothing more can be said
}

func (h *hub) dropped(code websocket.StatusCode, why string) {
	h.metrics.dropped.WithLabelValues(fmt.Sprint(int(code))).Inc()
	h.cfg.log.Debug().Int("code", int(code)).Str("reason", why).Msg("a connection is ended")
}

// resume sends a client what it missed of before the journal, and gives the number in the journal from which it goes
// on. What cannot be sent again is said.
func (h *hub) resume(ctx context.Context, c *client, id string) (uint64, error) {
	p, malformed := parsePlace(id)
	number, base := h.journal.after(p)
	switch {
	case malformed != nil:
		c.say(refusal{"error", malformed.Error()})
		number, _ = h.journal.now()
		return number, nil //nolint:nilerr // the client was told, and goes on
	case p.epoch != base.epoch:
		number, base = h.journal.after(place{base.epoch, 0})
		c.say(gap{"gap", id, base.String(), "the messages were stored by another bus, or it was made anew"})
		return number, nil
	case p.seq >= base.seq:
		return number, nil
	}
	extent, err := event.ExtentOf(ctx, h.bus, event.AnalyticsPublished)
	if err != nil {
		return 0, err
	}
	if extent.Oldest > p.seq+1 {
		p.seq = extent.Oldest - 1
		c.say(gap{"gap", id, p.String(), "older messages are not kept any more"})
	}
	for p.epoch == base.epoch && p.seq < base.seq { // which may move on meanwhile
		err = event.Recall(ctx, h.bus, stored, p.seq, base.seq, func(_ context.Context, e event.Event[proto.Message]) error {
			return c.recall(e, place{p.epoch, e.Sequence})
		})
		if err != nil {
			return 0, err
		}
		p = base
		number, base = h.journal.after(p)
	}
	return number, nil
}

// watch tells clients when the gateway loses the bus, and when it has it again.
func (h *hub) watch(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	was := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		is := h.bus.Ready(ctx) == nil
		if is == was || ctx.Err() != nil {
			continue
		}
		was = is
		status := map[bool]string{true: "ok", false: "degraded"}[is]
		h.tell(&entry{kind: kindHealth, at: time.Now(), topic: topicOf(topicHealth), payload: &structpb.Struct{Fields: map[string]*structpb.Value{
			"status": structpb.NewStringValue(status), "component": structpb.NewStringValue("bus"),
		}}})
	}
}

// healthEvery is how often the bus is looked after.
const healthEvery = 5 * time.Second
