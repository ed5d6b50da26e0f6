package audit_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/audit"
)

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// build makes a chain: segments of so many records, a checkpoint after every so many and at each end.
func build(tb testing.TB, key ed25519.PrivateKey, records, perSegment, perPoint int, mark string) (fstest.MapFS, audit.Head) {
	tb.Helper()
	public, _ := key.Public().(ed25519.PublicKey)
	files := fstest.MapFS{audit.PublicKeyFile: {Data: []byte(audit.FormatPublicKey(public))}}
	var head, pointed audit.Head
	prev := audit.ZeroHash
	var segment, points []byte
	first := int64(1)
	for i := range records {
		line, next, err := audit.Line(head, audit.Record{
			ID: fmt.Sprintf("e%d%s", i, mark), Time: audit.Time{Time: time.Unix(int64(i), 0)}, Action: "user.create", Params: map[string]any{"n": i},
		})
		if err != nil {
			tb.Fatal(err)
		}
		segment, head = append(segment, line...), next
		full := (i+1)%perSegment == 0 || i == records-1
		if full || (i+1)%perPoint == 0 {
			point, err := audit.Sign(audit.Checkpoint{
				Kind: audit.KindCheckpoint, Seq: head.Seq, Hash: head.Hash, Time: audit.Time{Time: time.Unix(int64(i), 0)}, Records: head.Seq - pointed.Seq, Prev: prev,
			}, key)
			if err != nil {
				tb.Fatal(err)
			}
			points, pointed, prev = append(points, point...), head, audit.LineHash(point[:len(point)-1])
		}
		if full {
			files[audit.SegmentsDir+"/"+audit.SegmentName(first)] = &fstest.MapFile{Data: segment}
			segment, first = nil, head.Seq+1
		}
	}
	files[audit.CheckpointsFile] = &fstest.MapFile{Data: points}
	return files, head
}

func verify(tb testing.TB, files fs.FS, o audit.Options) audit.Report {
	tb.Helper()
	r, err := audit.Verify(tb.Context(), files, o)
	if err != nil {
		tb.Fatal(err)
	}
	if r.OK != (len(r.Problems) == 0) {
		tb.Fatalf("OK is %v with %v", r.OK, r.Problems)
	}
	return r
}

func TestAWholeChain(t *testing.T) {
	t.Parallel()
	key := keyOf(1)
	files, head := build(t, key, 25, 10, 4, "")
	public, _ := key.Public().(ed25519.PublicKey)
	r := verify(t, files, audit.Options{PublicKey: public, Expect: &head, Closed: true})
	if !r.OK || r.Records != 25 || r.FirstSeq != 1 || r.LastSeq != 25 || r.Segments != 3 || r.Signed != head || !r.KeyPinned || r.Unsigned != 0 {
		t.Errorf("%+v", r)
	}
}

func clone(files fstest.MapFS) fstest.MapFS {
	out := fstest.MapFS{}
	for name, f := range files {
		out[name] = &fstest.MapFile{Data: bytes.Clone(f.Data)}
	}
	return out
}

// TestEveryChangeIsFound changes one byte, swaps, removes, doubles or moves lines, cuts files, or takes
// them away: the verification finds each.
func TestEveryChangeIsFound(t *testing.T) {
	t.Parallel()
	key := keyOf(1)
	public, _ := key.Public().(ed25519.PublicKey)
	rapid.Check(t, func(r *rapid.T) {
		whole, head := build(t, key, rapid.IntRange(2, 30).Draw(r, "records"), rapid.IntRange(1, 12).Draw(r, "segment"), rapid.IntRange(1, 7).Draw(r, "point"), "")
		files := clone(whole)
		var names []string
		for name := range files {
			names = append(names, name)
		}
		slices.Sort(names)
		f := files[rapid.SampledFrom(names).Draw(r, "file")]
		lines := bytes.SplitAfter(bytes.Clone(f.Data), []byte("\n"))
		lines = lines[:len(lines)-1]
		i, j := rapid.IntRange(0, len(lines)-1).Draw(r, "i"), rapid.IntRange(0, len(lines)-1).Draw(r, "j")
		switch rapid.SampledFrom([]string{"byte", "swap", "delete", "double", "cut", "remove", "insert"}).Draw(r, "change") {
		case "byte":
			at := rapid.IntRange(0, len(f.Data)-1).Draw(r, "at")
			f.Data[at] ^= rapid.ByteRange(1, 255).Draw(r, "bits")
		case "swap":
			if i == j {
				return
			}
			lines[i], lines[j] = lines[j], lines[i]
			f.Data = bytes.Join(lines, nil)
		case "delete":
			f.Data = bytes.Join(slices.Delete(lines, i, i+1), nil)
		case "double":
			f.Data = bytes.Join(slices.Insert(lines, j, lines[i]), nil)
		case "cut":
			f.Data = f.Data[:rapid.IntRange(0, len(f.Data)-1).Draw(r, "at")]
		case "remove":
			for name := range files {
				if files[name] == f {
					delete(files, name)
				}
			}
		case "insert":
			f.Data = slices.Insert(f.Data, rapid.IntRange(0, len(f.Data)).Draw(r, "at"), rapid.Byte().Draw(r, "what"))
		}
		got, err := audit.Verify(t.Context(), files, audit.Options{PublicKey: public, Expect: &head, Closed: true})
		if err == nil && got.OK {
			r.Fatalf("not found: %+v", got)
		}
	})
}

func TestProblemsAreNamed(t *testing.T) {
	t.Parallel()
	key := keyOf(1)
	public, _ := key.Public().(ed25519.PublicKey)
	segment := func(first int64) string { return audit.SegmentsDir + "/" + audit.SegmentName(first) }
	rewritten, _ := build(t, key, 30, 10, 4, "x")
	foreign, _ := build(t, keyOf(2), 30, 10, 4, "")
	for name, c := range map[string]struct {
		change func(f fstest.MapFS)
		kind   string
		seq    int64
		o      audit.Options
	}{
		"edited": {func(f fstest.MapFS) {
			f[segment(11)].Data = bytes.Replace(f[segment(11)].Data, []byte(`{"n":14}`), []byte(`{"n":15}`), 1)
		}, audit.ProblemEdited, 15, audit.Options{}},
		"first segment":  {func(f fstest.MapFS) { delete(f, segment(1)) }, audit.ProblemSegment, 1, audit.Options{}},
		"middle segment": {func(f fstest.MapFS) { delete(f, segment(11)) }, audit.ProblemSegment, 11, audit.Options{}},
		"last segment":   {func(f fstest.MapFS) { delete(f, segment(21)) }, audit.ProblemTruncated, 21, audit.Options{}},
		"other key":      {func(f fstest.MapFS) { clear(f); copyTo(f, foreign) }, audit.ProblemKey, 0, audit.Options{PublicKey: public}},
		"other records":  {func(f fstest.MapFS) { clear(f); copyTo(f, rewritten) }, audit.ProblemRewritten, 30, audit.Options{}},
		"last checkpoint removed": {func(f fstest.MapFS) {
			d := f[audit.CheckpointsFile].Data
			f[audit.CheckpointsFile].Data = d[:bytes.LastIndexByte(d[:len(d)-1], '\n')+1]
		}, audit.ProblemCheckpoint, 30, audit.Options{}},
		"checkpoints removed, records rewritten": {func(f fstest.MapFS) {
			clear(f)
			copyTo(f, rewritten)
			delete(f, audit.CheckpointsFile)
		}, audit.ProblemCheckpoint, 10, audit.Options{}},
		"key removed": {func(f fstest.MapFS) { delete(f, audit.PublicKeyFile) }, audit.ProblemKey, 0, audit.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files, head := build(t, key, 30, 10, 4, "")
			c.change(files)
			c.o.Expect = &head
			r := verify(t, files, c.o)
			if !slices.ContainsFunc(r.Problems, func(p audit.Problem) bool { return p.Kind == c.kind && p.Seq == c.seq && p.What != "" }) {
				t.Errorf("no problem %s at %d: %+v", c.kind, c.seq, r.Problems)
			}
		})
	}
}

// growing is a record that gets a checkpoint between the survey of the checkpoints and the reading.
type growing struct {
	fstest.MapFS
	before fstest.MapFS
	seen   bool
}

func (g *growing) Open(name string) (fs.File, error) {
	if name == audit.CheckpointsFile && g.seen {
		return g.MapFS.Open(name)
	}
	g.seen = g.seen || name == audit.CheckpointsFile
	return g.before.Open(name)
}

func TestARecordIsVerifiedWhileItGrows(t *testing.T) {
	t.Parallel()
	before, _ := build(t, keyOf(1), 20, 100, 10, "")
	after, _ := build(t, keyOf(1), 30, 100, 10, "")
	if r := verify(t, &growing{MapFS: after, before: before}, audit.Options{}); !r.OK || r.Records != 20 || r.Checkpoints != 2 {
		t.Errorf("%+v", r)
	}
}

func copyTo(to, from fstest.MapFS) {
	for name, f := range clone(from) {
		to[name] = f
	}
}

func TestManyProblemsAreBounded(t *testing.T) {
	t.Parallel()
	files, _ := build(t, keyOf(1), 500, 100, 50, "")
	for name, f := range files {
		if strings.HasPrefix(name, audit.SegmentsDir) {
			f.Data = bytes.ReplaceAll(f.Data, []byte("user.create"), []byte("user.delete"))
		}
	}
	if r := verify(t, files, audit.Options{}); len(r.Problems) != 100 || r.MoreProblems == 0 || r.Records != 500 {
		t.Errorf("%d problems, %d more of %d", len(r.Problems), r.MoreProblems, r.Records)
	}
}

func TestArchivesHoldARecordOnly(t *testing.T) {
	t.Parallel()
	pack := func(files map[string]string) *bytes.Buffer {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		w := tar.NewWriter(z)
		for name, text := range files {
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			_, _ = w.Write([]byte(text))
		}
		_ = w.Close()
		_ = z.Close()
		return &out
	}
	for _, name := range []string{"../key.pub", "/etc/passwd", "segments/../../x", "segments/1.ndjson", "other"} {
		if _, err := audit.VerifyArchive(t.Context(), pack(map[string]string{name: "x"}), t.TempDir(), audit.Options{}); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
	files, head := build(t, keyOf(1), 10, 4, 3, "")
	texts := map[string]string{}
	for name, f := range files {
		texts[name] = string(f.Data)
	}
	whole := pack(texts).Bytes()
	r, err := audit.VerifyArchive(t.Context(), bytes.NewReader(whole), t.TempDir(), audit.Options{Expect: &head})
	if err != nil || !r.OK || r.Records != 10 {
		t.Errorf("%v %+v", err, r)
	}
	if _, err := audit.VerifyArchive(t.Context(), bytes.NewReader(whole[:len(whole)-10]), t.TempDir(), audit.Options{}); err == nil {
		t.Error("half an archive is taken")
	}
}
