package lake

import (
	"crypto/md5" //nolint:gosec // a checksum that clients of the predecessor verify, not a protection
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// Digest identifies bytes.
type Digest struct {
	SHA256 string // hex
	MD5    string // hex, for clients of the predecessor
	Size   int64  // in bytes
}

// Hasher takes the digest of what is written to it.
type Hasher struct {
	sha, md5 hash.Hash
	size     int64
}

// NewHasher returns a Hasher of no bytes yet.
func NewHasher() *Hasher {
	return &Hasher{sha: sha256.New(), md5: md5.New()} //nolint:gosec // see the import
}

// Write never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	h.sha.Write(p)
	h.md5.Write(p)
	h.size += int64(len(p))
	return len(p), nil
}

// Digest is that of the bytes so far.
func (h *Hasher) Digest() Digest {
	return Digest{
		SHA256: hex.EncodeToString(h.sha.Sum(nil)),
		MD5:    hex.EncodeToString(h.md5.Sum(nil)),
		Size:   h.size,
	}
}

// HashFile takes the digest of a file that nobody writes any more.
func HashFile(path string) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return Digest{}, fmt.Errorf("hash %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = f.Close() }()
	return HashReader(f)
}

// HashReader takes the digest of what r gives until its end.
func HashReader(r io.Reader) (Digest, error) {
	h := NewHasher()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, r, make([]byte, 256<<10)); err != nil {
		return Digest{}, fmt.Errorf("hash: %w", err)
	}
	return h.Digest(), nil
}
