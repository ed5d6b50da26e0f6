package wsgateway

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Topics that clients subscribe to.
const (
	topicNotifications = "notifications"
	topicSync          = "sync"
	topicAnalytics     = "analytics"
	topicRegistry      = "registry"
	topicHealth        = "health"
)

// topics is a set of them.
type topics uint8

var topicNames = []string{topicNotifications, topicSync, topicAnalytics, topicRegistry, topicHealth}

func topicOf(name string) topics {
	for i, n := range topicNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

// parseTopics gives a set; the name of one that does not exist is an error. "*" is all of them.
func parseTopics(names []string) (topics, error) {
	var set topics
	for _, n := range names {
		t := topicOf(n)
		if n == "*" {
			t = 1<<len(topicNames) - 1
		}
		if t == 0 {
			return 0, fmt.Errorf("there is no topic %q: %s", n, strings.Join(topicNames, ", "))
		}
		set |= t
	}
	return set, nil
}

func (t topics) names() []string {
	list := []string{}
	for i, n := range topicNames {
		if t&(1<<i) != 0 {
			list = append(list, n)
		}
	}
	return list
}

// kindHealth is the one kind of message that is no event of the bus.
const kindHealth = "health"

func topicOfKind(kind string) topics {
	switch kind {
	case "notification.raised":
		return topicOf(topicNotifications)
	case "extract.progress", "extract.ready", "extract.failed":
		return topicOf(topicSync)
	case "analytics.published":
		return topicOf(topicAnalytics)
	case "registry.changed":
		return topicOf(topicRegistry)
	case kindHealth:
		return topicOf(topicHealth)
	}
	return 0
}

// message is what a client gets of an event. What the event carries is below data: nothing of it can take the place
// of a member of the envelope (trap R7).
type message struct {
	Type   string          `json:"type"`
	ID     string          `json:"id,omitempty"` // missing for what is not stored: it cannot be resumed after
	Topic  string          `json:"topic,omitempty"`
	Time   time.Time       `json:"time"`
	Source string          `json:"source,omitempty"`
	Data   json.RawMessage `json:"data"`
}

// notification is the frame of the predecessor, with what ours knows more.
type notification struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	Topic     string          `json:"topic"`
	Title     string          `json:"title"`
	Message   string          `json:"message"`
	Script    string          `json:"script"` // what raised it
	Timestamp string          `json:"timestamp"`
	ImageURL  string          `json:"image_url,omitempty"`
	Severity  string          `json:"severity,omitempty"`
	Link      string          `json:"link,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
}

var plain = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}

// encode makes the frame of an event for those who may see this payload.
func encode(kind, id, source string, at time.Time, payload proto.Message) (frame, error) {
	if n, ok := payload.(*agnesv1.NotificationRaised); ok {
		return encodeNotification(id, at, n)
	}
	data, err := plain.Marshal(payload)
	if err != nil {
		return frame{}, fmt.Errorf("encode %s: %w", kind, err)
	}
	return newFrame(message{Type: kind, ID: id, Topic: topicOfKind(kind).names()[0], Time: at.UTC(), Source: source, Data: data})
}

func encodeNotification(id string, at time.Time, n *agnesv1.NotificationRaised) (frame, error) {
	if n.GetRaisedAt().IsValid() {
		at = n.GetRaisedAt().AsTime()
	}
	out := notification{
		Type: "notification", ID: id, Topic: topicNotifications, Title: n.GetTitle(), Message: n.GetMessage(), Script: n.GetKind(),
		Timestamp: at.UTC().Format("2006-01-02T15:04:05Z"), Severity: n.GetSeverity(), Link: n.GetLink(),
	}
	if n.GetData() != nil {
		data, err := plain.Marshal(n.GetData())
		if err != nil {
			return frame{}, fmt.Errorf("encode a notification: %w", err)
		}
		out.Data = data
		if image, ok := n.GetData().GetFields()["image_url"]; ok {
			out.ImageURL = image.GetStringValue()
		}
	}
	return newFrame(out)
}

// frame is one message as it goes over the wire, ready for every client that gets it.
type frame struct {
	raw []byte // a whole WebSocket frame, unmasked
}

// newFrame encodes a message as one text frame of RFC 6455, section 5.2.
func newFrame(m any) (frame, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return frame{}, fmt.Errorf("encode a message: %w", err)
	}
	const final, text = 0x80, 0x1
	raw := make([]byte, 0, len(body)+10)
	raw = append(raw, final|text)
	switch n := len(body); {
	case n < 126:
		raw = append(raw, byte(n))
	case n <= 0xFFFF:
		raw = binary.BigEndian.AppendUint16(append(raw, 126), uint16(n))
	default:
		raw = binary.BigEndian.AppendUint64(append(raw, 127), uint64(n))
	}
	return frame{append(raw, body...)}, nil
}

// place is where an event stands in the stream. A stream that was made anew counts from the start, so an id says of
// which one it is.
type place struct {
	epoch string
	seq   uint64
}

func (p place) String() string { return p.epoch + "-" + strconv.FormatUint(p.seq, 10) }

// parsePlace reads an id that a client brings back.
func parsePlace(id string) (place, error) {
	epoch, number, found := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if !found || err != nil || epoch == "" {
		return place{}, fmt.Errorf("%.40q is not the id of a message", id)
	}
	return place{epoch, seq}, nil
}

func epochOf(since time.Time) string { return strconv.FormatInt(since.Unix(), 36) }
