package jirawebhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/ratelimit"
	"github.com/agnes-platform/agnes/pkg/service"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// What is held in memory at once: this many webhooks, of which few may be long ones.
const (
	maxInFlight = 256
	maxLong     = 8
	longBody    = 256 << 10 // bytes from which on a body is a long one
	// maxOfAddress leaves room for others where one address sends many, or sends them slowly.
	maxOfAddress = maxInFlight / 2
	bodyTimeout  = 5 * time.Second
	slotTimeout  = 2 * time.Second
)

// intake takes in webhooks. The bus may still be missing.
type intake struct {
	sites    *sites
	proxies  service.Networks
	metrics  *metrics
	log      zerolog.Logger
	refusals *refusals
	glance   glance
	bus      atomic.Pointer[event.Bus]

	maxBody  int64
	patience time.Duration
	slots    chan struct{}
	long     chan struct{}
	// strangers logs what comes without a signature that is right: a few lines a minute.
	strangers zerolog.Logger

	mu       sync.Mutex
	closed   bool
	reading  map[string]int  // slots by address
	work     sync.WaitGroup  // webhooks that are under way
	hard     context.Context // ends when the stop budget is over
	cut      context.CancelFunc
	recorder sync.WaitGroup
	quit     context.CancelFunc // ends the recorder
}

func newIntake(cfg Config, all *sites, proxies service.Networks, m *metrics, log zerolog.Logger) *intake {
	hard, cut := context.WithCancel(context.Background())
	return &intake{
		sites: all, proxies: proxies, metrics: m, log: log, refusals: newRefusals(cfg.Refusals, m, log),
		maxBody: cfg.MaxBodyKB << 10, patience: cfg.Patience,
		slots: make(chan struct{}, maxInFlight), long: make(chan struct{}, maxLong), reading: map[string]int{}, hard: hard, cut: cut,
		strangers: log.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Minute}),
	}
}

// use begins to store what comes.
func (i *intake) use(bus *event.Bus) {
	ctx, quit := context.WithCancel(i.log.WithContext(context.Background()))
	i.quit = quit
	i.recorder.Go(func() { i.refusals.run(ctx, bus) })
	i.bus.Store(bus)
}

// close takes in no more, waits for what is under way, at most for the budget, and tells what is left of
// it.
func (i *intake) close(budget time.Duration) time.Duration {
	began := time.Now()
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	timer := time.AfterFunc(budget, i.cut)
	i.work.Wait() // after the cut nothing waits for the client or the bus any more
	timer.Stop()
	i.cut()
	if i.quit != nil {
		i.quit()
	}
	i.recorder.Wait()
	return max(0, budget-time.Since(began))
}

// enter counts a webhook as under way, unless the service is being stopped.
func (i *intake) enter() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.work.Add(1)
	}
	return !i.closed
}

// accepted is the answer to a webhook, in the words of the predecessor.
type accepted struct {
	Status string `json:"status"`
	// Event is its name, as Jira wrote it.
	Event string `json:"event"`
	// Issue is its key; null where the webhook names none.
	Issue *string `json:"issue"`
}

// webhook takes one webhook in. 200 means that the stream has it on its disk, or that it concerns nobody.
func (i *intake) webhook(c echo.Context) error {
	began := time.Now()
	if !i.enter() {
		return busy("the service is being stopped: send it again").answer(c)
	}
	defer i.work.Done()
	i.metrics.inFlight.Inc()
	defer i.metrics.inFlight.Dec()

	source, e, became, err := i.take(c)
	var p *problem
	if errors.As(err, &p) {
		became = p.outcome
	}
	i.metrics.done(source, became, time.Since(began))
	if p != nil {
		i.tell(c, source, e, p)
		drain(c.Request(), p)
		return p.answer(c)
	}
	answer := accepted{Status: "ok", Event: e.Name}
	if e.IssueKey != "" {
		answer.Issue = &e.IssueKey
	}
	return c.JSON(http.StatusOK, answer)
}

// tell logs what an operator should know of; wrong signatures are logged where they are counted.
func (i *intake) tell(c echo.Context, source string, e jira.Event, p *problem) {
	log := i.log
	switch {
	case p.outcome == outcomeBadSignature || p.outcome == outcomeLimited:
		return
	case source == "":
		log = i.strangers
	}
	log.Warn().Str(service.FieldSource, source).Str(service.FieldRequest, header(c.Request(), "X-Request-Id")).Str("event", e.Name).Int("status", p.status).
		Err(p).Str("remote", i.proxies.ClientIP(c.Request())).Msg("a webhook was not accepted")
}

// drain takes what is left of a short body, so that the answer arrives: a connection that is closed
// before is reset.
func drain(r *http.Request, p *problem) {
	if p.status != http.StatusRequestEntityTooLarge && r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, longBody) // whatever comes of it: there is an answer already
	}
}

// take verifies, reads and stores a webhook. The source is empty until a signature says it.
func (i *intake) take(c echo.Context) (source string, e jira.Event, became outcome, err error) {
	r := c.Request()
	control := http.NewResponseController(c.Response())
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // a server that cannot has a deadline of its own
	named := c.Path() == pathSource
	candidates, err := i.sites.candidates(c.Param("source"), named)
	if err != nil {
		return "", e, "", notConfigured()
	}
	if r.ContentLength > i.maxBody {
		return "", e, "", tooLarge(i.maxBody)
	}
	signatures := slices.Concat(r.Header.Values(jira.HeaderSignature256), r.Header.Values(jira.HeaderSignature))
	if !jira.Signed(signatures...) && !slices.ContainsFunc(candidates, func(s site) bool { return s.open }) {
		return "", e, "", i.refusals.bad(r, i.proxies.ClientIP(r), "", jira.ErrUnsigned)
	}
	body, release, err := i.read(c, control)
	if err != nil {
		return "", e, "", err
	}
	defer release()
	_ = control.SetReadDeadline(time.Time{})
	s, previous, err := verified(candidates, body, signatures)
	switch {
	case errors.Is(err, errAmbiguous):
		return "", e, "", ambiguous(err)
	case err != nil:
		return "", e, "", i.refusals.bad(r, i.proxies.ClientIP(r), "", err)
	case s.broken:
		return s.name, e, "", misconfigured()
	case previous:
		i.metrics.previous.WithLabelValues(s.name).Inc()
	case s.open:
		i.metrics.unsigned.WithLabelValues(s.name).Inc()
		i.log.Warn().Str(service.FieldSource, s.name).Str("remote", i.proxies.ClientIP(r)).Msg("AN UNSIGNED WEBHOOK WAS ACCEPTED")
	}
	if e, err = jira.ParseEvent(body); err != nil {
		return s.name, e, "", invalid(err)
	}
	i.metrics.read(s.name, e.Kind)
	switch {
	case e.Kind == jira.KindOther:
		return s.name, e, outcomeIgnored, nil
	case !s.wants(e):
		return s.name, e, outcomeFiltered, nil
	}
	became, err = i.store(r, s, e, body)
	return s.name, e, became, err
}

// read reads the body, which is no longer than allowed, while not too much is held in memory. release
// has to be called when the body is done with.
func (i *intake) read(c echo.Context, control *http.ResponseController) (body []byte, release func(), err error) {
	leave, ok := i.slot(ratelimit.Address(i.proxies.ClientIP(c.Request())))
	if !ok {
		return nil, nil, busy("too many webhooks at once: send it again")
	}
	room := leave
	defer func() {
		if err != nil {
			room()
		}
	}()
	defer context.AfterFunc(i.hard, func() { _ = control.SetReadDeadline(time.Now()) })()
	r := http.MaxBytesReader(c.Response(), c.Request().Body, i.maxBody)
	var b bytes.Buffer
	b.Grow(int(min(max(c.Request().ContentLength, 512), longBody)) + bytes.MinRead)
	if _, err = b.ReadFrom(io.LimitReader(r, longBody)); err == nil && b.Len() == longBody {
		if !i.await(i.long) {
			return nil, nil, busy("too many long webhooks at once: send it again")
		}
		room = func() {
			<-i.long
			leave()
		}
		_, err = b.ReadFrom(r)
	}
	if err != nil {
		return nil, nil, unread(err, i.maxBody)
	}
	return b.Bytes(), room, nil
}

// slot waits for room for one more webhook, not for long; leave gives it back.
func (i *intake) slot(address string) (leave func(), ok bool) {
	if !i.count(address) {
		return nil, false
	}
	if !i.await(i.slots) {
		i.uncount(address)
		return nil, false
	}
	return func() {
		<-i.slots
		i.uncount(address)
	}, true
}

// await waits for room, not for long.
func (i *intake) await(room chan<- struct{}) bool {
	timer := time.NewTimer(slotTimeout)
	defer timer.Stop()
	select {
	case room <- struct{}{}:
		return true
	case <-timer.C:
	case <-i.hard.Done():
	}
	return false
}

// count counts the webhooks that are taken from an address at once.
func (i *intake) count(address string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.reading[address] >= maxOfAddress {
		return false
	}
	i.reading[address]++
	return true
}

func (i *intake) uncount(address string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.reading[address]--; i.reading[address] == 0 {
		delete(i.reading, address)
	}
}

// store appends the webhook to the stream, and returns when it is on the disk there. A client that leaves
// does not stop it: it would only come again.
func (i *intake) store(r *http.Request, s site, e jira.Event, body []byte) (outcome, error) {
	bus := i.bus.Load()
	if bus == nil {
		return "", unstored(errNoBus)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), i.patience)
	defer cancel()
	defer context.AfterFunc(i.hard, cancel)()
	received := time.Now()
	options := []event.PublishOption{event.At(received)}
	if id := identity(s.name, r.Header.Get(jira.HeaderIdentifier), e, body); id != "" {
		options = append(options, event.ID(id))
	}
	duplicate := false
	payload := &agnesv1.JiraReceived{Headers: kept(r), Body: body, ReceivedAt: timestamppb.New(received)}
	if err := event.Publish(ctx, bus, event.JiraReceived, s.name, payload, append(options, event.Duplicate(&duplicate))...); err != nil {
		return "", unstored(err)
	}
	i.metrics.storing.Observe(time.Since(received).Seconds())
	if duplicate {
		return outcomeDuplicate, nil
	}
	return outcomeStored, nil
}

var errNoBus = errors.New("not connected to the bus yet")

// identity is what a repeated webhook is recognized by: the identifier that Jira keeps over its retries,
// with what the event is about, as one identifier may stand for several. Without one it is the body,
// if that says when it was sent; else two equal webhooks may be two changes, and the identity is empty.
func identity(source, identifier string, e jira.Event, body []byte) string {
	switch {
	case identifier == "" && e.Timestamp.IsZero():
		return ""
	case identifier == "":
		sum := sha256.Sum256(body)
		return "jira:" + source + ":body:" + hex.EncodeToString(sum[:])
	}
	about := cmp.Or(e.IssueID, e.IssueKey) + "." + cmp.Or(e.CommentID, e.WorklogID, e.AttachmentID, e.LinkID, e.RemoteLinkID, e.SprintID)
	sum := sha256.Sum256([]byte(identifier + "\x00" + e.Name + "\x00" + about))
	return "jira:" + source + ":" + hex.EncodeToString(sum[:])
}

// keptHeaders are those that tell how Jira sent the webhook. Signatures and credentials do not leave the
// intake.
var keptHeaders = []string{jira.HeaderIdentifier, jira.HeaderRetry, jira.HeaderFlow, echo.HeaderContentType, "User-Agent"}

func kept(r *http.Request) map[string]string {
	headers := map[string]string{}
	for _, key := range keptHeaders {
		if value := header(r, key); value != "" {
			headers[strings.ToLower(key)] = value
		}
	}
	return headers
}
