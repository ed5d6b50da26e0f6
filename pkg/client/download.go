package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// PartRef names one part of a table by its content.
type PartRef struct {
	Table  string
	SHA256 string // hex
	Size   int64
}

// PartFile is where a part is written. An *os.File is one.
type PartFile interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
}

// ErrWrongBytes is the cause of a download whose bytes are not those of the part, tried twice.
var ErrWrongBytes = errors.New("wrong bytes")

// progressWorth is how much a try must have brought to not count as one in vain.
const progressWorth = 64 << 10

// DownloadPart brings a part into file. What file already holds is taken as the beginning of an
// earlier try and resumed; what is there at the end is exactly the part, verified by size and SHA-256.
// progress, where given, is told of every change of the number of good bytes, which can be negative.
// An error leaves in file what a later call can go on from. A write that fails keeps its cause
// (errors.Is(err, syscall.ENOSPC)).
func (c *Client) DownloadPart(ctx context.Context, part PartRef, file PartFile, progress func(delta int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	d := &download{client: c, part: part, file: file, progress: progress, etag: `"` + part.SHA256 + `"`}
	if err := d.readBegun(ctx); err != nil {
		return err
	}
	return d.run(ctx)
}

type download struct {
	client   *Client
	part     PartRef
	file     PartFile
	progress func(int64)
	sum      hash.Hash
	have     int64
	etag     string // strong, of the representation that the bytes so far come from
	wrong    int    // how many times all bytes were there and were not the part's
}

// readBegun hashes what an earlier try left, and leaves the file positioned behind it.
func (d *download) readBegun(ctx context.Context) error {
	d.sum = sha256.New()
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return d.writeFault(err)
	}
	n, err := io.Copy(d.sum, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return d.file.Read(p)
	}))
	if err != nil {
		return d.writeFault(err)
	}
	d.have = n
	d.progress(n)
	if n > d.part.Size {
		return d.startOver()
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (d *download) run(ctx context.Context) error {
	for vain := 0; ; {
		if d.have == d.part.Size {
			again, err := d.verify()
			if !again {
				return err
			}
		}
		before := d.have
		err := d.try(ctx)
		switch {
		case err == nil:
			continue // verified at the top
		case ctx.Err() != nil, !fault.Retryable(err):
			return err
		case d.have-before >= progressWorth:
			vain = 0
		}
		if !d.client.pause(ctx, vain, fault.RetryAfter(err)) {
			return err
		}
		vain++
	}
}

// verify compares the hash of all bytes. Wrong ones are thrown away and fetched once more, past every
// cache, before the download fails.
func (d *download) verify() (again bool, err error) {
	if hex.EncodeToString(d.sum.Sum(nil)) == d.part.SHA256 {
		return false, nil
	}
	if err := d.startOver(); err != nil {
		return false, err
	}
	d.wrong++
	if d.wrong > 1 {
		return false, fault.Wrap(ErrWrongBytes, fault.Permanent,
			"the bytes that %s sends for a part of %s are not that part: a proxy or cache on the way may answer with something else", d.client.Server(), d.part.Table)
	}
	return true, nil
}

func (d *download) startOver() error {
	if err := d.file.Truncate(0); err != nil {
		return d.writeFault(err)
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return d.writeFault(err)
	}
	d.progress(-d.have)
	d.have = 0
	d.sum.Reset()
	return nil
}

func (d *download) writeFault(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(err, fault.Unavailable, "the work was cancelled")
	}
	return fault.Wrap(err, fault.Permanent, "a part of %s cannot be written", d.part.Table)
}

// try asks for what is missing and appends what comes.
func (d *download) try(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(d.client.opts.IdleTimeout, func() { cancel(errStalled) })
	defer watch.Stop()

	resp, err := d.client.send(ctx, d.request())
	if err != nil {
		if StatusCode(err) == http.StatusRequestedRangeNotSatisfiable && d.have > 0 {
			return d.restart("the server has no byte %d of it", d.have)
		}
		return err
	}
	defer resp.Body.Close()
	if err := d.accept(resp); err != nil {
		return err
	}
	return d.append(ctx, resp.Body, watch)
}

func (d *download) request() request {
	r := request{
		method: http.MethodGet,
		path:   at("api", "data", d.part.Table, "download"),
		query:  url.Values{"part": {d.part.SHA256}},
		// If-Match turns an answer for another file, as from a proxy that drops the query, into a refusal.
		header: http.Header{"Accept": {"application/octet-stream, */*"}, "Accept-Encoding": {"identity"}, "If-Match": {`"` + d.part.SHA256 + `"`}},
	}
	if d.have > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
		r.header.Set("If-Range", d.etag)
	}
	if d.wrong > 0 {
		r.header.Set("Cache-Control", "no-cache")
	}
	return r
}

// accept looks at the head of an answer: whether it is the part at all, and where its bytes belong.
func (d *download) accept(resp *http.Response) error {
	length := d.part.Size
	switch resp.StatusCode {
	case http.StatusOK:
		if d.have > 0 {
			if err := d.startOver(); err != nil {
				return err
			}
		}
	case http.StatusPartialContent:
		var from, to, total int64
		if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &total); n != 3 || from != d.have || total != d.part.Size {
			return d.restart("the server answers with another range")
		}
		length -= d.have
	default:
		return fault.New(fault.Permanent, "%s answered a download with status %d", d.client.Server(), resp.StatusCode)
	}
	if etag := resp.Header.Get("ETag"); strings.HasPrefix(etag, `"`) {
		d.etag = etag
	}
	if resp.ContentLength >= 0 && resp.ContentLength != length {
		d.wrong++
		kind := fault.Unavailable // once more, past every cache
		if d.wrong > 1 {
			kind = fault.Permanent
		}
		return fault.Wrap(ErrWrongBytes, kind, "%s answers with %d bytes where the part of %s has %d: a proxy or cache on the way may answer with something else",
			d.client.Server(), resp.ContentLength, d.part.Table, length)
	}
	return nil
}

// restart throws away what is there and says why the next try begins at zero.
func (d *download) restart(format string, args ...any) error {
	if err := d.startOver(); err != nil {
		return err
	}
	return fault.New(fault.Unavailable, "the download of a part of %s starts over: %s", d.part.Table, fmt.Sprintf(format, args...))
}

// append copies the body behind what is there, at most to the part's size.
func (d *download) append(ctx context.Context, body io.Reader, watch *time.Timer) error {
	buf := make([]byte, 256<<10)
	for {
		n, readErr := body.Read(buf)
		watch.Reset(d.client.opts.IdleTimeout)
		if int64(n) > d.part.Size-d.have {
			return d.restart("the server sends more bytes than it has")
		}
		if n > 0 {
			if err := d.write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(readErr, io.EOF) && d.have < d.part.Size {
			readErr = io.ErrUnexpectedEOF
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return d.client.transportFault(ctx, readErr)
		}
	}
}

func (d *download) write(p []byte) error {
	n, err := d.file.Write(p)
	d.sum.Write(p[:n])
	d.have += int64(n)
	d.progress(int64(n))
	if err != nil {
		return d.writeFault(err)
	}
	return nil
}
