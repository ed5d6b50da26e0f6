package cli

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// Formats of an answer.
const (
	formatTable   = "table"
	formatJSON    = "json"
	formatNDJSON  = "ndjson"
	formatCSV     = "csv"
	formatParquet = "parquet"
)

// tableLimit is how many rows a table shows where nothing else is asked for.
const tableLimit = 1000

// queryFlags are what query was told.
type queryFlags struct {
	sql, file, format, output string
	stdin, remote, write      bool
	limit                     int
	registerBQ                []string
	explain, yes, noSemiJoin  bool
	aliases                   map[string]string // what is registered, from the flags and from standard input
}

func (a *app) queryCommand() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use: "query [SQL | -]", Short: "Ask with SQL", GroupID: groupData, Args: mayArg("one argument, the SQL,"),
		Long: `Ask the workspace's own database, offline; with --remote, ask the server. Tables
are named by name, or source.name. A granted table that stays in BigQuery, and
queries of BigQuery that are registered for the SQL, are read with your own
account of Google's (gcloud auth application-default login) and join the rest.

The local database is opened for reading; with --write the SQL may change it,
and several statements may stand behind each other. A table shows at most 1,000
rows unless --limit says otherwise (0: all); the other formats give all rows.`,
		Example: `  da query "SELECT status, count(*) FROM orders GROUP BY 1"
  da query --file report.sql --format csv --output report.csv
  echo "FROM orders LIMIT 5" | da query - --format json
  da query --remote "SELECT max(updated_at) FROM crm.deals"
  da query --register-bq "e=SELECT order_id, at FROM web.events" \
    "SELECT o.id, e.at FROM orders o JOIN e ON e.order_id = o.id"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sql, err := a.sqlOf(&f, args)
			if err != nil {
				return err
			}
			if _, err := f.registered(); err != nil {
				return err
			}
			if err := a.checkFormat(cmd, &f); err != nil {
				return err
			}
			if f.remote {
				return a.queryRemote(cmd.Context(), sql, f)
			}
			return a.queryLocal(cmd.Context(), sql, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.file, "file", "", "read the SQL from a file")
	flags.BoolVar(&f.stdin, "stdin", false, "read the SQL from standard input, as - does")
	flags.StringVar(&f.sql, "sql", "", "the SQL, as the argument is")
	flags.BoolVar(&f.remote, "remote", false, "ask the server instead of the workspace")
	flags.StringVarP(&f.format, "format", "f", "", "table, json, ndjson, csv or parquet")
	flags.StringVarP(&f.output, "output", "o", "", "write the answer to a file")
	flags.IntVar(&f.limit, "limit", -1, "the most rows to answer; 0 means all")
	flags.StringArrayVar(&f.registerBQ, "register-bq", nil, "alias=SQL: a query of BigQuery that the SQL may join; may be repeated")
	flags.BoolVar(&f.explain, "explain", false, "only tell what the queries of BigQuery would cost")
	flags.BoolVar(&f.yes, "yes", false, "pay for the queries of BigQuery without asking")
	flags.BoolVar(&f.noSemiJoin, "no-semi-join", false, "send no keys of local tables along with the queries of BigQuery")
	flags.BoolVar(&f.write, "write", false, "let the SQL change the local database")
	_ = cmd.RegisterFlagCompletionFunc("format", fixed(formatTable, formatJSON, formatNDJSON, formatCSV, formatParquet))
	return cmd
}

// sqlOf finds the one place that the SQL stands in.
func (a *app) sqlOf(f *queryFlags, args []string) (string, error) {
	var given []string
	if len(args) == 1 && args[0] != "-" {
		given = append(given, args[0])
	}
	if f.sql != "" {
		given = append(given, f.sql)
	}
	if f.stdin || (len(args) == 1 && args[0] == "-") {
		raw, err := io.ReadAll(a.In)
		if err != nil {
			return "", fault.Wrap(err, fault.Invalid, "standard input cannot be read")
		}
		given = append(given, f.fromJSON(string(raw)))
	}
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return "", fault.Wrap(err, fault.NotFound, "the file %s cannot be read", f.file)
		}
		given = append(given, string(raw))
	}
	switch {
	case len(given) == 0:
		return "", usage("query needs SQL: as an argument, with --file, or with - from standard input")
	case len(given) > 1:
		return "", usage("query takes SQL from one place: the argument, --sql, --file or standard input")
	case strings.TrimSpace(given[0]) == "":
		return "", usage("the SQL is empty")
	}
	return given[0], nil
}

// fromJSON reads {"sql": …, "register_bq": {…}}, which the predecessor took on standard input.
func (f *queryFlags) fromJSON(text string) string {
	var in struct {
		SQL        string            `json:"sql"`
		RegisterBQ map[string]string `json:"register_bq"`
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") && json.Unmarshal([]byte(text), &in) == nil && in.SQL != "" {
		f.aliases = in.RegisterBQ
		return in.SQL
	}
	return text
}

func (a *app) checkFormat(cmd *cobra.Command, f *queryFlags) error {
	switch {
	case f.format == "" && a.json:
		f.format = formatJSON
	case f.format == "":
		f.format = formatTable
	case a.json && f.format != formatJSON:
		return usage("--json and --format %s exclude each other", f.format)
	}
	if !slices.Contains([]string{formatTable, formatJSON, formatNDJSON, formatCSV, formatParquet}, f.format) {
		return usage("--format is table, json, ndjson, csv or parquet, not %q", f.format)
	}
	if f.remote && f.write {
		return usage("--write is for the local database: the server's tables cannot be changed")
	}
	if cmd.Flags().Changed("limit") && f.limit < 0 {
		return usage("--limit is a number of rows, or 0 for all")
	}
	if f.limit < 0 {
		f.limit = 0
		if f.format == formatTable {
			f.limit = tableLimit
		}
	}
	if _, terminal := isTerminal(a.Out); terminal && f.format == formatParquet && f.output == "" {
		return usage("parquet is no text: name a file with --output")
	}
	return nil
}

func (a *app) queryLocal(ctx context.Context, sql string, f queryFlags) error {
	ws, err := a.find()
	if err != nil {
		return err
	}
	a.mend(ctx, ws)
	if len(f.aliases) > 0 {
		return a.queryFederated(ctx, ws, sql, f)
	}
	err = a.queryDatabase(ctx, localdb.New(ws), sql, f)
	if fault.Is(err, fault.NotFound) && a.afar(ws, sql, f) {
		return a.queryFederated(ctx, ws, sql, f)
	}
	return err
}

// queryDatabase answers from the workspace's own database alone.
func (a *app) queryDatabase(ctx context.Context, db *localdb.DB, sql string, f queryFlags) error {
	if f.format == formatParquet {
		return a.deliver(f.output, func(path string, _ io.Writer) error {
			_, err := db.CopyParquet(ctx, localdb.Question{SQL: sql, Write: f.write, Limit: f.limit}, path)
			return err
		}, true)
	}
	rows, err := db.Query(ctx, f.question(sql))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	return a.deliver(f.output, func(_ string, w io.Writer) error { return a.write(w, rows, f) }, false)
}

// question is the SQL as the local database is asked, for rows.
func (f queryFlags) question(sql string) localdb.Question {
	q := localdb.Question{SQL: sql, Write: f.write}
	switch f.format {
	case formatJSON, formatNDJSON:
		q.Form = localdb.JSON
	case formatCSV:
		q.Form = localdb.Plain
	}
	if f.limit > 0 {
		q.Limit = f.limit + 1 // one more tells whether rows were left off
	}
	return q
}

// write writes rows in the format that was asked for.
func (a *app) write(w io.Writer, rows *localdb.Rows, f queryFlags) error {
	width, terminal := isTerminal(w)
	if !terminal {
		width = 0
	}
	out := newWriter(f.format, w, rows.Columns, width)
	n := 0
	truncated := false
	for rows.Next() {
		if f.limit > 0 && n == f.limit {
			truncated = true
			break
		}
		n++
		if err := out.row(rows.Row()); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	hidden, err := out.end()
	if err != nil {
		return err
	}
	a.tellCut(truncated, n, hidden, len(rows.Columns))
	return nil
}

// tellCut says on standard error what an answer leaves out.
func (a *app) tellCut(truncated bool, rows, hidden, columns int) {
	if truncated {
		a.note("Only the first %d rows are shown: --limit 0 gives all.", rows)
	}
	if hidden > 0 {
		a.note("%d of %d columns do not fit: name the ones you need, or use --format json.", hidden, columns)
	}
}

// deliver gives produce a place to write, and puts what it wrote where it belongs: standard output, or a
// file that is there whole or not at all. named: produce writes to a path and not to the stream.
func (a *app) deliver(output string, produce func(path string, w io.Writer) error, named bool) error {
	if output == "" && !named {
		return produce("", a.Out)
	}
	dir := ""
	if output != "" {
		dir = filepath.Dir(output)
	}
	tmp, err := os.CreateTemp(dir, ".da-query-*")
	if err != nil {
		return fault.Wrap(err, fault.Permanent, "nothing can be written to %s", dir)
	}
	defer func() {
		_ = tmp.Close()
		_ = os.Remove(tmp.Name())
	}()
	if err := produce(tmp.Name(), tmp); err != nil {
		return err
	}
	if output == "" {
		if _, err := io.Copy(a.Out, tmp); err != nil {
			return fault.Wrap(err, fault.Permanent, "standard output cannot be written")
		}
		return nil
	}
	err = tmp.Chmod(0o644) // as a file that a shell would make
	if err == nil {
		err = tmp.Close()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), output)
	}
	if err != nil {
		return fault.Wrap(err, fault.Permanent, "%s cannot be written", output)
	}
	return nil
}

// mend makes the views of a moved workspace find their files again. Where that fails, the query that
// follows says what is wrong.
func (a *app) mend(ctx context.Context, ws *workspace.Workspace) {
	if err := mirror.Mend(ctx, ws, localdb.New(ws)); err != nil {
		a.note("Note: %s", fault.Message(err))
	}
}
