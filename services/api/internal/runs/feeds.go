package runs

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/extract"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// A source that is fed publishes several times a second. Its runs are no work that anybody follows, and
// what they did to tables is written down together, once in a while.

// feedPause is how often that is. What is not written down when the process is killed is made good by the
// next publication of the table.
const feedPause = 10 * time.Second

// fed is what feeds did to the tables of a source since it was last written down.
type fed struct {
	eventID string
	at      time.Time
	tables  map[string]state.TableOutcome
}

// isFeed tells whether an extraction is one of a feed that went well.
func isFeed(p *agnesv1.ExtractReady) bool {
	return p.GetReason() == extract.ReasonFeed && len(p.GetRunIds()) == 0 && len(p.GetTables()) > 0 &&
		!slices.ContainsFunc(p.GetTables(), func(o *agnesv1.TableOutcome) bool {
			return o.GetOutcome() != extract.OutcomeUpdated && o.GetOutcome() != extract.OutcomeUnchanged
		})
}

// noteFeed remembers what a feed did: of each table the last.
func (t *Tracker) noteFeed(eventID, source string, at time.Time, outcomes []state.TableOutcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.feeds[source]
	if f == nil {
		f = &fed{tables: map[string]state.TableOutcome{}}
		t.feeds[source] = f
	}
	if at.Before(f.at) {
		return
	}
	f.eventID, f.at = eventID, at
	for _, o := range outcomes {
		f.tables[o.Table] = o
	}
}

// writeFeeds writes down what feeds did, if it is time, or in any case.
func (t *Tracker) writeFeeds(ctx context.Context, now bool) {
	t.mu.Lock()
	if !now && time.Since(t.feedsWritten) < feedPause {
		t.mu.Unlock()
		return
	}
	feeds := t.feeds
	t.feeds, t.feedsWritten = map[string]*fed{}, time.Now()
	t.mu.Unlock()
	for _, source := range slices.Sorted(maps.Keys(feeds)) {
		f := feeds[source]
		var outcomes []state.TableOutcome
		for _, name := range slices.Sorted(maps.Keys(f.tables)) {
			outcomes = append(outcomes, f.tables[name])
		}
		if err := t.cfg.Store.Sync.Record(ctx, f.eventID, source, f.at, outcomes); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("source", source).Msg("what a feed did was not written down; its next publication is")
		}
	}
}
