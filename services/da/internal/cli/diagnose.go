package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
	"github.com/agnes-platform/agnes/services/da/internal/mirror"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
	"github.com/agnes-platform/agnes/services/da/internal/show"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// Outcomes of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn"
	checkFail = "fail"
)

// check is one thing that diagnose looked at.
type check struct {
	Name      string `json:"name"`
	Status    string `json:"status"`
	LatencyMS int64  `json:"latency_ms"`
	Detail    string `json:"detail"`
	action    string
}

// diagnosis is all that diagnose found.
type diagnosis struct {
	Overall string   `json:"overall"`
	Checks  []check  `json:"checks"`
	Actions []string `json:"suggested_actions"`
}

func (a *app) diagnoseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diagnose", Short: "Look at each step between you and your data", GroupID: groupData, Args: noArgs,
		Long: `Check configuration, server, credential, clock, workspace, disk, database, views
and what a sync would do, each with its time, and suggest what to do. The exit
code is 1 where a check fails.`,
		Example: "  da diagnose\n  da diagnose --json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.diagnose(cmd.Context()) },
	}
	ignore(cmd, "symptom", "component")
	return cmd
}

// examiner runs the checks and keeps what the later ones need of the earlier.
type examiner struct {
	*app
	settings *settings.Settings
	client   *client.Client
	ws       *workspace.Workspace
	found    diagnosis
}

// finding is the outcome of one check: a detail, and an action where something is not right.
type finding struct{ status, detail, action string }

func fine(format string, args ...any) finding {
	return finding{status: checkOK, detail: fmt.Sprintf(format, args...)}
}

func (e *examiner) failed(err error) finding {
	return finding{status: checkFail, detail: fault.Message(err), action: e.hint(err)}
}

func (a *app) diagnose(ctx context.Context) error {
	e := &examiner{app: a, found: diagnosis{Actions: []string{}}}
	defer func() {
		if e.client != nil {
			e.client.Close()
		}
	}()
	e.run(ctx, "configuration", e.configuration)
	if e.client != nil {
		e.run(ctx, "server", e.reach)
		e.run(ctx, "version and clock", e.version)
		e.run(ctx, "credential", e.credential)
	}
	e.run(ctx, "workspace", e.writable)
	if e.ws != nil {
		e.run(ctx, "disk space", e.space)
		e.run(ctx, "database", e.database)
		e.run(ctx, "views", e.views)
		if e.client != nil && e.settings.Token != "" {
			e.run(ctx, "sync", e.plan)
		}
	}
	e.found.Overall = e.overall()
	if err := a.give(e.found, func() { a.showDiagnosis(e.found) }); err != nil {
		return err
	}
	if e.found.Overall == "failing" {
		return errTold
	}
	return nil
}

func (e *examiner) run(ctx context.Context, name string, look func(context.Context) finding) {
	began := time.Now()
	f := look(ctx)
	c := check{Name: name, Status: f.status, LatencyMS: time.Since(began).Milliseconds(), Detail: f.detail, action: f.action}
	e.found.Checks = append(e.found.Checks, c)
	if c.Status != checkOK && c.action != "" {
		e.found.Actions = append(e.found.Actions, name+": "+c.action)
	}
}

func (e *examiner) overall() string {
	overall := "healthy"
	for _, c := range e.found.Checks {
		if c.Status == checkFail {
			return "failing"
		}
		if c.Status == checkWarn {
			overall = "degraded"
		}
	}
	return overall
}

func (e *examiner) configuration(ctx context.Context) finding {
	s, err := e.app.settings()
	if err != nil {
		return e.failed(err)
	}
	s.Retries = -1
	if e.client, err = e.dial(ctx, s); err != nil {
		return e.failed(err)
	}
	e.settings = s
	return fine("server %s (from %s), configuration in %s", s.Server, s.ServerFrom, s.Dir)
}

func (e *examiner) reach(ctx context.Context) finding {
	h, err := e.client.Health(ctx)
	if err != nil {
		return e.failed(err)
	}
	if h.Status != "healthy" {
		return finding{checkWarn, "it says that it is " + h.Status, "Tell an administrator; `da status` still shows your tables."}
	}
	return fine("healthy")
}

// maxSkew is how far two clocks may differ before tokens and schedules surprise people.
const maxSkew = 2 * time.Minute

func (e *examiner) version(ctx context.Context) finding {
	began := time.Now()
	v, at, err := e.client.Version(ctx)
	if err != nil {
		return e.failed(err)
	}
	text := "server " + v.Version
	if at.IsZero() {
		return fine("%s", text)
	}
	skew := at.Sub(began).Round(time.Second)
	if skew > maxSkew || skew < -maxSkew {
		return finding{checkWarn, fmt.Sprintf("%s; its clock differs from this machine's by %s", text, skew), "Set the clock of this machine (or of the server) right."}
	}
	return fine("%s; the clocks agree", text)
}

func (e *examiner) credential(ctx context.Context) finding {
	if e.settings.Token == "" {
		return e.failed(signedOut(e.settings))
	}
	me, err := e.client.Me(ctx)
	if err != nil {
		return e.failed(err)
	}
	text := fmt.Sprintf("%s (%s), by %s", me.Email, me.Role, credential(me.Credential, e.settings.TokenFrom))
	if at := me.Credential.ExpiresAt; at != nil && time.Until(*at) < 72*time.Hour && me.Credential.Kind == "pat" {
		return finding{checkWarn, text, "The token ends soon: make a new one with `da token create`."}
	}
	return fine("%s", text)
}

func (e *examiner) writable(context.Context) finding {
	ws, err := e.find()
	if err != nil {
		return e.failed(err)
	}
	e.ws = ws
	dir := ws.Metadata()
	for {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	probe, err := os.CreateTemp(dir, ".da-probe-*")
	if err != nil {
		return finding{checkFail, dir + " cannot be written", "Choose another folder with --workspace or " + settings.EnvWorkspace + ", or make this one yours."}
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	if old := ws.Old(); len(old) > 0 {
		return finding{checkWarn, ws.Root + " has files of an older da", "They are no longer used: `da sync` tells how to copy what is yours."}
	}
	return fine("%s", ws.Root)
}

// lowSpace is when to warn of a disk that fills up.
const lowSpace = 1 << 30

func (e *examiner) space(context.Context) finding {
	dir := e.ws.Root
	free, known := workspace.Free(dir)
	switch {
	case !known:
		return fine("unknown")
	case free < lowSpace:
		return finding{checkWarn, show.Bytes(free) + " free", "Make room: a sync needs space for the old and the new version of what changes."}
	}
	return fine("%s free", show.Bytes(free))
}

func (e *examiner) database(ctx context.Context) finding {
	if _, err := os.Stat(e.ws.Database()); errors.Is(err, fs.ErrNotExist) {
		return finding{checkWarn, "there is none yet", "Run `da sync`."}
	}
	db := localdb.New(e.ws)
	db.Patience = time.Second
	objects, err := db.Objects(ctx)
	if err != nil {
		return e.failed(err)
	}
	return fine("opens, with %s", show.Plural(len(objects), "object"))
}

func (e *examiner) views(ctx context.Context) finding {
	if _, err := os.Stat(e.ws.Database()); err != nil {
		return fine("none")
	}
	db := localdb.New(e.ws)
	db.Patience = time.Second
	broken, err := db.Broken(ctx)
	if err != nil {
		return e.failed(err)
	}
	for name, why := range broken {
		return finding{checkFail, fmt.Sprintf("%s cannot be read, such as %s: %s", show.Plural(len(broken), "view"), name, fault.Message(why)), "Run `da sync --verify`; a view of your own may need to be made anew."}
	}
	return fine("all can be read")
}

func (e *examiner) plan(ctx context.Context) finding {
	r, err := mirror.New(e.client, localdb.New(e.ws), e.ws, mirror.Options{DryRun: true}).Sync(ctx)
	switch {
	case err != nil:
		return e.failed(err)
	case len(r.Downloaded)+len(r.Removed) > 0:
		return finding{checkWarn, fmt.Sprintf("%s to fetch (%s), %s to remove", show.Plural(len(r.Downloaded), "table"), show.Bytes(r.Bytes), show.Count(int64(len(r.Removed)))), "Run `da sync`."}
	}
	return fine("%s, all up to date", show.Plural(r.Total, "table"))
}

func (a *app) showDiagnosis(d diagnosis) {
	a.print("Overall: %s", d.Overall)
	for _, c := range d.Checks {
		a.print("  [%-4s] %s (%d ms): %s", c.Status, c.Name, c.LatencyMS, show.OneLine(c.Detail))
	}
	if len(d.Actions) > 0 {
		a.print("Suggested actions:")
		for _, s := range d.Actions {
			a.print("  - %s", s)
		}
	}
}
