// Package client speaks the HTTP API of Agnes: typed calls, streamed queries, and downloads of parts
// that resume and are verified. Every error is a fault whose message a user may see: it says what went
// wrong and never carries a token, a password or a query string.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Options say which server is asked, and as whom. The zero value of everything but Server is usable.
type Options struct {
	// Server is the base URL, such as "https://agnes.example.com" or one with a path prefix. It must not
	// carry a user, a password, a query or a fragment.
	Server string
	// Token is a session or personal access token; empty asks without credentials.
	Token string
	// Renewed is asked for a newer token after the server refused one as unknown or expired, as when
	// another process renewed a session that both use. The same text, or an empty one, means that there is
	// none; else the request is made once more.
	Renewed func(refused string) string
	// UserAgent names the program in the server's log.
	UserAgent string
	// Retries is how many times a request that may be repeated is tried again; 0 means 3, negative never.
	Retries int
	// Backoff is the pause before each retry, the last one repeated; nil means 0.3, 1 and 3 seconds.
	Backoff []time.Duration
	// MaxRetryAfter is the longest pause that a server may ask for before the call gives up instead;
	// 0 means one minute.
	MaxRetryAfter time.Duration
	// Timeout bounds one try of a call that is not streamed; 0 means 30 seconds.
	Timeout time.Duration
	// IdleTimeout is how long a stream may stay silent before it counts as cut; 0 means one minute.
	IdleTimeout time.Duration
	// SlowDown is how much longer the pause between two polls of a sign-in becomes when the server asks
	// for it; 0 means the 5 seconds of RFC 8628, section 3.5.
	SlowDown time.Duration
	// Transport replaces the HTTP transport, for tests.
	Transport http.RoundTripper
}

// Client asks one server as one user. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
	opts Options
	// token is that of the options, or a newer one.
	token atomic.Pointer[string]
}

// New checks the options and gives a client. Nothing is sent. Close it when done.
func New(opts Options) (*Client, error) {
	base, err := ParseServer(opts.Server)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(opts.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fault.New(fault.Unauthenticated, "the token holds characters that no token has: copy it again, without spaces or line breaks")
	}
	if opts.Retries == 0 {
		opts.Retries = 3
	}
	if len(opts.Backoff) == 0 {
		opts.Backoff = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}
	}
	opts.MaxRetryAfter = orDefault(opts.MaxRetryAfter, time.Minute)
	opts.Timeout = orDefault(opts.Timeout, 30*time.Second)
	opts.IdleTimeout = orDefault(opts.IdleTimeout, time.Minute)
	if opts.UserAgent == "" {
		opts.UserAgent = "agnes-client"
	}
	transport := opts.Transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = 16
		transport = own
	}
	opts.SlowDown = orDefault(opts.SlowDown, 5*time.Second)
	c := &Client{
		base: base,
		opts: opts,
		http: &http.Client{Transport: transport, CheckRedirect: safeRedirect},
	}
	c.token.Store(&opts.Token)
	return c, nil
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// ParseServer checks the address of a server and gives it without a trailing slash. A missing scheme
// is https, or http for this machine itself.
func ParseServer(server string) (*url.URL, error) {
	server = strings.TrimSpace(server)
	if server == "" {
		return nil, fault.New(fault.Invalid, "no server is configured")
	}
	if !strings.Contains(server, "://") {
		server = schemeFor(server) + "://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the address of the server is not a URL") // err quotes it, and it may hold a password
	}
	switch {
	case u.User != nil:
		return nil, fault.New(fault.Invalid, "the address of the server must not carry a user or a password: sign in with `da login`")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fault.New(fault.Invalid, "the address of the server must start with https:// or http://")
	case u.Host == "":
		return nil, fault.New(fault.Invalid, "the address of the server has no host")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fault.New(fault.Invalid, "the address of the server must not have a query or a fragment")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	u.Host = strings.ToLower(u.Host)
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

func schemeFor(server string) string {
	host, _, _ := strings.Cut(server, "/")
	name, _, _ := strings.Cut(host, ":")
	if name == "localhost" || name == "127.0.0.1" || strings.HasPrefix(host, "[::1]") {
		return "http"
	}
	return "https"
}

// redirectError is a redirect that is not followed.
type redirectError struct{ text string }

func (e *redirectError) Error() string { return e.text }

// safeRedirect follows a redirect only where the credentials stay as safe as they were: the standard
// library drops them for another host, but neither for the step from https to http nor in a body. Nor is a
// redirect followed that would make a question out of what was sent.
func safeRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	to := next.URL.Scheme + "://" + next.URL.Host
	switch {
	case len(via) >= 5:
		return &redirectError{"more than 5 redirects"}
	case first.URL.Scheme == "https" && next.URL.Scheme != "https":
		return &redirectError{"it redirects from https to http"}
	case next.Method != first.Method:
		return &redirectError{"use its address, " + to}
	case first.Method != http.MethodGet && first.Method != http.MethodHead && next.URL.Host != first.URL.Host && !sameHostByTLS(first.URL, next.URL):
		return &redirectError{"use its address, " + to}
	}
	return nil
}

// sameHostByTLS: the only step is from http to https, each on its usual port.
func sameHostByTLS(from, to *url.URL) bool {
	return from.Hostname() == to.Hostname() && from.Scheme == "http" && to.Scheme == "https" && from.Port() == "" && to.Port() == ""
}

// Server is the base URL, without a trailing slash.
func (c *Client) Server() string { return c.base.String() }

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call before it is sent.
type request struct {
	method string
	// path has escaped segments; see at.
	path   string
	query  url.Values
	header http.Header
	body   any
	// open gives the body of each try instead of body, where it is not JSON.
	open func() (content, error)
	// repeatable: sending it twice does no harm, so a try whose answer was lost is repeated. GET, HEAD,
	// PUT and DELETE are always.
	repeatable bool
	// timeout bounds one try; 0 means that of the client.
	timeout time.Duration
	// secrets must not appear in an error, whatever the server answers.
	secrets []string
}

// content is a body that is sent while it is read.
type content struct {
	io.Reader
	mediaType string
	length    int64 // bytes
}

// at joins path segments, each escaped: an id is never a path.
func at(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func (r request) mayRepeat() bool {
	switch r.method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	return r.repeatable
}

// call sends r and decodes the JSON answer into out; a nil out reads nothing.
func (c *Client) call(ctx context.Context, r request, out any) error {
	_, err := c.callHeader(ctx, r, out)
	return err
}

// callHeader is call that also gives the headers of the answer.
func (c *Client) callHeader(ctx context.Context, r request, out any) (http.Header, error) {
	var header http.Header
	err := c.retry(ctx, r, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, orDefault(r.timeout, c.opts.Timeout))
		defer cancel()
		resp, err := c.send(ctx, r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		header = resp.Header
		if resp.StatusCode == http.StatusNotModified {
			return errNotModified
		}
		if out == nil || resp.StatusCode == http.StatusNoContent {
			_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
			return c.transportFault(ctx, err)
		}
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			return c.transportFault(ctx, err)
		}
		if err := json.Unmarshal(raw, out); err != nil {
			return c.notTheAPI(err, r.method, r.path)
		}
		if answer, ok := out.(checked); ok && !answer.whole() {
			return c.notTheAPI(nil, r.method, r.path)
		}
		return nil
	})
	return header, err
}

// checked is an answer without which nothing works. JSON of something else than Agnes decodes into any
// answer, and leaves it empty: that must not pass for a sign-in, or for a server that is well.
type checked interface{ whole() bool }

// errNotModified is the answer 304 to a conditional request.
var errNotModified = errors.New("not modified")

// send makes one try, or two where the first was refused for a token that has a newer one. An answer of
// 400 or more is an error; otherwise the caller closes the body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	token := *c.token.Load()
	resp, err := c.sendAs(ctx, r, token)
	if StatusCode(err) != http.StatusUnauthorized || token == "" || c.opts.Renewed == nil {
		return resp, err
	}
	newer := c.opts.Renewed(token)
	if newer == "" || newer == token {
		return nil, err
	}
	c.token.Store(&newer)
	return c.sendAs(ctx, r, newer)
}

func (c *Client) sendAs(ctx context.Context, r request, token string) (*http.Response, error) {
	body, err := r.content()
	if err != nil {
		return nil, err
	}
	address := c.Server() + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, body.Reader)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the request cannot be made for %s", r.path)
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	if body.Reader != nil {
		req.ContentLength = body.length
		req.Header.Set("Content-Type", body.mediaType)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportFault(ctx, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		return nil, c.answerFault(resp, r)
	}
	return resp, nil
}

// content gives the body of a try; without a Reader where there is none.
func (r request) content() (content, error) {
	switch {
	case r.open != nil:
		return r.open()
	case r.body == nil:
		return content{}, nil
	}
	raw, err := json.Marshal(r.body)
	if err != nil {
		return content{}, fault.Wrap(err, fault.Invalid, "the request cannot be written as JSON")
	}
	return content{Reader: bytes.NewReader(raw), mediaType: "application/json", length: int64(len(raw))}, nil
}
