// Package download sends files of known content over HTTP: strong entity tags, ranges, conditions and
// HEAD, in the kernel where the connection allows it.
package download

import (
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// MediaType is that of every download, as the predecessor sent it.
const MediaType = "application/octet-stream"

// Content is a file whose bytes are named by their hash.
type Content struct {
	// Name is the file name to propose to the client.
	Name string
	// SHA256 (hex) of the bytes: the entity tag.
	SHA256 string
	// MD5 (hex) of the bytes, sent along for clients that check it.
	MD5 string
	// Size in bytes.
	Size int64
	// Modified is when this content was published; zero leaves the header out.
	Modified time.Time
	// Open gives the bytes. An *os.File is sent by the kernel.
	Open func() (io.ReadSeekCloser, error)
}

// ETag is the strong entity tag of content with this SHA-256 (hex).
func ETag(sha256 string) string { return `"` + sha256 + `"` }

// Serve answers GET and HEAD with the content, or the part of it that was asked for. An error means
// that nothing was sent. w must be the server's own writer, or one that hands ReadFrom on to it.
func Serve(w http.ResponseWriter, r *http.Request, c Content) error {
	file, err := c.Open()
	if errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, fault.Unavailable, "this version was just replaced; fetch the manifest again")
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the file cannot be opened at the moment")
	}
	defer func() { _ = file.Close() }()
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil && size != c.Size {
		// Whoever changes a published file in place must not make us send bytes under a wrong hash.
		return fault.New(fault.Unavailable, "the file changed after it was published; it will be published again, then fetch the manifest again")
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the file cannot be read at the moment")
	}
	h := w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Content-Disposition", Disposition(c.Name))
	h.Set("ETag", ETag(c.SHA256))
	h.Set("Cache-Control", "private, no-cache") // keep it, but ask each time: a grant may be taken away
	h.Set("Vary", "Authorization, Cookie")
	if c.MD5 != "" {
		h.Set("X-Content-MD5", c.MD5)
	}
	http.ServeContent(w, r, "", c.Modified, file)
	return nil
}

// Holds evaluates the preconditions If-Match and If-Unmodified-Since of a request (RFC 9110, section
// 13.2.2) and takes them off it: what Serve would answer to one that does not hold has no body.
func Holds(r *http.Request, c Content) bool {
	match, since := r.Header.Values("If-Match"), r.Header.Get("If-Unmodified-Since")
	r.Header.Del("If-Match")
	r.Header.Del("If-Unmodified-Since")
	if len(match) > 0 {
		for _, tag := range strings.Split(strings.Join(match, ","), ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || tag == ETag(c.SHA256) {
				return true
			}
		}
		return false
	}
	if limit, err := http.ParseTime(since); err == nil && !c.Modified.IsZero() {
		return !c.Modified.Truncate(time.Second).After(limit)
	}
	return true
}

// Disposition proposes a file name. Whatever the name holds, it stays one value of one header.
func Disposition(name string) string {
	safe := strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f || strings.ContainsRune(`/\:*?"<>|`, c) {
			return '_'
		}
		return c
	}, name)
	value := mime.FormatMediaType("attachment", map[string]string{"filename": strings.TrimLeft(safe, ".")})
	if value == "" {
		return `attachment; filename="table.parquet"`
	}
	return value
}

// Named tells whether an If-Match header asks for one version, and for which SHA-256. A list or a star
// names none.
func Named(ifMatch string) (sha256 string, ok bool) {
	tag := strings.TrimSpace(ifMatch)
	if len(tag) != 66 || tag[0] != '"' || tag[65] != '"' {
		return "", false
	}
	if !IsSHA256(tag[1:65]) {
		return "", false
	}
	return tag[1:65], true
}

// IsSHA256 tells whether text is a SHA-256 in lower-case hex.
func IsSHA256(text string) bool {
	if len(text) != 64 {
		return false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
