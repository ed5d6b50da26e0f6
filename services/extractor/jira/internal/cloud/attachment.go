package cloud

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/jonboulle/clockwork"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
)

// Content of an attachment. Close its body.
type Content struct {
	// Body gives Unavailable where it breaks off before Size, or pauses for longer than a call may take.
	Body io.ReadCloser
	// Size in bytes; -1 where it is not known.
	Size int64
	// Type is the media type that the host says; a guess of whoever uploaded it.
	Type string
}

// Attachment streams the content of an attachment by its id, from the configured site: an address in an
// issue or a webhook is never looked at. Jira redirects to Atlassian's media hosts, which are followed,
// without our credentials and nowhere else.
func (c *Client) Attachment(ctx context.Context, id string) (*Content, error) {
	if !jira.ValidID(id) {
		return nil, fault.New(fault.Invalid, "%q is not the id of an attachment", shortened(id))
	}
	q := call{
		route: "attachment", what: "read the attachment " + id, method: http.MethodGet, path: []string{"rest/api/3/attachment/content", id},
	}
	var out *Content
	err := c.ask(ctx, q, func(ctx context.Context) (answer, error) {
		var a answer
		var err error
		out, a, err = c.open(ctx, q)
		return a, err
	})
	if fault.Is(err, fault.NotFound) {
		if problem := c.confirm(ctx); problem != nil {
			return nil, problem
		}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// open follows an attachment to where its content is. The context of the answer lives on in its body.
func (c *Client) open(ctx context.Context, q call) (*Content, answer, error) {
	const mostHops = 3
	ctx, cancel := context.WithCancel(ctx)
	watch := c.watch(cancel)
	fail := func(a answer, err error) (*Content, answer, error) {
		watch.Stop()
		cancel()
		return nil, a, err
	}
	req, err := c.request(ctx, q)
	if err != nil {
		return fail(answer{}, err)
	}
	req.Header.Set("Accept", "*/*")
	for hop := 0; ; hop++ {
		res, err := c.cfg.Transport.RoundTrip(req)
		if err != nil {
			return fail(answer{}, c.unreachable(err))
		}
		a := answer{status: res.StatusCode, header: res.Header}
		if res.StatusCode == http.StatusOK {
			if hop == 0 {
				if err := refusedLogin(res.Header); err != nil {
					res.Body.Close()
					return fail(a, err)
				}
			}
			b := &body{c: c, in: res.Body, left: res.ContentLength, cancel: cancel, watch: watch}
			return &Content{Body: b, Size: res.ContentLength, Type: res.Header.Get("Content-Type")}, a, nil
		}
		a.body, _ = io.ReadAll(io.LimitReader(res.Body, 64<<10))
		res.Body.Close()
		if res.StatusCode/100 != 3 || res.StatusCode == http.StatusNotModified {
			if hop > 0 && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden) {
				// The media host knows tokens of a few minutes, not accounts.
				return fail(a, fault.New(fault.Unavailable, "the media host refuses (%d) to hand over the attachment", a.status))
			}
			return fail(a, c.judge(q, a))
		}
		if hop >= mostHops {
			return fail(a, fault.New(fault.Permanent, "the attachment is redirected too often"))
		}
		if req, err = c.follow(ctx, req.URL, res.Header.Get("Location")); err != nil {
			return fail(a, err)
		}
	}
}

// follow makes the request for a redirect of an attachment: to a media host alone, and as a stranger.
func (c *Client) follow(ctx context.Context, from *url.URL, location string) (*http.Request, error) {
	to, err := from.Parse(location)
	if err != nil || location == "" {
		return nil, fault.New(fault.Permanent, "the attachment is redirected to no address")
	}
	if to.Scheme != c.site.Scheme && to.Scheme != "https" || to.User != nil || !slices.Contains(c.cfg.MediaHosts, to.Host) {
		return nil, fault.New(fault.Permanent, "the attachment is redirected to %s, which is no media host of Atlassian: it is not followed", to.Host)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, fault.Wrap(c.scrub(err), fault.Internal, "the call to the media host cannot be made")
	}
	req.Header.Set("User-Agent", "agnes-extractor-jira")
	return req, nil
}

// watch ends a stream that pauses for longer than a call may take.
func (c *Client) watch(cancel context.CancelFunc) clockwork.Timer {
	return c.cfg.Clock.AfterFunc(c.cfg.CallTimeout, cancel)
}

// body is a stream that is watched, and that knows how long it must be.
type body struct {
	c      *Client
	in     io.ReadCloser
	left   int64 // -1: unknown
	cancel context.CancelFunc
	watch  clockwork.Timer
	once   sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	b.watch.Reset(b.c.cfg.CallTimeout)
	n, err := b.in.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
	}
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF && b.left <= 0:
		return n, io.EOF
	}
	return n, fault.Wrap(b.c.scrub(err), fault.Unavailable, "the attachment broke off")
}

func (b *body) Close() error {
	var err error
	b.once.Do(func() {
		b.watch.Stop()
		err = b.in.Close()
		b.cancel()
	})
	return err
}
