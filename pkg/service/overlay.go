package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// OverlayFile holds, in DATA_DIR/state, secrets that were configured while Agnes ran: lines of
// KEY=VALUE. It is readable for its owner alone.
const OverlayFile = ".env_overlay"

var variableName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*\z`)

// ReadOverlay reads DATA_DIR/state/.env_overlay: a variable per line, its value as it stands behind the
// first "=". Empty lines, comments (#) and lines that name no variable are passed over; a missing file
// is an empty one.
func ReadOverlay(dataDir string) (map[string]string, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, "state", OverlayFile))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "cannot read the overlay of the environment, state/%s in DATA_DIR", OverlayFile)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); ok && line[0] != '#' && variableName.MatchString(key) {
			values[key] = strings.TrimSpace(value)
		}
	}
	return values, nil
}

// ApplyOverlay sets the variables of the overlay that the environment of the process does not set, or
// sets to nothing: the environment wins. It gives their names.
func ApplyOverlay(dataDir string) ([]string, error) {
	values, err := ReadOverlay(dataDir)
	if err != nil {
		return nil, err
	}
	var names []string
	for key, value := range values {
		if os.Getenv(key) != "" || value == "" || strings.ContainsRune(value, 0) {
			continue
		}
		if err := os.Setenv(key, value); err != nil {
			return names, fmt.Errorf("set %s from the overlay: %w", key, err)
		}
		names = append(names, key)
	}
	slices.Sort(names)
	return names, nil
}
