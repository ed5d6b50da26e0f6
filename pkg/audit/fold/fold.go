// Package fold keeps a flood of refusals from becoming one of records: the first of a kind are recorded one
// by one, and what comes beyond becomes one entry by the minute that counts them.
package fold

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Refusals that are recorded one by one per minute: of one kind by one actor (or tried address) from
// one address; of one kind from one address; of one kind from anywhere. What comes beyond is folded.
const (
	foldActor = 5
	foldIP    = 50
	foldKind  = 500
	// foldEvery is how long refusals are folded into one entry.
	foldEvery = time.Minute
)

// Refused is the result of an entry that may be folded.
const Refused = "refused"

// Folder counts refusals; it is safe for concurrent use. Its memory is bounded: a finer count is begun only while the coarser one
// is within its own bound.
type Folder struct {
	mu    sync.Mutex
	began time.Time
	kinds map[foldKey]*folded
	now   func() time.Time
}

type foldKey struct{ action, kind, ip, actor string }

// folded is what one entry stands for.
type folded struct {
	count, beyond int64
	first, last   time.Time
	sample        *agnesv1.AuditRecorded
}

// New makes one that goes by a clock.
func New(now func() time.Time) *Folder {
	return &Folder{now: now, began: now(), kinds: map[foldKey]*folded{}}
}

// Takes tells whether the entry was folded: it is then part of what Flush gives later.
func (f *Folder) Takes(m *agnesv1.AuditRecorded) bool {
	fields := m.GetParams().GetFields()
	if m.GetResult() != Refused || fields["sql"] != nil { // what was asked must not be lost; how often is limited
		return false
	}
	kind := foldKey{action: m.GetAction(), kind: fields["error"].GetStringValue()}
	address := kind
	address.ip = m.GetRemoteAddress()
	who := address
	who.actor = m.GetActor()
	for _, name := range []string{"email", "user", "account"} {
		if who.actor == "" {
			who.actor = fields[name].GetStringValue()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, level := range []struct {
		key  foldKey
		most int64
	}{{kind, foldKind}, {address, foldIP}, {who, foldActor}} {
		c := f.kinds[level.key]
		if c == nil {
			c = &folded{}
			f.kinds[level.key] = c
		}
		c.count++
		if c.count > level.most {
			c.add(m, f.now())
			return true
		}
	}
	return false
}

func (c *folded) add(m *agnesv1.AuditRecorded, now time.Time) {
	at := now
	if m.GetRecordedAt() != nil {
		at = m.GetRecordedAt().AsTime()
	}
	if c.sample == nil {
		c.sample, c.first = proto.CloneOf(m), at
	}
	onlyCommon(c.sample, m)
	c.beyond++
	c.last = at
}

// onlyCommon takes out of an entry what another one that it stands for does not share.
func onlyCommon(sample, m *agnesv1.AuditRecorded) {
	for _, of := range []struct {
		field *string
		other string
	}{{&sample.Resource, m.GetResource()}, {&sample.UserAgent, m.GetUserAgent()}, {&sample.Credential, m.GetCredential()}, {&sample.CredentialId, m.GetCredentialId()}} {
		if *of.field != of.other {
			*of.field = ""
		}
	}
	for name, value := range sample.GetParams().GetFields() {
		if !proto.Equal(value, m.GetParams().GetFields()[name]) {
			delete(sample.GetParams().GetFields(), name)
		}
	}
}

// Due tells whether the minute is over.
func (f *Folder) Due() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now().Sub(f.began) >= foldEvery
}

// Flush gives the folded entries of the minute, and begins the next.
func (f *Folder) Flush() []*agnesv1.AuditRecorded {
	f.mu.Lock()
	kinds := f.kinds
	f.kinds, f.began = map[foldKey]*folded{}, f.now()
	f.mu.Unlock()
	var out []*agnesv1.AuditRecorded
	for key, c := range kinds {
		if c.sample == nil {
			continue
		}
		m := c.sample
		if m.GetParams() == nil {
			m.Params = &structpb.Struct{}
		}
		if m.Params.Fields == nil {
			m.Params.Fields = map[string]*structpb.Value{}
		}
		p := m.Params.Fields
		p["folded"] = structpb.NewBoolValue(true)
		p["count"] = structpb.NewNumberValue(float64(c.beyond))
		p["first"] = structpb.NewStringValue(c.first.UTC().Format(time.RFC3339Nano))
		p["last"] = structpb.NewStringValue(c.last.UTC().Format(time.RFC3339Nano))
		if key.ip == "" { // from anywhere: that of the sample is only the first one's
			m.RemoteAddress = ""
		}
		if key.actor == "" {
			m.Actor, m.ActorEmail = "", ""
			delete(p, "email")
		}
		m.RequestId = ""
		m.Duration = durationpb.New(0)
		m.RecordedAt = timestamppb.New(c.last)
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *agnesv1.AuditRecorded) int {
		return a.GetRecordedAt().AsTime().Compare(b.GetRecordedAt().AsTime())
	})
	return out
}
