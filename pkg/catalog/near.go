package catalog

import (
	"slices"
	"strings"
)

// Near gives those of the names that somebody may have meant who wrote name, the likeliest first, three at
// most: few letters differ, and few more than of the likeliest, or one is the other with more behind or before a dot. Case does not count.
func Near(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	const longest = 200 // what is longer was not mistyped
	wanted := strings.ToLower(name)
	if wanted == "" || len(wanted) > longest {
		return nil
	}
	local, _, _ := strings.Cut(wanted, "@") // all addresses of one domain are alike behind it
	most := 1 + len(local)/4
	var found []candidate
	for _, n := range names {
		lower := strings.ToLower(n)
		if len(lower) > longest {
			continue
		}
		distance := levenshtein(wanted, lower)
		if strings.HasSuffix(lower, "."+wanted) || strings.HasPrefix(lower, wanted+".") {
			distance = min(distance, 1)
		}
		if distance <= most {
			found = append(found, candidate{n, distance})
		}
	}
	slices.SortFunc(found, func(x, y candidate) int {
		if x.distance != y.distance {
			return x.distance - y.distance
		}
		return strings.Compare(x.name, y.name)
	})
	likely := make([]string, 0, 3)
	for _, c := range found[:min(len(found), 3)] {
		if c.distance > found[0].distance+1 {
			break
		}
		likely = append(likely, c.name)
	}
	return likely
}

// levenshtein counts the letters to change, add or leave out to make b of a.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
