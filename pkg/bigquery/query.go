package bigquery

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/bigquery"
	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
)

// Query is a statement of GoogleSQL.
type Query struct {
	SQL string
	// Params are named: @name in the SQL.
	Params []Param
	// MaxBytesBilled lets Google refuse the job above it, unbilled; zero means no limit but the project's own.
	MaxBytesBilled int64
	// Labels of the job, beside the client's.
	Labels map[string]string
	// Location of the job; the client's where it is empty.
	Location string
}

// Param is a parameter of a query. A slice is an ARRAY, for UNNEST(@name).
type Param struct {
	Name  string
	Value any
}

// Estimate is what a dry run says.
type Estimate struct {
	// Bytes that the query would process, and at most be billed for but for Google's minimum of 10 MiB a table.
	Bytes         int64
	StatementType string // such as SELECT
	Tables        []TableRef
	Columns       []catalog.Column
}

// DryRun tells what a query would cost, for nothing. What Google cannot tell, or tells a lower bound of only, is an
// error: a failed estimate is not zero (trap B3).
func (c *Client) DryRun(ctx context.Context, q Query) (Estimate, error) {
	const doing = "estimate the query"
	query := c.query(q)
	query.DryRun, query.MaxBytesBilled = true, 0
	call, cancel := context.WithTimeout(ctx, c.limits.Call)
	defer cancel()
	job, err := query.Run(call)
	if err != nil {
		return Estimate{}, c.fail(ctx, err, doing)
	}
	status := job.LastStatus()
	if status == nil || status.Statistics == nil {
		return Estimate{}, fault.New(fault.Unavailable, "cannot %s: BigQuery told nothing about it", doing)
	}
	if err := status.Err(); err != nil {
		return Estimate{}, c.fail(ctx, err, doing)
	}
	details, ok := status.Statistics.Details.(*bigquery.QueryStatistics)
	if !ok {
		return Estimate{}, fault.New(fault.Unavailable, "cannot %s: BigQuery told nothing about it", doing)
	}
	switch details.TotalBytesProcessedAccuracy {
	case "UNKNOWN", "LOWER_BOUND":
		return Estimate{}, fault.New(fault.Invalid, "cannot %s: BigQuery does not know how much it would read (it says %s)", doing, details.TotalBytesProcessedAccuracy)
	}
	e := Estimate{Bytes: max(details.TotalBytesProcessed, status.Statistics.TotalBytesProcessed), StatementType: details.StatementType, Columns: columnsOf(details.Schema)}
	for _, t := range details.ReferencedTables {
		e.Tables = append(e.Tables, TableRef{t.ProjectID, t.DatasetID, t.TableID})
	}
	return e, nil
}

func (c *Client) query(q Query) *bigquery.Query {
	query := c.rest.Query(q.SQL)
	query.MaxBytesBilled = q.MaxBytesBilled
	query.Labels = c.labels(q.Labels)
	query.Location = first(q.Location, c.config.Location)
	for _, p := range q.Params {
		query.Parameters = append(query.Parameters, bigquery.QueryParameter{Name: p.Name, Value: p.Value})
	}
	return query
}

var notLabel = regexp.MustCompile(`[^\p{Ll}\p{Lo}0-9_-]`)

// maxLabel is the longest key or value of a label.
const maxLabel = 63

func (c *Client) labels(more map[string]string) map[string]string {
	out := map[string]string{}
	for _, from := range []map[string]string{c.config.Labels, more} {
		for k, v := range maps.All(from) {
			out[label(k)] = label(v)
		}
	}
	return out
}

func label(text string) string {
	runes := []rune(notLabel.ReplaceAllString(strings.ToLower(text), "_"))
	return string(runes[:min(len(runes), maxLabel)])
}

// Run runs a query job and gives its rows, which are read as they are taken. The end of ctx cancels the job at
// Google, so does the limit of a job; ctx bounds the reading, too.
func (c *Client) Run(ctx context.Context, q Query) (*Result, error) {
	job, details, err := c.run(ctx, q)
	billed := int64(0)
	if details != nil {
		billed = details.TotalBytesBilled
	}
	if err != nil {
		c.metrics.job(string(fault.KindOf(err)), billed)
		return nil, err
	}
	c.metrics.job("done", billed)
	r, err := c.results(ctx, job)
	if err != nil {
		return nil, err
	}
	r.job, r.billed = job.ID(), billed
	return r, nil
}

func (c *Client) run(ctx context.Context, q Query) (*bigquery.Job, *bigquery.QueryStatistics, error) {
	const doing = "run the query"
	query := c.query(q)
	query.JobID = "agnes_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	call, cancel := context.WithTimeout(ctx, c.limits.Call)
	defer cancel()
	job, err := query.Run(call)
	if err != nil {
		if call.Err() != nil { // it may run, all the same
			c.cancel(ctx, query.JobID, query.Location)
		}
		return nil, nil, c.fail(ctx, err, doing)
	}
	status, err := c.wait(ctx, job)
	if err != nil {
		c.cancel(ctx, job.ID(), job.Location())
		return job, nil, c.fail(ctx, err, doing)
	}
	details, _ := status.Statistics.Details.(*bigquery.QueryStatistics)
	if err := status.Err(); err != nil {
		return job, details, c.fail(ctx, err, doing)
	}
	return job, details, nil
}

// Waiting for a job: the first questions come fast, for most queries take a second.
const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 2 * time.Second
	// lostPolls is how many questions in a row may go unanswered.
	lostPolls = 5
)

// wait asks for the state of a job until it is done.
func (c *Client) wait(ctx context.Context, job *bigquery.Job) (*bigquery.JobStatus, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Job, fault.New(fault.Unavailable, "the query took longer than %s and was cancelled", c.limits.Job))
	defer cancel()
	lost, status := 0, job.LastStatus()
	for pause := firstPoll; ; pause = min(pause*3/2, lastPoll) {
		if status != nil && status.Done() {
			if status.Statistics != nil {
				return status, nil
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
		call, done := context.WithTimeout(ctx, c.limits.Call)
		next, err := job.Status(call)
		done()
		switch {
		case err == nil:
			lost, status = 0, next
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case lost < lostPolls && fault.Retryable(c.fail(ctx, err, "")):
			lost++
		default:
			return nil, err
		}
	}
}

// cancelWithin bounds the cancelling of a job that nobody waits for.
const cancelWithin = 10 * time.Second

// cancel ends a job at Google, whatever has become of ctx: it would be billed.
func (c *Client) cancel(ctx context.Context, id, location string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cancelWithin)
	defer done()
	job, err := c.rest.JobFromProject(ctx, c.config.Project, id, location)
	if err == nil {
		err = job.Cancel(ctx)
	}
	if err != nil { // there is nobody to tell but those who look at the metrics
		c.metrics.job("not_cancelled", 0)
	}
}
