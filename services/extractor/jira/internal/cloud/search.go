package cloud

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
)

// Hit is an issue that a search found. Key and Updated are there where they were asked for.
type Hit struct {
	ID, Key string
	Updated time.Time
	// Fields are the fields that were asked for, as Jira has them.
	Fields map[string]json.RawMessage
}

// Page is a part of what a search found.
type Page struct {
	Hits []Hit
	// Next is where SearchFrom goes on after this page, for seven days; empty after the last one.
	Next string
}

// Search finds issues by JQL and gives them to page, each once, with the fields named ("key" and
// "updated" are fields here). It returns nil only when Jira said that this was all, so that what was not
// among it is not there: for an answer without an issue the account is checked first. An error of page
// ends the search and is returned.
//
// Jira refuses a JQL without a restriction (Invalid, with its words), reads its dates in the time zone of
// the account (Me.Since writes them), and sees changes late by seconds.
func (c *Client) Search(ctx context.Context, jql string, fields []string, page func(Page) error) error {
	return c.SearchFrom(ctx, jql, fields, "", page)
}

// SearchFrom goes on where Page.Next says. A place that Jira has forgotten is no error: the search begins
// anew, and page gets those issues again that this call did not give to it.
func (c *Client) SearchFrom(ctx context.Context, jql string, fields []string, from string, page func(Page) error) error {
	e := &enumeration{c: c, jql: jql, fields: fields, token: from, seen: map[int64]struct{}{}}
	for {
		p, err := e.next(ctx)
		if err != nil {
			return err
		}
		if len(p.Hits) > 0 || p.Next != "" {
			if err := page(p); err != nil {
				return err
			}
		}
		if p.Next == "" {
			if len(e.seen) == 0 {
				return c.confirm(ctx)
			}
			return nil
		}
	}
}

// Count tells about how many issues a JQL finds: Jira's index gives an estimate, and is late by seconds.
func (c *Client) Count(ctx context.Context, jql string) (int64, error) {
	var a struct {
		Count *int64 `json:"count"`
	}
	body := map[string]string{"jql": jql}
	err := c.do(ctx, call{route: "count", what: "count issues", method: http.MethodPost, path: []string{"rest/api/3/search/approximate-count"}, body: body}, &a)
	if err == nil && (a.Count == nil || *a.Count < 0) {
		err = fault.Wrap(errNonsense, fault.Unavailable, "Jira's answer cannot be read")
	}
	if err != nil {
		return 0, err
	}
	return *a.Count, nil
}

// enumeration is a search under way.
type enumeration struct {
	c        *Client
	jql      string
	fields   []string
	token    string
	seen     map[int64]struct{}
	restarts int
}

type searchAsk struct {
	JQL           string   `json:"jql"`
	MaxResults    int      `json:"maxResults"`
	Fields        []string `json:"fields"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
}

type searchAnswer struct {
	Issues        *[]searchIssue `json:"issues"`
	NextPageToken string         `json:"nextPageToken"`
	IsLast        *bool          `json:"isLast"`
}

type searchIssue struct {
	ID     string                     `json:"id"`
	Key    string                     `json:"key"`
	Fields map[string]json.RawMessage `json:"fields"`
}

// next reads the next page; from the beginning where Jira has forgotten the token.
func (e *enumeration) next(ctx context.Context) (Page, error) {
	const mostRestarts = 3
	for {
		a, err := e.ask(ctx)
		if err != nil && e.token != "" && expired(err) && e.restarts < mostRestarts {
			e.restarts++
			e.token = ""
			continue
		}
		if err != nil {
			return Page{}, err
		}
		return e.read(a)
	}
}

// expired tells whether Jira refused a page token and not the JQL, which it took before.
func expired(err error) bool {
	return fault.Is(err, fault.Invalid) && strings.Contains(strings.ToLower(fault.Message(err)), "token")
}

func (e *enumeration) ask(ctx context.Context) (searchAnswer, error) {
	var a searchAnswer
	q := searchAsk{JQL: e.jql, MaxResults: 100, Fields: e.fields, NextPageToken: e.token}
	if len(q.Fields) == 0 {
		q.Fields = []string{"id"}
	}
	if bare(q.Fields) {
		q.MaxResults = 5000 // Jira gives so many where it need not load a field
	}
	err := e.c.do(ctx, call{route: "search", what: "search issues", method: http.MethodPost, path: []string{"rest/api/3/search/jql"}, body: q}, &a)
	if err == nil && a.Issues == nil {
		err = fault.Wrap(errNonsense, fault.Unavailable, "Jira's answer cannot be read")
	}
	return a, err
}

func bare(fields []string) bool {
	for _, f := range fields {
		if f != "id" && f != "key" {
			return false
		}
	}
	return true
}

func (e *enumeration) read(a searchAnswer) (Page, error) {
	var p Page
	for _, is := range *a.Issues {
		id, err := strconv.ParseInt(is.ID, 10, 64)
		if err != nil || !jira.ValidID(is.ID) {
			return p, fault.Wrap(errNonsense, fault.Unavailable, "Jira's answer cannot be read")
		}
		if _, again := e.seen[id]; again {
			continue
		}
		e.seen[id] = struct{}{}
		h := Hit{ID: is.ID, Key: is.Key, Fields: is.Fields}
		h.Updated, _ = jira.ParseTime(text(is.Fields["updated"]))
		p.Hits = append(p.Hits, h)
	}
	last := a.NextPageToken == ""
	switch {
	case a.IsLast != nil && *a.IsLast:
		return p, nil
	case last && a.IsLast != nil, !last && a.NextPageToken == e.token:
		return p, fault.New(fault.Unavailable, "Jira ended the search before its last page")
	}
	p.Next, e.token = a.NextPageToken, a.NextPageToken
	return p, nil
}
