package orchestrator

import (
	"context"
	"testing"
	"time"
)

func TestABacklogGivesEachSourceOnceAndLaterOnesInTime(t *testing.T) {
	t.Parallel()
	b := newBacklog(10*time.Millisecond, time.Hour)
	b.add("a")
	time.Sleep(time.Millisecond)
	b.add("b")
	b.addAt("b", time.Now().Add(time.Hour)) // looked at before that
	b.addAt("c", time.Now().Add(50*time.Millisecond))
	for _, want := range []string{"a", "b", "c"} {
		if got, ok := b.next(t.Context()); got != want || !ok {
			t.Fatalf("%s, %v, want %s", got, ok, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if got, ok := b.next(ctx); ok {
		t.Errorf("%s came twice", got)
	}
}

func TestABacklogWaitsForTheEndOfABurstOrItsPatience(t *testing.T) {
	t.Parallel()
	b := newBacklog(time.Hour, 40*time.Millisecond)
	began := time.Now()
	b.add("busy")
	time.Sleep(20 * time.Millisecond)
	b.add("busy")
	if got, ok := b.next(t.Context()); got != "busy" || !ok || time.Since(began) < 40*time.Millisecond {
		t.Errorf("%s, %v after %v", got, ok, time.Since(began))
	}
}

func TestATableThatKeepsChangingRests(t *testing.T) {
	t.Parallel()
	r := rests{}
	if _, yes := r.over("jira.issues"); !yes {
		t.Error("a table rests before its first profile")
	}
	r.begin("jira.issues", time.Millisecond)
	r.begin("jira.changelog", 10*time.Second)
	for table, least := range map[string]time.Duration{"jira.issues": profileRest - time.Second, "jira.changelog": 1990 * time.Second} {
		if left, yes := r.over(table); yes || left < least {
			t.Errorf("%s rests %v", table, left)
		}
	}
	r["jira.issues"] = time.Now().Add(-time.Second)
	if _, yes := r.over("jira.issues"); !yes || len(r) != 1 {
		t.Errorf("%v", r)
	}
}
