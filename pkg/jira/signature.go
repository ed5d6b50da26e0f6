package jira

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// The headers of a webhook. Those of the signature hold the HMAC-SHA256 of the raw body in hexadecimal,
// behind "sha256=" or bare; Jira Cloud writes the first, the predecessor took both.
const (
	HeaderSignature    = "X-Hub-Signature"
	HeaderSignature256 = "X-Hub-Signature-256"
	// HeaderIdentifier names the webhook within its site, the same in every retry.
	HeaderIdentifier = "X-Atlassian-Webhook-Identifier"
	// HeaderRetry counts the retries; absent in the first delivery.
	HeaderRetry = "X-Atlassian-Webhook-Retry"
	// HeaderFlow is "Primary" for what somebody did and "Secondary" for what followed from it.
	HeaderFlow = "X-Atlassian-Webhook-Flow"
)

// Why a signature is refused. The texts hold nothing of the secret, the body or the header.
var (
	ErrNoSecret   = errors.New("there is no secret to check the signature with")
	ErrUnsigned   = errors.New("the webhook is not signed with HMAC-SHA256")
	ErrBadSecret  = errors.New("the signature was not made with this secret over this body")
	signaturePart = "sha256="
)

// Secrets reads the option webhook_secret of a source: a text, or a list of texts of which the first signs
// and the others are still accepted, while a secret is replaced. Empty ones are none. An error does not
// repeat what was read.
func Secrets(option any) ([]string, error) {
	list, isList := option.([]any)
	if !isList && option != nil {
		list = []any{option}
	}
	var secrets []string
	for _, one := range list {
		text, ok := one.(string)
		if !ok && one != nil {
			return nil, errors.New("it has to be a text, in quotes where it looks like a number, or a list of texts")
		}
		if text = strings.TrimSpace(text); text != "" {
			secrets = append(secrets, text)
		}
	}
	return secrets, nil
}

// Signed tells whether one of the values of the signature headers can be a signature at all, so that a
// body need not be read where none is.
func Signed(signatures ...string) bool {
	for _, s := range signatures {
		if _, ok := digest(s); ok {
			return true
		}
	}
	return false
}

// VerifySignature checks the values of the signature headers, in any order and as many as there are,
// against the HMAC-SHA256 of the raw body under the secret, in constant time. One that is right is
// enough: nobody else can make it. An empty secret verifies nothing.
func VerifySignature(secret, body []byte, signatures ...string) error {
	if len(secret) == 0 {
		return ErrNoSecret
	}
	var given [][sha256.Size]byte
	for _, s := range signatures {
		if d, ok := digest(s); ok {
			given = append(given, d)
		}
	}
	if len(given) == 0 {
		return ErrUnsigned
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	want := mac.Sum(nil)
	for _, d := range given {
		if hmac.Equal(d[:], want) {
			return nil
		}
	}
	return ErrBadSecret
}

// Sign is the value of the signature header for a body: what Jira sends.
func Sign(secret, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return signaturePart + hex.EncodeToString(mac.Sum(nil))
}

// digest reads a value of a signature header. Whatever a stranger writes there, it is 32 bytes or nothing.
func digest(value string) (d [sha256.Size]byte, ok bool) {
	value = strings.TrimSpace(value)
	if len(value) > len(signaturePart) && strings.EqualFold(value[:len(signaturePart)], signaturePart) {
		value = value[len(signaturePart):]
	}
	if len(value) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(value))
	return d, err == nil
}
