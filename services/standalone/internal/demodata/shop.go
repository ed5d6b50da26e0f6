package demodata

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// channel is a way into the shop, with what it does to visitors.
type channel struct {
	name       string
	share      float64 // of the sessions
	clickRate  float64 // of the sessions that click through
	conversion float64 // of a customer's sessions that end in an order
	paid       bool    // comes through a campaign
}

var channels = []channel{
	{"organic", 0.34, 0.42, 0.16, false},
	{"direct", 0.22, 0.55, 0.24, false},
	{"paid_search", 0.17, 0.31, 0.19, true},
	{"social", 0.14, 0.12, 0.07, true},
	{"email", 0.09, 0.24, 0.28, true},
	{"affiliate", 0.04, 0.18, 0.12, true},
}

var (
	weekdays = [7]float64{0.82, 1.12, 1.08, 1.02, 1.00, 0.98, 0.74} // Sunday first
	months   = [12]float64{0.86, 0.82, 0.92, 0.95, 0.98, 0.90, 0.80, 0.84, 1.00, 1.06, 1.42, 1.58}

	countries  = []string{"CZ", "DE", "AT", "SK", "PL", "FR", "NL", "GB", "US"}
	segments   = []string{"consumer", "consumer", "consumer", "small_business", "enterprise"}
	devices    = []string{"mobile", "mobile", "mobile", "desktop", "desktop", "tablet"}
	firstNames = []string{"Ada", "Alan", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ivan", "Joan", "Katherine", "Leslie", "Margaret", "Niklaus", "Radia", "Shafi", "Tim", "Ursula", "Žofie"}
	categories = []string{"coffee", "tea", "grinders", "kettles", "cups", "books"}
	adjectives = []string{"Amber", "Bright", "Calm", "Dark", "Early", "Fine", "Golden", "Heavy", "Light", "Morning", "Old", "Quiet"}
	methods    = []string{"card", "card", "card", "bank_transfer", "wallet", "cash_on_delivery"}
	subjects   = []string{"Where is my parcel?", "Broken on arrival", "Wrong item, please exchange", "Invoice with our \"tax id\", please", "How do I return this?", "It is great,\nthank you"}
	topics     = []string{"delivery", "quality", "exchange", "billing", "return", "praise"}
)

// shop lives day by day: what one day schedules for a later one waits in due.
type shop struct {
	size  Size
	rng   *rand.Rand
	files files
	due   map[int]*agenda // by day since firstDay
	seq   int

	customers []customer
	products  []product
	campaigns []campaign

	lastSession, lastLead, lastOrder, lastPayment, lastTicket int64
}

type customer struct {
	id         int64
	registered time.Time
}

type product struct {
	id    int64
	cents int64
	until time.Time // zero: still sold
}

type campaign struct {
	id         int64
	channel    string
	start, end time.Time
}

// future is something that happens at a later moment than what caused it.
type future struct {
	at  time.Time
	seq int // order of scheduling breaks ties
	do  func(at time.Time)
}

// agenda is a heap of what happens on one day, the earliest first.
type agenda []future

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if c := a[i].at.Compare(a[j].at); c != 0 {
		return c < 0
	}
	return a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(future)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func newShop(size Size, seed uint64, fs files) *shop {
	return &shop{size: size, rng: rand.New(rand.NewPCG(seed, 0x61676e6573)), files: fs, due: map[int]*agenda{}}
}

func dayOf(t time.Time) int { return int(t.Sub(firstDay) / (24 * time.Hour)) }

// live runs every day. A cancelled ctx ends it between two days.
func (s *shop) live(ctx context.Context) error {
	s.stockProducts()
	s.planCampaigns()
	for day := firstDay; !day.After(lastDay); day = day.AddDate(0, 0, 1) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("write demo data: %w", err)
		}
		s.liveDay(day)
	}
	return nil
}

// liveDay lets the sessions of the day happen, and what earlier days scheduled, in order of time.
func (s *shop) liveDay(day time.Time) {
	growth := 0.75 + 0.5*float64(dayOf(day))/float64(dayOf(lastDay))
	visits := s.poisson(s.size.sessionsPerDay * growth * weekdays[day.Weekday()] * months[day.Month()-1])
	for range s.poisson(0.08 * float64(visits)) {
		s.schedule(s.moment(day), func(at time.Time) { s.register(at, "", 0) })
	}
	for range visits {
		s.schedule(s.moment(day), s.visit)
	}
	// What happens today may cause something else today: take the earliest until none is left.
	today := dayOf(day)
	for s.due[today] != nil && s.due[today].Len() > 0 {
		next := heap.Pop(s.due[today]).(future)
		next.do(next.at)
	}
	delete(s.due, today)
}

// schedule lets do happen at a moment; what falls after the last day never happens.
func (s *shop) schedule(at time.Time, do func(time.Time)) {
	day := dayOf(at)
	if day > dayOf(lastDay) {
		return
	}
	if s.due[day] == nil {
		s.due[day] = &agenda{}
	}
	s.seq++
	heap.Push(s.due[day], future{at: at, seq: s.seq, do: do})
}

// moment is a time of the day, most likely in the evening.
func (s *shop) moment(day time.Time) time.Time {
	hour := 14.5 + 4.2*s.rng.NormFloat64()
	second := math.Mod(hour+48, 24) * 3600
	return day.Add(time.Duration(second) * time.Second)
}

// poisson draws a count with the mean; the normal approximation serves large means.
func (s *shop) poisson(mean float64) int {
	if mean > 40 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*s.rng.NormFloat64())))
	}
	limit, n, p := math.Exp(-mean), 0, s.rng.Float64()
	for p > limit {
		n++
		p *= s.rng.Float64()
	}
	return n
}

func pick[T any](s *shop, of []T) T { return of[s.rng.IntN(len(of))] }

func (s *shop) chance(p float64) bool { return s.rng.Float64() < p }

// within is a random pause between two bounds.
func (s *shop) within(from, to time.Duration) time.Duration {
	return (from + time.Duration(s.rng.Int64N(int64(to-from)))).Truncate(time.Second)
}

func (s *shop) stockProducts() {
	f := s.files["products"]
	for i := range s.size.products {
		p := product{id: int64(i + 1), cents: int64(290 + s.rng.IntN(9700))}
		if s.chance(0.1) {
			p.until = firstDay.AddDate(0, 0, 90+s.rng.IntN(500))
		}
		category := categories[i%len(categories)]
		name := fmt.Sprintf("%s %s No. %d", pick(s, adjectives), category, i+1)
		f.id(p.id).text(fmt.Sprintf("%s-%05d", category[:3], i+1)).text(name).text(category).
			cents(p.cents).cents(p.cents * int64(40+s.rng.IntN(30)) / 100).day(p.until).end()
		s.products = append(s.products, p)
	}
}

func (s *shop) planCampaigns() {
	f := s.files["campaigns"]
	var paid []channel
	for _, c := range channels {
		if c.paid {
			paid = append(paid, c)
		}
	}
	days := dayOf(lastDay)
	for i := range s.size.campaigns {
		c := campaign{id: int64(i + 1), channel: paid[i%len(paid)].name}
		c.start = firstDay.AddDate(0, 0, s.rng.IntN(days))
		open := s.chance(0.15) // a campaign that still runs has no end
		if !open {
			c.end = c.start.AddDate(0, 0, 20+s.rng.IntN(90))
		}
		name := fmt.Sprintf("%s %s %d", pick(s, adjectives), c.channel, c.start.Year())
		f.id(c.id).text(name).text(c.channel).day(c.start).day(c.end).cents(int64(50_000 + s.rng.IntN(2_000_000))).end()
		s.campaigns = append(s.campaigns, c)
	}
}
