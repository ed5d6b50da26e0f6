package httpapi

import (
	"io"
	"net/http"
)

// withheld is a writer that keeps the last byte of a file back until something was done: what arrives
// whole was recorded. All but that byte still goes out by sendfile.
type withheld struct {
	http.ResponseWriter
	status int
	sent   int64
	// last is called once, before the last byte. An error leaves the answer cut.
	last func() error
}

// Unwrap gives the writer below, for http.ResponseController.
func (w *withheld) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status.
func (w *withheld) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *withheld) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.sent += int64(n)
	return n, err
}

// ReadFrom sends a file. http.ServeContent gives a reader that knows how much is left.
func (w *withheld) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok || limited.N < 1 {
		return w.copy(src)
	}
	n, err := w.copy(&io.LimitedReader{R: limited.R, N: limited.N - 1})
	if err != nil || n < limited.N-1 {
		return n, err
	}
	w.sent++ // the entry counts the byte that it lets go
	err = w.last()
	w.sent--
	if err != nil {
		return n, err
	}
	m, err := w.copy(&io.LimitedReader{R: limited.R, N: 1})
	return n + m, err
}

func (w *withheld) copy(src io.Reader) (n int64, err error) {
	if below, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		n, err = below.ReadFrom(src)
	} else {
		n, err = io.Copy(struct{ io.Writer }{w.ResponseWriter}, src)
	}
	w.sent += n
	return n, err
}
