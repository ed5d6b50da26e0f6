package bigquery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"

	"cloud.google.com/go/bigquery"
	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// reasons are the kinds of Google's documented reasons (cloud.google.com/bigquery/docs/error-messages).
var reasons = map[string]fault.Kind{
	"accessDenied": fault.Forbidden, "blocked": fault.Forbidden, "billingNotEnabled": fault.Forbidden, "accessNotConfigured": fault.Forbidden, "forbidden": fault.Forbidden,
	"authError": fault.Unauthenticated, "required": fault.Invalid,
	"invalid": fault.Invalid, "invalidQuery": fault.Invalid, "invalidUser": fault.Invalid, "badRequest": fault.Invalid, "parseError": fault.Invalid,
	"bytesBilledLimitExceeded": fault.TooLarge, "resourcesExceeded": fault.TooLarge, "responseTooLarge": fault.TooLarge, "billingTierLimitExceeded": fault.TooLarge,
	"quotaExceeded": fault.Busy, "rateLimitExceeded": fault.Busy, "jobRateLimitExceeded": fault.Busy, "tableUnavailable": fault.Busy, "resourceInUse": fault.Busy,
	"backendError": fault.Unavailable, "internalError": fault.Unavailable, "jobBackendError": fault.Unavailable, "jobInternalError": fault.Unavailable, "timeout": fault.Unavailable, "stopped": fault.Unavailable,
	"notFound": fault.NotFound, "duplicate": fault.Conflict, "notImplemented": fault.Permanent,
}

var grpcKinds = map[codes.Code]fault.Kind{
	codes.InvalidArgument: fault.Invalid, codes.OutOfRange: fault.Invalid, codes.Unauthenticated: fault.Unauthenticated, codes.PermissionDenied: fault.Forbidden,
	codes.NotFound: fault.NotFound, codes.AlreadyExists: fault.Conflict, codes.Unimplemented: fault.Permanent, codes.ResourceExhausted: fault.Busy,
	// A session that has ended, and a table that was replaced: a new session reads it.
	codes.FailedPrecondition: fault.Unavailable, codes.Aborted: fault.Unavailable, codes.Unavailable: fault.Unavailable, codes.Internal: fault.Unavailable,
	codes.Unknown: fault.Unavailable, codes.DeadlineExceeded: fault.Unavailable, codes.DataLoss: fault.Unavailable, codes.Canceled: fault.Unavailable,
}

// fail gives an error of Google's its kind, and a sentence that begins with what could not be done. The end of
// ctx stays what it is.
func (c *Client) fail(ctx context.Context, err error, doing string) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%s: %w", doing, ended)
	}
	var done *fault.Error
	if errors.As(err, &done) {
		return err
	}
	kind, text := kindOf(err)
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Unavailable, "cannot %s: BigQuery did not answer in time", doing)
	}
	return fault.New(kind, "cannot %s: %s", doing, text)
}

// kindOf classifies an error of Google's libraries, and gives its text without secrets.
func kindOf(err error) (fault.Kind, string) {
	var job *bigquery.Error
	if errors.As(err, &job) {
		return kindOfReason(job.Reason, job.Message), scrub(job.Message)
	}
	var api *googleapi.Error
	if errors.As(err, &api) {
		message := first(api.Message, http.StatusText(api.Code))
		for _, e := range api.Errors {
			if _, known := reasons[e.Reason]; known {
				return kindOfReason(e.Reason, message), scrub(first(message, e.Message))
			}
		}
		return kindOfStatus(api.Code), scrub(message)
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		// The libraries report a token that cannot be had as a call that was not answered.
		if isTokenError(s.Message()) {
			return fault.Unauthenticated, scrub(s.Message())
		}
		return grpcKinds[s.Code()], scrub(s.Message())
	}
	text := tell(err)
	if isTokenError(text) {
		return fault.Unauthenticated, text
	}
	var network net.Error
	if errors.As(err, &network) {
		return fault.Unavailable, text
	}
	return fault.Internal, text
}

func kindOfReason(reason, message string) fault.Kind {
	kind, known := reasons[reason]
	switch {
	case !known:
		return fault.Internal
	case kind == fault.Busy && strings.Contains(message, "Custom quota exceeded"):
		return fault.TooLarge // until tomorrow, or until somebody raises it
	}
	return kind
}

func kindOfStatus(code int) fault.Kind {
	switch {
	case code == http.StatusUnauthorized:
		return fault.Unauthenticated
	case code == http.StatusForbidden:
		return fault.Forbidden
	case code == http.StatusNotFound:
		return fault.NotFound
	case code == http.StatusConflict:
		return fault.Conflict
	case code == http.StatusTooManyRequests:
		return fault.Busy
	case code >= http.StatusInternalServerError:
		return fault.Unavailable
	case code >= http.StatusBadRequest:
		return fault.Invalid
	}
	return fault.Unavailable
}

var tokenError = regexp.MustCompile(`(?i)invalid_grant|invalid_client|unauthorized_client|cannot fetch token|could not find default credentials|token.*(expired|revoked)`)

func isTokenError(text string) bool { return tokenError.MatchString(text) }

var secret = regexp.MustCompile(`ya29\.[\w.-]+|(?i)bearer\s+\S+|-----BEGIN[^-]*-----[\s\S]*?(-----END[^-]*-----|$)|\beyJ[\w-]+\.[\w.-]+`)

// scrub takes secrets and paths of this machine out of a text. Google's texts may quote what was sent.
func scrub(text string) string {
	text = secret.ReplaceAllString(text, "***")
	for _, name := range []string{EnvCredentials} {
		if path := os.Getenv(name); path != "" {
			text = strings.ReplaceAll(text, path, "$"+name)
		}
	}
	return lake.Scrub(errors.New(text)).Error()
}

// tell is the text of an error that is none of Google's API.
func tell(err error) string { return scrub(err.Error()) }

// denied tells whether read sessions are not for this account, or not at this address: its rows come by REST.
func denied(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unimplemented:
		return true
	default:
		return false
	}
}

// notFound tells whether read sessions know nothing of a table. Of results that is no error: not all of them are
// kept where sessions look.
func notFound(err error) bool { return status.Code(err) == codes.NotFound }

// refused tells whether a read session was not made because of what was asked for.
func refused(err error) bool { return status.Code(err) == codes.InvalidArgument }
