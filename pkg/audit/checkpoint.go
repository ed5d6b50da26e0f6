package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Kinds of a Checkpoint.
const (
	KindCheckpoint = "checkpoint"
	// KindBase is a checkpoint that the chain begins behind, because what stood before was removed.
	KindBase = "base"
)

// Checkpoint vouches for the chain up to a record: RFC 8032 Ed25519 over the exact bytes of its line
// up to the member "signature".
type Checkpoint struct {
	Kind string `json:"kind"`
	// Seq and Hash are those of the last record it vouches for.
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
	Time Time   `json:"time"`
	// Records is how many came since the checkpoint before.
	Records int64 `json:"records"`
	// Key is the id of the key that signed.
	Key string `json:"key"`
	// Prev is the SHA-256 (hex) of the line of the checkpoint before, ZeroHash for the first. A base
	// names the checkpoint that it stands in for.
	Prev      string `json:"prev"`
	Signature string `json:"signature,omitempty"`
}

// Head is what the checkpoint vouches for.
func (c Checkpoint) Head() Head { return Head{Seq: c.Seq, Hash: c.Hash} }

// Sign gives the line of a checkpoint, its newline included. Key and Signature are set here.
func Sign(c Checkpoint, key ed25519.PrivateKey) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fault.New(fault.Internal, "the key of the record is no Ed25519 key")
	}
	c.Key, c.Signature, c.Time = KeyID(public), "", Time{c.Time.UTC().Truncate(time.Millisecond)}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write a checkpoint: %w", err)
	}
	line, _ := seal(raw, signatureMark, func(b []byte) string { return hex.EncodeToString(ed25519.Sign(key, b)) })
	return line, nil
}

// ReadCheckpoint reads a line (without its newline) that Sign wrote. The error says what is wrong with it.
func ReadCheckpoint(line []byte, key ed25519.PublicKey) (Checkpoint, error) {
	body, signature, ok := unseal(line, signatureMark, 2*ed25519.SignatureSize)
	if !ok {
		return Checkpoint{}, fault.New(fault.Invalid, "this is no checkpoint")
	}
	var c Checkpoint
	if err := json.Unmarshal(line, &c); err != nil {
		return Checkpoint{}, fault.Wrap(err, fault.Invalid, "this is no checkpoint")
	}
	if c.Key != KeyID(key) {
		return c, fault.New(fault.Invalid, "it is signed by another key (%s)", clip(c.Key))
	}
	raw, err := hex.DecodeString(signature)
	if err != nil || !ed25519.Verify(key, body, raw) {
		return c, fault.New(fault.Invalid, "its signature is wrong")
	}
	return c, nil
}

// LineHash is what the next checkpoint names as Prev: the SHA-256 (hex) of a line without its newline.
func LineHash(line []byte) string { return hashOf(line) }

// KeyID is a short name of a key: the first 16 digits of the SHA-256 (hex) of its bytes.
func KeyID(key ed25519.PublicKey) string { return hashOf(key)[:16] }

const keyPrefix = "ed25519 "

// FormatPublicKey writes a public key as it stands in PublicKeyFile.
func FormatPublicKey(key ed25519.PublicKey) string {
	return keyPrefix + base64.StdEncoding.EncodeToString(key) + "\n"
}

// ParsePublicKey reads what FormatPublicKey wrote; space around it is allowed.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	text = strings.TrimSpace(text)
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(text, keyPrefix))
	if err != nil || len(raw) != ed25519.PublicKeySize || !strings.HasPrefix(text, keyPrefix) {
		return nil, fault.New(fault.Invalid, "this is no public key of a record: it has the form %q", keyPrefix+"<base64>")
	}
	return raw, nil
}

// clip bounds a text that may be anything.
func clip(s string) string {
	if len(s) > 40 {
		s = s[:40] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
