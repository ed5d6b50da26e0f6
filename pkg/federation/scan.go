package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// Scan is what a statement needs of one remote table. It may be more than what the statement uses, and is
// never less: the statement filters what was fetched once more.
type Scan struct {
	// Table is the qualified name, "source.table".
	Table string
	// Columns are the names of those that are read, in the order of the table's; never empty.
	Columns []string
	// Any are alternatives: a row is needed where all predicates of one of them hold. Without any, all rows are.
	Any [][]Predicate `json:",omitempty"`
	// Limit is how many of these rows are enough; zero means all.
	Limit int64 `json:",omitempty"`
}

// Predicate compares a column with constants.
type Predicate struct {
	Column string
	// Op is one of the operators.
	Op Op
	// Values are the constants as DuckDB writes them, without quotes: one, or some for In, or none.
	Values []string `json:",omitempty"`
}

// Op is how a predicate compares.
type Op string

// Operators.
const (
	Equal        Op = "="
	NotEqual     Op = "!="
	Less         Op = "<"
	LessEqual    Op = "<="
	Greater      Op = ">"
	GreaterEqual Op = ">="
	In           Op = "IN"
	IsNull       Op = "IS NULL"
	IsNotNull    Op = "IS NOT NULL"
)

// Bounds of what is pushed: what is more is filtered here.
const (
	maxAlternatives = 20
	maxPredicates   = 50
	maxValues       = 1000
	maxValue        = 4096
)

// All is the scan that fetches a table whole.
func All(table string, columns []catalog.Column) Scan {
	s := Scan{Table: table}
	for _, c := range columns {
		s.Columns = append(s.Columns, c.Name)
	}
	return s
}

// Key is equal for equal scans.
func (s Scan) Key() string {
	raw, err := json.Marshal(s)
	if err != nil { // it holds texts and numbers only
		raw = fmt.Appendf(nil, "%q", fmt.Sprint(s))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// Check tells why a scan cannot be one of the table's: a scan may come from a process that answers
// statements of users, and is trusted no more than they are.
func (s Scan) Check(columns []catalog.Column) error {
	if len(s.Columns) == 0 || s.Limit < 0 || len(s.Any) > maxAlternatives {
		return fault.New(fault.Internal, "a scan of %.100q makes no sense", s.Table)
	}
	types := make(map[string]string, len(columns))
	for _, c := range columns {
		types[c.Name] = c.Type
	}
	for _, name := range s.Columns {
		if _, ok := types[name]; !ok {
			return fault.New(fault.Internal, "a scan of %.100q names a column that is not there", s.Table)
		}
	}
	for _, all := range s.Any {
		if len(all) > maxPredicates {
			return fault.New(fault.Internal, "a scan of %.100q has too many conditions", s.Table)
		}
		for _, p := range all {
			if !p.valid(types[p.Column]) {
				return fault.New(fault.Internal, "a scan of %.100q has a condition that is none", s.Table)
			}
		}
	}
	return nil
}

// family is what kinds of constants a type compares with.
type family int

const (
	unknown family = iota
	boolean
	integer
	decimal
	floating
	text
	date
	datetime  // TIMESTAMP
	timestamp // TIMESTAMP WITH TIME ZONE
)

var plainTypes = map[string]family{
	"BOOLEAN": boolean, "TINYINT": integer, "SMALLINT": integer, "INTEGER": integer, "BIGINT": integer, "UTINYINT": integer, "USMALLINT": integer,
	"UINTEGER": integer, "UBIGINT": integer, "HUGEINT": integer, "FLOAT": floating, "DOUBLE": floating, "VARCHAR": text, "DATE": date,
	"TIMESTAMP": datetime, "TIMESTAMP WITH TIME ZONE": timestamp, "TIMESTAMPTZ": timestamp,
}

var decimalType = regexp.MustCompile(`\ADECIMAL\(\d+, ?\d+\)\z`)

func familyOf(kind string) family {
	kind = strings.ToUpper(kind)
	if decimalType.MatchString(kind) {
		return decimal
	}
	return plainTypes[kind]
}

// constants are the forms of those of a family.
var constants = map[family]*regexp.Regexp{
	boolean: regexp.MustCompile(`\A(true|false)\z`),
	integer: regexp.MustCompile(`\A-?\d{1,39}\z`),
	decimal: regexp.MustCompile(`\A-?\d{1,38}(\.\d{1,38})?\z`),
	// A float is pushed where its text is short enough to be the number itself.
	floating:  regexp.MustCompile(`\A-?\d{1,15}(\.\d{1,15})?(e[+-]?\d{1,3})?\z`),
	text:      regexp.MustCompile(`(?s)\A.*\z`),
	date:      regexp.MustCompile(`\A\d{4}-\d\d-\d\d\z`),
	datetime:  regexp.MustCompile(`\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\z`),
	timestamp: regexp.MustCompile(`\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d)?\z`),
}

// valid tells whether the predicate means the same wherever a column of the type lives: texts are only
// compared for equality, for each database has an order and a case of its own, and floats not upwards, where
// not-a-number is greater than all others here and nothing elsewhere.
func (p Predicate) valid(kind string) bool {
	f := familyOf(kind)
	switch p.Op {
	case IsNull, IsNotNull:
		return kind != "" && len(p.Values) == 0
	case Equal:
	case In:
		if len(p.Values) == 0 || len(p.Values) > maxValues {
			return false
		}
	case Less, LessEqual:
		if f == text || f == boolean {
			return false
		}
	case NotEqual, Greater, GreaterEqual:
		if f == text || f == floating || f == boolean {
			return false
		}
	default:
		return false
	}
	if p.Op != In && len(p.Values) != 1 {
		return false
	}
	form, ok := constants[f]
	return ok && !slices.ContainsFunc(p.Values, func(v string) bool {
		return len(v) > maxValue || strings.ContainsRune(v, 0) || !form.MatchString(v)
	})
}

// merge makes one scan of all scans of a table.
func merge(scans []Scan, columns []catalog.Column) Scan {
	whole := Scan{Table: scans[0].Table}
	for _, c := range columns {
		if slices.ContainsFunc(scans, func(s Scan) bool { return slices.Contains(s.Columns, c.Name) }) {
			whole.Columns = append(whole.Columns, c.Name)
		}
	}
	seen := map[string]bool{}
	for _, s := range scans {
		if len(s.Any) == 0 {
			whole.Any = nil
			break
		}
		for _, all := range s.Any {
			if key := fmt.Sprintf("%q", all); !seen[key] {
				seen[key] = true
				whole.Any = append(whole.Any, all)
			}
		}
	}
	if len(whole.Any) > maxAlternatives {
		whole.Any = nil
	}
	if len(scans) == 1 {
		whole.Limit = scans[0].Limit
	}
	return whole
}

// SelectDuckDB is the statement that fetches a scan from a table of a catalog that DuckDB has attached. A
// result is that of the published columns and their types.
func SelectDuckDB(s Scan, t Table) string {
	kinds := make(map[string]string, len(t.Columns))
	for _, c := range t.Columns {
		kinds[c.Name] = c.Type
	}
	cast := func(name string) string { return "CAST(" + lake.QuoteIdent(name) + " AS " + kinds[name] + ")" }
	columns := make([]string, len(s.Columns))
	for i, name := range s.Columns {
		columns[i] = cast(name) + " AS " + lake.QuoteIdent(name)
	}
	sql := "SELECT " + strings.Join(columns, ", ") + " FROM " + lake.QuoteName(t.path()...)
	if where := s.where(func(p Predicate) string {
		value := func(v string) string { return "CAST(" + lake.QuoteLiteral(v) + " AS " + kinds[p.Column] + ")" }
		return p.render(cast(p.Column), value)
	}); where != "" {
		sql += " WHERE " + where
	}
	if s.Limit > 0 {
		sql += " LIMIT " + strconv.FormatInt(s.Limit, 10)
	}
	return sql
}

// where renders the conditions; "" where all rows are needed. A predicate that cannot be written is left
// off, which only fetches more.
func (s Scan) where(render func(Predicate) string) string {
	var alternatives []string
	for _, all := range s.Any {
		var texts []string
		for _, p := range all {
			if text := render(p); text != "" {
				texts = append(texts, text)
			}
		}
		if len(texts) == 0 {
			return "" // this alternative is every row
		}
		alternatives = append(alternatives, strings.Join(texts, " AND "))
	}
	if len(alternatives) < 2 {
		return strings.Join(alternatives, "")
	}
	return "(" + strings.Join(alternatives, ") OR (") + ")"
}

// render writes a predicate of a column with constants.
func (p Predicate) render(column string, value func(string) string) string {
	values := make([]string, len(p.Values))
	for i, v := range p.Values {
		if values[i] = value(v); values[i] == "" {
			return ""
		}
	}
	switch p.Op {
	case IsNull, IsNotNull:
		return column + " " + string(p.Op)
	case In:
		return column + " IN (" + strings.Join(values, ", ") + ")"
	case Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual:
		return column + " " + string(p.Op) + " " + values[0]
	}
	return ""
}
