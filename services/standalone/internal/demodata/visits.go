package demodata

import (
	"fmt"
	"strings"
	"time"
)

// register makes a customer, who came on their own or out of a lead.
func (s *shop) register(at time.Time, email string, lead int64) {
	c := customer{id: int64(len(s.customers) + 1), registered: at}
	name := pick(s, firstNames)
	if email == "" {
		email = fmt.Sprintf("%s.%d@example.com", strings.ToLower(name), c.id)
	}
	f := s.files["customers"].id(c.id).at(at).text(email)
	if s.chance(0.03) { // somebody who did not tell their name
		f.null()
	} else {
		f.text(name)
	}
	f.text(pick(s, countries)).text(pick(s, segments))
	if s.chance(0.12) { // never asked about the newsletter
		f.null()
	} else {
		f.flag(s.chance(0.55))
	}
	f.ref(lead).end()
	s.customers = append(s.customers, c)
}

// campaignOf finds a campaign of the channel that runs at the moment; 0 where none does.
func (s *shop) campaignOf(ch string, at time.Time) int64 {
	from := s.rng.IntN(len(s.campaigns))
	for i := range s.campaigns {
		c := s.campaigns[(from+i)%len(s.campaigns)]
		if c.channel == ch && !at.Before(c.start) && (c.end.IsZero() || at.Before(c.end)) {
			return c.id
		}
	}
	return 0
}

func (s *shop) channel() channel {
	x := s.rng.Float64()
	for _, c := range channels {
		if x < c.share {
			return c
		}
		x -= c.share
	}
	return channels[0]
}

// visit is one web session: of a customer who registered before, or of a stranger who may leave an
// address and register later.
func (s *shop) visit(at time.Time) {
	ch := s.channel()
	var campaign int64
	if ch.paid {
		campaign = s.campaignOf(ch.name, at)
	}
	var who customer
	if len(s.customers) > 0 && s.chance(0.58) {
		who = pick(s, s.customers)
	}
	s.lastSession++
	session := s.lastSession
	clicked := s.chance(ch.clickRate)
	pages, seconds := 1, int64(5+s.rng.IntN(40))
	if clicked {
		pages, seconds = 2+s.rng.IntN(14), int64(40+s.rng.IntN(1500))
	}
	f := s.files["web_sessions"].id(session).at(at).ref(who.id).ref(campaign).text(ch.name).text(pick(s, devices)).
		id(int64(pages)).flag(clicked)
	if clicked {
		f.id(seconds).end()
	} else {
		f.null().end() // nothing to measure after a single page
	}
	end := at.Add(time.Duration(seconds) * time.Second)
	switch {
	case who.id != 0 && clicked && s.chance(min(1, ch.conversion/ch.clickRate)):
		s.schedule(end, func(at time.Time) { s.order(at, who, session) })
	case who.id == 0 && clicked && s.chance(0.3):
		s.lead(at.Add(time.Duration(seconds/2)*time.Second), session)
	}
}

// lead is an address left behind in a session; a third of them register within three weeks.
func (s *shop) lead(at time.Time, session int64) {
	s.lastLead++
	id := s.lastLead
	email := fmt.Sprintf("lead.%d@example.com", id)
	var converted time.Time
	if s.chance(0.34) {
		converted = at.Add(s.within(time.Minute, 21*24*time.Hour))
		if dayOf(converted) > dayOf(lastDay) {
			converted = time.Time{}
		}
	}
	s.files["web_leads"].id(id).id(session).at(at).text(email).text(pick(s, categories)).at(converted).end()
	if !converted.IsZero() {
		s.schedule(converted, func(at time.Time) { s.register(at, email, id) })
	}
}
