package mirror

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// File is a part while it is fetched.
type File interface {
	client.PartFile
	io.Closer
	Sync() error
}

func openFile(path string) (File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // the analyst's own file, with the analyst's umask
}

// inVain is how many parts in a row may fail for want of a server before the rest is not tried.
const inVain = 8

// fetcher is the state of one round of downloads.
type fetcher struct {
	*pass
	mu sync.Mutex
	// stop is why nothing more is tried; nil while it makes sense.
	stop   error
	cancel context.CancelFunc
	inRow  int
	left   map[string]int // parts missing, by table
}

// fetch brings what the plan misses. Failures are noted by table, and do not stop the others unless
// they concern all.
func (p *pass) fetch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &fetcher{pass: p, cancel: cancel, left: map[string]int{}}
	var parts int
	var bytes int64
	for _, c := range p.plan.change {
		f.left[c.id] = len(c.missing)
		parts += len(c.missing)
		bytes += c.missingBytes()
	}
	if parts == 0 {
		return
	}
	if free, ok := workspace.Free(p.ws.Parquet()); ok && bytes-p.begun() > free {
		p.whole = append(p.whole, diskFull(bytes-p.begun(), free))
		for _, c := range p.plan.change {
			if len(c.missing) > 0 {
				p.failed[c.id] = fault.New(fault.TooLarge, "not fetched: the disk is too full")
			}
		}
		return
	}
	p.opts.Progress.Start(len(f.left), parts, bytes)
	defer p.opts.Progress.End()
	var group errgroup.Group
	group.SetLimit(p.opts.Parallel)
	for _, c := range p.plan.change {
		if len(c.missing) == 0 {
			continue
		}
		p.opts.Progress.Table(c.id, c.missingBytes())
		for _, part := range c.missing {
			group.Go(func() error {
				f.done(c.id, f.part(ctx, c.id, part))
				return nil
			})
		}
	}
	_ = group.Wait() // the goroutines note their failures by table
}

// begun is what earlier tries left on disk of parts that are missing.
func (p *pass) begun() int64 {
	var n int64
	for _, c := range p.plan.change {
		for _, part := range c.missing {
			n += p.inv[workspace.FolderOf(c.id)][part.SHA256+workspace.PartExt+workspace.PartialExt]
		}
	}
	return n
}

// part fetches one part under its final name.
func (f *fetcher) part(ctx context.Context, id string, part workspace.Part) error {
	f.mu.Lock()
	stop := f.stop
	f.mu.Unlock()
	if stop != nil {
		return stop
	}
	final := f.ws.Part(id, part.SHA256)
	partial := final + workspace.PartialExt
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil { //nolint:gosec // the analyst's own folder
		return fault.Wrap(err, fault.Permanent, "the folder %s cannot be made", filepath.Dir(final))
	}
	file, err := f.create(partial)
	if err != nil {
		return fault.Wrap(err, fault.Permanent, "%s cannot be opened", partial)
	}
	var have int64
	err = f.server.DownloadPart(ctx, client.PartRef{Table: id, SHA256: part.SHA256, Size: part.SizeBytes}, file, func(delta int64) {
		have += delta
		f.bytes.Add(delta)
		f.opts.Progress.Bytes(id, delta)
	})
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(partial, final)
	} else if have == 0 {
		_ = os.Remove(partial) // nothing to resume
	}
	if err == nil {
		err = lake.SyncDir(filepath.Dir(final))
	}
	return localFault(err, id)
}

// localFault says in words what the disk refused; other errors are faults already.
func localFault(err error, id string) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case isDiskFull(err):
		return fault.Wrap(err, fault.TooLarge, "the disk is full: make room and run `da sync` again, what was fetched is kept")
	case errors.As(err, &known):
		return err
	}
	return fault.Wrap(err, fault.Permanent, "a part of %s cannot be written", id)
}

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func diskFull(need, free int64) error {
	return fault.New(fault.TooLarge, "the disk has room for %s and %s are needed: make room and run `da sync` again", show.Bytes(free), show.Bytes(need))
}

// done notes what became of one part.
func (f *fetcher) done(id string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[id]--
	if err == nil {
		f.inRow = 0
		if f.left[id] == 0 && f.failed[id] == nil {
			f.opts.Progress.Fetched(id, nil)
		}
		return
	}
	if f.failed[id] == nil {
		f.failed[id] = err
		f.opts.Progress.Fetched(id, err)
	}
	if f.stop != nil {
		return
	}
	if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Busy) {
		f.inRow++
	}
	if isDiskFull(err) || fault.Is(err, fault.Unauthenticated) || f.inRow >= inVain {
		f.stop = fault.Wrap(err, fault.KindOf(err), "not fetched: %s", fault.Message(err))
		f.whole = append(f.whole, err)
		f.cancel()
	}
}
