package cloud_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// gather runs a search and gives the keys in their order.
func gather(ctx context.Context, c *cloud.Client, jql string, fields []string, each func(page int)) (keys []string, err error) {
	n := 0
	err = c.Search(ctx, jql, fields, func(p cloud.Page) error {
		for _, h := range p.Hits {
			keys = append(keys, h.Key)
		}
		n++
		if each != nil {
			each(n)
		}
		return nil
	})
	return keys, err
}

func TestCountTellsHowManyIssuesASearchFinds(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(120, 2, 3)
	if n, err := c.Count(t.Context(), "project in (SUP, OPS, DEV) ORDER BY created ASC"); err != nil || n != 120 {
		t.Errorf("%d: %v", n, err)
	}
	if _, err := c.Count(t.Context(), "ORDER BY created"); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a restriction: %v", err)
	}
	s.Fail(jiratest.Fault{Route: jiratest.RouteCount, Body: `{}`})
	if n, err := c.Count(t.Context(), "project = SUP"); !fault.Is(err, fault.Unavailable) || n != 0 {
		t.Errorf("nonsense: %d, %v", n, err)
	}
}

func TestSearchGivesEachIssueOnce(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(950, 6, 2)
	keys, err := gather(t.Context(), c, "project in (SUP, OPS, DEV) ORDER BY created ASC", []string{"key", "updated"}, nil)
	if err != nil || len(keys) != 950 || s.Calls()[jiratest.RouteSearch] != 10 {
		t.Errorf("%d issues in %d calls: %v", len(keys), s.Calls()[jiratest.RouteSearch], err)
	}
	// Where no field is loaded, thousands come at once.
	s.ResetCalls()
	keys, err = gather(t.Context(), c, "project in (SUP, OPS, DEV)", []string{"key"}, nil)
	if err != nil || len(keys) != 950 || s.Calls()[jiratest.RouteSearch] != 1 {
		t.Errorf("%d issues in %d calls: %v", len(keys), s.Calls()[jiratest.RouteSearch], err)
	}
	if keys, err = gather(t.Context(), c, "project = DEV and created > now", []string{"key"}, nil); err != nil || len(keys) != 0 {
		t.Errorf("nothing is an error: %v %v", keys, err)
	}
	err = c.Search(t.Context(), "project = SUP", []string{"updated", "summary"}, func(p cloud.Page) error {
		for _, h := range p.Hits {
			if h.Updated.IsZero() || len(h.Fields["summary"]) == 0 {
				return fmt.Errorf("a hit without what was asked for: %+v", h)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASearchWhosePlaceIsForgottenBeginsAnew(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(550, 6, 2)
	keys, err := gather(t.Context(), c, "project in (SUP, OPS, DEV) ORDER BY created ASC", []string{"key", "updated"}, func(page int) {
		if page == 3 {
			s.ExpirePageTokens()
		}
	})
	if unique := slices.Compact(slices.Sorted(slices.Values(keys))); err != nil || len(keys) != 550 || len(unique) != 550 {
		t.Errorf("%d issues, %d of them different: %v", len(keys), len(unique), err)
	}
	// A place that is forgotten each time is given up, not tried for ever.
	_, err = gather(soon(t), c, "project in (SUP, OPS, DEV)", []string{"key", "updated"}, func(int) { s.ExpirePageTokens() })
	wantKind(t, err, fault.Invalid)
}

func TestASearchGoesOnFromWhereItWas(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(450, 6, 2)
	enough := errors.New("enough")
	var keys []string
	var next string
	take := func(stop int) func(cloud.Page) error {
		return func(p cloud.Page) error {
			for _, h := range p.Hits {
				keys = append(keys, h.Key)
			}
			next = p.Next
			if stop > 0 && len(keys) >= stop {
				return enough
			}
			return nil
		}
	}
	const jql = "project in (SUP, OPS, DEV) ORDER BY created ASC"
	if err := c.Search(t.Context(), jql, []string{"key", "updated"}, take(200)); !errors.Is(err, enough) || len(keys) != 200 {
		t.Fatalf("%d issues: %v", len(keys), err)
	}
	if err := c.SearchFrom(t.Context(), jql, []string{"key", "updated"}, next, take(0)); err != nil || len(keys) != 450 {
		t.Errorf("%d issues: %v", len(keys), err)
	}
	keys = nil
	if err := c.SearchFrom(t.Context(), jql, []string{"key", "updated"}, "forgotten", take(0)); err != nil || len(keys) != 450 {
		t.Errorf("from a place that nobody knows: %d issues: %v", len(keys), err)
	}
}

func TestASearchThatDidNotReachItsEndIsAnError(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]jiratest.Fault{
		"broken off":          {Status: 500},
		"cut":                 {Cut: 100},
		"without a next page": {Body: `{"issues":[],"isLast":false}`},
		"without issues":      {Body: `{"isLast":true}`},
		"of nonsense":         {Body: `[]`},
		"of wild ids":         {Body: `{"issues":[{"id":"../1"}],"isLast":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t, jiratest.Config{}, retries(1))
			s.Populate(350, 6, 2)
			f.Route, f.Skip = jiratest.RouteSearch, 2
			s.Fail(f)
			keys, err := gather(soon(t), c, "project in (SUP, OPS, DEV)", []string{"key", "updated"}, nil)
			wantKind(t, err, fault.Unavailable)
			if len(keys) != 200 {
				t.Errorf("%d issues before", len(keys))
			}
		})
	}
}

func TestASearchThatJiraRefusesSaysWhy(t *testing.T) {
	t.Parallel()
	s, c := start(t, jiratest.Config{})
	s.Populate(10, 1, 1)
	for jql, word := range map[string]string{"ORDER BY created ASC": "Unbounded", "project = NOPE": "NOPE"} {
		_, err := gather(t.Context(), c, jql, nil, nil)
		wantKind(t, err, fault.Invalid)
		if !strings.Contains(fault.Message(err), word) {
			t.Errorf("%s: %s", jql, fault.Message(err))
		}
	}
}

func TestDatesInJQLAreOfTheAccountsTimeZone(t *testing.T) {
	t.Parallel()
	zone, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	s, c := start(t, jiratest.Config{Location: zone})
	key := s.Create("SUP", nil)
	me, err := c.Myself(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c2 := range []struct {
		since time.Time
		want  int
	}{{s.Now(), 1}, {s.Now().Add(2 * time.Minute), 0}} {
		if keys, err := gather(t.Context(), c, "updated >= "+me.Since(c2.since), []string{"key"}, nil); err != nil || len(keys) != c2.want {
			t.Errorf("since %v: %v, %v, want %s", c2.since, keys, err, key)
		}
	}
	// Twenty past two is two moments in the night in which clocks are put back: the bound is the earlier.
	first := time.Date(2026, 10, 25, 0, 20, 0, 0, time.UTC)
	if got := me.Since(first); got != `"2026-10-25 01:20"` {
		t.Errorf("the first 02:20 is %s", got)
	}
	if got := me.Since(first.Add(time.Hour)); got != `"2026-10-25 02:20"` {
		t.Errorf("the second 02:20 is %s", got)
	}
	if got := (cloud.Me{TimeZone: "Nowhere/At_All"}).Since(first); got != `"2026-10-24 10:20"` {
		t.Errorf("in a zone that is unknown it is %s", got)
	}
}
