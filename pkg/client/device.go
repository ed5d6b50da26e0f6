package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// DeviceCode is a sign-in that waits for its user to agree in a browser (RFC 8628, section 3.2).
type DeviceCode struct {
	// Secret is what the client polls with; it is shown to nobody.
	Secret string
	// UserCode is what the user types, or compares.
	UserCode string
	// VerificationURI is the page to type it at; the complete one has it typed already, and may be empty.
	VerificationURI, VerificationURIComplete string
	// ExpiresIn is how long the code is good, Interval the least pause between two polls.
	ExpiresIn, Interval time.Duration
}

// UnmarshalJSON reads the answer of the server, whose durations are seconds.
func (d *DeviceCode) UnmarshalJSON(raw []byte) error {
	var a struct {
		Secret   string  `json:"device_code"`
		UserCode string  `json:"user_code"`
		URI      string  `json:"verification_uri"`
		Complete string  `json:"verification_uri_complete"`
		Expires  float64 `json:"expires_in"`
		Interval float64 `json:"interval"`
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return err
	}
	*d = DeviceCode{
		Secret: a.Secret, UserCode: a.UserCode, VerificationURI: a.URI, VerificationURIComplete: a.Complete,
		ExpiresIn: time.Duration(a.Expires * float64(time.Second)), Interval: time.Duration(a.Interval * float64(time.Second)),
	}
	return nil
}

// Reasons that a poll has no session for (RFC 8628, section 3.5).
const (
	ReasonPending  = "authorization_pending"
	ReasonSlowDown = "slow_down"
	ReasonDenied   = "access_denied"
	ReasonExpired  = "expired_token"
)

// deviceGrant is the grant type of RFC 8628, section 3.4.
const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// BeginDevice asks for a code to sign in with; clientName is shown to the user who is to agree. A server
// without this way gives fault.NotFound.
func (c *Client) BeginDevice(ctx context.Context, clientName string) (DeviceCode, error) {
	var d DeviceCode
	if err := c.call(ctx, request{method: http.MethodPost, path: "/auth/device/code", body: map[string]string{"client_name": clientName}}, &d); err != nil {
		return d, err
	}
	if d.Secret == "" || d.UserCode == "" || d.VerificationURI == "" {
		return d, fault.New(fault.Permanent, "%s answered without a code to sign in with: is this an Agnes server?", c.Server())
	}
	d.VerificationURI, d.VerificationURIComplete = c.absolute(d.VerificationURI), c.absolute(d.VerificationURIComplete)
	if d.Interval <= 0 {
		d.Interval = 5 * time.Second // RFC 8628, section 3.5
	}
	return d, nil
}

// absolute completes the path of a page by the address of the server, which does not always know it itself.
func (c *Client) absolute(page string) string {
	if strings.HasPrefix(page, "/") && !strings.HasPrefix(page, "//") {
		return c.Server() + page
	}
	return page
}

// PollDevice asks once whether the user agreed. Until then it is an error whose Reason tells why.
func (c *Client) PollDevice(ctx context.Context, d DeviceCode) (Session, error) {
	var s Session
	r := request{
		method: http.MethodPost, path: "/auth/device/token",
		body: map[string]string{"device_code": d.Secret, "grant_type": deviceGrant}, secrets: []string{d.Secret},
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	resp, err := c.send(ctx, r) // not retried here: the caller has the pace
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || !s.whole() {
		return s, c.notTheAPI(err, r.method, r.path)
	}
	return s, nil
}

// AwaitDevice polls until the user agrees, refuses, or the code ends. It keeps the pace that the server
// asks for (interval, slow_down, Retry-After), and goes on over a network that fails for a while.
func (c *Client) AwaitDevice(ctx context.Context, d DeviceCode) (Session, error) {
	pause, failures := d.Interval, 0
	var end <-chan time.Time
	if d.ExpiresIn > 0 {
		timer := time.NewTimer(d.ExpiresIn)
		defer timer.Stop()
		end = timer.C
	}
	wait := pause
	for {
		next := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			next.Stop()
			return Session{}, fault.Wrap(context.Cause(ctx), fault.Unavailable, "the sign-in was given up")
		case <-end:
			next.Stop()
			return Session{}, fault.New(fault.Unauthenticated, "the code has ended without an answer: begin again")
		case <-next.C:
		}
		s, err := c.PollDevice(ctx, d)
		if err == nil {
			return s, nil
		}
		wait = max(pause, fault.RetryAfter(err))
		switch Reason(err) {
		case ReasonPending:
			failures = 0
			continue
		case ReasonSlowDown:
			pause += c.opts.SlowDown
			wait = max(pause, fault.RetryAfter(err))
			continue
		case ReasonDenied:
			return s, fault.Wrap(err, fault.Forbidden, "the sign-in was refused in the browser")
		case ReasonExpired:
			return s, fault.Wrap(err, fault.Unauthenticated, "the code has ended without an answer: begin again")
		}
		if ctx.Err() == nil && !fault.Retryable(err) {
			return s, err
		}
		// A server that is away comes back, and the code is still good: wait longer each time.
		wait = max(wait, pause<<min(failures, 4))
		failures++
	}
}

// DeviceView is a sign-in that waits for its user's decision.
type DeviceView struct {
	UserCode   string    `json:"user_code"`
	ClientName string    `json:"client_name"`
	IP         string    `json:"ip"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// DeviceRequest shows who asks to sign in with a code.
func (c *Client) DeviceRequest(ctx context.Context, userCode string) (DeviceView, error) {
	var v DeviceView
	err := c.call(ctx, request{method: http.MethodGet, path: at("auth", "device", "requests", userCode)}, &v)
	return v, err
}

// DecideDevice lets a program that shows the code sign in as the caller, or refuses it.
func (c *Client) DecideDevice(ctx context.Context, userCode string, approve bool) error {
	return c.call(ctx, request{method: http.MethodPost, path: at("auth", "device", "requests", userCode), body: map[string]bool{"approve": approve}}, nil)
}
