package extract

import (
	"bytes"
	"encoding/json"
	"maps"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Options of a source that the runtime itself reads; every connector has them.
const (
	OptionWatch        = "watch"         // true: the source notices changes by itself, see Watcher
	OptionAutoRegister = "auto_register" // true: what is discovered is registered
)

// Decode reads the source's options into a struct by its json tags. An option that the struct does
// not have is fault.Invalid, so that a misspelt one is noticed; the runtime's own are left out.
func (c SourceConfig) Decode(into any) error {
	options := maps.Clone(c.Options)
	delete(options, OptionWatch)
	delete(options, OptionAutoRegister)
	return decodeOptions(options, into, "the source "+c.Name)
}

// Decode reads the table's options into a struct by its json tags, as SourceConfig.Decode does.
func (t TableSpec) Decode(into any) error {
	return decodeOptions(t.Options, into, "the table "+t.Name)
}

func decodeOptions(options map[string]any, into any, of string) error {
	if options == nil {
		options = map[string]any{}
	}
	raw, err := json.Marshal(options)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		err = d.Decode(into)
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "an option of %s cannot be used: %s", of, err)
	}
	return nil
}

func (c SourceConfig) enabled(option string) bool {
	switch v := c.Options[option].(type) {
	case bool:
		return v
	case string:
		return v == "true"
	}
	return false
}

// specOf reads a row of the registry.
func specOf(t *agnesv1.RegisteredTable) (TableSpec, error) {
	spec := TableSpec{
		Name: t.GetName(), Bucket: t.GetBucket(), SourceTable: t.GetSourceTable(), Description: t.GetDescription(),
		QueryMode: t.GetQueryMode(), SyncStrategy: t.GetSyncStrategy(), Folder: t.GetFolder(), PrimaryKey: t.GetPrimaryKey(),
	}
	if spec.QueryMode == "" {
		spec.QueryMode = catalog.ModeLocal
	}
	if err := catalog.ValidTableName(spec.Name); err != nil {
		return spec, fault.Wrap(err, fault.Invalid, "%s", err.Error())
	}
	if raw := t.GetOptionsJson(); raw != "" {
		if err := json.Unmarshal([]byte(raw), &spec.Options); err != nil {
			return spec, fault.Wrap(err, fault.Invalid, "the options of the table %s are not a JSON object", spec.Name)
		}
	}
	return spec, spec.readContract()
}
