package state_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

func TestRegisteredTableComesBackAsItWas(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	made := must[state.RegisteredTable](t)(s.Registry.Register(t.Context(), state.NewTable{
		Name: " Web Orders ", Source: "shop", SourceType: "csv", Bucket: "in.c-shop", SourceTable: "orders.csv", SyncSchedule: " every 1h ",
		PrimaryKey: []string{"order_id", "line"}, Folder: "sales", Description: "two\nlines", Options: json.RawMessage(`{ "delimiter" : ";" }`),
	}, "ann"))
	got := must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), "web_orders"))
	if got.Name != "Web Orders" || got.QueryMode != "local" || got.SyncStrategy != "full_refresh" || got.SyncSchedule != "every 1h" || !got.IsPublic ||
		!got.ProfileAfterSync || got.RegisteredBy != "ann" || string(got.Options) != `{"delimiter":";"}` || !slices.Equal(got.PrimaryKey, []string{"order_id", "line"}) ||
		got.Description != "two\nlines" || !got.RegisteredAt.Equal(made.RegisteredAt) || got.Source != "shop" {
		t.Errorf("got %+v", got)
	}
	changed, updated, err := s.Registry.Update(t.Context(), "web_orders", state.TableChange{
		IsPublic: ptr(false), PrimaryKey: &[]string{}, SyncSchedule: ptr(""), Options: ptr(json.RawMessage(nil)), QueryMode: ptr("remote"),
	})
	if err != nil || !slices.Equal(updated, []string{"query_mode", "sync_schedule", "primary_key", "is_public", "options"}) {
		t.Fatalf("updated %v, %v", updated, err)
	}
	got = must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), "web_orders"))
	if got.IsPublic || len(got.PrimaryKey) != 0 || got.SyncSchedule != "" || got.Options != nil || got.QueryMode != "remote" || got.Bucket != "in.c-shop" || changed.ID != got.ID {
		t.Errorf("changed to %+v", got)
	}
}

func TestTrap_P1_OneRowPerTable(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	register := func(source, name string) (state.RegisteredTable, error) {
		return s.Registry.Register(t.Context(), state.NewTable{Name: name, Source: source}, "ann")
	}
	if first := must[state.RegisteredTable](t)(register("shop", "Orders")); first.ID != "orders" {
		t.Errorf("the id is %s", first.ID)
	}
	for _, again := range []string{"Orders", "orders", " ORDERS "} {
		if _, err := register("shop", again); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second row for the table as %q: %v", again, err)
		}
	}
	if other := must[state.RegisteredTable](t)(register("crm", "orders")); other.ID != "crm.orders" {
		t.Errorf("another source's table has the id %s", other.ID)
	}
	if _, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "").ID, Dataset: "orders"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Registry.Delete(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	if later := must[state.RegisteredTable](t)(register("hr", "orders")); later.ID != "orders" {
		t.Errorf("the id is free again, and it is %s", later.ID)
	}
	if grants := grantsOf(t, s, ""); len(grants) != 0 {
		t.Errorf("a grant of a removed table opens the next one of its name: %v", grants)
	}
}

func TestRegistryRefusesWithTheReason(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), func(o *state.Options) {
		o.ValidSchedule = func(text string) error {
			if text == "hourly" {
				return nil
			}
			return errors.New("unknown schedule: use every 1h")
		}
	})
	if _, err := s.Registry.Register(t.Context(), state.NewTable{Name: "ok", Source: "shop", SyncSchedule: "hourly"}, ""); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 300)
	for says, table := range map[string]state.NewTable{
		"empty":                    {Name: "  ", Source: "shop"},
		"'/'":                      {Name: "a/../up", Source: "shop"},
		"reserved":                 {Name: "_meta", Source: "shop"},
		"bytes long":               {Name: long, Source: "shop"},
		"name the source":          {Name: "a"},
		"source name":              {Name: "a", Source: "../up"},
		"query mode":               {Name: "a", Source: "shop", QueryMode: "magic"},
		"use every 1h":             {Name: "a", Source: "shop", SyncSchedule: "sometimes"},
		"has no name":              {Name: "a", Source: "shop", PrimaryKey: []string{"id", " "}},
		"twice":                    {Name: "a", Source: "shop", PrimaryKey: []string{"id", "id"}},
		"not a JSON object":        {Name: "a", Source: "shop", Options: []byte(`[1]`)},
		"control character":        {Name: "a", Source: "shop", Bucket: "a\nb"},
		"source_table is 2000":     {Name: "a", Source: "shop", SourceTable: strings.Repeat("x", 2000)},
		"primary key has at most ": {Name: "a", Source: "shop", PrimaryKey: slices.Repeat([]string{"x"}, 65)},
	} {
		if _, err := s.Registry.Register(t.Context(), table, ""); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, _, err := s.Registry.Update(t.Context(), "ok", state.TableChange{SyncSchedule: ptr("sometimes")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a bad schedule as a change: %v", err)
	}
	if _, _, err := s.Registry.Update(t.Context(), "ok", state.TableChange{Source: ptr("crm")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("moving to another source: %v", err)
	}
	for name, err := range map[string]error{
		"get":    func() error { _, err := s.Registry.Get(t.Context(), "nothing"); return err }(),
		"update": func() error { _, _, err := s.Registry.Update(t.Context(), "nothing", state.TableChange{}); return err }(),
		"delete": func() error { _, err := s.Registry.Delete(t.Context(), "nothing"); return err }(),
	} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s nothing: %v", name, err)
		}
	}
}

func TestRegisterAllLeavesWhatStands(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, err := s.Registry.Register(t.Context(), state.NewTable{Name: "t7", Source: "shop", IsPublic: ptr(false)}, "ann"); err != nil {
		t.Fatal(err)
	}
	var tables []state.NewTable
	for i := range 1000 {
		tables = append(tables, state.NewTable{Name: fmt.Sprintf("t%d", i), Source: "shop"})
	}
	tables = append(tables, state.NewTable{Name: "..", Source: "shop"}, state.NewTable{Name: "T1", Source: "shop"})
	done := must[state.Registered](t)(s.Registry.RegisterAll(t.Context(), tables, "extractor"))
	if len(done.Registered) != 999 || !slices.Equal(done.Skipped, []string{"t7", "t1"}) || len(done.Refused) != 1 || done.Refused[0].Name != ".." {
		t.Errorf("%d registered, skipped %v, refused %v", len(done.Registered), done.Skipped, done.Refused)
	}
	if t7 := must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), "t7")); t7.IsPublic || t7.RegisteredBy != "ann" {
		t.Errorf("what stood was changed: %+v", t7)
	}
	if rows := must[[]state.RegisteredTable](t)(s.Registry.List(t.Context(), "")); len(rows) != 1000 {
		t.Errorf("%d rows", len(rows))
	}
}

func TestPrimaryKeysOfThePredecessorAreRead(t *testing.T) {
	t.Parallel()
	s := open(t, predecessor(t, 7, `INSERT INTO table_registry (id, name, source_type, primary_key) VALUES
		('one', 'one', 'keboola', 'id'), ('list', 'list', 'keboola', 'a, b'), ('json', 'json', 'keboola', '["a,b", "c"]'), ('none', 'none', 'keboola', NULL), ('odd', 'odd', 'keboola', '[not json')`))
	for id, want := range map[string][]string{"one": {"id"}, "list": {"a", "b"}, "json": {"a,b", "c"}, "none": nil, "odd": {"[not json"}} {
		if got := must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), id)).PrimaryKey; !slices.Equal(got, want) {
			t.Errorf("%s: %q", id, got)
		}
	}
	for _, key := range [][]string{{"id"}, {"a", "b"}, {"a,b", "c"}, {`"x"`}, {"[", "y"}} {
		if _, _, err := s.Registry.Update(t.Context(), "one", state.TableChange{PrimaryKey: &key}); err != nil {
			t.Fatal(err)
		}
		if got := must[state.RegisteredTable](t)(s.Registry.Get(t.Context(), "one")).PrimaryKey; !slices.Equal(got, key) {
			t.Errorf("%q came back as %q", key, got)
		}
	}
}

func TestGrantsAreChecked(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann := addUser(t.Context(), t, s, "ann@example.com", state.RoleViewer, "")
	generation := s.AccessGeneration()
	for _, p := range []state.Permission{{UserID: ann.ID, Dataset: "orders"}, {UserID: ann.ID, Dataset: "orders", Access: "none"}, {UserID: ann.ID, Dataset: "shop.*", Access: "read"}} {
		if _, err := s.Permissions.Grant(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if s.AccessGeneration() == generation {
		t.Error("a grant did not change the generation")
	}
	for kind, p := range map[fault.Kind]state.Permission{
		fault.Invalid:  {UserID: ann.ID, Dataset: "orders", Access: "write"},
		fault.NotFound: {UserID: "nobody", Dataset: "orders"},
	} {
		if _, err := s.Permissions.Grant(t.Context(), p); !fault.Is(err, kind) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, dataset := range []string{"", " ", "*", ".*", "a\nb"} {
		if _, err := s.Permissions.Grant(t.Context(), state.Permission{UserID: ann.ID, Dataset: dataset}); !fault.Is(err, fault.Invalid) {
			t.Errorf("dataset %q: %v", dataset, err)
		}
	}
	list := grantsOf(t, s, ann.ID)
	if len(list) != 2 || list[0].Access != "none" {
		t.Errorf("grants %v", list)
	}
	for range 2 {
		if err := s.Permissions.Revoke(t.Context(), state.Permission{UserID: ann.ID, Dataset: "orders"}); err != nil {
			t.Fatal(err)
		}
	}
	if list := grantsOf(t, s, ann.ID); len(list) != 1 {
		t.Errorf("grants %v", list)
	}
}
