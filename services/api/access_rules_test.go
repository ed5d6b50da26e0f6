package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/event"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// withTables is a server with two private tables and a public one, and ann who may read nothing else.
func withTables(t *testing.T) (s *server, ann, annID string) {
	t.Helper()
	s = newServer(t)
	for table, public := range map[string]bool{"orders": false, "salaries": false, "open": true} {
		s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": table, "source": "shop", "source_type": "csv", "bucket": "in.c-shop", "is_public": public}).into(t, &struct{}{})
	}
	s.publish("shop", content{"orders", []string{"SELECT 1 AS id"}}, content{"salaries", []string{"SELECT 2 AS id"}}, content{"open", []string{"SELECT 3 AS id"}})
	s.published("salaries", 1)
	s.profile("shop", "salaries", "h")
	s.eventually("the profile", func() error {
		if got := s.ask("GET", "/api/catalog/profile/salaries", s.admin, nil); got.status != 200 {
			return errors.New(got.body)
		}
		return nil
	})
	ann, annID = s.analyst("ann@example.com")
	return s, ann, annID
}

// sees asks every route that names tables, and tells of each whether the table is there; it fails where
// they disagree.
func (s *server) sees(token, table string) bool {
	s.t.Helper()
	found := map[string]bool{}
	_, found["manifest"] = s.manifest(token).Tables[table]
	catalog := s.ask("GET", "/api/catalog/tables", token, nil)
	found["catalog"] = strings.Contains(catalog.body, `"`+table+`"`)
	found["query"] = s.ask("POST", "/api/query", token, map[string]string{"sql": "SELECT * FROM " + table}).status == 200
	found["qualified query"] = s.ask("POST", "/api/query", token, map[string]string{"sql": "SELECT * FROM shop." + table}).status == 200
	found["download"] = s.ask("GET", "/api/data/"+table+"/download", token, nil).status == 200
	found["qualified download"] = s.ask("GET", "/api/data/shop."+table+"/download", token, nil).status == 200
	found["head"] = s.ask("HEAD", "/api/data/"+table+"/download", token, nil).status == 200
	if table == "salaries" {
		found["profile"] = s.ask("GET", "/api/catalog/profile/"+table, token, nil).status == 200
	}
	for route, is := range found {
		if is != found["manifest"] {
			s.t.Fatalf("of %s, %s says %v and the manifest %v", table, route, is, found["manifest"])
		}
	}
	return found["manifest"]
}

func TestTrap_P4_OneSetBoundsEveryRouteAndChangesCountAtOnce(t *testing.T) {
	t.Parallel()
	s, ann, annID := withTables(t)
	grant := func(method string, body map[string]any) {
		t.Helper()
		if got := s.ask(method, "/api/admin/permissions", s.admin, body); got.status/100 != 2 {
			t.Fatalf("%d: %s", got.status, got.body)
		}
	}
	var group struct{ ID string }
	s.ask("POST", "/api/admin/groups", s.admin, map[string]string{"name": "Finance"}).into(t, &group)
	member := "/api/admin/groups/finance/members/" + annID
	public := func(is bool) {
		t.Helper()
		s.ask("PUT", "/api/admin/registry/salaries", s.admin, map[string]bool{"is_public": is}).into(t, &struct{}{})
	}
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"at first", func() {}, false},
		{"granted by id", func() { grant("POST", map[string]any{"user_id": annID, "dataset": "salaries"}) }, true},
		{"revoked", func() { grant("DELETE", map[string]any{"user_id": annID, "dataset": "salaries"}) }, false},
		{"public", func() { public(true) }, true},
		{"private again", func() { public(false) }, false},
		{"the group may", func() { grant("POST", map[string]any{"group_id": "FINANCE", "dataset": "in.c-shop.*"}) }, false},
		{"in the group", func() { s.ask("PUT", member, s.admin, nil) }, true},
		{"out of the group", func() { s.ask("DELETE", member, s.admin, nil) }, false},
		{"in again", func() { s.ask("PUT", member, s.admin, nil) }, true},
		{"the group is gone", func() { s.ask("DELETE", "/api/admin/groups/"+group.ID, s.admin, nil) }, false},
	} {
		step.do()
		if got := s.sees(ann, "salaries"); got != step.want {
			t.Errorf("%s: ann sees it: %v", step.name, got)
		}
		if !s.sees(ann, "open") || !s.sees(s.admin, "salaries") {
			t.Errorf("%s: what is public or an administrator's is gone", step.name)
		}
	}
	// Strangers learn no table's name from the health of the server, and ann none that is hidden.
	for token, hidden := range map[string][]string{"": {"orders", "salaries", "open"}, ann: {"orders", "salaries"}} {
		body := s.ask("GET", "/api/health", token, nil).body
		for _, table := range hidden {
			if strings.Contains(body, table) {
				t.Errorf("the health of the server names %s: %s", table, body)
			}
		}
	}
}

func TestTrap_P1_WhatIsPrivateStaysPrivateUnderAnotherName(t *testing.T) {
	t.Parallel()
	s, ann, annID := withTables(t)
	public := func(id string) (row struct {
		IsPublic bool `json:"is_public"`
	}) {
		t.Helper()
		s.ask("GET", "/api/admin/registry/"+id, s.admin, nil).into(t, &row)
		return row
	}
	s.ask("POST", "/api/admin/permissions", s.admin, map[string]any{"user_id": annID, "dataset": "shop.salaries"}).into(t, &struct{}{})

	second := map[string]any{"name": "pay", "source": "shop", "bucket": "in.c-shop", "source_table": "salaries"}
	if got := s.ask("POST", "/api/admin/register-table", s.admin, second); got.status != 201 || !strings.Contains(got.body, `"is_public":false`) {
		t.Errorf("a second registration: %d %s", got.status, got.body)
	}
	s.publish("shop", content{"salaries", []string{"SELECT 2 AS id"}}, content{"pay", []string{"SELECT 2 AS id"}})
	s.published("pay", 1)
	if got := s.ask("POST", "/api/query", ann, map[string]string{"sql": "SELECT * FROM pay"}); got.status != 404 {
		t.Errorf("ann reads it under another name: %s", got.body)
	}
	for _, id := range []string{"pay", "salaries"} {
		if got := s.ask("DELETE", "/api/admin/registry/"+id, s.admin, nil); got.status != 204 {
			t.Fatal(got.body)
		}
	}
	found := &agnesv1.RegisterTablesRequest{Source: "shop", Tables: []*agnesv1.RegisteredTable{{Name: "salaries", Bucket: "in.c-shop", SourceTable: "salaries.csv"}}}
	if _, err := event.Call(t.Context(), s.bus, event.RegisterTables, found); err != nil {
		t.Fatal(err)
	}
	if public("salaries").IsPublic || s.sees(ann, "salaries") {
		t.Error("a connector found a removed private table again, and it is open")
	}
}

func TestTrap_P6_AProfileIsThatOfItsOwnTable(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ann, _ := s.analyst("ann@example.com")
	register := func(name string, public bool) {
		t.Helper()
		s.ask("POST", "/api/admin/register-table", s.admin, map[string]any{"name": name, "source": "shop", "is_public": public}).into(t, &struct{}{})
	}
	profiled := func(source, table string) {
		t.Helper()
		s.profile(source, table, "h")
		s.eventually("the profile of "+table, func() error {
			if got := s.ask("GET", "/api/catalog/profile/"+source+"."+table, s.admin, nil); got.status != 200 {
				return errors.New(got.body)
			}
			return nil
		})
	}
	unseen := func(table, why string) {
		t.Helper()
		if got := s.ask("GET", "/api/catalog/profile/"+table, ann, nil); got.status != 404 {
			t.Errorf("%s: %s", why, got.body)
		}
	}

	register("old.leads", true) // nobody knows of a source old yet
	s.publish("old", content{"leads", []string{"SELECT 1 AS id"}})
	s.published("leads", 1)
	profiled("old", "leads")
	s.publish("shop", content{"old.leads", []string{"SELECT 1 AS id"}})
	s.published("old.leads", 1)
	unseen("old.leads", "the id of a public table is the name of a hidden one")

	register("salaries", false)
	s.publish("shop", content{"salaries", []string{"SELECT 1 AS id"}})
	s.published("salaries", 1)
	profiled("shop", "salaries")
	if got := s.ask("DELETE", "/api/admin/registry/salaries", s.admin, nil); got.status != 204 {
		t.Fatal(got.body)
	}
	register("salaries", true)
	unseen("salaries", "a public table shows the profile of a removed private one")
}

func TestGrantsAreForWhatExists(t *testing.T) {
	t.Parallel()
	s, _, annID := withTables(t)
	const path = "/api/admin/permissions"
	for name, c := range map[string]struct {
		body   map[string]any
		status int
		detail string
	}{
		"a typo":              {map[string]any{"user_id": annID, "dataset": "salarie"}, 404, "salaries"},
		"letters count":       {map[string]any{"user_id": annID, "dataset": "shop.Orders"}, 404, "shop.orders"},
		"no such bucket":      {map[string]any{"user_id": annID, "dataset": "in.c-shops.*"}, 404, "in.c-shop.*"},
		"no such user":        {map[string]any{"user_id": "nobody", "dataset": "orders"}, 404, "user"},
		"no such group":       {map[string]any{"group_id": "nothing", "dataset": "orders"}, 404, "group"},
		"nobody":              {map[string]any{"dataset": "orders"}, 400, "user_id"},
		"both":                {map[string]any{"user_id": annID, "group_id": "x", "dataset": "orders"}, 400, "user_id"},
		"all":                 {map[string]any{"user_id": annID, "dataset": "*", "force": true}, 400, "dataset"},
		"another access":      {map[string]any{"user_id": annID, "dataset": "orders", "access": "write"}, 400, "read or none"},
		"a configured source": {map[string]any{"user_id": annID, "dataset": "crm.*"}, 201, ""},
		"ahead":               {map[string]any{"user_id": annID, "dataset": "later", "force": true}, 201, ""},
	} {
		if got := s.ask("POST", path, s.admin, c.body); got.status != c.status || !strings.Contains(got.body, c.detail) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	var listed struct {
		Permissions []struct {
			Dataset        string
			Dangling       bool
			GrantedByEmail string `json:"granted_by_email"`
			UserEmail      string `json:"user_email"`
		}
		Total int
	}
	s.ask("GET", path+"?user_id="+annID, s.admin, nil).into(t, &listed)
	if listed.Total != 2 || listed.Permissions[0].Dangling || !listed.Permissions[1].Dangling || listed.Permissions[1].GrantedByEmail != adminEmail || listed.Permissions[0].UserEmail != "ann@example.com" {
		t.Errorf("listed: %+v", listed)
	}
	for range 2 {
		if got := s.ask("DELETE", path, s.admin, map[string]string{"user_id": annID, "dataset": "later"}); got.status != 200 || !strings.Contains(got.body, `"revoked":true`) {
			t.Errorf("revoked: %s", got.body)
		}
	}
	var report struct {
		Role   string
		Count  int
		Tables []struct {
			ID      string
			Because []string
		}
	}
	s.ask("GET", "/api/admin/access/"+annID, s.admin, nil).into(t, &report)
	if report.Role != "analyst" || report.Count != 1 || report.Tables[0].ID != "open" || !slices.Equal(report.Tables[0].Because, []string{"public"}) {
		t.Errorf("ann's access: %+v", report)
	}
}

// A client of the predecessor tells what went wrong by these.
func TestUsersAreRefusedAsByThePredecessor(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var made struct{ ID, Name string }
	s.ask("POST", "/api/users", s.admin, map[string]any{"email": "ann@example.com"}).into(t, &made)
	if made.Name != "ann" {
		t.Errorf("a user without a name is called %q", made.Name)
	}
	for _, c := range []struct {
		method, path string
		body         map[string]any
		status       int
	}{
		{"PATCH", made.ID, map[string]any{"role": "root"}, 400},
		{"PATCH", "nobody", map[string]any{"role": "admin"}, 404},
		{"PATCH", made.ID, map[string]any{"role": "km_admin", "more": 1}, 200},
		{"POST", made.ID + "/set-password", map[string]any{"password": "short"}, 400},
		{"POST", made.ID + "/set-password", map[string]any{"password": "long enough"}, 204},
		{"GET", made.ID, nil, 200},
		{"GET", "nobody", nil, 404},
	} {
		if got := s.ask(c.method, "/api/users/"+c.path, s.admin, c.body); got.status != c.status {
			t.Errorf("%s %s %v: %d %s", c.method, c.path, c.body, got.status, got.body)
		}
	}
}

func TestTrap_O1_ANewUserOfAnAddressDoesNotInheritItsNotes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const notes = "/api/uploads/local-md/ann@example.com.md"
	token, id := s.analyst("ann@example.com")
	s.ask("POST", "/api/upload/local-md", token, map[string]string{"content": "of the first Ann"}).into(t, &struct{}{})
	if got := s.ask("GET", notes, token, nil); got.status != 200 {
		t.Fatal(got.body)
	}
	if got := s.ask("DELETE", "/api/users/"+id, s.admin, nil); got.status != 204 {
		t.Fatal(got.body)
	}
	token, _ = s.analyst("ann@example.com")
	if got := s.ask("GET", notes, token, nil); got.status != 404 {
		t.Errorf("the second Ann reads %s", got.body)
	}
}

// notices listens for what is raised.
func (s *server) notices() <-chan *agnesv1.NotificationRaised {
	s.t.Helper()
	raised := make(chan *agnesv1.NotificationRaised, 100)
	heard, err := event.Listen(s.t.Context(), s.bus, event.NotificationRaised, event.Listener{}, func(_ context.Context, e event.Event[*agnesv1.NotificationRaised]) error {
		raised <- e.Payload
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = heard.Stop(context.Background()) })
	return raised
}

func TestAccessRequestsTellNobodyWhatExists(t *testing.T) {
	t.Parallel()
	s, ann, annID := withTables(t)
	raised := s.notices()
	const path = "/api/access-requests"
	answers := map[string]map[string]any{}
	ids := map[string]string{}
	for _, table := range []string{"salaries", "nothing"} {
		got := s.ask("POST", path, ann, map[string]string{"table_id": table, "reason": "for the report"})
		if got.status != 201 {
			t.Fatalf("%s: %d %s", table, got.status, got.body)
		}
		var body map[string]any
		got.into(t, &body)
		ids[table] = body["id"].(string)
		for _, differs := range []string{"id", "table_id", "created_at"} {
			delete(body, differs)
		}
		answers[table] = body
		notice := <-raised
		if notice.GetUserId() == "" || notice.GetUserId() == annID || !strings.Contains(notice.GetMessage(), table) {
			t.Errorf("the notice: %v", notice)
		}
	}
	if fmt.Sprint(answers["salaries"]) != fmt.Sprint(answers["nothing"]) {
		t.Errorf("a hidden table answers %v and an unknown one %v", answers["salaries"], answers["nothing"])
	}
	for name, c := range map[string]struct{ table, detail string }{
		"twice": {"salaries", "already"}, "readable": {"open", "can read"}, "readable by another name": {"shop.open", "can read"},
	} {
		if got := s.ask("POST", path, ann, map[string]string{"table_id": c.table}); got.status != 409 || !strings.Contains(got.body, c.detail) {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if got := s.ask("POST", path, ann, map[string]string{"table_id": "shop.*"}); got.status != 400 {
		t.Errorf("a whole source: %d %s", got.status, got.body)
	}
	if mine := s.ask("GET", path+"/my", ann, nil); strings.Contains(mine.body, "table_exists") || !strings.Contains(mine.body, `"total":2`) {
		t.Errorf("ann's requests: %s", mine.body)
	}
	var pending struct {
		Count    int
		Requests []struct {
			TableID     string `json:"table_id"`
			TableExists bool   `json:"table_exists"`
		}
	}
	s.ask("GET", path+"/pending", s.admin, nil).into(t, &pending)
	for _, r := range pending.Requests {
		if pending.Count != 2 || r.TableExists != (r.TableID == "salaries") {
			t.Errorf("pending: %+v", pending)
		}
	}
	for _, try := range []string{"/approve", "/deny"} {
		if got := s.ask("POST", path+"/"+ids["salaries"]+try, ann, nil); got.status != 403 {
			t.Errorf("ann decides herself: %d", got.status)
		}
	}
	if got := s.ask("POST", path+"/"+ids["nothing"]+"/approve", s.admin, nil); got.status != 404 {
		t.Errorf("approve what is not there: %d %s", got.status, got.body)
	}
	if got := s.ask("POST", path+"/"+ids["salaries"]+"/approve", s.admin, map[string]string{"reason": "welcome"}); got.status != 200 || !strings.Contains(got.body, `"approved"`) {
		t.Fatalf("approve: %d %s", got.status, got.body)
	}
	if notice := <-raised; notice.GetUserId() != annID || !strings.Contains(notice.GetMessage(), "welcome") {
		t.Errorf("the notice: %v", notice)
	}
	if !s.sees(ann, "salaries") {
		t.Error("what was approved cannot be read")
	}
	if got := s.ask("POST", path+"/"+ids["salaries"]+"/deny", s.admin, nil); got.status != 404 {
		t.Errorf("decided twice: %d %s", got.status, got.body)
	}
	if got := s.ask("DELETE", path+"/"+ids["nothing"], s.admin, nil); got.status != 404 {
		t.Errorf("cancel another's: %d", got.status)
	}
	if got := s.ask("DELETE", path+"/"+ids["nothing"], ann, nil); got.status != 204 {
		t.Errorf("cancel: %d", got.status)
	}
}

func TestSettingsReachTheManifest(t *testing.T) {
	t.Parallel()
	s, ann, annID := withTables(t)
	s.ask("POST", "/api/admin/permissions", s.admin, map[string]any{"user_id": annID, "dataset": "orders"}).into(t, &struct{}{})
	tag := ""
	wanted := func(token string) string {
		t.Helper()
		got := s.ask("GET", "/api/sync/manifest", token, nil, "If-None-Match: "+tag)
		if got.status == 304 {
			t.Fatal("the manifest says that nothing changed")
		}
		tag = got.header.Get("ETag")
		var m struct {
			Tables map[string]struct{ Wanted bool }
		}
		if err := json.Unmarshal([]byte(got.body), &m); err != nil {
			t.Fatal(err)
		}
		var list []string
		for id, table := range m.Tables {
			if table.Wanted {
				list = append(list, id)
			}
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	if got := wanted(ann); got != "open orders" {
		t.Errorf("at first: %s", got)
	}
	const subscriptions = "/api/sync/table-subscriptions"
	for _, step := range []struct {
		name, method, path string
		body               any
		want               string
	}{
		{"one off", "PUT", "/api/settings/dataset", map[string]any{"dataset": "orders", "enabled": false}, "open"},
		{"the bucket off, orders on", "POST", "/api/sync/settings", map[string]any{"datasets": map[string]bool{"in.c-shop.*": false, "shop.orders": true}}, "orders"},
		{"explicit", "POST", subscriptions, map[string]any{"table_mode": "explicit", "tables": map[string]bool{"open": true}}, "open"},
		{"all but one", "POST", subscriptions, map[string]any{"table_mode": "all", "tables": map[string]bool{"open": false}}, "orders"},
		{"none of them", "POST", subscriptions, map[string]any{"table_mode": "explicit", "tables": map[string]bool{}}, ""},
		{"a public table", "PUT", "/api/settings/dataset", map[string]any{"dataset": "shop.open", "enabled": true}, "open"},
	} {
		if got := s.ask(step.method, step.path, ann, step.body); got.status != 200 {
			t.Fatalf("%s: %d %s", step.name, got.status, got.body)
		}
		if got := wanted(ann); got != step.want {
			t.Errorf("%s: %s is wanted", step.name, got)
		}
	}
	hidden, unknown := s.ask("PUT", "/api/settings/dataset", ann, map[string]any{"dataset": "salaries", "enabled": true}), s.ask("PUT", "/api/settings/dataset", ann, map[string]any{"dataset": "nothing!", "enabled": true})
	if hidden.status != 403 || unknown.status != 403 {
		t.Errorf("hidden %d, unknown %d", hidden.status, unknown.status)
	}
	if got := s.ask("POST", "/api/sync/settings", ann, map[string]any{"datasets": map[string]bool{"salaries": true, "orders": true}}); !strings.Contains(got.body, "no permission") || !strings.Contains(got.body, `"enabled":true`) {
		t.Errorf("some refused: %s", got.body)
	}
	if got := s.ask("POST", subscriptions, ann, map[string]any{"tables": map[string]bool{"salaries": true}}); got.status != 403 || !strings.Contains(got.body, "salaries") {
		t.Errorf("a subscription to what is hidden: %d %s", got.status, got.body)
	}
	var settings struct {
		UserID      string `json:"user_id"`
		Permissions []map[string]any
		Sync        []struct{ Dataset string } `json:"sync_settings"`
	}
	s.ask("GET", "/api/settings", ann, nil).into(t, &settings)
	if settings.UserID != annID || len(settings.Permissions) != 1 || settings.Permissions[0]["granted_by"] != nil || len(settings.Sync) == 0 {
		t.Errorf("settings: %+v", settings)
	}
	var own struct {
		Enabled []string `json:"enabled_datasets"`
	}
	s.ask("GET", "/api/sync/settings", ann, nil).into(t, &own)
	if !slices.Contains(own.Enabled, "orders") || slices.Contains(own.Enabled, "salaries") {
		t.Errorf("switched on: %v", own.Enabled)
	}
	if got := s.ask("PUT", "/api/settings/dataset", s.admin, map[string]any{"dataset": "salaries", "enabled": false}); got.status != 200 {
		t.Errorf("an administrator: %d %s", got.status, got.body)
	}
}
