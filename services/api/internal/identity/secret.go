package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// SecretFile is where the secret is kept that signs sessions and tokens, in the folder of the state.
const SecretFile = ".jwt_secret"

// WeakSecret is the length in bytes below which a secret can be guessed.
const WeakSecret = 32

// LoadSecret gives the secret that signs sessions and tokens: given (JWT_SECRET_KEY) where it is not
// empty, else the one of the data directory, which is made at the first start. Whoever replaces it ends
// every session and every token. Warn where it is shorter than WeakSecret.
func LoadSecret(dataDir, given string) ([]byte, error) {
	if given != "" {
		return []byte(given), nil
	}
	path := filepath.Join(state.Dir(dataDir), SecretFile)
	raw, err := os.ReadFile(path)
	if err == nil {
		if secret := bytes.TrimSpace(raw); len(secret) > 0 {
			return secret, tighten(path)
		}
		// A file without a secret signed nothing: an empty key would let everybody in.
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(err, fault.Unavailable, "the secret state/%s cannot be read", SecretFile)
	}
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "no secret can be made")
	}
	secret := hex.EncodeToString(random[:])
	if err := lake.WriteFileAtomic(path, []byte(secret), 0o600); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the secret state/%s cannot be written", SecretFile)
	}
	return []byte(secret), nil
}

// tighten keeps others from reading the secret.
func tighten(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return nil //nolint:nilerr // it was read a moment ago
	}
	return fault.Wrap(os.Chmod(path, 0o600), fault.Unavailable, "others can read the secret state/%s, and that cannot be changed", SecretFile)
}
