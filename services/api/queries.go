package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/query"
)

// asking shows the query engine to the routes.
type asking struct {
	engine  *query.Engine
	dataDir string
	remotes *remotes
}

// Query runs a statement over exactly what the grants reach in the snapshot.
func (a *asking) Query(ctx context.Context, q httpapi.Question, head func() io.Writer) (httpapi.QuerySummary, error) {
	scope := a.scope(q)
	granted := scope
	if q.Fetched != nil { // what is fetched of remote tables is not of this question alone
		own := q
		own.Fetched = nil
		granted = a.scope(own)
	}
	summary, err := a.engine.Run(ctx, query.Request{
		User: q.Caller.UserID, Scope: scope, SQL: q.SQL, MediaType: q.MediaType, Limit: q.Limit, Remote: a.remotes.asked(q, query.PlaceOf(granted)),
	}, head)
	return httpapi.QuerySummary{
		Rows: summary.Rows, Bytes: summary.Bytes, Truncated: summary.Truncated, Waited: summary.Waited, Tables: summary.Tables,
	}, err
}

// scope is what a question may reach.
func (a *asking) scope(q httpapi.Question) *query.Scope {
	key := q.Snapshot.Version + "/" + q.Grants.Fingerprint()
	if q.Fetched != nil {
		key += "/" + q.Fetched.Key
	}
	return a.engine.Scope(key, func() []lake.View {
		var views []lake.View
		for _, t := range q.Snapshot.Tables() {
			if q.Grants.Allows(t) {
				views = append(views, query.ViewOf(a.dataDir, t.Source, t.Table, t.Aliases))
			}
		}
		if q.Fetched != nil {
			views = federation.Shadow(views, q.Fetched.Views)
		}
		return views
	})
}

// check tells what is wrong with a question over tables of its own that are not there yet.
func (a *asking) check(ctx context.Context, q httpapi.Question, standIns []lake.View) error {
	q.Fetched = nil
	views := federation.Shadow(slices.Clone(a.scope(q).Views()), standIns)
	return a.engine.Check(ctx, query.Request{User: q.Caller.UserID, Scope: a.engine.NewScope(views), SQL: q.SQL})
}

// keys answers for semi-joins as the question would be: over the tables of the catalog that are granted, within its turns and
// limits. A table that stays where it lives has no keys.
func (a *asking) keys(q httpapi.Question) federation.Keys {
	q.Fetched = nil
	return func(ctx context.Context, sql string, most int) (federation.KeySet, error) {
		var out bytes.Buffer
		summary, err := a.engine.Run(ctx, query.Request{
			User: q.Caller.UserID, Scope: a.scope(q), SQL: sql, MediaType: query.TypeJSON, Limit: most,
		}, func() io.Writer { return &out })
		if err != nil {
			return federation.KeySet{}, err
		}
		var answer struct {
			Types []string `json:"types"`
			Rows  [][]any  `json:"rows"`
		}
		decoder := json.NewDecoder(&out)
		decoder.UseNumber() // an identifier has more digits than a float
		if err := decoder.Decode(&answer); err != nil || len(answer.Types) != 1 {
			return federation.KeySet{}, fmt.Errorf("read keys: %w", err)
		}
		if summary.Truncated && len(answer.Rows) < most {
			return federation.KeySet{}, fault.New(fault.TooLarge, "the keys are longer than an answer may be")
		}
		set := federation.KeySet{Type: answer.Types[0], Values: make([]string, len(answer.Rows))}
		for i, row := range answer.Rows {
			set.Values[i] = fmt.Sprint(row[0])
		}
		return set, nil
	}
}
