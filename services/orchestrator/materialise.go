package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Tables of other programs promise nothing about their files: they may be rewritten in place while a
// reader has half of them. They are copied into immutable parts of our own, named by their content,
// and copied again only when what they were read from has changed.

const (
	// copyTries bounds how often a table is copied again whose files changed meanwhile.
	copyTries = 3
	// copyPause is how long such a table is left alone before that.
	copyPause = 300 * time.Millisecond
)

// inputs remembers from what the generated parts of a source were read. Losing it costs a copy.
type inputs struct {
	Tables map[string]input `json:"tables"`
	dirty  bool
}

type input struct {
	// Stamp is that of extract.duckdb.
	Stamp string `json:"stamp"`
	// Files are the stamps of the files that the extract refers to, by absolute path.
	Files map[string]string `json:"files,omitempty"`
	Parts []catalog.Part    `json:"parts"`
}

// partsDir is where the generated parts of a source are, relative to the data directory.
func partsDir(source string) string {
	return path.Join(filepath.ToSlash(catalog.DerivedDir("")), source)
}

// inputsPath cannot be the folder of a table, whose name never starts with a dot.
func (o *Orchestrator) inputsPath(source string) string {
	return filepath.Join(o.dataDir, filepath.FromSlash(partsDir(source)), ".inputs.json")
}

func (o *Orchestrator) loadInputs(source string) *inputs {
	in := &inputs{}
	raw, err := os.ReadFile(o.inputsPath(source))
	if err != nil || json.Unmarshal(raw, in) != nil || in.Tables == nil {
		return &inputs{Tables: make(map[string]input)}
	}
	return in
}

// saveInputs writes the inputs of the tables that are still listed.
func (o *Orchestrator) saveInputs(source string, in *inputs, listed []extract.VersionTable) error {
	for name := range in.Tables {
		if !slices.ContainsFunc(listed, func(t extract.VersionTable) bool { return t.Name == name }) {
			delete(in.Tables, name)
			in.dirty = true
		}
	}
	if !in.dirty {
		return nil
	}
	raw, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("remember the inputs of source %s: %w", source, err)
	}
	if err := o.replace(o.inputsPath(source), raw); err != nil {
		return fmt.Errorf("remember the inputs of source %s: %w", source, err)
	}
	return nil
}

// inputsChanged tells whether a file behind a generated part is another one than it was read from.
// It looks at the file system's stamps only.
func (o *Orchestrator) inputsChanged(source string) bool {
	for _, in := range o.loadInputs(source).Tables {
		for file, stamp := range in.Files {
			if now, err := fileStamp(file); err != nil || now != stamp {
				return true
			}
		}
	}
	return false
}

// materialise gives generated parts with the rows of a table: those that stand, where nothing they
// were read from changed, or new ones.
func (d *draft) materialise(ctx context.Context, t extract.VersionTable) ([]catalog.Part, error) {
	stamps, err := fileStamps(t.Files)
	if err != nil {
		return nil, err
	}
	known, ok := d.inputs.Tables[t.Name]
	if ok && known.Stamp == d.version.Stamp && equalStamps(known.Files, stamps) && d.o.missingPart(known.Parts) == nil {
		return known.Parts, nil
	}
	for try := range copyTries {
		if try > 0 {
			if !pause(ctx, copyPause) {
				return nil, ctx.Err()
			}
			if stamps, err = fileStamps(t.Files); err != nil {
				return nil, err
			}
		}
		parts, err := extract.CopyOut(ctx, d.o.dataDir, d.version, t.Name, partsDir(d.version.Source))
		if fault.Is(err, fault.Unavailable) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if after, err := d.stampsAfter(t); err == nil && equalStamps(stamps, after) {
			d.copied(known.Parts, parts)
			d.inputs.Tables[t.Name] = input{Stamp: d.version.Stamp, Files: stamps, Parts: parts}
			d.inputs.dirty = true
			return parts, nil
		}
	}
	return nil, fault.New(fault.Unavailable, "its files are being rewritten; write them aside, rename them, and announce the extract again")
}

// stampsAfter stamps the files of a table again. An extract that was replaced meanwhile is another
// version: what was copied may be a mixture.
func (d *draft) stampsAfter(t extract.VersionTable) (map[string]string, error) {
	stamp, err := extract.StampOf(d.o.dataDir, d.version.Source)
	if err != nil {
		return nil, err
	}
	if stamp != d.version.Stamp {
		return nil, fault.New(fault.Unavailable, "the extract was replaced while it was read").After(copyPause)
	}
	return fileStamps(t.Files)
}

// copied counts what was written anew.
func (d *draft) copied(before, after []catalog.Part) {
	for _, p := range after {
		if !slices.ContainsFunc(before, func(b catalog.Part) bool { return b.SHA256 == p.SHA256 }) {
			d.o.metrics.copied.Add(float64(p.SizeBytes))
		}
	}
}

func fileStamps(files []string) (map[string]string, error) {
	stamps := make(map[string]string, len(files))
	for _, f := range files {
		stamp, err := fileStamp(f)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Wrap(err, fault.NotFound, "the file %s is missing", filepath.Base(f))
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the file %s cannot be read", filepath.Base(f))
		}
		stamps[f] = stamp
	}
	return stamps, nil
}

func equalStamps(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for f, s := range a {
		if b[f] != s {
			return false
		}
	}
	return true
}
