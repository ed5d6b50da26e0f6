package csv

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
)

// lines writes a preview as one line per row, with its columns first.
func lines(p extract.Preview) string {
	var out []string
	var head []string
	for _, c := range p.Columns {
		head = append(head, c.Name+" "+c.Type)
	}
	out = append(out, strings.Join(head, ", "))
	for _, row := range p.Rows {
		texts := make([]string, len(row))
		for i, v := range row {
			if texts[i] = "NULL"; v != nil {
				texts[i] = *v
			}
		}
		out = append(out, strings.Join(texts, "|"))
	}
	return strings.Join(out, "\n")
}

func TestPreviewShowsWhatAnExtractionWould(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for i := range 1_500_000 { // more than is read of it
		fmt.Fprintf(z, "%d,note %d\n", i, i)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, `{}`)
	h.put("orders.csv", "id;note;price\n1;a;1.5\n2;;2\n3;c;x\n4;\"d;\ne\";4\n")
	h.put("utf16.csv", "\xff\xfei\x00d\x00,\x00n\x00\n\x001\x00,\x00\xe4\x00\n\x00")
	h.put("events.json", `[{"id": 1, "tags": ["a"]}, {"id": 2}, {"id": 3, "tags": []}]`)
	h.put("none.json", `[]`)
	h.put("long.csv.gz", "")
	if err := os.WriteFile(h.file("long.csv.gz"), packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	s := h.open().(*source)
	for table, want := range map[string]string{
		"orders": "id BIGINT, note VARCHAR, price VARCHAR\n1|a|1.5\n2|NULL|2",
		"utf16":  "id BIGINT, n VARCHAR\n1|ä",
		"events": "id BIGINT, tags VARCHAR[]\n1|[a]\n2|NULL",
	} {
		p, err := s.Preview(t.Context(), extract.TableSpec{Name: table}, 2)
		if err != nil {
			t.Errorf("%s: %v", table, err)
		} else if got := lines(p); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", table, got, want)
		}
	}
	p, err := s.Preview(t.Context(), extract.TableSpec{Name: "long"}, 20)
	if err != nil || len(p.Rows) != 20 {
		t.Errorf("a long file: %d rows, %v", len(p.Rows), err)
	}
	if _, err := s.Preview(t.Context(), extract.TableSpec{Name: "none"}, 20); !strings.Contains(fault.Message(err), "there is no record") {
		t.Errorf("a table without a record: %v", err)
	}
	if _, err := s.Preview(t.Context(), extract.TableSpec{Name: "missing"}, 2); !fault.Is(err, fault.NotFound) {
		t.Errorf("a table that is missing: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(h.dir, "data", "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in scratch: %v, %v", left, err)
	}
}

func TestPreviewOfTypesThatWereDeclared(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{"tables": {"orders": {"columns": {"id": "VARCHAR", "price": "DECIMAL(9,2)"}}}}`)
	h.put("orders.csv", "id,price\n007,1.5\n008,broken\n009,2\n")
	p, err := h.open().(*source).Preview(t.Context(), extract.TableSpec{Name: "orders"}, 20)
	if got, want := lines(p), "id VARCHAR, price DECIMAL(9,2)\n007|1.50\n009|2.00"; err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

func TestTestSaysWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	h.put("good.csv", "id\n1\n")
	h.put("bad.csv.gz", "no gzip")
	findings, err := h.open().(*source).Test(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(findings, "\n")
	if !strings.Contains(got, "2 tables in 2 files") || !strings.Contains(got, "the table bad cannot be read") || strings.Contains(got, "good cannot") {
		t.Error(got)
	}
}
