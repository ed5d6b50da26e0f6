package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditFilter narrows a search of the record; what is zero matches all.
type AuditFilter struct {
	From, Until time.Time
	// Actor is the id or the e-mail address of a user.
	Actor string
	// Action is an action such as user.create, or noun.* for all of a noun.
	Action                          string
	Resource, Result, IP, RequestID string
	// Text is anywhere in the resource or the parameters, in any case.
	Text string
	// Before and After are sequence numbers: only records on that side of them.
	Before, After int64
	// Limit is how many records a page has; 0 leaves it to the server.
	Limit int
}

func (f AuditFilter) query() url.Values {
	q := page(f.Limit, 0)
	for name, at := range map[string]time.Time{"from": f.From, "until": f.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	for name, value := range map[string]string{
		"actor": f.Actor, "action": f.Action, "resource": f.Resource, "result": f.Result, "ip": f.IP, "request_id": f.RequestID, "text": f.Text,
	} {
		set(q, name, value)
	}
	for name, seq := range map[string]int64{"before": f.Before, "after": f.After} {
		if seq > 0 {
			q.Set(name, strconv.FormatInt(seq, 10))
		}
	}
	return q
}

// AuditRecord is one entry of the record.
type AuditRecord struct {
	// Seq is its place in the record, from 1.
	Seq          int64     `json:"seq"`
	ID           string    `json:"id"`
	Time         time.Time `json:"time"`
	Action       string    `json:"action"`
	Resource     string    `json:"resource"`
	Result       string    `json:"result"`
	Actor        string    `json:"actor"`
	ActorEmail   string    `json:"actor_email"`
	Credential   string    `json:"credential"`
	CredentialID string    `json:"credential_id"`
	Service      string    `json:"service"`
	IP           string    `json:"ip"`
	UserAgent    string    `json:"user_agent"`
	RequestID    string    `json:"request_id"`
	// DurationMS is in milliseconds.
	DurationMS float64        `json:"duration_ms"`
	Params     map[string]any `json:"params"`
	// Hash is the SHA-256 (hex) that chains it to the one before.
	Hash string `json:"hash"`
}

const auditPath = "/api/admin/audit"

// AuditPage gives one page of the records that match: the newest first, or with After the oldest first.
// more tells whether others follow.
func (c *Client) AuditPage(ctx context.Context, f AuditFilter) (records []AuditRecord, more bool, err error) {
	var answer struct {
		Records []AuditRecord `json:"records"`
		More    bool          `json:"more"`
	}
	err = c.call(ctx, request{method: http.MethodGet, path: auditPath, query: f.query()}, &answer)
	return answer.Records, answer.More, err
}

// Audit goes through all records that match, newest first, and asks for the next page when it gets there.
// It ends with the first error.
func (c *Client) Audit(ctx context.Context, f AuditFilter) iter.Seq2[AuditRecord, error] {
	return func(yield func(AuditRecord, error) bool) {
		for {
			records, more, err := c.AuditPage(ctx, f)
			if err != nil {
				yield(AuditRecord{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
				f.Before = r.Seq
			}
			if !more || len(records) == 0 {
				return
			}
		}
	}
}

// ExportAudit gives all records that match, oldest first, as TypeNDJSON or TypeCSV, while they arrive.
// Close it.
func (c *Client) ExportAudit(ctx context.Context, f AuditFilter, mediaType string) (io.ReadCloser, error) {
	body, _, err := c.stream(ctx, request{method: http.MethodGet, path: auditPath, query: f.query(), header: http.Header{"Accept": {mediaType}}}) //nolint:bodyclose // the caller closes it
	return body, err
}

// AuditChain gives the record as the server keeps it, an archive (tar, gzip) that can be verified
// offline, while it arrives. Close it.
func (c *Client) AuditChain(ctx context.Context) (io.ReadCloser, error) {
	body, _, err := c.stream(ctx, request{method: http.MethodGet, path: auditPath + "/chain", header: http.Header{"Accept": {"application/gzip"}}}) //nolint:bodyclose // the caller closes it
	return body, err
}
