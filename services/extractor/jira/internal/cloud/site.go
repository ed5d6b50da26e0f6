package cloud

import (
	"context"
	"net/http"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Field is one of the fields of the site.
type Field struct {
	ID     string `json:"id"`
	Key    string `json:"key"`
	Name   string `json:"name"`
	Custom bool   `json:"custom"`
	// Schema says what its values are: the type, that of the items of an array, and the class of a custom
	// field, such as com.atlassian.servicedesk:sd-sla-field.
	Schema struct {
		Type     string `json:"type"`
		Items    string `json:"items"`
		System   string `json:"system"`
		Custom   string `json:"custom"`
		CustomID int64  `json:"customId"`
	} `json:"schema"`
}

// Fields lists the fields that the account sees.
func (c *Client) Fields(ctx context.Context) ([]Field, error) {
	var out []Field
	err := c.do(ctx, call{route: "field", what: "list the fields", method: http.MethodGet, path: []string{"rest/api/3/field"}}, &out)
	if err == nil && len(out) == 0 {
		return nil, fault.New(fault.Unavailable, "Jira lists no field at all")
	}
	return out, err
}

// Me is the account that reads.
type Me struct {
	AccountID   string `json:"accountId"`
	Email       string `json:"emailAddress"`
	DisplayName string `json:"displayName"`
	// TimeZone is the one that Jira reads the dates of a JQL in: a name of the IANA.
	TimeZone string `json:"timeZone"`
}

// Since writes a moment as JQL wants the lower bound of a date: of the account's time zone, and of whole
// minutes, so that it is early by up to one. Where the zone is unknown here it is early by as much as
// zones differ.
func (m Me) Since(t time.Time) string {
	zone, err := time.LoadLocation(m.TimeZone)
	if err != nil || m.TimeZone == "" {
		zone, t = time.UTC, t.Add(-14*time.Hour)
	}
	// In the hour before clocks are put back a time is two moments: that before them is one.
	_, now := t.In(zone).Zone()
	if _, soon := t.Add(time.Hour).In(zone).Zone(); soon < now {
		t = t.Add(time.Duration(soon-now) * time.Second)
	}
	return `"` + t.In(zone).Format("2006-01-02 15:04") + `"`
}

// Myself tells who the account is, and with it that Jira knows it.
func (c *Client) Myself(ctx context.Context) (Me, error) {
	var out Me
	err := c.do(ctx, call{route: "myself", what: "ask who we are", method: http.MethodGet, path: []string{"rest/api/3/myself"}}, &out)
	if err == nil && out.AccountID == "" {
		err = fault.New(fault.Unavailable, "Jira does not say who we are")
	}
	return out, err
}

// ServerInfo is what the site says of itself.
type ServerInfo struct {
	BaseURL    string `json:"baseUrl"`
	Version    string `json:"version"`
	Deployment string `json:"deploymentType"` // Cloud, Server
	Title      string `json:"serverTitle"`
}

// ServerInfo tells what is at the address.
func (c *Client) ServerInfo(ctx context.Context) (ServerInfo, error) {
	var out ServerInfo
	return out, c.do(ctx, call{route: "serverInfo", what: "ask about the site", method: http.MethodGet, path: []string{"rest/api/3/serverInfo"}}, &out)
}
