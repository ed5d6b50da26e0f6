package kind

import (
	"testing"
)

func TestOf(t *testing.T) {
	t.Parallel()
	day, err := ParseLayout("%d/%m/%Y")
	if err != nil {
		t.Fatal(err)
	}
	f := Formats{Date: day}
	for value, want := range map[string]Set{
		"1": Int | Float, "-1": Int | Float, " 5 ": Int | Float, "0": Int | Float,
		"9223372036854775807": Int, "-9223372036854775808": Int, "9223372036854775808": 0, "-9223372036854775809": 0,
		"9007199254740992": Int | Float, "9007199254740993": Int, "12345678901234567890": 0, "99999999999999999999": 0,
		"00123": 0, "+420777": 0, "-0": 0, "-007": 0, "007.5": 0, "- 5": 0, "1_000": 0, "0x1F": 0, "-": 0,
		"1.5": Float, "-0.5": Float, ".5": Float, "5.": 0, "1,5": 0, "1.5.5": 0, "19.90": Float, "0.30000000000000004": Float,
		"0.1000000000000000055": 0, "1e5": 0, "12E4": 0, "1e-05": Float, "1E+10": Float, "1.0E10": Float, "1.5e": 0, "1.5e999": 0, "1.5e300": Float, "-1e+307": Float, "1.5e308": 0,
		"nan": 0, "inf": 0, "Infinity": 0, ".": 0, "e": 0,
		"true": Bool, "FALSE": Bool, "True": Bool, " true": 0, "yes": 0, "t": 0, "tRUE": 0,
		"2024-02-29": Date | Stamp, "2023-02-29": 0, "2024/01/02": Date | Stamp, "2024-1-2": 0, "2024-13-01": 0, "2024-01/02": 0, "0000-01-01": 0,
		"1900-02-29": 0, "2000-02-29": Date | Stamp,
		"2024-01-02 10:00": Stamp, "2024-01-02T10:00:00": Stamp, "2024-01-02 10:00:00.123456": Stamp, "2024-01-02 10:00:00.1234567": 0,
		"2024-01-02 24:00:00": 0, "2024-01-02 10:60:00": 0, "2024-01-02x10:00": 0, "2024-01-02 10:00:00.": 0,
		"2024-01-02T10:00:00Z": StampTZ, "2024-01-02 10:00:00+02": StampTZ, "2024-01-02 10:00:00.5-03:30": StampTZ, "2024-01-02T10:00:00+0200": StampTZ,
		"2024-01-02T10:00Z": 0, "2024-01-02 10:00:00 Europe/Prague": 0, "2024-01-02T10:00:00+99:00": 0, "2024-01-02T10:00:00+2": 0,
		"10:00:00": Time, "10:00:00.5": Time, "10:00": 0, "25:00:00": 0, "1:02:03": 0,
		"31/12/2024": DateAs, "1/2/2024": DateAs, "12/31/2024": 0, "31/12/24": 0, "31/12/2024x": 0,
		"": 0, "   ": 0, "x": 0, "é": 0, "1\x00": 0,
	} {
		if got := f.Of([]byte(value), All); got != want {
			t.Errorf("Of(%q) = %b, want %b", value, got, want)
		}
		for _, within := range []Set{Int, Float, Int | Float, Date, Date | Stamp} {
			if value != "" && fitsAll([]byte(value), within) && want&within != within {
				t.Errorf("fitsAll(%q, %b)", value, within)
			}
		}
		if got := f.Of([]byte(value), want); got != want {
			t.Errorf("Of(%q) within its own kinds = %b, want %b", value, got, want)
		}
	}
}

func TestColumn(t *testing.T) {
	t.Parallel()
	f := Formats{}
	for _, c := range []struct {
		values []string
		want   string
	}{
		{nil, "VARCHAR"},
		{[]string{""}, "VARCHAR"},
		{[]string{"1", "", "2"}, "BIGINT"},
		{[]string{"1", "2.5"}, "DOUBLE"},
		{[]string{"9007199254740993", "2.5"}, "VARCHAR"},
		{[]string{"1", "007"}, "VARCHAR"},
		{[]string{"2024-01-02", "2024-01-02 10:00"}, "TIMESTAMP"},
		{[]string{"2024-01-02", "2024-01-02T10:00:00Z"}, "VARCHAR"},
		{[]string{"2024-01-02T10:00:00Z"}, "TIMESTAMP WITH TIME ZONE"},
		{[]string{"true", "1"}, "VARCHAR"},
		{[]string{"10:00:00"}, "TIME"},
		{[]string{"01/02/2024"}, "VARCHAR"},
	} {
		col := NewColumn(&f)
		for _, v := range c.values {
			col.Add(&f, []byte(v))
		}
		if got := f.TypeOf(col.Kind()); got != c.want {
			t.Errorf("%q: %s, want %s", c.values, got, c.want)
		}
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		layout, value string
		want          bool
	}{
		{"%d.%m.%Y", "31.12.2024", true},
		{"%d.%m.%Y", "31.02.2024", false},
		{"%m/%d/%y", "12/31/24", true},
		{"%d %b %Y", "05 Jan 2024", true},
		{"%d %B %Y", "5 january 2024", true},
		{"%d %B %Y", "5 Jan 2024", false},
		{"%Y%m%d", "20240131", true},
		{"%d/%m/%Y %H:%M:%S.%f", "31/12/2024 23:59:59.123", true},
		{"%d/%m/%Y %I:%M %p", "31/12/2024 11:59 PM", true},
		{"%d/%m/%Y %I:%M %p", "31/12/2024 13:59 PM", false},
		{"%d/%m/%Y %H:%M:%S%z", "31/12/2024 23:59:59+0200", true},
		{"%d/%m/%Y %H:%M:%S%z", "31/12/2024 23:59:59", false},
		{"%a %d.%m.%Y", "Mon 01.01.2024", true},
		{"100%% %d.%m.%Y", "100% 01.01.2024", true},
	} {
		l, err := ParseLayout(c.layout)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Matches([]byte(c.value)); got != c.want {
			t.Errorf("%q matches %q: %v", c.layout, c.value, got)
		}
	}
	for _, bad := range []string{"", "%", "%d/%m", "%q %d %m %Y", "%d %d %m %Y", "dd/mm/yyyy", "%d/%m/%Y %I"} {
		if _, err := ParseLayout(bad); err == nil {
			t.Errorf("ParseLayout(%q): no error", bad)
		}
	}
}

func FuzzOf(f *testing.F) {
	for _, s := range []string{"1", "1.5", "2024-01-02T10:00:00Z", "10:00:00.1", "true", "-", "1e+", "2024-01-02 ", "31/12/2024 11:00 AM +02"} {
		f.Add([]byte(s), "%d/%m/%Y %I:%M %p %z")
	}
	f.Fuzz(func(t *testing.T, v []byte, layout string) {
		l, err := ParseLayout(layout)
		if err != nil {
			l = nil
		}
		formats := Formats{Date: l, Stamp: l}
		got := formats.Of(v, All)
		for k := Set(1); k < All; k <<= 1 {
			if alone := formats.Of(v, k); alone != got&k {
				t.Fatalf("Of(%q, %b) = %b, but together %b", v, k, alone, got)
			}
			for _, within := range []Set{k, Int | Float, Date | Stamp} {
				if len(v) > 0 && fitsAll(v, within) && got&within != within {
					t.Fatalf("fitsAll(%q, %b), but Of gives %b", v, within, got)
				}
			}
		}
	})
}
