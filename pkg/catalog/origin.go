package catalog

import "strings"

// Origins are the spellings of what a table is extracted from, the exact one first: two registrations of a
// source that share one bring the same data, whatever they are called. A registration without a source table
// means that of its own name; a source table may repeat its bucket; and a bucket may lack the stage ("in." or
// "out.") that a connector finds it with.
func Origins(source, bucket, sourceTable, name string) []string {
	if sourceTable == "" {
		sourceTable = name
	}
	if bucket != "" {
		sourceTable = strings.TrimPrefix(sourceTable, bucket+".")
	}
	of := func(bucket string) string {
		return strings.ToLower(source) + "\n" + bucket + "\n" + sourceTable // none of them holds a line break
	}
	origins := []string{of(bucket)}
	for _, stage := range []string{"in.", "out."} {
		if rest, staged := strings.CutPrefix(bucket, stage); staged {
			origins = append(origins, of(rest))
		}
	}
	return origins
}
