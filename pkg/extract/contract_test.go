package extract

import (
	"context"
	"strings"
	"testing"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func contracted(contract string, key ...string) *agnesv1.RegisteredTable {
	return &agnesv1.RegisteredTable{Name: "t", Source: "src", PrimaryKey: key, OptionsJson: `{"schema_contract": "` + contract + `"}`}
}

func changesOf(o *agnesv1.TableOutcome) string {
	var words []string
	for _, c := range o.GetSchemaChanges() {
		words = append(words, strings.Join([]string{c.GetColumn(), c.GetChange(), c.GetFromType(), c.GetToType()}, "/"))
	}
	return strings.Join(words, " ")
}

func columnNames(t VersionTable) string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, c.Name+" "+c.Type)
	}
	return strings.Join(names, ", ")
}

// A source that adds, drops or retypes a column does to a table what the table's contract says, and what it
// was is told whatever that is.
func TestSchemaContractsDecideWhatChangedColumnsDo(t *testing.T) {
	t.Parallel()
	const first = "SELECT 1 AS id, 'a' AS name"
	for name, c := range map[string]struct {
		contract, then, outcome, changes, columns string
	}{
		"evolve adds":               {"evolve", "SELECT 1 AS id, 'a' AS name, 2 AS more", OutcomeUpdated, "more/added//INTEGER", "id INTEGER, name VARCHAR, more INTEGER"},
		"evolve drops":              {"evolve", "SELECT 1 AS id", OutcomeUpdated, "name/removed/VARCHAR/", "id INTEGER"},
		"evolve retypes":            {"evolve", "SELECT 1::BIGINT AS id, 'a' AS name", OutcomeUpdated, "id/retyped/INTEGER/BIGINT", "id BIGINT, name VARCHAR"},
		"freeze refuses more":       {"freeze", "SELECT 1 AS id, 'a' AS name, 2 AS more", OutcomeFailed, "more/added//INTEGER", "id INTEGER, name VARCHAR"},
		"freeze refuses fewer":      {"freeze", "SELECT 1 AS id", OutcomeFailed, "name/removed/VARCHAR/", "id INTEGER, name VARCHAR"},
		"freeze refuses others":     {"freeze", "SELECT '1' AS id, 'a' AS name", OutcomeFailed, "id/retyped/INTEGER/VARCHAR", "id INTEGER, name VARCHAR"},
		"freeze takes rows":         {"freeze", "SELECT 2 AS id, 'b' AS name", OutcomeUpdated, "", "id INTEGER, name VARCHAR"},
		"discard leaves out":        {"discard", "SELECT 2 AS id, 3 AS more, 'b' AS name", OutcomeUpdated, "more/discarded//INTEGER", "id INTEGER, name VARCHAR"},
		"discard refuses fewer":     {"discard", "SELECT 2 AS id, 3 AS more", OutcomeFailed, "name/removed/VARCHAR/ more/discarded//INTEGER", "id INTEGER, name VARCHAR"},
		"discard refuses others":    {"discard", "SELECT '2' AS id, 'b' AS name", OutcomeFailed, "id/retyped/INTEGER/VARCHAR", "id INTEGER, name VARCHAR"},
		"discard refuses a new one": {"discard", "SELECT 1 AS x", OutcomeFailed, "id/removed/INTEGER/ name/removed/VARCHAR/ x/added//INTEGER", "id INTEGER, name VARCHAR"},
	} {
		for kind, key := range map[string][]string{"by key": {"id"}, "without": nil} {
			if kind == "by key" && name == "discard refuses a new one" {
				continue // it has no key any more, which fails earlier
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				dir, src := t.TempDir(), &scripted{}
				src.query("t", first)
				if o := mustOutcome(t, mustRun(t, runConfig(dir, src, contracted(c.contract, key...))), "t", OutcomeUpdated); len(o.GetSchemaChanges()) > 0 {
					t.Errorf("a first version has no differences: %s", changesOf(o))
				}
				src.query("t", c.then)
				o := mustOutcome(t, mustRun(t, runConfig(dir, src, contracted(c.contract, key...))), "t", c.outcome)
				if got := changesOf(o); got != c.changes {
					t.Errorf("told %q, want %q", got, c.changes)
				}
				if got := columnNames(mustTable(t, mustVersion(t, dir), "t")); got != c.columns {
					t.Errorf("the table has %s, want %s", got, c.columns)
				}
				if c.outcome == OutcomeFailed && (o.GetErrorKind() != "conflict" || !strings.Contains(o.GetError(), "schema_contract")) {
					t.Errorf("it fails with %s: %s", o.GetErrorKind(), o.GetError())
				}
			})
		}
	}
}

// What changed row by row is held to the contract, too.
func TestSchemaContractHoldsForUpserts(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), &scripted{}
	src.query("t", "SELECT i AS id, 'a' AS name FROM range(1000) r(i)")
	mustRun(t, runConfig(dir, src, contracted("discard", "id")))
	var done Upserted
	src.upserting("SELECT 5::BIGINT AS id, 'other' AS name, 1 AS more", &done)
	o := mustOutcome(t, mustRun(t, runConfig(dir, src, contracted("discard", "id"))), "t", OutcomeUpdated)
	if done.Given != 1 || done.Rows != 1000 || changesOf(o) != "more/discarded//INTEGER" {
		t.Errorf("%+v, %s", done, changesOf(o))
	}
}

// What a contract left out is read when the contract ends, though the source is what it was.
func TestSchemaContractThatEndsReadsTheTableAgain(t *testing.T) {
	t.Parallel()
	dir, src := t.TempDir(), &scripted{}
	read := func(query string) {
		src.set("t", func(ctx context.Context, spec TableSpec, w *TableWriter) error {
			if spec.Token == query {
				return ErrUnchanged
			}
			w.SetToken(query)
			return w.Query(ctx, query, 0)
		})
	}
	read("SELECT 1 AS id")
	mustRun(t, runConfig(dir, src, contracted("discard")))
	read("SELECT 1 AS id, 2 AS more")
	mustRun(t, runConfig(dir, src, contracted("discard")))
	mustOutcome(t, mustRun(t, runConfig(dir, src, contracted("discard"))), "t", OutcomeUnchanged)
	o := mustOutcome(t, mustRun(t, runConfig(dir, src, contracted("evolve"))), "t", OutcomeUpdated)
	if got := columnNames(mustTable(t, mustVersion(t, dir), "t")); got != "id INTEGER, more INTEGER" || changesOf(o) != "more/added//INTEGER" {
		t.Errorf("%s, %s", got, changesOf(o))
	}
}

func TestSchemaContractIsOneOfThree(t *testing.T) {
	t.Parallel()
	src := &scripted{}
	src.query("t", "SELECT 1 AS id")
	o := mustOutcome(t, mustRun(t, runConfig(t.TempDir(), src, contracted("frozen"))), "t", OutcomeFailed)
	if o.GetErrorKind() != "invalid" || !strings.Contains(o.GetError(), "evolve, freeze or discard") {
		t.Errorf("%s: %s", o.GetErrorKind(), o.GetError())
	}
}
