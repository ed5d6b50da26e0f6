package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/internal/outbound"
)

// as is whose credentials a call has.
type as int

const (
	asReader as = iota // the account of the source
	asSLA              // the second account, through the gateway
	asApp              // the OAuth app, for dynamic webhooks
)

// call is one question to Jira.
type call struct {
	route  string // a short word for metrics
	what   string // what we want, for errors: "read issue SUP-1"
	method string
	path   []string // a constant, then what is escaped as one element each
	query  url.Values
	body   any
	as     as
	once   bool // not idempotent: not sent again where Jira may have acted on it
}

// Pauses of a limit that does not say how long, and between tries.
const (
	pauseUnsaid  = 5 * time.Second
	backoffFirst = 200 * time.Millisecond
	backoffMost  = 10 * time.Second
)

// answer is what came back, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do asks until there is a good answer or none to be hoped for, and decodes it into into, which may be nil.
func (c *Client) do(ctx context.Context, q call, into any) error {
	return c.ask(ctx, q, func(ctx context.Context) (answer, error) {
		a, err := c.once(ctx, q)
		if err == nil && into != nil {
			err = decode(a.body, into)
		}
		return a, err
	})
}

// errNonsense is an answer that is no JSON of the form that we expect.
var errNonsense = errors.New("the answer is not what Jira answers")

func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fault.Wrap(fmt.Errorf("%w: %d bytes: %w", errNonsense, len(body), err), fault.Unavailable, "Jira's answer cannot be read")
	}
	return nil
}

// ask calls try within the limits, again where it failed in passing.
func (c *Client) ask(ctx context.Context, q call, try func(ctx context.Context) (answer, error)) error {
	patience := c.cfg.Patience
	if c.priority == background {
		patience = c.cfg.BackgroundPatience
	}
	deadline := c.cfg.Clock.Now().Add(patience)
	throttles := 0
	for n := 0; ; {
		release, err := c.limit.acquire(ctx, c.priority, deadline)
		if err != nil {
			return err
		}
		began := c.cfg.Clock.Now()
		a, err := try(ctx)
		release()
		c.metrics.called(q.route, a.status, c.cfg.Clock.Since(began))
		switch {
		case a.status == http.StatusTooManyRequests:
			asked := c.pauseFor(a, began, throttles)
			throttles++
			if !c.cfg.Clock.Now().Add(asked).Before(deadline) {
				return throttled(asked)
			}
			c.metrics.retried("throttled")
			continue
		case err == nil:
			if strings.EqualFold(a.header.Get("X-Ratelimit-Nearlimit"), "true") {
				c.limit.warn()
			} else {
				c.limit.good(c.priority)
			}
			return nil
		}
		if ctx.Err() != nil {
			return fault.Wrap(c.scrub(ctx.Err()), fault.Unavailable, "the call to Jira was given up")
		}
		if n >= c.cfg.Retries || !c.again(q, a, err) {
			return err
		}
		c.metrics.retried(reason(a, err))
		if !c.sleep(ctx, backoff(n, retryAfter(a.header, began), c.cfg.CallTimeout)) {
			return err
		}
		n++
	}
}

// pauseFor lets the limiter pause for as long as Jira asks, or as its documentation does where it says
// nothing, and gives how long.
func (c *Client) pauseFor(a answer, began time.Time, throttles int) time.Duration {
	c.metrics.limited(c.priority)
	asked := retryAfter(a.header, c.cfg.Clock.Now())
	if asked <= 0 {
		asked = min(pauseUnsaid<<min(throttles, 3), 30*time.Second)
	}
	c.limit.pause(c.priority, began, asked)
	return asked
}

// again tells whether another try can help, and can do no harm.
func (c *Client) again(q call, a answer, err error) bool {
	if q.once {
		var dial *net.OpError
		return a.status == 0 && errors.As(err, &dial) && dial.Op == "dial"
	}
	return isAny(err, fault.Unavailable)
}

func reason(a answer, err error) string {
	switch {
	case errors.Is(err, errNonsense):
		return "malformed"
	case a.status == 0:
		return "network"
	case a.status/100 == 2:
		return "cut"
	}
	return "status"
}

// backoff is how long to wait after try n (from 0): twice as long each time and spread, but as long as
// Jira asks, if that is no longer than a call may take.
func backoff(n int, asked, most time.Duration) time.Duration {
	return max(outbound.Backoff(n, backoffFirst, backoffMost), min(asked, most))
}

func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	t := c.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.Chan():
		return true
	case <-ctx.Done():
		return false
	}
}

// once makes one call and reads its answer.
func (c *Client) once(ctx context.Context, q call) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	req, err := c.request(ctx, q)
	if err != nil {
		return answer{}, err
	}
	// Not a http.Client: nothing is redirected, and no redirect takes our credentials along.
	res, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		return answer{}, c.unreachable(err)
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, c.cfg.MaxBody+1))
	if err != nil {
		return a, fault.Wrap(c.scrub(err), fault.Unavailable, "Jira's answer broke off")
	}
	if int64(len(a.body)) > c.cfg.MaxBody {
		return a, fault.New(fault.TooLarge, "Jira's answer is larger than %d MiB: %s", c.cfg.MaxBody>>20, q.what)
	}
	return a, c.judge(q, a)
}

// judge is the error of an answer, if it is one.
func (c *Client) judge(q call, a answer) error {
	if q.as != asApp {
		if err := refusedLogin(a.header); err != nil {
			if q.as == asReader {
				c.confirmed.Store(nil)
			}
			return c.ofAccount(q, err)
		}
	}
	if a.status/100 != 2 {
		return c.ofAccount(q, c.failure(q.what, a.status, a.header, a.body))
	}
	return nil
}

// ofAccount says of which account an error is, where it is not the first one.
func (c *Client) ofAccount(q call, err error) error {
	if !isAny(err, fault.Unauthenticated, fault.Forbidden) {
		return err
	}
	switch q.as {
	case asSLA:
		return fault.Wrap(err, fault.KindOf(err), "of the second account, for SLA fields (JIRA_SLA_EMAIL, JIRA_SLA_API_TOKEN): %s", fault.Message(err))
	case asApp:
		return fault.Wrap(err, fault.KindOf(err), "of the OAuth app that registers webhooks: %s", fault.Message(err))
	case asReader:
	}
	return err
}

func (c *Client) unreachable(err error) error {
	cause := c.scrub(err)
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		cause = &refusedDial{text: cause.Error(), dial: dial}
	}
	return fault.Wrap(cause, fault.Unavailable, "Jira cannot be reached")
}

// refusedDial lets a failed connection be told from a broken one: nothing was sent.
type refusedDial struct {
	text string
	dial *net.OpError
}

func (e *refusedDial) Error() string { return e.text }

func (e *refusedDial) Unwrap() error { return e.dial }

func (c *Client) request(ctx context.Context, q call) (*http.Request, error) {
	base := c.site
	if q.as == asSLA {
		base = c.gateway
	}
	u := base.JoinPath(q.path[0]).JoinPath(escaped(q.path[1:])...)
	u.RawQuery = q.query.Encode()
	var body io.Reader
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the call to Jira cannot be written")
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, fault.Wrap(c.scrub(err), fault.Internal, "the call to Jira cannot be made")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "agnes-extractor-jira")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, c.sign(ctx, req, q.as)
}

// escaped makes each element one element of a path, whatever is in it.
func escaped(path []string) []string {
	out := make([]string, len(path))
	for i, p := range path {
		out[i] = url.PathEscape(p)
	}
	return out
}

func (c *Client) sign(ctx context.Context, req *http.Request, as as) error {
	switch as {
	case asSLA:
		req.SetBasicAuth(c.cfg.SLA.Email, c.cfg.SLA.Token)
	case asApp:
		if c.cfg.AppToken == nil {
			req.SetBasicAuth(c.cfg.Email, c.cfg.Token)
			return nil
		}
		token, err := c.cfg.AppToken(ctx)
		if err != nil {
			return fault.Wrap(err, fault.Unauthenticated, "there is no access token of the OAuth app that registers webhooks")
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case asReader:
		req.SetBasicAuth(c.cfg.Email, c.cfg.Token)
	}
	return nil
}
