package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// registered reads the flags alias=SQL.
func (f *queryFlags) registered() (map[string]string, error) {
	for _, text := range f.registerBQ {
		alias, sql, ok := strings.Cut(text, "=")
		alias = strings.TrimSpace(alias)
		if !ok || alias == "" || strings.TrimSpace(sql) == "" {
			return nil, usage("--register-bq is alias=SQL, not %q", text)
		}
		if f.aliases == nil {
			f.aliases = map[string]string{}
		}
		if _, twice := f.aliases[alias]; twice {
			return nil, usage("the alias %s is registered twice", alias)
		}
		f.aliases[alias] = sql
	}
	if len(f.aliases) == 0 && (f.explain || f.yes || f.noSemiJoin) {
		return nil, usage("--explain, --yes and --no-semi-join are for queries with --register-bq")
	}
	if len(f.aliases) > 0 && f.write {
		return nil, usage("--write is for the local database alone: what is registered is read")
	}
	return f.aliases, nil
}

// agreeRemote has the server estimate what the registered queries may cost, and tells whether they may run.
func (a *app) agreeRemote(ctx context.Context, c *client.Client, q client.QueryRequest, f queryFlags) (bool, error) {
	if f.yes && !f.explain {
		return true, nil
	}
	parts, err := c.ExplainHybrid(ctx, q)
	if err != nil {
		return false, err
	}
	return a.agree(parts, f)
}

// agree shows what the registered queries may cost, and tells whether they may run: with --yes, or where somebody
// at the terminal says so.
func (a *app) agree(parts []client.HybridPart, f queryFlags) (bool, error) {
	if f.yes && !f.explain {
		return true, nil
	}
	if f.explain && f.format == formatJSON {
		raw, err := json.MarshalIndent(parts, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(a.Out, string(raw))
		}
		return false, err
	}
	to := a.Err
	if f.explain {
		to = a.Out
	}
	bytes, price := int64(0), 0.0
	for _, p := range parts {
		bytes, price = bytes+min(p.MaxBytes, math.MaxInt64-bytes), price+p.PriceUSD
		_, _ = fmt.Fprintf(to, "%s reads %s: at most %.1f MiB, USD %.4f\n", p.Alias, joined(p.Tables), float64(p.MaxBytes)/(1<<20), p.PriceUSD)
		tellSemiJoin(to, p.SemiJoin)
	}
	_, _ = fmt.Fprintf(to, "In all at most %.1f MiB, USD %.4f.\n", float64(bytes)/(1<<20), price)
	if f.explain {
		return false, nil
	}
	if _, terminal := isTerminal(a.In); !terminal || f.stdin {
		return false, usage("this query is paid for: add --yes where nobody can be asked, or --explain to see what it costs")
	}
	_, _ = fmt.Fprint(a.Err, "Run it? [y/N] ")
	line, err := a.readLine()
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	a.note("Nothing was run.")
	return false, nil
}

// tellSemiJoin says what is sent along with a registered query.
func tellSemiJoin(w io.Writer, j client.SemiJoin) {
	if len(j.Columns) > 0 {
		keys := "one of " + show.Count(int64(j.Keys)) + " keys"
		if j.Keys == 1 {
			keys = "the one key"
		}
		_, _ = fmt.Fprintf(w, "  only rows whose %s has %s of %s (--no-semi-join sends none)\n", joined(j.Columns), keys, joined(j.Tables))
	}
	if j.Why != "" {
		_, _ = fmt.Fprintf(w, "  all of its rows: %s\n", j.Why)
	}
}
