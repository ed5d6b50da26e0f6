package service

import (
	"os"
	"slices"
)

// typeKeboola is the connector whose source the environment may configure.
const typeKeboola = "keboola"

// keboolaVariables are the predecessor's names of the stack and of its token, the first that is set.
var keboolaVariables = [][2]string{{"KEBOOLA_STACK_URL", "KEBOOLA_STORAGE_TOKEN"}, {"KBC_STACK_URL", "KBC_STORAGE_TOKEN"}}

// addKeboola adds the source "keboola" that KEBOOLA_STACK_URL configures, where the configuration has no
// source of that type or name, nor a block data_source that says something else. What it finds in the project is registered, as the predecessor did. The
// token stays in its variable, which the extractor alone is given.
func (i *Instance) addKeboola() {
	if i.dataSource != "" || len(i.OfType(typeKeboola)) > 0 || slices.ContainsFunc(i.Sources, func(s Source) bool { return s.Name == typeKeboola }) {
		return
	}
	for _, v := range keboolaVariables {
		stack := os.Getenv(v[0])
		if stack == "" {
			continue
		}
		i.Sources = append(i.Sources, Source{Name: typeKeboola, Type: typeKeboola, Options: map[string]any{
			"stack_url": stack, "token_env": v[1], "auto_register": true,
		}})
		return
	}
}
