package demodata

import (
	"fmt"
	"time"
)

// order buys one to five products; most orders are paid.
func (s *shop) order(at time.Time, who customer, session int64) {
	s.lastOrder++
	id := s.lastOrder
	items := s.files["order_items"]
	var total int64
	for line := range 1 + s.poisson(1.3) {
		p := s.productAt(at)
		quantity := int64(1 + s.poisson(0.4))
		var discount int64
		if s.chance(0.18) {
			discount = int64(5 * (1 + s.rng.IntN(6)))
		}
		items.id(id).id(int64(line + 1)).id(p.id).id(quantity).cents(p.cents)
		if discount == 0 {
			items.null().end()
		} else {
			items.id(discount).end()
		}
		total += quantity * p.cents * (100 - discount) / 100
	}
	status, coupon := "completed", ""
	switch x := s.rng.Float64(); {
	case x < 0.05:
		status = "cancelled"
	case x < 0.09:
		status = "returned"
	}
	if s.chance(0.14) {
		coupon = fmt.Sprintf("SAVE%02d", 5*(1+s.rng.IntN(4)))
	}
	s.files["orders"].id(id).id(who.id).id(session).at(at).text(status).text("EUR").cents(total).opt(coupon).end()
	if status != "cancelled" {
		s.payLater(at, id, who, total)
	}
}

// productAt picks something that is still sold.
func (s *shop) productAt(at time.Time) product {
	for range 20 {
		if p := pick(s, s.products); p.until.IsZero() || at.Before(p.until) {
			return p
		}
	}
	for _, p := range s.products {
		if p.until.IsZero() {
			return p
		}
	}
	return s.products[0]
}

// payLater schedules the payment: cards at once, transfers after days. A declined card is tried again.
func (s *shop) payLater(ordered time.Time, order int64, who customer, total int64) {
	method := pick(s, methods)
	wait := s.within(20*time.Second, 10*time.Minute)
	if method == "bank_transfer" || method == "cash_on_delivery" {
		wait = s.within(12*time.Hour, 6*24*time.Hour)
	}
	if method == "card" && s.chance(0.06) {
		s.schedule(ordered.Add(s.within(10*time.Second, 20*time.Second)), func(at time.Time) { s.pay(at, order, method, total, "declined") })
	}
	s.schedule(ordered.Add(wait), func(at time.Time) {
		s.pay(at, order, method, total, "settled")
		if s.chance(0.16) {
			s.schedule(at.Add(s.within(time.Hour, 25*24*time.Hour)), func(at time.Time) { s.complain(at, order, who) })
		}
	})
}

func (s *shop) pay(at time.Time, order int64, method string, total int64, status string) {
	s.lastPayment++
	s.files["payments"].id(s.lastPayment).id(order).at(at).text(method).cents(total).text(status).end()
}

// complain opens a ticket about a paid order; recent ones are still open.
func (s *shop) complain(at time.Time, order int64, who customer) {
	s.lastTicket++
	closed := at.Add(s.within(20*time.Minute, 9*24*time.Hour))
	if dayOf(closed) > dayOf(lastDay) || s.chance(0.05) {
		closed = time.Time{}
	}
	topic := s.rng.IntN(len(topics))
	f := s.files["support_tickets"].id(s.lastTicket).id(order).id(who.id).at(at).at(closed).text(topics[topic]).text(subjects[topic])
	if closed.IsZero() || s.chance(0.4) {
		f.null().end()
	} else {
		f.id(int64(1 + s.rng.IntN(5))).end()
	}
}
