package csv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
)

// stamp is what a file was when it was looked at.
type stamp struct {
	Size     int64  `json:"s"`
	Modified int64  `json:"m"` // nanoseconds since 1970
	Inode    uint64 `json:"i"`
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, fault.New(fault.Invalid, "%s", problemFolder)
	}
	return stamp{Size: info.Size(), Modified: info.ModTime().UnixNano(), Inode: inodeOf(info)}, nil
}

// errChanged tells that a file changed while it was read.
var errChanged = errors.New("the file changed while it was read")

// fileToken is what is remembered of a file whose rows are published: nothing that differs between
// two readings of the same file.
type fileToken struct {
	Path string `json:"p"`
	stamp
	SHA256 string `json:"h"`
}

// Clocks of file systems are coarse: a file that changes twice between two ticks keeps its stamp. So a
// file is read only when its last change is older than a tick. A whole second speaks for a file system
// that counts in seconds.
const (
	tick       = 30 * time.Millisecond
	coarseTick = 2100 * time.Millisecond
)

// age waits until the stamp cannot stand for two contents.
func (s stamp) age(ctx context.Context) error {
	wait := tick
	if s.Modified%int64(time.Second) == 0 {
		wait = coarseTick
	}
	old := time.Since(time.Unix(0, s.Modified))
	if old >= wait || old < -wait { // from the future: a clock that is not ours
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait - max(old, 0)):
		return nil
	}
}

// token is what a table remembers of its input.
type token struct {
	Version int         `json:"v"`
	Files   []fileToken `json:"files"`
}

// tokenVersion changes when files are read in another way than before.
const tokenVersion = 1

func parseToken(text string) (t token) {
	if json.Unmarshal([]byte(text), &t) != nil || t.Version != tokenVersion {
		return token{}
	}
	return t
}

func (t token) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		return "" // cannot be
	}
	return string(raw)
}

// look takes the stamps of the files. A file that is known by its stamp has its hash as well.
func look(ctx context.Context, inputs []input, last token) ([]fileToken, error) {
	known := map[string]fileToken{}
	for _, f := range last.Files {
		known[f.Path] = f
	}
	out := make([]fileToken, len(inputs))
	for i, in := range inputs {
		s, err := stampOf(in.path)
		if err != nil {
			return nil, cannotRead(in, err)
		}
		out[i] = fileToken{Path: in.rel, stamp: s}
		if before, found := known[in.rel]; found && before.stamp == s {
			out[i].SHA256 = before.SHA256
			continue
		}
		if err := s.age(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unchanged tells whether the files are those of the last token. Files of the same sizes whose stamps
// differ are hashed: a copy of the same content is no change.
func unchanged(ctx context.Context, inputs []input, now []fileToken, last token) (bool, error) {
	if len(last.Files) != len(now) || len(now) == 0 {
		return false, nil
	}
	for i, f := range now {
		before := last.Files[i]
		if before.Path != f.Path || before.Size != f.Size {
			return false, nil
		}
	}
	for i := range now {
		if now[i].SHA256 == "" {
			sum, err := hashFile(ctx, inputs[i], now[i].stamp)
			if err != nil {
				return false, err
			}
			now[i].SHA256 = sum
		}
		if now[i].SHA256 != last.Files[i].SHA256 {
			return false, nil
		}
	}
	return true, nil
}

// hashFile hashes a file that must stay as its stamp says.
func hashFile(ctx context.Context, in input, s stamp) (string, error) {
	f, err := os.Open(in.path)
	if err != nil {
		return "", cannotRead(in, err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, &contextReader{ctx, f}); err != nil {
		return "", cannotRead(in, err)
	}
	return hex.EncodeToString(h.Sum(nil)), verify([]input{in}, []fileToken{{stamp: s}})
}

// verify tells whether the files still have their stamps.
func verify(inputs []input, tokens []fileToken) error {
	for i, in := range inputs {
		s, err := stampOf(in.path)
		if err != nil || s != tokens[i].stamp {
			return fmt.Errorf("%s: %w", in.rel, errChanged)
		}
	}
	return nil
}

// settle waits until the files have kept their stamps for a while, or for so long that they will
// not soon.
func settle(ctx context.Context, inputs []input) error {
	const pause, patience = 250 * time.Millisecond, 2 * time.Second
	deadline := time.Now().Add(patience)
	var last []stamp
	for {
		var now []stamp
		for _, in := range inputs {
			s, _ := stampOf(in.path) // one that is gone is noticed by whoever reads it
			now = append(now, s)
		}
		if slices.Equal(now, last) || time.Now().After(deadline) {
			return nil
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// fileReader reads a file without its compression, and hashes what stands on the disk on the way.
type fileReader struct {
	file  *os.File
	raw   io.Reader
	text  io.Reader
	hash  hashWriter
	count int64
	close func()
}

type hashWriter interface {
	io.Writer
	Sum(b []byte) []byte
}

// openFile opens a file for one reading from start to end.
func openFile(ctx context.Context, in input) (*fileReader, error) {
	f, err := os.Open(in.path)
	if err != nil {
		return nil, cannotRead(in, err)
	}
	r := &fileReader{file: f, hash: sha256.New(), close: func() {}}
	r.raw = io.TeeReader(&contextReader{ctx, f}, r.hash)
	counted := &counter{r: r.raw, n: &r.count}
	switch in.compression {
	case naming.Gzip:
		z, err := gzip.NewReader(counted)
		if err != nil {
			_ = f.Close()
			return nil, damaged(in, err)
		}
		r.text = z
	case naming.Zstd:
		z, err := zstd.NewReader(counted, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
		if err != nil {
			_ = f.Close()
			return nil, damaged(in, err)
		}
		r.text, r.close = z, z.Close
	default:
		r.text = counted
	}
	return r, nil
}

type counter struct {
	r io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// Read gives the text.
func (r *fileReader) Read(p []byte) (int, error) { return r.text.Read(p) }

// sum hashes what was not read, and gives the hash of the whole file.
func (r *fileReader) sum() (string, error) {
	if _, err := io.Copy(io.Discard, r.raw); err != nil {
		return "", err
	}
	return hex.EncodeToString(r.hash.Sum(nil)), nil
}

// Close releases the file.
func (r *fileReader) Close() {
	r.close()
	_ = r.file.Close()
}
