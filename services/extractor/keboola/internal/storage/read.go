package storage

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// emptyHash is the SHA-256 of nothing: the body of a GET.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// errCredentials is a store's refusal of credentials, which may have expired.
var errCredentials = errors.New("the store refuses the credentials")

// Read copies an object to w, and gives its length. A connection that breaks is taken up again where it
// broke; credentials that have expired are renewed, once for each piece that they let through.
func (f *File) Read(ctx context.Context, o Object, w io.Writer) (int64, error) {
	if err := f.c.downloads.Acquire(ctx, 1); err != nil {
		return 0, given(ctx)
	}
	defer f.c.downloads.Release(1)
	r := reading{f: f, o: o, w: w}
	renewed := false
	for n := 0; ; n++ {
		before := r.done
		_, generation := f.current()
		err := r.piece(ctx)
		if err == nil {
			return r.done, nil
		}
		if r.done > before {
			n, renewed = 0, false
		}
		if errors.Is(err, errCredentials) {
			if renewed {
				return r.done, err
			}
			renewed = true
			if err := f.refresh(ctx, generation); err != nil {
				return r.done, err
			}
			continue
		}
		pause, again := f.c.again(ctx, n, err)
		if !again {
			return r.done, err
		}
		f.c.metrics.retried(0)
		if !f.c.sleep(ctx, pause) {
			return r.done, given(ctx)
		}
	}
}

// reading is an object on its way.
type reading struct {
	f    *File
	o    Object
	w    io.Writer
	done int64
	etag string
}

// errWrite is an error of the writer, which asking the store again does not mend.
type errWrite struct{ error }

func (e errWrite) Unwrap() error { return e.error }

// piece asks for what is missing of the object.
func (r *reading) piece(ctx context.Context) (err error) {
	c := r.f.c
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stalled := time.AfterFunc(c.cfg.CallTimeout, cancel)
	defer stalled.Stop()
	began := c.cfg.Clock.Now()
	status := 0
	defer func() { c.metrics.called("object", status, c.cfg.Clock.Since(began)) }()
	req, err := r.request(callCtx)
	if err != nil {
		return err
	}
	res, err := c.cfg.Transport.RoundTrip(req)
	if err != nil {
		return c.unreachable(ctx, "the store of Keboola's files", err)
	}
	defer res.Body.Close()
	status = res.StatusCode
	if err := r.judge(res); err != nil {
		return err
	}
	body := &counting{Reader: res.Body, tick: func(n int) {
		stalled.Reset(c.cfg.CallTimeout)
		c.metrics.read(int64(n))
	}}
	written, err := io.Copy(writeErrors{r.w}, body)
	r.done += written
	var own errWrite
	switch {
	case err == nil && res.ContentLength >= 0 && written != res.ContentLength:
		return fault.New(fault.Unavailable, "a file of Keboola's broke off: %s", r.f.what)
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own.error
	case ctx.Err() != nil:
		return given(ctx)
	}
	return fault.Wrap(c.scrub(err), fault.Unavailable, "a file of Keboola's broke off: %s", r.f.what)
}

// writeErrors marks the errors of a writer.
type writeErrors struct{ io.Writer }

func (w writeErrors) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	if err != nil {
		err = errWrite{err}
	}
	return n, err
}

type counting struct {
	io.Reader
	tick func(n int)
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.tick(n)
	return n, err
}

// request asks for the object from where we are, signed as its cloud wants it.
func (r *reading) request(ctx context.Context) (*http.Request, error) {
	d, _ := r.f.current()
	base, _, err := d.place()
	if err != nil {
		return nil, err
	}
	address := base + "/" + escapePath(r.o.key)
	if d.Provider == providerAzure {
		_, signature, err := d.shared()
		if err != nil {
			return nil, err
		}
		address += "?" + signature
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fault.Wrap(r.f.c.scrub(err), fault.Unavailable, "a file of Keboola's has no usable address: %s", r.f.what)
	}
	// Data and credentials travel in the clear only where the stack itself is on this machine.
	if req.URL.Scheme != "https" && !loopback(r.f.c.stack.Hostname()) {
		return nil, fault.New(fault.Permanent, "the files of the stack would be read without encryption: %s", r.f.what)
	}
	if r.done > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.done))
		if r.etag != "" {
			req.Header.Set("If-Match", r.etag)
		}
	}
	switch d.Provider {
	case providerAWS:
		req.Header.Set("X-Amz-Content-Sha256", emptyHash)
		credentials := aws.Credentials{AccessKeyID: d.S3.AccessKey, SecretAccessKey: d.S3.SecretKey, SessionToken: d.S3.Session}
		err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
			SignHTTP(ctx, credentials, req, emptyHash, "s3", d.Region, r.f.c.cfg.Clock.Now())
		if err != nil {
			return nil, fault.Wrap(r.f.c.scrub(err), fault.Unavailable, "a request to S3 cannot be signed: %s", r.f.what)
		}
	case providerGCP:
		req.Header.Set("Authorization", "Bearer "+d.GCS.Token)
	}
	return req, nil
}

// escapePath writes a key as a path. Signing and sending must agree on it, byte by byte.
func escapePath(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(p), "+", "%20")
	}
	return strings.Join(parts, "/")
}

// judge looks at the head of an answer.
func (r *reading) judge(res *http.Response) error {
	switch s := res.StatusCode; {
	case s == http.StatusOK && r.done == 0:
		r.etag = res.Header.Get("ETag")
		return nil
	case s == http.StatusPartialContent && r.done > 0 && strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.done)):
		return nil
	case s == http.StatusOK:
		// The store sends all of it again.
		if _, err := io.CopyN(io.Discard, res.Body, r.done); err != nil {
			return fault.Wrap(r.f.c.scrub(err), fault.Unavailable, "a file of Keboola's broke off: %s", r.f.what)
		}
		res.ContentLength = max(-1, res.ContentLength-r.done)
		return nil
	case s == http.StatusNotFound:
		return fault.New(fault.Permanent, "a slice of the exported file is missing in Keboola's store: %s", r.f.what)
	case s == http.StatusPreconditionFailed || s == http.StatusRequestedRangeNotSatisfiable:
		return fault.New(fault.Permanent, "a file of Keboola's changed while it was read: %s", r.f.what)
	case s == http.StatusTooManyRequests || s >= 500 || s == http.StatusRequestTimeout:
		return fault.New(fault.Unavailable, "the store of Keboola's files answers %d %s: %s", s, http.StatusText(s), r.f.what).
			After(r.f.c.retryAfter(res.Header))
	}
	code := storeCode(res.Body)
	if s := res.StatusCode; s == http.StatusUnauthorized || s == http.StatusForbidden || strings.HasSuffix(code, "Token") {
		return fault.Wrap(fmt.Errorf("%w: %d %s", errCredentials, s, code), fault.Forbidden, "the store of Keboola's files refuses the credentials that Keboola gave (%d %s): %s", s, code, r.f.what)
	}
	return fault.New(fault.Permanent, "the store of Keboola's files answers %d %s: %s", res.StatusCode, code, r.f.what)
}

// storeCode is the word in which a store says what is wrong.
func storeCode(body io.Reader) string {
	var e struct {
		Code string `xml:"Code"`
	}
	if xml.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&e) != nil || len(e.Code) > 64 {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, e.Code)
}
