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

	"github.com/goccy/go-yaml"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// InstanceFile is the name of the instance's configuration in CONFIG_DIR.
const InstanceFile = "instance.yaml"

// Instance is the configuration that all services of one installation share.
type Instance struct {
	// Name is shown to users.
	Name    string
	Sources []Source
	// Aliases resolves collisions of unqualified names: name → "source.table".
	Aliases map[string]string
	// RemoteAttach bounds what an extract's _remote_attach may name.
	RemoteAttach AllowLists
	// RemoteQuery bounds queries over what is not copied, with defaults where the file says nothing.
	RemoteQuery RemoteQuery
	// AllowedDomains are the domains of e-mail addresses that may sign up by themselves, in lower case;
	// none of them where the list is empty.
	AllowedDomains []string
	// Dir is the folder that relative paths of the configuration start from.
	Dir string
	// Unset names the environment variables that the file uses and that have no value.
	Unset []string

	// dataSource is the source that the predecessor's block data_source named; a later file that has the
	// block, too, names another one in its place.
	dataSource string
}

// Source is one configured source: which connector serves it, and the connector's options.
type Source struct {
	Name    string
	Type    string
	Options map[string]any
}

// Source finds a source by name.
func (i *Instance) Source(name string) (Source, bool) {
	for _, s := range i.Sources {
		if s.Name == name {
			return s, true
		}
	}
	return Source{}, false
}

// OfType gives the sources that the connector type serves.
func (i *Instance) OfType(connector string) []Source {
	var of []Source
	for _, s := range i.Sources {
		if s.Type == connector {
			of = append(of, s)
		}
	}
	return of
}

type instanceFile struct {
	Instance struct {
		Name string `yaml:"name"`
	} `yaml:"instance"`
	Sources      []map[string]any  `yaml:"sources"`
	DataSource   map[string]any    `yaml:"data_source"`
	Aliases      map[string]string `yaml:"aliases"`
	RemoteAttach AllowLists        `yaml:"remote_attach"`
	RemoteQuery  map[string]any    `yaml:"remote_query"`
	Auth         struct {
		AllowedDomain  any `yaml:"allowed_domain"`
		AllowedDomains any `yaml:"allowed_domains"`
	} `yaml:"auth"`
}

// LoadInstance reads CONFIG_DIR/instance.yaml and, over it, DATA_DIR/state/instance.yaml, which the
// api writes. A missing file is an empty one. ${VAR} and ${VAR:-default} in any text are replaced
// from the environment; an unset variable is empty and is listed in Unset. A file that cannot be
// parsed, or a source without a usable name and type, is a fault of kind invalid that names the file.
func LoadInstance(configDir, dataDir string) (*Instance, error) {
	dir, err := filepath.Abs(configDir)
	if err != nil {
		return nil, fmt.Errorf("resolve CONFIG_DIR: %w", err)
	}
	i := &Instance{Name: "Agnes", Aliases: map[string]string{}, Dir: dir, RemoteQuery: DefaultRemoteQuery()}
	for _, path := range []string{filepath.Join(dir, InstanceFile), filepath.Join(dataDir, "state", InstanceFile)} {
		if err := i.read(path); err != nil {
			return nil, err
		}
	}
	i.addJira()
	i.addKeboola()
	i.addBigQuery()
	slices.Sort(i.Unset)
	i.Unset = slices.Compact(i.Unset)
	return i, nil
}

func (i *Instance) read(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "cannot read the configuration %s", path)
	}
	var tree any
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return fault.New(fault.Invalid, "%s is not valid YAML: %s", path, yaml.FormatError(err, false, true))
	}
	if tree == nil {
		return nil
	}
	resolved, err := yaml.Marshal(i.interpolate(tree))
	if err != nil {
		return fmt.Errorf("resolve %s: %w", path, err)
	}
	var f instanceFile
	if err := yaml.Unmarshal(resolved, &f); err != nil {
		return fault.New(fault.Invalid, "%s: %s", path, yaml.FormatError(err, false, false))
	}
	return i.merge(path, f)
}

func (i *Instance) merge(path string, f instanceFile) error {
	if f.Instance.Name != "" {
		i.Name = f.Instance.Name
	}
	for k, v := range f.Aliases {
		i.Aliases[k] = v
	}
	i.RemoteAttach.Extensions = append(i.RemoteAttach.Extensions, f.RemoteAttach.Extensions...)
	i.RemoteAttach.Hosts = append(i.RemoteAttach.Hosts, f.RemoteAttach.Hosts...)
	i.RemoteAttach.TokenEnvs = append(i.RemoteAttach.TokenEnvs, f.RemoteAttach.TokenEnvs...)
	if err := i.mergeDomains(f); err != nil {
		return fault.New(fault.Invalid, "%s: %s", path, err)
	}
	if err := i.mergeRemoteQuery(f.RemoteQuery); err != nil {
		return fault.New(fault.Invalid, "%s: %s", path, err)
	}
	sources, err := sourcesOf(f)
	if err != nil {
		return fault.New(fault.Invalid, "%s: %s", path, err)
	}
	if named, _ := f.DataSource["type"].(string); named != "" {
		i.Sources = slices.DeleteFunc(i.Sources, func(s Source) bool { return s.Name == i.dataSource && s.Name != named })
		i.dataSource = named
	}
	for _, s := range sources {
		at := slices.IndexFunc(i.Sources, func(o Source) bool { return strings.EqualFold(o.Name, s.Name) })
		if at >= 0 {
			i.Sources[at] = s // the later file wins
			continue
		}
		i.Sources = append(i.Sources, s)
	}
	return nil
}

// mergeDomains takes over who may sign up, where the file says so: the later file wins as a whole.
func (i *Instance) mergeDomains(f instanceFile) error {
	if f.Auth.AllowedDomain == nil && f.Auth.AllowedDomains == nil {
		return nil
	}
	domains := []string{}
	for _, v := range []any{f.Auth.AllowedDomain, f.Auth.AllowedDomains} {
		texts, ok := v.([]any)
		if !ok && v != nil {
			texts = []any{v}
		}
		for _, text := range texts {
			more, err := ParseDomains(fmt.Sprint(text))
			if err != nil {
				return fmt.Errorf("auth.allowed_domain: %w", err)
			}
			domains = append(domains, more...)
		}
	}
	slices.Sort(domains)
	i.AllowedDomains = slices.Compact(domains)
	return nil
}

var domainName = regexp.MustCompile(`\A([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z`)

// ParseDomains reads domains of e-mail addresses, separated by commas or spaces, each with or without
// an @ before it, and gives them in lower case. What is not a domain is a fault of kind invalid: a
// wildcard too, so that nobody lets in more than they meant.
func ParseDomains(text string) ([]string, error) {
	domains := []string{}
	for _, d := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == ';' }) {
		d = strings.TrimPrefix(strings.ToLower(d), "@")
		if len(d) > 253 || !domainName.MatchString(d) {
			return nil, fault.New(fault.Invalid, "%q is not a domain such as example.com", d)
		}
		domains = append(domains, d)
	}
	return domains, nil
}

// sourcesOf reads the list `sources` and the predecessor's block `data_source`, whose one source is
// named after its type.
func sourcesOf(f instanceFile) ([]Source, error) {
	var out []Source
	seen := map[string]bool{}
	for n, block := range f.Sources {
		s := Source{Options: map[string]any{}}
		for k, v := range block {
			switch k {
			case "name":
				s.Name = fmt.Sprint(v)
			case "type":
				s.Type = fmt.Sprint(v)
			default:
				s.Options[k] = v
			}
		}
		if err := catalog.ValidSourceName(s.Name); err != nil {
			return nil, fmt.Errorf("sources[%d]: %w", n, err)
		}
		if s.Type == "" {
			return nil, fmt.Errorf("sources[%d] (%s): the type is missing, such as `type: csv`", n, s.Name)
		}
		if seen[strings.ToLower(s.Name)] {
			return nil, fmt.Errorf("sources[%d]: the name %s is used twice", n, s.Name)
		}
		seen[strings.ToLower(s.Name)] = true
		out = append(out, s)
	}
	old, _ := f.DataSource["type"].(string)
	if old == "" || old == "local" || seen[old] {
		return out, nil
	}
	options, _ := f.DataSource[old].(map[string]any)
	if options == nil {
		options = map[string]any{}
	}
	if err := catalog.ValidSourceName(old); err != nil {
		return nil, fmt.Errorf("data_source: %w", err)
	}
	return append(out, Source{Name: old, Type: old, Options: options}), nil
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)

func (i *Instance) interpolate(v any) any {
	switch v := v.(type) {
	case string:
		return variable.ReplaceAllStringFunc(v, func(m string) string {
			part := variable.FindStringSubmatch(m)
			if value := os.Getenv(part[1]); value != "" {
				return value
			}
			if part[2] == "" {
				i.Unset = append(i.Unset, part[1])
			}
			return part[3]
		})
	case map[string]any:
		for k, e := range v {
			v[k] = i.interpolate(e)
		}
	case []any:
		for n, e := range v {
			v[n] = i.interpolate(e)
		}
	}
	return v
}
