package jiratest

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Disorder is what happens to deliveries on their way. The zero value delivers each once and in order.
type Disorder struct {
	// Duplicate and Lose are the shares of deliveries that come twice, and never (0 to 1).
	Duplicate, Lose float64
	// Window is how many deliveries are held back, of which one by chance goes next. Flush sends the rest.
	Window int
	// Delay holds up each delivery for up to this long, by the real clock, in a goroutine of its own.
	Delay time.Duration
	// Seed makes the chances repeatable.
	Seed uint64
}

// hook is somebody who gets the deliveries.
type hook struct {
	sink    func(Delivery)
	how     Disorder
	chance  *rand.Rand
	waiting []Delivery // made by the change under way
	held    []Delivery
	busy    *sync.WaitGroup
}

// Hook gives every delivery from now on to sink, within the call that makes the change and in the way
// of how. A sink may call the site.
func (s *Site) Hook(sink func(Delivery), how Disorder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, &hook{sink: sink, how: how, chance: rand.New(rand.NewPCG(how.Seed, 1)), busy: &sync.WaitGroup{}}) //nolint:gosec // repeatable on purpose
}

// Unhook ends all hooks; what they held back is lost.
func (s *Site) Unhook() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = nil
}

// Keep records deliveries for Deliveries.
func (s *Site) Keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = true
}

// Deliveries gives what was delivered since Keep, in order, each once.
func (s *Site) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Delivery(nil), s.log...)
}

type outgoing struct {
	hook *hook
	d    Delivery
}

// deliver sends what the change under way caused.
func (s *Site) deliver() {
	s.mu.Lock()
	var out []outgoing
	for _, h := range s.hooks {
		for _, d := range h.waiting {
			if h.chance.Float64() < h.how.Lose {
				continue
			}
			h.held = append(h.held, d)
			if h.chance.Float64() < h.how.Duplicate {
				h.held = append(h.held, d)
			}
		}
		h.waiting = nil
		for len(h.held) > h.how.Window {
			out = append(out, h.release())
		}
	}
	s.mu.Unlock()
	send(out)
}

// release takes the next delivery: the oldest, or one by chance where there is a window.
func (h *hook) release() outgoing {
	k := 0
	if h.how.Window > 0 {
		k = h.chance.IntN(len(h.held))
	}
	d := h.held[k]
	h.held = append(h.held[:k:k], h.held[k+1:]...)
	return outgoing{hook: h, d: d}
}

func send(out []outgoing) {
	for _, o := range out {
		if o.hook.how.Delay <= 0 {
			o.hook.sink(o.d)
			continue
		}
		wait := time.Duration(rand.Int64N(int64(o.hook.how.Delay))) //nolint:gosec // a delay
		o.hook.busy.Add(1)
		time.AfterFunc(wait, func() {
			defer o.hook.busy.Done()
			o.hook.sink(o.d)
		})
	}
}

// Flush sends all deliveries that are held back, and waits for those that are delayed.
func (s *Site) Flush() {
	s.mu.Lock()
	var out []outgoing
	var busy []*sync.WaitGroup
	for _, h := range s.hooks {
		for len(h.held) > 0 {
			out = append(out, h.release())
		}
		busy = append(busy, h.busy)
	}
	s.mu.Unlock()
	send(out)
	for _, b := range busy {
		b.Wait()
	}
}

// Sender posts deliveries to a URL with several workers, and tries those again that were not accepted, as
// Jira does: with the same identifier, and X-Atlassian-Webhook-Retry counting up.
type Sender struct {
	queue  chan Delivery
	done   sync.WaitGroup
	client *http.Client
	url    string
	opts   SenderOptions

	mu       sync.Mutex
	accepted map[string]time.Time
	failed   []Delivery
}

// SenderOptions of a Sender. Zero values: one worker, 5 retries, 50 ms between them (Jira waits minutes).
type SenderOptions struct {
	Workers, Retries int
	Pause            time.Duration
}

// NewSender starts a sender. Its Post is a sink for Hook; Close waits until all is sent.
func NewSender(url string, opts SenderOptions) *Sender {
	opts.Workers = max(opts.Workers, 1)
	if opts.Retries == 0 {
		opts.Retries = 5
	}
	if opts.Pause == 0 {
		opts.Pause = 50 * time.Millisecond
	}
	s := &Sender{
		queue: make(chan Delivery, 1<<16), url: url, opts: opts, accepted: map[string]time.Time{},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: opts.Workers}},
	}
	for range opts.Workers {
		s.done.Go(func() {
			for d := range s.queue {
				s.try(d)
			}
		})
	}
	return s
}

// Post queues a delivery.
func (s *Sender) Post(d Delivery) { s.queue <- d }

// Close waits until everything queued is sent or given up.
func (s *Sender) Close() {
	close(s.queue)
	s.done.Wait()
	s.client.CloseIdleConnections()
}

// Accepted gives the identifiers that were answered 2xx and when; Failed what was given up.
func (s *Sender) Accepted() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]time.Time, len(s.accepted))
	for id, at := range s.accepted {
		out[id] = at
	}
	return out
}

// Failed gives what was given up after all retries: Jira's list of failed webhooks.
func (s *Sender) Failed() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Delivery(nil), s.failed...)
}

func (s *Sender) try(d Delivery) {
	for n := range s.opts.Retries + 1 {
		if n > 0 {
			pause := time.NewTimer(s.opts.Pause)
			<-pause.C
		}
		status := s.once(d, n)
		if status/100 == 2 {
			s.mu.Lock()
			s.accepted[d.ID] = time.Now()
			s.mu.Unlock()
			return
		}
		if status != 0 && status != 408 && status != 409 && status != 425 && status != 429 && status < 500 {
			break // Jira tries only these again
		}
	}
	s.mu.Lock()
	s.failed = append(s.failed, d)
	s.mu.Unlock()
}

// once gives the status of one try; 0 where there was no answer.
func (s *Sender) once(d Delivery, n int) int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.url, bytes.NewReader(d.Body))
	if err != nil {
		misuse("%v", err)
	}
	req.Header = d.Header.Clone()
	if n > 0 {
		req.Header.Set("X-Atlassian-Webhook-Retry", strconv.Itoa(n))
	}
	res, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}
