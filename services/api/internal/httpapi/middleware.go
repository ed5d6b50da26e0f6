package httpapi

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/service"
)

type ctxKey int

const (
	keyRequest ctxKey = iota
	keyCaller
)

// requestInfo travels with the context of one request.
type requestInfo struct {
	id, path string
	// remote is the address of the client, as far as it can be believed.
	remote string
	// route is the pattern that matched, for metrics and the log; empty where none did.
	route string
	// user is set once the gate knows who asks.
	user string
	// caller is who asks, once the gate knows; door is what the request passed, began when it came to it.
	caller Caller
	door   door
	began  time.Time
	agent  string
	noted  noted
	// cookie tells that the browser sent the credential by itself.
	cookie bool
	// limited tells that the request was one too many.
	limited bool
	// unread is why the body could not be read to its end, where it was too long or too slow.
	unread atomic.Pointer[error]
	// failure is the cause of a problem that is not the client's, for the log.
	failure error
}

func infoOf(ctx context.Context) *requestInfo {
	if i, ok := ctx.Value(keyRequest).(*requestInfo); ok {
		return i
	}
	return &requestInfo{}
}

func requestID(ctx context.Context) string   { return infoOf(ctx).id }
func requestPath(ctx context.Context) string { return infoOf(ctx).path }

// callersID is what a client may name its request itself; anything else gets a new id.
var callersID = regexp.MustCompile(`\A[A-Za-z0-9._-]{8,64}\z`)

// recorder notes status and size of an answer. It hands ReadFrom on, so that a file still goes out by
// sendfile: hiding it costs a third of a download's speed.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom lets the server copy a file in the kernel.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	var n int64
	var err error
	if below, ok := r.ResponseWriter.(io.ReaderFrom); ok {
		n, err = below.ReadFrom(src)
	} else {
		n, err = io.Copy(struct{ io.Writer }{r.ResponseWriter}, src)
	}
	r.bytes += n
	return n, err
}

// Flush sends what is buffered.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Hijack hands the connection over, for a proxied WebSocket.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// Unwrap gives the writer below, for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// outer wraps the router with what every request gets: an id, a log line, metrics, a net under
// panics, headers and a bounded body. The order is that of the lines.
func (s *Server) outer(router http.Handler) http.Handler {
	compressed := compressJSON(router)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		info := &requestInfo{id: r.Header.Get(headerRequestID), path: r.URL.Path, remote: s.proxies.ClientIP(r), agent: r.UserAgent()}
		if !callersID.MatchString(info.id) {
			info.id = rand.Text()
		}
		log := s.log.With().Str(service.FieldRequest, info.id).Logger()
		ctx := log.WithContext(context.WithValue(r.Context(), keyRequest, info))
		r = r.WithContext(ctx)
		// Parameters of a path are decoded once, here: the router would hand on the raw text.
		r.URL.RawPath = ""
		rec := &recorder{ResponseWriter: w}
		s.secure(rec.Header(), info.id)
		defer func() {
			lost := recover()
			begun := rec.status != 0
			s.caught(rec, r, lost)
			s.observe(r, rec, info, time.Since(started))
			if lost != nil && (begun || lost == http.ErrAbortHandler) { //nolint:errorlint // a panic value, compared by identity as net/http does
				panic(http.ErrAbortHandler) // cut the connection: half an answer must not look whole
			}
		}()
		s.boundBody(rec, r, info)
		if s.cors(rec, r) {
			return
		}
		if streams(r.URL.Path) {
			router.ServeHTTP(rec, r)
			return
		}
		compressed.ServeHTTP(rec, r)
	})
}

// streams tells the paths that are never compressed and never wrapped: parts are compressed already,
// and an answer that is streamed must not wait in a buffer.
func streams(path string) bool {
	return strings.HasPrefix(path, "/api/data/") || path == "/api/query" || strings.HasPrefix(path, "/ws") || strings.HasPrefix(path, "/webhooks/") || strings.HasPrefix(path, "/api/upload")
}

func compressJSON(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.MinSize(1024),
		gzhttp.ContentTypes([]string{"application/json", "application/problem+json", "application/yaml", "text/html", "text/css", "text/javascript", "text/plain", "image/svg+xml"}),
		gzhttp.EnableZstd(false),
	)
	if err != nil {
		return h // the options are constants; without compression everything works all the same
	}
	return wrap(h)
}

// caught answers for a handler that panicked, where nothing was sent yet.
func (s *Server) caught(w *recorder, r *http.Request, lost any) {
	if lost == nil || lost == http.ErrAbortHandler { //nolint:errorlint // see outer
		return
	}
	if err, ok := lost.(error); ok && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || r.Context().Err() != nil) {
		infoOf(r.Context()).failure = err // huma panics where it cannot write: the client left
		return
	}
	zerolog.Ctx(r.Context()).Error().Str("panic", fmt.Sprint(lost)).Bytes("stack", debug.Stack()).Msg("a handler panicked")
	if w.status != 0 {
		return
	}
	writeProblem(w, r, errors.New("panic"))
}

// observe writes the access log's line and the metrics. The query string stays out of both: it may
// carry what only the client should know.
func (s *Server) observe(r *http.Request, rec *recorder, info *requestInfo, took time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	route := info.route
	if route == "" {
		route = "unknown"
	}
	s.metrics.requests.WithLabelValues(route, r.Method, fmt.Sprint(status)).Inc()
	s.metrics.seconds.WithLabelValues(route, r.Method).Observe(took.Seconds())
	log := zerolog.Ctx(r.Context())
	event := log.Debug()
	switch {
	case status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable:
		event = log.Error()
	case info.failure != nil:
		event = log.Warn()
	case info.limited: // a flood must not become one of lines: agnes_limited_total counts it
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		event = log.Info()
	}
	if info.failure != nil {
		event = event.AnErr("cause", info.failure)
	}
	if info.user != "" {
		event = event.Str(service.FieldUser, info.user)
	}
	event.Str("method", r.Method).Str("path", info.path).Int("status", status).Int64("bytes", rec.bytes).
		Dur("took_ms", took).Str("remote", info.remote).Msg("request")
}
