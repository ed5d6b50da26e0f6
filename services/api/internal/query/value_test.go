package query

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// TestTrap_E13_ValuesKeepTheirMeaning asks for one value at a time, in JSON and in CSV.
func TestTrap_E13_ValuesKeepTheirMeaning(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{}), smallScope(t)
	for _, c := range []struct{ sql, json, csv string }{
		{"NULL", "null", ""},
		{"NULL::VARCHAR", "null", ""},
		{"''", `""`, `""`},
		{"true", "true", "true"},
		{"127::TINYINT", "127", "127"},
		{"9007199254740991", "9007199254740991", "9007199254740991"},
		{"9007199254740992", `"9007199254740992"`, "9007199254740992"},
		{"-9223372036854775808", `"-9223372036854775808"`, "-9223372036854775808"},
		{"18446744073709551615::UBIGINT", `"18446744073709551615"`, "18446744073709551615"},
		{"42::UBIGINT", "42", "42"},
		{"42::HUGEINT", "42", "42"},
		{"-170141183460469231731687303715884105727::HUGEINT", `"-170141183460469231731687303715884105727"`, "-170141183460469231731687303715884105727"},
		{"340282366920938463463374607431768211455::UHUGEINT", `"340282366920938463463374607431768211455"`, "340282366920938463463374607431768211455"},
		{"'123456789012345678901234567890123456789012345678901234567890'::BIGNUM", `"123456789012345678901234567890123456789012345678901234567890"`, "123456789012345678901234567890123456789012345678901234567890"},
		{"(-5)::BIGNUM", `"-5"`, "-5"},
		{"'NaN'::DOUBLE", `"NaN"`, "NaN"},
		{"'inf'::FLOAT", `"Infinity"`, "Infinity"},
		{"'-inf'::DOUBLE", `"-Infinity"`, "-Infinity"},
		{"0.1::DOUBLE", "0.1", "0.1"},
		{"0.1::FLOAT", "0.1", "0.1"},
		{"1e300::DOUBLE", "1e+300", "1e+300"},
		{"12.50::DECIMAL(18,2)", `"12.50"`, "12.50"},
		{"-0.05::DECIMAL(4,2)", `"-0.05"`, "-0.05"},
		{"0::DECIMAL(38,10)", `"0.0000000000"`, "0.0000000000"},
		{"-9999999999999999999999999999.9999999999::DECIMAL(38,10)", `"-9999999999999999999999999999.9999999999"`, "-9999999999999999999999999999.9999999999"},
		{"DATE '2026-02-28'", `"2026-02-28"`, "2026-02-28"},
		{"DATE '0044-03-15 (BC)'", `"-0043-03-15"`, "-0043-03-15"},
		{"'infinity'::DATE", `"infinity"`, "infinity"},
		{"TIMESTAMP '1969-12-31 23:59:59.5'", `"1969-12-31T23:59:59.5"`, "1969-12-31T23:59:59.5"},
		{"TIMESTAMPTZ '2026-07-01 12:00:00+02'", `"2026-07-01T10:00:00Z"`, "2026-07-01T10:00:00Z"},
		{"TIMESTAMP_NS '2026-07-01 12:00:00.123456789'", `"2026-07-01T12:00:00.123456789"`, "2026-07-01T12:00:00.123456789"},
		{"'-infinity'::TIMESTAMP", `"-infinity"`, "-infinity"},
		{"TIME '04:05:06.000007'", `"04:05:06.000007"`, "04:05:06.000007"},
		{"INTERVAL '14 months 3 days 4 hours'", `"1 year 2 months 3 days 04:00:00"`, "1 year 2 months 3 days 04:00:00"},
		{"INTERVAL 0 SECOND", `"00:00:00"`, "00:00:00"},
		{"INTERVAL '-1 second'", `"-00:00:01"`, "-00:00:01"},
		{"INTERVAL '-1 month 1 day'", `"-1 month 1 day"`, "-1 month 1 day"},
		{"'550e8400-e29b-41d4-a716-446655440000'::UUID", `"550e8400-e29b-41d4-a716-446655440000"`, "550e8400-e29b-41d4-a716-446655440000"},
		{`'\x00\xFF'::BLOB`, `"AP8="`, "AP8="},
		{"'0101110'::BIT", `"0101110"`, "0101110"},
		{"'b'::ENUM('a', 'b')", `"b"`, "b"},
		{"[1, NULL, 3]", "[1,null,3]", `"[1,null,3]"`},
		{"[]", "[]", "[]"},
		{"[1, 2, 3]::INTEGER[3]", "[1,2,3]", `"[1,2,3]"`},
		{"[9007199254740993]", `["9007199254740993"]`, `"[""9007199254740993""]"`},
		{"['NaN'::DOUBLE]", `["NaN"]`, `"[""NaN""]"`},
		{"{'a': 1, 'b c': ['x', NULL], 'd': 1.5}", `{"a":1,"b c":["x",null],"d":"1.5"}`, `"{""a"":1,""b c"":[""x"",null],""d"":""1.5""}"`},
		{"MAP {'k': 1, 'l': NULL}", `{"k":1,"l":null}`, `"{""k"":1,""l"":null}"`},
		{"MAP {DATE '2026-01-01': [1]}", `{"2026-01-01":[1]}`, `"{""2026-01-01"":[1]}"`},
		{"MAP {1: 2}", `{"1":2}`, `"{""1"":2}"`},
		{"union_value(num := 5)", "5", "5"},
		{`'{"a": [1, 2]}'::JSON`, `{"a": [1, 2]}`, `"{""a"": [1, 2]}"`},
		{`('{"a":' || chr(10) || '1}')::JSON`, `{"a":1}`, "\"{\"\"a\"\":\n1}\""},
		{`'say "hi", \ and' || chr(10) || chr(9) || chr(1) || 'ü🦆'`, `"say \"hi\", \\ and\n\t\u0001ü🦆"`, "\"say \"\"hi\"\", \\ and\n\t\x01ü🦆\""},
		{"'a' || chr(13)", `"a\r"`, "\"a\r\""},
	} {
		got, _, err := ask(t, e, scope, TypeNDJSON, "SELECT "+c.sql+" AS x", 0)
		if want := `{"x":` + c.json + "}\n"; err != nil || got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s as JSON\n gave %s, %v\n want %s", c.sql, got, err, want)
		}
		got, _, err = ask(t, e, scope, TypeCSV, "SELECT "+c.sql+" AS x", 0)
		if want := "x\r\n" + c.csv + "\r\n"; err != nil || got != want {
			t.Errorf("%s as CSV\n gave %q, %v\n want %q", c.sql, got, err, want)
		}
		if _, err := csv.NewReader(strings.NewReader(got)).ReadAll(); err != nil {
			t.Errorf("%s: %v", got, err)
		}
	}
}

// TestEveryTypeInEveryFormat looks at nulls and extremes of all types beside each other, over the
// border between batches.
func TestEveryTypeInEveryFormat(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{}), smallScope(t)
	const sql = "SELECT i, t.* FROM test_all_types() t, range(3000) r(i)"
	for _, media := range MediaTypes() {
		out, s, err := ask(t, e, scope, media, sql, 0)
		if err != nil || s.Rows != 9000 {
			t.Errorf("%s: %d rows, %v", media, s.Rows, err)
			continue
		}
		switch media {
		case TypeNDJSON:
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			for _, line := range lines {
				if !json.Valid([]byte(line)) {
					t.Fatalf("not JSON: %s", line)
				}
			}
			if len(lines) != 9000 {
				t.Errorf("%d lines", len(lines))
			}
		case TypeJSON:
			var answer struct {
				Rows [][]any `json:"rows"`
			}
			if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Rows) != 9000 {
				t.Errorf("%d rows, %v", len(answer.Rows), err)
			}
		case TypeCSV:
			if records, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(records) != 9001 {
				t.Errorf("%d records, %v", len(records), err)
			}
		case TypeParquet:
			f, err := file.NewParquetReader(strings.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
			if err != nil {
				t.Fatal(err)
			}
			if table, err := r.ReadTable(t.Context()); err != nil || table.NumRows() != 9000 {
				t.Errorf("the parquet file cannot be read: %v", err)
			} else {
				table.Release()
			}
		}
	}
}

// TestParquetIsReadByDuckDB compares a parquet answer with what DuckDB itself says.
func TestParquetIsReadByDuckDB(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{}), smallScope(t)
	const sql = `SELECT i, i * 1.5 AS d, (i * 3)::DECIMAL(18,2) AS m, sum(i) OVER () AS h, 'x' || i AS s, [i, NULL] AS l, {'a': i} AS st,
		DATE '2026-01-01' + i::INTEGER AS day, TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL (i) SECOND AS at, CASE WHEN i % 2 = 0 THEN 'a' END AS n,
		MAP {'k': i} AS mp, i % 2 = 0 AS b, i AS i FROM range(5000) r(i) ORDER BY 1`
	out, _, err := ask(t, e, scope, TypeParquet, sql, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/x.parquet"
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	var same, rows int
	err = duck(t).QueryRowContext(t.Context(), "SELECT count(*), count(*) FILTER (a::VARCHAR = b::VARCHAR) FROM (SELECT row_number() OVER () AS n, x AS a FROM (FROM read_parquet('"+path+
		"')) x) POSITIONAL JOIN (SELECT y AS b FROM (SELECT * FROM ("+sql+") ORDER BY i) y)").Scan(&rows, &same)
	if err != nil || rows != 5000 || same != 5000 {
		t.Errorf("%d of %d rows are the same, %v", same, rows, err)
	}
}
