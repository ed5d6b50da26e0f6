package event

import (
	"bytes"
	"compress/gzip"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Headers of an event: CloudEvents' binary mode, the trace context, and what NATS needs.
const (
	headerID          = "ce-id"
	headerType        = "ce-type"
	headerSource      = "ce-source"
	headerTime        = "ce-time"
	headerSpecVersion = "ce-specversion"
	headerContentType = "content-type"
	// headerContentEncoding is "gzip" for a payload that would be too large for the bus.
	headerContentEncoding = "content-encoding"
	headerReplayFor       = "agnes-replay-for" // names the one consumer that a replayed event is for
	headerError           = "agnes-error"      // the kind of fault of a failed request

	specVersion = "1.0"
	jsonType    = "application/json"
	gzipCoding  = "gzip"
	maxPlain    = 768 << 10 // bytes; a server accepts 1 MiB by default
	maxUnpacked = 64 << 20
)

var (
	marshal   = protojson.MarshalOptions{}
	unmarshal = protojson.UnmarshalOptions{DiscardUnknown: true}
)

// encode writes a payload into msg as protojson, compressed where it is large; a nil message is {}.
func encode(msg *nats.Msg, m proto.Message) error {
	raw, err := marshal.Marshal(m)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the payload cannot be written as JSON")
	}
	msg.Data = raw
	msg.Header.Set(headerContentType, jsonType)
	if len(raw) <= maxPlain {
		return nil
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(raw); err != nil {
		return fault.Wrap(err, fault.Internal, "the payload cannot be compressed")
	}
	if err := w.Close(); err != nil {
		return fault.Wrap(err, fault.Internal, "the payload cannot be compressed")
	}
	msg.Data = packed.Bytes()
	msg.Header.Set(headerContentEncoding, gzipCoding)
	return nil
}

// decode reads a payload; nothing at all is {}.
func decode[M proto.Message](headers nats.Header, raw []byte) (M, error) {
	m := newMessage[M]()
	if headers.Get(headerContentEncoding) == gzipCoding {
		r, err := gzip.NewReader(bytes.NewReader(raw))
		if err == nil {
			raw, err = io.ReadAll(io.LimitReader(r, maxUnpacked))
		}
		if err != nil {
			return m, fault.Wrap(err, fault.Invalid, "the payload cannot be decompressed")
		}
	}
	if len(raw) == 0 {
		return m, nil
	}
	if err := unmarshal.Unmarshal(raw, m); err != nil {
		return m, fault.Wrap(err, fault.Invalid, "the payload is not valid JSON of its type: %v", err)
	}
	return m, nil
}

// envelope is what the headers say about an event, with what a stranger left out filled in.
func envelope[M proto.Message](headers nats.Header, subject string, stored time.Time) Event[M] {
	kind, source, key := parseSubject(subject)
	e := Event[M]{ID: headers.Get(headerID), Kind: kind, Source: source, Key: key, Origin: headers.Get(headerSource), Time: stored}
	if t, err := time.Parse(time.RFC3339Nano, headers.Get(headerTime)); err == nil {
		e.Time = t
	}
	if e.ID == "" {
		e.ID = headers.Get(nats.MsgIdHdr)
	}
	return e
}

// fallbackID identifies an event whose publisher gave it no id by its place in the stream.
func fallbackID(stream string, sequence uint64) string {
	return stream + ":" + strconv.FormatUint(sequence, 10)
}

// carrier lets OpenTelemetry read and write the headers of a message.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}
