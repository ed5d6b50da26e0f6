package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Place names what a worker is confined to that shows the views: the tables by their names, the folders
// that hold nothing but their parts, and each part that stands elsewhere. A worker of a place can be bound
// to later versions of the same tables, for it may read no more by that.
func Place(dataDir string, views []lake.View) string {
	h := sha256.New()
	for _, v := range views {
		_, _ = fmt.Fprintf(h, "%q %q %q\n", v.Schema, v.Name, v.Aliases)
	}
	folders, files := placesOf(dataDir, views)
	_, _ = fmt.Fprintf(h, "%q %q", folders, files)
	return hex.EncodeToString(h.Sum(nil))
}

// FetchedDir is where rows stand that were fetched for one question: a worker that has no place yet may be let into
// files of it, and one that has a place reads those of its own place alone.
func FetchedDir(dataDir string) string { return filepath.Join(dataDir, "tmp", "fetched") }

// placesOf are the folders in which a table has all of its parts to itself, which is how connectors and
// the orchestrator write them, those of what was fetched for one place, and parts that stand anywhere else.
func placesOf(dataDir string, views []lake.View) (folders, files []string) {
	seen := make(map[string]bool)
	for _, v := range views {
		for _, f := range v.Files {
			folder := filepath.Dir(f)
			if !ofOnePlace(dataDir, folder) {
				files = append(files, f)
			} else if !seen[folder] {
				seen[folder] = true
				folders = append(folders, folder)
			}
		}
	}
	return folders, files
}

// ofOnePlace tells whether a folder holds nothing but the parts of one table, or what was fetched for one place.
func ofOnePlace(dataDir, folder string) bool {
	below := func(root string) []string {
		inside, err := filepath.Rel(root, folder)
		if err != nil || inside == "." || inside == ".." || strings.HasPrefix(inside, ".."+string(filepath.Separator)) {
			return nil
		}
		return strings.Split(inside, string(filepath.Separator))
	}
	steps := below(catalog.ExtractsDir(dataDir))
	return len(steps) == 3 && steps[1] == "data" || len(below(catalog.DerivedDir(dataDir))) == 2 || len(below(FetchedDir(dataDir))) > 0
}
