package demodata_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/standalone/internal/demodata"
)

type row map[string]string

func (r row) at(t *testing.T, column string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", r[column])
	if err != nil {
		t.Fatalf("%s: %v in %v", column, err, r)
	}
	return at
}

func write(t *testing.T, size string, seed uint64) string {
	t.Helper()
	s, err := demodata.ParseSize(size)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := demodata.Write(t.Context(), dir, s, seed); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, dir, table string) []row {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, table+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]row, 0, len(records))
	for _, record := range records[1:] {
		r := row{}
		for i, column := range records[0] {
			r[column] = record[i]
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		t.Fatalf("%s is empty", table)
	}
	return rows
}

func byKey(t *testing.T, rows []row, key string) map[string]row {
	t.Helper()
	out := map[string]row{}
	for _, r := range rows {
		if _, twice := out[r[key]]; twice || r[key] == "" {
			t.Fatalf("%s %q is empty or not unique", key, r[key])
		}
		out[r[key]] = r
	}
	return out
}

func TestEqualSeedsGiveEqualBytes(t *testing.T) {
	t.Parallel()
	one, same, other := write(t, "xs", 7), write(t, "xs", 7), write(t, "xs", 8)
	differs := false
	for _, table := range demodata.Tables() {
		read := func(dir string) []byte {
			b, err := os.ReadFile(filepath.Join(dir, table+".csv"))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if !bytes.Equal(read(one), read(same)) {
			t.Errorf("%s differs between two runs with one seed", table)
		}
		differs = differs || !bytes.Equal(read(one), read(other))
	}
	if !differs {
		t.Error("another seed gives the same data")
	}
}

func TestCausesComeBeforeTheirEffects(t *testing.T) {
	t.Parallel()
	dir := write(t, "s", 42)
	customers := byKey(t, load(t, dir, "customers"), "customer_id")
	sessions := byKey(t, load(t, dir, "web_sessions"), "session_id")
	leads := byKey(t, load(t, dir, "web_leads"), "lead_id")
	orders := byKey(t, load(t, dir, "orders"), "order_id")
	products := byKey(t, load(t, dir, "products"), "product_id")
	campaigns := byKey(t, load(t, dir, "campaigns"), "campaign_id")

	before := func(what string, cause, effect time.Time) {
		t.Helper()
		if !cause.Before(effect) {
			t.Fatalf("%s: %s is not before %s", what, cause, effect)
		}
	}
	for _, s := range sessions {
		if s["customer_id"] != "" {
			before("registration and session", customers[s["customer_id"]].at(t, "registered_at"), s.at(t, "started_at"))
		}
		if s["campaign_id"] != "" && campaigns[s["campaign_id"]]["channel"] != s["channel"] {
			t.Fatalf("session %v came through another channel than its campaign", s)
		}
	}
	for _, l := range leads {
		before("session and lead", sessions[l["session_id"]].at(t, "started_at"), l.at(t, "created_at"))
	}
	for _, c := range customers {
		if c["lead_id"] != "" {
			before("lead and registration", leads[c["lead_id"]].at(t, "created_at"), c.at(t, "registered_at"))
		}
	}
	for _, o := range orders {
		if sessions[o["session_id"]]["customer_id"] != o["customer_id"] {
			t.Fatalf("order %v is not of its session's customer", o)
		}
		before("session and order", sessions[o["session_id"]].at(t, "started_at"), o.at(t, "ordered_at"))
	}
	settled := map[string]time.Time{}
	for _, p := range load(t, dir, "payments") {
		before("order and payment", orders[p["order_id"]].at(t, "ordered_at"), p.at(t, "paid_at"))
		if p["amount_eur"] != orders[p["order_id"]]["total_eur"] {
			t.Fatalf("payment %v is not the order's total", p)
		}
		if p["status"] == "settled" {
			settled[p["order_id"]] = p.at(t, "paid_at")
		}
	}
	for _, ticket := range load(t, dir, "support_tickets") {
		before("payment and ticket", settled[ticket["order_id"]], ticket.at(t, "opened_at"))
	}
	for _, i := range load(t, dir, "order_items") {
		if _, ok := products[i["product_id"]]; !ok {
			t.Fatalf("item %v of an unknown product", i)
		}
	}
}

func TestOrdersFollowSeasonsAndClicksFollowTheChannel(t *testing.T) {
	t.Parallel()
	dir := write(t, "m", 1)
	perMonth := map[time.Month]int{}
	for _, o := range load(t, dir, "orders") {
		if at := o.at(t, "ordered_at"); at.Year() == 2025 {
			perMonth[at.Month()]++
		}
	}
	if perMonth[time.December] < perMonth[time.July]*3/2 {
		t.Errorf("December has %d orders, July %d: no season", perMonth[time.December], perMonth[time.July])
	}
	clicks, all, nulls := map[string]int{}, map[string]int{}, 0
	for _, s := range load(t, dir, "web_sessions") {
		all[s["channel"]]++
		if s["clicked"] == "true" {
			clicks[s["channel"]]++
		}
		if s["customer_id"] == "" {
			nulls++
		}
	}
	rate := func(c string) float64 { return float64(clicks[c]) / float64(all[c]) }
	if rate("social") > 0.2 || rate("direct") < 0.45 {
		t.Errorf("click-through: social %.2f, direct %.2f", rate("social"), rate("direct"))
	}
	if nulls == 0 {
		t.Error("no session of a stranger")
	}
}

func TestSizesGrowToTwoMillionRows(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes two million rows")
	}
	size, err := demodata.ParseSize("l")
	if err != nil {
		t.Fatal(err)
	}
	got, err := demodata.Write(t.Context(), t.TempDir(), size, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got.Total < 2_000_000 || got.Total > 2_300_000 {
		t.Errorf("size l has %s rows: %v", strconv.FormatInt(got.Total, 10), got.Rows)
	}
}

func TestCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	size, _ := demodata.ParseSize("xs")
	if _, err := demodata.Write(ctx, dir, size, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%d entries were left behind", len(left))
	}
}

func TestUnknownSizeNamesTheChoices(t *testing.T) {
	t.Parallel()
	if _, err := demodata.ParseSize("xxl"); err == nil || err.Error() != `unknown size "xxl": choose one of xs, s, m, l` {
		t.Errorf("got %v", err)
	}
}
