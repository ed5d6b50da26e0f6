package service

import (
	"os"
	"slices"
)

// typeBigQuery is the connector whose source the environment may configure.
const typeBigQuery = "bigquery"

// addBigQuery adds the source "bigquery" that the predecessor's BIGQUERY_PROJECT configures, where the
// configuration has no source of that type or name, nor a block data_source that says something else. What to
// read of it the registry says: a project may hold more than anybody wants to copy.
func (i *Instance) addBigQuery() {
	project := os.Getenv("BIGQUERY_PROJECT")
	if project == "" || i.dataSource != "" || len(i.OfType(typeBigQuery)) > 0 || slices.ContainsFunc(i.Sources, func(s Source) bool { return s.Name == typeBigQuery }) {
		return
	}
	options := map[string]any{"project": project}
	if location := os.Getenv("BIGQUERY_LOCATION"); location != "" {
		options["location"] = location
	}
	i.Sources = append(i.Sources, Source{Name: typeBigQuery, Type: typeBigQuery, Options: options})
}
