package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// auditFlags say which records to search for.
type auditFlags struct {
	client.AuditFilter
	since, from, until string
	all, follow        bool
}

func (f *auditFlags) define(flags *pflag.FlagSet) {
	flags.StringVar(&f.since, "since", "", "only the last so long, such as 24h or 7d")
	flags.StringVar(&f.from, "from", "", "only from this day or moment on, such as 2026-01-31 or 2026-01-31T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "only before this day or moment")
	flags.StringVar(&f.Actor, "actor", "", "only what this user did: an e-mail address or an id")
	flags.StringVar(&f.Action, "action", "", "only this action, such as user.create, or user.* for all of a noun")
	flags.StringVar(&f.Resource, "resource", "", "only what was done to this, such as table:orders")
	flags.StringVar(&f.Result, "result", "", "only ok, refused or failed")
	flags.StringVar(&f.IP, "ip", "", "only from this address")
	flags.StringVar(&f.RequestID, "request-id", "", "only this request")
	flags.StringVar(&f.Text, "text", "", "only those with this anywhere in resource or parameters")
}

// filter reads the moments.
func (f *auditFlags) filter(now time.Time) (client.AuditFilter, error) {
	var err error
	if f.since != "" {
		if f.from != "" {
			return f.AuditFilter, usage("use either --since or --from")
		}
		d, err := span(f.since)
		if err != nil {
			return f.AuditFilter, err
		}
		f.From = now.Add(-d)
	}
	if f.from != "" {
		if f.From, err = moment("--from", f.from); err != nil {
			return f.AuditFilter, err
		}
	}
	if f.until != "" {
		f.Until, err = moment("--until", f.until)
	}
	return f.AuditFilter, err
}

// span reads a duration that may be in days: "7d".
func span(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, usage("--since is a duration such as 90m, 24h or 7d; %q is none", text)
	}
	return d, nil
}

func moment(flag, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, usage("%s is a day or a moment such as 2026-01-31 or 2026-01-31T12:00:00Z; %q is none", flag, text)
}

// auditLimit is how many records a search shows that was not told otherwise.
const auditLimit = 50

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := group("audit", "Search, export and verify the record of what was done", "", a.auditExport(), a.auditVerify())
	cmd.Long = `Search the record of what was done: the newest first, 50 unless told otherwise.
With --follow, show what is recorded from now on, until interrupted.`
	cmd.Example = `  da admin audit --since 24h --action data.query --actor ann@example.com
  da admin audit --result refused --all
  da admin audit --follow --json`
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := f.filter(time.Now())
		switch {
		case err != nil:
			return err
		case f.Limit < 0:
			return usage("--limit is a number of records")
		case f.follow && (f.all || f.until != ""):
			return usage("--follow has no end: leave out --all and --until")
		}
		return a.asAdmin(cmd.Context(), func(c *client.Client) error {
			if f.follow {
				return a.followAudit(cmd.Context(), c, filter)
			}
			return a.searchAudit(cmd.Context(), c, filter, f.all)
		})
	}
	f.define(cmd.Flags())
	cmd.Flags().IntVar(&f.Limit, "limit", auditLimit, "how many records")
	cmd.Flags().BoolVar(&f.all, "all", false, "all records that match")
	cmd.Flags().BoolVar(&f.follow, "follow", false, "show what is recorded from now on")
	return cmd
}

// auditPageSize is how many records are asked for at a time.
const auditPageSize = 100

func (a *app) searchAudit(ctx context.Context, c *client.Client, f client.AuditFilter, all bool) error {
	most := f.Limit
	if most == 0 {
		most = auditLimit
	}
	if f.Limit = min(most, auditPageSize); all {
		f.Limit = auditPageSize
	}
	found, more := []client.AuditRecord{}, false
	for r, err := range c.Audit(ctx, f) {
		if err != nil {
			return err
		}
		if more = !all && len(found) == most; more {
			break
		}
		found = append(found, r)
	}
	return a.give(found, func() {
		t := show.Table{Columns: []string{"seq", "when", "action", "who", "resource", "result", "from"}, Right: []bool{true}}
		for _, r := range found {
			t.Rows = append(t.Rows, cells(strconv.FormatInt(r.Seq, 10), r.Time.Local().Format(time.DateTime), r.Action, whoDid(r), r.Resource, r.Result, r.IP))
		}
		a.table(t)
		if more {
			a.note("There are more: --all shows them, --limit how many; --json has every field.")
		}
	})
}

func whoDid(r client.AuditRecord) string {
	switch {
	case r.ActorEmail != "":
		return r.ActorEmail
	case r.Actor != "":
		return r.Actor
	}
	return r.Service
}

// followEvery is how often the record is looked at while it is followed.
const followEvery = 2 * time.Second

// followAudit shows records as they come, as lines (of JSON with --json).
func (a *app) followAudit(ctx context.Context, c *client.Client, f client.AuditFilter) error {
	newest, _, err := c.AuditPage(ctx, client.AuditFilter{Limit: 1})
	if err != nil {
		return err
	}
	// An empty record has no sequence number to go on from; 0 means no bound.
	began := time.Now()
	if len(newest) > 0 {
		f.After = newest[0].Seq
	} else {
		f.From = began
	}
	f.Limit = auditPageSize
	a.note("Following the record; Ctrl-C ends it.")
	own := map[int64]bool{} // where this went on from: each look is recorded, too, and is no news
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		own[f.After] = true
		records, more, err := c.AuditPage(ctx, f)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		slices.SortFunc(records, func(x, y client.AuditRecord) int { return int(x.Seq - y.Seq) })
		for _, r := range records {
			if after, isLook := lookAfter(r); !isLook || !own[after] {
				if err := a.auditLine(r); err != nil {
					return err
				}
			}
			f.After = max(f.After, r.Seq)
		}
		if more && len(records) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// lookAfter tells what a record of a look at the record went on from.
func lookAfter(r client.AuditRecord) (after int64, isLook bool) {
	n, isLook := r.Params["after"].(float64)
	return int64(n), isLook && r.Action == "audit.read"
}

func (a *app) auditLine(r client.AuditRecord) error {
	if a.json {
		raw, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		a.print("%s", raw)
		return nil
	}
	a.print("%d  %s  %-24s %-30s %-30s %s", r.Seq, r.Time.Local().Format(time.DateTime), show.OneLine(r.Action), show.OneLine(whoDid(r)), show.OneLine(r.Resource), show.OneLine(r.Result))
	return nil
}

func (a *app) auditExport() *cobra.Command {
	var f auditFlags
	var format, output string
	cmd := &cobra.Command{
		Use: "export", Short: "Write all records that match, oldest first", Args: noArgs,
		Example: "  da admin audit export --since 30d --format csv -o audit.csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			media := map[string]string{formatCSV: client.TypeCSV, formatNDJSON: client.TypeNDJSON}[format]
			switch {
			case media == "":
				return usage("--format is csv or ndjson, not %q", format)
			case a.json && cmd.Flags().Changed("format") && format != formatNDJSON:
				return usage("--json gives ndjson: leave out one of the two")
			case a.json:
				media = client.TypeNDJSON
			}
			return a.asAdmin(cmd.Context(), func(c *client.Client) error {
				stream, err := c.ExportAudit(cmd.Context(), filter, media)
				if err != nil {
					return err
				}
				defer stream.Close()
				return a.deliver(output, func(_ string, w io.Writer) error {
					_, err := io.Copy(w, stream)
					return err
				}, false)
			})
		},
	}
	f.define(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", formatNDJSON, "csv or ndjson")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this file, whole or not at all")
	return cmd
}
