package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

func (a *app) syncCommand() *cobra.Command {
	var o mirror.Options
	var quiet, uploadOnly, docsOnly bool
	cmd := &cobra.Command{
		Use: "sync", Short: "Bring the workspace up to date", GroupID: groupData, Args: noArgs,
		Long: `Compare the workspace with what the server grants, fetch the parts that are
missing, switch each table to its new version at once, and remove tables that
are gone or no longer granted. Your own tables and views in the database stay.
Tables that you switched off (` + "`da datasets off`" + `) are left out, unless
they are named or --all is given.

With --upload-only nothing is fetched: what changed of user/sessions/*.jsonl and
.claude/CLAUDE.local.md since it was sent is sent to the server.

It can be interrupted at any time: what was fetched is kept, and the next sync
goes on from there. The exit code is 0 only if nothing was left undone.`,
		Example: `  da sync
  da sync --dry-run
  da sync --table orders --table customers
  da sync --upload-only`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if docsOnly { // as the predecessor, which had the flag and did nothing
				nothing := &mirror.Result{Downloaded: []mirror.Change{}, Skipped: []string{}, Removed: []string{}, Errors: []mirror.Error{}}
				return a.give(nothing, func() { a.note("There are no documents to sync: --docs-only does nothing.") })
			}
			if !uploadOnly {
				return a.sync(cmd.Context(), o, quiet)
			}
			if o.All || o.Verify || o.SwitchServer || len(o.Tables) > 0 {
				return usage("--upload-only fetches nothing: of the other flags it takes only --dry-run")
			}
			return a.uploadOnly(cmd.Context(), o.DryRun)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.Tables, "table", nil, "sync only this table, and remove none (repeatable)")
	flags.BoolVar(&o.DryRun, "dry-run", false, "show what would be done, and change nothing")
	flags.BoolVar(&o.All, "all", false, "sync what you switched off, too")
	flags.BoolVar(&uploadOnly, "upload-only", false, "send sessions and notes that changed, and fetch nothing")
	flags.BoolVar(&docsOnly, "docs-only", false, "")
	_ = flags.MarkHidden("docs-only")
	flags.BoolVar(&o.Verify, "verify", false, "read every part on disk again and compare its hash")
	flags.BoolVar(&o.SwitchServer, "switch-server", false, "replace the tables of a workspace that belongs to another server")
	flags.IntVar(&o.Parallel, "parallel", 4, "how many parts to fetch at a time")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print errors only")
	return cmd
}

func (a *app) sync(ctx context.Context, o mirror.Options, quiet bool) error {
	switch {
	case o.Parallel < 1 || o.Parallel > 64:
		return usage("--parallel is a number from 1 to 64")
	case o.SwitchServer && len(o.Tables) > 0:
		return usage("--switch-server replaces all tables: leave out --table")
	}
	ws, err := a.find()
	if err != nil {
		return err
	}
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if !o.DryRun && !quiet {
		o.Progress = a.progress()
	}
	result, err := mirror.New(c, localdb.New(ws), ws, o).Sync(ctx)
	if !quiet && !a.json {
		a.oldLayout(ws)
	}
	switch {
	case a.json:
		if printErr := a.printJSON(syncJSON(result, err)); printErr != nil {
			return printErr
		}
	case quiet:
		a.syncErrors(result)
	case err == nil || len(result.Errors)+len(result.Downloaded) > 0:
		a.syncText(result)
	}
	if err == nil {
		return nil
	}
	return notSynced(result, err)
}

// notSynced says what to do about a sync that left something undone.
func notSynced(result *mirror.Result, err error) error {
	switch {
	case fault.Is(err, fault.Unauthenticated), len(result.Errors) == 0:
		return err
	case fault.Retryable(err), fault.Is(err, fault.NotFound):
		return hinted{err, "Run `da sync` again: it goes on with what is missing."}
	}
	return err
}

// syncJSON is the answer for machines: a failure of the whole is one of its errors.
func syncJSON(result *mirror.Result, err error) *mirror.Result {
	if err != nil && len(result.Errors) == 0 {
		result.Errors = append(result.Errors, mirror.Error{Error: fault.Message(err), Kind: fault.KindOf(err)})
	}
	return result
}

func (a *app) syncText(r *mirror.Result) {
	if r.DryRun {
		a.print("Would download %s (%s):", show.Plural(len(r.Downloaded), "table"), show.Bytes(r.Bytes))
		for _, c := range r.Downloaded {
			a.print("  %s  rows=%s  size=%s  missing=%s", c.Table, show.Count(c.Rows), show.Bytes(c.SizeBytes), show.Bytes(c.Fetched))
		}
		if len(r.Removed) > 0 {
			a.print("Would remove: %s", strings.Join(r.Removed, ", "))
		}
	} else {
		line := "Downloaded: " + show.Plural(len(r.Downloaded), "table")
		if r.Bytes > 0 {
			line += " (" + show.Bytes(r.Bytes) + ")"
		}
		a.print("%s", line)
		if len(r.Removed) > 0 {
			a.print("Removed: %s", show.Plural(len(r.Removed), "table"))
			for _, id := range r.Removed {
				a.print("  %s", id)
			}
		}
	}
	a.print("Skipped (unchanged): %s", show.Count(int64(len(r.Skipped))))
	if len(r.Unwanted) > 0 {
		a.print("Switched off: %s (%s); --all syncs them, `da datasets on` for good", show.Count(int64(len(r.Unwanted))), strings.Join(r.Unwanted, ", "))
	}
	a.print("Errors: %d", len(r.Errors))
	for _, e := range r.Errors {
		a.print("  %s", errorLine(e))
	}
	for _, n := range r.Notes {
		a.note("Note: %s", n)
	}
}

func errorLine(e mirror.Error) string {
	return strings.TrimPrefix(e.Table+": "+e.Error, ": ")
}

// syncErrors tells what failed and nothing else.
func (a *app) syncErrors(r *mirror.Result) {
	for _, e := range r.Errors {
		if e.Table != "" {
			a.note("%s", errorLine(e))
		}
	}
}

// oldLayout tells about files in the predecessor's layout, which nothing reads any more.
func (a *app) oldLayout(ws *workspace.Workspace) {
	old := ws.Old()
	if len(old) == 0 {
		return
	}
	a.note("Note: %s is of an older da and is no longer used; the tables are now under data/.", strings.Join(old, " and "))
	a.note("      Tables of your own in the old database can be copied: da query --write \"ATTACH 'user/duckdb/analytics.duckdb' AS old (READ_ONLY); CREATE TABLE mine AS FROM old.mine\"")
}

var _ mirror.Server = (*client.Client)(nil)
