package embedded

import (
	"sync"

	"github.com/rs/zerolog"
)

// quietLogger writes what the server has to say: warnings and errors as such, the rest for debugging.
type quietLogger struct {
	log   zerolog.Logger
	fatal chan struct{} // closed when the server gives up
	once  sync.Once
	mu    sync.Mutex
	text  string
}

func (l *quietLogger) Noticef(format string, args ...any) {
	l.log.Debug().Msg(clean(format, args))
}

func (l *quietLogger) Warnf(format string, args ...any) {
	l.keep(clean(format, args))
	l.log.Warn().Msg(clean(format, args))
}

func (l *quietLogger) Errorf(format string, args ...any) {
	l.keep(clean(format, args))
	l.log.Error().Msg(clean(format, args))
}

// Fatalf must not end the process: the server was not started, and Start says why.
func (l *quietLogger) Fatalf(format string, args ...any) {
	l.keep(clean(format, args))
	l.once.Do(func() { close(l.fatal) })
}

func (l *quietLogger) Debugf(format string, args ...any) {
	l.log.Trace().Msg(clean(format, args))
}

func (l *quietLogger) Tracef(format string, args ...any) {
	l.log.Trace().Msg(clean(format, args))
}

func (l *quietLogger) keep(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = text
}

// last is the last complaint.
func (l *quietLogger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return "it was not ready in time"
	}
	return l.text
}
