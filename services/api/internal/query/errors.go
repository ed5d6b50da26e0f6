package query

import (
	"context"
	"errors"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

const needsMore = "the query needs more than its %d MB of memory; filter or aggregate more, or select fewer columns"

// asFault says what went wrong in the words of whoever asked.
func (e *Engine) asFault(ctx context.Context, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	if isClient(err) || ctx.Err() != nil {
		if errors.As(context.Cause(ctx), &known) {
			return known
		}
		return fault.Wrap(err, fault.Unavailable, "the query was cancelled")
	}
	var died *worker.DeathError
	if errors.As(err, &died) {
		if died.Memory {
			return fault.Wrap(err, fault.TooLarge, needsMore, e.cfg.share()>>20)
		}
		return fault.Wrap(err, fault.Internal, "the query ended with the process that ran it; the log of the server has the details")
	}
	var duck *lake.Error
	if !errors.As(err, &duck) {
		return fault.Wrap(err, fault.Internal, "the query failed; the log of the server has the details")
	}
	switch duck.Class {
	case lake.ClassOutOfMemory:
		return fault.Wrap(err, fault.TooLarge, needsMore, e.cfg.share()>>20)
	case lake.ClassCatalog:
		if strings.HasPrefix(duck.Message, "Table with name") || strings.HasPrefix(duck.Message, "Schema with name") {
			return fault.Wrap(err, fault.NotFound, "%s", lake.UserMessage(err))
		}
	case lake.ClassPermission:
		return fault.Wrap(err, fault.Invalid, "files and addresses are not read here: ask for a table by its name")
	case lake.ClassIO:
		return fault.Wrap(err, fault.Unavailable, "a part of a table cannot be read at the moment; it may just have been replaced, so try again")
	case lake.ClassFatal, lake.ClassInternal:
		return fault.Wrap(err, fault.Internal, "DuckDB failed on this query; the log of the server has the details")
	}
	return fault.Wrap(err, fault.Invalid, "%s", lake.UserMessage(err))
}
