package lake

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Graft makes one parquet file of the columns of base, of which those named come from another file of as
// many rows in the same row groups, without decoding any: a table of which a few columns changed is
// written at the cost of these. What DuckDB would write of the same rows has the same bytes. The error is
// fault.Conflict where the two files do not fit: the columns have other types, or the row groups others
// rows.
func Graft(base, other string, columns []string) (*Stitched, error) {
	p := &pieces{}
	if err := p.graft(base, other, columns); err != nil {
		_ = p.close()
		return nil, err
	}
	return &Stitched{SectionReader: io.NewSectionReader(p, 0, p.size), pieces: p}, nil
}

var errUnlike = fault.New(fault.Conflict, "the columns of one file do not fit into the other")

// scion is a parquet file whose column chunks are taken apart.
type scion struct {
	file   *os.File
	footer *footer
	schema map[string][]byte // of each column, with what is nested in it
	groups []rowGroup
}

// rowGroup is what a footer says of a row group.
type rowGroup struct {
	raw    []byte
	rows   int64
	chunks []columnChunk
}

// columnChunk is what a footer says of a column in a row group, and where its bytes are.
type columnChunk struct {
	raw               []byte
	column            string // the outermost one
	path              []byte
	start, length     int64
	uncompressed      int64
	bloom, bloomBytes int64 // of its filter; 0 for none
}

func (p *pieces) graft(base, other string, columns []string) error {
	from := [2]*scion{}
	for i, path := range []string{base, other} {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("graft parquet: %w", err)
		}
		p.files = append(p.files, f)
		if from[i], err = takeApart(f); err != nil {
			return fmt.Errorf("graft parquet: %s: %w", filepath.Base(path), err)
		}
	}
	stock, scion := from[0], from[1]
	if len(stock.groups) != len(scion.groups) {
		return errUnlike
	}
	for _, c := range columns {
		if stock.schema[c] == nil || !bytes.Equal(stock.schema[c], scion.schema[c]) {
			return errUnlike
		}
	}
	p.add(bytes.NewReader([]byte(parquetMagic)), 0, int64(len(parquetMagic)))
	var rows int64
	plan := make([][]grafted, len(stock.groups))
	for i, g := range stock.groups {
		var err error
		if plan[i], err = p.chunks(g, scion.groups[i], stock.file, scion.file, columns); err != nil {
			return err
		}
		rows += g.rows
	}
	for _, group := range plan { // behind all row groups, as DuckDB writes them
		for i := range group {
			group[i].addBloom(p)
		}
	}
	var w thriftWriter
	for i, g := range stock.groups {
		if err := g.write(&w, plan[i]); err != nil {
			return fmt.Errorf("graft parquet: %w", err)
		}
	}
	end, err := stock.footer.with(rows, len(stock.groups), w.out, stock.footer.pairs)
	if err != nil {
		return fmt.Errorf("graft parquet: %w", err)
	}
	p.add(bytes.NewReader(end), 0, int64(len(end)))
	return nil
}

// grafted is a column chunk in the new file.
type grafted struct {
	columnChunk
	file     *os.File
	at       int64 // of its bytes
	bloomsAt int64 // of its filter
}

// chunks adds the bytes of a row group.
func (p *pieces) chunks(stock, scion rowGroup, file, other *os.File, columns []string) ([]grafted, error) {
	if stock.rows != scion.rows {
		return nil, errUnlike
	}
	out := make([]grafted, len(stock.chunks))
	for i, c := range stock.chunks {
		out[i] = grafted{columnChunk: c, file: file}
		if slices.Contains(columns, c.column) {
			n := slices.IndexFunc(scion.chunks, func(o columnChunk) bool { return bytes.Equal(o.path, c.path) })
			if n < 0 {
				return nil, errUnlike
			}
			out[i] = grafted{columnChunk: scion.chunks[n], file: other}
		}
		out[i].at = p.size
		p.add(out[i].file, out[i].start, out[i].length)
	}
	return out, nil
}

func (g *grafted) addBloom(p *pieces) {
	if g.bloom > 0 {
		g.bloomsAt = p.size
		p.add(g.file, g.bloom, g.bloomBytes)
	}
}

// write writes what the footer says of a row group, with these chunks.
func (g rowGroup) write(w *thriftWriter, chunks []grafted) error {
	var compressed, uncompressed int64
	for _, c := range chunks {
		compressed, uncompressed = compressed+c.length, uncompressed+c.uncompressed
	}
	r := &thriftReader{in: g.raw}
	integer := func(id int16, value int64) func(byte) {
		return func(kind byte) {
			r.varint()
			w.integer(id, kind, value)
		}
	}
	rewrite(r, w, map[int16]func(byte){
		1: func(kind byte) {
			r.skip(kind, 0)
			w.field(1, thriftList)
			w.structs(len(chunks))
			for _, c := range chunks {
				chunk := &thriftReader{in: c.raw}
				relocateChunk(chunk, w, c.at-c.start, c.bloomsAt-c.bloom)
				if chunk.err != nil {
					r.fail()
				}
			}
		},
		2: integer(2, uncompressed), // total_byte_size
		5: integer(5, chunks[0].at), // file_offset
		6: integer(6, compressed),   // total_compressed_size
	})
	return r.err
}

func takeApart(f *os.File) (*scion, error) {
	out := &scion{file: f}
	var err error
	if out.footer, err = readFooter(f); err != nil {
		return nil, err
	}
	if out.schema, err = columnSchemas(out.footer.schema); err != nil {
		return nil, err
	}
	r := &thriftReader{in: out.footer.groups}
	n, kind := r.list()
	if n > 0 && kind != thriftStruct {
		return nil, errThrift
	}
	for ; n > 0 && r.err == nil; n-- {
		g := readGroup(r)
		for _, c := range g.chunks {
			inside := c.start >= int64(len(parquetMagic)) && c.length > 0 && c.start+c.length <= int64(len(parquetMagic))+out.footer.body
			if !inside || (c.bloom > 0) != (c.bloomBytes > 0) {
				return nil, errUnlike // it is not as DuckDB writes it
			}
		}
		if len(g.chunks) == 0 {
			return nil, errUnlike
		}
		out.groups = append(out.groups, g)
	}
	return out, r.err
}

// columnSchemas gives the bytes of the schema by outermost column.
func columnSchemas(list []byte) (map[string][]byte, error) {
	r := &thriftReader{in: list}
	n, kind := r.list()
	if kind != thriftStruct || n == 0 {
		return nil, errThrift
	}
	element := func() (name string, children int64) {
		each(r, func(id int16, kind byte) {
			switch id {
			case 4:
				name = string(r.text())
			case 5:
				children = r.varint()
			default:
				r.skip(kind, 0)
			}
		})
		return name, children
	}
	element() // the root
	out := map[string][]byte{}
	for left := n - 1; left > 0 && r.err == nil; {
		begin := r.at
		name, open := element()
		for left--; open > 0 && left > 0 && r.err == nil; left-- {
			_, children := element()
			open += children - 1
		}
		out[name] = list[begin:r.at]
	}
	return out, r.err
}

func readGroup(r *thriftReader) rowGroup {
	begin := r.at
	var g rowGroup
	each(r, func(id int16, kind byte) {
		switch id {
		case 1:
			n, _ := r.list()
			for ; n > 0 && r.err == nil; n-- {
				g.chunks = append(g.chunks, readChunk(r))
			}
		case 3:
			g.rows = r.varint()
		default:
			r.skip(kind, 0)
		}
	})
	g.raw = r.in[begin:r.at]
	return g
}

func readChunk(r *thriftReader) columnChunk {
	begin := r.at
	var c columnChunk
	each(r, func(id int16, kind byte) {
		if id != 3 || kind != thriftStruct { // meta_data
			r.skip(kind, 0)
			return
		}
		each(r, func(id int16, kind byte) { c.readMeta(r, id, kind) })
	})
	c.raw = r.in[begin:r.at]
	return c
}

func (c *columnChunk) readMeta(r *thriftReader, id int16, kind byte) {
	switch id {
	case 3: // path_in_schema
		begin := r.at
		n, _ := r.list()
		for i := uint64(0); i < n && r.err == nil; i++ {
			if name := r.text(); i == 0 {
				c.column = string(name)
			}
		}
		c.path = r.in[begin:r.at]
	case 6:
		c.uncompressed = r.varint()
	case 7:
		c.length = r.varint()
	case 9, 10, 11: // of the data, an index, the dictionary: whichever is first
		if at := r.varint(); at > 0 && (c.start == 0 || at < c.start) {
			c.start = at
		}
	case 14:
		c.bloom = r.varint()
	case 15:
		c.bloomBytes = r.varint()
	default:
		r.skip(kind, 0)
	}
}
