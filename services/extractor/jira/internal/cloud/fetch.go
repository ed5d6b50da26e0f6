package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
)

// mostItems bounds a list of an issue; longer ones are partial.
const mostItems = 100_000

// Fetch reads one issue whole: the issue, its remote links and the fields of the second account at once,
// then those pages of comments, worklogs and changelog that are not embedded in it, if there are any.
//
// NotFound is Jira's word to an account that it knows. Every other error says nothing about the issue.
// Where the issue came and a part of it did not, there is no error: Document.Partial names the part and
// Document.Problem says why.
func (c *Client) Fetch(ctx context.Context, idOrKey string) (Document, error) {
	if err := checkRef(idOrKey); err != nil {
		return Document{}, err
	}
	at := c.cfg.Clock.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	extras := c.extras(ctx, idOrKey)
	d, err := c.issue(ctx, idOrKey)
	if err != nil {
		cancel()
		extras.wait()
		return Document{}, err
	}
	return c.complete(ctx, d, extras, at)
}

// checkRef keeps everything out of a path that is no id and no key of an issue.
func checkRef(idOrKey string) error {
	if jira.ValidID(idOrKey) || jira.ValidIssueKey(idOrKey) {
		return nil
	}
	return fault.New(fault.Invalid, "%q is neither the id nor the key of an issue", shortened(idOrKey))
}

func shortened(v string) string {
	if len(v) > 40 {
		return strings.ToValidUTF8(v[:40], "") + "…"
	}
	return v
}

// issue reads an issue by itself. failFast makes a field that cannot be loaded fail the call: otherwise
// Jira leaves it away, and a value that we know would be gone.
func (c *Client) issue(ctx context.Context, ref string) (*draft, error) {
	var raw json.RawMessage
	err := c.do(ctx, call{
		route: "issue", what: "read the issue " + ref, method: http.MethodGet, path: []string{"rest/api/3/issue", ref},
		query: url.Values{"fields": {"*all"}, "expand": {"changelog"}, "failFast": {"true"}},
	}, &raw)
	if fault.Is(err, fault.NotFound) {
		if problem := c.confirm(ctx); problem != nil {
			return nil, problem
		}
	}
	if err != nil {
		return nil, err
	}
	return parse(raw)
}

// extras are what is read beside an issue.
type extras struct {
	group  sync.WaitGroup
	remote []json.RawMessage
	links  error // of the remote links
	fields map[string]json.RawMessage
	sla    error
}

func (e *extras) wait() { e.group.Wait() }

func (c *Client) extras(ctx context.Context, ref string) *extras {
	e := &extras{}
	if !c.cfg.SkipRemoteLinks {
		e.group.Go(func() { e.remote, e.links = c.remoteLinks(ctx, ref) })
	}
	if c.gateway != nil && len(c.cfg.SLAFields) > 0 {
		e.group.Go(func() { e.fields, e.sla = c.slaFields(ctx, ref) })
	}
	return e
}

func (c *Client) remoteLinks(ctx context.Context, ref string) ([]json.RawMessage, error) {
	var out []json.RawMessage
	err := c.do(ctx, call{
		route: "remotelink", what: "read the remote links of " + ref, method: http.MethodGet, path: []string{"rest/api/3/issue", ref, "remotelink"},
	}, &out)
	if err == nil && out == nil {
		err = fault.New(fault.Unavailable, "Jira's answer cannot be read")
	}
	return out, err
}

func (c *Client) slaFields(ctx context.Context, ref string) (map[string]json.RawMessage, error) {
	var out struct {
		Fields map[string]json.RawMessage `json:"fields"`
	}
	err := c.do(ctx, call{
		route: "sla", what: "read the SLA fields of " + ref, method: http.MethodGet, path: []string{"rest/api/3/issue", ref}, as: asSLA,
		query: url.Values{"fields": {strings.Join(c.cfg.SLAFields, ",")}, "failFast": {"true"}},
	}, &out)
	if fault.Is(err, fault.NotFound) {
		// The issue is there: the first account sees it.
		err = fault.Wrap(err, fault.Forbidden, "the second account, for SLA fields, does not see the issue %s", ref)
	}
	return out.Fields, err
}

// complete reads what is missing of a draft, and puts in what was read beside it.
func (c *Client) complete(ctx context.Context, d *draft, e *extras, at time.Time) (Document, error) {
	var problems [len(kindsOfLists)]error
	var group sync.WaitGroup
	for i := range kindsOfLists {
		if d.lists[i].whole {
			continue
		}
		group.Go(func() {
			items, err := c.pages(ctx, d.id, kindsOfLists[i])
			problems[i] = err
			if err == nil {
				d.lists[i] = list{items: items, known: true, whole: true}
			} else if len(items) > 0 {
				// What was read, and what was embedded: the same item twice is left once.
				d.lists[i].items, d.lists[i].known = append(items, d.lists[i].items...), true
			}
		})
	}
	group.Wait()
	e.wait()
	var partial []string
	if c.cfg.SkipRemoteLinks || e.links != nil {
		partial = append(partial, RemoteLinks)
	} else {
		d.remote, d.hasRemote = e.remote, true
	}
	if e.sla != nil {
		partial = append(partial, SLA)
	}
	for id, value := range e.fields {
		if usable(value) {
			d.fields[id] = value
		}
	}
	all := append(problems[:], e.links, e.sla)
	for _, err := range all {
		// Without an account nothing else is to be had either, and a caller that gave up wants nothing.
		if fault.Is(err, fault.Unauthenticated) && !errors.Is(err, e.sla) || err != nil && ctx.Err() != nil {
			return Document{}, err
		}
	}
	return d.document(at, partial, problemOf(all))
}

// usable tells whether a value of the second account is one: not null, and no message of an error.
func usable(raw json.RawMessage) bool {
	var v map[string]json.RawMessage
	if json.Unmarshal(raw, &v) != nil {
		return len(raw) > 0
	}
	_, refused := v["errorMessage"]
	return v != nil && !refused
}

// problemOf is the error of a part: the first that trying again may mend, or else the first. A part that
// Jira does not find is a passing thing, as the issue it is of was there.
func problemOf(errs []error) error {
	var first error
	for _, err := range errs {
		if fault.Is(err, fault.NotFound) {
			err = fault.Wrap(err, fault.Unavailable, "the issue changed while it was read")
		}
		if err != nil && (first == nil || fault.Retryable(err) && !fault.Retryable(first)) {
			first = err
		}
	}
	return first
}

// page is one part of a list.
type page struct {
	total int
	items []json.RawMessage
	last  bool
}

// pages reads a list from its beginning to its end. Where it grew or shrank meanwhile it is read again,
// since pages are counted from the beginning and items may have slipped from one to another. With an
// error it gives what it has.
func (c *Client) pages(ctx context.Context, id string, k kindOfList) ([]json.RawMessage, error) {
	const rounds = 3
	var items []json.RawMessage
	for range rounds {
		var steady bool
		var err error
		items, steady, err = c.round(ctx, id, k)
		if err != nil || steady {
			return items, err
		}
	}
	return items, fault.New(fault.Unavailable, "the %s of the issue changed each time they were read", k.name)
}

// round reads a list once, the pages after the first at once. steady tells whether all pages are of one
// state of it.
func (c *Client) round(ctx context.Context, id string, k kindOfList) (items []json.RawMessage, steady bool, err error) {
	first, err := c.page(ctx, id, k, 0)
	if err != nil || first.last {
		return first.items, err == nil, err
	}
	if first.total > mostItems {
		return first.items, false, fault.New(fault.TooLarge, "the issue has %d %s, more than %d", first.total, k.name, mostItems)
	}
	if len(first.items) == 0 {
		return nil, false, nil
	}
	// Jira may give less than it was asked for: what it gave is the step.
	step := len(first.items)
	rest := make([]page, (first.total-1)/step)
	errs := make([]error, len(rest))
	var group sync.WaitGroup
	for i := range rest {
		group.Go(func() { rest[i], errs[i] = c.page(ctx, id, k, step*(i+1)) })
	}
	group.Wait()
	items, steady = first.items, true
	for i, p := range rest {
		items = append(items, p.items...)
		if errs[i] != nil && err == nil {
			err = errs[i]
		}
		whole := len(p.items) == min(step, first.total-step*(i+1))
		steady = steady && p.total == first.total && whole
	}
	return items, steady && err == nil && distinct(items), err
}

func distinct(items []json.RawMessage) bool { return len(inOrder(items)) == len(items) }

func (c *Client) page(ctx context.Context, id string, k kindOfList, start int) (page, error) {
	var raw map[string]json.RawMessage
	err := c.do(ctx, call{
		route: k.route, what: "read the " + k.name + " of the issue " + id, method: http.MethodGet, path: []string{"rest/api/3/issue", id, k.route},
		query: url.Values{"startAt": {strconv.Itoa(start)}, "maxResults": {strconv.Itoa(k.most)}},
	}, &raw)
	if err != nil {
		return page{}, err
	}
	p := page{}
	if json.Unmarshal(raw[k.paged], &p.items) != nil || p.items == nil || json.Unmarshal(raw["total"], &p.total) != nil {
		return page{}, fault.Wrap(errNonsense, fault.Unavailable, "Jira's answer cannot be read")
	}
	p.last = start+len(p.items) >= p.total
	return p, nil
}
