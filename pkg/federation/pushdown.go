package federation

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnes-platform/agnes/pkg/bigquery"
	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// KeySet are distinct values of a column.
type KeySet struct {
	// Type is DuckDB's, such as BIGINT, and Values its texts of them.
	Type   string
	Values []string
}

// Keys asks a statement of one column over the tables that the user may read, for at most that many rows.
type Keys func(ctx context.Context, sql string, most int) (KeySet, error)

// SemiJoin tells what is sent along with a registered query.
type SemiJoin struct {
	// Columns of the query that keys are sent for, Tables that they come from, and Keys how many there are. Where there are no
	// columns, nothing is sent along, and Why says so.
	Columns, Tables []string
	Keys            int
	Why             string
}

const (
	whyOff     = "it is switched off"
	whyRefused = "BigQuery does not take the query with keys"
	// mostKeyBytes bounds what is sent: a request of BigQuery's may have 10 MB.
	mostKeyBytes = 4 << 20
)

// pushdown has the parts restricted to the keys of the local tables that the statement joins them to.
func (h *Hybrid) pushdown(ctx context.Context, w Warehouse, q HybridQuestion, parts []HybridPart) error {
	if q.SQL == "" || q.Keys == nil || q.MaxKeys <= 0 || q.NoSemiJoin {
		for i := range parts {
			parts[i].SemiJoin.Why = whyOff
		}
		return nil
	}
	aliases := make([]string, len(parts))
	for i, p := range parts {
		aliases[i] = strings.ToLower(p.Alias)
	}
	found := map[string]semiJoin{}
	if tree, err := lake.Tree(q.SQL); err == nil {
		found = findSemiJoins(tree, aliases)
	}
	for i := range parts {
		p := &parts[i]
		join, looked := found[aliases[i]]
		if !looked {
			join.why = whyUnread
		}
		p.SemiJoin.Why = join.why
		for _, key := range join.keys {
			if err := p.restrict(ctx, q, key); err != nil {
				return err
			}
		}
		if len(p.SemiJoin.Columns) > 0 {
			p.SemiJoin.Why = "" // of another key, which is told of where it is the only one
		}
		if err := h.wrap(ctx, w, q, p); err != nil {
			return err
		}
	}
	return nil
}

// restrict takes the keys of one equality, where they can be sent.
func (p *HybridPart) restrict(ctx context.Context, q HybridQuestion, key semiKey) error {
	at := slices.IndexFunc(p.Columns, func(c catalog.Column) bool { return strings.EqualFold(c.Name, key.column) })
	if at < 0 {
		p.SemiJoin.Why = fmt.Sprintf("the query has no column %.100q", key.column)
		return nil
	}
	set, err := q.Keys(ctx, key.keys, int(q.MaxKeys)+1)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		p.SemiJoin.Why = fmt.Sprintf("the keys of %.100s cannot be read here", key.table)
		return nil //nolint:nilerr // the statement tells what is wrong with it, and is answered without where nothing is
	}
	if len(set.Values) > int(q.MaxKeys) {
		p.SemiJoin.Why = fmt.Sprintf("%.100s has more than %d keys", key.table, q.MaxKeys)
		return nil
	}
	name := "agnes_keys_" + strconv.Itoa(len(p.params))
	condition, value, ok := membership(bigquery.QuoteName(p.Columns[at].Name), name, p.Columns[at].Type, set)
	if !ok {
		p.SemiJoin.Why = fmt.Sprintf("%.100s (%s) and its key in %.100s (%s) are of types that may compare in another way there", p.Columns[at].Name, p.Columns[at].Type, key.table, set.Type)
		return nil
	}
	p.params = append(p.params, bigquery.Param{Name: name, Value: value})
	p.conditions = append(p.conditions, condition)
	p.SemiJoin.Columns, p.SemiJoin.Tables = append(p.SemiJoin.Columns, p.Columns[at].Name), append(p.SemiJoin.Tables, key.table)
	p.SemiJoin.Keys += len(set.Values)
	p.empty = p.empty || len(set.Values) == 0
	return nil
}

// integers are the types whose values an INT64 compares with as they do.
var integers = map[string]bool{
	"TINYINT": true, "SMALLINT": true, "INTEGER": true, "BIGINT": true, "UTINYINT": true, "USMALLINT": true, "UINTEGER": true, "UBIGINT": true, "HUGEINT": true, "UHUGEINT": true,
}

// membership is the condition that a column has one of the keys, and the value of its parameter. ok is false where the
// column and the keys do not compare there as they do here, and where the keys are too long.
func membership(column, param, kind string, set KeySet) (condition string, value any, ok bool) {
	size := 0
	for _, v := range set.Values {
		size += len(v)
	}
	if size > mostKeyBytes {
		return "", nil, false
	}
	condition = column + " IN UNNEST(@" + param + ")"
	switch {
	case kind == "BIGINT" && integers[set.Type]:
		keys := []int64{}
		for _, v := range set.Values {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil { // what is no int64 matches none
				keys = append(keys, n)
			}
		}
		return condition, keys, true
	case kind == "VARCHAR" && set.Type == "VARCHAR":
		return condition, append([]string{}, set.Values...), true
	case kind == "BOOLEAN" && set.Type == "BOOLEAN":
		keys := []bool{}
		for _, v := range set.Values {
			keys = append(keys, v == "true")
		}
		return condition, keys, true
	case kind == "DATE" && set.Type == "DATE":
		return column + " IN (SELECT SAFE_CAST(k AS DATE) FROM UNNEST(@" + param + ") AS k)", append([]string{}, set.Values...), true
	}
	return "", nil, false
}

// wrap restricts the part's query to its keys, and has that estimated in its place. A query that BigQuery does not take in
// this way stays as it is.
func (h *Hybrid) wrap(ctx context.Context, w Warehouse, q HybridQuestion, p *HybridPart) error {
	if len(p.conditions) == 0 {
		return nil
	}
	if p.empty { // nothing can match: nothing is asked
		p.Bytes, p.Reserved, p.Price = 0, 0, 0
		return nil
	}
	whole := *p
	p.SQL = "SELECT * FROM (\n" + p.SQL + "\n) WHERE " + strings.Join(p.conditions, " AND ")
	err := h.estimate(ctx, w, q, p)
	if err == nil && slices.Equal(whole.Columns, p.Columns) {
		return nil
	}
	if kind := fault.KindOf(err); err != nil && (kind == fault.Unavailable || kind == fault.Busy || kind == fault.Internal || ctx.Err() != nil) {
		return err
	}
	*p = whole
	p.params, p.conditions = nil, nil
	p.SemiJoin = SemiJoin{Why: whyRefused}
	return nil
}
