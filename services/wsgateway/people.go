package wsgateway

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// person is who connects with one credential.
type person struct {
	token   string
	userID  string
	email   string
	role    string
	expires time.Time // zero for never
	view    atomic.Pointer[view]

	clients map[*client]struct{} // guarded by people.mu
}

// people knows who is connected and what they can read. The api decides both; it is asked again while they are
// connected.
type people struct {
	bus     *event.Bus
	perUser int // connections of one user

	mu     sync.Mutex
	known  map[[sha256.Size]byte]*person
	views  map[string]*view // by fingerprint
	ofUser map[string]int   // connections
}

func newPeople(bus *event.Bus, perUser int) *people {
	return &people{bus: bus, perUser: perUser, known: map[[sha256.Size]byte]*person{}, views: map[string]*view{}, ofUser: map[string]int{}}
}

// askTimeout is how long the api may take to say who somebody is.
const askTimeout = 5 * time.Second

// errTooMany is the error of a user with as many connections as are allowed.
var errTooMany = fault.New(fault.Busy, "too many connections")

// join lets a client in by a credential, or by a ticket that stands for one.
func (p *people) join(ctx context.Context, c *client, token, ticket string) (*person, error) {
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := event.Call(asked, p.bus, event.CheckAccess, &agnesv1.CheckAccessRequest{Token: token, Ticket: ticket})
	if err != nil {
		return nil, err
	}
	if ticket != "" {
		token = answer.GetToken()
	}
	if !slices.Contains(answer.GetWho().GetScopes(), "read") {
		return nil, fault.New(fault.Forbidden, "the token may not read")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := answer.GetWho().GetUserId()
	if p.ofUser[id] >= p.perUser {
		return nil, errTooMany
	}
	key := sha256.Sum256([]byte(token))
	who := p.known[key]
	if who == nil {
		who = &person{token: token, userID: id, email: answer.GetWho().GetEmail(), role: answer.GetWho().GetRole(), clients: map[*client]struct{}{}}
		if answer.GetWho().GetExpiresAt().IsValid() {
			who.expires = answer.GetWho().GetExpiresAt().AsTime()
		}
		p.known[key] = who
	}
	p.see(who, answer)
	who.clients[c] = struct{}{}
	p.ofUser[id]++
	return who, nil
}

// see takes over what somebody can read now. The caller holds mu.
func (p *people) see(who *person, answer *agnesv1.CheckAccessResponse) {
	if answer.GetUnchanged() {
		return
	}
	v := p.views[answer.GetFingerprint()]
	if v == nil || v.admin != answer.GetEverything() {
		v = &view{fingerprint: answer.GetFingerprint(), admin: answer.GetEverything(), tables: tablesOf(answer.GetReadable())}
		p.views[v.fingerprint] = v
	}
	who.view.Store(v)
}

// leave forgets a client.
func (p *people) leave(who *person, c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, in := who.clients[c]; !in {
		return
	}
	delete(who.clients, c)
	if p.ofUser[who.userID]--; p.ofUser[who.userID] == 0 {
		delete(p.ofUser, who.userID)
	}
	if len(who.clients) == 0 {
		delete(p.known, sha256.Sum256([]byte(who.token)))
	}
}

func (p *people) list(which func(*person) bool) []*person {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*person
	used := map[*view]bool{}
	for _, who := range p.known {
		used[who.view.Load()] = true
		if which(who) {
			all = append(all, who)
		}
	}
	for fingerprint, v := range p.views {
		if !used[v] {
			delete(p.views, fingerprint)
		}
	}
	return all
}

// recheckAtOnce is of how many people the api is asked at a time.
const recheckAtOnce = 8

// recheck asks the api about everybody who is connected, and shows out who is not let in any more. source, where it
// is not empty, was just published: administrators, who see whatever comes, are left out.
func (p *people) recheck(ctx context.Context, source string) {
	var group errgroup.Group
	group.SetLimit(recheckAtOnce)
	for _, who := range p.list(func(who *person) bool { return source == "" || !who.view.Load().admin }) {
		group.Go(func() error {
			if ctx.Err() == nil {
				p.recheckOne(ctx, who, source)
			}
			return nil
		})
	}
	_ = group.Wait() // what one of them ends with is not the others' business
}

func (p *people) recheckOne(ctx context.Context, who *person, source string) {
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := event.Call(asked, p.bus, event.CheckAccess, &agnesv1.CheckAccessRequest{Token: who.token, Fingerprint: who.view.Load().fingerprint, Source: source})
	switch {
	case err == nil && slices.Contains(answer.GetWho().GetScopes(), "read"):
		p.mu.Lock()
		p.see(who, answer)
		p.mu.Unlock()
	case err == nil, refused(err):
		p.mu.Lock()
		var out []*client
		for c := range who.clients {
			out = append(out, c)
		}
		p.mu.Unlock()
		for _, c := range out {
			c.drop(codeRevoked, "the credential is not valid any more")
		}
	case ctx.Err() == nil:
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the api does not say whether somebody is still let in; it is asked again")
	}
}

// refused tells an answer of the api from none.
func refused(err error) bool {
	return fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound)
}
