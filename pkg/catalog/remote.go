package catalog

import (
	"regexp"
	"strings"
)

// remoteView matches the one form in which a remote table may be defined: all or some plain columns
// of one table of an attached catalog. Anything more could read what was never allowed.
var remoteView = regexp.MustCompile(strings.ReplaceAll(
	`(?is)\A\s*select\s+(?:\*|IDENT(?:\s*,\s*IDENT)*)\s+from\s+(IDENT)\s*\.\s*(IDENT)(?:\s*\.\s*(IDENT))?\s*;?\s*\z`,
	"IDENT", `(?:[a-z_][a-z0-9_]*|"(?:[^"\x00]|"")+")`,
))

// RemotePath reads the definition of a remote table (Table.RemoteSQL): the alias of the catalog that it
// lives in, in lower case, and what it is called there, a schema and a table or a table alone. ok is false
// where the definition is of another form than a plain SELECT of columns of one table.
func RemotePath(sql string) (alias string, path []string, ok bool) {
	m := remoteView.FindStringSubmatch(sql)
	if m == nil {
		return "", nil, false
	}
	path = []string{unquote(m[2])}
	if m[3] != "" {
		path = append(path, unquote(m[3]))
	}
	return strings.ToLower(unquote(m[1])), path, true
}

func unquote(ident string) string {
	if strings.HasPrefix(ident, `"`) {
		return strings.ReplaceAll(ident[1:len(ident)-1], `""`, `"`)
	}
	return ident
}

// Remote finds the catalog of an alias, whatever its case, among those of the source.
func (s *Source) Remote(alias string) (Remote, bool) {
	for _, r := range s.Remotes {
		if strings.EqualFold(r.Alias, alias) {
			return r, true
		}
	}
	return Remote{}, false
}

// BigQueryTable is where a table lives in BigQuery.
type BigQueryTable struct {
	Project string `json:"project" doc:"The project that has it." example:"acme-data"`
	Dataset string `json:"dataset" doc:"The dataset." example:"crm"`
	Table   string `json:"table" doc:"The table or view." example:"orders"`
}

// ExtensionBigQuery is the extension of DuckDB's whose catalogs are read by Google's own client, without it.
const ExtensionBigQuery = "bigquery"

// BigQuery is where a remote table of the source lives in BigQuery: the URL of its catalog is "project=<id>", and its
// path a dataset and a table. ok is false where it lives elsewhere.
func (s *Source) BigQuery(t Table) (at BigQueryTable, ok bool) {
	alias, path, ok := RemotePath(t.RemoteSQL)
	if !ok {
		return at, false
	}
	remote, ok := s.Remote(alias)
	if !ok {
		return at, false
	}
	return remote.BigQuery(path)
}

// BigQuery is where the table of a path in the catalog lives.
func (r Remote) BigQuery(path []string) (at BigQueryTable, ok bool) {
	project, is := strings.CutPrefix(r.URL, "project=")
	if r.Extension != ExtensionBigQuery || !is || len(path) != 2 {
		return at, false
	}
	return BigQueryTable{Project: project, Dataset: path[0], Table: path[1]}, true
}
