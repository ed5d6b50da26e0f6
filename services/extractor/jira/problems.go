package jira

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/telemetry"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
)

// leftOut counts the values that did not fit their columns, when their issue is taken in. The labels
// are bounded by the columns of the tables.
type leftOut struct {
	source string
	values *prometheus.CounterVec // nil where nobody reads metrics
}

func newLeftOut(source string, registry prometheus.Registerer) (leftOut, error) {
	l := leftOut{source: source}
	if registry == nil {
		return l, nil
	}
	var err error
	l.values, err = telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agnes_jira_values_left_out_total", Help: "Values of Jira that did not fit their column and are NULL, by source, table and column.",
	}, []string{"source", "table", "column"}), nil)
	return l, err
}

// count counts the problems of an issue that is taken in.
func (l leftOut) count(ctx context.Context, issue string, problems []rows.Problem) {
	for _, p := range problems {
		if l.values != nil {
			l.values.WithLabelValues(l.source, p.Table, p.Column).Add(float64(p.Count))
		}
		zerolog.Ctx(ctx).Debug().Str("issue", issue).Str("table", p.Table).Str("column", p.Column).Str("reason", p.Reason).Int("count", p.Count).
			Msg("a value of Jira does not fit its column")
	}
}

// tellEvery is how often it is logged that Jira keeps a part of the issues from the account.
const tellEvery = time.Hour

// lacks tells whether a document that came without some of its lists is to be fetched again for them. It is
// not where Jira refuses them to the account (remote links without the right to see them): they would be
// refused for ever, and what was kept of them stays.
func (s *site) lacks(ctx context.Context, issue string, problem error) bool {
	if problem == nil || fault.Retryable(problem) {
		return problem != nil
	}
	now := s.now().UnixNano()
	if last := s.toldRefused.Load(); last == 0 || now-last > int64(tellEvery) {
		s.toldRefused.Store(now)
		zerolog.Ctx(ctx).Warn().Str("issue", issue).Err(problem).Msg("Jira refuses a part of an issue to the account, and perhaps of others; it is left out")
	}
	return false
}
