package jira

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// The content of attachments is kept where that is configured: one folder per attachment, which holds one
// file, in the files of the source. It is written aside and renamed, and never changed.

// Bounds of what is kept, where the options say nothing.
const (
	defaultMaxMB   = 50
	defaultQuotaMB = 10 << 10
	fileBatch      = 20
	fileIdle       = 15 * time.Second
	fileRetryMax   = 6 * time.Hour
	nameBytes      = 120
)

// keeper fetches the content of attachments of one site.
type keeper struct {
	*site
	max, quota int64 // bytes
	atOnce     int
	changed    chan struct{}
}

func newKeeper(s *site) *keeper {
	a := s.Attachments
	if a == nil || !a.Content || s.client == nil {
		return nil
	}
	k := &keeper{site: s, max: a.MaxMB << 20, quota: a.QuotaMB << 20, atOnce: a.Concurrent, changed: make(chan struct{}, 1)}
	if k.max == 0 {
		k.max = defaultMaxMB << 20
	}
	if k.quota == 0 {
		k.quota = defaultQuotaMB << 20
	}
	if k.atOnce == 0 {
		k.atOnce = 2
	}
	return k
}

// filesOf is where the content of attachments is.
func (s *site) filesOf() string { return extract.FilesDir(s.dataDir, s.name, "attachments") }

// localPath tells where the content of an attachment is, or will be, kept: below the data directory.
func (s *site) localPath(_, id, name string) string {
	if s.Attachments == nil || !s.Attachments.Content {
		return ""
	}
	inside, err := filepath.Rel(s.dataDir, filepath.Join(s.filesOf(), id, safeName(name)))
	if err != nil {
		return ""
	}
	return filepath.ToSlash(inside)
}

// safeName makes the name of a file of what somebody called it: no step of a path, nothing that a shell
// or a browser reads in a way of its own, of a length that every file system takes. Its end, by which
// programs know it, stays.
func safeName(name string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\' || r == ':' || r == '*' || r == '?' || r == '"' || r == '<' || r == '>' || r == '|':
			return '_'
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	clean = strings.Trim(clean, " .")
	end := filepath.Ext(clean)
	if len(end) > 16 {
		end = ""
	}
	start := strings.TrimSuffix(clean, end)
	for len(start)+len(end) > nameBytes {
		_, size := utf8.DecodeLastRuneInString(start)
		start = start[:len(start)-size]
	}
	if start == "" {
		start = "file"
	}
	return start + end
}

// noteFiles notes which attachments an issue has, and removes the content of those that it has no more.
func (s *site) noteFiles(ctx context.Context, tx *store.Tx, issue int64, r rows.Rows) error {
	if s.keeper == nil {
		return nil
	}
	t := s.tables["attachments"]
	id, name, size := position(t.Columns, "attachment_id"), position(t.Columns, "filename"), position(t.Columns, "size_bytes")
	var has []store.Attachment
	for _, row := range t.rowsOf(&r) {
		text, _ := row[id].(string)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		a := store.Attachment{ID: n, Issue: issue}
		a.Name, _ = row[name].(string)
		a.Size, _ = row[size].(int64)
		if a.Size > s.keeper.max {
			a.State, a.Reason = store.FileAbsent, "larger than what is kept"
		}
		has = append(has, a)
	}
	gone, err := tx.Files(ctx, issue, has)
	if err != nil {
		return err
	}
	for _, a := range gone {
		if err := os.RemoveAll(filepath.Join(s.filesOf(), strconv.FormatInt(a.ID, 10))); err != nil {
			return fault.Wrap(err, fault.Unavailable, "the content of a deleted attachment cannot be removed")
		}
	}
	return nil
}

// filesCursor tells that the attachments of all documents were noted once.
const filesCursor = "files-noted"

// noteAll notes the attachments of the documents that were kept before their content was.
func (k *keeper) noteAll(ctx context.Context) error {
	done, err := k.store.Cursor(ctx, filesCursor)
	if err != nil || done != "" {
		return err
	}
	months, err := k.store.Months(ctx)
	if err != nil {
		return err
	}
	flat := k.flattener()
	for _, month := range months {
		type noted struct {
			id   int64
			rows rows.Rows
		}
		var all []noted
		err := k.store.Month(ctx, month, func(d store.Document) error {
			r, err := flat.Flatten(d.JSON)
			if err == nil && len(r.Tables[rows.Attachments]) > 0 {
				all = append(all, noted{d.ID, rows.Rows{Tables: [rows.TableCount][][]any{rows.Attachments: r.Tables[rows.Attachments]}}})
			}
			return nil // one that cannot be read is set aside when its rows are made
		})
		if err != nil {
			return err
		}
		err = k.store.Write(ctx, func(tx *store.Tx) error {
			for _, n := range all {
				if err := k.noteFiles(ctx, tx, n.id, n.rows); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return k.store.Write(ctx, func(tx *store.Tx) error { return tx.SetCursor(ctx, filesCursor, "yes") })
}

// loop fetches what is wanted until ctx ends.
func (k *keeper) loop(ctx context.Context) {
	if err := k.noteAll(ctx); err != nil && ctx.Err() == nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("attachments of issues that were kept before are not fetched")
	}
	for ctx.Err() == nil {
		n, err := k.round(ctx)
		if err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("attachments were not fetched")
		}
		if n == fileBatch && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-k.changed:
		case <-time.After(fileIdle):
		}
	}
}

func (k *keeper) round(ctx context.Context) (int, error) {
	list, err := k.store.WantedFiles(ctx, k.now(), fileBatch)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	_, used, _, err := k.store.CountFiles(ctx)
	if err != nil {
		return 0, err
	}
	scratch, err := k.scratch()
	if err != nil {
		return 0, err
	}
	defer func() { _ = scratch.Close() }()
	results := make([]store.Attachment, len(list))
	errs := make([]error, len(list))
	places := make(chan struct{}, k.atOnce)
	var work sync.WaitGroup
	for i, a := range list {
		if used += a.Size; used > k.quota {
			results[i], errs[i] = a, fault.New(fault.Busy, "the quota of %d MB for attachments is used up", k.quota>>20).After(time.Hour)
			continue
		}
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			results[i], errs[i] = k.fetch(ctx, scratch, a)
		})
	}
	work.Wait()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return len(list), k.store.Write(ctx, func(tx *store.Tx) error {
		for i, a := range results {
			var next time.Time
			if err := errs[i]; err != nil {
				a.State, a.Reason = store.FileWanted, fault.Message(err)
				if fault.Is(err, fault.NotFound) || fault.Is(err, fault.TooLarge) {
					a.State = store.FileAbsent
				}
				next = k.now().Add(max(fault.RetryAfter(err), min(refetchMin<<min(a.Attempts, 14), fileRetryMax)))
			}
			if err := tx.FileTried(ctx, a, next); err != nil {
				return err
			}
		}
		return nil
	})
}

// fetch streams one content to its place. What it is called and what is in it are of somebody's choosing:
// the name is made safe, and nothing more is read than may be kept.
func (k *keeper) fetch(ctx context.Context, scratch *lake.Scratch, a store.Attachment) (store.Attachment, error) {
	id := strconv.FormatInt(a.ID, 10)
	content, err := k.client.Background().Attachment(ctx, id)
	if err != nil {
		return a, err
	}
	defer func() { _ = content.Body.Close() }()
	dir := scratch.Path(id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return a, fmt.Errorf("make scratch: %w", err)
	}
	name := safeName(a.Name)
	n, err := writeFile(filepath.Join(dir, name), io.LimitReader(content.Body, k.max+1))
	switch {
	case err != nil:
		return a, err
	case n > k.max:
		return a, fault.New(fault.TooLarge, "larger than what is kept")
	case content.Size >= 0 && n != content.Size:
		return a, fault.New(fault.Unavailable, "the content broke off")
	}
	a.Size, a.State, a.Reason = n, store.FileKept, ""
	final := filepath.Join(k.filesOf(), id)
	if err := os.MkdirAll(k.filesOf(), 0o755); err != nil {
		return a, fault.Wrap(err, fault.Unavailable, "the folder of attachments cannot be made")
	}
	if err := os.RemoveAll(final); err != nil { // of a try whose end was not noted
		return a, fault.Wrap(err, fault.Unavailable, "an attachment cannot be replaced")
	}
	if err := os.Rename(dir, final); err != nil {
		return a, fault.Wrap(err, fault.Unavailable, "an attachment cannot be kept: is the disk full?")
	}
	return a, lake.SyncDir(k.filesOf())
}

// writeFile writes and syncs a file, and gives its bytes.
func writeFile(path string, from io.Reader) (n int64, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return 0, fault.Wrap(err, fault.Unavailable, "an attachment cannot be written: is the disk full?")
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if n, err = io.Copy(file, from); err != nil {
		return n, err
	}
	return n, file.Sync()
}
