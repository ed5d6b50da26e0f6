// Package demodata writes a causally consistent shop as CSV files: customers register before they
// come back, sessions come before their orders, orders before their payments, payments before the
// tickets about them. Orders follow seasons and weekdays, clicks follow the channel. Equal sizes and
// seeds give equal bytes, on every machine and in every year.
package demodata

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Size is how much is written.
type Size struct {
	Name string
	// sessionsPerDay is the mean number of web sessions on an ordinary day; everything else follows.
	sessionsPerDay float64
	// products and campaigns grow slower than the traffic.
	products  int
	campaigns int
}

// Sizes are the choices, small to large: about 2, 20 and 200 thousand and 2 million rows.
func Sizes() []Size {
	return []Size{
		{Name: "xs", sessionsPerDay: 1.75, products: 24, campaigns: 6},
		{Name: "s", sessionsPerDay: 17.5, products: 60, campaigns: 16},
		{Name: "m", sessionsPerDay: 175, products: 200, campaigns: 40},
		{Name: "l", sessionsPerDay: 1790, products: 600, campaigns: 90},
	}
}

// ParseSize finds a size by name; the error names the choices.
func ParseSize(name string) (Size, error) {
	var names []string
	for _, s := range Sizes() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Size{}, fmt.Errorf("unknown size %q: choose one of %s", name, strings.Join(names, ", "))
}

// Tables are the files that Write makes, without their ending, in the order in which a reader meets them.
func Tables() []string {
	return []string{
		"customers", "products", "campaigns", "web_sessions", "web_leads",
		"orders", "order_items", "payments", "support_tickets",
	}
}

// The time that the data covers: two whole years, fixed so that the bytes never depend on today.
var (
	firstDay = time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)
	lastDay  = time.Date(2025, time.December, 31, 0, 0, 0, 0, time.UTC)
)

// Summary is what was written.
type Summary struct {
	Rows  map[string]int64 `json:"rows"`
	Total int64            `json:"total"`
	Bytes int64            `json:"bytes"`
}

// Write makes dir and writes one CSV per table into it. Each file is written aside and renamed, so
// that a reader never sees half a table; a cancelled ctx leaves the earlier files as they were.
func Write(ctx context.Context, dir string, size Size, seed uint64) (Summary, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Summary{}, fmt.Errorf("make the folder for the demo data: %w", err)
	}
	scratch, err := os.MkdirTemp(dir, ".writing-")
	if err != nil {
		return Summary{}, fmt.Errorf("make a scratch folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(scratch) }()

	files, err := openFiles(scratch)
	if err != nil {
		return Summary{}, err
	}
	s := newShop(size, seed, files)
	err = s.live(ctx)
	if closeErr := files.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Summary{}, err
	}
	summary := Summary{Rows: map[string]int64{}}
	for _, name := range Tables() {
		f := files[name]
		summary.Rows[name] = f.rows
		summary.Total += f.rows
		summary.Bytes += f.bytes
		if err := os.Rename(f.path, filepath.Join(dir, name+".csv")); err != nil {
			return Summary{}, fmt.Errorf("put %s.csv in place: %w", name, err)
		}
	}
	return summary, nil
}
