package api_test

import (
	"context"
	"crypto/md5" //nolint:gosec // what clients of the predecessor check
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func orders(rows int) content {
	return content{"orders", []string{fmt.Sprintf("SELECT range AS id, 'c' || range AS customer FROM range(%d)", rows)}}
}

// split is one table in two parts.
func split(rows int) content {
	return content{"visits", []string{
		fmt.Sprintf("SELECT range AS id FROM range(%d)", rows),
		fmt.Sprintf("SELECT range AS id FROM range(%d, %d)", rows, 2*rows),
	}}
}

func TestTrap_D2_ManifestHashIsThatOfTheDownload(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(100), split(50), content{name: "nothing"},
		content{"grown", []string{"SELECT 1::BIGINT AS id", "SELECT 2::BIGINT AS id, 'x' AS added"}})
	s.published("visits", 100)
	m := s.manifest(s.admin)
	for id, table := range m.Tables {
		got := s.ask("GET", "/api/data/"+id+"/download", s.admin, nil)
		one, two := md5.Sum([]byte(got.body)), sha256.Sum256([]byte(got.body)) //nolint:gosec // see the import
		if table.Hash != hex.EncodeToString(one[:]) || table.SHA256 != hex.EncodeToString(two[:]) || table.SizeBytes != int64(len(got.body)) {
			t.Errorf("%s: the manifest has %s %s %d, the download %x %x %d (status %d)", id, table.Hash, table.SHA256, table.SizeBytes, one, two, len(got.body), got.status)
		}
		if tag := got.header.Get("ETag"); tag != `"`+table.SHA256+`"` {
			t.Errorf("%s: ETag %s", id, tag)
		}
		s.readable(id, got.body, table.Rows)
		for _, p := range table.Parts {
			part := s.ask("GET", "/api/data/"+id+"/download?part="+p.SHA256, s.admin, nil)
			if sum := sha256.Sum256([]byte(part.body)); hex.EncodeToString(sum[:]) != p.SHA256 {
				t.Errorf("%s: part %s has other bytes (status %d)", id, p.SHA256, part.status)
			}
		}
	}
	if len(m.Tables) != 4 || m.Tables["nothing"].Hash == "" {
		t.Errorf("manifest: %+v", m.Tables)
	}
	// Nothing changes over a restart, and nothing is computed again.
	s.halt()
	s.start()
	for id, table := range s.manifest(s.admin).Tables {
		if table.Hash != m.Tables[id].Hash {
			t.Errorf("%s: another hash after a restart", id)
		}
	}
}

// readable reads a downloaded file as analysts do.
func (s *server) readable(id, body string, rows int64) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "table.parquet")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		s.t.Fatal(err)
	}
	db, err := lake.Open(s.t.Context(), lake.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var got int64
	if err := db.QueryRowContext(s.t.Context(), "SELECT count(*) FROM read_parquet("+lake.QuoteLiteral(file)+")").Scan(&got); err != nil || got != rows {
		s.t.Errorf("%s: %d rows in the download, want %d: %v", id, got, rows, err)
	}
}

func TestTrap_P6_GrantsBoundEverything(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(10), split(5))
	s.publish("crm", orders(3))
	s.published("crm.orders", 3)
	ann, annID := s.analyst("Ann@example.com")
	if m := s.manifest(ann); len(m.Tables) != 0 {
		t.Fatalf("an analyst without grants has %v", m.Tables)
	}
	// Registering makes a table public, unless it says otherwise.
	s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": "visits", "source": "shop"}).into(t, &struct{}{})
	s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": "orders", "source": "crm", "is_public": false}).into(t, &struct{}{})
	m := s.manifest(ann)
	if _, ok := m.Tables["visits"]; !ok || len(m.Tables) != 1 {
		t.Fatalf("the public table alone is there for all: %v", m.Tables)
	}
	for _, id := range []string{"orders", "crm.orders", "shop.orders"} {
		if got := s.ask("GET", "/api/data/"+id+"/download", ann, nil); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", id, got.status)
		}
	}
	// crm's table is registered as orders: that id is its own, and shop's is shop.orders.
	s.ask("POST", "/api/admin/permissions", s.admin, map[string]string{"user_id": annID, "dataset": "orders"}).into(t, &struct{}{})
	if got := s.manifest(ann).Tables; got["orders"].Source != "crm" || len(got) != 2 {
		t.Errorf("after the grant: %v", got)
	}
	if got := s.ask("GET", "/api/data/shop.orders/download", ann, nil); got.status != http.StatusNotFound {
		t.Errorf("the other table of that name: %d", got.status)
	}
	s.ask("DELETE", "/api/admin/permissions", s.admin, map[string]string{"user_id": annID, "dataset": "orders"}).into(t, &struct{}{})
	if got := s.ask("GET", "/api/data/orders/download", ann, nil); got.status != http.StatusNotFound {
		t.Errorf("after revoking: %d", got.status)
	}
	// Deactivating ends the session at once.
	s.ask("PATCH", "/api/users/"+annID, s.admin, map[string]any{"active": false}).into(t, &struct{}{})
	if got := s.ask("GET", "/api/sync/manifest", ann, nil); got.status != http.StatusUnauthorized {
		t.Errorf("after deactivating: %d", got.status)
	}
}

func TestTrap_D9_ARemoteTableHasNoWayOut(t *testing.T) {
	t.Parallel()
	s := newServer(t, quick)
	s.publish("shop", orders(10))
	s.published("orders", 10)
	src, err := catalog.LoadSource(s.dir, "shop")
	if err != nil {
		t.Fatal(err)
	}
	part := src.Tables[0].Parts[0].SHA256
	src.Tables[0].QueryMode, src.Generation = catalog.ModeRemote, 2 // whatever files are still named
	src.Tables[0].Fingerprint = catalog.Fingerprint(src.Tables[0])
	if err := catalog.SaveSource(s.dir, src); err != nil {
		t.Fatal(err)
	}
	s.eventually("publication", func() error {
		if got := s.ask("GET", "/api/sync/manifest", s.admin, nil); !strings.Contains(got.body, `"tables":{},"remote_tables":{"orders"`) {
			return fmt.Errorf("%s", got.body)
		}
		return nil
	})
	for _, path := range []string{"/api/data/orders/download", "/api/data/orders/download?part=" + part, "/api/data/shop.orders/download"} {
		for _, method := range []string{"GET", "HEAD"} {
			if got := s.ask(method, path, s.admin, nil); got.status != http.StatusNotFound {
				t.Errorf("%s %s: %d", method, path, got.status)
			}
		}
	}
}

func TestPublicationsAreSeen(t *testing.T) {
	t.Parallel()
	s := newServer(t, quick)
	s.publish("shop", orders(10))
	s.published("orders", 10)
	first := s.ask("GET", "/api/data/orders/download", s.admin, nil)
	s.publish("shop", orders(20))
	s.published("orders", 20)
	tag := first.header.Get("ETag")
	if got := s.ask("GET", "/api/data/orders/download", s.admin, nil, "If-Match: "+tag); got.body != first.body {
		t.Errorf("the version that a download began with: %d", got.status)
	}
	s.publishQuietly("crm", orders(5)) // no event: the folder is looked at, too
	s.published("crm.orders", 5)
	if _, ok := s.manifest(s.admin).Tables["orders"]; ok {
		t.Error("an ambiguous name stands for a table")
	}
	if err := catalog.RemoveSource(s.dir, "crm"); err != nil {
		t.Fatal(err)
	}
	s.eventually("removal", func() error {
		if n := len(s.manifest(s.admin).Tables); n != 1 {
			return fmt.Errorf("%d tables", n)
		}
		return nil
	})
}

func TestRegistryIsAnnounced(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	heard := make(chan string, 8)
	sub, err := event.Listen(t.Context(), s.bus, event.RegistryChanged, event.Listener{}, func(_ context.Context, e event.Event[*agnesv1.RegistryChanged]) error {
		heard <- e.Payload.GetChange() + " " + e.Payload.GetTableId()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Stop(t.Context()) }()
	want := func(text string) {
		t.Helper()
		if got := <-heard; got != text {
			t.Errorf("heard %q, want %q", got, text)
		}
	}
	table := map[string]any{"name": "My Orders", "source": "shop", "primary_key": "id", "sync_schedule": "every 15m", "options": map[string]any{"delimiter": ";"}}
	var made struct{ ID, Status string }
	s.ask("POST", "/api/admin/register-table", s.admin, table).into(t, &made)
	want("registered my_orders")
	if made.ID != "my_orders" || made.Status != "registered" {
		t.Errorf("%+v", made)
	}
	if got := s.ask("POST", "/api/admin/register-table", s.admin, table); got.status != http.StatusConflict {
		t.Errorf("again: %d", got.status)
	}
	if got := s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": "x", "source": "shop", "sync_schedule": "sometimes"}); got.status != http.StatusBadRequest {
		t.Errorf("a schedule that is none: %d %s", got.status, got.body)
	}
	var changed struct{ Updated []string }
	s.ask("PUT", "/api/admin/registry/my_orders", s.admin, map[string]any{"description": "Orders", "is_public": false}).into(t, &changed)
	want("updated my_orders")
	if fmt.Sprint(changed.Updated) != "[description is_public]" {
		t.Errorf("updated %v", changed.Updated)
	}
	answer, err := event.Call(t.Context(), s.bus, event.ListRegistry, &agnesv1.ListRegistryRequest{Source: "shop"})
	if err != nil || len(answer.GetTables()) != 1 {
		t.Fatalf("%v %v", answer, err)
	}
	if row := answer.GetTables()[0]; row.GetName() != "My Orders" || row.GetOptionsJson() != `{"delimiter":";"}` || row.GetIsPublic() || row.GetDescription() != "Orders" {
		t.Errorf("row %v", row)
	}
	made2, err := event.Call(t.Context(), s.bus, event.RegisterTables, &agnesv1.RegisterTablesRequest{
		Source: "shop", Tables: []*agnesv1.RegisteredTable{{Name: "My Orders"}, {Name: "visits"}},
	})
	if err != nil || fmt.Sprint(made2.GetRegistered(), made2.GetSkipped()) != "[visits] [my_orders]" {
		t.Errorf("%v %v", made2, err)
	}
	want("registered visits")
	if got := s.ask("DELETE", "/api/admin/registry/my_orders", s.admin, nil); got.status != http.StatusNoContent {
		t.Errorf("removed: %d %s", got.status, got.body)
	}
	want("removed my_orders")
	who, err := event.Call(t.Context(), s.bus, event.CheckToken, &agnesv1.CheckTokenRequest{Token: s.admin})
	if err != nil || who.GetEmail() != adminEmail {
		t.Errorf("%v %v", who, err)
	}
	if _, err := event.Call(t.Context(), s.bus, event.CheckToken, &agnesv1.CheckTokenRequest{Token: "forged"}); err == nil {
		t.Error("a forged token is somebody's")
	}
}

func TestDiscoverAndRegister(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	if got := s.ask("GET", "/api/admin/discover-tables?source=shop", s.admin, nil); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "agnes-extractor-csv") {
		t.Fatalf("nobody answers: %d %s", got.status, got.body)
	}
	sub, err := event.Serve(t.Context(), s.bus, event.Discover("shop"), func(context.Context, *agnesv1.DiscoverRequest) (*agnesv1.DiscoverResponse, error) {
		return &agnesv1.DiscoverResponse{Tables: []*agnesv1.DiscoveredTable{
			{Name: "visits", SourceTable: "visits.csv", Rows: -1, Columns: []*agnesv1.DiscoveredColumn{{Name: "id", Type: "BIGINT"}}},
			{Name: "orders", SourceTable: "orders.csv", Rows: 5, PrimaryKey: []string{"id"}},
			{Name: "broken", Problem: "it is a folder"},
		}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Stop(t.Context()) }()
	var found struct {
		Count  int
		Tables []struct {
			ID, Name   string
			Registered bool
		}
	}
	s.ask("GET", "/api/admin/discover-tables?source=shop", s.admin, nil).into(t, &found)
	if found.Count != 3 || found.Tables[1].Name != "orders" || found.Tables[1].Registered || found.Tables[1].ID != "orders" {
		t.Errorf("%+v", found)
	}
	var done struct {
		Registered, Skipped int
		Errors              []struct{ Table, Error string }
		Tables              []struct{ ID string }
	}
	for _, want := range []string{"2 0 1 2", "0 2 1 0"} {
		s.ask("POST", "/api/admin/discover-and-register", s.admin, map[string]string{"source": "shop"}).into(t, &done)
		if got := fmt.Sprint(done.Registered, " ", done.Skipped, " ", len(done.Errors), " ", len(done.Tables)); got != want {
			t.Errorf("got %s, want %s: %+v", got, want, done)
		}
	}
	s.ask("GET", "/api/admin/discover-tables?source=shop", s.admin, nil).into(t, &found)
	if !found.Tables[1].Registered {
		t.Errorf("%+v", found.Tables)
	}
}

func TestCredentialsEndAtOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var me struct {
		UserID     string `json:"user_id"`
		Credential struct{ Kind, ID string }
	}
	s.ask("GET", "/auth/me", s.admin, nil).into(t, &me)
	if me.Credential.Kind != "session" || me.Credential.ID == "" {
		t.Errorf("%+v", me)
	}
	var token struct{ ID, Token, Prefix string }
	s.ask("POST", "/auth/tokens", s.admin, map[string]any{"name": "laptop", "expires_in_days": nil}).into(t, &token)
	s.ask("GET", "/auth/me", token.Token, nil).into(t, &me)
	if me.Credential.Kind != "pat" || me.Credential.ID != token.ID {
		t.Errorf("%+v", me)
	}
	if got := s.ask("POST", "/auth/tokens", token.Token, map[string]any{"name": "more"}); got.status != http.StatusForbidden {
		t.Errorf("a token made a token: %d", got.status)
	}
	var list []map[string]any
	s.ask("GET", "/auth/tokens", s.admin, nil).into(t, &list)
	if len(list) != 1 || list[0]["name"] != "laptop" || list[0]["token"] != nil {
		t.Errorf("%v", list)
	}
	if got := s.ask("DELETE", "/auth/tokens/"+token.ID, s.admin, nil); got.status != http.StatusNoContent {
		t.Errorf("revoke: %d", got.status)
	}
	if got := s.ask("GET", "/auth/me", token.Token, nil); got.status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d", got.status)
	}
	if got := s.ask("POST", "/auth/logout", s.admin, nil); got.status != http.StatusNoContent {
		t.Errorf("logout: %d", got.status)
	}
	if got := s.ask("GET", "/auth/me", s.admin, nil); got.status != http.StatusUnauthorized {
		t.Errorf("after logout: %d", got.status)
	}
	if got := s.ask("POST", "/auth/bootstrap", "", map[string]string{"email": "eve@example.com", "password": "let me in please"}); got.status != http.StatusForbidden {
		t.Errorf("bootstrap on a house with an administrator: %d %s", got.status, got.body)
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, path := range []string{"/livez", "/readyz", "/api/health", "/api/version", "/openapi.json", "/docs", "/"} {
		if got := s.ask("GET", path, "", nil); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := s.ask("GET", "/metrics", "", nil); got.status != http.StatusUnauthorized {
		t.Errorf("metrics for a stranger: %d", got.status)
	}
	if got := s.ask("GET", "/metrics", s.admin, nil); !strings.Contains(got.body, "agnes_http_requests_total") {
		t.Errorf("metrics: %d", got.status)
	}
	s.nats.Stop()
	s.eventually("not ready without a bus", func() error {
		if got := s.ask("GET", "/readyz", "", nil); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "bus") {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", orders(10))
	s.published("orders", 10)
	if got := s.ask("GET", "/api/catalog/profile/orders", s.admin, nil); got.status != http.StatusNotFound {
		t.Errorf("before: %d", got.status)
	}
	s.profile("shop", "orders", s.manifest(s.admin).Tables["orders"].Fingerprint)
	s.eventually("profile", func() error {
		got := s.ask("GET", "/api/catalog/profile/orders", s.admin, nil)
		if got.status != http.StatusOK || !strings.Contains(got.body, `"row_count":10`) || !strings.Contains(got.body, `"current":true`) {
			return fmt.Errorf("%d %s", got.status, got.body)
		}
		return nil
	})
	ann, _ := s.analyst("ann@example.com")
	if got := s.ask("GET", "/api/catalog/profile/orders", ann, nil); got.status != http.StatusNotFound || strings.Contains(got.body, "profiled") {
		t.Errorf("P4: the profile of a table that is not granted: %d %s", got.status, got.body)
	}
}

func TestOtherServicesLearnWhatSomebodyCanRead(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.publish("shop", content{name: "orders"}, content{name: "salaries"})
	token, id := s.analyst("ann@example.com")
	ask := func(q *agnesv1.CheckAccessRequest) *agnesv1.CheckAccessResponse {
		t.Helper()
		answer, err := event.Call(t.Context(), s.bus, event.CheckAccess, q)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := ask(&agnesv1.CheckAccessRequest{Token: s.admin}); !got.GetEverything() || got.GetFingerprint() != "" || len(got.GetReadable()) > 0 {
		t.Errorf("the administrator: %v", got)
	}
	none := ask(&agnesv1.CheckAccessRequest{Token: token})
	if none.GetWho().GetUserId() != id || none.GetEverything() || len(none.GetReadable()) > 0 || none.GetFingerprint() == "" {
		t.Errorf("without a grant: %v", none)
	}
	if got := s.ask("POST", "/api/admin/permissions", s.admin, `{"user_id":"`+id+`","dataset":"shop.orders"}`); got.status/100 != 2 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	one := ask(&agnesv1.CheckAccessRequest{Token: token, Fingerprint: none.GetFingerprint()})
	if r := one.GetReadable(); len(r) != 1 || r[0].GetSource() != "shop" || fmt.Sprint(r[0].GetTables()) != "[orders]" || one.GetUnchanged() {
		t.Errorf("with one: %v", one)
	}
	if got := ask(&agnesv1.CheckAccessRequest{Token: token, Fingerprint: one.GetFingerprint()}); !got.GetUnchanged() || len(got.GetReadable()) > 0 {
		t.Errorf("once more: %v", got)
	}
	// What was published a moment ago counts, whether or not the api has heard of it.
	s.publishQuietly("crm", content{name: "leads"})
	if got := s.ask("POST", "/api/admin/permissions", s.admin, `{"user_id":"`+id+`","dataset":"crm.*","force":true}`); got.status/100 != 2 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if got := ask(&agnesv1.CheckAccessRequest{Token: token, Source: "crm"}); !strings.Contains(fmt.Sprint(got.GetReadable()), "leads") {
		t.Errorf("with a new source: %v", got)
	}
	var ticket struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expires_in"`
	}
	s.ask("POST", "/api/events/ticket", token, nil).into(t, &ticket)
	if got := ask(&agnesv1.CheckAccessRequest{Ticket: ticket.Ticket}); got.GetWho().GetUserId() != id || got.GetToken() != token || ticket.ExpiresIn != 60 {
		t.Errorf("by ticket: %v", got)
	}
	for name, text := range map[string]string{"used": ticket.Ticket, "forged": "forged"} {
		if _, err := event.Call(t.Context(), s.bus, event.CheckAccess, &agnesv1.CheckAccessRequest{Ticket: text}); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("a ticket that is %s: %v", name, err)
		}
	}
	if got := s.ask("POST", "/api/events/ticket", "", nil); got.status != http.StatusUnauthorized {
		t.Errorf("a stranger gets a ticket: %d %s", got.status, got.body)
	}
	if _, err := event.Call(t.Context(), s.bus, event.CheckAccess, &agnesv1.CheckAccessRequest{Token: "forged"}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a forged token: %v", err)
	}
}
