package api_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

func (s *server) client(token string) *client.Client {
	s.t.Helper()
	c, err := client.New(client.Options{Server: s.url, Token: token, Retries: -1})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

func ok[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func fine(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestTheClientAndTheServerSpeakOneLanguage makes every call of pkg/client.
func TestTheClientAndTheServerSpeakOneLanguage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ctx := t.Context()
	session := ok[client.Session](t)(s.client("").Login(ctx, "ADMIN@example.com", adminPassword))
	c := s.client(session.AccessToken)
	if me := ok[client.Me](t)(c.Me(ctx)); me.Email != adminEmail || me.Credential.Kind != "session" || me.Credential.ExpiresAt == nil {
		t.Errorf("%+v", me)
	}
	token := ok[client.NewToken](t)(c.CreateToken(ctx, "laptop", nil))
	if list := ok[[]client.Token](t)(c.Tokens(ctx)); len(list) != 1 || list[0].ID != token.ID || token.ExpiresAt != nil {
		t.Errorf("%+v %+v", list, token)
	}
	fine(t, c.RevokeToken(ctx, token.ID))

	s.publish("shop", orders(10), split(5))
	s.published("orders", 10)
	s.callData(ctx, t, c)
	s.callAdmin(ctx, t, c)
	s.callRuns(ctx, t, c)
	health := ok[client.Health](t)(c.Health(ctx))
	if health.Status != "healthy" || health.Timestamp.IsZero() {
		t.Errorf("%+v", health)
	}
	if v, at, err := c.Version(ctx); err != nil || v.SchemaVersion < 8 || at.IsZero() {
		t.Errorf("%+v %v %v", v, at, err)
	}
	fine(t, c.Logout(ctx))
	if _, err := c.Me(ctx); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after logout: %v", err)
	}
}

func (s *server) callData(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	m, modified, err := c.Manifest(ctx, "")
	if err != nil || !modified || len(m.Tables) != 2 || m.Tables["visits"].Rows != 10 || !m.Tables["visits"].Alias || len(m.Tables["visits"].Columns) != 1 {
		t.Fatalf("%+v %v", m, err)
	}
	if _, modified, err := c.Manifest(ctx, m.ETag); modified || err != nil {
		t.Errorf("unchanged: %t %v", modified, err)
	}
	for _, p := range m.Tables["visits"].Parts {
		f := ok[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "part")))
		fine(t, c.DownloadPart(ctx, client.PartRef{Table: "visits", SHA256: p.SHA256, Size: p.SizeBytes}, f, nil))
		fine(t, f.Close())
	}
	tables, _, err := c.Catalog(ctx)
	if err != nil || len(tables) != 2 || tables[0].ID != "orders" || tables[0].SourceType != "csv" || tables[0].Updated == nil {
		t.Errorf("%+v %v", tables, err)
	}
	stream := ok[*client.QueryStream](t)(c.Query(ctx, client.QueryRequest{SQL: "FROM orders ORDER BY id", Limit: 3, Accept: client.TypeCSV}))
	raw := ok[[]byte](t)(io.ReadAll(stream))
	fine(t, stream.Close())
	if !stream.Truncated() || strings.Count(string(raw), "\n") != 4 {
		t.Errorf("%q, truncated %t", raw, stream.Truncated())
	}
	if _, err := c.Query(ctx, client.QueryRequest{SQL: "SELECT * FROM nowhere"}); err == nil || !strings.Contains(fault.Message(err), "nowhere") {
		t.Errorf("%v", err)
	}
	if _, err := c.Profile(ctx, "orders"); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

func (s *server) callAdmin(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	name, source, key := "orders", "shop", []string{"id"}
	made := ok[client.NewTable](t)(c.RegisterTable(ctx, client.TableFields{Name: &name, Source: &source, PrimaryKey: &key, Options: []byte(`{"a":1}`)}))
	rows := ok[[]client.Registered](t)(c.Registry(ctx))
	if len(rows) != 1 || rows[0].ID != made.ID || rows[0].PrimaryKey[0] != "id" || string(rows[0].Options) != `{"a":1}` || !rows[0].IsPublic {
		t.Errorf("%+v", rows)
	}
	if _, err := c.RegisterTable(ctx, client.TableFields{Name: &name, Source: &source}); !fault.Is(err, fault.Conflict) {
		t.Errorf("again: %v", err)
	}
	hidden := false
	fine(t, c.UpdateTable(ctx, made.ID, client.TableFields{IsPublic: &hidden}))
	if sources := ok[[]client.SourceStatus](t)(c.Sources(ctx)); len(sources) != 2 || sources[1].Name != "shop" || sources[1].Tables != 2 || sources[1].PublishedAt == nil {
		t.Errorf("%+v", sources)
	}
	if rebuilt := ok[[]string](t)(c.Rebuild(ctx, "shop")); len(rebuilt) != 1 || rebuilt[0] != "shop" {
		t.Errorf("rebuilt %v", rebuilt)
	}
	if letters := ok[[]client.DeadLetter](t)(c.DeadLetters(ctx)); len(letters) != 0 {
		t.Errorf("%+v", letters)
	}
	if err := c.ReplayDeadLetter(ctx, 99); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
	ann := ok[client.Account](t)(c.AddAccount(ctx, client.NewAccount{Email: "ann@example.com", Password: "another password"}))
	if all := ok[[]client.Account](t)(c.Accounts(ctx)); len(all) != 2 || ann.Role != "analyst" || !ann.Active {
		t.Errorf("%+v %+v", all, ann)
	}
	grant := client.Grant{UserID: ann.ID, Dataset: "orders"}
	fine(t, c.AddGrant(ctx, grant))
	if grants := ok[[]client.Grant](t)(c.Grants(ctx, ann.ID)); len(grants) != 1 || grants[0].Access != "read" {
		t.Errorf("%+v", grants)
	}
	fine(t, c.RemoveGrant(ctx, grant))
	fine(t, c.RemoveTable(ctx, made.ID))
	if _, err := c.Discover(ctx, "shop"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if _, err := c.DiscoverAndRegister(ctx, "crm"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

func (s *server) callRuns(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	triggered := ok[client.Trigger](t)(c.TriggerSync(ctx, client.SyncRequest{Source: "shop", Force: true}))
	if triggered.RunID == "" {
		t.Fatalf("%+v", triggered)
	}
	fine(t, event.Publish(ctx, s.bus, event.ExtractFailed, "shop", &agnesv1.ExtractFailed{
		RunIds: []string{triggered.RunID}, Source: "shop", Error: "the folder is gone", ErrorKind: "permanent",
	}))
	s.eventually("end of the run", func() error {
		run, err := c.Run(ctx, triggered.RunID)
		if err != nil || run.Status != client.RunFailed || !run.Force || run.Error == "" || run.Source != "shop" {
			return fault.New(fault.Unavailable, "%+v %v", run, err)
		}
		return nil
	})
	if list := ok[[]client.Run](t)(c.Runs(ctx, client.RunFilter{Source: "shop", Limit: 3})); len(list) == 0 || list[0].ID != triggered.RunID {
		t.Errorf("%+v", list)
	}
}
