package cli

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/audit"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// verifyFlags say what to verify, and against what.
type verifyFlags struct{ dir, file, key, expect string }

func (a *app) auditVerify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use: "verify", Short: "Find records that were edited, moved, removed or cut off", Args: noArgs,
		Long: `Verify that the record is whole: every hash, the order, and the signed
checkpoints. It is fetched from the server, or read from a folder (--dir, as
DATA_DIR/state/audit) or an archive (--file) without asking anybody.

The key and the last signed record of a server are remembered, and are what the
next look at it is held against: a record that was rewritten as a whole, or cut
off, is found by that. --key and --expect give them from elsewhere. The exit code
is 1 where anything is wrong.`,
		Example: `  da admin audit verify
  da admin audit verify --file chain.tar.gz --key key.pub
  da admin audit verify --dir /data/state/audit --expect 4711:9f86d081…`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verifyRecord(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "", "a folder that holds the record")
	flags.StringVar(&f.file, "file", "", "an archive of the record (tar.gz)")
	flags.StringVar(&f.key, "key", "", "the public key, or a file that holds it")
	flags.StringVar(&f.expect, "expect", "", "a record that was seen before and must still be there, as SEQ:HASH")
	return cmd
}

func (a *app) verifyRecord(ctx context.Context, f verifyFlags) error {
	if f.dir != "" && f.file != "" {
		return usage("use either --dir or --file")
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	var report audit.Report
	switch {
	case f.dir != "":
		report, err = audit.VerifyDir(ctx, f.dir, o)
	case f.file != "":
		report, err = verifyFile(ctx, f.file, o)
	default:
		report, err = a.verifyServer(ctx, f, o)
	}
	if err != nil {
		return err
	}
	if err := a.give(report, func() { a.showReport(report) }); err != nil {
		return err
	}
	if !report.OK {
		return errTold
	}
	return nil
}

// options reads --key and --expect.
func (f verifyFlags) options() (audit.Options, error) {
	var o audit.Options
	if f.key != "" {
		text := f.key
		if raw, err := os.ReadFile(f.key); err == nil {
			text = string(raw)
		}
		key, err := audit.ParsePublicKey(text)
		if err != nil {
			return o, usage("--key is a public key or a file that holds one: %s", fault.Message(err))
		}
		o.PublicKey = key
	}
	if f.expect != "" {
		number, hash, found := strings.Cut(f.expect, ":")
		seq, err := strconv.ParseInt(number, 10, 64)
		if !found || err != nil || seq < 1 || len(hash) != len(audit.ZeroHash) {
			return o, usage("--expect is SEQ:HASH, the number and the SHA-256 (64 hex digits) of a record")
		}
		o.Expect = &audit.Head{Seq: seq, Hash: strings.ToLower(hash)}
	}
	return o, nil
}

func verifyFile(ctx context.Context, name string, o audit.Options) (audit.Report, error) {
	file, err := os.Open(name)
	if err != nil {
		return audit.Report{}, fault.Wrap(err, fault.NotFound, "%s cannot be read", name)
	}
	defer func() { _ = file.Close() }()
	return audit.VerifyArchive(ctx, file, "", o)
}

// verifyServer fetches the record, holds it against what was last seen of it, and remembers what was seen
// now where all was well.
func (a *app) verifyServer(ctx context.Context, f verifyFlags, o audit.Options) (audit.Report, error) {
	c, s, err := a.connect(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	defer c.Close()
	seen, err := s.LoadRecord()
	if err != nil {
		return audit.Report{}, err
	}
	if o.PublicKey == nil && seen.PublicKey != "" {
		if o.PublicKey, err = audit.ParsePublicKey(seen.PublicKey); err != nil {
			return audit.Report{}, err
		}
	}
	if o.Expect == nil && seen.Seq > 0 {
		o.Expect = &audit.Head{Seq: seen.Seq, Hash: seen.Hash}
	}
	stream, err := c.AuditChain(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	defer stream.Close()
	dir, err := os.MkdirTemp("", "da-audit-")
	if err != nil {
		return audit.Report{}, fault.Wrap(err, fault.Unavailable, "there is no room for the record")
	}
	defer func() { _ = os.RemoveAll(dir) }()
	archive := filepath.Join(dir, "chain.tar.gz")
	if err := save(archive, stream); err != nil {
		return audit.Report{}, err
	}
	report, err := verifyFile(ctx, archive, o)
	if err != nil || !report.OK {
		return report, err
	}
	if o.PublicKey == nil {
		if o.PublicKey, err = keyOf(archive); err != nil {
			return report, err
		}
		a.note("The key %s of %s is seen for the first time: compare it with what its administrator has written down.", report.Key, s.Server)
	}
	if f.key != "" && seen.PublicKey != "" && seen.PublicKey != audit.FormatPublicKey(o.PublicKey) {
		a.note("The key is another one than before; it was given, and is remembered from now on.")
	}
	now := settings.Record{PublicKey: audit.FormatPublicKey(o.PublicKey), Seq: report.Signed.Seq, Hash: report.Signed.Hash}
	if now.Seq < seen.Seq {
		now.Seq, now.Hash = seen.Seq, seen.Hash
	}
	return report, s.SaveRecord(now)
}

func save(name string, from io.Reader) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "%s cannot be written", name)
	}
	_, copyErr := io.Copy(file, from)
	if err := errors.Join(copyErr, file.Close()); err != nil {
		if copyErr != nil {
			return copyErr
		}
		return fault.Wrap(err, fault.Unavailable, "%s cannot be written", name)
	}
	return nil
}

// keyOf gives the public key that lies in an archive.
func keyOf(archive string) (ed25519.PublicKey, error) {
	missing := fault.New(fault.Invalid, "the archive holds no public key")
	file, err := os.Open(archive)
	if err != nil {
		return nil, missing
	}
	defer func() { _ = file.Close() }()
	zipped, err := gzip.NewReader(file)
	if err != nil {
		return nil, missing
	}
	for files := tar.NewReader(zipped); ; {
		h, err := files.Next()
		if err != nil {
			return nil, missing
		}
		if path.Base(h.Name) != audit.PublicKeyFile {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(files, 4<<10))
		if err != nil {
			return nil, missing
		}
		return audit.ParsePublicKey(string(raw))
	}
}

func (a *app) showReport(r audit.Report) {
	a.print("Records:     %s (%d to %d), %s", show.Count(r.Records), r.FirstSeq, r.LastSeq, show.Plural(r.Segments, "segment"))
	if !r.FirstTime.IsZero() {
		a.print("From:        %s", day(&r.FirstTime, ""))
		a.print("Until:       %s", day(&r.LastTime, ""))
	}
	pinned := "as it lies beside the record"
	if r.KeyPinned {
		pinned = "as expected"
	}
	a.print("Checkpoints: %s, signed by %s (%s)", show.Count(r.Checkpoints), r.Key, pinned)
	a.print("Signed up to: %d:%s", r.Signed.Seq, r.Signed.Hash)
	if r.Unsigned > 0 {
		a.print("Not signed yet: %s", show.Plural(int(r.Unsigned), "record"))
	}
	if r.ExpectTooOld {
		a.note("The record that was seen before was removed because of its age, and could not be compared.")
	}
	if r.OK {
		a.print("The record is whole.")
		return
	}
	a.print("\nThe record is NOT whole:")
	for _, p := range r.Problems {
		where := p.File
		if p.Line > 0 {
			where += ":" + strconv.FormatInt(p.Line, 10)
		}
		if p.Seq > 0 {
			where += " record " + strconv.FormatInt(p.Seq, 10)
		}
		a.print("  %s (%s): %s", strings.TrimSpace(where), p.Kind, p.What)
	}
	if r.MoreProblems > 0 {
		a.print("  and %s", show.Plural(int(r.MoreProblems), "other problem"))
	}
}
