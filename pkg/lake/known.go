package lake

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"github.com/agnes-platform/agnes/pkg/fault"
)

//go:embed functions.txt
var functionsFile string

// Families of functions and relations of DuckDB's own: the sections of functions.txt.
const (
	familyHarmless  = "harmless"
	familyOperators = "operators"
	familyNested    = "nested"
	familyUnknown   = "" // nobody has looked at it
)

// refusals are the sentences for whoever uses what a query may not, by family.
var refusals = map[string]string{
	"file":        "files and addresses are not read here, so %s is not answered: ask for a table by its name",
	"changes":     "the function %s is not for queries: it changes the session or writes; leave it out",
	"text":        "the function %s is not for queries: it takes a statement as text; write the statement itself",
	"memory":      "the function %s is DuckDB's own and not for queries; leave it out",
	"waits":       "the function %s is not for queries: it holds a place that others wait for; leave it out",
	"settings":    "%s tells how the server is set up and is not answered here; leave it out",
	"definition":  "%s shows where tables are stored and is not answered here: SHOW TABLES, DESCRIBE, information_schema.tables and information_schema.columns tell what there is",
	"server":      "%s tells about the server and is not answered here; leave it out",
	"pragma":      "%s is not for queries; leave it out",
	familyUnknown: "%s is not known to be harmless and is not answered here; leave it out",
}

// relation is a view of DuckDB's own.
type relation struct{ schema, family string }

// rules are what of DuckDB's own a query may not use as it likes.
type rules struct {
	functions map[string]string     // name → family
	relations map[string][]relation // name → those of that name
}

// classified reads functions.txt: name → family.
var classified = sync.OnceValue(func() map[string]string {
	families, family := make(map[string]string), ""
	for line := range strings.Lines(functionsFile) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			family = line[1:strings.IndexByte(line, ']')]
		default:
			for _, name := range strings.Fields(line) {
				families[name] = family
			}
		}
	}
	return families
})

// watched tells of which names of the engine's own the tree of a statement must be looked at: all but
// those that are known to be harmless. What a name is, the linked engine tells, not the file.
func watched(functions, relations []string) rules {
	r := rules{functions: make(map[string]string), relations: make(map[string][]relation)}
	known := classified()
	for _, name := range functions {
		if family := known[name]; family != familyHarmless && family != familyOperators {
			r.functions[name] = family
		}
	}
	for _, qualified := range relations {
		if family := known[qualified]; family != familyHarmless {
			schema, name, _ := strings.Cut(qualified, ".")
			r.relations[name] = append(r.relations[name], relation{schema, family})
		}
	}
	return r
}

// mayUse tells whether any word of a text, also within its strings, is a name that is watched. The
// names are plain ASCII, and there is no way to write one in SQL but letter by letter, unless the
// statement runs a text: the functions that do are watched.
func (r rules) mayUse(text string) bool {
	for i := 0; i < len(text); {
		n := 0
		for i+n < len(text) && isNameByte(text[i+n]) {
			n++
		}
		if n == 0 {
			i++
			continue
		}
		word := strings.ToLower(text[i : i+n])
		if _, found := r.functions[word]; found || r.relations[word] != nil {
			return true
		}
		i += n
	}
	return false
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c)
}

// checkRelation tells why a statement may not read from a relation; nil where it may. DuckDB looks a
// name without a schema up in main and pg_catalog, and takes a schema for a catalog where it is one. The
// catalogs of a session (memory, system, temp) have schemas of the same names.
func (r rules) checkRelation(schema, name string) error {
	schema, name = strings.ToLower(schema), strings.ToLower(name)
	for _, own := range r.relations[name] {
		unqualified := own.schema != "information_schema" && slices.Contains([]string{"", "main", "system", "memory", "temp"}, schema)
		if unqualified || schema == own.schema {
			return fault.New(fault.Invalid, refusals[own.family], name)
		}
	}
	return nil
}
