package jira

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// Names of what compare makes: a temporary table of rows, and how many times more often than before each is
// there now.
const (
	differentTable = "agnes_different"
	differentBy    = "agnes_by"
)

// mostCompared is how many issues of a month are compared with its part: of more, it is written anew at once.
const mostCompared = 200

// difference says of the rows of a month how many times more they are than before: the least and the most
// of all that differ.
type difference struct{ least, most int64 }

// onlyMore tells that all rows that were there are still there, and each new one is there once.
func (d difference) onlyMore() bool { return d.least == 1 && d.most == 1 }

// compare finds out what differs between the rows of issues that changed and those that stand of them. Most
// changes add to a table and change nothing in it. The table of issues alone has one row each, so that there
// is nothing to be found out.
func (p *plan) compare(ctx context.Context, touched store.Touched, standing map[string]int) error {
	if p.table.index == rows.Issues || len(p.fresh) == 0 {
		return nil
	}
	list := strings.TrimPrefix(selectColumns(p.table.Columns), "SELECT ")
	var sides []string
	p.differences = map[string]difference{}
	for _, month := range slices.Sorted(maps.Keys(touched)) {
		at, stands := standing[month]
		if !stands || len(touched[month]) > mostCompared {
			continue
		}
		p.differences[month] = difference{}
		sides = append(sides,
			"SELECT "+list+", "+freshMonth+", 1 AS "+differentBy+" FROM "+freshTable+" WHERE "+freshMonth+" = "+lake.QuoteLiteral(month),
			"SELECT "+list+", "+lake.QuoteLiteral(month)+", -1 FROM "+readPart(p.spec.Previous.Files[at])+" WHERE "+lake.QuoteIdent(rows.IssueIDColumn)+" IN ("+quoteIDs(touched[month])+")")
	}
	if len(sides) == 0 {
		return nil
	}
	err := p.w.TempTable(ctx, differentTable, "SELECT "+list+", "+freshMonth+", sum("+differentBy+") AS "+differentBy+
		" FROM ("+strings.Join(sides, " UNION ALL ")+") GROUP BY ALL HAVING sum("+differentBy+") <> 0")
	if err != nil {
		return err
	}
	query := "SELECT " + freshMonth + ", CAST(min(" + differentBy + ") AS BIGINT), CAST(max(" + differentBy + ") AS BIGINT) FROM " + differentTable + " GROUP BY ALL"
	return p.w.Rows(ctx, query, func(scan func(...any) error) error {
		var month string
		var d difference
		if err := scan(&month, &d.least, &d.most); err != nil {
			return err
		}
		p.differences[month] = d
		return nil
	})
}

// reuse keeps the part of a month in which nothing differs, or extends it where there only is more. done is
// false where it is to be written anew.
func (p *plan) reuse(ctx context.Context, month string, at int, touched store.Touched) (done bool, err error) {
	diff, compared := p.differences[month]
	switch {
	case len(touched[month]) == 0 && month == "":
		return true, nil // that of an empty table
	case len(touched[month]) == 0, compared && diff == difference{}:
		err = p.w.KeepPart(at)
	case compared && diff.onlyMore():
		query := selectColumns(p.table.Columns) + " FROM " + differentTable + " WHERE " + freshMonth + " = " + lake.QuoteLiteral(month) + " ORDER BY " + orderBy(p.table)
		done, err = p.w.ExtendPart(ctx, at, extract.PartQuery{SQL: query, Columns: p.table.Columns, RowBytes: p.table.width})
		if err != nil || !done {
			return false, err
		}
	default:
		return false, nil
	}
	p.next.Months = append(p.next.Months, month)
	return true, err
}
