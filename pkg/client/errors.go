package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// StatusError is the cause of an error that the server answered with.
type StatusError struct {
	// Code is the HTTP status.
	Code int
	// RequestID names the request in the server's log; empty where it did not say.
	RequestID string
	// Reason is the code that a sign-in by a device is refused with (RFC 8628, section 3.5), such as
	// "authorization_pending"; empty elsewhere.
	Reason string
}

// Error names the status.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("HTTP %d %s", e.Code, http.StatusText(e.Code))
	if e.RequestID != "" {
		text += ", request " + e.RequestID
	}
	return text
}

// StatusCode is the HTTP status that err comes from; 0 where the server did not answer.
func StatusCode(err error) int {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}

// Reason is the code that a sign-in by a device was refused with; empty where err is something else.
func Reason(err error) string {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Reason
	}
	return ""
}

// maxProblem bounds how much of an error's body is read.
const maxProblem = 64 << 10

// problem is an error body: RFC 9457 with our kind, or the list of FastAPI.
type problem struct {
	Detail json.RawMessage `json:"detail"`
	Kind   fault.Kind      `json:"kind"`
	Error  json.RawMessage `json:"error"`
}

// answerFault turns an answer of 400 or more into a fault.
func (c *Client) answerFault(resp *http.Response, r request) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem)) // an unreadable body leaves the status to tell
	var p problem
	_ = json.Unmarshal(raw, &p) // so does one that is not JSON, such as a proxy's page
	kind := p.Kind
	if !known(kind) {
		kind = kindOf(resp.StatusCode)
	}
	text := detail(p.Detail)
	if resp.StatusCode == http.StatusNotFound && noRoute(text) {
		return fault.Wrap(&StatusError{Code: resp.StatusCode, RequestID: printable(resp.Header.Get("X-Request-Id"))}, fault.NotFound,
			"%s does not know %s %s: is it an Agnes server, and as new as this program?", c.Server(), r.method, r.path)
	}
	if text == "" {
		text = fmt.Sprintf("%s answered %s %s with %d %s", c.Server(), r.method, r.path, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	err := fault.Wrap(&StatusError{Code: resp.StatusCode, RequestID: printable(resp.Header.Get("X-Request-Id")), Reason: printable(detail(p.Error))},
		kind, "%s", c.scrub(printable(text), r.secrets))
	if pause := retryAfter(resp.Header.Get("Retry-After"), time.Now()); pause > 0 {
		var f *fault.Error
		if errors.As(err, &f) {
			return f.After(pause)
		}
	}
	return err
}

// noRoute tells the answer to a path that the server does not have from that about a thing that it does not
// have, by its sentence: ours, the predecessor's, or none.
func noRoute(text string) bool {
	return text == "" || text == "Not Found" || strings.HasPrefix(text, "there is nothing at this path")
}

// errIncomplete is the cause where an answer lacks what everything hangs on.
var errIncomplete = errors.New("the answer is incomplete")

// notTheAPI is the fault of an answer that cannot be decoded, or, with a nil err, lacks what it must have.
func (c *Client) notTheAPI(err error, method, path string) error {
	if err == nil {
		err = errIncomplete
	}
	return fault.Wrap(err, fault.Permanent,
		"%s answered %s %s with something that is not its API: is this an Agnes server, and as new as this program?", c.Server(), method, path)
}

func known(kind fault.Kind) bool {
	switch kind {
	case fault.Invalid, fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.Conflict,
		fault.TooLarge, fault.Busy, fault.Unavailable, fault.Permanent, fault.Internal:
		return true
	}
	return false
}

// kindOf is what a status means where the body does not say, as behind a proxy.
func kindOf(status int) fault.Kind {
	switch status {
	case http.StatusUnauthorized:
		return fault.Unauthenticated
	case http.StatusForbidden:
		return fault.Forbidden
	case http.StatusNotFound, http.StatusGone:
		return fault.NotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fault.Conflict
	case http.StatusRequestEntityTooLarge:
		return fault.TooLarge
	case http.StatusTooManyRequests:
		return fault.Busy
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fault.Unavailable
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusMethodNotAllowed, http.StatusNotAcceptable:
		return fault.Permanent
	}
	if status >= http.StatusInternalServerError {
		return fault.Internal
	}
	return fault.Invalid
}

// detail reads the sentence of a problem: a string, or a list of {loc, msg}.
func detail(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var list []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return ""
	}
	var parts []string
	for _, e := range list {
		where := make([]string, len(e.Loc))
		for i, l := range e.Loc {
			where[i] = fmt.Sprint(l)
		}
		parts = append(parts, strings.TrimPrefix(strings.Join(where, ".")+": "+e.Msg, ": "))
	}
	return strings.Join(parts, "; ")
}

// printable takes out what could move a terminal's cursor or hide text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

// scrub takes our secrets out of what a server answered: some echo what they refuse.
func (c *Client) scrub(text string, secrets []string) string {
	for _, s := range append([]string{c.opts.Token, *c.token.Load()}, secrets...) {
		if len(s) > 3 {
			text = strings.ReplaceAll(text, s, "[secret]")
		}
	}
	return text
}

// retryAfter reads the header: seconds or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, 24*60*60)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// errStalled is the cause of a stream that stayed silent for too long.
var errStalled = errors.New("no data arrived for too long")

// transportFault says in words why no answer came, or why it broke off. The error of net/http is
// unwrapped: it quotes the URL.
func (c *Client) transportFault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var already *fault.Error
	if errors.As(err, &already) {
		return err
	}
	var quoted *url.Error
	if errors.As(err, &quoted) {
		err = quoted.Err
	}
	server := c.Server()
	if errors.Is(context.Cause(ctx), errStalled) {
		return fault.Wrap(errStalled, fault.Unavailable, "%s sent nothing for %s", server, c.opts.IdleTimeout)
	}
	if errors.Is(err, context.Canceled) {
		return fault.Wrap(err, fault.Unavailable, "the work was cancelled")
	}
	var (
		dns         *net.DNSError
		unknown     x509.UnknownAuthorityError
		hostname    x509.HostnameError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		timeout     net.Error
		redirect    *redirectError
	)
	switch {
	case errors.As(err, &redirect):
		return fault.Wrap(err, fault.Permanent, "%s sends requests elsewhere: %s", server, redirect.text)
	case errors.As(err, &dns) && dns.IsNotFound && dns.Name != c.base.Hostname():
		return fault.Wrap(err, fault.Permanent, "%s sends requests on to %s, which is not found: is this an Agnes server?", server, printable(dns.Name))
	case errors.As(err, &dns) && dns.IsNotFound:
		return fault.Wrap(err, fault.Permanent, "there is no host %s: check the address of the server", c.base.Hostname())
	case errors.As(err, &hostname):
		return fault.Wrap(err, fault.Permanent, "the certificate of %s is for another host", server)
	case errors.As(err, &unknown), errors.As(err, &certificate):
		return fault.Wrap(err, fault.Permanent, "the certificate of %s cannot be trusted: have it renewed, or add its authority to this machine (SSL_CERT_FILE)", server)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fault.Wrap(err, fault.Permanent, "%s does not speak TLS: try http://", server)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.Wrap(err, fault.Unavailable, "%s cannot be reached: nothing listens there", server)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(err, fault.Unavailable, "%s did not answer in time", server)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fault.Wrap(err, fault.Unavailable, "the connection to %s broke off", server)
	}
	return fault.Wrap(err, fault.Unavailable, "%s cannot be reached", server)
}
