package jira

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// checks is how many logs of operations the property test makes up, unless -rapid.checks says so: each
// takes about a second.
const checks = 8

// bench is an extractor without a bus and without timers: its parts are called one by one.
type bench struct {
	t     fataler
	dir   string
	all   *sites
	cfg   extract.SourceConfig
	feed  *feed
	known []*agnesv1.RegisteredTable
	ago   time.Duration // how long before they are taken in webhooks were received
}

// fataler is a test, of whichever kind.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
	Logf(format string, args ...any)
}

func newBench(t fataler, upstream *jiratest.Site, options map[string]any) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "agnes-jira-proof-")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"site": upstream.URL, "email": jiratest.DefaultEmail, "api_token": jiratest.DefaultToken}
	maps.Copy(all, options)
	b := &bench{t: t, dir: dir, all: &sites{}}
	b.cfg = extract.SourceConfig{Name: "jira", Type: Type, Options: all, DataDir: dir, RawDir: filepath.Join(dir, "extracts", "jira", "raw")}
	b.open()
	for name := range b.feed.tables {
		b.known = append(b.known, &agnesv1.RegisteredTable{Id: name, Name: name, Source: "jira", SourceTable: name, SourceType: Type, QueryMode: "local"})
	}
	return b
}

// open opens the site, as a start of the process does.
func (b *bench) open() {
	b.t.Helper()
	s, err := b.all.get(context.Background(), b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.feed = &feed{site: s, fold: newFolder(s, nil)}
	b.feed.tasks = newTasks(context.Background(), s)
}

func (b *bench) reopen() {
	b.t.Helper()
	b.shut()
	b.open()
}

func (b *bench) shut() {
	b.t.Helper()
	b.feed.fold.end()
	if err := b.all.close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	b.shut()
	if err := os.RemoveAll(b.dir); err != nil {
		b.t.Fatal(err)
	}
}

// receive takes deliveries in as one batch of the bus.
func (b *bench) receive(deliveries ...jiratest.Delivery) {
	b.t.Helper()
	batch := make([]event.Event[*agnesv1.JiraReceived], len(deliveries))
	for i, d := range deliveries {
		batch[i] = event.Event[*agnesv1.JiraReceived]{
			ID: d.ID + "/" + d.Event, Time: time.Now(), Payload: &agnesv1.JiraReceived{Body: d.Body, ReceivedAt: timestamppb.New(time.Now().Add(-b.ago))},
		}
	}
	if err := b.feed.received(context.Background(), batch); err != nil {
		b.t.Fatalf("a batch of webhooks: %v", err)
	}
}

func (b *bench) run(force bool) {
	b.t.Helper()
	ready, err := extract.Run(context.Background(), extract.RunConfig{
		Connector: b.all.connector(), Source: b.cfg, Registry: b.known, Force: force, Limits: extract.Limits{Tables: 2, MemoryBytes: 256 << 20, Threads: 1},
	})
	if err == nil {
		err = failure(ready)
	}
	if err != nil {
		b.t.Fatalf("a run: %v", err)
	}
}

// do runs a task in this goroutine.
func (b *bench) do(work func(ctx context.Context, t *task) error) *agnesv1.JiraTask {
	b.t.Helper()
	t := &task{all: b.feed.tasks, state: &agnesv1.JiraTask{}}
	if err := work(context.Background(), t); err != nil {
		b.t.Fatalf("a task: %v", err)
	}
	return t.state
}

func (b *bench) backfill() {
	b.t.Helper()
	b.do(func(ctx context.Context, t *task) error {
		return b.feed.runBackfill(ctx, t, backfillState{JQL: b.feed.everything()}, false)
	})
}

func (b *bench) reconcile() *agnesv1.JiraTask {
	b.t.Helper()
	return b.do(func(ctx context.Context, t *task) error { return b.feed.runReconcile(ctx, t, true, false) })
}

// catchUp fetches what is noted to be fetched, whenever that is due.
func (b *bench) catchUp() {
	b.t.Helper()
	due, _, err := b.feed.store.DueRefetches(context.Background(), time.Now().Add(48*time.Hour), 10_000)
	if err == nil {
		err = b.feed.refetchAll(context.Background(), due)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// tables gives the rows of all tables as texts, but for when they were read.
func (b *bench) tables() map[string][]string {
	b.t.Helper()
	out := map[string][]string{}
	v, err := extract.OpenVersion(context.Background(), b.dir, "jira")
	if err != nil {
		b.t.Fatal(err)
	}
	db, err := lake.Open(context.Background(), lake.Options{Threads: 1, MemoryBytes: 256 << 20})
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, t := range v.Tables {
		if out[t.Name], err = rowsOfFiles(db, t.Files); err != nil {
			b.t.Fatal(err)
		}
	}
	return out
}

func rowsOfFiles(db *lake.DB, files []string) (lines []string, err error) {
	rows, err := db.QueryContext(context.Background(), "SELECT * FROM read_parquet("+lake.QuoteList(files)+")")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		var words []string
		for i, v := range values {
			if columns[i] != "_synced_at" && v != nil {
				words = append(words, fmt.Sprintf("%s=%v", columns[i], v))
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	slices.Sort(lines)
	return lines, rows.Err()
}

// differ tells how two states of all tables differ, but for those that are named.
func differ(got, want map[string][]string, but ...string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if slices.Contains(but, name) {
			continue
		}
		for _, line := range without(got[name], want[name]) {
			out = append(out, "too much in "+name+": "+line)
		}
		for _, line := range without(want[name], got[name]) {
			out = append(out, "missing in "+name+": "+line)
		}
	}
	if len(got) != len(want) {
		out = append(out, fmt.Sprintf("tables %v, not %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))))
	}
	if len(out) > 12 {
		out = append(out[:12], fmt.Sprintf("and %d more", len(out)-12))
	}
	return strings.Join(out, "\n")
}

// without gives the lines that a has more often than b.
func without(a, b []string) (out []string) {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			out = append(out, line)
		}
	}
	return out
}

// play makes up what happens at a site, and what becomes of the deliveries.
type play struct {
	r       *rapid.T
	site    *jiratest.Site
	b       *bench
	keys    []string
	comment map[string][]int64
	worklog map[string][]int64
	file    map[string][]int64
	remote  map[string][]int64
	links   []made
	sprints []int64
	pending []jiratest.Delivery
	told    map[int64]bool // issues of which a deletion was delivered
	deleted map[int64]bool
	left    map[int64]bool // issues that were moved to a project that is not configured
	lose    float64
	number  int
}

type made struct {
	id       int64
	from, to string
}

// clock is the real one, in which no two changes happen in the same millisecond: Jira's times of changes
// tell them apart, and are never ahead of ours.
func clock() func() time.Time {
	var mu sync.Mutex
	var last time.Time
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		for !time.Now().Truncate(time.Millisecond).After(last) {
			time.Sleep(100 * time.Microsecond)
		}
		last = time.Now().Truncate(time.Millisecond)
		return last.UTC()
	}
}

func (p *play) pick(label string, from []string) string {
	return rapid.SampledFrom(from).Draw(p.r, label)
}

func (p *play) text(label string) string {
	p.number++
	return rapid.SampledFrom([]string{"a", "b\nc", "čeština 🎉", "x'\"\\"}).Draw(p.r, label) + " " + strconv.Itoa(p.number)
}

// take removes and gives one of a list; ok is false where it is empty.
func (p *play) take(list []int64, remove bool) (rest []int64, one int64, ok bool) {
	if len(list) == 0 {
		return list, 0, false
	}
	k := rapid.IntRange(0, len(list)-1).Draw(p.r, "which")
	one = list[k]
	if remove {
		list = slices.Delete(slices.Clone(list), k, k+1)
	}
	return list, one, true
}

func (p *play) create() {
	set := jiratest.Set{"summary": p.text("summary")}
	if rapid.Bool().Draw(p.r, "described") {
		set["description"] = p.text("description")
	}
	p.keys = append(p.keys, p.site.Create(p.pick("project", []string{"SUP", "OPS"}), set))
}

// step is one operation; it needs an issue.
func (p *play) step() {
	if len(p.keys) < 2 {
		p.create()
		return
	}
	key := p.pick("issue", p.keys)
	switch p.pick("operation", []string{
		"create", "update", "update", "transition", "assign", "comment", "comment", "comment edit", "comment delete", "worklog", "worklog edit", "worklog delete",
		"attach", "detach", "link", "link", "unlink", "remote", "remote delete", "sprint", "into sprint", "into sprint", "sprint change", "sprint delete", "move", "delete",
	}) {
	case "create":
		p.create()
	case "update":
		p.site.Update(key, jiratest.Set{"summary": p.text("summary")})
	case "transition":
		p.site.Transition(key, p.pick("status", []string{"Open", "In Progress", "Resolved", "Closed"}))
	case "assign":
		p.site.Update(key, jiratest.Set{"assignee": p.pick("who", p.site.Users())})
	case "comment":
		p.comment[key] = append(p.comment[key], p.site.Comment(key, p.text("comment")))
	case "worklog":
		p.worklog[key] = append(p.worklog[key], p.site.Worklog(key, time.Hour, p.text("worklog")))
	case "attach":
		p.file[key] = append(p.file[key], p.site.Attach(key, "file.txt", "text/plain", []byte("content")))
	case "remote":
		p.remote[key] = append(p.remote[key], p.site.RemoteLink(key, "https://example.com/"+strconv.Itoa(p.number), p.text("title"), "wiki"))
	case "link":
		if other := p.pick("other", p.keys); other != key {
			p.links = append(p.links, made{p.site.Link(p.pick("kind", []string{"Blocks", "Relates"}), key, other), key, other})
		}
	case "move":
		to := p.site.Move(key, p.pick("to", []string{"SUP", "OPS", "DEV"}))
		p.renamed(key, to)
		if !p.b.feed.covers(to) {
			p.left[p.issue(to)] = true
			p.forget(to) // nothing tells what becomes of it at the ends of links
		}
	case "delete":
		p.delete(key)
	case "sprint":
		p.sprints = append(p.sprints, p.site.Sprint(p.text("sprint")))
	case "into sprint":
		if _, id, ok := p.take(p.sprints, false); ok {
			p.site.PutIntoSprint(id, key)
		}
	default:
		p.change(key)
	}
}

// change changes or removes something that an earlier step made, if there is any.
func (p *play) change(key string) {
	some := func(of map[string][]int64, remove bool, do func(id int64)) {
		if rest, id, ok := p.take(of[key], remove); ok {
			of[key] = rest
			do(id)
		}
	}
	switch p.pick("change", []string{"comment edit", "comment delete", "worklog edit", "worklog delete", "detach", "remote delete", "unlink", "sprint", "sprint delete"}) {
	case "comment edit":
		some(p.comment, false, func(id int64) { p.site.EditComment(key, id, p.text("comment")) })
	case "comment delete":
		some(p.comment, true, func(id int64) { p.site.DeleteComment(key, id) })
	case "worklog edit":
		some(p.worklog, false, func(id int64) { p.site.EditWorklog(key, id, 2*time.Hour) })
	case "worklog delete":
		some(p.worklog, true, func(id int64) { p.site.DeleteWorklog(key, id) })
	case "detach":
		some(p.file, true, func(id int64) { p.site.DeleteAttachment(key, id) })
	case "remote delete":
		some(p.remote, true, func(id int64) { p.site.DeleteRemoteLink(key, id) })
	case "unlink":
		if len(p.links) > 0 {
			l := rapid.SampledFrom(p.links).Draw(p.r, "link")
			p.links = slices.DeleteFunc(p.links, func(m made) bool { return m.id == l.id })
			p.site.Unlink(l.from, l.id)
		}
	case "sprint":
		if _, id, ok := p.take(p.sprints, false); ok {
			p.pickSprintChange(id)
		}
	case "sprint delete":
		if rest, id, ok := p.take(p.sprints, true); ok {
			p.sprints = rest
			p.site.DeleteSprint(id)
		}
	}
}

func (p *play) pickSprintChange(id int64) {
	switch p.pick("sprint change", []string{"start", "close", "rename"}) {
	case "start":
		p.site.StartSprint(id)
	case "close":
		p.site.CloseSprint(id)
	default:
		p.site.RenameSprint(id, p.text("sprint"))
	}
}

// issue is the number of an issue.
func (p *play) issue(key string) int64 {
	doc, err := p.b.feed.client.Fetch(context.Background(), key)
	if err != nil {
		p.r.Fatal(err)
	}
	id, err := strconv.ParseInt(doc.ID, 10, 64)
	if err != nil {
		p.r.Fatal(err)
	}
	return id
}

func (p *play) renamed(from, to string) {
	for i, key := range p.keys {
		if key == from {
			p.keys[i] = to
		}
	}
	for _, of := range []map[string][]int64{p.comment, p.worklog, p.file, p.remote} {
		of[to] = of[from]
		if to != from {
			delete(of, from)
		}
	}
	for i, l := range p.links {
		if l.from == from {
			p.links[i].from = to
		}
		if l.to == from {
			p.links[i].to = to
		}
	}
}

func (p *play) delete(key string) {
	p.forget(key)
	p.site.Delete(key)
}

func (p *play) forget(key string) {
	p.keys = slices.DeleteFunc(p.keys, func(k string) bool { return k == key })
	p.links = slices.DeleteFunc(p.links, func(l made) bool { return l.from == key || l.to == key })
}

// caught is told of each delivery: it is lost, comes once, or comes several times.
func (p *play) caught(d jiratest.Delivery) {
	if d.Event == jiratest.IssueDeleted {
		p.deleted[d.Issue] = true
	}
	if rapid.Float64Range(0, 1).Draw(p.r, "fate") < p.lose {
		return
	}
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(p.r, "times") {
		p.pending = append(p.pending, d)
	}
}

// deliver brings some of what is under way, in any order, as one batch.
func (p *play) deliver(most int) {
	if len(p.pending) == 0 {
		return
	}
	order := rapid.Permutation(p.pending).Draw(p.r, "order")
	n := min(len(order), rapid.IntRange(1, most).Draw(p.r, "batch"))
	batch := order[:n]
	p.pending = slices.Clone(order[n:])
	for _, d := range batch {
		if e, err := jira.ParseEvent(d.Body); err == nil && d.Event == jiratest.IssueDeleted && p.b.feed.covers(e.IssueKey) {
			p.told[d.Issue] = true
		}
	}
	p.b.receive(batch...)
}

// Whatever is delivered twice, in another order or never: after a reconciliation the tables are those of
// an extractor that only did a backfill; and made anew from the documents they are the same.
func TestAnyOrderOfDeliveriesEndsInTheTablesOfABackfill(t *testing.T) {
	if !isSet("rapid.checks") {
		if err := flag.Set("rapid.checks", strconv.Itoa(checks)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set("rapid.checks", "100") })
	}
	rapid.Check(t, func(r *rapid.T) {
		upstream := jiratest.New(jiratest.Config{Now: clock()})
		defer upstream.Close()
		options := map[string]any{}
		if rapid.Bool().Draw(r, "some projects") {
			options["projects"] = []any{"SUP", "OPS"}
		}
		b := newBench(r, upstream, options)
		defer b.close()
		p := &play{
			r: r, site: upstream, b: b, comment: map[string][]int64{}, worklog: map[string][]int64{}, file: map[string][]int64{}, remote: map[string][]int64{},
			told: map[int64]bool{}, deleted: map[int64]bool{}, left: map[int64]bool{}, lose: rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(r, "lose"),
		}
		if n := rapid.SampledFrom([]int{0, 0, 12}).Draw(r, "old issues"); n > 0 {
			upstream.Populate(n, 3, 7)
			// What becomes of others at the ends of links is not told.
			p.keys = slices.DeleteFunc(upstream.Keys(), func(key string) bool { return !b.feed.covers(key) })
			if rapid.Bool().Draw(r, "backfilled") {
				b.backfill()
			}
		}
		upstream.Hook(p.caught, jiratest.Disorder{})
		for range rapid.IntRange(5, 60).Draw(r, "steps") {
			p.step()
			if rapid.IntRange(0, 2).Draw(r, "deliver") == 0 {
				p.deliver(8)
			}
			switch rapid.IntRange(0, 14).Draw(r, "between") {
			case 0:
				b.run(false)
			case 1:
				b.reopen()
			}
		}
		for len(p.pending) > 0 {
			p.deliver(30)
		}
		p.catchUpAndCompare(options)
	})
}

func (p *play) catchUpAndCompare(options map[string]any) {
	b := p.b
	b.catchUp()
	b.run(false)
	b.reconcile()
	b.catchUp()
	b.run(false)
	got := b.tables()
	fresh := newBench(p.r, p.site, options)
	defer fresh.close()
	fresh.backfill()
	fresh.run(false)
	if d := differ(got, fresh.tables(), "deleted_issues"); d != "" {
		p.r.Fatalf("not as after a backfill:\n%s", d)
	}
	p.checkDeleted(got["deleted_issues"])
	b.run(true)
	if d := differ(b.tables(), got); d != "" {
		p.r.Fatalf("made anew, the tables are other ones:\n%s", d)
	}
	if again := b.reconcile().GetDifferences(); again.GetMissing()+again.GetGone()+again.GetStale() > 0 {
		p.r.Fatalf("a second reconciliation finds differences: %v", again)
	}
	if _, total, err := b.feed.store.AsideList(context.Background(), 1); err != nil || total > 0 {
		p.r.Fatalf("%d set aside, %v", total, err)
	}
}

// checkDeleted looks at what a backfill cannot know: each issue of which a deletion was told is listed
// once, and no other one that is there.
func (p *play) checkDeleted(lines []string) {
	listed := map[int64]int{}
	for _, line := range lines {
		for word := range strings.FieldsSeq(line) {
			if id, found := strings.CutPrefix(word, "issue_id="); found {
				n, _ := strconv.ParseInt(id, 10, 64)
				listed[n]++
			}
		}
	}
	for id, times := range listed {
		if !p.deleted[id] && !p.left[id] || times != 1 {
			p.r.Fatalf("deleted_issues has the issue %d %d times; deleted: %v", id, times, p.deleted[id])
		}
	}
	for id := range p.told {
		if listed[id] == 0 && !p.left[id] {
			p.r.Fatalf("deleted_issues lacks the issue %d, of which a deletion was told", id)
		}
	}
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
