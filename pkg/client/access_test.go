package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/pkg/fault"
)

func polls(requests []string) int {
	n := 0
	for _, r := range requests {
		if strings.Contains(r, "/auth/device/token") {
			n++
		}
	}
	return n
}

func TestASignInByADeviceEndsAsItsUserDecides(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		outcome       string
		pending, slow int
		fault         *clienttest.Fault
		kind          fault.Kind
		polls         int
	}{
		"at once":                    {outcome: "approved", polls: 1},
		"after a while":              {outcome: "approved", pending: 3, polls: 4},
		"slower, as asked":           {outcome: "approved", slow: 2, polls: 3},
		"over a server that is away": {outcome: "approved", fault: &clienttest.Fault{Path: "/auth/device/token", Status: 503, Times: 2}, polls: 3},
		"refused":                    {outcome: "denied", pending: 1, kind: fault.Forbidden, polls: 2},
		"ended":                      {outcome: "expired", kind: fault.Unauthenticated, polls: 1},
		"not understood":             {outcome: "approved", fault: &clienttest.Fault{Path: "/auth/device/token", Status: 400, Times: 1}, kind: fault.Invalid, polls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := start(t, func(o *client.Options) { o.Token, o.SlowDown = "", time.Millisecond })
			s.DevicesEnd(tc.outcome, tc.pending, tc.slow)
			code, err := c.BeginDevice(t.Context(), "a test")
			if err != nil {
				t.Fatal(err)
			}
			if tc.fault != nil {
				s.Inject(*tc.fault)
			}
			session, err := c.AwaitDevice(t.Context(), code)
			if tc.kind == "" && (err != nil || session.Email != "ann@example.com" || session.ExpiresAt.IsZero()) {
				t.Errorf("%+v %v", session, err)
			}
			if tc.kind != "" && !fault.Is(err, tc.kind) {
				t.Errorf("%v, want the kind %s", err, tc.kind)
			}
			if err != nil && strings.Contains(err.Error()+fault.Message(err), code.Secret) {
				t.Errorf("the error holds the secret: %v", err)
			}
			if n := polls(s.Requests()); n != tc.polls {
				t.Errorf("%d polls, want %d", n, tc.polls)
			}
		})
	}
}

func TestASignInByADeviceWaitsAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	s, c := start(t, func(o *client.Options) { o.Token = "" })
	s.DevicesEnd("approved", 0, 0)
	s.Inject(clienttest.Fault{Path: "/auth/device/token", Status: 429, RetryAfter: 1, Times: 1})
	code, err := c.BeginDevice(t.Context(), "a test")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.AwaitDevice(t.Context(), code); err != nil || time.Since(began) < time.Second {
		t.Errorf("%v after %s, and Retry-After was a second", err, time.Since(began))
	}
}

func TestASignInByADeviceCanBeGivenUpAndDecidedElsewhere(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	code, err := c.BeginDevice(t.Context(), "da on laptop")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.AwaitDevice(ctx, code); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
	if v, err := c.DeviceRequest(t.Context(), code.UserCode); err != nil || v.ClientName != "da on laptop" {
		t.Errorf("%+v %v", v, err)
	}
	if err := c.DecideDevice(t.Context(), code.UserCode, true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PollDevice(t.Context(), code); err != nil {
		t.Error(err)
	}
	s.Older()
	if _, err := c.BeginDevice(t.Context(), ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("without devices: %v", err)
	}
}

func TestARefusedTokenIsTriedOnceMoreWhereThereIsANewerOne(t *testing.T) {
	t.Parallel()
	var newer string
	s, c := start(t, func(o *client.Options) {
		o.Token = "outdated-token"
		o.Renewed = func(string) string { return newer }
	})
	if _, err := c.Me(t.Context()); !fault.Is(err, fault.Unauthenticated) || len(s.Requests()) != 1 {
		t.Errorf("without a newer one: %v", err)
	}
	newer = s.Token("u-1", "session")
	if me, err := c.Me(t.Context()); err != nil || me.Credential.Kind != "session" || len(s.Requests()) != 2 {
		t.Errorf("%+v %v", me, err)
	}
	if _, err := c.Sessions(t.Context()); err != nil || len(s.Requests()) != 1 {
		t.Errorf("the newer one is not kept: %v", err)
	}
}

func TestAnUploadStreamsAndStartsOver(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	body := content(t, 700_000)
	s.Inject(clienttest.Fault{Path: "/api/upload", Status: 503, Times: 2})
	var sent []int64
	u, err := c.Upload(t.Context(), client.UploadArtifacts, `a "quoted" name.bin`, bytes.NewReader(body), int64(len(body)), func(n int64) { sent = append(sent, n) })
	if err != nil || u.SHA256 != clienttest.Hash(body) || u.Size != int64(len(body)) {
		t.Fatalf("%+v %v", u, err)
	}
	if got, _ := s.Uploaded("u-1", "artifacts", u.Filename); !bytes.Equal(got, body) || u.Filename != `a "quoted" name.bin` {
		t.Errorf("%d other bytes stand there as %q", len(got), u.Filename)
	}
	if len(sent) == 0 || sent[len(sent)-1] != int64(len(body)) {
		t.Errorf("progress: %v", sent)
	}
	stream, err := c.OpenUpload(t.Context(), client.UploadArtifacts, u.Filename)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if got, err := io.ReadAll(stream); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	large := content(t, 2<<20)
	if _, err := c.Upload(t.Context(), client.UploadSessions, "x", bytes.NewReader(large), int64(len(large)), nil); !fault.Is(err, fault.TooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestPagesAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	s, c := start(t)
	for i := range 10 {
		u := s.AddUser(clienttest.User{Email: string(rune('a'+i)) + "@example.com", Role: "analyst"})
		if err := c.AddGrant(t.Context(), client.Grant{UserID: u.ID, Dataset: "orders"}); err != nil {
			t.Fatal(err)
		}
		s.Recorded("user.create", "ann@example.com", "user:"+u.ID, "ok")
	}
	if list, err := c.Accounts(t.Context()); err != nil || len(list) != 11 {
		t.Errorf("%d users, %v", len(list), err)
	}
	if list, err := c.FindGrants(t.Context(), client.GrantFilter{Dataset: "orders"}); err != nil || len(list) != 10 {
		t.Errorf("%d grants, %v", len(list), err)
	}
	var seqs []int64
	for r, err := range c.Audit(t.Context(), client.AuditFilter{Limit: 4}) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, r.Seq)
	}
	if !slices.Equal(seqs, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}) {
		t.Errorf("records %v", seqs)
	}
	s.Inject(clienttest.Fault{Path: "/audit", Status: 403, After: 1})
	n, failed := 0, error(nil)
	for _, err := range c.Audit(t.Context(), client.AuditFilter{Limit: 4}) {
		if failed = err; err == nil {
			n++
		}
	}
	if n != 4 || !fault.Is(failed, fault.Forbidden) {
		t.Errorf("%d records, then %v", n, failed)
	}
}

func TestClaimsAreReadAndNothingElse(t *testing.T) {
	t.Parallel()
	s := clienttest.New()
	defer s.Close()
	began, ends := time.Unix(1_700_000_000, 0), time.Unix(1_700_086_400, 0)
	claims, ok := client.ReadClaims(s.Session("u-1", began, ends))
	if !ok || claims.Email != "ann@example.com" || claims.Type != "session" || !claims.IssuedAt.Equal(began) || !claims.ExpiresAt.Equal(ends) {
		t.Errorf("%+v %t", claims, ok)
	}
	for _, text := range []string{"", "a.b.c", "secret", "a.e30", "..", "a.bnVsbA.c.d"} {
		if _, ok := client.ReadClaims(text); ok {
			t.Errorf("%q has claims", text)
		}
	}
}
