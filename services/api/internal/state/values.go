package state

import (
	"database/sql"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

func scanString(r *sql.Rows) (string, error) {
	var v sql.NullString
	return v.String, r.Scan(&v)
}

func scanInt(r *sql.Rows) (int64, error) {
	var v sql.NullInt64
	err := r.Scan(&v)
	return v.Int64, err
}

// text reads a column that may be NULL; NULL and the empty text are the same to us.
type text struct{ to *string }

// Scan implements sql.Scanner.
func (t text) Scan(v any) error {
	var n sql.NullString
	err := n.Scan(v)
	*t.to = n.String
	return err
}

// moment reads a TIMESTAMP, which is UTC; NULL is the zero time.
type moment struct{ to *time.Time }

// Scan implements sql.Scanner.
func (m moment) Scan(v any) error {
	var n sql.NullTime
	err := n.Scan(v)
	*m.to = time.Time{}
	if n.Valid {
		*m.to = n.Time.UTC()
	}
	return err
}

// number reads an integer of any width; NULL is 0.
type number[T ~int | ~int64 | ~uint64] struct{ to *T }

// Scan implements sql.Scanner.
func (n number[T]) Scan(v any) error {
	var i sql.NullInt64
	err := i.Scan(v)
	*n.to = T(i.Int64)
	return err
}

// flag reads a boolean; NULL is what to holds already.
type flag struct{ to *bool }

// Scan implements sql.Scanner.
func (f flag) Scan(v any) error {
	var b sql.NullBool
	err := b.Scan(v)
	if b.Valid {
		*f.to = b.Bool
	}
	return err
}

// orNull writes the empty text as NULL.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// timeOrNull writes the zero time as NULL, every other in UTC.
func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Microsecond)
}

// joinKey writes the columns of a primary key into one VARCHAR, as the predecessor's readers know it:
// "a,b". Names that such a list cannot hold are written as a JSON array.
func joinKey(columns []string) string {
	for _, c := range columns {
		if strings.ContainsAny(c, ",[\"") || strings.TrimSpace(c) != c {
			raw, err := json.Marshal(columns)
			if err != nil {
				return ""
			}
			return string(raw)
		}
	}
	return strings.Join(columns, ",")
}

// splitKey reads what joinKey, or the predecessor, wrote.
func splitKey(stored string) []string {
	stored = strings.TrimSpace(stored)
	var columns []string
	if strings.HasPrefix(stored, "[") && json.Unmarshal([]byte(stored), &columns) == nil {
		return columns
	}
	for c := range strings.SplitSeq(stored, ",") {
		if c = strings.TrimSpace(c); c != "" {
			columns = append(columns, c)
		}
	}
	return columns
}

// placeholders gives "$from, $from+1, …" for n values.
func placeholders(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(from + i))
	}
	return b.String()
}

// anys makes arguments of texts.
func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

// rowsPerStatement bounds the rows that one statement writes, and the keys that one names.
const rowsPerStatement = 200

// valueRows gives "($1, $2), ($3, $4)" for rows of a width.
func valueRows(rows, width int) string {
	var b strings.Builder
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + placeholders(1+i*width, width) + ")")
	}
	return b.String()
}
