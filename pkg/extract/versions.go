package extract

import (
	"context"
)

// idleReaders is how many sources a Reader is ready for.
const idleReaders = 4

// Reader is OpenVersion for whoever reads new versions of the same sources again and again: it keeps a
// DuckDB per source for a while, which takes a third of the time. It is safe for concurrent use.
type Reader struct {
	dataDir string
	idle    *idle[*session]
}

// NewReader makes one for a data directory. Whoever makes it closes it.
func NewReader(dataDir string) *Reader {
	return &Reader{dataDir: dataDir, idle: newIdle(idleReaders, func(s *session) { s.close(false) })}
}

// OpenVersion is like the function of that name. A DuckDB reads one source only, as it is confined to
// the folder of its first; the file of a version is not held open when this returns.
func (r *Reader) OpenVersion(ctx context.Context, source string) (*Version, error) {
	before, _ := r.idle.take(source)
	x, err := openExtract(ctx, r.dataDir, source, "", before)
	if err != nil {
		return nil, err
	}
	v, err := x.read(ctx)
	if err != nil || len(v.Problems) > 0 || x.aside != nil || x.detach(ctx) != nil {
		x.close()
		return v, err
	}
	r.idle.give(source, x.session)
	return v, nil
}

// Close closes what is kept, and from then on nothing is.
func (r *Reader) Close() { r.idle.close() }

// detach lets go of the file: the next is read anew.
func (r *extractReader) detach(ctx context.Context) error {
	return r.session.exec(ctx, "DETACH "+readerCatalog)
}
