package records

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agnes-platform/agnes/services/extractor/csv/internal/kind"
)

// generate writes a file whose quoted values look like records of their own.
func generate(r *rand.Rand, rows int) string {
	var b strings.Builder
	b.WriteString("id,text,v\n")
	for i := range rows {
		text := "plain"
		switch r.IntN(6) {
		case 0:
			text = `"` + strings.Repeat("7,\"\"fake\"\",8\n", r.IntN(6)) + `"`
		case 1:
			text = `"a,b"`
		case 2:
			text = ""
		}
		fmt.Fprintf(&b, "%d,%s,%d\n", i, text, i%7)
		if r.IntN(20) == 0 {
			b.WriteString("\n\n")
		}
	}
	return b.String()
}

func TestRunParallelIsRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		file := generate(r, 1+r.IntN(200))
		switch seed % 5 {
		case 1:
			file += "x,y\n1,2,3\n"
		case 2:
			file = strings.Replace(file, "\n", "\nbad\n", 1+r.IntN(20))
		case 3:
			file += "1,2,3\r\n"
		case 4:
			file = strings.TrimSuffix(file, "\n")
		}
		check := Check{Dialect: comma, Names: []string{"id", "text", "v"}}
		check.Dialect.Header = true
		var first *Bad
		one := check
		one.Bad = func(b Bad) error {
			b.Raw = append([]byte(nil), b.Raw...)
			first = &b
			return errStop
		}
		want, err := one.Run(context.Background(), strings.NewReader(file))
		if err != nil && first == nil {
			t.Fatal(err)
		}
		for workers := 1; workers <= 9; workers++ {
			got, bad, err := check.RunParallel(context.Background(), strings.NewReader(file), int64(len(file)), workers)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(first, bad); d != "" {
				t.Fatalf("seed %d, %d workers: %s", seed, workers, d)
			}
			if first != nil {
				continue
			}
			for _, r := range []*Result{want, got} {
				for i := range r.Columns { // a column of text is not looked at any further
					r.Columns[i].EmptyText = r.Columns[i].EmptyText && r.Columns[i].Kinds != 0
				}
			}
			opts := cmp.Options{cmp.AllowUnexported(Result{}, kind.Column{}), cmpopts.IgnoreFields(Result{}, "Bytes")}
			if d := cmp.Diff(want, got, opts); d != "" {
				t.Fatalf("seed %d, %d workers: %s", seed, workers, d)
			}
		}
	}
}
