package bigquerytest

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// messages is an Arrow stream of a schema and one batch, to be taken apart.
type messages struct{ raw []byte }

func (m *messages) Write(b []byte) (int, error) {
	m.raw = append(m.raw, b...)
	return len(b), nil
}

// split finds the end of the first message: a marker, the length of its head, and the head. A schema has no body.
func (m *messages) split() int {
	const marker = 4
	return 2*marker + int(binary.LittleEndian.Uint32(m.raw[marker:]))
}

func (m *messages) schema() []byte { return m.raw[:m.split()] }

func (m *messages) batch() []byte { return m.raw[m.split():] }

// endOfStream is how Arrow ends a stream of messages: the marker, and a head of no length.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

func emptyOf(schema *arrow.Schema) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	return b.NewRecordBatch()
}
