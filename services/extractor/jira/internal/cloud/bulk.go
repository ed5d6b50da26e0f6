package cloud

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
)

// mostBulk is how many issues Jira gives at once.
const mostBulk = 100

// Bulk is what BulkFetch read.
type Bulk struct {
	Documents []Document
	// Absent are the ids or keys that Jira did not find or show. Fetch tells whether they are gone.
	Absent []string
	// Failed are those that came and could not be kept or completed.
	Failed map[string]error
}

// BulkFetch reads many issues as Fetch does, with one call for a hundred of them, one for the remote links
// of each, and those for the pages that are not embedded. Documents are in the order of their ids.
//
// Unlike in Fetch, a field that Jira cannot load is missing without a word: Jira has no failFast here.
func (c *Client) BulkFetch(ctx context.Context, idsOrKeys []string) (Bulk, error) {
	out := Bulk{Failed: map[string]error{}}
	for _, ref := range idsOrKeys {
		if err := checkRef(ref); err != nil {
			return out, err
		}
	}
	for part := range slices.Chunk(idsOrKeys, mostBulk) {
		if err := c.bulkPart(ctx, part, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

type bulkAsk struct {
	IssueIDsOrKeys []string `json:"issueIdsOrKeys"`
	Fields         []string `json:"fields"`
	Expand         []string `json:"expand,omitempty"`
}

type bulkAnswer struct {
	Issues      *[]json.RawMessage `json:"issues"`
	IssueErrors []struct {
		ID string `json:"id"`
	} `json:"issueErrors"`
}

func (c *Client) bulk(ctx context.Context, who as, route string, ask bulkAsk) (bulkAnswer, error) {
	var a bulkAnswer
	err := c.do(ctx, call{
		route: route, what: "read issues", method: http.MethodPost, path: []string{"rest/api/3/issue/bulkfetch"}, body: ask, as: who,
	}, &a)
	if err == nil && a.Issues == nil {
		err = fault.Wrap(errNonsense, fault.Unavailable, "Jira's answer cannot be read")
	}
	return a, err
}

// bulkPart reads up to a hundred issues: half as many twice, where they are too much for one answer.
func (c *Client) bulkPart(ctx context.Context, refs []string, out *Bulk) error {
	at := c.cfg.Clock.Now()
	a, err := c.bulk(ctx, asReader, "bulkfetch", bulkAsk{IssueIDsOrKeys: refs, Fields: []string{"*all"}, Expand: []string{"changelog"}})
	if fault.Is(err, fault.TooLarge) && len(refs) > 1 {
		if err := c.bulkPart(ctx, refs[:len(refs)/2], out); err != nil {
			return err
		}
		return c.bulkPart(ctx, refs[len(refs)/2:], out)
	}
	if err != nil {
		return err
	}
	var drafts []*draft
	asked := make(map[string]bool, len(refs))
	for _, ref := range refs {
		asked[ref] = true
	}
	for i, raw := range *a.Issues {
		d, err := parse(raw)
		if err != nil {
			out.Failed[cmp.Or(itemID(raw), fmt.Sprintf("#%d", i))] = err
			continue
		}
		delete(asked, d.id)
		delete(asked, d.key)
		drafts = append(drafts, d)
	}
	if len(*a.Issues) == 0 {
		if err := c.confirm(ctx); err != nil {
			return err
		}
	}
	for _, e := range a.IssueErrors {
		if asked[e.ID] {
			out.Absent = append(out.Absent, e.ID)
		}
	}
	return c.completeAll(ctx, drafts, at, out)
}

// completeAll completes drafts at the same time: the limiter decides how many calls go at once.
func (c *Client) completeAll(ctx context.Context, drafts []*draft, at time.Time, out *Bulk) error {
	sla, slaErr := c.slaOf(ctx, drafts)
	docs, errs := make([]Document, len(drafts)), make([]error, len(drafts))
	var group sync.WaitGroup
	for i, d := range drafts {
		group.Go(func() {
			e := &extras{fields: sla[d.id]}
			if e.fields == nil {
				e.sla = slaErr
			}
			if !c.cfg.SkipRemoteLinks {
				e.group.Go(func() { e.remote, e.links = c.remoteLinks(ctx, d.id) })
			}
			docs[i], errs[i] = c.complete(ctx, d, e, at)
		})
	}
	group.Wait()
	for i, err := range errs {
		switch {
		case err == nil:
			out.Documents = append(out.Documents, docs[i])
		case isAny(err, fault.Unauthenticated) || ctx.Err() != nil:
			return err
		default:
			out.Failed[drafts[i].id] = err
		}
	}
	return nil
}

// slaOf reads the fields of the second account for many issues at once. The error is that of the issues
// that it does not give.
func (c *Client) slaOf(ctx context.Context, drafts []*draft) (map[string]map[string]json.RawMessage, error) {
	if c.gateway == nil || len(c.cfg.SLAFields) == 0 || len(drafts) == 0 {
		return nil, nil
	}
	ids := make([]string, len(drafts))
	for i, d := range drafts {
		ids[i] = d.id
	}
	hits, err := c.bulkFields(ctx, asSLA, ids, c.cfg.SLAFields)
	out := make(map[string]map[string]json.RawMessage, len(hits))
	for _, h := range hits {
		out[h.ID] = h.Fields
	}
	if err == nil && len(out) < len(drafts) {
		err = fault.New(fault.Forbidden, "the second account, for SLA fields, does not see the issue")
	}
	return out, err
}

// BulkFields reads some fields of many issues, a hundred with one call: those that the second account, if
// there is one, sees. Issues that Jira does not find or show are left away. It is for the SLA fields of
// open issues, which change while no event says so.
func (c *Client) BulkFields(ctx context.Context, idsOrKeys, fields []string) ([]Hit, error) {
	for _, ref := range idsOrKeys {
		if err := checkRef(ref); err != nil {
			return nil, err
		}
	}
	who := asReader
	if c.gateway != nil {
		who = asSLA
	}
	return c.bulkFields(ctx, who, idsOrKeys, fields)
}

func (c *Client) bulkFields(ctx context.Context, who as, refs, fields []string) ([]Hit, error) {
	var hits []Hit
	for part := range slices.Chunk(refs, mostBulk) {
		a, err := c.bulk(ctx, who, "bulkfields", bulkAsk{IssueIDsOrKeys: part, Fields: fields})
		if err != nil {
			return hits, err
		}
		for _, raw := range *a.Issues {
			var is searchIssue
			if err := json.Unmarshal(raw, &is); err != nil || !jira.ValidID(is.ID) {
				return hits, fault.Wrap(errors.Join(errNonsense, err), fault.Unavailable, "Jira's answer cannot be read")
			}
			h := Hit{ID: is.ID, Key: is.Key, Fields: is.Fields}
			h.Updated, _ = jira.ParseTime(text(is.Fields["updated"]))
			hits = append(hits, h)
		}
	}
	return hits, nil
}
