package client

import (
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Kinds of uploads.
const (
	UploadSessions  = "sessions"
	UploadArtifacts = "artifacts"
	UploadLocalMD   = "local-md"
)

// Upload is a file that a user sent.
type Upload struct {
	Kind     string `json:"kind,omitempty"`
	Filename string `json:"filename"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// SHA256 (hex) is in the answer to an upload.
	SHA256     string     `json:"sha256,omitempty"`
	ModifiedAt *time.Time `json:"modified_at,omitempty"`
}

// Quota is how much of the room for uploads a user has taken; sizes are bytes.
type Quota struct {
	Files    int   `json:"files"`
	MaxFiles int   `json:"max_files"`
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"max_bytes"`
}

// UploadList is what a user sent, and how much room is left.
type UploadList struct {
	Uploads []Upload `json:"uploads"`
	Quota   Quota    `json:"quota"`
}

// slowest is the slowest line that an upload is given the time for, in bytes per second.
const slowest = 32 << 10

// Upload sends a file of size bytes, which must not change meanwhile, as a session or an artifact. It is
// sent while it is read, and from its start again where a try failed; progress, which may be nil, is told
// how many bytes of it were sent so far, by one goroutine at a time.
func (c *Client) Upload(ctx context.Context, kind, filename string, file io.ReaderAt, size int64, progress func(int64)) (Upload, error) {
	tries := &uploadTries{progress: progress}
	r := request{
		method: http.MethodPost, path: at("api", "upload", kind), repeatable: true, // the same name is the same file
		timeout: c.opts.Timeout + time.Duration(size/slowest)*time.Second,
		// A try that was answered early may still be read when the next one begins: each has a reader of its own.
		open: func() (content, error) { return form(filename, io.NewSectionReader(file, 0, size), size, tries.next()) },
	}
	var u Upload
	err := c.call(ctx, r, &u)
	tries.next() // whatever is still read tells nobody
	u.Kind = kind
	return u, err
}

// uploadTries lets only the newest try tell how far it is.
type uploadTries struct {
	mu       sync.Mutex
	newest   int
	progress func(int64)
}

// next begins a try, and gives what to call with the bytes that it sent.
func (t *uploadTries) next() func(int64) {
	t.mu.Lock()
	t.newest++
	this := t.newest
	t.mu.Unlock()
	return func(sent int64) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if this == t.newest && t.progress != nil {
			t.progress(sent)
		}
	}
}

// form wraps a file as the one part of a multipart form (RFC 7578), of known length.
func form(filename string, file io.Reader, size int64, progress func(int64)) (content, error) {
	var frame strings.Builder
	w := multipart.NewWriter(&frame)
	if _, err := w.CreateFormFile("file", filename); err != nil {
		return content{}, fmt.Errorf("write the form: %w", err)
	}
	head := frame.Len()
	if err := w.Close(); err != nil {
		return content{}, fmt.Errorf("write the form: %w", err)
	}
	text := frame.String()
	var sent int64
	counted := readerFunc(func(p []byte) (int, error) {
		n, err := file.Read(p)
		if n > 0 {
			sent += int64(n)
			progress(sent)
		}
		return n, err
	})
	return content{
		Reader:    io.MultiReader(strings.NewReader(text[:head]), counted, strings.NewReader(text[head:])),
		mediaType: w.FormDataContentType(),
		length:    int64(len(text)) + size,
	}, nil
}

// UploadLocalMD sends the user's notes for assistants.
func (c *Client) UploadLocalMD(ctx context.Context, text string) error {
	return c.call(ctx, request{
		method: http.MethodPost, path: at("api", "upload", UploadLocalMD), body: map[string]string{"content": text}, repeatable: true,
	}, nil)
}

// Uploads lists what the caller sent.
func (c *Client) Uploads(ctx context.Context) (UploadList, error) {
	var list UploadList
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/uploads"}, &list)
	return list, err
}

// UploadsOf lists what a user sent, for administrators.
func (c *Client) UploadsOf(ctx context.Context, userID string) (UploadList, error) {
	var list UploadList
	err := c.call(ctx, request{method: http.MethodGet, path: at("api", "admin", "uploads", userID)}, &list)
	return list, err
}

// OpenUpload gives back a file that the caller sent, while it arrives. Close it.
func (c *Client) OpenUpload(ctx context.Context, kind, filename string) (io.ReadCloser, error) {
	body, _, err := c.stream(ctx, request{ //nolint:bodyclose // the caller closes it
		method: http.MethodGet, path: at("api", "uploads", kind, filename), header: http.Header{"Accept": {"application/octet-stream, */*"}},
	})
	return body, err
}

// DeleteUpload deletes a file that the caller sent.
func (c *Client) DeleteUpload(ctx context.Context, kind, filename string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: at("api", "uploads", kind, filename)}, nil)
}
