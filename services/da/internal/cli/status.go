package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

func (a *app) statusCommand() *cobra.Command {
	var local bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show how server and workspace are", GroupID: groupData, Args: noArgs,
		Long: `Show how the server is, and for each table whether the workspace has its newest
version. With --local the server is not asked.`,
		Example: "  da status\n  da status --local --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if local {
				return a.statusLocal()
			}
			return a.status(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&local, "local", false, "look at the workspace only")
	return cmd
}

// What a table of the workspace is, beside the server's.
const (
	tableCurrent = "current"
	tableOutdate = "outdated"
	tableNew     = "new"     // on the server only
	tableGone    = "gone"    // in the workspace only
	tableDamaged = "damaged" // files are missing
	tableRefused = "refused" // cannot be synced
	tableUnknown = "unknown" // the server was not asked
)

// statusReport is the answer of status.
type statusReport struct {
	Server    *serverStatus   `json:"server,omitempty"`
	Workspace workspaceStatus `json:"workspace"`
	Tables    []tableStatus   `json:"tables"`
	// Remote are the ids of tables that stay where they live, as of the last sync.
	Remote []string `json:"remote_tables"`
	// UpToDate: a sync would have nothing to do.
	UpToDate *bool `json:"up_to_date,omitempty"`
}

type serverStatus struct {
	URL     string `json:"url"`
	Status  string `json:"status"`
	Version string `json:"version"`
	Email   string `json:"email,omitempty"`
	Role    string `json:"role,omitempty"`
}

type workspaceStatus struct {
	Path     string     `json:"path"`
	Server   string     `json:"server,omitempty"`
	Tables   int        `json:"tables"`
	Size     int64      `json:"size_bytes"`
	SyncedAt *time.Time `json:"synced_at"`
	// Complete tells whether the last sync left nothing undone.
	Complete bool `json:"complete"`
}

type tableStatus struct {
	Table     string     `json:"table"`
	Status    string     `json:"status"`
	Rows      int64      `json:"rows"`
	SizeBytes int64      `json:"size_bytes"`
	Updated   *time.Time `json:"updated,omitempty"`
	Missing   int64      `json:"missing_bytes,omitempty"`
	Error     string     `json:"error,omitempty"`
}

func (a *app) statusLocal() error {
	ws, state, report, err := a.lookAround()
	if err != nil {
		return err
	}
	inv, err := ws.Take()
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(state.Tables)) {
		t := state.Tables[id]
		row := describeTable(id, t, tableUnknown)
		for _, p := range t.Parts {
			if !inv.Has(id, p.SHA256, p.SizeBytes) {
				row.Status = tableDamaged
				row.Missing += p.SizeBytes
			}
		}
		report.Tables = append(report.Tables, row)
	}
	return a.give(report, func() { a.showStatus(report) })
}

// lookAround tells about the workspace by itself.
func (a *app) lookAround() (*workspace.Workspace, *workspace.State, *statusReport, error) {
	ws, err := a.find()
	if err != nil {
		return nil, nil, nil, err
	}
	state, _, err := ws.LoadState()
	if err != nil {
		return nil, nil, nil, err
	}
	report := &statusReport{Workspace: workspaceStatus{Path: ws.Root, Server: state.Server, Tables: len(state.Tables)}, Tables: []tableStatus{}, Remote: slices.AppendSeq([]string{}, maps.Keys(state.Remote))}
	slices.Sort(report.Remote)
	for _, t := range state.Tables {
		report.Workspace.Size += t.SizeBytes
	}
	if last := ws.LoadLastSync(); last != nil {
		report.Workspace.Complete = last.Complete
		if !last.SyncedAt.IsZero() {
			report.Workspace.SyncedAt = &last.SyncedAt
		}
	}
	return ws, state, report, nil
}

func describeTable(id string, t workspace.Table, status string) tableStatus {
	row := tableStatus{Table: id, Status: status, Rows: t.Rows, SizeBytes: t.SizeBytes}
	if !t.Updated.IsZero() {
		row.Updated = &t.Updated
	}
	return row
}

func (a *app) status(ctx context.Context) error {
	ws, state, report, err := a.lookAround()
	if err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	c, err := a.dial(ctx, s)
	if err != nil {
		return err
	}
	defer c.Close()
	if report.Server, err = serverNow(ctx, c); err != nil {
		return err
	}
	if s.Token == "" {
		err = signedOut(s)
	} else {
		err = report.compare(ctx, c, ws, state)
	}
	if giveErr := a.give(report, func() { a.showStatus(report) }); giveErr != nil {
		return giveErr
	}
	return err
}

func serverNow(ctx context.Context, c *client.Client) (*serverStatus, error) {
	h, err := c.Health(ctx)
	if err != nil {
		return nil, err
	}
	return &serverStatus{URL: c.Server(), Status: h.Status, Version: h.Version}, nil
}

// compare fills in each table as a sync would find it.
func (r *statusReport) compare(ctx context.Context, c *client.Client, ws *workspace.Workspace, state *workspace.State) error {
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	r.Server.Email, r.Server.Role = me.Email, me.Role
	planned, planErr := mirror.New(c, localdb.New(ws), ws, mirror.Options{DryRun: true}).Sync(ctx)
	if planErr != nil && len(planned.Errors) == 0 {
		return planErr
	}
	byID := map[string]tableStatus{}
	for _, id := range planned.Skipped {
		byID[id] = describeTable(id, state.Tables[id], tableCurrent)
	}
	for _, ch := range planned.Downloaded {
		row := tableStatus{Table: ch.Table, Status: tableOutdate, Rows: ch.Rows, SizeBytes: ch.SizeBytes, Missing: ch.Fetched}
		if ch.New {
			row.Status = tableNew
		}
		byID[ch.Table] = row
	}
	for _, id := range planned.Removed {
		byID[id] = describeTable(id, state.Tables[id], tableGone)
	}
	for _, e := range planned.Errors {
		row := describeTable(e.Table, state.Tables[e.Table], tableRefused)
		row.Error = e.Error
		byID[e.Table] = row
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		r.Tables = append(r.Tables, byID[id])
	}
	upToDate := len(planned.Downloaded)+len(planned.Removed)+len(planned.Errors) == 0
	r.UpToDate = &upToDate
	return nil
}

func (a *app) showStatus(r *statusReport) {
	now := time.Now()
	if r.Server != nil {
		a.print("Server:    %s (%s, version %s)", r.Server.URL, r.Server.Status, r.Server.Version)
		if r.Server.Email != "" {
			a.print("Account:   %s (%s)", r.Server.Email, r.Server.Role)
		}
	}
	a.print("Workspace: %s", r.Workspace.Path)
	var synced time.Time
	if r.Workspace.SyncedAt != nil {
		synced = *r.Workspace.SyncedAt
	}
	note := ""
	if !synced.IsZero() && !r.Workspace.Complete {
		note = "; the last sync left something undone"
	}
	a.print("Synced:    %s, %s, %s%s", show.Ago(synced, now), show.Plural(r.Workspace.Tables, "table"), show.Bytes(r.Workspace.Size), note)
	if len(r.Tables) > 0 {
		table := show.Table{Columns: []string{"table", "status", "rows", "size", "to fetch", "updated"}, Right: []bool{false, false, true, true, true, false}}
		for _, t := range r.Tables {
			missing, updated := "", ""
			if t.Missing > 0 {
				missing = show.Bytes(t.Missing)
			}
			if t.Updated != nil {
				updated = show.Ago(*t.Updated, now)
			}
			table.Rows = append(table.Rows, []show.Cell{
				{Text: t.Table}, {Text: t.Status}, {Text: show.Count(t.Rows)}, {Text: show.Bytes(t.SizeBytes)}, {Text: missing}, {Text: updated},
			})
		}
		width, _ := isTerminal(a.Out)
		a.print("")
		_, _ = table.Write(a.Out, width) // what cannot be written here cannot be told elsewhere
	}
	for _, t := range r.Tables {
		if t.Error != "" {
			a.print("%s: %s", t.Table, t.Error)
		}
	}
	if len(r.Remote) > 0 {
		a.print("\nWhere they live (`da query` asks them there): %s", strings.Join(r.Remote, ", "))
	}
	switch {
	case r.UpToDate == nil:
	case *r.UpToDate:
		a.print("\nUp to date.")
	default:
		a.print("\nRun `da sync` to bring the workspace up to date.")
	}
}
