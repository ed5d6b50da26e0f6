package csv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/charset"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/records"
)

// cannotRead is the error of a file that the operating system does not give. Trying again may help.
func cannotRead(in input, err error) error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return fault.Wrap(err, f.Kind, "%s: %s", in.rel, f.Message)
	}
	if errors.Is(err, errChanged) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "%s: %s", in.rel, unreadable(err))
}

// damaged is the error of a file whose content is not what it should be.
func damaged(in input, err error) error {
	var line *records.LineError
	var path *fs.PathError
	var known *fault.Error
	switch {
	case errors.As(err, &known), errors.Is(err, errChanged), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &path):
		return cannotRead(in, err)
	case errors.As(err, &line):
		return fault.Wrap(err, fault.Invalid, "%s: %s", place(in.rel, line.Line, ""), line.Reason)
	case errors.Is(err, charset.ErrUndecodable):
		return fault.Wrap(err, fault.Invalid, "%s: it holds bytes that its encoding has no character for: set `encoding`, or mend the file", in.rel)
	case in.compression != "":
		return fault.Wrap(err, fault.Invalid, "%s: the %s data is damaged or cut off (%s)", in.rel, in.compression, err)
	}
	return fault.Wrap(err, fault.Invalid, "%s: %s", in.rel, err)
}

// place says where in a file something is.
func place(file string, line int64, column string) string {
	switch {
	case column != "":
		return fmt.Sprintf("%s, line %d, column %s", file, line, column)
	case line > 0:
		return fmt.Sprintf("%s, line %d", file, line)
	}
	return file
}
