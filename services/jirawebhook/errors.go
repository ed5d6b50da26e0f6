package jirawebhook

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// refusal is the answer to a webhook that is not accepted.
type refusal struct {
	Detail string `json:"detail"`
}

// again is when Jira should come again: what is away is mostly back by then, and Jira has its own pauses.
const again = 10 * time.Second

// problem is why a webhook is not accepted: the answer for the one who sent it, and the outcome that is
// counted.
type problem struct {
	status  int
	outcome outcome
	detail  string
	after   time.Duration // zero for never
	cause   error         // for the log
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.detail + ": " + p.cause.Error()
	}
	return p.detail
}

// answer sends the problem. The connection is closed where the rest of the body is not worth reading.
func (p *problem) answer(c echo.Context) error {
	h := c.Response().Header()
	if p.after > 0 {
		h.Set(echo.HeaderRetryAfter, strconv.Itoa(int((p.after+time.Second-1)/time.Second)))
	}
	if p.status == http.StatusRequestEntityTooLarge || p.status == http.StatusTooManyRequests || p.status == http.StatusRequestTimeout {
		h.Set(echo.HeaderConnection, "close")
	}
	return c.JSON(p.status, refusal{Detail: p.detail})
}

func notConfigured() *problem {
	return &problem{status: http.StatusServiceUnavailable, outcome: outcomeNotConfigured, detail: "webhooks are not accepted: no secret is configured to verify them", after: again}
}

// misconfigured is a mistake of the configuration, so Jira shall come again when it is mended.
func misconfigured() *problem {
	return &problem{status: http.StatusServiceUnavailable, outcome: outcomeNotConfigured, detail: "the source is not configured correctly: send it again", after: again}
}

// ambiguous is another one.
func ambiguous(err error) *problem {
	return &problem{status: http.StatusServiceUnavailable, outcome: outcomeNotConfigured, detail: err.Error(), after: again}
}

func badSignature() *problem {
	return &problem{status: http.StatusUnauthorized, outcome: outcomeBadSignature, detail: "Invalid signature"}
}

func tooLarge(limit int64) *problem {
	return &problem{status: http.StatusRequestEntityTooLarge, outcome: outcomeTooLarge, detail: "the body is longer than " + strconv.FormatInt(limit, 10) + " bytes"}
}

func busy(detail string) *problem {
	return &problem{status: http.StatusServiceUnavailable, outcome: outcomeBusy, detail: detail, after: time.Second}
}

func invalid(err error) *problem {
	return &problem{status: http.StatusBadRequest, outcome: outcomeInvalid, detail: err.Error()}
}

// unread is why a body could not be read.
func unread(err error, limit int64) *problem {
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return tooLarge(min(limit, long.Limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &problem{status: http.StatusRequestTimeout, outcome: outcomeUnread, detail: "the body did not come in time", cause: err}
	}
	return &problem{status: http.StatusBadRequest, outcome: outcomeUnread, detail: "the body did not come whole", cause: err}
}

// unstored is why the bus did not take a webhook. Whatever it is, Jira shall come again, unless the
// webhook will never fit.
func unstored(err error) *problem {
	if fault.Is(err, fault.TooLarge) {
		return &problem{status: http.StatusRequestEntityTooLarge, outcome: outcomeTooLarge, detail: "the webhook is larger than the bus accepts", cause: err}
	}
	p := &problem{status: http.StatusServiceUnavailable, outcome: outcomeUnavailable, detail: "the webhook could not be stored: send it again", after: again, cause: err}
	if errors.Is(err, context.Canceled) {
		p.detail = "the service is being stopped: send it again"
	}
	return p
}
