package wsgateway

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// wire is the connection below a WebSocket. Messages are written here, whole frames at a time and made once for
// everybody; the library, which reads, writes only its own control frames, each in one call of Write.
type wire struct {
	net.Conn
	raw syscall.RawConn // nil where a write cannot be tried

	// mu is held while a frame is written: nothing comes between its bytes.
	mu     sync.Mutex
	broken bool // a frame was cut off

	patience time.Duration // for a control frame
	after    func()        // is called when one was written: others may have waited meanwhile
}

// controlBuffer holds the longest control frame of a server: two bytes before at most 125.
const controlBuffer = 128

// hijacker hands the library a wire in place of the connection.
type hijacker struct {
	http.ResponseWriter
	wire *wire
}

// Hijack takes the connection over from the server.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.wire = &wire{Conn: conn}
	if c, ok := conn.(syscall.Conn); ok {
		h.wire.raw, _ = c.SyscallConn() // without one, every write may wait
	}
	return h.wire, bufio.NewReadWriter(buffered.Reader, bufio.NewWriterSize(h.wire, controlBuffer)), nil
}

// Write writes a control frame.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	err := net.ErrClosed
	if !w.broken {
		err = w.write(b, w.patience)
	}
	w.mu.Unlock()
	if w.after != nil {
		w.after()
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// try writes what can be written without waiting. The caller holds mu.
func (w *wire) try(b []byte) (n int, err error) {
	if w.raw == nil {
		return 0, nil
	}
	waited := w.raw.Write(func(fd uintptr) bool {
		n, err = tryWrite(fd, b)
		return true
	})
	if err == nil {
		err = waited
	}
	w.broken = w.broken || err != nil
	return n, err
}

// write waits until all is written, at most so long. The caller holds mu.
func (w *wire) write(b []byte, patience time.Duration) error {
	err := w.SetWriteDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = w.Conn.Write(b)
	}
	if err == nil {
		err = w.SetWriteDeadline(time.Time{}) // one that has passed stops what is only tried, too
	}
	w.broken = w.broken || err != nil
	return err
}
