package lake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	parquetMagic = "PAR1"
	// parquetTail is the length of what ends a parquet file: the length of the footer and the magic.
	parquetTail = 8
	maxFooter   = 256 << 20
)

// Stitched is one parquet file made of many without decoding them: their row groups one after the
// other under one footer. The same files in the same order give the same bytes. It is an
// io.ReadSeeker for one reader at a time, and an io.ReaderAt for many.
type Stitched struct {
	*io.SectionReader
	pieces *pieces
}

// Stitch makes one file of parquet files with equal schemas. Of one file it gives that file as it is.
// What the pages' indexes say about places in the file is left off, which no reader needs; key-value
// metadata stays where all files agree on it. The error is fault.Conflict where the schemas differ.
func Stitch(files []string) (*Stitched, error) {
	if len(files) == 0 {
		return nil, fault.New(fault.Invalid, "there is no file to make a parquet file of")
	}
	p := &pieces{}
	if err := p.build(files); err != nil {
		_ = p.close()
		return nil, err
	}
	return &Stitched{SectionReader: io.NewSectionReader(p, 0, p.size), pieces: p}, nil
}

// Shape is what the footer of a parquet file counts.
type Shape struct {
	Rows      int64
	RowGroups int
	GroupRows int64 // rows of the first row group; 0 where there is none
}

// ShapeOf reads the footer of a parquet file.
func ShapeOf(file string) (Shape, error) {
	f, err := os.Open(file)
	if err != nil {
		return Shape{}, fmt.Errorf("look at parquet: %w", err)
	}
	defer func() { _ = f.Close() }()
	footer, err := readFooter(f)
	if err != nil {
		return Shape{}, fmt.Errorf("look at parquet: %s: %w", filepath.Base(file), err)
	}
	r := &thriftReader{in: footer.groups}
	groups, _ := r.list()
	shape := Shape{Rows: footer.rows, RowGroups: int(groups)}
	if groups > 0 {
		shape.GroupRows = readGroup(r).rows
	}
	if r.err != nil {
		return Shape{}, fmt.Errorf("look at parquet: %s: %w", filepath.Base(file), r.err)
	}
	return shape, nil
}

// Close closes the files.
func (s *Stitched) Close() error { return s.pieces.close() }

// pieces are ranges of files and of memory, one after the other.
type pieces struct {
	list  []piece
	size  int64
	files []*os.File
}

type piece struct {
	start  int64 // in the whole
	length int64
	from   io.ReaderAt
	offset int64 // in from
}

func (p *pieces) add(from io.ReaderAt, offset, length int64) {
	if length > 0 {
		p.list = append(p.list, piece{start: p.size, length: length, from: from, offset: offset})
		p.size += length
	}
}

func (p *pieces) build(files []string) error {
	footers := make([]*footer, len(files))
	for i, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("stitch parquet: %w", err)
		}
		p.files = append(p.files, f)
		if len(files) == 1 {
			info, err := f.Stat()
			if err != nil {
				return fmt.Errorf("stitch parquet: %w", err)
			}
			p.add(f, 0, info.Size())
			return nil
		}
		if footers[i], err = readFooter(f); err != nil {
			return fmt.Errorf("stitch parquet: %s: %w", filepath.Base(path), err)
		}
		if !bytes.Equal(footers[i].schema, footers[0].schema) || !bytes.Equal(footers[i].orders, footers[0].orders) {
			return fault.New(fault.Conflict, "the parts of the table have different columns, and cannot be sent as one file; fetch them one by one")
		}
	}
	p.add(bytes.NewReader([]byte(parquetMagic)), 0, int64(len(parquetMagic)))
	merged, err := p.merge(footers)
	if err != nil {
		return fmt.Errorf("stitch parquet: %w", err)
	}
	p.add(bytes.NewReader(merged), 0, int64(len(merged)))
	return nil
}

// merge adds the bodies and gives the common end of the file.
func (p *pieces) merge(footers []*footer) ([]byte, error) {
	var groups thriftWriter
	count, rows := 0, int64(0)
	for i, f := range footers {
		if err := f.relocate(&groups, p.size-int64(len(parquetMagic)), &count); err != nil {
			return nil, err
		}
		rows += f.rows
		p.add(p.files[i], int64(len(parquetMagic)), f.body)
	}
	return footers[0].with(rows, count, groups.out, commonPairs(footers))
}

// with gives the end of a file of the same columns: its footer with so many rows, the row groups and the
// key-value pairs, and what stands behind it.
func (f *footer) with(rows int64, count int, groups []byte, pairs [][]byte) ([]byte, error) {
	var w thriftWriter
	w.integer(1, thriftI32, f.version)
	w.field(2, thriftList)
	w.raw(f.schema)
	w.integer(3, thriftI64, rows)
	w.field(4, thriftList)
	w.structs(count)
	w.raw(groups)
	if len(pairs) > 0 {
		w.field(5, thriftList)
		w.structs(len(pairs))
		for _, pair := range pairs {
			w.raw(pair)
		}
	}
	if f.creator != nil {
		w.field(6, thriftBinary)
		w.raw(f.creator)
	}
	if f.orders != nil {
		w.field(7, thriftList)
		w.raw(f.orders)
	}
	w.out = append(w.out, thriftStop)
	if len(w.out) > math.MaxInt32 {
		return nil, errors.New("the common footer is too long")
	}
	end := binary.LittleEndian.AppendUint32(w.out, uint32(len(w.out)))
	return append(end, parquetMagic...), nil
}

// commonPairs are the key-value pairs that stand in every footer, in the order of the first.
func commonPairs(footers []*footer) [][]byte {
	var common [][]byte
	for _, pair := range footers[0].pairs {
		everywhere := true
		for _, f := range footers[1:] {
			everywhere = everywhere && slices.ContainsFunc(f.pairs, func(other []byte) bool { return bytes.Equal(pair, other) })
		}
		if everywhere {
			common = append(common, pair)
		}
	}
	return common
}

// ReadAt reads across the pieces.
func (p *pieces) ReadAt(b []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	n := 0
	i := sort.Search(len(p.list), func(i int) bool { return p.list[i].start+p.list[i].length > offset })
	for ; i < len(p.list) && n < len(b); i++ {
		within := offset + int64(n) - p.list[i].start
		want := min(int64(len(b)-n), p.list[i].length-within)
		got, err := p.list[i].from.ReadAt(b[n:n+int(want)], p.list[i].offset+within)
		n += got
		if int64(got) < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // the file is shorter than it was
			}
			return n, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (p *pieces) close() error {
	var err error
	for _, f := range p.files {
		err = errors.Join(err, f.Close())
	}
	p.files = nil
	return err
}

// footer is what the end of a parquet file says
// (https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift), in pieces of
// the file's own bytes.
type footer struct {
	body    int64 // bytes between the magic and the footer
	version int64
	rows    int64
	schema  []byte   // the list, without the field's header
	groups  []byte   // likewise
	pairs   [][]byte // the key-value pairs
	creator []byte
	orders  []byte
}

func readFooter(f *os.File) (*footer, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	var head [len(parquetMagic)]byte
	var tail [parquetTail]byte
	if size < int64(len(head)+len(tail)) {
		return nil, errThrift
	}
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	if _, err := f.ReadAt(tail[:], size-parquetTail); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(head[:]) != parquetMagic || string(tail[4:]) != parquetMagic || length > maxFooter || length > size-int64(len(head)+len(tail)) {
		return nil, errThrift
	}
	raw := make([]byte, length)
	if _, err := f.ReadAt(raw, size-parquetTail-length); err != nil {
		return nil, err
	}
	return parseFooter(raw, size-parquetTail-length-int64(len(head)))
}

func parseFooter(raw []byte, body int64) (*footer, error) {
	out := &footer{body: body}
	r := &thriftReader{in: raw}
	take := func(kind byte) []byte {
		begin := r.at
		r.skip(kind, 0)
		return raw[begin:r.at]
	}
	var id int16
	for r.err == nil {
		var kind byte
		if id, kind = r.field(id); kind == thriftStop {
			break
		}
		switch id {
		case 1:
			out.version = r.varint()
		case 2:
			out.schema = take(kind)
		case 3:
			out.rows = r.varint()
		case 4:
			out.groups = take(kind)
		case 5:
			n, inner := r.list()
			for ; n > 0 && r.err == nil; n-- {
				out.pairs = append(out.pairs, take(inner))
			}
		case 6:
			out.creator = take(kind)
		case 7:
			out.orders = take(kind)
		case 8, 9:
			return nil, errors.New("the parquet file is encrypted")
		default:
			r.skip(kind, 0)
		}
	}
	if r.err == nil && (out.schema == nil || out.groups == nil) {
		r.fail()
	}
	return out, r.err
}

// relocate writes the row groups as they are once the body stands shift bytes later, and counts them.
func (f *footer) relocate(w *thriftWriter, shift int64, count *int) error {
	r := &thriftReader{in: f.groups}
	n, kind := r.list()
	if n > 0 && kind != thriftStruct {
		return errThrift
	}
	for ; n > 0 && r.err == nil; n-- {
		relocateGroup(r, w, shift, *count)
		*count++
	}
	return r.err
}

// relocateGroup copies one RowGroup.
func relocateGroup(r *thriftReader, w *thriftWriter, shift int64, ordinal int) {
	rewrite(r, w, map[int16]func(byte){
		1: func(kind byte) { // columns
			rewriteList(r, w, 1, kind, func() { relocateChunk(r, w, shift, shift) })
		},
		5: move(r, w, 5, shift), // file_offset
		7: func(byte) { // ordinal
			r.varint()
			if ordinal <= math.MaxInt16 {
				w.integer(7, thriftI16, int64(ordinal))
			}
		},
	})
}

// relocateChunk copies one ColumnChunk whose bytes stand shift later, and those of its bloom filter so much.
func relocateChunk(r *thriftReader, w *thriftWriter, shift, bloom int64) {
	refuse := func(byte) { r.fail() }
	// The indexes of the pages hold places in the file themselves, in their own bytes: they are left off.
	drop := func(kind byte) { r.skip(kind, 0) }
	rewrite(r, w, map[int16]func(byte){
		1: refuse,               // file_path: the data is in another file
		2: move(r, w, 2, shift), // file_offset
		3: func(kind byte) { // meta_data
			if kind != thriftStruct {
				r.fail()
				return
			}
			w.field(3, thriftStruct)
			rewrite(r, w, map[int16]func(byte){
				9:  move(r, w, 9, shift),  // data_page_offset
				10: move(r, w, 10, shift), // index_page_offset
				11: move(r, w, 11, shift), // dictionary_page_offset
				14: move(r, w, 14, bloom), // bloom_filter_offset
			})
		},
		4: drop, 5: drop, 6: drop, 7: drop, // offset and column index
		8: refuse, 9: refuse, // encryption
	})
}

// move copies a place in the file; zero means that there is none.
func move(r *thriftReader, w *thriftWriter, id int16, shift int64) func(byte) {
	return func(kind byte) {
		at := r.varint()
		if at > 0 {
			at += shift
		}
		w.integer(id, kind, at)
	}
}
