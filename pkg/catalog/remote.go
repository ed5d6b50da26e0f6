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
