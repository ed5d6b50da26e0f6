package csv

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// grow appends to a file until the returned function is called.
func grow(t *testing.T, path string) (stop func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			for _, half := range []string{fmt.Sprintf("%d,", i), "x\n"} {
				if _, err := f.WriteString(half); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFileThatGrowsWhileItIsRead(t *testing.T) {
	t.Parallel()
	for _, floor := range []int64{directFloor, 0} {
		t.Run(fmt.Sprintf("floor %d", floor), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, `{}`)
			h.directFloor = floor
			h.put("t.csv", "a,b\n1,x\n")
			h.put("good.csv", "a\n1\n")
			h.run()
			h.put("t.csv", "a,b\n"+strings.Repeat("1,x\n", 50_000))
			h.put("good.csv", "a\n2\n")
			stop := grow(t, h.file("t.csv"))
			out := h.run()
			stop()
			// Half of a line may be read, or all of it: neither is published.
			if got := outcome(out["t"]); got != "failed unavailable: t.csv: the file changed while it was read: what was there before stays until it is at rest" {
				t.Error(got)
			}
			if _, rows := h.table("t"); len(rows) != 1 {
				t.Errorf("%d rows of the last good version", len(rows))
			}
			if got := outcome(out["good"]); got != "updated" {
				t.Error(got)
			}
			if got := outcome(h.run()["t"]); got != "updated" {
				t.Errorf("at rest: %s", got)
			}
		})
	}
}

func TestLargeFilesAreReadWhereTheyLie(t *testing.T) {
	t.Parallel()
	const rows = 400_000
	h := newHouse(t, `{}`)
	line := func(i int) string {
		return fmt.Sprintf("%d,2026-01-%02d,%d.25,\"a, b\",status_%d,some more text to fill the line\n", i, i%28+1, i%1000, i%5)
	}
	var b strings.Builder
	b.WriteString("id,day,amount,note,status,filler\n")
	for i := range rows {
		b.WriteString(line(i))
	}
	h.put("t.csv", b.String())
	h.put("late.csv", b.String()+"007,x,1e-07,,,\n")
	h.put("lines.csv", b.String()+strings.Repeat("1,2026-01-01,1.5,\"one\ntwo,3,\"\"4\"\"\n\",x,y\n", 100_000))
	h.put("bad.csv", b.String()+"1,2\n")
	h.put("mixed.csv", b.String()+"1,2026-01-01,1,,,\r\n")
	h.put("latin.csv", b.String()+"1,2026-01-01,1,\xe9,,\n")
	h.put("zeros.csv", b.String()+strings.Repeat("\x00", 1000))
	h.keys["mixed"] = []string{"id"}
	out := h.run()
	for name, want := range map[string]string{
		"t": "updated", "late": "updated", "lines": "updated", "mixed": "updated", "latin": "updated",
		"bad":   "failed invalid: bad.csv, line 400002: 2 values, but there are 6 columns",
		"zeros": "failed invalid: zeros.csv, line 400002: there is a NUL byte: the file is damaged, or not text",
	} {
		if got := outcome(out[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if columns, _ := h.columnsOf("t"); columns != "id BIGINT, day DATE, amount DOUBLE, note VARCHAR, status VARCHAR, filler VARCHAR" {
		t.Error(columns)
	}
	if columns, _ := h.columnsOf("late"); !strings.HasPrefix(columns, "id VARCHAR, day VARCHAR, amount DOUBLE") {
		t.Error(columns)
	}
	_, files := h.columnsOf("lines")
	sum := h.query("SELECT concat_ws(' ', count(*), sum(id), count(*) FILTER (note = 'one' || chr(10) || 'two,3,\"4\"' || chr(10)), sum(length(filler))) FROM read_parquet(" + lake.QuoteList(files) + ")")
	if want := fmt.Sprintf("%d %d %d %d", rows+100_000, rows*(rows-1)/2+100_000, 100_000, rows*31+100_000); sum[0] != want {
		t.Errorf("%s, want %s", sum[0], want)
	}
	_, files = h.columnsOf("latin")
	if got := h.query("SELECT note FROM read_parquet(" + lake.QuoteList(files) + ") WHERE note <> 'a, b'"); len(got) != 1 || got[0] != "é" {
		t.Errorf("%q", got)
	}
}

// columnsOf gives the columns of a table and its files.
func (h *house) columnsOf(name string) (columns string, files []string) {
	h.t.Helper()
	v, err := extract.OpenVersion(context.Background(), h.dir+"/data", "shop")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, t := range v.Tables {
		if t.Name == name {
			var list []string
			for _, c := range t.Columns {
				list = append(list, c.Name+" "+c.Type)
			}
			return strings.Join(list, ", "), t.Files
		}
	}
	return "", nil
}
