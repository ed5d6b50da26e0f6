package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// ExportOptions narrow an export. The zero value is all columns of all rows, as CSV.
type ExportOptions struct {
	Columns []string
	// ChangedSince leaves out rows that were last imported before.
	ChangedSince time.Time
	Where        []Where
	// Parquet asks for files of that type, where the project offers them.
	Parquet bool
}

// form writes the options as the API wants them: filters are indexed fields (trap K4).
func (o ExportOptions) form() url.Values {
	f := url.Values{"gzip": {"1"}, "format": {"rfc"}}
	if o.Parquet {
		f = url.Values{"fileType": {"parquet"}}
	}
	for i, c := range o.Columns {
		f.Set(fmt.Sprintf("columns[%d]", i), c)
	}
	if !o.ChangedSince.IsZero() {
		f.Set("changedSince", strconv.FormatInt(o.ChangedSince.Unix(), 10))
	}
	for i, w := range o.Where {
		at := fmt.Sprintf("whereFilters[%d]", i)
		f.Set(at+"[column]", w.Column)
		f.Set(at+"[operator]", w.Operator)
		if w.DataType != "" {
			f.Set(at+"[dataType]", w.DataType)
		}
		for n, v := range w.Values {
			f.Set(fmt.Sprintf("%s[values][%d]", at, n), v)
		}
	}
	return f
}

// job is an asynchronous operation of Keboola.
type job struct {
	ID      json.Number `json:"id"`
	Status  string      `json:"status"`
	Results *struct {
		File struct {
			ID json.Number `json:"id"`
		} `json:"file"`
	} `json:"results"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// UnmarshalJSON reads a job; PHP writes results and error without content as empty lists.
func (j *job) UnmarshalJSON(raw []byte) error {
	type plain job
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, name := range []string{"results", "error"} {
		if v := strings.TrimSpace(string(parts[name])); !strings.HasPrefix(v, "{") {
			delete(parts, name)
		}
	}
	whole, err := json.Marshal(parts)
	if err != nil {
		return err
	}
	return json.Unmarshal(whole, (*plain)(j))
}

// Export exports a table and gives its file, once the job has ended. A job that Keboola fails is an error
// with its words; one that does not end within JobTimeout is fault.Unavailable (trap K6).
func (c *Client) Export(ctx context.Context, table string, o ExportOptions) (*File, error) {
	var j job
	what := "export the table " + table
	if err := c.do(ctx, call{route: "export", what: what, method: http.MethodPost, path: []string{"tables", table, "export-async"}, form: o.form()}, &j); err != nil {
		return nil, err
	}
	id := j.ID.String()
	deadline := c.cfg.Clock.Now().Add(c.cfg.JobTimeout)
	for pause := c.cfg.PollFirst; ; pause = min(pause*8/5, c.cfg.PollMost) {
		if done, err := c.ended(j, what); done {
			if err != nil {
				return nil, err
			}
			return c.file(ctx, j.Results.File.ID.String(), what)
		}
		if !c.cfg.Clock.Now().Add(pause).Before(deadline) {
			return nil, fault.New(fault.Unavailable, "Keboola's job %s did not end within %s: %s", id, c.cfg.JobTimeout, what)
		}
		if !c.sleep(ctx, pause) {
			return nil, given(ctx)
		}
		j = job{}
		if err := c.do(ctx, call{route: "job", what: "follow the job " + id, method: http.MethodGet, path: []string{"jobs", id}}, &j); err != nil {
			return nil, err
		}
	}
}

// ended tells whether a job has ended, and its error.
func (c *Client) ended(j job, what string) (bool, error) {
	switch j.Status {
	case "waiting", "processing", "created":
		return false, nil
	case "success":
		if j.Results == nil || j.Results.File.ID == "" {
			return true, fault.New(fault.Unavailable, "Keboola's job ended without a file: %s", what)
		}
		return true, nil
	case "error":
		code, message := "", ""
		if j.Error != nil {
			code, message = j.Error.Code, j.Error.Message
		}
		kind := fault.Permanent
		if lower := strings.ToLower(code + " " + message); strings.Contains(lower, "internal") || strings.Contains(lower, "timeout") || strings.TrimSpace(lower) == "" {
			kind = fault.Unavailable
		}
		return true, fault.New(kind, "Keboola's job failed to %s%s", what, c.short(message))
	}
	return true, fault.New(fault.Unavailable, "Keboola's job is %q, neither under way nor ended: %s", c.short(j.Status), what)
}
