package wsgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	"github.com/agnes-platform/agnes/pkg/eventtest"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a gateway with an api that says what the test wants.
type house struct {
	tb      testing.TB
	server  *embedded.Server
	bus     *event.Bus // of the test's own
	addr    string
	cfg     Config
	metrics *prometheus.Registry
	stop    func()

	mu      sync.Mutex
	people  map[string]*agnesv1.CheckAccessResponse // by token
	tickets map[string]string                       // tokens by ticket, each for once
}

// start runs a gateway that knows "ann", who can read shop.orders, "bob", who can read nothing, and "root".
func start(tb testing.TB, change ...func(*Config)) *house {
	tb.Helper()
	h := &house{tb: tb, server: eventtest.Server(tb), people: map[string]*agnesv1.CheckAccessResponse{}, tickets: map[string]string{}}
	h.bus = eventtest.Connect(tb, h.server, "api")
	h.let("ann", "a", &agnesv1.ReadableTables{Source: "shop", Tables: []string{"orders"}})
	h.let("bob", "b")
	h.let("root", "")
	h.people["root"].Everything = true
	_, err := event.Serve(tb.Context(), h.bus, event.CheckAccess, h.check)
	if err != nil {
		tb.Fatal(err)
	}
	if err := service.LoadEnv(&h.cfg); err != nil {
		tb.Fatal(err)
	}
	for _, c := range change {
		c(&h.cfg)
	}
	h.run()
	return h
}

func (h *house) let(token, fingerprint string, tables ...*agnesv1.ReadableTables) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.people[token] = &agnesv1.CheckAccessResponse{
		Who:         &agnesv1.CheckTokenResponse{UserId: token, Email: token + "@example.com", Role: "analyst", Scopes: []string{"read"}},
		Fingerprint: fingerprint, Readable: tables,
	}
}

func (h *house) check(_ context.Context, q *agnesv1.CheckAccessRequest) (*agnesv1.CheckAccessResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	token := q.GetToken()
	if q.GetTicket() != "" {
		token = h.tickets[q.GetTicket()]
		delete(h.tickets, q.GetTicket())
	}
	known := h.people[token]
	if known == nil {
		return nil, fault.New(fault.Unauthenticated, "who are you")
	}
	answer := proto.CloneOf(known)
	if q.GetTicket() != "" {
		answer.Token = token
	}
	if q.GetFingerprint() == answer.GetFingerprint() && !answer.GetEverything() {
		answer.Unchanged, answer.Readable = true, nil
	}
	return answer, nil
}

func (h *house) run() {
	h.tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.tb.Fatal(err)
	}
	cfg := h.cfg
	bus, err := event.Connect(h.tb.Context(), event.Config{Name: name, InProcess: h.server})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.metrics = service.NewRegistry()
	cfg.Bus, cfg.Metrics, cfg.Listener, cfg.HealthAddr = bus, h.metrics, listener, ""
	h.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(h.tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				h.tb.Errorf("the gateway ended with %v", err)
			}
			bus.Close()
		})
	}
	h.tb.Cleanup(h.stop)
	for {
		r, err := http.Get("http://" + h.addr + "/health")
		if err != nil {
			h.tb.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return
		}
		select {
		case err := <-ended:
			h.tb.Fatalf("the gateway ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// notify raises notices for one user, or for all.
func (h *house) notify(user string, titles ...string) {
	h.tb.Helper()
	for _, title := range titles {
		if err := event.Publish(h.tb.Context(), h.bus, event.NotificationRaised, "", &agnesv1.NotificationRaised{UserId: user, Title: title, Kind: "test"}); err != nil {
			h.tb.Fatal(err)
		}
	}
}

func (h *house) publish(source string, changes ...*agnesv1.TableChange) {
	h.tb.Helper()
	if err := event.Publish(h.tb.Context(), h.bus, event.AnalyticsPublished, source, &agnesv1.AnalyticsPublished{Source: source, Tables: changes}); err != nil {
		h.tb.Fatal(err)
	}
}

// browser is a client as any program may be one.
type browser struct {
	tb     testing.TB
	socket *websocket.Conn
}

func (h *house) dial() *browser {
	h.tb.Helper()
	socket, _, err := websocket.Dial(h.tb.Context(), "ws://"+h.addr+"/ws/notifications", nil) //nolint:bodyclose // it has none
	if err != nil {
		h.tb.Fatal(err)
	}
	socket.SetReadLimit(1 << 20)
	h.tb.Cleanup(func() { _ = socket.CloseNow() })
	return &browser{h.tb, socket}
}

func (b *browser) send(text string) {
	b.tb.Helper()
	if err := b.socket.Write(b.tb.Context(), websocket.MessageText, []byte(text)); err != nil {
		b.tb.Fatal(err)
	}
}

// received is a frame of any kind.
type received struct {
	Type, ID, Title, Message, Username, Source, After, Next, Reason, Script string
	Data                                                                    json.RawMessage
	raw                                                                     string
}

func (b *browser) next() (received, error) {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.tb.Context(), 10*time.Second)
	defer cancel()
	_, raw, err := b.socket.Read(ctx)
	if err != nil {
		return received{}, err
	}
	r := received{raw: string(raw)}
	if err := json.Unmarshal(raw, &r); err != nil {
		b.tb.Fatalf("%s: %v", raw, err)
	}
	return r, nil
}

func (b *browser) want(kind string) received {
	b.tb.Helper()
	r, err := b.next()
	if err != nil || r.Type != kind {
		b.tb.Fatalf("got %s, %v; want %s", r.raw, err, kind)
	}
	return r
}

// titles reads so many notices and gives their titles; the id is that of the last one.
func (b *browser) titles(n int) (titles []string, id string) {
	b.tb.Helper()
	for range n {
		r := b.want("notification")
		titles, id = append(titles, r.Title), r.ID
	}
	return titles, id
}

// closed reads until the connection ends, and gives the code.
func (b *browser) closed() websocket.StatusCode {
	b.tb.Helper()
	for {
		if _, err := b.next(); err != nil {
			if code := websocket.CloseStatus(err); code >= 0 {
				return code
			}
			if errors.Is(err, context.DeadlineExceeded) {
				b.tb.Fatal("the connection stays open")
			}
			return -1
		}
	}
}

// sign connects with a token.
func (h *house) sign(token, more string) *browser {
	h.tb.Helper()
	b := h.dial()
	b.send(fmt.Sprintf(`{"type":"auth","token":%q%s}`, token, more))
	b.want("auth_ok")
	return b
}

func same[T comparable](tb testing.TB, what string, got, want []T) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("%s: %v, want %v", what, got, want)
	}
}

// connections is how many are open, as the gateway's metrics say.
func (h *house) connections() int {
	h.tb.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "agnes_ws_connections" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	h.tb.Fatal("no such metric")
	return 0
}

func timestamp(at time.Time) *timestamppb.Timestamp { return timestamppb.New(at) }
