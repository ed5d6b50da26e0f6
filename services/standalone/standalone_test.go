package standalone_test

import (
	"context"
	"crypto/md5" //nolint:gosec // the manifest names whole files by MD5
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/jira"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/standalone"
)

const (
	adminEmail    = "admin@example.com"
	adminPassword = "correct horse battery staple"
	soon          = 60 * time.Second
)

// house is a standalone Agnes in this process.
type house struct {
	t      *testing.T
	dir    string
	url    string
	admin  *client.Client
	token  string
	cancel context.CancelFunc
	ended  chan error
}

// build makes an empty installation with one source of files.
func build(t *testing.T, options string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	for _, sub := range []string{"config", "files"} {
		if err := os.MkdirAll(filepath.Join(h.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := "sources:\n  - {name: shop, type: csv, path: ../files" + options + "}\n"
	if err := os.WriteFile(filepath.Join(h.dir, "config", service.InstanceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) config() standalone.Config {
	var cfg standalone.Config
	cfg.DataDir, cfg.ConfigDir = filepath.Join(h.dir, "data"), filepath.Join(h.dir, "config")
	return cfg
}

// start runs it and signs the admin in.
func (h *house) start() {
	h.t.Helper()
	h.t.Setenv("SEED_ADMIN_EMAIL", adminEmail)
	h.t.Setenv("SEED_ADMIN_PASSWORD", adminPassword)
	h.t.Setenv("AGNES_API_ADDR", "127.0.0.1:0")
	log := service.NewLogger(h.t.Output(), "warn", "json")
	ctx, cancel := context.WithCancel(log.WithContext(context.Background()))
	cfg := h.config()
	addr := make(chan string, 1)
	cfg.OnReady = func(a string) { addr <- a }
	h.cancel, h.ended = cancel, make(chan error, 1)
	ended := h.ended
	go func() { ended <- standalone.Run(ctx, cfg) }()
	h.t.Cleanup(h.stop)
	select {
	case a := <-addr:
		h.url = "http://" + a
	case err := <-h.ended:
		h.t.Fatalf("it ended at once: %v", err)
	case <-time.After(soon):
		h.t.Fatal("it does not listen")
	}
	h.admin, h.token = h.login(adminEmail, adminPassword)
}

func (h *house) stop() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.cancel = nil
	select {
	case err := <-h.ended:
		if err != nil {
			h.t.Errorf("stopped with %v", err)
		}
	case <-time.After(soon):
		h.t.Error("it does not stop")
	}
}

func (h *house) login(email, password string) (*client.Client, string) {
	h.t.Helper()
	c, err := client.New(client.Options{Server: h.url})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Login(h.t.Context(), email, password)
	if err != nil {
		h.t.Fatal(err)
	}
	signedIn, err := client.New(client.Options{Server: h.url, Token: s.AccessToken})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(signedIn.Close)
	return signedIn, s.AccessToken
}

func (h *house) file(name, text string) {
	h.t.Helper()
	aside := filepath.Join(h.dir, name+".aside")
	if err := os.WriteFile(aside, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(aside, filepath.Join(h.dir, "files", name)); err != nil {
		h.t.Fatal(err)
	}
}

// sync runs what is named, or everything, and waits for the end.
func (h *house) sync(what client.SyncRequest) client.Run {
	h.t.Helper()
	trigger, err := h.admin.TriggerSync(h.t.Context(), what)
	if err != nil {
		h.t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < soon; time.Sleep(20 * time.Millisecond) {
		run, err := h.admin.Run(h.t.Context(), trigger.RunID)
		if err != nil {
			h.t.Fatal(err)
		}
		if run.Ended() {
			return run
		}
	}
	h.t.Fatal("the run does not end")
	return client.Run{}
}

func (h *house) query(c *client.Client, sql string) (string, error) {
	stream, err := c.Query(h.t.Context(), client.QueryRequest{SQL: sql})
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var answer struct {
		Rows [][]any `json:"rows"`
	}
	err = json.NewDecoder(stream).Decode(&answer)
	return fmt.Sprint(answer.Rows), err
}

func (h *house) expect(c *client.Client, sql, want string) {
	h.t.Helper()
	got, err := h.query(c, sql)
	if err != nil || got != want {
		h.t.Errorf("%s: %s, %v; want %s", sql, got, err, want)
	}
}

func outcomes(r client.Run) map[string]string {
	out := map[string]string{}
	for _, t := range r.Tables {
		out[t.Table] = t.Outcome
	}
	return out
}

// TestTheMainJob goes the whole way: files, discovery, extraction, publication, queries, download.
func TestTheMainJob(t *testing.T) {
	h := build(t, "")
	h.file("orders.csv", "id,customer,amount\n1,ann,10.50\n2,bob,20\n3,ann,\n")
	h.file("customers.csv", "name,zip\nann,00123\nbob,04567\n")
	h.start()

	registered, err := h.admin.DiscoverAndRegister(t.Context(), "shop")
	if err != nil || len(registered.Tables) != 2 {
		t.Fatalf("%+v, %v", registered, err)
	}
	run := h.sync(client.SyncRequest{})
	if run.Status != client.RunSucceeded || outcomes(run)["orders"] != "updated" {
		t.Fatalf("%+v", run)
	}
	h.expect(h.admin, "SELECT sum(amount), count(*) FROM shop.orders", "[[30.5 3]]")
	h.expect(h.admin, "SELECT zip FROM customers WHERE name = 'ann'", "[[00123]]")

	// The manifest's hash is the MD5 of what download sends.
	manifest, _, err := h.admin.Manifest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for id, table := range manifest.Tables {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/api/data/"+id+"/download", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+h.token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		sum := md5.Sum(body) //nolint:gosec // see the import
		if err != nil || hex.EncodeToString(sum[:]) != table.Hash || int64(len(body)) != table.SizeBytes || !strings.HasPrefix(string(body), "PAR1") {
			t.Errorf("%s: %s, %d bytes, %x, manifest %s, %d bytes; %v", id, answer.Status, len(body), sum, table.Hash, table.SizeBytes, err)
		}
	}

	// Unchanged input publishes nothing; a changed file changes its table and no other.
	if run := h.sync(client.SyncRequest{}); run.Status != client.RunSucceeded || outcomes(run)["orders"] != "unchanged" {
		t.Errorf("%+v", run)
	}
	h.file("orders.csv", "id,customer,amount\n1,ann,10.50\n2,bob,20\n3,ann,\n4,eve,1\n")
	if got := outcomes(h.sync(client.SyncRequest{})); got["orders"] != "updated" || got["customers"] != "unchanged" {
		t.Errorf("%v", got)
	}
	h.expect(h.admin, "SELECT count(*) FROM shop.orders", "[[4]]")
}

// TestTrap_S1_S4_AFailedTableKeepsItsLastGoodVersion breaks one file of two.
func TestTrap_S1_S4_AFailedTableKeepsItsLastGoodVersion(t *testing.T) {
	h := build(t, "")
	h.file("good.csv", "id\n1\n")
	h.file("bad.csv", "id,name\n1,one\n2,two\n")
	h.start()
	if _, err := h.admin.DiscoverAndRegister(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	h.sync(client.SyncRequest{})
	h.file("good.csv", "id\n1\n2\n")
	h.file("bad.csv", "id,name\n1,one\n2,two,too many\n")
	run := h.sync(client.SyncRequest{})
	if got := outcomes(run); run.Status != client.RunPartial || got["good"] != "updated" || got["bad"] != "failed" {
		t.Fatalf("%+v", run)
	}
	for _, table := range run.Tables {
		if table.Table == "bad" && (!strings.Contains(table.Error, "bad.csv") || !strings.Contains(table.Error, "3")) {
			t.Errorf("the error does not tell file and line: %q", table.Error)
		}
	}
	h.expect(h.admin, "SELECT count(*) FROM good", "[[2]]")
	h.expect(h.admin, "SELECT count(*) FROM bad", "[[2]]")
	// A subset leaves the rest alone.
	h.file("bad.csv", "id,name\n1,one\n2,two\n3,three\n")
	if run := h.sync(client.SyncRequest{Tables: []string{"bad"}}); run.Status != client.RunSucceeded {
		t.Errorf("%+v", run)
	}
	h.expect(h.admin, "SELECT (SELECT count(*) FROM good), (SELECT count(*) FROM bad)", "[[2 3]]")
}

// TestAWatchedFolderRegistersAndPublishesByItself drops a file into it.
func TestAWatchedFolderRegistersAndPublishesByItself(t *testing.T) {
	h := build(t, ", watch: true, auto_register: true")
	h.start()
	h.file("dropped.csv", "id,name\n1,first\n")
	appears := func(sql, want string) {
		t.Helper()
		var got string
		var err error
		for began := time.Now(); time.Since(began) < soon; time.Sleep(50 * time.Millisecond) {
			if got, err = h.query(h.admin, sql); err == nil && got == want {
				return
			}
		}
		t.Fatalf("%s: %s, %v; want %s", sql, got, err, want)
	}
	appears("SELECT count(*) FROM dropped", "[[1]]")
	h.file("dropped.csv", "id,name\n1,first\n2,second\n")
	appears("SELECT count(*) FROM dropped", "[[2]]")
}

// TestRestartsKeepEverything stops and starts over one folder.
func TestRestartsKeepEverything(t *testing.T) {
	h := build(t, "")
	h.file("orders.csv", "id\n1\n2\n")
	h.start()
	if _, err := h.admin.DiscoverAndRegister(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	run := h.sync(client.SyncRequest{})
	if err := standalone.Run(t.Context(), h.config()); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one over the folder: %v", err)
	}
	h.stop()
	h.start()
	h.expect(h.admin, "SELECT count(*) FROM orders", "[[2]]")
	again, err := h.admin.Run(t.Context(), run.ID)
	if err != nil || again.Status != client.RunSucceeded {
		t.Errorf("the run is lost: %+v, %v", again, err)
	}
}

// TestWhatIsNotGrantedDoesNotExist asks as an analyst for a private table.
// openAndSecret is a house with two tables that are registered and not synced yet, one of them granted to nobody.
func openAndSecret(t *testing.T) *house {
	t.Helper()
	h := build(t, "")
	h.file("open.csv", "id\n1\n")
	h.file("secret.csv", "id\n1\n2\n")
	h.start()
	if _, err := h.admin.DiscoverAndRegister(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	private := false
	if err := h.admin.UpdateTable(t.Context(), "secret", client.TableFields{IsPublic: &private}); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestWhatIsNotGrantedDoesNotExist(t *testing.T) {
	h := openAndSecret(t)
	h.sync(client.SyncRequest{})
	account, err := h.admin.AddAccount(t.Context(), client.NewAccount{Email: "Ann@example.com", Password: adminPassword, Role: "analyst"})
	if err != nil {
		t.Fatal(err)
	}
	ann, _ := h.login("ann@example.com", adminPassword)
	h.expect(ann, "SELECT count(*) FROM open", "[[1]]")
	sees := func() (tables int, granted bool) {
		t.Helper()
		manifest, _, err := ann.Manifest(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, granted = manifest.Tables["secret"]
		return len(manifest.Tables), granted
	}
	if n, granted := sees(); n != 1 || granted {
		t.Errorf("the manifest has %d tables", n)
	}
	for _, sql := range []string{
		"SELECT count(*) FROM secret", "SELECT count(*) FROM shop.secret",
		"SELECT * FROM query('SELECT count(*) FROM sec' || 'ret')",
		"SELECT * FROM read_parquet('" + filepath.Join(h.dir, "data/extracts/shop/data/secret/*.parquet") + "')",
		"COPY (SELECT 1) TO '/tmp/x'", "SELECT 1; SELECT 2",
	} {
		if got, err := h.query(ann, sql); err == nil {
			t.Errorf("%s: %s", sql, got)
		} else if strings.Contains(fault.Message(err), h.dir) {
			t.Errorf("%s: the answer tells a path: %v", sql, err)
		}
	}
	if err := h.admin.AddGrant(t.Context(), client.Grant{UserID: account.ID, Dataset: "secret", Access: "read"}); err != nil {
		t.Fatal(err)
	}
	h.expect(ann, "SELECT count(*) FROM secret", "[[2]]")
	if n, granted := sees(); n != 2 || !granted {
		t.Errorf("the manifest has %d tables", n)
	}
	if err := h.admin.RemoveGrant(t.Context(), client.Grant{UserID: account.ID, Dataset: "secret", Access: "read"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.query(ann, "SELECT count(*) FROM secret"); err == nil {
		t.Error("a revoked table is still there")
	}
}

func TestOnePortTakesInWebhooks(t *testing.T) {
	h := build(t, "")
	const secret = "a secret of twenty-four."
	path := filepath.Join(h.dir, "config", service.InstanceFile)
	instance, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	instance = append(instance, "  - {name: desk, type: jira, site: https://example.atlassian.net, webhook_secret: '"+secret+"'}\n"...)
	if err := os.WriteFile(path, instance, 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	const body = `{"webhookEvent":"jira:issue_created","issue":{"id":"10100","key":"SUP-7"}}`
	send := func(method, path, signature string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(jira.HeaderSignature, signature)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		raw, _ := io.ReadAll(response.Body)
		return response.StatusCode, strings.TrimSpace(string(raw))
	}
	signed := jira.Sign([]byte(secret), []byte(body))
	for _, path := range []string{"/webhooks/jira", "/webhooks/jira/desk"} {
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			status, answer := send(http.MethodPost, path, signed)
			if status == http.StatusOK && answer == `{"status":"ok","event":"jira:issue_created","issue":"SUP-7"}` {
				break
			}
			if status != http.StatusServiceUnavailable || time.Since(began) > soon { // the services start side by side
				t.Fatalf("%s: %d %s", path, status, answer)
			}
		}
		if status, answer := send(http.MethodPost, path, "sha256="+strings.Repeat("0", 64)); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		refused, _, err := h.admin.AuditPage(t.Context(), client.AuditFilter{Action: "webhook.refused"})
		if err == nil && len(refused) == 2 && refused[0].Service == "jira-webhook" && refused[0].IP == "127.0.0.1" && refused[0].RequestID != "" {
			break
		}
		if time.Since(began) > soon {
			t.Fatalf("the refusals are not in the record: %+v %v", refused, err)
		}
	}
	if status, answer := send(http.MethodGet, "/webhooks/jira/health", ""); status != http.StatusOK || answer != `{"status":"ok"}` {
		t.Errorf("%d %s", status, answer)
	}
}
