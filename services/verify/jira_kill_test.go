//go:build verify

package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

// jiraRounds is how many kills TestJiraSurvivesKills makes: JIRA_KILL_ROUNDS, or 200, which take about three
// minutes.
func jiraRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("JIRA_KILL_ROUNDS")
	if text == "" {
		return 200
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("JIRA_KILL_ROUNDS=%q is no number of rounds", text)
	}
	return n
}

// told is what one webhook tells of: an issue that is there, with a summary at least as new as the number,
// and a comment where it is one.
type told struct {
	issue, number, comment int64
}

// tellOf reads what a delivery tells.
func tellOf(d jiratest.Delivery) (told, error) {
	var body struct {
		Issue struct {
			Fields struct {
				Summary string `json:"summary"`
			} `json:"fields"`
		} `json:"issue"`
		Comment struct {
			ID int64 `json:"id,string"`
		} `json:"comment"`
	}
	if err := json.Unmarshal(d.Body, &body); err != nil {
		return told{}, err
	}
	t := told{issue: d.Issue, comment: body.Comment.ID}
	_, err := fmt.Sscanf(body.Issue.Fields.Summary, "Summary %d", &t.number)
	return t, err
}

// workers are people who work on a site of Jira for as long as the test lasts.
type workers struct {
	site *jiratest.Site
	rng  *rand.Rand
	keys []string
}

// work does one thing: it makes an issue, changes one, or writes a comment.
func (w *workers) work(n int) {
	summary := jiratest.Set{"summary": fmt.Sprintf("Summary %d", n)}
	if len(w.keys) == 0 || w.rng.IntN(10) < 6 {
		w.keys = append(w.keys, w.site.Create("SUP", summary))
		return
	}
	key := w.keys[w.rng.IntN(len(w.keys))]
	w.site.Update(key, summary)
	if w.rng.IntN(2) == 0 {
		w.site.Comment(key, "A comment")
	}
}

// TestJiraSurvivesKills has people work on a site of Jira while the intake of webhooks, the bus and the
// extractor are killed with -9 at random moments, alone and together: every webhook that was answered 200
// is in the tables at the end, once.
func TestJiraSurvivesKills(t *testing.T) {
	rounds := jiraRounds(t)
	site := jiratest.New(jiratest.Config{Now: time.Now, Secret: webhookSecret})
	defer site.Close()
	site.Keep()
	h := newHouse(t)
	h.write("config/instance.yaml", fmt.Sprintf(`sources: [{name: jira, type: jira, site: %q, email: %q, api_token: %q, webhook_secret: %q, projects: [SUP], reconcile_every: "off", sla_every: "off"}]`,
		site.URL, jiratest.DefaultEmail, jiratest.DefaultToken, webhookSecret))
	hook := freeAddr(t)
	h.more = []string{"AGNES_JIRA_WEBHOOK_ADDR=" + hook, "AGNES_JIRA_WEBHOOK_PATIENCE=1s"}
	h.start("agnes-api", "agnes-orchestrator", "agnes-jira-webhook", "agnes-extractor-jira")
	h.login()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sender := jiratest.NewSender("http://"+hook+"/webhooks/jira", jiratest.SenderOptions{Workers: 8, Retries: 400, Pause: 50 * time.Millisecond})
	w := &workers{site: site, rng: rand.New(rand.NewPCG(seed, 1))}
	site.Hook(sender.Post, jiratest.Disorder{Duplicate: 0.1, Window: 4, Seed: seed})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var working sync.WaitGroup
	working.Go(func() {
		pace := time.NewTicker(40 * time.Millisecond)
		defer pace.Stop()
		for n := 1; ctx.Err() == nil; n++ {
			w.work(n)
			<-pace.C
		}
	})
	h.killJira(rand.New(rand.NewPCG(seed, 2)), rounds, sender)
	stop()
	working.Wait()
	site.Flush()
	sender.Close()
	if failed := sender.Failed(); len(failed) > 0 {
		t.Logf("%d webhooks were never answered 200", len(failed))
	}
	accepted := map[string]told{}
	answered := sender.Accepted()
	for _, d := range site.Deliveries() {
		if _, ok := answered[d.ID]; ok {
			tell, err := tellOf(d)
			if err != nil {
				t.Fatalf("a delivery cannot be read: %v: %s", err, d.Body)
			}
			accepted[d.ID] = tell
		}
	}
	if len(accepted) < rounds*3 {
		t.Fatalf("only %d webhooks were answered over %d kills", len(accepted), rounds)
	}
	began := time.Now()
	eventually(t, 3*time.Minute, "every webhook that was answered is in the tables", func() error { return h.holdsAll(accepted) })
	t.Logf("%d webhooks answered 200 over %d kills, of %d issues; the last was in the tables %s after the last kill",
		len(accepted), rounds, len(w.keys), time.Since(began).Round(time.Millisecond))
	for table, key := range map[string]string{"issues": "issue_id", "comments": "comment_id", "changelog": "(change_id, item)", "users": "account_id"} {
		if err := h.expect(fmt.Sprintf("SELECT count(*) - count(DISTINCT %s) FROM jira.%s", key, table), "[[0]]"); err != nil {
			t.Errorf("rows that are there twice: %v", err)
		}
	}
	if err := h.expect("SELECT count(*) FROM jira.issues", fmt.Sprintf("[[%d]]", len(w.keys))); err != nil && len(sender.Failed()) == 0 {
		t.Error(err)
	}
}

// killJira kills one of what is between Jira and the tables, or two of them at once, again and again.
func (h *house) killJira(rng *rand.Rand, rounds int, sender *jiratest.Sender) {
	h.t.Helper()
	const bus = "nats-server"
	victims := []string{"agnes-jira-webhook", bus, "agnes-extractor-jira"}
	for round := range rounds {
		before := len(sender.Accepted())
		pause := time.NewTimer(time.Duration(rng.Int64N(int64(500 * time.Millisecond))))
		<-pause.C
		rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
		dying := slices.Clone(victims[:1+rng.IntN(2)*rng.IntN(2)]) // two in a quarter of the rounds
		for _, victim := range dying {
			if victim == bus {
				h.nats.kill9()
			} else {
				h.services[victim].kill9()
			}
		}
		if slices.Contains(dying, bus) {
			h.startNATS()
			dying = slices.DeleteFunc(dying, func(v string) bool { return v == bus })
		}
		h.start(dying...)
		eventually(h.t, 60*time.Second, fmt.Sprintf("webhooks are taken in after kill %d", round), func() error {
			if now := len(sender.Accepted()); now <= before {
				return fmt.Errorf("%d were answered, as before", now)
			}
			return nil
		})
	}
}

// holdsAll tells what the tables lack of what was accepted.
func (h *house) holdsAll(accepted map[string]told) error {
	issues, err := h.numbers("SELECT issue_id || ' ' || regexp_extract(summary, '[0-9]+$') FROM jira.issues")
	if err != nil {
		return err
	}
	comments, err := h.numbers("SELECT comment_id || ' 0' FROM jira.comments")
	if err != nil {
		return err
	}
	var missing []string
	for _, tell := range accepted {
		number, found := issues[tell.issue]
		if !found || number < tell.number {
			missing = append(missing, fmt.Sprintf("issue %d at %d, not %d", tell.issue, number, tell.number))
		}
		if _, found := comments[tell.comment]; tell.comment != 0 && !found {
			missing = append(missing, fmt.Sprintf("comment %d", tell.comment))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d of %d are not there: %s", len(missing), len(accepted), strings.Join(missing[:min(len(missing), 5)], "; "))
	}
	return nil
}

// numbers reads pairs of numbers, all of them in one cell: a listing would be cut.
func (h *house) numbers(query string) (map[int64]int64, error) {
	rows, err := h.query("SELECT string_agg(pair, ',') FROM (" + query + ") AS pairs(pair)")
	if err != nil {
		return nil, err
	}
	out := map[int64]int64{}
	text, _ := rows[0][0].(string)
	for pair := range strings.SplitSeq(text, ",") {
		var a, b int64
		if _, err := fmt.Sscan(pair, &a, &b); err == nil {
			out[a] = b
		}
	}
	return out, nil
}
