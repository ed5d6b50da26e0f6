package cli

import (
	"io"
	"sync"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// progress shows a sync on standard error: bars on a terminal, and else a line per table.
func (a *app) progress() mirror.Progress {
	if width, yes := isTerminal(a.Err); yes {
		return &bars{out: a.Err, width: width, tables: map[string]*tableBar{}}
	}
	return &lines{app: a, sizes: map[string]int64{}}
}

// lines is the progress for logs.
type lines struct {
	*app
	mu    sync.Mutex
	sizes map[string]int64
}

func (l *lines) Start(tables, parts int, bytes int64) {
	l.note("Fetching %s of %s, %s", show.Plural(parts, "part"), show.Plural(tables, "table"), show.Bytes(bytes))
}

func (l *lines) Table(id string, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sizes[id] = bytes
}

func (l *lines) Bytes(string, int64) {}

func (l *lines) Fetched(id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.note("  %s: %s", id, fault.Message(err))
		return
	}
	l.note("  %s  %s", id, show.Bytes(l.sizes[id]))
}

func (l *lines) End() {}

// bars is the progress for a person: one bar for all, and one for each table that is being fetched.
type bars struct {
	out    io.Writer
	width  int
	mu     sync.Mutex
	all    *mpb.Progress
	total  *mpb.Bar
	tables map[string]*tableBar
}

type tableBar struct {
	bar   *mpb.Bar // nil until the first bytes arrive
	bytes int64
	have  int64
}

const nameWidth = 24

func (b *bars) Start(tables, _ int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = mpb.New(mpb.WithOutput(b.out), mpb.WithWidth(min(b.width, 100)))
	b.total = b.all.New(bytes, mpb.BarStyle().Rbound("|").Lbound("|"), mpb.BarPriority(1<<30),
		mpb.PrependDecorators(decor.Name(fit(show.Plural(tables, "table"), nameWidth))),
		mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f"), decor.Name("  "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO)))
}

func (b *bars) Table(id string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tables[id] = &tableBar{bytes: bytes}
}

func (b *bars) Bytes(id string, delta int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tables[id]
	if t.bar == nil {
		t.bar = b.all.New(t.bytes, mpb.BarStyle().Rbound("|").Lbound("|"), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(fit(id, nameWidth))), mpb.AppendDecorators(decor.Percentage()))
	}
	t.have += delta
	t.bar.SetCurrent(min(t.have, t.bytes-1)) // complete only once it is verified
	b.total.IncrInt64(delta)
}

func (b *bars) Fetched(id string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tables[id]
	if t.bar == nil {
		return
	}
	if err != nil {
		t.bar.Abort(true)
		return
	}
	t.bar.SetCurrent(t.bytes)
}

func (b *bars) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tables {
		if t.bar != nil {
			t.bar.Abort(true)
		}
	}
	b.total.Abort(true) // the summary says it all
	b.all.Wait()
	b.tables = map[string]*tableBar{}
}

// fit pads or shortens a name to a width.
func fit(name string, width int) string { return show.Pad(show.Shorten(name, width), width) + " " }
