package adf

import (
	"bytes"
	"strings"
)

// writer writes lines under the prefix of the place they are in: the indentation of lists, the marks
// of quotes. Empty lines between blocks are owed until there is something to write after them, so
// that empty blocks leave no trace.
type writer struct {
	buf  []byte
	base int  // where the present text starts in buf
	bol  bool // at the beginning of a line, whose prefix is not yet written
	full bool // MaxBytes are written: the rest is dropped

	prefix []byte
	// lead is what the next line gets in place of the end of its prefix: the marker of a list's item.
	// The line keeps the first leadAt bytes of the prefix.
	lead   []byte
	leadAt int

	owed   int // line ends before whatever comes next
	owedAt int // how much of the prefix the empty lines among them get
}

func (w *writer) reset() {
	*w = writer{buf: w.buf[:0], prefix: w.prefix[:0], lead: w.lead[:0], bol: true}
}

// separate owes line ends: 1 for a new line, 2 for an empty line before it. Right after a marker
// nothing is owed.
func (w *writer) separate(lines int) {
	if len(w.lead) > 0 {
		return
	}
	w.owed, w.owedAt = max(w.owed, lines), len(w.prefix)
}

// place is what pop needs to leave a place.
type place struct{ prefix, lead int }

// push enters a place: its first line starts with first, the others with rest.
func (w *writer) push(first, rest string) place {
	p := place{len(w.prefix), len(w.lead)}
	if len(w.lead) == 0 {
		w.leadAt = len(w.prefix)
	}
	if first != "" || len(w.lead) > 0 {
		w.lead = append(w.lead, first...)
	}
	w.prefix = append(w.prefix, rest...)
	return p
}

// pop leaves a place. A marker that nothing was written after is dropped.
func (w *writer) pop(p place) {
	w.prefix = w.prefix[:p.prefix]
	w.lead = w.lead[:min(p.lead, len(w.lead))]
}

// keepLead writes a marker that nothing was written after.
func (w *writer) keepLead() {
	if len(w.lead) > 0 {
		w.flush()
		w.buf = bytes.TrimRight(w.buf, " ")
	}
}

// flush writes what is due before more text.
func (w *writer) flush() {
	if w.owed > 0 && len(w.buf) > w.base {
		for i := range w.owed {
			if i > 0 {
				w.buf = append(w.buf, bytes.TrimRight(w.prefix[:min(w.owedAt, len(w.prefix))], " ")...)
			}
			w.buf = append(w.buf, '\n')
		}
		w.bol = true
	}
	w.owed = 0
	switch {
	case len(w.lead) > 0:
		if w.bol {
			w.buf = append(w.buf, w.prefix[:w.leadAt]...)
		}
		w.buf = append(w.buf, w.lead...)
		w.lead = w.lead[:0]
	case w.bol:
		w.buf = append(w.buf, w.prefix...)
	}
	w.bol = false
}

// write adds text, which may have several lines.
func (w *writer) write(text string) {
	for text != "" && !w.full {
		line, rest, more := strings.Cut(text, "\n")
		if line != "" || w.owed > 0 || len(w.lead) > 0 {
			w.flush()
		}
		if room := MaxBytes - len(w.buf); len(line) > room {
			w.buf = append(w.buf, line[:runeStart(line, max(room, 0))]...)
			w.full = true
			break
		}
		w.buf = append(w.buf, line...)
		if !more {
			return
		}
		if w.bol {
			w.buf = append(w.buf, bytes.TrimRight(w.prefix, " ")...)
		}
		w.buf = append(w.buf, '\n')
		w.bol = true
		text = rest
		w.full = len(w.buf) >= MaxBytes
	}
}
