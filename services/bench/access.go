package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/agnes-platform/agnes/pkg/lake"
)

const (
	crowdUsers  = 10_000
	crowdGrants = 5_000
	crowdTables = 600
	// rounds is how many new sets of grants a session is opened for.
	rounds = 15
)

// crowded starts agnes with 600 private tables, 10,000 users and 5,000 grants, and gives the server with
// an admin signed in and the secret that signs sessions.
func crowded(ctx context.Context, w *workplace, name string) (*server, []byte, error) {
	files := filepath.Join(w.dir, name+"-files")
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, nil, err
	}
	for i := range crowdTables {
		text := fmt.Sprintf("id,name,amount,day\n1,table %d,%d.5,2026-01-02\n2,second,7,2026-01-03\n", i, i)
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("t_%03d.csv", i)), []byte(text), 0o600); err != nil {
			return nil, nil, err
		}
	}
	s, err := w.start(ctx, name, files)
	if err != nil {
		return nil, nil, err
	}
	err = s.fill(ctx)
	s.stop()
	if err != nil {
		return nil, nil, err
	}
	if err := populate(ctx, filepath.Join(s.dir, "data", "state", "system.duckdb")); err != nil {
		return nil, nil, fmt.Errorf("fill the state: %w", err)
	}
	secret, err := os.ReadFile(filepath.Join(s.dir, "data", "state", ".jwt_secret"))
	if err != nil {
		return nil, nil, err
	}
	s, err = w.start(ctx, name, files)
	return s, []byte(strings.TrimSpace(string(secret))), err
}

// populate writes users, grants and an open session for each of the first thousand users into a state
// that nobody has open.
func populate(ctx context.Context, path string) error {
	db, err := lake.Open(ctx, lake.Options{Path: path, MemoryBytes: 512 << 20})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for _, sql := range []string{
		"UPDATE table_registry SET is_public = FALSE",
		fmt.Sprintf(`INSERT INTO users (id, email, name, role, active, created_at, updated_at)
			SELECT 'u' || i, 'user' || i || '@example.com', 'User ' || i, 'analyst', TRUE, now(), now() FROM range(%d) t(i)`, crowdUsers),
		fmt.Sprintf("INSERT INTO user_logins (email_key, user_id) SELECT 'user' || i || '@example.com', 'u' || i FROM range(%d) t(i)", crowdUsers),
		fmt.Sprintf(`INSERT INTO dataset_permissions (user_id, dataset, access)
			SELECT 'u' || (i // 5), 't_' || lpad(((i * 7) %% %d)::VARCHAR, 3, '0'), 'read' FROM range(%d) t(i) WHERE i // 5 > 1`, crowdTables, crowdGrants+10),
		"INSERT INTO dataset_permissions (user_id, dataset, access) SELECT 'u0', 't_' || lpad(i::VARCHAR, 3, '0'), 'read' FROM range(20) t(i)",
		fmt.Sprintf("INSERT INTO dataset_permissions (user_id, dataset, access) SELECT 'u1', 't_' || lpad(i::VARCHAR, 3, '0'), 'read' FROM range(%d) t(i)", crowdTables-rounds-1),
		"CHECKPOINT",
	} {
		if _, err := db.ExecContext(ctx, sql); err != nil {
			return lake.Scrub(err)
		}
	}
	return nil
}

// session writes nothing by itself: it gives the token of a session and the row that makes it one.
func session(secret []byte, user string) (token, id, hash string, err error) {
	id = "s-" + user
	claims := jwt.MapClaims{
		"sub": user, "email": user[1:] + "@example.com", "role": "analyst", "typ": "session", "jti": id,
		"iat": time.Now().Unix(), "exp": time.Now().Add(6 * time.Hour).Unix(),
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	sum := sha256.Sum256([]byte(token))
	return token, id, hex.EncodeToString(sum[:]), err
}

// sessions opens one for each of the first n users, in the state of a server that is stopped, and starts
// it again.
func (w *workplace) sessions(ctx context.Context, s *server, secret []byte, n int) (*server, []string, error) {
	s.stop()
	db, err := lake.Open(ctx, lake.Options{Path: filepath.Join(s.dir, "data", "state", "system.duckdb"), MemoryBytes: 512 << 20})
	if err != nil {
		return nil, nil, err
	}
	tokens := make([]string, n)
	for i := range n {
		user := fmt.Sprintf("u%d", i)
		token, id, hash, err := session(secret, user)
		if err == nil {
			_, err = db.ExecContext(ctx, `INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at)
				VALUES ($1, $2, $3, now(), now() + INTERVAL 6 HOUR)`, id, user, hash)
		}
		if err != nil {
			_ = db.Close()
			return nil, nil, lake.Scrub(err)
		}
		tokens[i] = token
	}
	if err := db.Close(); err != nil {
		return nil, nil, err
	}
	again, err := w.start(ctx, filepath.Base(s.dir), filepath.Join(w.dir, filepath.Base(s.dir)+"-files"))
	return again, tokens, err
}

// as gives the same server to somebody else.
func (s *server) as(token string) *server {
	return &server{addr: s.addr, token: token, dir: s.dir, http: s.http}
}

// benchSessions times the first question over a set of grants that nobody asked with before, and over
// one that was. The time of the same question in an open session is taken off.
func benchSessions(ctx context.Context, w *workplace) ([]row, error) {
	s, secret, err := crowded(ctx, w, "sessions")
	if err != nil {
		return nil, err
	}
	s, tokens, err := w.sessions(ctx, s, secret, 2)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.rest(ctx); err != nil {
		return nil, err
	}
	var twenty []string
	for i := range 20 {
		twenty = append(twenty, fmt.Sprintf("SELECT count(*) FROM t_%03d", i))
	}
	all20 := strings.Join(twenty, " UNION ALL ")
	var rows []row
	for _, c := range []struct {
		name, user, token, sql string
		goal                   float64
	}{
		{"open a session for 20 granted tables, asking all of them", "u0", tokens[0], all20, 20},
		{"open a session for 600 granted tables, asking one", "u1", tokens[1], "SELECT count(*) FROM t_007", 100},
		{"open a session for 600 granted tables, asking what there is", "u1", tokens[1], "SHOW TABLES", 100},
	} {
		cold, warm, err := s.coldAndWarm(ctx, s.as(c.token), c.user, c.sql)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, below(c.name, "ms", cold-warm, c.goal, fmt.Sprintf("over HTTP, p50 of 15 new sets: first %.1f ms, then %.1f ms", cold, warm)))
	}
	_, cached, err := s.coldAndWarm(ctx, s.as(tokens[0]), "u0", "SELECT 1")
	if err != nil {
		return nil, err
	}
	floor, err := s.floor(ctx)
	if err != nil {
		return nil, err
	}
	rows = append(rows, below("a cached session: a whole question over HTTP more than none", "ms", cached-floor, 1+1,
		fmt.Sprintf("SELECT 1 takes %.2f ms, GET /livez %.2f ms, p50; the goal of 1 ms for the session and of 1 ms for asking", cached, floor)))
	return rows, nil
}

// coldAndWarm asks once with a new set of grants and some times more, in milliseconds at the median.
func (s *server) coldAndWarm(ctx context.Context, asker *server, user, sql string) (cold, warm float64, err error) {
	var first, later []time.Duration
	for i := range rounds {
		// One table more, another each time, makes the set one that nobody has had.
		grant := map[string]any{"user_id": user, "dataset": fmt.Sprintf("t_%03d", crowdTables-1-i)}
		if err := s.call(ctx, http.MethodPost, "/api/admin/permissions", grant, nil); err != nil {
			return 0, 0, err
		}
		time.Sleep(400 * time.Millisecond) // let what is kept ready be made ready
		// The rules are read again by the first request of anybody: that is not the session.
		if err := asker.call(ctx, http.MethodGet, "/api/catalog/tables", nil, nil); err != nil {
			return 0, 0, err
		}
		for j := range 10 {
			began := time.Now()
			if err := asker.query(ctx, sql, "application/json"); err != nil {
				return 0, 0, err
			}
			if took := time.Since(began); j == 0 {
				first = append(first, took)
			} else {
				later = append(later, took)
			}
		}
		if err := s.call(ctx, http.MethodDelete, "/api/admin/permissions", grant, nil); err != nil {
			return 0, 0, err
		}
	}
	return percentile(first, 0.5), percentile(later, 0.5), nil
}

// floor is what a request costs that asks for nothing, in milliseconds.
func (s *server) floor(ctx context.Context) (float64, error) {
	times, err := s.times(ctx, 500, func(int) (string, string) { return "/livez", "" })
	if err != nil {
		return 0, err
	}
	return percentile(times, 0.5), nil
}

// times asks GET requests one after the other; next gives path and token of each.
func (s *server) times(ctx context.Context, n int, next func(i int) (path, token string)) ([]time.Duration, error) {
	all := make([]time.Duration, 0, n)
	for i := range n {
		path, token := next(i)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
		if err != nil {
			return nil, err
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		began := time.Now()
		answer, err := s.http.Do(r)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNotFound {
			return nil, fmt.Errorf("GET %s: %s", path, answer.Status)
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}

// benchDoor times who-is-it and may-they for a thousand users in turn: a request that is answered by
// nothing else (a table that is not granted), against one that asks neither. The agnes records nothing:
// what that costs has a row of its own, and a thousand users who are refused at once are written down.
func benchDoor(ctx context.Context, of *workplace) ([]row, error) {
	w, err := of.unrecorded(ctx)
	if err != nil {
		return nil, err
	}
	s, secret, err := crowded(ctx, w, "door")
	if err != nil {
		return nil, err
	}
	s, tokens, err := w.sessions(ctx, s, secret, 1000)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := s.rest(ctx); err != nil {
		return nil, err
	}
	const n = 6000
	door := func(i int) (string, string) {
		return "/api/catalog/profile/no_such_table", tokens[rand.IntN(len(tokens))]
	}
	bare := func(int) (string, string) { return "/livez", "" }
	// The first request of each looks its session up in the state, and works out what they may.
	first, err := s.times(ctx, len(tokens), func(i int) (string, string) { return "/api/catalog/profile/no_such_table", tokens[i] })
	if err != nil {
		return nil, err
	}
	if _, err := s.times(ctx, 200, bare); err != nil {
		return nil, err
	}
	with, err := s.times(ctx, n, door)
	if err != nil {
		return nil, err
	}
	without, err := s.times(ctx, n, bare)
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d users, %d grants, %d tables, 1,000 sessions at random; p50 %.2f and %.2f, p99 %.2f and %.2f ms with and without; p50 of each one's first request %.2f",
		crowdUsers, crowdGrants, crowdTables, percentile(with, 0.5), percentile(without, 0.5), percentile(with, 0.99), percentile(without, 0.99), percentile(first, 0.5))
	return []row{below("authentication and authorization of a request, p99", "ms", percentile(with, 0.99)-percentile(without, 0.5), 1, note)}, nil
}

// benchFlood guesses one account's password a thousand times a second while somebody else asks.
func benchFlood(ctx context.Context, w *workplace) ([]row, error) {
	s, err := eight(ctx, w, "flood", 100_000)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	const sql = "SELECT id % 10, count(*), sum(id) FROM files.million GROUP BY 1"
	ask := func() ([]time.Duration, error) {
		var all []time.Duration
		for range 250 {
			began := time.Now()
			if err := s.query(ctx, sql, "application/json"); err != nil {
				return nil, err
			}
			all = append(all, time.Since(began))
		}
		return all, nil
	}
	if _, err := ask(); err != nil {
		return nil, err
	}
	var quiet, noisy, beside []time.Duration
	var rates []float64
	for range 3 {
		got, err := ask()
		if err != nil {
			return nil, err
		}
		quiet = append(quiet, got...)
		for _, guess := range []bool{true, false} {
			flood := s.flood(ctx, guess)
			got, err := ask()
			rate := flood()
			if err != nil {
				return nil, err
			}
			if guess {
				noisy = append(noisy, got...)
				rates = append(rates, rate)
			} else {
				beside = append(beside, got...)
			}
		}
	}
	note := fmt.Sprintf("a query's p50: quiet %.2f ms, with %.0f guesses/s %.2f ms, with as many GET /livez from the same machine %.2f ms",
		percentile(quiet, 0.5), mean(rates), percentile(noisy, 0.5), percentile(beside, 0.5))
	return []row{atMost("a query while 1,000 wrong passwords/s come for one account", "ms", percentile(noisy, 0.5), percentile(quiet, 0.5), 1.1, note)}, nil
}

func mean(of []float64) float64 {
	sum := 0.0
	for _, v := range of {
		sum += v
	}
	return sum / float64(len(of))
}

// flood sends a thousand requests a second until the function that it gives is called, which tells how
// many a second it sent.
func (s *server) flood(ctx context.Context, guess bool) (stop func() float64) {
	ctx, cancel := context.WithCancel(ctx)
	limiter := rate.NewLimiter(1000, 20)
	var sent atomic.Int64
	var work sync.WaitGroup
	stranger := &server{addr: s.addr, http: s.http}
	began := time.Now()
	for range 8 {
		work.Go(func() {
			for limiter.Wait(ctx) == nil {
				r, err := stranger.request(ctx, http.MethodPost, "/auth/token", map[string]string{"email": "victim@example.com", "password": "a guess"})
				if !guess {
					r, err = stranger.request(ctx, http.MethodGet, "/livez", nil)
				}
				if err != nil {
					return
				}
				answer, err := s.http.Do(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				sent.Add(1)
			}
		})
	}
	return func() float64 {
		took := time.Since(began).Seconds()
		cancel()
		work.Wait()
		return float64(sent.Load()) / took
	}
}
