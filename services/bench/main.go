// Command bench measures Agnes against the goals of the project: every row is a ratio to something that
// runs beside it in the same run, so that it holds on any machine. It prints a table and writes
// bench.json. Run it with `make bench`, or a part with `make bench BENCH=<regexp>`.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the table and of bench.json.
type row struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Ours and Beside are medians in Unit; Beside is 0 where the goal is about ours alone.
	Ours   float64 `json:"ours"`
	Beside float64 `json:"beside"`
	// Ratio is Ours ÷ Beside, or Ours where there is nothing beside.
	Ratio float64 `json:"ratio"`
	Goal  string  `json:"goal"`
	Met   bool    `json:"met"`
	// Note gives the sizes and the peer.
	Note string `json:"note"`
}

// atLeast and atMost make a row whose goal bounds the ratio.
func atLeast(name, unit string, ours, beside, goal float64, note string) row {
	r := row{Name: name, Unit: unit, Ours: ours, Beside: beside, Ratio: ours / beside, Goal: fmt.Sprintf("≥ %g ×", goal), Note: note}
	r.Met = r.Ratio >= goal
	return r
}

func atMost(name, unit string, ours, beside, goal float64, note string) row {
	r := row{Name: name, Unit: unit, Ours: ours, Beside: beside, Ratio: ours / beside, Goal: fmt.Sprintf("≤ %g ×", goal), Note: note}
	r.Met = r.Ratio <= goal
	return r
}

// below makes a row whose goal is a number in the row's unit.
func below(name, unit string, ours, goal float64, note string) row {
	return row{Name: name, Unit: unit, Ours: ours, Ratio: ours, Goal: fmt.Sprintf("< %g %s", goal, unit), Met: ours < goal, Note: note}
}

// bench is one measurement; it may give several rows.
type bench struct {
	name string
	run  func(ctx context.Context, w *workplace) ([]row, error)
}

func benches() []bench {
	return []bench{
		{"main/csv", benchCSV},
		{"main/rebuild", benchRebuild},
		{"main/query", benchQuery},
		{"main/results", benchResults},
		{"main/fairness", benchFairness},
		{"main/download", benchDownload},
		{"main/manifest", benchManifest},
		{"main/idle", benchIdle},
		{"access/sessions", benchSessions},
		{"access/door", benchDoor},
		{"access/flood", benchFlood},
		{"access/audit", benchAudit},
		{"jira/live", benchJira},
		{"jira/intake", benchJiraIntake},
		{"jira/rest", benchJiraRest},
		{"warehouses/keboola", benchKeboola},
		{"warehouses/bigquery", benchBigQuery},
	}
}

func main() {
	only := flag.String("run", ".", "regular expression: which benchmarks")
	out := flag.String("out", "build/bench.json", "where the results are written")
	flag.Parse()
	if err := run(*only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only, out string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	w, err := newWorkplace(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	var rows []row
	var failed []string
	for _, b := range benches() {
		if !match.MatchString(b.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "%s …", b.name)
		got, err := b.run(ctx, w)
		if err != nil {
			fmt.Fprintf(os.Stderr, " failed: %v\n", err)
			failed = append(failed, b.name)
			continue
		}
		fmt.Fprintf(os.Stderr, " %s\n", time.Since(began).Round(time.Millisecond))
		rows = append(rows, got...)
	}
	printTable(rows)
	raw, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("could not measure %s", strings.Join(failed, ", "))
	}
	return nil
}

func printTable(rows []row) {
	t := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "what\tunit\tours\tbeside\tratio\tgoal\tmet\tsizes")
	for _, r := range rows {
		beside, met := "-", "yes"
		if r.Beside != 0 {
			beside = number(r.Beside)
		}
		if !r.Met {
			met = "NO"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Unit, number(r.Ours), beside, number(r.Ratio), r.Goal, met, r.Note)
	}
	_ = t.Flush()
}

func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
