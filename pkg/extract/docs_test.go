package extract

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The connector of the documentation is the one that is compiled and accepted.
func TestConnectorOfTheDocumentation(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)```go\n(// Lines is.*?)```").FindStringSubmatch(read(t, "../../docs/connectors.md"))
	if block == nil || !strings.Contains(read(t, "example_test.go"), block[1]) {
		t.Fatal("docs/connectors.md shows another connector than example_test.go")
	}
}

// The smallest extract of the documentation is one.
func TestExtractOfTheDocumentation(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)```sql\n(.*?)```").FindStringSubmatch(read(t, "../../docs/extract-contract.md"))
	if block == nil {
		t.Fatal("docs/extract-contract.md shows no extract")
	}
	dir := t.TempDir()
	writeDB(t, PointerPath(dir, "src"), block[1])
	v := mustVersion(t, dir)
	if c := mustTable(t, v, "cities"); len(v.Problems) > 0 || c.Rows != 1 || c.Description != "Cities we ship to" {
		t.Fatalf("%+v %+v", c, v.Problems)
	}
	for _, table := range []string{"_meta", "_remote_attach", "_parts", "_agnes"} {
		if !strings.Contains(read(t, "../../docs/extract-contract.md"), "| `"+table+"` |") {
			t.Errorf("docs/extract-contract.md says nothing of %s", table)
		}
	}
}
