package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// unrecorded builds an agnes that records nothing, by a copy of one file in which Record returns at once.
func (w *workplace) unrecorded(ctx context.Context) (*workplace, error) {
	const file, signature = "api/internal/audit/recorder.go", "func (r *Recorder) Record(_ context.Context, m *agnesv1.AuditRecorded) error {\n"
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if strings.Count(string(source), signature) != 1 {
		return nil, fmt.Errorf("%s is not as this benchmark knows it: look for where it records", file)
	}
	original, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	other := &workplace{dir: filepath.Join(w.dir, "unrecorded"), bin: filepath.Join(w.dir, "unrecorded", "bin")}
	if err := os.MkdirAll(other.dir, 0o755); err != nil {
		return nil, err
	}
	changed := filepath.Join(other.dir, "recorder.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return nil, err
	}
	list := filepath.Join(other.dir, "overlay.json")
	err = errors.Join(
		os.WriteFile(changed, []byte(strings.Replace(string(source), signature, signature+"\tif r != nil {\n\t\treturn nil\n\t}\n", 1)), 0o600),
		os.WriteFile(list, overlay, 0o600))
	if err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-ldflags=-s -w", "-o", other.bin+"/", "./cmd/agnes")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build agnes without its record: %w", err)
	}
	return other, nil
}

// benchAudit asks two servers in turns, of which one records nothing.
func benchAudit(ctx context.Context, w *workplace) ([]row, error) {
	other, err := w.unrecorded(ctx)
	if err != nil {
		return nil, err
	}
	var servers []*server
	for _, place := range []*workplace{w, other} {
		s, err := eight(ctx, place, "audit", 100_000)
		if err != nil {
			return nil, err
		}
		defer s.stop()
		if err := s.rest(ctx); err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	// Turns differ by a tenth on a machine of two cores, so that it takes many of them to see a twentieth.
	const clients, turns, turn = 8, 60, 2 * time.Second
	const sql = "SELECT id % 10, count(*), sum(id) FROM files.million GROUP BY 1"
	var sums [2]float64
	var ratios []float64
	for n := range turns {
		var rates [2]float64
		for k := range servers {
			i := (n + k) % len(servers) // each is the first as often
			if rates[i], err = servers[i].throughput(ctx, sql, clients, turn); err != nil {
				return nil, err
			}
			sums[i] += rates[i] / turns
		}
		ratios = append(ratios, rates[0]/rates[1])
	}
	note := fmt.Sprintf("%d clients group 100,000 rows, each agnes has %d turns of %v; standard error of the ratio %.3f; the other is built without its record",
		clients, turns, turn, standardError(ratios))
	return []row{atLeast("queries while each is recorded", "1/s", sums[0], sums[1], 0.95, note)}, nil
}

// standardError is that of the mean.
func standardError(of []float64) float64 {
	n, mean, squares := float64(len(of)), 0.0, 0.0
	for _, v := range of {
		mean += v / n
	}
	for _, v := range of {
		squares += (v - mean) * (v - mean)
	}
	return math.Sqrt(squares / (n - 1) / n)
}

// throughput asks with several clients for as long, and gives the answers per second.
func (s *server) throughput(ctx context.Context, sql string, clients int, turn time.Duration) (float64, error) {
	var work sync.WaitGroup
	counts, failed := make([]int, clients), make([]error, clients)
	began := time.Now()
	for i := range clients {
		work.Go(func() {
			for time.Since(began) < turn && failed[i] == nil {
				failed[i] = s.query(ctx, sql, "application/json")
				counts[i]++
			}
		})
	}
	work.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(began).Seconds(), errors.Join(failed...)
}
