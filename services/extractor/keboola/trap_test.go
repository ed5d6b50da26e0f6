package keboola

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/extractor/keboola/keboolatest"
)

const orders = "in.c-crm.orders"

func TestTrap_K1_SlicesHaveNoHeaderAndNoOrder(t *testing.T) {
	t.Parallel()
	for _, cfg := range []keboolatest.Config{{SliceRows: 7}, {}, {Unsliced: true}} {
		h := newHouse(t, cfg)
		// A row that reads like the names of the columns is a row of a slice.
		rows := [][]*string{keboolatest.Row("id", "name")}
		for i := range 99 {
			rows = append(rows, keboolatest.Row(fmt.Sprint(i), "x"))
		}
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name"}}, rows...)
		h.project.Put(keboolatest.Table{ID: "in.c-crm.empty", Columns: []string{"id", "name"}})
		h.register("orders", "", nil, "")
		h.register("empty", "", nil, "")
		h.want(extract.OutcomeUpdated)
		h.holds("orders", "SELECT count(*) AS n, count(DISTINCT id) AS ids, count(*) FILTER (id = 'id') AS names FROM t", `[{"n":100,"ids":100,"names":1}]`)
		h.holds("empty", "SELECT count(*) AS n FROM t", `[{"n":0}]`)
	}
}

func TestTrap_K2_TypesComeFromMetadata(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	columns := []string{"i", "f", "d", "b", "day", "ts", "tz", "s", "other"}
	h.project.Put(keboolatest.Table{ID: orders, Columns: columns, Metadata: map[string][]keboolatest.Metadata{
		"i":     {keboolatest.BaseType("keboola.snowflake-transformation", "STRING"), keboolatest.BaseType("user", "INTEGER")},
		"f":     {keboolatest.BaseType("ai-metadata-enrichment", "FLOAT"), {Provider: "ai-metadata-enrichment", Key: keyType, Value: "VARCHAR"}},
		"d":     {keboolatest.BaseType("storage", "NUMERIC"), {Provider: "storage", Key: keyType, Value: "NUMBER"}, {Provider: "storage", Key: keyLength, Value: "12,2"}},
		"b":     {keboolatest.BaseType("user", "BOOLEAN")},
		"day":   {keboolatest.BaseType("user", "DATE")},
		"ts":    {keboolatest.BaseType("user", "TIMESTAMP")},
		"tz":    {keboolatest.BaseType("user", "TIMESTAMP"), {Provider: "user", Key: keyType, Value: "TIMESTAMP_TZ"}},
		"other": {keboolatest.BaseType("somebody.else", "INTEGER")},
	}},
		keboolatest.Row("9007199254740993", "1.5", "10.10", "true", "2024-02-29", "2024-02-29 10:00:00 +0200", "2024-02-29 10:00:00.000 +0200", "007", "1"),
		keboolatest.Row("", "", "", "", "", "", "", "", ""),
		[]*string{nil, nil, nil, nil, nil, nil, nil, nil, nil},
		keboolatest.Row("-1", "1e3", "-0.01", "0", "1999-12-31", "2024-02-29 10:00:00", "2024-02-29T10:00:00Z", "x", "y"),
	)
	h.register("orders", "", nil, "")
	h.want(extract.OutcomeUpdated)
	var types []string
	for _, c := range h.table("orders").Columns {
		types = append(types, c.Type)
	}
	if got, want := strings.Join(types, ", "), "BIGINT, DOUBLE, DECIMAL(12,2), BOOLEAN, DATE, TIMESTAMP, TIMESTAMP WITH TIME ZONE, VARCHAR, VARCHAR"; got != want {
		t.Errorf("types are %s, want %s", got, want)
	}
	h.holds("orders", "SELECT i::VARCHAR AS i, f, d::VARCHAR AS d, b, day::VARCHAR AS day, ts::VARCHAR AS ts, epoch(tz)::BIGINT AS tz, s, other FROM t ORDER BY i NULLS LAST, s", `[
		{"i":"-1","f":1000,"d":"-0.01","b":false,"day":"1999-12-31","ts":"2024-02-29 10:00:00","tz":1709200800,"s":"x","other":"y"},
		{"i":"9007199254740993","f":1.5,"d":"10.10","b":true,"day":"2024-02-29","ts":"2024-02-29 08:00:00","tz":1709193600,"s":"007","other":"1"},
		{"i":null,"f":null,"d":null,"b":null,"day":null,"ts":null,"tz":null,"s":"","other":""},
		{"i":null,"f":null,"d":null,"b":null,"day":null,"ts":null,"tz":null,"s":null,"other":null}]`)
}

func TestTrap_K2_ValuesThatAreNotOfTheirTypeAreCounted(t *testing.T) {
	t.Parallel()
	for _, key := range [][]string{nil, {"id"}} {
		h := newHouse(t, keboolatest.Config{SliceRows: 10})
		rows := [][]*string{}
		for i := range 50 {
			rows = append(rows, keboolatest.Row(fmt.Sprint(i), "1", "2024-01-01"))
		}
		rows[3][1], rows[7][1], rows[9][1], rows[9][2], rows[11][1], rows[12][1] = keboolatest.Text("none"), keboolatest.Text("none"), keboolatest.Text("1.5"), keboolatest.Text("soon"), keboolatest.Text("2.0"), nil
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "n", "day"}, PrimaryKey: key, Metadata: typed("id", "INTEGER", "n", "INTEGER", "day", "DATE")}, rows...)
		h.register("orders", "", key, "")
		o := h.want(extract.OutcomeUpdated)
		if o.GetRejectedRows() != 3 {
			t.Errorf("%d rows have such a value, want 3", o.GetRejectedRows())
		}
		h.holds("orders", "SELECT id, n, day::VARCHAR AS day FROM t WHERE id IN (3, 9, 11, 12) ORDER BY id", `[
			{"id":3,"n":null,"day":"2024-01-01"},{"id":9,"n":null,"day":null},{"id":11,"n":2,"day":"2024-01-01"},{"id":12,"n":null,"day":"2024-01-01"}]`)
		h.holds("orders__rejects", "SELECT * FROM t ORDER BY ALL", `[
			{"column_name":"day","column_type":"DATE","value":"soon","rows":1},
			{"column_name":"n","column_type":"BIGINT","value":"1.5","rows":1},
			{"column_name":"n","column_type":"BIGINT","value":"none","rows":2}]`)
		// Mended upstream, the companion goes.
		for _, r := range rows {
			r[1], r[2] = keboolatest.Text("1"), keboolatest.Text("2024-01-01")
		}
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "n", "day"}, PrimaryKey: key, Metadata: typed("id", "INTEGER", "n", "INTEGER", "day", "DATE")}, rows...)
		if o := h.want(extract.OutcomeUpdated); o.GetRejectedRows() != 0 {
			t.Errorf("%d rows", o.GetRejectedRows())
		}
	}
}

func TestTrap_K3_EveryCloud(t *testing.T) {
	t.Parallel()
	for _, cloud := range []string{keboolatest.AWS, keboolatest.Azure, keboolatest.GCP} {
		h := newHouse(t, keboolatest.Config{Cloud: cloud, SliceRows: 2})
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id"}}, keboolatest.Row("1"), keboolatest.Row("2"), keboolatest.Row("3"))
		h.register("orders", "", nil, "")
		h.want(extract.OutcomeUpdated)
		h.holds("orders", "SELECT count(*) AS n FROM t", `[{"n":3}]`)
	}
}

func TestTrap_K4_FiltersAndColumns(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "secret", "status"}}, keboolatest.Row("1", "x", "paid"), keboolatest.Row("2", "y", "open"), keboolatest.Row("3", "z", "void"))
	h.register("orders", "", nil, `{"columns": ["status", "id"], "where": [{"column": "status", "values": ["paid", "open"]}, {"column": "id", "operator": "gt", "values": ["1"]}]}`)
	h.want(extract.OutcomeUpdated)
	h.holds("orders", "SELECT * FROM t", `[{"status":"open","id":"2"}]`)
	form := h.project.Requests(keboolatest.RouteExport)[0].Form
	if got := fmt.Sprint(form["whereFilters[0][values][1]"], form["whereFilters[1][operator]"], form["columns[0]"]); got != "[open] [gt] [status]" {
		t.Errorf("the form is %v", form)
	}
	for options, want := range map[string]string{
		`{"columns": ["nothing"]}`:                                           "no column",
		`{"where": [{"column": "id"}]}`:                                      "no values",
		`{"where": [{"column": "id", "operator": "like", "values": ["1"]}]}`: "operator must be",
		`{"wher": []}`:          "cannot be used",
		`{"format": "feather"}`: "csv or parquet",
	} {
		h.registry[0].OptionsJson = options
		if o := h.want(extract.OutcomeFailed); !strings.Contains(o.GetError(), want) || o.GetErrorKind() != string(fault.Invalid) {
			t.Errorf("%s: %v", options, o)
		}
	}
	h.holds("orders", "SELECT * FROM t", `[{"status":"open","id":"2"}]`)
}

func TestTrap_K5_BucketsHaveAStage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	table := func(id string) {
		h.project.Put(keboolatest.Table{ID: id, Columns: []string{"id"}}, keboolatest.Row(id))
	}
	table("in.c-crm.orders")
	table("out.c-crm.orders")
	table("out.c-crm.sums")
	table("sys.c-x.t")
	for name, at := range map[string][2]string{
		"a": {"in.c-crm", "orders"}, "b": {"out.c-crm", "orders"}, "old": {"c-crm", "sums"}, "whole": {"", "sys.c-x.t"}, "twice": {"c-crm", "orders"}, "none": {"c-crm", "nothing"}, "without": {"", "orders"},
	} {
		h.register(name, "", nil, "")
		r := h.registry[len(h.registry)-1]
		r.Bucket, r.SourceTable = at[0], at[1]
	}
	outcomes := h.run()
	for name, want := range map[string]string{"a": "in.c-crm.orders", "b": "out.c-crm.orders", "old": "out.c-crm.sums", "whole": "sys.c-x.t"} {
		if outcomes[name].GetOutcome() != extract.OutcomeUpdated {
			t.Errorf("%s: %v", name, outcomes[name])
			continue
		}
		h.holds(name, "SELECT * FROM t", `[{"id":"`+want+`"}]`)
	}
	for name, kind := range map[string]fault.Kind{"twice": fault.Invalid, "none": fault.NotFound, "without": fault.Invalid} {
		if outcomes[name].GetErrorKind() != string(kind) {
			t.Errorf("%s: %v", name, outcomes[name])
		}
	}
}

func TestTrap_K6_AJobThatDoesNotEndKeepsWhatStands(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	for _, name := range []string{"orders", "other"} {
		h.project.Put(keboolatest.Table{ID: "in.c-crm." + name, Columns: []string{"id"}}, keboolatest.Row("1"))
		h.register(name, "", nil, "")
	}
	h.run()
	for _, name := range []string{"orders", "other"} {
		h.project.Put(keboolatest.Table{ID: "in.c-crm." + name, Columns: []string{"id"}}, keboolatest.Row("2"))
	}
	h.project.PlanJobs(keboolatest.JobPlan{Table: orders, Polls: -1})
	outcomes := h.run()
	if o := outcomes["orders"]; o.GetOutcome() != extract.OutcomeFailed || o.GetErrorKind() != string(fault.Unavailable) || !strings.Contains(o.GetError(), "did not end within") {
		t.Errorf("%v", o)
	}
	h.holds("orders", "SELECT * FROM t", `[{"id":"1"}]`)
	h.holds("other", "SELECT * FROM t", `[{"id":"2"}]`)
}

func TestTrap_K7_NewlinesQuotesAndEmptyTexts(t *testing.T) {
	t.Parallel()
	for _, cfg := range []keboolatest.Config{{}, {Unsliced: true}} {
		h := newHouse(t, cfg)
		odd := "a \"quoted\"\r\nbroken,\n\nline; ünïcode\t\\N"
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "text"}},
			keboolatest.Row("1", odd), keboolatest.Row("2", ""), []*string{keboolatest.Text("3"), nil}, keboolatest.Row("4", "\""), keboolatest.Row("5", "NULL"), keboolatest.Row("6", strings.Repeat("long\n", 600_000)))
		h.register("orders", "", nil, "")
		h.want(extract.OutcomeUpdated)
		h.holds("orders", "SELECT id, CASE WHEN id = '6' THEN strlen(text)::VARCHAR ELSE text END AS text FROM t ORDER BY id", `[
			{"id":"1","text":"a \"quoted\"\r\nbroken,\n\nline; ünïcode\t\\N"},{"id":"2","text":""},{"id":"3","text":null},{"id":"4","text":"\""},{"id":"5","text":"NULL"},{"id":"6","text":"3000000"}]`)
	}
}

func TestFilesThatAreDamagedKeepWhatStands(t *testing.T) {
	t.Parallel()
	h := newHouse(t, keboolatest.Config{})
	h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name"}}, keboolatest.Row("1", "a"))
	h.register("orders", "", nil, "")
	h.want(extract.OutcomeUpdated)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(strings.Repeat("\"1\",\"a\"\n", 10_000)))
	_ = z.Close()
	for name, body := range map[string]string{
		"cut in the middle": packed.String()[:packed.Len()/2], "cut before its end": packed.String()[:packed.Len()-8], "too few": "\"1\"\n", "too many": "\"secret\",\"b\",\"c\"\n", "open quote": "\"1\",\"a\n", "not UTF-8": "\"1\",\"a\xff\"\n", "cut gzip": "\x1f\x8b\x08\x00\x00",
	} {
		h.project.Touch(orders)
		h.project.Put(keboolatest.Table{ID: orders, Columns: []string{"id", "name"}}, keboolatest.Row("2", "b"))
		h.project.Fail(keboolatest.Fault{Route: keboolatest.RouteObject, Status: 200, Body: body})
		o := h.want(extract.OutcomeFailed)
		h.project.Mend()
		if o.GetErrorKind() != string(fault.Permanent) && o.GetErrorKind() != string(fault.Unavailable) || strings.Contains(o.GetError(), "secret") || strings.Contains(o.GetError(), h.dir) {
			t.Errorf("%s: %v", name, o)
		}
		h.holds("orders", "SELECT * FROM t", `[{"id":"1","name":"a"}]`)
	}
}

func TestAFullDiskSaysSo(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "slice"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"\"1\"\n", "\x1f\x8b"} {
		s := &slice{load: &load{options: tableOptions{Format: formatCSV}}, file: f}
		_, err := s.Write([]byte(strings.Repeat(content, 1_000_000)))
		if _, lost := s.close(err); !fault.Is(err, fault.Unavailable) && lost == nil {
			t.Errorf("%q: %v, %v", content, err, lost)
		}
	}
}
