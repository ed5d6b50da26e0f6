package api

import (
	"context"
	"io"

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
	key := q.Snapshot.Version + "/" + q.Grants.Fingerprint()
	if q.Fetched != nil {
		key += "/" + q.Fetched.Key
	}
	scope := a.engine.Scope(key, func() []lake.View {
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
	summary, err := a.engine.Run(ctx, query.Request{
		User: q.Caller.UserID, Scope: scope, SQL: q.SQL, MediaType: q.MediaType, Limit: q.Limit, Remote: a.remotes.asked(q),
	}, head)
	return httpapi.QuerySummary{
		Rows: summary.Rows, Bytes: summary.Bytes, Truncated: summary.Truncated, Waited: summary.Waited, Tables: summary.Tables,
	}, err
}
