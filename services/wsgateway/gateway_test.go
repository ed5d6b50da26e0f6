package wsgateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func TestAnOlderClientFindsItsFrames(t *testing.T) {
	t.Parallel()
	h := start(t)
	b := h.dial()
	b.send(`{"type":"auth","token":"ann"}`)
	if r := b.want("auth_ok"); r.Username != "ann@example.com" || r.ID == "" {
		t.Errorf("%s", r.raw)
	}
	b.send(`not JSON`)
	b.send(`["neither"]`)
	b.send(`{"type":"pong"}`)
	data, err := structpb.NewStruct(map[string]any{"image_url": "/image.png", "type": "auth_error"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	h.notify("bob", "is not for ann")
	err = event.Publish(t.Context(), h.bus, event.NotificationRaised, "", &agnesv1.NotificationRaised{UserId: "ann", Kind: "alert", Title: "T", Message: "M", Data: data, RaisedAt: timestamp(at)})
	if err != nil {
		t.Fatal(err)
	}
	r := b.want("notification")
	var frame map[string]any
	if err := json.Unmarshal([]byte(r.raw), &frame); err != nil {
		t.Fatal(err)
	}
	delete(frame, "data")
	delete(frame, "id")
	want := map[string]any{
		"type": "notification", "topic": "notifications", "title": "T", "message": "M", "script": "alert", "timestamp": "2026-05-04T03:02:01Z", "image_url": "/image.png",
	}
	if fmt.Sprint(frame) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", frame, want)
	}
}

func TestTrap_R7_APayloadDoesNotChangeTheEnvelope(t *testing.T) {
	t.Parallel()
	h := start(t)
	b := h.sign("ann", "")
	data, err := structpb.NewStruct(map[string]any{"type": "auth_error", "id": "forged", "topic": "registry", "message": "forged"})
	if err != nil {
		t.Fatal(err)
	}
	if err := event.Publish(t.Context(), h.bus, event.NotificationRaised, "", &agnesv1.NotificationRaised{Message: "M", Data: data}); err != nil {
		t.Fatal(err)
	}
	if r := b.want("notification"); r.ID == "forged" || r.Message != "M" || !strings.Contains(string(r.Data), "forged") {
		t.Errorf("%s", r.raw)
	}
}

func TestWhoIsNotLetInIsToldWhy(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.AuthTimeout, c.PerUser = 300*time.Millisecond, 1 })
	h.let("blind", "")
	h.people["blind"].Who.Scopes = nil
	h.sign("bob", "")
	for name, c := range map[string]struct {
		say, message string
		code         websocket.StatusCode
	}{
		"nothing":       {"", "Auth timeout", codeAuth},
		"no JSON":       {`{"type":"auth"`, "Invalid JSON", codeAuth},
		"an array":      {`[]`, "Expected auth message with token", codeAuth},
		"no token":      {`{"type":"auth"}`, "Expected auth message with token", codeAuth},
		"not auth":      {`{"type":"subscribe","token":"ann"}`, "Expected auth message with token", codeAuth},
		"a stranger":    {`{"type":"auth","token":"forged"}`, "Invalid token", codeAuth},
		"no scope":      {`{"type":"auth","token":"blind"}`, "Invalid token", codeAuth},
		"no topic":      {`{"type":"auth","token":"ann","topics":["weather"]}`, `there is no topic "weather": notifications, sync, analytics, registry, health`, codeAuth},
		"once too many": {`{"type":"auth","token":"bob"}`, "Too many connections", codeMany},
	} {
		b := h.dial()
		if c.say != "" {
			b.send(c.say)
		}
		if r := b.want("auth_error"); r.Message != c.message {
			t.Errorf("%s: %s", name, r.raw)
		}
		if code := b.closed(); code != c.code {
			t.Errorf("%s: closed with %d, want %d", name, code, c.code)
		}
	}
}

func TestTrap_P4_ClientsHearOfNothingThatIsHidden(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob, root := h.sign("ann", `,"topics":["*"]`), h.sign("bob", `,"topics":["*"]`), h.sign("root", `,"topics":["*"]`)
	h.publish("shop", &agnesv1.TableChange{Table: "orders", Change: "updated"}, &agnesv1.TableChange{Table: "salaries", Change: "updated"})
	if err := event.Publish(t.Context(), h.bus, event.RegistryChanged, "shop", &agnesv1.RegistryChanged{Source: "shop", TableId: "salaries"}); err != nil {
		t.Fatal(err)
	}
	h.notify("", "end")
	if r := ann.want("analytics.published"); strings.Contains(r.raw, "salaries") || !strings.Contains(r.raw, `"orders"`) || r.Source != "shop" {
		t.Errorf("ann is told %s", r.raw)
	}
	if r := root.want("analytics.published"); !strings.Contains(r.raw, "salaries") {
		t.Errorf("root is told %s", r.raw)
	}
	if err := event.Publish(t.Context(), h.bus, event.ExtractProgress, "shop", &agnesv1.ExtractProgress{Source: "shop", Table: "orders", Rows: 7}); err != nil {
		t.Fatal(err)
	}
	// It is not stored, and comes as it comes.
	rest := func(b *browser, n int) string {
		var kinds []string
		for range n {
			r, err := b.next()
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, r.Type)
		}
		for i, k := range kinds {
			if k == "extract.progress" {
				kinds = append(append(kinds[:i:i], kinds[i+1:]...), k)
			}
		}
		return fmt.Sprint(kinds)
	}
	if got := rest(ann, 2); got != "[notification extract.progress]" {
		t.Errorf("ann is told of %s", got)
	}
	if got := rest(root, 3); got != "[registry.changed notification extract.progress]" {
		t.Errorf("root is told of %s", got)
	}
	bob.want("notification")
}

func TestWhoMayReadANewTableIsToldOfIt(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.sign("ann", `,"topics":["analytics"]`), h.sign("bob", `,"topics":["analytics","notifications"]`)
	h.let("ann", "a2", &agnesv1.ReadableTables{Source: "shop", Tables: []string{"orders", "visits"}})
	h.publish("shop", &agnesv1.TableChange{Table: "visits", Change: "added"})
	h.notify("", "end")
	if r := ann.want("analytics.published"); !strings.Contains(r.raw, "visits") {
		t.Errorf("%s", r.raw)
	}
	bob.want("notification")
}

func TestTopicsAreChosen(t *testing.T) {
	t.Parallel()
	h := start(t)
	b := h.sign("root", `,"topics":["registry"]`)
	h.publish("shop", &agnesv1.TableChange{Table: "orders", Change: "updated"})
	b.send(`{"type":"subscribe","topics":["nonsense"]}`)
	b.want("error")
	b.send(`{"type":"subscribe","topics":["notifications"]}`)
	b.want("subscribed")
	h.notify("", "now")
	same(t, "titles", first(b.titles(1)), []string{"now"})
	b.send(`{"type":"ping"}`)
	b.want("pong")
}

func first[A, B any](a A, _ B) A { return a }

func TestTrap_R3_WhatWasMissedIsToldAgain(t *testing.T) {
	t.Parallel()
	h := start(t)
	b := h.sign("ann", "")
	h.notify("ann", "1")
	_, id := b.titles(1)
	_ = b.socket.CloseNow()
	h.notify("ann", "2")
	h.notify("bob", "of bob")
	h.notify("", "3")
	same(t, "after a break", first(h.sign("ann", fmt.Sprintf(`,"resume":%q`, id)).titles(2)), []string{"2", "3"})
	h.stop()
	h.notify("ann", "4")
	h.run()
	b = h.sign("ann", fmt.Sprintf(`,"resume":%q`, id))
	h.notify("", "5")
	same(t, "after a restart", first(b.titles(4)), []string{"2", "3", "4", "5"})
}

func TestWhoHasHeardNothingResumesFromWhereItCame(t *testing.T) {
	t.Parallel()
	h := start(t)
	watching := h.sign("bob", "")
	h.notify("", "of before")
	watching.titles(1)
	b := h.dial()
	b.send(`{"type":"auth","token":"ann"}`)
	id := b.want("auth_ok").ID
	_ = b.socket.CloseNow()
	h.notify("", "missed")
	same(t, "titles", first(h.sign("ann", fmt.Sprintf(`,"resume":%q`, id)).titles(1)), []string{"missed"})
}

func TestMoreThanTheJournalHoldsIsReadFromTheBus(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.History = 1 }) // the least is twice the entries whose frames are kept
	b := h.sign("ann", "")
	h.notify("", "first")
	_, id := b.titles(1)
	_ = b.socket.CloseNow()
	var want []string
	for i := range 2*warmFrames + 100 {
		want = append(want, fmt.Sprint(i))
	}
	h.notify("", want...)
	b = h.sign("ann", fmt.Sprintf(`,"resume":%q`, id))
	h.notify("", "last")
	got, _ := b.titles(len(want) + 1)
	same(t, "titles", got, append(want, "last"))
}

func TestTrap_R3_WhatCannotBeToldAgainIsSaid(t *testing.T) {
	t.Parallel()
	h := start(t)
	watching := h.sign("bob", "")
	h.notify("", "1")
	watching.titles(1)
	b := h.sign("ann", `,"resume":"of-another-bus-7"`)
	if r := b.want("error"); !strings.Contains(r.Message, "is not the id") {
		t.Errorf("%s", r.raw)
	}
	b = h.sign("ann", `,"resume":"abc-7"`)
	if r := b.want("gap"); r.After != "abc-7" || r.Next == "" || r.Reason == "" {
		t.Errorf("%s", r.raw)
	}
	same(t, "what follows", first(b.titles(1)), []string{"1"})
}

func TestTrap_R2_ASlowClientIsDroppedAndNobodyFeelsIt(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.WriteTimeout, c.History = time.Second, 100_000 })
	slow, quick := h.sign("ann", ""), h.sign("ann", "")
	_ = slow // which reads nothing
	const n, width = 300, 100 << 10
	took := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		for range n {
			if _, err := quick.next(); err != nil {
				t.Error(err)
				break
			}
		}
		took <- time.Since(began)
	}()
	text := strings.Repeat("x", width)
	for range n {
		if err := event.Publish(t.Context(), h.bus, event.NotificationRaised, "", &agnesv1.NotificationRaised{Message: text}); err != nil {
			t.Fatal(err)
		}
	}
	<-took
	for deadline := time.Now().Add(10 * time.Second); h.connections() > 1; {
		if time.Now().After(deadline) {
			t.Fatal("the client that does not read stays")
		}
		time.Sleep(10 * time.Millisecond) // the gateway's own clock decides
	}
	h.notify("", "after")
	same(t, "the other client", first(quick.titles(1)), []string{"after"})
}

func TestWhoIsNotLetInAnyMoreIsShownOut(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.Recheck = 50 * time.Millisecond })
	ann, bob := h.sign("ann", ""), h.sign("bob", "")
	h.mu.Lock()
	delete(h.people, "ann")
	h.mu.Unlock()
	if code := ann.closed(); code != codeRevoked {
		t.Errorf("closed with %d", code)
	}
	h.notify("", "still here")
	same(t, "bob", first(bob.titles(1)), []string{"still here"})
}

func TestATicketLetsAPageInOnce(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.Recheck = 50 * time.Millisecond })
	h.tickets["once"] = "ann"
	ann := h.dial()
	ann.send(`{"type":"auth","ticket":"once"}`)
	if r := ann.want("auth_ok"); r.Username != "ann@example.com" {
		t.Errorf("%s", r.raw)
	}
	again := h.dial()
	again.send(`{"type":"auth","ticket":"once"}`)
	again.want("auth_error")
	h.notify("ann", "by what the ticket stood for")
	ann.titles(1)
	h.mu.Lock()
	delete(h.people, "ann")
	h.mu.Unlock()
	if code := ann.closed(); code != codeRevoked {
		t.Errorf("closed with %d", code)
	}
}

func TestASilentClientIsDropped(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.PingEvery = time.Second })
	quiet, alive := h.sign("ann", ""), h.sign("bob", "")
	for range 5 {
		alive.want("ping")
		alive.send(`{"type":"pong"}`)
	}
	if code := quiet.closed(); code != websocket.StatusGoingAway {
		t.Errorf("closed with %d", code)
	}
	h.notify("", "for who answers")
	for {
		if r, err := alive.next(); err != nil {
			t.Fatal(err)
		} else if r.Type == "notification" {
			break
		}
	}
}

func TestPagesOfOtherOriginsStayOutside(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.Origins = []string{"https://app.example.com", "*.example.org"} })
	for origin, want := range map[string]int{
		"http://" + h.addr: 101, "https://app.example.com": 101, "http://pages.example.org": 101,
		"http://app.example.com": 403, "https://example.net": 403, "null": 403,
	} {
		_, answer, err := websocket.Dial(t.Context(), "ws://"+h.addr+"/", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}}) //nolint:bodyclose // it has none
		if answer == nil || answer.StatusCode != want {
			t.Errorf("%s: %v, %v", origin, answer, err)
		}
	}
}

func TestConnectionsAreCapped(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *Config) { c.Pending, c.Connections = 2, 3 })
	try := func() int {
		_, answer, _ := websocket.Dial(t.Context(), "ws://"+h.addr+"/", nil) //nolint:bodyclose // it has none
		if answer == nil {
			t.Fatal("no answer")
		}
		return answer.StatusCode
	}
	a, b := h.dial(), h.dial()
	if got := try(); got != 503 {
		t.Errorf("a third that says nothing: %d", got)
	}
	for _, c := range []*browser{a, b} {
		c.send(`{"type":"auth","token":"ann"}`)
		c.want("auth_ok")
	}
	h.sign("bob", "")
	if got := try(); got != 503 {
		t.Errorf("a fourth: %d", got)
	}
	long := `{"type":"auth","token":"` + strings.Repeat("x", maxMessage) + `"}`
	_ = a.socket.Write(t.Context(), websocket.MessageText, []byte(long)) // it may be cut off
	if code := a.closed(); code != websocket.StatusMessageTooBig {
		t.Errorf("a long message: closed with %d", code)
	}
}

func TestAStoppedGatewaySaysThatOneMayComeBack(t *testing.T) {
	t.Parallel()
	h := start(t)
	b := h.sign("ann", "")
	done := make(chan struct{})
	go func() { defer close(done); h.stop() }()
	if code := b.closed(); code != websocket.StatusGoingAway {
		t.Errorf("closed with %d", code)
	}
	<-done
}
