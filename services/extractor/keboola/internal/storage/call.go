package storage

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

// call is one question to the API.
type call struct {
	route  string // a short word for metrics
	what   string // what we want, for errors: "read the table in.c-crm.orders"
	method string
	path   []string // what is escaped as one element each, below /v2/storage
	query  url.Values
	form   url.Values
	json   any
}

// Pauses between tries.
const (
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 15 * time.Second
)

// do asks until there is a good answer or none to be hoped for, and decodes it into into.
func (c *Client) do(ctx context.Context, q call, into any) error {
	_, err := c.raw(ctx, q, func(body []byte) error {
		if into == nil {
			return nil
		}
		if err := json.Unmarshal(body, into); err != nil {
			return fault.Wrap(fmt.Errorf("%d bytes: %w", len(body), err), fault.Unavailable, "Keboola's answer cannot be read: %s", q.what)
		}
		return nil
	})
	return err
}

// raw asks as do does, and gives the body that check finds good.
func (c *Client) raw(ctx context.Context, q call, check func([]byte) error) ([]byte, error) {
	if err := c.calls.Acquire(ctx, 1); err != nil {
		return nil, given(ctx)
	}
	defer c.calls.Release(1)
	for n := 0; ; n++ {
		began := c.cfg.Clock.Now()
		status, body, err := c.once(ctx, q)
		if err == nil && check != nil {
			err = check(body)
		}
		c.metrics.called(q.route, status, c.cfg.Clock.Since(began))
		if err == nil {
			return body, nil
		}
		pause, again := c.again(ctx, n, err)
		if !again {
			return nil, err
		}
		c.metrics.retried(status)
		if !c.sleep(ctx, pause) {
			return nil, given(ctx)
		}
	}
}

// again tells whether and after what pause something is tried again that failed for the n-th time from 0.
func (c *Client) again(ctx context.Context, n int, err error) (time.Duration, bool) {
	if ctx.Err() != nil || n >= c.cfg.Retries {
		return 0, false
	}
	asked := fault.RetryAfter(err)
	switch fault.KindOf(err) {
	case fault.Busy, fault.Unavailable:
		if asked > c.cfg.Patience {
			return 0, false
		}
	default:
		return 0, false
	}
	return max(outbound.Backoff(n, backoffFirst, backoffMost), asked), true
}

// given is the error of work that its caller gave up.
func given(ctx context.Context) error {
	return fault.Wrap(ctx.Err(), fault.Unavailable, "the call to Keboola was given up")
}

// once makes one call and reads its answer.
func (c *Client) once(ctx context.Context, q call) (status int, body []byte, err error) {
	callCtx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	req, err := c.request(callCtx, q)
	if err != nil {
		return 0, nil, err
	}
	// Not a http.Client: nothing is redirected, and no redirect takes the token along.
	res, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		return 0, nil, c.unreachable(ctx, c.stack.Host, err)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, c.cfg.MaxBody+1))
	if err != nil {
		if ctx.Err() != nil {
			return res.StatusCode, nil, given(ctx)
		}
		return res.StatusCode, nil, fault.Wrap(c.scrub(err), fault.Unavailable, "Keboola's answer broke off: %s", q.what)
	}
	if int64(len(body)) > c.cfg.MaxBody {
		return res.StatusCode, nil, fault.New(fault.TooLarge, "Keboola's answer is larger than %d MiB: %s", c.cfg.MaxBody>>20, q.what)
	}
	if res.StatusCode/100 != 2 {
		return res.StatusCode, nil, c.failure(q.what, res.StatusCode, res.Header, body)
	}
	return res.StatusCode, body, nil
}

func (c *Client) request(ctx context.Context, q call) (*http.Request, error) {
	u := c.stack.JoinPath("v2", "storage")
	for _, p := range q.path {
		u.RawPath = u.EscapedPath() + "/" + url.PathEscape(p)
		u.Path += "/" + p
	}
	u.RawQuery = q.query.Encode()
	var body io.Reader = http.NoBody
	contentType := ""
	switch {
	case q.form != nil:
		body, contentType = strings.NewReader(q.form.Encode()), "application/x-www-form-urlencoded"
	case q.json != nil:
		raw, err := json.Marshal(q.json)
		if err != nil {
			return nil, fmt.Errorf("encode a call to Keboola: %w", err)
		}
		body, contentType = bytes.NewReader(raw), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, fault.Wrap(c.scrub(err), fault.Invalid, "Keboola cannot be asked to %s", q.what)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "agnes-extractor-keboola")
	req.Header.Set("X-StorageApi-Token", c.cfg.Token)
	return req, nil
}

func (c *Client) unreachable(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return given(ctx)
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fault.Wrap(c.scrub(err), fault.Unavailable, "%s cannot be reached", host)
	}
	return fault.Wrap(c.scrub(err), fault.Unavailable, "%s did not answer", host)
}

// scrub takes the token out of an error, and addresses, which are signed.
func (c *Client) scrub(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return outbound.Scrub(err, c.secrets)
}

// failure is the error of an answer that is none of 2xx.
func (c *Client) failure(what string, status int, h http.Header, body []byte) error {
	said := c.said(body)
	switch {
	case status == http.StatusUnauthorized:
		return fault.New(fault.Unauthenticated, "Keboola does not accept the token: it has expired, was revoked, or belongs to another stack. Make a new one in the project and set KEBOOLA_STORAGE_TOKEN, or what token_env names")
	case status == http.StatusForbidden:
		return fault.New(fault.Forbidden, "Keboola does not let the token %s%s: give it the permission to read the bucket", what, said)
	case status == http.StatusNotFound || status == http.StatusGone:
		return fault.New(fault.NotFound, "Keboola has nothing there: %s%s", what, said)
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Busy, "Keboola limits the rate of calls").After(c.retryAfter(h))
	case status == http.StatusNotImplemented:
		return fault.New(fault.Permanent, "Keboola cannot %s%s", what, said)
	case status/100 == 3:
		return fault.New(fault.Permanent, "the stack answers with a redirect: set stack_url to the address that it has now")
	case status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		return fault.New(fault.Unavailable, "Keboola answers %d %s: %s", status, http.StatusText(status), what).After(c.retryAfter(h))
	}
	return fault.New(fault.Invalid, "Keboola refuses (%d) to %s%s", status, what, said)
}

// said is what Keboola says in an answer of its own form, ": " before it, and short.
func (c *Client) said(body []byte) string {
	var e struct {
		Error   any    `json:"error"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	text, _ := e.Error.(string)
	if text == "" {
		text = e.Message
	}
	return c.short(text)
}

// short makes a text from outside fit for a sentence, ": " before it.
func (c *Client) short(text string) string {
	return outbound.Said(c.secrets.Replace(strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")))
}

// retryAfter is how long an answer asks to wait.
func (c *Client) retryAfter(h http.Header) time.Duration {
	pause, _ := outbound.RetryAfter(h, c.cfg.Clock.Now())
	return pause
}
