package configure

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// setting is one value of the configuration and where it stands.
type setting struct {
	path  []string
	value string
}

// merged gives the text of the file at path with the settings in it, and the names of those that are
// different now. Everything else stays: keys that nobody knows, ${VAR} as it is written, comments.
func merged(path string, settings []setting) (text []byte, changed []string, err error) {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read the configuration: %w", err)
	}
	tree, comments := yaml.MapSlice{}, yaml.CommentMap{}
	if len(strings.TrimSpace(string(raw))) > 0 {
		if err := yaml.UnmarshalWithOptions(raw, &tree, yaml.UseOrderedMap(), yaml.CommentToMap(comments)); err != nil {
			return nil, nil, fault.New(fault.Conflict, "state/instance.yaml in DATA_DIR is not a mapping in YAML: repair it first")
		}
	}
	for _, s := range settings {
		next, different, err := put(tree, s.path, s.value)
		if err != nil {
			return nil, nil, err
		}
		if tree = next; different {
			changed = append(changed, strings.Join(s.path, "."))
		}
	}
	text, err = yaml.MarshalWithOptions(tree, yaml.WithComment(comments))
	if err != nil {
		return nil, nil, fmt.Errorf("write the configuration: %w", err)
	}
	return text, changed, nil
}

func put(m yaml.MapSlice, path []string, value string) (yaml.MapSlice, bool, error) {
	at := -1
	for n, item := range m {
		if item.Key == path[0] {
			at = n
		}
	}
	if at < 0 {
		m = append(m, yaml.MapItem{Key: path[0]})
		at = len(m) - 1
	}
	if len(path) == 1 {
		different := m[at].Value != any(value)
		m[at].Value = value
		return m, different, nil
	}
	var below yaml.MapSlice
	switch v := m[at].Value.(type) {
	case nil:
	case yaml.MapSlice:
		below = v
	default:
		return nil, false, fault.New(fault.Conflict, "%s in state/instance.yaml is not a mapping: repair it first", path[0])
	}
	below, different, err := put(below, path[1:], value)
	m[at].Value = below
	return m, different, err
}
