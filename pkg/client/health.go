package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Health is how the server says it is.
type Health struct {
	// Status is "healthy", "degraded" or "unhealthy".
	Status    string                     `json:"status"`
	Version   string                     `json:"version"`
	Timestamp time.Time                  `json:"timestamp"`
	Services  map[string]json.RawMessage `json:"services"`
}

func (h *Health) whole() bool { return h.Status != "" }

// Health asks how the server is. An unhealthy server that can still say so is no error.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	err := c.call(ctx, request{method: http.MethodGet, path: "/api/health"}, &h)
	return h, err
}

// Version is what the server runs.
type Version struct {
	Version       string `json:"version"`
	Channel       string `json:"channel"`
	ImageTag      string `json:"image_tag"`
	CommitSHA     string `json:"commit_sha"`
	SchemaVersion int    `json:"schema_version"`
}

func (v *Version) whole() bool { return v.Version != "" }

// Version asks what the server runs. It also gives the time in the answer's Date header, zero where
// there is none.
func (c *Client) Version(ctx context.Context) (Version, time.Time, error) {
	var v Version
	header, err := c.callHeader(ctx, request{method: http.MethodGet, path: "/api/version"}, &v)
	at, dateErr := http.ParseTime(header.Get("Date"))
	if dateErr != nil {
		at = time.Time{}
	}
	return v, at, err
}
