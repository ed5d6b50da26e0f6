package lake

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
)

// Error is what DuckDB said, without what nobody may see: no SQL of ours, no folder of the server, no
// secret. Its cause is not kept, for the cause's text has all of that.
type Error struct {
	// Class is DuckDB's word for the kind of error, such as "Binder", "Catalog", "Out of Memory";
	// empty where the text begins with none.
	Class string
	// Message is the text without its class, in one or more lines.
	Message string
	// Excerpt is the part of the statement that DuckDB points at ("LINE 1: … ^"), as it came: only
	// for the one who wrote the statement, and not part of Error().
	Excerpt string
	cause   error // a context's error, or nil
}

// Classes of errors that callers tell apart.
const (
	ClassBinder      = "Binder"
	ClassCatalog     = "Catalog"
	ClassConversion  = "Conversion"
	ClassInterrupt   = "INTERRUPT"
	ClassIO          = "IO"
	ClassOutOfMemory = "Out of Memory"
	ClassParser      = "Parser"
	ClassPermission  = "Permission"
	ClassFatal       = "FATAL"
	ClassInternal    = "INTERNAL"
)

// Error gives class and message.
func (e *Error) Error() string {
	if e.Class == "" {
		return e.Message
	}
	return e.Class + " Error: " + e.Message
}

// Unwrap gives the context's error where one ended the work.
func (e *Error) Unwrap() error { return e.cause }

// ClassOf is the class of the Error in err's chain; "" where there is none.
func ClassOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// Scrub makes an error of DuckDB safe for logs and users: it is the one place where driver errors
// are cleaned. nil stays nil, and an Error or the error of a context stays what it is. Texts in hide
// are replaced wherever they occur.
func Scrub(err error, hide ...string) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	var cause error
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			cause = ended
		}
	}
	text := err.Error()
	var driver *duckdb.Error
	if errors.As(err, &driver) {
		text = driver.Msg
	}
	e := scrubText(text, hide...)
	e.cause = cause
	return e
}

var (
	classPrefix = regexp.MustCompile(`\A([A-Z][A-Za-z ]*?) Error: `)
	userInfo    = regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^\s/@'"]*@`)
	urlQuery    = regexp.MustCompile(`([a-z][a-z0-9+.-]*:(?://)?[^\s?'"]*)\?[^\s'"]*`)
	keyValue    = regexp.MustCompile(`(?i)\b([a-z0-9_-]*(?:token|secret|passw(?:or)?d|passphrase|credential|api_?key|access_?key|key_id|authorization|bearer)[a-z0-9_]*)(\s*(?:=>|[=:])\s*|\s+)('(?:[^']|'')*'|"[^"]*"|[^\s,;)'"]+)`)
	quotedPath  = regexp.MustCompile(`(["'])(?:[A-Za-z]:)?[/\\][^"'\n]*[/\\]([^"'/\\\n]*)(["'])`)
	barePath    = regexp.MustCompile(`(^|[\s(\[=:,])(?:[A-Za-z]:)?(?:/[^\s/"',;:)\]]+)+/([^\s/"',;)\]]*)`)
)

// keepValue are words that follow a secret's word in a sentence and are no secret.
var keepValue = map[string]bool{
	"is": true, "was": true, "are": true, "not": true, "for": true, "of": true, "in": true, "the": true, "to": true,
	"manager": true, "type": true, "provider": true, "with": true, "named": true, "name": true, "at": true, "or": true,
	"and": true, "on": true, "has": true, "does": true, "already": true, "must": true, "cannot": true, "could": true,
}

// maxScrubbed bounds what is looked at of a text in bytes, and maxTold what is kept of it: DuckDB repeats
// names and values of a statement, whatever their length.
const maxScrubbed, maxTold = 16 << 10, 4 << 10

// cut is a text without what is beyond a number of bytes.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// exceptionOf gives the text of an error that comes as JSON, as the C API tells some.
func exceptionOf(text string) string {
	var told struct {
		Type    string `json:"exception_type"`
		Message string `json:"exception_message"`
	}
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &told) != nil || told.Message == "" {
		return text
	}
	return told.Type + " Error: " + told.Message
}

func scrubText(text string, hide ...string) *Error {
	e := &Error{}
	text = exceptionOf(text)
	if at := strings.Index(text, "\n\nLINE "); at >= 0 {
		e.Excerpt = strings.TrimSpace(text[at:])
		text = text[:at]
	} else if at := strings.Index(text, "\nLINE "); at >= 0 {
		e.Excerpt = strings.TrimSpace(text[at:])
		text = text[:at]
	}
	// An error in the middle of an answer comes wrapped into one about the answer.
	if _, inner, ok := strings.Cut(text, "closed pending query result\nError: "); ok {
		text = inner
	}
	if m := classPrefix.FindStringSubmatch(text); m != nil {
		e.Class = m[1]
		text = text[len(m[0]):]
	}
	if at := strings.Index(text, "\n\nStack Trace:"); at >= 0 {
		text = text[:at]
	}
	for _, h := range hide {
		if h != "" {
			text = strings.ReplaceAll(text, h, "***")
			e.Excerpt = strings.ReplaceAll(e.Excerpt, h, "***")
		}
	}
	e.Excerpt = cut(e.Excerpt, maxTold)
	e.Message = cut(scrubSecrets(strings.TrimSpace(cut(text, maxScrubbed))), maxTold)
	return e
}

func scrubSecrets(text string) string {
	text = userInfo.ReplaceAllString(text, "${1}***@")
	text = urlQuery.ReplaceAllString(text, "${1}?***")
	text = keyValue.ReplaceAllStringFunc(text, func(m string) string {
		part := keyValue.FindStringSubmatch(m)
		if strings.TrimSpace(part[2]) == "" && (keepValue[strings.ToLower(part[3])] || part[3][0] == '"') {
			return m
		}
		return part[1] + part[2] + "***"
	})
	text = quotedPath.ReplaceAllString(text, "${1}…/${2}${3}")
	return barePath.ReplaceAllString(text, "${1}…/${2}")
}
