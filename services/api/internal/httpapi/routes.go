package httpapi

import (
	"net/http"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// routes registers everything that the server answers, each with its gate.
func (s *Server) routes() {
	s.authRoutes()
	s.signInRoutes()
	s.deviceRoutes()
	s.sessionRoutes()
	s.oidcRoutes()
	s.passwordPages()
	s.linkPages()
	s.accountPages()
	s.queryRoutes()
	s.hybridRoutes()
	s.manifestRoutes()
	s.downloadRoutes()
	s.catalogRoutes()
	s.syncRoutes()
	s.registryRoutes()
	s.discoverRoutes()
	s.sourceRoutes()
	s.jiraRoutes()
	s.userRoutes()
	s.permissionRoutes()
	s.groupRoutes()
	s.requestRoutes()
	s.settingRoutes()
	s.uploadRoutes()
	s.configureRoutes()
	s.opsRoutes()
	s.auditRoutes()
	s.healthRoutes()
	s.ticketRoutes()
	s.pageRoutes()
	s.proxyRoutes()
}

// proxyRoutes pass requests on to services of their own, so that one port serves everything. They
// check their callers themselves: a webhook by its signature, a socket by the token it sends.
func (s *Server) proxyRoutes() {
	webhooks := orAway(s.upstream.Webhooks, "webhooks are not received here: start agnes-jira-webhook and set AGNES_JIRA_WEBHOOK_URL to its address")
	for _, path := range []string{"/webhooks/jira", "/webhooks/jira/:source"} {
		s.rawDoor(door{gate: Public, limit: LimitNone}, http.MethodPost, path, webhooks)
	}
	s.raw(Public, "/webhooks/jira/health", webhooks)
	sockets := orAway(s.upstream.Sockets, "events are not sent from here: start agnes-ws-gateway and set AGNES_WS_GATEWAY_URL to its address")
	s.raw(Public, "/ws", sockets)
	s.raw(Public, "/ws/*", sockets)
}

func orAway(upstream http.Handler, text string) http.Handler {
	if upstream != nil {
		return upstream
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, fault.New(fault.Unavailable, "%s", text))
	})
}
