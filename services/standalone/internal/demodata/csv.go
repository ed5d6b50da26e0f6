package demodata

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tableFile writes the rows of one table. Fields are appended one by one: the hot path of two
// million rows allocates nothing.
type tableFile struct {
	path  string
	file  *os.File
	out   *bufio.Writer
	line  []byte
	rows  int64
	bytes int64
	err   error
}

type files map[string]*tableFile

var headers = map[string]string{
	"customers":       "customer_id,registered_at,email,first_name,country,segment,newsletter,lead_id",
	"products":        "product_id,sku,name,category,unit_price,cost,discontinued_on",
	"campaigns":       "campaign_id,name,channel,started_on,ended_on,budget_eur",
	"web_sessions":    "session_id,started_at,customer_id,campaign_id,channel,device,pages,clicked,duration_s",
	"web_leads":       "lead_id,session_id,created_at,email,interest,converted_at",
	"orders":          "order_id,customer_id,session_id,ordered_at,status,currency,total_eur,coupon",
	"order_items":     "order_id,line,product_id,quantity,unit_price,discount_pct",
	"payments":        "payment_id,order_id,paid_at,method,amount_eur,status",
	"support_tickets": "ticket_id,order_id,customer_id,opened_at,closed_at,category,subject,satisfaction",
}

func openFiles(dir string) (files, error) {
	fs := files{}
	for _, name := range Tables() {
		path := filepath.Join(dir, name+".csv")
		f, err := os.Create(path)
		if err != nil {
			_ = fs.close()
			return nil, fmt.Errorf("create %s.csv: %w", name, err)
		}
		t := &tableFile{path: path, file: f, out: bufio.NewWriterSize(f, 1<<18)}
		t.line = append(t.line, headers[name]...)
		t.end()
		t.rows = 0 // the header is no row
		fs[name] = t
	}
	return fs, nil
}

// close flushes and closes every file and gives the first error of all that was written.
func (fs files) close() error {
	var first error
	for _, name := range Tables() {
		t, ok := fs[name]
		if !ok {
			continue
		}
		err := t.err
		if flushErr := t.out.Flush(); err == nil {
			err = flushErr
		}
		if closeErr := t.file.Close(); err == nil {
			err = closeErr
		}
		if err != nil && first == nil {
			first = fmt.Errorf("write %s.csv: %w", name, err)
		}
	}
	return first
}

func (t *tableFile) sep() {
	if len(t.line) > 0 {
		t.line = append(t.line, ',')
	}
}

func (t *tableFile) id(v int64) *tableFile {
	t.sep()
	t.line = strconv.AppendInt(t.line, v, 10)
	return t
}

// ref writes a reference, or a null for 0.
func (t *tableFile) ref(v int64) *tableFile {
	if v == 0 {
		return t.null()
	}
	return t.id(v)
}

func (t *tableFile) null() *tableFile {
	t.sep()
	return t
}

func (t *tableFile) text(v string) *tableFile {
	t.sep()
	if strings.ContainsAny(v, ",\"\n") {
		t.line = append(t.line, '"')
		t.line = append(t.line, strings.ReplaceAll(v, `"`, `""`)...)
		t.line = append(t.line, '"')
		return t
	}
	t.line = append(t.line, v...)
	return t
}

// opt writes text, or a null for the empty text.
func (t *tableFile) opt(v string) *tableFile {
	if v == "" {
		return t.null()
	}
	return t.text(v)
}

// cents writes an amount of money that is counted in hundredths.
func (t *tableFile) cents(v int64) *tableFile {
	t.sep()
	t.line = strconv.AppendInt(t.line, v/100, 10)
	t.line = append(t.line, '.', byte('0'+v/10%10), byte('0'+v%10))
	return t
}

func (t *tableFile) flag(v bool) *tableFile {
	t.sep()
	t.line = strconv.AppendBool(t.line, v)
	return t
}

// at writes a moment, or a null for the zero time.
func (t *tableFile) at(v time.Time) *tableFile {
	t.sep()
	if !v.IsZero() {
		t.line = v.AppendFormat(t.line, "2006-01-02 15:04:05")
	}
	return t
}

func (t *tableFile) day(v time.Time) *tableFile {
	t.sep()
	if !v.IsZero() {
		t.line = v.AppendFormat(t.line, "2006-01-02")
	}
	return t
}

func (t *tableFile) end() {
	t.line = append(t.line, '\n')
	n, err := t.out.Write(t.line)
	if err != nil && t.err == nil {
		t.err = err
	}
	t.bytes += int64(n)
	t.rows++
	t.line = t.line[:0]
}
