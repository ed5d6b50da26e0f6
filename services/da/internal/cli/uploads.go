package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// sending is one file to upload.
type sending struct {
	kind, path string
	// name is the file's on the server.
	name   string
	sha256 string
}

// uploadResult is the answer of `da upload` and `da sync --upload-only`.
type uploadResult struct {
	DryRun   bool          `json:"dry_run,omitempty"`
	Uploaded []uploadEntry `json:"uploaded"`
	// Skipped are files that stand on the server as they are.
	Skipped []string      `json:"skipped"`
	Errors  []uploadError `json:"errors"`
	// Sessions and LocalMD are what the predecessor told.
	Sessions int  `json:"sessions"`
	LocalMD  bool `json:"local_md"`
}

type uploadEntry struct {
	Kind string `json:"kind"`
	File string `json:"file"`
	Size int64  `json:"size"`
}

type uploadError struct {
	File  string     `json:"file"`
	Error string     `json:"error"`
	Kind  fault.Kind `json:"kind"`
}

func (a *app) uploadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "upload FILE…", Short: "Send files to the server as artifacts", GroupID: groupData, Args: someArgs(1, "files"),
		Long:    "Send files to the server, which keeps them for you. A file of the same name is replaced.",
		Example: "  da upload user/artifacts/report.pdf",
		RunE: func(cmd *cobra.Command, args []string) error {
			files := []sending{}
			for _, path := range args {
				files = append(files, sending{kind: client.UploadArtifacts, path: path, name: filepath.Base(path)})
			}
			return a.signedIn(cmd.Context(), func(c *client.Client) error {
				result, err := a.sendAll(cmd.Context(), c, files, func(sending) error { return nil })
				return a.uploaded(result, err)
			})
		},
	}
}

// sendAll sends each file, and goes on after a failure; the error is the first. after is called for each
// that was sent.
func (a *app) sendAll(ctx context.Context, c *client.Client, files []sending, after func(sending) error) (*uploadResult, error) {
	r := &uploadResult{Uploaded: []uploadEntry{}, Skipped: []string{}, Errors: []uploadError{}}
	var first error
	for _, f := range files {
		size, err := a.sendOne(ctx, c, f)
		if err == nil {
			err = after(f)
		}
		if err != nil {
			r.Errors = append(r.Errors, uploadError{f.path, fault.Message(err), fault.KindOf(err)})
			if first == nil {
				first = err
			}
			if ctx.Err() != nil || fault.Is(err, fault.Unauthenticated) {
				break // the others would fail alike
			}
			continue
		}
		r.Uploaded = append(r.Uploaded, uploadEntry{f.kind, f.path, size})
		switch f.kind {
		case client.UploadSessions:
			r.Sessions++
		case client.UploadLocalMD:
			r.LocalMD = true
		}
	}
	return r, first
}

func (a *app) sendOne(ctx context.Context, c *client.Client, f sending) (int64, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return 0, fault.Wrap(err, fault.NotFound, "%s cannot be read", f.path)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, fault.New(fault.Invalid, "%s is no file", f.path)
	}
	if f.kind == client.UploadLocalMD {
		raw, err := io.ReadAll(file)
		if err != nil {
			return 0, fault.Wrap(err, fault.Permanent, "%s cannot be read", f.path)
		}
		return int64(len(raw)), c.UploadLocalMD(ctx, string(raw))
	}
	stop := func() {}
	if info.Size() > 1<<20 {
		stop = a.spin("Sending " + f.name + " (" + show.Bytes(info.Size()) + ")")
	}
	defer stop()
	u, err := c.Upload(ctx, f.kind, f.name, file, info.Size(), nil)
	if err == nil && u.Size != info.Size() {
		err = fault.New(fault.Unavailable, "the server has %d bytes of %s, which has %d", u.Size, f.path, info.Size())
	}
	return info.Size(), err
}

// uploaded tells what was sent; a failure among it is the error.
func (a *app) uploaded(r *uploadResult, failed error) error {
	err := a.give(r, func() {
		verb := "Uploaded"
		if r.DryRun {
			verb = "Would upload"
		}
		a.print("%s: %s", verb, show.Plural(len(r.Uploaded), "file"))
		for _, u := range r.Uploaded {
			a.print("  %s  %s", u.File, show.Bytes(u.Size))
		}
		a.print("Skipped (unchanged): %d", len(r.Skipped))
		a.print("Errors: %d", len(r.Errors))
		for _, e := range r.Errors {
			a.print("  %s: %s", e.File, e.Error)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// uploadOnly sends the sessions and the notes of the workspace that changed since they were sent.
func (a *app) uploadOnly(ctx context.Context, dryRun bool) error {
	ws, err := a.find()
	if err != nil {
		return err
	}
	c, s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	sent, err := ws.LoadSent(s.Server + " " + me.UserID)
	if err != nil {
		return err
	}
	changed, same, err := toSend(ws, sent)
	if err != nil {
		return err
	}
	if dryRun {
		r := &uploadResult{DryRun: true, Uploaded: []uploadEntry{}, Skipped: same, Errors: []uploadError{}}
		for _, f := range changed {
			size := int64(0)
			if info, err := os.Stat(f.path); err == nil {
				size = info.Size()
			}
			r.Uploaded = append(r.Uploaded, uploadEntry{f.kind, f.path, size})
		}
		return a.uploaded(r, nil)
	}
	r, failed := a.sendAll(ctx, c, changed, func(f sending) error {
		sent.Files[f.kind+"/"+f.name] = f.sha256
		return ws.SaveSent(sent) // after each: an interrupt does not send them again
	})
	r.Skipped = same
	return a.uploaded(r, failed)
}

// toSend looks for what changed.
func toSend(ws *workspace.Workspace, sent *workspace.Sent) (changed []sending, same []string, err error) {
	paths, err := filepath.Glob(filepath.Join(globQuote(ws.Root), "user", "sessions", "*.jsonl"))
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Permanent, "the sessions of %s cannot be listed", ws.Root)
	}
	slices.Sort(paths)
	files := []sending{}
	for _, p := range paths {
		files = append(files, sending{kind: client.UploadSessions, path: p, name: filepath.Base(p)})
	}
	notes := filepath.Join(ws.Root, ".claude", "CLAUDE.local.md")
	if _, err := os.Stat(notes); err == nil {
		files = append(files, sending{kind: client.UploadLocalMD, path: notes, name: filepath.Base(notes)})
	}
	same = []string{}
	for _, f := range files {
		// One that cannot be read is told by the sending.
		if digest, err := lake.HashFile(f.path); err == nil {
			f.sha256 = digest.SHA256
		}
		if f.sha256 != "" && sent.Files[f.kind+"/"+f.name] == f.sha256 {
			same = append(same, f.path)
			continue
		}
		changed = append(changed, f)
	}
	return changed, same, nil
}

// globQuote makes a path stand for itself in a pattern.
func globQuote(path string) string {
	if os.PathSeparator == '\\' {
		return path // Windows has no escapes in patterns
	}
	quoted := make([]byte, 0, len(path))
	for i := range len(path) {
		if slices.Contains([]byte(`*?[\`), path[i]) {
			quoted = append(quoted, '\\')
		}
		quoted = append(quoted, path[i])
	}
	return string(quoted)
}

func (a *app) uploadsCommand() *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		return a.signedIn(cmd.Context(), func(c *client.Client) error {
			l, err := c.Uploads(cmd.Context())
			if err != nil {
				return err
			}
			l.Uploads = orEmpty(l.Uploads)
			return a.give(l, func() {
				t := show.Table{Columns: []string{"kind", "file", "size", "sent"}, Right: []bool{false, false, true}}
				for _, u := range l.Uploads {
					t.Rows = append(t.Rows, cells(u.Kind, u.Filename, show.Bytes(u.Size), day(u.ModifiedAt, "")))
				}
				a.table(t)
				a.print("%s of %s, %s of %s", show.Bytes(l.Quota.Bytes), show.Bytes(l.Quota.MaxBytes), show.Count(int64(l.Quota.Files)), show.Plural(l.Quota.MaxFiles, "file"))
			})
		})
	}
	var output string
	get := &cobra.Command{
		Use: "get KIND FILE", Short: "Fetch back what you sent", Args: twoArgs("a kind (sessions, artifacts, local-md) and a file"),
		Example: "  da uploads get artifacts report.pdf -o report.pdf",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.signedIn(cmd.Context(), func(c *client.Client) error {
				stream, err := c.OpenUpload(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				defer stream.Close()
				return a.deliver(output, func(_ string, w io.Writer) error {
					_, err := io.Copy(w, stream)
					return err
				}, false)
			})
		},
	}
	get.Flags().StringVarP(&output, "output", "o", "", "write to this file, whole or not at all")
	cmd := group("uploads", "See what you sent to the server", "  da uploads\n  da uploads delete artifacts report.pdf",
		&cobra.Command{Use: "list", Short: "List what you sent, and how much room is left", Args: noArgs, Example: "  da uploads list --json", RunE: list},
		get,
		&cobra.Command{
			Use: "delete KIND FILE", Short: "Delete what you sent", Args: twoArgs("a kind (sessions, artifacts, local-md) and a file"), Example: "  da uploads delete artifacts report.pdf",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.signedIn(cmd.Context(), func(c *client.Client) error {
					if err := c.DeleteUpload(cmd.Context(), args[0], args[1]); err != nil {
						return err
					}
					return a.give(map[string]string{"deleted": args[1], "kind": args[0]}, func() { a.print("Deleted %s.", args[1]) })
				})
			},
		})
	cmd.GroupID = groupData
	cmd.RunE = list
	return cmd
}
