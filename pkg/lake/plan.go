package lake

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// A table that stays where it lives is shown by a session in one of three ways: as one that nobody has
// fetched (a query gets an error that IsRemote knows), as files that hold those of its columns and rows
// that one statement needs (View.Files and View.Fetched), or, where SessionOptions.Plan is set, as an empty
// stand-in over which a statement can be planned and not answered.

// standIns is the schema of the stand-ins: no source can be called that.
const standIns = "stand-ins of remote tables"

// remoteMessage and missingMessage are the errors of a remote table that was not fetched, and of a column
// of one that was not.
const (
	remoteMessage  = "this table stays where it lives and was not fetched for the statement"
	missingMessage = "this column stays where it lives and was not fetched for the statement"
)

// IsRemote tells whether a query failed because it reads a remote table, or a column of one, that was not
// fetched for it.
func IsRemote(err error) bool {
	var e *Error
	return errors.As(err, &e) && (strings.Contains(e.Message, remoteMessage) || strings.Contains(e.Message, missingMessage))
}

// StandInColumn is what a plan calls the column at a place of View.Columns: names of others could be
// mistaken for conditions.
func StandInColumn(at int) string { return "c" + strconv.Itoa(at) }

// standIn is what a plan calls the table at a place of the views of its session.
func standIn(at int) string { return "t" + strconv.Itoa(at) }

// StandInOf tells which view of a session a plan means by the name of a table; ok is false for other names.
func StandInOf(name string) (at int, ok bool) {
	prefix, table, found := strings.Cut(name, standIns)
	if !found || !strings.HasPrefix(prefix, "memory.") {
		return 0, false
	}
	number, found := strings.CutPrefix(strings.TrimLeft(table, `".`), "t")
	if !found {
		return 0, false
	}
	at, err := strconv.Atoi(number)
	return at, err == nil && at >= 0
}

// planSettings leave what reads no statistics, for stand-ins are empty, and nothing that adds scans or
// conditions which stand for the moment only.
const planSettings = "SET GLOBAL disabled_optimizers = 'empty_result_pullup,statistics_propagation,common_subexpressions,common_aggregate," +
	"column_lifetime,row_group_pruner,top_n,top_n_window_elimination,build_side_probe_side,compressed_materialization,duplicate_groups," +
	"reorder_filter,sampling_pushdown,join_filter_pushdown,materialized_cte,sum_rewriter,late_materialization,common_subplan," +
	"join_elimination,window_self_join'"

// tables are the statements that make the stand-ins of the views.
func standInTables(views []View) []string {
	statements := []string{"CREATE SCHEMA " + QuoteIdent(standIns)}
	for i, v := range views {
		if !v.Remote || v.Problem != "" || len(v.Columns) == 0 || slices.ContainsFunc(v.Columns, func(c catalog.Column) bool { return validType(c.Type) != nil }) {
			continue
		}
		columns := make([]string, len(v.Columns))
		for at, c := range v.Columns {
			columns[at] = StandInColumn(at) + " " + c.Type
		}
		statements = append(statements, "CREATE TABLE "+QuoteName(standIns, standIn(i))+" ("+strings.Join(columns, ", ")+")")
	}
	return statements
}

// overStandIn is the definition of the view at a place over its stand-in.
func (v View) overStandIn(at int) string {
	columns := make([]string, len(v.Columns))
	for i, c := range v.Columns {
		columns[i] = StandInColumn(i) + " AS " + QuoteIdent(c.Name)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM " + QuoteName(standIns, standIn(at))
}

// Plan is how DuckDB would answer a statement.
type Plan struct {
	// Explain is the answer of EXPLAIN (FORMAT JSON).
	Explain string
	// Tree is the statement as json_serialize_sql writes it.
	Tree string
}

// Plan plans a statement that only reads, of a session that was opened with SessionOptions.Plan. What
// stands behind an EXPLAIN is planned. Errors are those of Query; a statement without a plan, such as a
// PIVOT that finds its columns by itself, is fault.NotFound.
func (s *Session) Plan(ctx context.Context, sql string) (Plan, error) {
	conn, err := s.instance.connect()
	if err != nil {
		return Plan{}, err
	}
	defer mapping.Disconnect(&conn)
	defer interruptOn(ctx, conn)()
	plan, err := planOf(conn, sql)
	if err != nil && ctx.Err() != nil {
		return Plan{}, context.Cause(ctx)
	}
	return plan, err
}

var errNoPlan = fault.New(fault.NotFound, "the statement has no plan")

func planOf(conn mapping.Connection, sql string) (Plan, error) {
	read, err := parseRead(sql, 0)
	if err != nil {
		return Plan{}, err
	}
	if read.pivot {
		return Plan{}, errNoPlan
	}
	statement, err := prepareOne(conn, read.query)
	if err != nil {
		return Plan{}, err
	}
	err = check(statement)
	mapping.DestroyPrepare(&statement)
	if err != nil {
		return Plan{}, err
	}
	cells, err := texts(conn, "EXPLAIN (FORMAT JSON) "+read.query)
	if err != nil {
		return Plan{}, err
	}
	if len(cells) != 2 {
		return Plan{}, errNoPlan
	}
	p := Plan{Explain: cells[1]}
	// A statement that has no tree, such as a SUMMARIZE, has a plan all the same.
	if tree, err := texts(conn, "SELECT json_serialize_sql("+QuoteLiteral(read.query)+")"); err == nil && len(tree) == 1 {
		p.Tree = tree[0]
	}
	return p, nil
}

// ExplainOf tells whether a statement only asks for a plan: EXPLAIN without ANALYZE.
func ExplainOf(sql string) bool {
	lex := lexer{sql: sql}
	first, ok := lex.next()
	if !ok || !strings.EqualFold(first.text(sql), "EXPLAIN") {
		return false
	}
	explain, _, err := splitExplain(sql[first.start:])
	return err == nil && !strings.Contains(strings.ToUpper(explain), "ANALY")
}
