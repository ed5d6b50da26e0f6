package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
)

// Rebuild publishes every source that stands in extracts/ and takes out those that are gone, one
// after the other. A source that fails hides no other: its error is joined to the others'.
func (o *Orchestrator) Rebuild(ctx context.Context) ([]Result, error) {
	names, err := o.everySource()
	if err != nil {
		return nil, err
	}
	return o.rebuildAll(ctx, names)
}

func (o *Orchestrator) rebuildAll(ctx context.Context, names []string) ([]Result, error) {
	var results []Result
	var failed []error
	for _, name := range names {
		result, err := o.RebuildSource(ctx, name)
		switch {
		case ctx.Err() != nil:
			return results, ctx.Err()
		case err != nil:
			zerolog.Ctx(ctx).Warn().Err(err).Str(service.FieldSource, name).Msg("a source could not be rebuilt")
			failed = append(failed, err)
		default:
			results = append(results, result)
		}
	}
	return results, errors.Join(failed...)
}

// everySource names the sources that have an extract or are published, ordered.
func (o *Orchestrator) everySource() ([]string, error) {
	standing, err := o.standingExtracts()
	if err != nil {
		return nil, err
	}
	published, problems, err := catalog.LoadSources(o.dataDir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the published catalog cannot be listed")
	}
	_ = problems // a damaged document is written anew by the rebuild of its source
	names := make([]string, 0, len(standing)+len(published))
	for name := range standing {
		names = append(names, name)
	}
	for _, s := range published {
		if _, ok := standing[s.Name]; !ok {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Stale names the sources whose publication is not that of the extract that stands now: new ones,
// changed ones, those that are gone, those of which a later try may publish more, and those with an
// announcement that was not sent. It looks at stamps only and opens no extract.
func (o *Orchestrator) Stale() ([]string, error) {
	standing, err := o.standingExtracts()
	if err != nil {
		return nil, err
	}
	published, _, err := catalog.LoadSources(o.dataDir)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the published catalog cannot be listed")
	}
	recheck := o.takeRecheck()
	stale, err := o.noted()
	if err != nil {
		return nil, err
	}
	for _, s := range published {
		stamp, stands := standing[s.Name]
		if !stands || stamp != s.ExtractStamp || o.inputsChanged(s.Name) || o.remotesChanged(s, recheck) {
			stale = append(stale, s.Name)
		}
		delete(standing, s.Name)
	}
	for name := range standing {
		stale = append(stale, name)
	}
	slices.Sort(stale)
	return slices.Compact(stale), nil
}

// remotesChanged tells whether the allow-lists say something else today about the attachments of a
// source than when it was published.
func (o *Orchestrator) remotesChanged(s catalog.Source, recheck bool) bool {
	allowed, _ := allowedRemotes(s.Remotes, o.allowLists())
	if len(allowed) != len(s.Remotes) {
		return true
	}
	return recheck && slices.ContainsFunc(s.Problems, func(p catalog.Problem) bool { return p.Code == catalog.ProblemRemoteRefused })
}

// standingExtracts lists the sources with an extract.duckdb and its stamp. A folder that cannot name
// a source, and one of two that differ only in letter case while neither is published, are reported
// and left out.
func (o *Orchestrator) standingExtracts() (map[string]string, error) {
	entries, err := os.ReadDir(catalog.ExtractsDir(o.dataDir))
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the folder of extracts cannot be listed")
	}
	stamps := make(map[string]string, len(entries))
	var bad []catalog.Problem
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Type().IsRegular() {
			continue
		}
		if err := catalog.ValidSourceName(e.Name()); err != nil {
			bad = append(bad, catalog.Problem{Code: catalog.ProblemBadName, Message: err.Error()})
			continue
		}
		stamp, err := extract.StampOf(o.dataDir, e.Name())
		if err != nil {
			bad = append(bad, catalog.Problem{Code: catalog.ProblemUnreadable, Message: "source " + e.Name() + ": " + fault.Message(err)})
			stamps[e.Name()] = "unreadable" // it is there: that is all that is known
			continue
		}
		if stamp != "" {
			stamps[e.Name()] = stamp
		}
	}
	bad = append(bad, o.dropTwins(stamps)...)
	o.metrics.problemsOf("", bad)
	o.noteFolders(bad)
	return stamps, nil
}

// noteFolders remembers which folders under extracts/ cannot be published. They have no document that
// could say so.
func (o *Orchestrator) noteFolders(bad []catalog.Problem) {
	sortProblems(bad)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.foldersNew = o.foldersNew || !slices.Equal(o.folders, bad)
	o.folders = bad
}

// newFolderProblems gives the problems with folders, once after each change of them.
func (o *Orchestrator) newFolderProblems() []catalog.Problem {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.foldersNew {
		return nil
	}
	o.foldersNew = false
	return o.folders
}

// dropTwins leaves out sources that differ only in letter case, but for the one that is published.
func (o *Orchestrator) dropTwins(stamps map[string]string) []catalog.Problem {
	byFold := make(map[string][]string, len(stamps))
	for name := range stamps {
		f := strings.ToLower(name)
		byFold[f] = append(byFold[f], name)
	}
	var bad []catalog.Problem
	for _, names := range byFold {
		if len(names) < 2 {
			continue
		}
		slices.Sort(names)
		for _, name := range names {
			if !o.isPublished(name) {
				delete(stamps, name)
				bad = append(bad, catalog.Problem{Code: catalog.ProblemBadName, Message: fmt.Sprintf("the sources %s differ only in letter case: rename one of their folders", strings.Join(names, ", "))})
			}
		}
	}
	return bad
}
