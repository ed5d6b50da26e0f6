package standalone_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/agnes-platform/agnes/pkg/client"
)

// told is a message of the gateway.
type told struct {
	Type, ID, Source string
	Data             struct {
		Tables []struct{ Table, Change string }
	}
	raw string
}

// tables names what a publication is told to have changed.
func (m told) tables() string {
	var names []string
	for _, t := range m.Data.Tables {
		names = append(names, t.Table+" "+t.Change)
	}
	return strings.Join(names, ", ")
}

// listen connects on the port of the api, as a page of its own would.
func (h *house) listen(token, resume string) (next func() told, hang func()) {
	h.t.Helper()
	options := &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {h.url}}}
	var socket *websocket.Conn
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var answer *http.Response
		var err error
		if socket, answer, err = websocket.Dial(h.t.Context(), "ws"+strings.TrimPrefix(h.url, "http")+"/ws/notifications", options); err == nil { //nolint:bodyclose // it has none
			break
		}
		if answer == nil || answer.StatusCode != http.StatusServiceUnavailable || time.Since(began) > soon { // the services start side by side
			h.t.Fatal(err)
		}
	}
	h.t.Cleanup(func() { _ = socket.CloseNow() })
	next = func() told {
		h.t.Helper()
		ctx, cancel := context.WithTimeout(h.t.Context(), soon)
		defer cancel()
		_, raw, err := socket.Read(ctx)
		m := told{raw: string(raw)}
		if err == nil {
			err = json.Unmarshal(raw, &m)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		return m
	}
	if err := wsjson.Write(h.t.Context(), socket, map[string]any{"type": "auth", "token": token, "topics": []string{"analytics"}, "resume": resume}); err != nil {
		h.t.Fatal(err)
	}
	hello := next()
	if hello.Type != "auth_ok" {
		h.t.Fatalf("%s", hello.raw)
	}
	return next, func() { _ = socket.CloseNow() }
}

func TestClientsAreToldWhatHappensOnTheOnePort(t *testing.T) {
	h := openAndSecret(t)
	if _, err := h.admin.AddAccount(t.Context(), client.NewAccount{Email: "ann@example.com", Password: adminPassword, Role: "analyst"}); err != nil {
		t.Fatal(err)
	}
	_, token := h.login("ann@example.com", adminPassword)
	root, _ := h.listen(h.token, "")
	ann, hang := h.listen(token, "")
	h.sync(client.SyncRequest{})
	if got := root(); got.Type != "analytics.published" || got.tables() != "open added, secret added" {
		t.Errorf("the administrator is told %s", got.raw)
	}
	got := ann()
	if got.tables() != "open added" || strings.Contains(got.raw, "secret") {
		t.Errorf("ann is told %s", got.raw)
	}
	hang()
	h.file("open.csv", "id\n1\n2\n")
	h.sync(client.SyncRequest{})
	h.stop()
	h.start()
	ann, _ = h.listen(token, got.ID)
	if got := ann(); got.tables() != "open updated" {
		t.Errorf("after a restart ann is told %s", got.raw)
	}
}
