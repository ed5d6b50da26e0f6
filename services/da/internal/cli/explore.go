package cli

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// sampleRows is how many rows explore shows.
const sampleRows = 5

func (a *app) exploreCommand() *cobra.Command {
	var remote bool
	cmd := &cobra.Command{
		Use: "explore TABLE", Short: "Show the columns, the size and a few rows of a table", GroupID: groupData,
		Args: oneArg("the name of a table"),
		Long: `Show what a table of the workspace holds; with --remote, what the server has of
it. Your own tables and views can be named too.`,
		Example: `  da explore orders
  da explore --remote crm.deals --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if remote {
				return a.exploreRemote(cmd.Context(), args[0])
			}
			return a.exploreLocal(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&remote, "remote", false, "ask the server instead of the workspace")
	return cmd
}

// explored is what explore found out.
type explored struct {
	Table       string            `json:"table"`
	Description string            `json:"description,omitempty"`
	Rows        int64             `json:"rows"`
	SizeBytes   int64             `json:"size_bytes,omitempty"`
	Columns     []column          `json:"columns"`
	Sample      []json.RawMessage `json:"sample"`
	Profile     json.RawMessage   `json:"profile,omitempty"`
	// QueryMode is remote where the rows stay where they live, and nobody counts them.
	QueryMode string `json:"query_mode,omitempty"`

	sample show.Table
}

// column is one column of an explored table.
type column struct {
	catalog.Column
	// Nullable is unknown of a table on the server.
	Nullable *bool `json:"nullable,omitempty"`
}

func (a *app) exploreLocal(ctx context.Context, name string) error {
	ws, err := a.find()
	if err != nil {
		return err
	}
	a.mend(ctx, ws)
	db := localdb.New(ws)
	state, _, err := ws.LoadState()
	if err != nil {
		return err
	}
	found := explored{Table: name}
	quoted, t := resolve(name, state)
	if t != nil {
		found.Description, found.SizeBytes = t.Description, t.SizeBytes
	}
	columns, err := db.Columns(ctx, quoted)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			if isRemoteTable(state, name) {
				return hinted{err, name + " stays where it lives: explore it with --remote, or ask it with `da query`."}
			}
			if objects, listErr := db.Objects(ctx); listErr == nil {
				return noTable(name, objects)
			}
		}
		return err
	}
	for _, c := range columns {
		found.Columns = append(found.Columns, column{catalog.Column{Name: c.Name, Type: c.Type}, &c.Nullable})
	}
	if err := found.count(ctx, db, quoted); err != nil {
		return err
	}
	if err := found.sampleOf(ctx, db, quoted); err != nil {
		return err
	}
	return a.give(found, func() { a.showExplored(found) })
}

// resolve finds the SQL name of a table: one of the workspace by id or name, and else an object of the
// analyst's.
func resolve(name string, state *workspace.State) (quoted string, t *workspace.Table) {
	if t, ok := state.Tables[name]; ok {
		return lake.QuoteName(t.Source, t.Name), &t
	}
	for _, id := range slices.Sorted(maps.Keys(state.Tables)) {
		if t := state.Tables[id]; strings.EqualFold(t.Source+"."+t.Name, name) || (t.Alias && strings.EqualFold(t.Name, name)) {
			return lake.QuoteName(t.Source, t.Name), &t
		}
	}
	if schema, table, qualified := strings.Cut(name, "."); qualified {
		return lake.QuoteName(schema, table), nil
	}
	return lake.QuoteIdent(name), nil
}

// isRemoteTable tells whether a name is that of a granted table that stays where it lives.
func isRemoteTable(state *workspace.State, name string) bool {
	for id, t := range state.Remote {
		if id == name || strings.EqualFold(t.Source+"."+t.Name, name) || t.Alias && strings.EqualFold(t.Name, name) {
			return true
		}
	}
	return false
}

func noTable(name string, have []string) error {
	err := fault.New(fault.NotFound, "there is no table %q", name)
	if len(have) == 0 {
		return hinted{err, "The workspace is empty: run `da sync`."}
	}
	const most = 30
	list := strings.Join(have[:min(len(have), most)], ", ")
	if len(have) > most {
		list += ", …"
	}
	return hinted{err, "There are: " + list}
}

func (e *explored) count(ctx context.Context, db *localdb.DB, quoted string) error {
	rows, err := db.Query(ctx, localdb.Question{SQL: "SELECT count(*) FROM " + quoted, Form: localdb.JSON})
	if err != nil {
		return err
	}
	if rows.Next() {
		err = json.Unmarshal([]byte(rows.Row()[0].Text), &e.Rows)
	}
	return errors.Join(err, rows.Err(), rows.Close())
}

func (e *explored) sampleOf(ctx context.Context, db *localdb.DB, quoted string) error {
	sql := "SELECT * FROM " + quoted + " LIMIT 5"
	rows, err := db.Query(ctx, localdb.Question{SQL: sql})
	if err != nil {
		return err
	}
	e.sample = tableOf(rows.Columns)
	for rows.Next() {
		cells := make([]show.Cell, len(rows.Columns))
		for i, v := range rows.Row() {
			cells[i] = show.Cell{Text: v.Text, Null: v.Null}
		}
		e.sample.Rows = append(e.sample.Rows, cells)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	if rows, err = db.Query(ctx, localdb.Question{SQL: sql, Form: localdb.JSON}); err != nil {
		return err
	}
	var text strings.Builder
	out := newWriter(formatJSON, &text, rows.Columns, 0)
	for rows.Next() {
		if err := out.row(rows.Row()); err != nil {
			return err
		}
	}
	_, err = out.end()
	if err := errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text.String()), &e.Sample)
}

func tableOf(columns []catalog.Column) show.Table {
	var t show.Table
	for _, c := range columns {
		t.Columns = append(t.Columns, c.Name)
		t.Right = append(t.Right, isNumber(c.Type))
	}
	return t
}

func (a *app) exploreRemote(ctx context.Context, name string) error {
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	tables, _, err := c.Catalog(ctx)
	if err != nil {
		return err
	}
	t, err := findRemote(name, tables)
	if err != nil {
		return err
	}
	found := explored{Table: t.ID, Description: t.Description, Rows: t.Rows, SizeBytes: t.SizeBytes, QueryMode: t.QueryMode}
	for _, c := range t.Columns {
		found.Columns = append(found.Columns, column{Column: c})
	}
	stream, err := c.Query(ctx, client.QueryRequest{SQL: "SELECT * FROM " + lake.QuoteName(t.Source, t.Name) + " LIMIT 5", Limit: sampleRows})
	if err != nil {
		return err
	}
	answer, err := readAnswer(stream)
	if err := errors.Join(err, stream.Close()); err != nil {
		return err
	}
	found.sampleFrom(answer)
	if found.Profile, err = c.Profile(ctx, t.ID); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return a.give(found, func() { a.showExplored(found) })
}

func findRemote(name string, tables []client.CatalogTable) (client.CatalogTable, error) {
	var have []string
	for _, matches := range []func(client.CatalogTable) bool{
		func(t client.CatalogTable) bool { return t.ID == name },
		func(t client.CatalogTable) bool { return strings.EqualFold(t.Source+"."+t.Name, name) },
		func(t client.CatalogTable) bool { return t.Alias && strings.EqualFold(t.Name, name) },
	} {
		if i := slices.IndexFunc(tables, matches); i >= 0 {
			return tables[i], nil
		}
	}
	for _, t := range tables {
		have = append(have, t.ID)
	}
	return client.CatalogTable{}, noTable(name, have)
}

func (e *explored) sampleFrom(answer remoteAnswer) {
	columns := make([]catalog.Column, len(answer.Columns))
	for i, name := range answer.Columns {
		columns[i].Name = name
		if i < len(answer.Types) {
			columns[i].Type = answer.Types[i]
		}
	}
	e.sample = tableOf(columns)
	for _, row := range answer.Rows {
		cells := make([]show.Cell, len(columns))
		object := map[string]json.RawMessage{}
		for i, raw := range row {
			if i < len(cells) {
				v := textOf(raw)
				cells[i] = show.Cell{Text: v.Text, Null: v.Null}
				object[columns[i].Name] = raw
			}
		}
		e.sample.Rows = append(e.sample.Rows, cells)
		if raw, err := json.Marshal(object); err == nil {
			e.Sample = append(e.Sample, raw)
		}
	}
}

func (a *app) showExplored(e explored) {
	a.print("%s", e.Table)
	if e.Description != "" {
		a.print("%s", show.OneLine(e.Description))
	}
	size := ""
	if e.SizeBytes > 0 {
		size = ", " + show.Bytes(e.SizeBytes)
	}
	rows := show.Count(e.Rows) + " rows"
	if e.QueryMode == catalog.ModeRemote {
		rows = "it stays where it lives"
	}
	a.print("%s, %s%s\n", rows, show.Plural(len(e.Columns), "column"), size)
	columns := show.Table{Columns: []string{"column", "type"}}
	for _, c := range e.Columns {
		kind := c.Type
		if c.Nullable != nil && !*c.Nullable {
			kind += " NOT NULL"
		}
		columns.Rows = append(columns.Rows, []show.Cell{{Text: c.Name}, {Text: kind}})
	}
	width, _ := isTerminal(a.Out)
	_, _ = columns.Write(a.Out, width) // what cannot be written here cannot be told elsewhere
	if len(e.sample.Rows) == 0 {
		return
	}
	a.print("\nThe first %s:\n", show.Plural(len(e.sample.Rows), "row"))
	hidden, _ := e.sample.Write(a.Out, width)
	a.tellCut(false, 0, hidden, len(e.sample.Columns))
}
