package httpapi_test

import (
	"errors"
	"testing"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// TestARefusalIsRecordedWithWhatItWasAbout asks for what is not granted, at the door and behind it.
func TestARefusalIsRecordedWithWhatItWasAbout(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct{ path, token, action, resource, path2 string }{
		{"/api/data/salaries/download", "ann", "data.download", "table:salaries", ""},
		{"/api/catalog/profile/salaries", "ann", "door.refused", "table:salaries", ""},
		{"/api/catalog/profile/nothing", "ann", "door.refused", "table:nothing", ""},
		{"/api/data/orders/download", "", "data.download", "", "/api/data/orders/download"},
		{"/api/users/7", "ann", "door.refused", "", "/api/users/7"},
	} {
		before := h.record.count()
		if got := h.ask("GET", c.path, c.token, ""); got.status < 400 {
			t.Fatalf("%s: %d", c.path, got.status)
		}
		if h.record.count() != before+1 {
			t.Errorf("%s: %d entries", c.path, h.record.count()-before)
			continue
		}
		e := h.record.last(t)
		path, _ := e.Params["path"].(string)
		if e.Action != c.action || e.Resource != c.resource || e.Result != httpapi.ResultRefused || path != c.path2 {
			t.Errorf("%s: recorded as %s %q %s %v", c.path, e.Action, e.Resource, e.Result, e.Params)
		}
	}
}

func TestFetchingAnUploadIsRecorded(t *testing.T) {
	t.Parallel()
	h, _ := withUploads(t)
	contentType, body := form(t, [3]string{"file", "a.jsonl", "0123456789"})
	h.ask("POST", "/api/upload/sessions", "ann", body, "Content-Type: "+contentType)
	if got := h.ask("GET", "/api/uploads/sessions/a.jsonl", "ann", ""); got.status != 200 || got.body != "0123456789" {
		t.Fatalf("%d %q", got.status, got.body)
	}
	e := h.record.last(t)
	if e.Action != "upload.download" || e.Resource != "upload:sessions/a.jsonl" || e.Params["bytes"] != int64(10) || e.Result != httpapi.ResultOK {
		t.Errorf("%+v", e)
	}
	h.record.mu.Lock()
	h.record.broken = errors.New("the disk is full")
	h.record.mu.Unlock()
	if got := h.ask("GET", "/api/uploads/sessions/a.jsonl", "ann", ""); got.err == nil && got.body == "0123456789" {
		t.Error("what could not be recorded arrived whole")
	}
}
