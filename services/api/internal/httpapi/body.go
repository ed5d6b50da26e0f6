package httpapi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// body is that of a request: bounded in length, and in the time that it may take to arrive. The time
// also bounds how long the server waits for the rest of a body that nobody reads.
type body struct {
	io.ReadCloser
	control *http.ResponseController
	info    *requestInfo
}

// boundBody puts bounds on the body of a request that has one.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request, info *requestInfo) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.limits.BodyTimeout)) // a writer without deadlines is a test's
	r.Body = &body{ReadCloser: http.MaxBytesReader(w, r.Body, s.bodyLimit(r)), control: control, info: info}
}

// Read gives bytes. At the end of the body its deadline is lifted: what is asked may take longer to answer.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		_ = b.control.SetReadDeadline(time.Time{})
	case errors.As(err, &tooLong), errors.Is(err, os.ErrDeadlineExceeded):
		b.info.unread.CompareAndSwap(nil, &err)
	}
	return n, err
}

// errStalled answers where a body did not arrive in time.
func errStalled(detail string) *Problem {
	return &Problem{Type: problemKind, Title: titleOf(http.StatusRequestTimeout), Status: http.StatusRequestTimeout, Kind: fault.Invalid, Detail: detail}
}

// encoded refuses a body that is compressed: nothing here would unpack it.
func encoded(r *http.Request) error {
	coding := r.Header.Get("Content-Encoding")
	if coding == "" || strings.EqualFold(coding, "identity") || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	return &Problem{
		Type: problemKind, Title: titleOf(http.StatusUnsupportedMediaType), Status: http.StatusUnsupportedMediaType, Kind: fault.Invalid,
		Detail: "a request body with Content-Encoding is not taken here: send it as it is",
	}
}
