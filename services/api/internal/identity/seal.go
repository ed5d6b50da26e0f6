package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sync"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// transaction is what has to be remembered between a redirect to a provider and its callback.
type transaction struct {
	Provider string `json:"p"`
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Next     string `json:"x"`
	Until    int64  `json:"u"` // seconds since 1970
}

// sealer keeps transactions in the browser: encrypted, so that nobody reads or changes one, and bound to
// their provider.
type sealer struct{ aead cipher.AEAD }

// maxSealed bounds what is opened, in bytes.
const maxSealed = 4 << 10

// Seal encrypts under a key that is made of the secret for one purpose; nonces are its own.
func Seal(secret []byte, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, 32)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "no key can be made from the secret")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "no key can be made from the secret")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return aead, fault.Wrap(err, fault.Internal, "no key can be made from the secret")
}

func newSealer(secret []byte) (sealer, error) {
	aead, err := Seal(secret, "agnes openid transaction")
	return sealer{aead}, err
}

func (s sealer) close(t transaction) (string, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the sign-in cannot be remembered")
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, raw, []byte(t.Provider))), nil
}

// open gives the transaction of a provider that has not expired.
func (s sealer) open(sealed, provider string, now time.Time) (transaction, error) {
	if len(sealed) > maxSealed {
		return transaction{}, errOIDCStale
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return transaction{}, errOIDCStale
	}
	plain, err := s.aead.Open(nil, nil, raw, []byte(provider))
	if err != nil {
		return transaction{}, errOIDCStale
	}
	var t transaction
	if err := json.Unmarshal(plain, &t); err != nil || t.Provider != provider || t.State == "" || now.Unix() >= t.Until {
		return transaction{}, errOIDCStale
	}
	return t, nil
}

// spent remembers what may be used once, for as long as it is good.
type spent struct {
	mu   sync.Mutex
	till map[string]time.Time
}

// use tells whether it is the first use.
func (s *spent) use(key string, now time.Time, good time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.till == nil {
		s.till = make(map[string]time.Time)
	}
	for old, till := range s.till {
		if now.After(till) {
			delete(s.till, old)
		}
	}
	if _, used := s.till[key]; used {
		return false
	}
	s.till[key] = now.Add(good)
	return true
}
