// Package attach fetches tables of catalogs that an extension of DuckDB reads. An extension is foreign code with a
// network: each fetch runs in a process of its own that is given one statement of ours, the way to one catalog and one
// folder to write to, and that may reach nothing else. No statement of a user is ever near it.
package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Argument of the binary that makes it a process that fetches.
const Argument = "remote-fetcher"

// order is what the process is to do; its answer is a report. Both are JSON.
type order struct {
	Attachment lake.Attachment
	// SQL is the statement, and Path the parquet file of its answer.
	SQL, Path string
	// MemoryBytes bounds DuckDB, DataBytes the process, and MaxBytes the file; zeros do not.
	MemoryBytes, DataBytes, MaxBytes int64
	// Files may be read, and Ports be connected to.
	Files []string
	Ports []uint16
}

type report struct {
	Rows, Bytes int64
	Failure     failure `json:",omitempty"`
	Cause       string  `json:",omitempty"` // for the log
}

// failure is what kind of error a fetch ended with.
type failure string

const (
	failedExtension failure = "extension" // it is not there
	failedSchema    failure = "schema"    // the table or a column of it is not there
	failedSize      failure = "size"      // the file is larger than it may be
	failedOther     failure = "other"
)

// Main is what the process does; it gives an exit code. It ends with the one who started it.
func Main(stdin io.Reader, stdout, stderr io.Writer) int {
	read := json.NewDecoder(stdin)
	var o order
	if err := read.Decode(&o); err != nil {
		_, _ = fmt.Fprintln(stderr, Argument+" is started by the api, and does nothing by itself")
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // until whoever waits is gone
		cancel()
		time.Sleep(grace) // an extension may not hear of it
		os.Exit(3)        //nolint:forbidigo // this process has nothing else to do
	}()
	for _, note := range giveUp(o) {
		_, _ = fmt.Fprintln(stderr, note)
	}
	if err := json.NewEncoder(stdout).Encode(fetch(ctx, o)); err != nil {
		_, _ = fmt.Fprintln(stderr, "tell what was fetched:", err)
		return 1
	}
	return 0
}

// grace is how long a fetch that is given up may take to end what it began elsewhere.
const grace = 3 * time.Second

// sizeEvery is how often the file is looked at while it grows.
const sizeEvery = 100 * time.Millisecond

var errSize = errors.New("the rows take more room than they may")

// fetch does what the order says.
func fetch(ctx context.Context, o order) report {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if o.MaxBytes > 0 {
		go watchSize(ctx, o, cancel)
	}
	limits := lake.Options{MemoryBytes: o.MemoryBytes, Threads: fetchThreads, TempDir: filepath.Dir(o.Path)}
	rows, err := lake.CopyAttached(ctx, limits, o.Attachment, o.SQL, o.Path)
	if err != nil {
		return report{Failure: failureOf(ctx, err), Cause: err.Error()}
	}
	info, err := os.Stat(o.Path)
	switch {
	case err != nil:
		return report{Failure: failedOther, Cause: err.Error()}
	case o.MaxBytes > 0 && info.Size() > o.MaxBytes:
		return report{Failure: failedSize, Cause: errSize.Error()}
	}
	return report{Rows: rows, Bytes: info.Size()}
}

// fetchThreads read one table.
const fetchThreads = 2

func watchSize(ctx context.Context, o order, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(sizeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if info, err := os.Stat(o.Path); err == nil && info.Size() > o.MaxBytes {
			cancel(errSize)
			return
		}
	}
}

func failureOf(ctx context.Context, err error) failure {
	class := lake.ClassOf(err)
	switch {
	case errors.Is(context.Cause(ctx), errSize):
		return failedSize
	case lake.IsNoExtension(err):
		return failedExtension
	case class == lake.ClassCatalog || class == lake.ClassBinder:
		return failedSchema
	}
	return failedOther
}

// faultOf is what the one who asked is told of a failure of the table.
func (r report) faultOf(table, extension string) error {
	cause := errors.New(r.Cause)
	switch r.Failure {
	case "":
		return nil
	case failedExtension:
		return fault.Wrap(cause, fault.Unavailable,
			"the table %s needs DuckDB's extension %q (%s), which this server does not have: whoever runs it puts it into the folder remote_query.extension_directory, or sets remote_query.allow_install",
			table, extension, lake.DuckDBVersion())
	case failedSchema:
		return fault.Wrap(cause, fault.Unavailable, "the table %s is not what it was when it was published: its source has to run again", table)
	case failedSize:
		return fault.Wrap(cause, fault.TooLarge, "the rows of %s take more room than one statement may fetch; filter it more, or select fewer columns", table)
	case failedOther:
	}
	return fault.Wrap(cause, fault.Unavailable, "the table %s could not be read where it lives; the server's log tells why", table)
}
