package wsgateway

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the client
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// handler lets people in: on the path of the api's port, and on any of the gateway's own, as the predecessor's did.
func (g *gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", g.health)
	mux.HandleFunc("GET /ws/health", g.health)
	mux.HandleFunc("GET /ws/client.js", script)
	mux.HandleFunc("GET /{$}", g.connect)
	mux.HandleFunc("GET /ws", g.connect)
	mux.HandleFunc("GET /ws/notifications", g.connect)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "there is nothing here: connect to /ws/notifications")
	})
	return mux
}

func problem(w http.ResponseWriter, status int, detail string) {
	answer(w, status, refusedRequest{detail})
}

// clientScript is a client for pages.
//
//go:embed client.js
var clientScript []byte

// script gives pages the client; it is public, as everything is that a page needs before anybody signs in.
func script(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("ETag", clientTag)
	http.ServeContent(w, r, "client.js", time.Time{}, bytes.NewReader(clientScript))
}

var clientTag = fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(clientScript))[:16])

func answer(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client left otherwise
}

// refusedRequest says why a request is not served.
type refusedRequest struct {
	Detail string `json:"detail"`
}

type status struct {
	Status string `json:"status"`
}

// health answers strangers, and so says nothing of who is connected.
func (g *gateway) health(w http.ResponseWriter, r *http.Request) {
	if err := g.ready(r.Context()); err != nil {
		problem(w, http.StatusServiceUnavailable, "unavailable")
		return
	}
	answer(w, http.StatusOK, status{"ok"})
}

// connect takes in a WebSocket.
func (g *gateway) connect(w http.ResponseWriter, r *http.Request) {
	h := g.hub.Load()
	switch {
	case h == nil || g.stopping.Load():
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "the gateway is starting or stopping: try again")
		return
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		w.Header().Set("Upgrade", "websocket")
		problem(w, http.StatusUpgradeRequired, "this is a WebSocket: connect with a client of such")
		return
	case !g.allowed(r):
		problem(w, http.StatusForbidden, "pages of this origin may not connect: an administrator allows them by AGNES_WS_ORIGINS")
		return
	case h.connections.Load() >= int64(g.cfg.Connections) || h.pending.Load() >= int64(g.cfg.Pending):
		w.Header().Set("Retry-After", "10")
		problem(w, http.StatusServiceUnavailable, "too many connections: try again later")
		return
	}
	h.connections.Add(1)
	h.pending.Add(1)
	taken := &hijacker{ResponseWriter: w}
	// Origins are looked at above: behind a proxy the host of the request is not that of the page.
	socket, err := websocket.Accept(taken, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		h.connections.Add(-1)
		h.pending.Add(-1)
		return // it was answered
	}
	socket.SetReadLimit(maxMessage)
	c := &client{hub: h, wire: taken.wire, socket: socket}
	c.wire.patience, c.wire.after = g.cfg.WriteTimeout, c.caughtUp
	c.heard.Store(time.Now().UnixNano())
	h.opened(c)
	// Not on the goroutine of the request, which holds what the server needed to read it.
	g.open.Go(func() { c.run(g.hard) })
}

// allowed tells whether a browser may connect from the page that it shows: from one of the same host, or of an origin
// on the list. Other programs name none. Behind a proxy the host is the one that it passes on, which no page can set.
func (g *gateway) allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, r.Header.Get("X-Forwarded-Host")) {
		return true
	}
	return slices.ContainsFunc(g.cfg.Origins, func(pattern string) bool {
		whole := u.Host
		if strings.Contains(pattern, "://") {
			whole = u.Scheme + "://" + u.Host
		}
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(whole))
		return ok && err == nil
	})
}
