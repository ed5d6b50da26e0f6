package wsgateway

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/event"
)

// Codes with which the gateway ends a connection, of the range that applications are free to use.
const (
	codeAuth    websocket.StatusCode = 4401 // who it is was not said in time, or is not known
	codeRevoked websocket.StatusCode = 4403
	codeSlow    websocket.StatusCode = 4408 // it does not read
	codeMany    websocket.StatusCode = 4429 // too many connections
)

// maxMessage bounds what a client sends, in bytes: a token is the longest of it.
const maxMessage = 16 << 10

// client is one connection of somebody. Its place in the journal is all that waits for it.
type client struct {
	hub    *hub
	wire   *wire
	socket *websocket.Conn
	who    *person
	shard  *shard
	topics topics // guarded by wire.mu, as all that follows

	cursor  uint64 // the next entry to send
	rest    []byte // of a frame that was cut off
	waiting bool   // a writer of its own is at work

	dirty atomic.Bool  // something came while the client was busy
	heard atomic.Int64 // when it last said something, in ns since 1970
	ended atomic.Bool
}

// request is what a client sends.
type request struct {
	Type   string   `json:"type"`
	Token  string   `json:"token"`
	Ticket string   `json:"ticket"` // in place of the token
	Topics []string `json:"topics"`
	Resume string   `json:"resume"`
}

// authOK is the answer to who is let in. An older client reads the first two members.
type authOK struct {
	Type     string   `json:"type"`
	Username string   `json:"username"`
	UserID   string   `json:"user_id"`
	Role     string   `json:"role"`
	Topics   []string `json:"topics"`
	ID       string   `json:"id"` // where the stream stands: to resume after, though nothing has come yet
}

type refusal struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// gap says that messages after one cannot be sent again.
type gap struct {
	Type   string `json:"type"`
	After  string `json:"after"`
	Next   string `json:"next"` // the messages after this one follow
	Reason string `json:"reason"`
}

// run serves a connection until it ends.
func (c *client) run(ctx context.Context) {
	defer c.end()
	first, err := c.introduced(ctx)
	if err != nil {
		return
	}
	if !c.welcome(ctx, first) {
		return
	}
	for {
		var r request
		if err := c.read(ctx, &r); err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) || errors.Is(err, errNoObject) {
				continue // as the predecessor: it is not for us
			}
			return
		}
		switch r.Type {
		case "subscribe":
			set, err := parseTopics(r.Topics)
			if err != nil {
				c.say(refusal{"error", err.Error()})
				continue
			}
			c.wire.mu.Lock()
			c.topics = set
			c.wire.mu.Unlock()
			c.say(struct {
				Type   string   `json:"type"`
				Topics []string `json:"topics"`
			}{"subscribed", set.names()})
		case "ping":
			c.say(struct {
				Type string `json:"type"`
			}{"pong"})
		}
	}
}

var errNoObject = errors.New("not a JSON object")

// read reads one frame of the client.
func (c *client) read(ctx context.Context, into *request) error {
	kind, raw, err := c.socket.Read(ctx)
	if err != nil {
		return err
	}
	c.heard.Store(time.Now().UnixNano())
	if kind != websocket.MessageText {
		return errNoObject
	}
	if err := json.Unmarshal(raw, into); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return err
		}
		return errNoObject
	}
	return nil
}

// introduced waits for the client to say who it is.
func (c *client) introduced(ctx context.Context) (request, error) {
	defer c.hub.pending.Add(-1)
	late := time.AfterFunc(c.hub.cfg.AuthTimeout, func() { c.refuse("Auth timeout", codeAuth) })
	defer late.Stop()
	var first request
	err := c.read(ctx, &first)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		c.refuse("Invalid JSON", codeAuth)
	case errors.Is(err, errNoObject), err == nil && (first.Type != "auth" || first.Token+first.Ticket == ""):
		c.refuse("Expected auth message with token", codeAuth)
		err = errNoObject
	}
	return first, err
}

// welcome finds out who a client is, and where it goes on.
func (c *client) welcome(ctx context.Context, first request) bool {
	set := topicOf(topicNotifications) // what an older client, which names none, expects
	if len(first.Topics) > 0 {
		var err error
		if set, err = parseTopics(first.Topics); err != nil {
			c.refuse(err.Error(), codeAuth)
			return false
		}
	}
	who, err := c.hub.people.join(ctx, c, first.Token, first.Ticket)
	switch {
	case errors.Is(err, errTooMany):
		c.refuse("Too many connections", codeMany)
		return false
	case err != nil && refused(err):
		c.refuse("Invalid token", codeAuth)
		return false
	case err != nil:
		c.refuse("The api does not answer: try again", websocket.StatusTryAgainLater)
		return false
	}
	c.who = who
	return c.enter(ctx, set, first.Resume)
}

// enter puts the client at its place in the journal, after it got what it missed.
func (c *client) enter(ctx context.Context, set topics, resume string) (in bool) {
	var err error
	number, now := c.hub.journal.now()
	hello := authOK{Type: "auth_ok", Username: c.who.email, UserID: c.who.userID, Role: c.who.role, Topics: set.names(), ID: now.String()}
	c.wire.mu.Lock()
	c.topics, c.cursor = set, number
	c.wire.mu.Unlock()
	if !c.say(hello) {
		return false
	}
	if resume != "" {
		if number, err = c.hub.resume(ctx, c, resume); err != nil {
			c.refuse(err.Error(), websocket.StatusTryAgainLater)
			return false
		}
		c.wire.mu.Lock()
		c.cursor = number
		c.wire.mu.Unlock()
	}
	c.hub.add(c)
	c.advance()
	return true
}

// say sends something that is for this client alone.
func (c *client) say(m any) bool {
	f, err := newFrame(m)
	if err != nil {
		return false
	}
	return c.send(f)
}

func (c *client) send(f frame) bool {
	_, err := c.wire.Write(f.raw)
	return err == nil
}

// recall sends an event that the journal does not have any more.
func (c *client) recall(e event.Event[proto.Message], at place) error {
	old := entryOf(e, at)
	if old.topic&c.topics == 0 {
		return nil
	}
	f, ok, err := old.frameFor(c.who.userID, c.who.view.Load())
	if err != nil || !ok {
		return err
	}
	if !c.send(f) {
		return net.ErrClosed
	}
	return nil
}

// caughtUp goes on with what came while something else was written.
func (c *client) caughtUp() {
	if c.dirty.Load() {
		c.advance()
	}
}

// refuse says why a client is not let in, and ends the connection.
func (c *client) refuse(why string, code websocket.StatusCode) {
	c.say(refusal{"auth_error", why})
	c.drop(code, why)
}

// drop ends the connection with a reason. It does not wait for the client.
func (c *client) drop(code websocket.StatusCode, why string) {
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	c.hub.dropped(code, why)
	c.hub.closing.Go(func() { _ = c.socket.Close(code, why) }) // it waits some seconds for the answer, where the client reads at all
}

// end forgets a connection.
func (c *client) end() {
	c.hub.connections.Add(-1)
	c.hub.closed(c)
	if c.who != nil {
		c.hub.people.leave(c.who, c)
	}
	if !c.ended.Swap(true) {
		_ = c.socket.CloseNow()
	}
}

// advance sends what the client has not got yet, as far as that can be done without waiting. Where the client is busy
// with a frame, who is at that goes on with the rest.
func (c *client) advance() {
	c.dirty.Store(true)
	for c.dirty.Load() && c.wire.mu.TryLock() {
		c.dirty.Store(false)
		busy := c.waiting || c.wire.broken || c.ended.Load()
		if !busy && !c.flow() {
			c.waiting = true
			go c.waitAndFlow()
		}
		c.wire.mu.Unlock()
		if busy {
			return
		}
	}
}

// flow writes until all is sent, or the client has to be waited for. The caller holds wire.mu.
func (c *client) flow() (all bool) {
	for {
		f, ok := c.next()
		if !ok {
			return true
		}
		n, err := c.wire.try(f)
		if err != nil {
			_ = c.wire.Close()
			return true
		}
		if n < len(f) {
			c.rest = f[n:]
			return false
		}
	}
}

// next gives the next frame for the client, and moves its place on. The caller holds wire.mu.
func (c *client) next() ([]byte, bool) {
	var some [16]*entry
	for {
		n, gone := c.hub.journal.since(c.cursor, some[:])
		if gone {
			c.drop(codeSlow, "it reads slower than messages come")
			return nil, false
		}
		if n == 0 {
			return nil, false
		}
		for _, e := range some[:n] {
			c.cursor++
			if e.topic&c.topics == 0 {
				continue
			}
			if f, ok, err := e.frameFor(c.who.userID, c.who.view.Load()); ok && err == nil {
				return f.raw, true
			}
		}
	}
}

// waitAndFlow writes as fast as the client reads, which may not take longer than WriteTimeout for any message.
func (c *client) waitAndFlow() {
	for {
		c.wire.mu.Lock()
		f := c.rest
		c.rest = nil
		if f == nil {
			var ok bool
			if f, ok = c.next(); !ok {
				c.waiting = false
				c.wire.mu.Unlock()
				c.caughtUp()
				return
			}
		}
		err := c.wire.write(f, c.hub.cfg.WriteTimeout)
		c.wire.mu.Unlock()
		if err != nil {
			c.hub.slow(c, err)
			return
		}
	}
}

// beat asks for a sign of life, and drops who has not given one for long.
func (c *client) beat(now time.Time, every time.Duration) {
	const missed = 3 // and some time for the answer to the last one
	if now.Sub(time.Unix(0, c.heard.Load())) > missed*every+every/2 {
		c.drop(websocket.StatusGoingAway, "no answer to three pings")
		return
	}
	if !c.who.expires.IsZero() && now.After(c.who.expires) {
		c.drop(codeRevoked, "the credential has expired")
		return
	}
	if !c.wire.mu.TryLock() {
		return // it is written to
	}
	defer c.wire.mu.Unlock()
	if c.waiting || c.wire.broken {
		return
	}
	if n, err := c.wire.try(pingFrame.raw); err != nil {
		_ = c.wire.Close()
	} else if n < len(pingFrame.raw) {
		c.rest, c.waiting = pingFrame.raw[n:], true
		go c.waitAndFlow()
	}
}

var pingFrame = mustFrame(struct {
	Type string `json:"type"`
}{"ping"})

func mustFrame(m any) frame {
	f, err := newFrame(m)
	if err != nil {
		panic(err) // a constant
	}
	return f
}
