package orchestrator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

func TestPublicationNamesExactlyWhatChanged(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	v := &extract.Version{Source: "s", Stamp: "1", Tables: []extract.VersionTable{h.table("s", "a", "1"), h.table("s", "b", "1"), h.table("s", "c", "1")}}
	if r := h.mustTake(v); !r.Published || r.Generation != 1 || said(h.last(1)) != " +a +b +c" {
		t.Fatalf("first: %+v, %v", r, h.last(1))
	}
	first := h.doc("s")

	again := *v
	again.Stamp = "2" // written anew, with the same content
	if r := h.mustTake(&again); r.Published || r.Generation != 1 {
		t.Errorf("unchanged: %+v", r)
	}
	h.last(1)
	if s := h.doc("s"); s.ExtractStamp != "2" || s.PublishedAt != first.PublishedAt || s.Version != first.Version {
		t.Errorf("unchanged content: %+v", s)
	}

	described := h.table("s", "c", "1")
	described.Description = "now with words"
	r := h.mustTake(&extract.Version{Source: "s", Stamp: "3", Tables: []extract.VersionTable{h.table("s", "a", "1", "2"), described, h.table("s", "d", "1")}}, "run-1")
	if !r.Published || r.Generation != 2 || said(h.last(2)) != " ~a ~c +d -b" || h.last(2).GetRunIds()[0] != "run-1" {
		t.Errorf("changed: %+v, %v", r, h.last(2))
	}
	if c := h.last(2).GetTables()[0]; c.GetHash() != h.doc("s").Tables[0].Fingerprint || c.GetRows() != 2 || c.GetBytes() != 2 {
		t.Errorf("the change of a: %v", c)
	}

	r = h.mustTake(&extract.Version{Source: "s", Stamp: "3", Tables: []extract.VersionTable{h.table("s", "a", "1", "2"), described, h.table("s", "d", "1")}}, "run-2", "run-3")
	m := h.last(3)
	if r.Published || len(m.GetTables()) != 0 || m.GetGeneration() != 2 || strings.Join(m.GetRunIds(), " ") != "run-2 run-3" {
		t.Errorf("nothing changed, but runs wait: %+v, %v", r, m)
	}
}

func TestMissingPartKeepsTheLastVersionOfThatTableOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.mustTake(&extract.Version{Source: "s", Stamp: "1", Tables: []extract.VersionTable{h.table("s", "a", "1"), h.table("s", "b", "1"), h.table("s", "gone", "1")}})
	before, _ := ptr(h.doc("s")).Table("a")

	a, b, gone := h.table("s", "a", "1", "new"), h.table("s", "b", "2"), h.table("s", "gone", "2")
	h.remove(a.Parts[1].Path)
	h.remove("extracts/s/data/gone")
	short := h.table("s", "short", "whole")
	h.write(short.Parts[0].Path, "half")
	r := h.mustTake(&extract.Version{Source: "s", Stamp: "2", Tables: []extract.VersionTable{a, b, gone, short}})
	if got := h.tables("s"); got != " a b" {
		t.Errorf("published%s, want a as it was and b anew", got)
	}
	if after, _ := ptr(h.doc("s")).Table("a"); after.Fingerprint != before.Fingerprint {
		t.Error("a is not the last good version")
	}
	if got := problems(r.Problems); got != " a:missing_file gone:missing_file short:missing_file" {
		t.Errorf("problems%s", got)
	}
	if got := said(h.last(2)); got != " ~b -gone" {
		t.Errorf("announced%s", got)
	}
	if s := h.doc("s"); s.ExtractStamp == "2" {
		t.Error("an incomplete publication would never be tried again")
	}

	h.part("s", "a", "new")
	r = h.mustTake(&extract.Version{Source: "s", Stamp: "2", Tables: []extract.VersionTable{a, b}})
	if len(r.Problems) != 0 || said(h.last(3)) != " ~a" || h.doc("s").ExtractStamp != "2" {
		t.Errorf("after the file came back: %+v, %v", r, h.last(3))
	}
}

func ptr[T any](v T) *T { return &v }

func TestUnreadTableIsKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.mustTake(&extract.Version{Source: "s", Stamp: "1", Tables: []extract.VersionTable{h.table("s", "a", "1"), h.table("s", "b", "1")}})
	r := h.mustTake(&extract.Version{Source: "s", Stamp: "2", Tables: []extract.VersionTable{h.table("s", "b", "1")}, Problems: []catalog.Problem{
		{Table: "a", Code: catalog.ProblemUnreadable, Message: "the view cannot be read"},
		{Table: "new", Code: catalog.ProblemUnreadable, Message: "there is no view"},
		{Table: "../x", Code: catalog.ProblemBadName, Message: "bad"},
	}})
	if h.tables("s") != " a b" || problems(r.Problems) != " ../x:bad_name a:unreadable new:unreadable" {
		t.Errorf("published%s with problems%s", h.tables("s"), problems(r.Problems))
	}
	if !strings.Contains(r.Problems[1].Message, "stays published") || !strings.Contains(r.Problems[2].Message, "not published") {
		t.Errorf("what became of them: %v", r.Problems)
	}
}

func TestRemoteTablesNeedTheAllowLists(t *testing.T) {
	t.Parallel()
	h := newHouse(t, &service.Instance{RemoteAttach: service.AllowLists{Extensions: []string{"bigquery"}, Hosts: []string{"project=acme"}}})
	remote := func(name, sql string) extract.VersionTable {
		return extract.VersionTable{Stored: extract.StoredRemote, Table: catalog.Table{Name: name, QueryMode: catalog.ModeRemote, RemoteSQL: sql}}
	}
	v := &extract.Version{Source: "s", Stamp: "1", Remotes: []catalog.Remote{
		{Alias: "bq", Extension: "bigquery", URL: "project=acme"},
		{Alias: "kbc", Extension: "keboola", URL: "https://connection.keboola.com", TokenEnv: "JWT_SECRET_KEY"},
	}, Tables: []extract.VersionTable{
		remote("good", "SELECT * FROM bq.shop.orders"), remote("refused", `SELECT * FROM kbc."in.c-crm".orders`), h.table("s", "local", "1"),
		remote("reader", "SELECT * FROM bq.shop.orders, read_text('/etc/passwd')"), remote("elsewhere", "SELECT * FROM other.a.b"),
	}}
	r := h.mustTake(v)
	if h.tables("s") != " good local" || problems(r.Problems) != " :remote_refused elsewhere:remote_refused reader:remote_refused refused:remote_refused" {
		t.Errorf("published%s, problems%s", h.tables("s"), problems(r.Problems))
	}
	s := h.doc("s")
	if len(s.Remotes) != 1 || s.Remotes[0].Alias != "bq" || s.Tables[0].RemoteSQL == "" || s.Tables[0].Fingerprint == "" {
		t.Errorf("remotes %v, table %+v", s.Remotes, s.Tables[0])
	}
	h.restart(nil)
	if r := h.mustTake(v); h.tables("s") != " local" || len(h.doc("s").Remotes) != 0 {
		t.Errorf("after the lists were emptied: %s, %+v", h.tables("s"), r)
	}
}

func TestAnnouncementSurvivesACrashBeforeTheBusHasIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.busAway = true
	_, err := h.take(&extract.Version{Source: "s", Stamp: "1", Tables: []extract.VersionTable{h.table("s", "a", "1")}}, "run")
	if !fault.Retryable(err) || err == nil {
		t.Fatalf("a publication that nobody heard of: %v", err)
	}
	h.restart(nil)
	if stale, err := h.Stale(); err != nil || strings.Join(stale, " ") != "s" {
		t.Fatalf("Stale = %v, %v", stale, err)
	}
	h.busAway = false
	for range 2 {
		if err := h.sendNoted(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
	}
	if m := h.last(1); said(m) != " +a" || m.GetGeneration() != 1 || m.GetRunIds()[0] != "run" {
		t.Errorf("announced %v", m)
	}

	// A note of a publication that never happened says nothing.
	m := h.announcement(catalog.Source{Name: "s", Generation: 2}, nil, nil)
	if err := h.noteAnnouncement(m); err != nil {
		t.Fatal(err)
	}
	if err := h.sendNoted(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	h.last(1)
	if left, err := h.noted(); err != nil || len(left) != 0 {
		t.Errorf("noted: %v, %v", left, err)
	}
}

func TestCollisionsAreReportedWithThePublication(t *testing.T) {
	t.Parallel()
	h := newHouse(t, &service.Instance{Aliases: map[string]string{"pinned": "a.pinned"}})
	h.mustTake(&extract.Version{Source: "a", Stamp: "1", Tables: []extract.VersionTable{h.table("a", "orders", "1"), h.table("a", "pinned", "1")}})
	r := h.mustTake(&extract.Version{Source: "b", Stamp: "1", Tables: []extract.VersionTable{h.table("b", "Orders", "1"), h.table("b", "pinned", "1")}})
	if problems(r.Problems) != " Orders:collision" || h.last(2).GetProblems()[0].GetCode() != catalog.ProblemCollision {
		t.Errorf("problems%s, announced %v", problems(r.Problems), h.last(2))
	}
	if got := h.doc("b").Problems; len(got) != 0 {
		t.Errorf("a collision is nothing of the source's own: %v", got)
	}
}

func TestCollectWaitsForTheGrace(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	generated := func(content string) extract.VersionTable {
		v := h.table("s", "t", content)
		rel := strings.Replace(v.Parts[0].Path, "extracts/s/data", "analytics/parts/s", 1)
		h.write(rel, content)
		v.Parts[0].Path = rel
		return v
	}
	exists := func(p catalog.Part) bool {
		_, err := os.Stat(filepath.Join(h.dir, p.Path))
		return err == nil
	}
	now := time.Now()
	h.now = func() time.Time { return now }
	first, second := generated("1"), generated("2")
	h.mustTake(&extract.Version{Source: "s", Stamp: "1", Tables: []extract.VersionTable{first}})
	age := func(p catalog.Part) {
		old := now.Add(-48 * time.Hour)
		if err := os.Chtimes(filepath.Join(h.dir, p.Path), old, old); err != nil {
			t.Fatal(err)
		}
	}
	age(first.Parts[0])
	h.mustTake(&extract.Version{Source: "s", Stamp: "2", Tables: []extract.VersionTable{second}})
	collect := func() {
		if err := h.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	collect()
	if !exists(first.Parts[0]) {
		t.Fatal("a part that was published until now is gone: a query may be reading it")
	}
	now = now.Add(2 * time.Hour)
	age(second.Parts[0])
	collect()
	if exists(first.Parts[0]) || !exists(second.Parts[0]) {
		t.Errorf("after the grace: the old one stands %v, the published one %v", exists(first.Parts[0]), exists(second.Parts[0]))
	}
	// What cannot be read says nothing about what is published.
	h.write("analytics/sources/s.json", "{half")
	collect()
	if !exists(second.Parts[0]) {
		t.Error("parts were collected although their catalog could not be read")
	}
}
