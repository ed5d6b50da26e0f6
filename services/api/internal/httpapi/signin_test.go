package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

// cookieOf gives the Set-Cookie line of a name.
func cookieOf(a answer, name string) string {
	for _, line := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(line, name+"=") {
			return line
		}
	}
	return ""
}

func TestNextLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/account": "/account", "/a?b=c&d=%2F": "/a?b=c&d=%2F", "": "/", "account": "/", "//evil.example": "/", "///evil.example": "/",
		"/\\evil.example": "/", "/a\\b": "/", "https://evil.example": "/", "javascript:alert(1)": "/", "/\t/evil.example": "/", "/\n/evil.example": "/",
		"/a b": "/", " /a": "/", "/\x00": "/", "/%zz": "/", "/" + strings.Repeat("a", 3000): "/", "/ä": "/",
	} {
		if got := httpapi.SafeNext(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

func FuzzNext(f *testing.F) {
	for _, seed := range []string{"/", "//x", "/\\x", "/a?b#c", "http://x", "/%2f/x"} {
		f.Add(seed)
	}
	base, _ := url.Parse("https://agnes.example.com/login")
	f.Fuzz(func(t *testing.T, next string) {
		got, err := base.Parse(httpapi.SafeNext(next))
		if err != nil || got.Host != base.Host || got.Scheme != base.Scheme {
			t.Errorf("%q leads to %v (%v)", next, got, err)
		}
	})
}

func TestSigningInByAForm(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *httpapi.Config) { c.PublicURL = "https://agnes.example.com" })
	page := h.ask("GET", "/login?next=/account", "", "")
	for _, want := range []string{`action="/auth/password/login/web"`, `value="/account"`, `autocomplete="current-password"`, `autocomplete="username"`, "/auth/oidc/google/login?next=%2faccount", "/login/email?next=%2faccount"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the sign-in page lacks %s", want)
		}
	}
	in := h.submit("/auth/password/login/web", "", url.Values{"email": {"ann@example.com"}, "password": {"correct"}, "next": {"/account?x=1"}})
	cookie := cookieOf(in, "access_token")
	if in.status != http.StatusSeeOther || in.header.Get("Location") != "/account?x=1" {
		t.Errorf("%d to %s", in.status, in.header.Get("Location"))
	}
	for _, want := range []string{"access_token=ann;", "Path=/;", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age=3"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q lacks %s", cookie, want)
		}
	}
	if e := h.record.last(t); e.Action != "signin.password" || e.Result != httpapi.ResultOK || e.Actor.UserID != "2" || e.Resource != "user:2" {
		t.Errorf("recorded: %+v", e)
	}
	out := h.submit("/auth/password/login/web", "", url.Values{"email": {"ann@example.com"}, "password": {"hunter2"}, "next": {"/account"}})
	if out.header.Get("Location") != "/login/password?error=invalid&next=%2Faccount" || cookieOf(out, "access_token") != "" {
		t.Errorf("a wrong password: %d to %s", out.status, out.header.Get("Location"))
	}
	e := h.record.last(t)
	if raw, _ := json.Marshal(e); e.Result != httpapi.ResultRefused || e.Params["email"] != "ann@example.com" || strings.Contains(string(raw), "hunter2") {
		t.Errorf("recorded: %s", raw)
	}
	if page := h.ask("GET", "/login/password?error=invalid&next=/account", "", ""); !strings.Contains(page.body, "Wrong e-mail address or password") || !strings.Contains(page.body, `value="/account"`) {
		t.Errorf("the page after: %s", page.body)
	}
	if page := h.ask("GET", "/login?error=%3Cscript%3E&next=//evil.example", "", ""); strings.Contains(page.body, "<script") || strings.Contains(page.body, "evil.example") {
		t.Errorf("a text of the address stands on the page: %s", page.body)
	}
	if again := h.ask("GET", "/login?next=/account", "", "", "Cookie: access_token=ann"); again.status != http.StatusSeeOther || again.header.Get("Location") != "/account" {
		t.Errorf("somebody who is signed in: %d to %s", again.status, again.header.Get("Location"))
	}
	bye := h.submit("/logout/web", "ann", nil)
	if bye.status != http.StatusSeeOther || !strings.Contains(cookieOf(bye, "access_token"), "Max-Age=0") {
		t.Errorf("signing out: %d %v", bye.status, bye.header)
	}
	if got := h.ask("GET", "/logout/web", "", "", "Cookie: access_token=ann"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("signing out by GET: %d", got.status)
	}
}

// TestFormsComeFromOurOwnPages: also where no cookie is sent, since the answer may set one.
func TestFormsComeFromOurOwnPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	forms := 0
	for route, d := range httpapi.DoorsOf(t, h.dir) {
		if !d.Form {
			continue
		}
		forms++
		_, path, _ := strings.Cut(route, " ")
		for _, origin := range []string{"Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "X-Nothing: at all"} {
			cookie := ""
			if d.Gate != httpapi.Public {
				cookie = "ann"
			}
			before := h.entry.asked()
			got := h.submit(concrete(path), cookie, url.Values{"email": {"ann@example.com"}, "token": {"good"}, "password": {"correct"}}, "Origin: ", origin)
			if asked := h.entry.asked(); got.status != http.StatusForbidden || len(got.header.Values("Set-Cookie")) > 0 || asked != "" {
				t.Errorf("%s with %s: %d, %v, %q after %q", route, origin, got.status, got.header.Values("Set-Cookie"), asked, before)
			}
		}
		if got := h.submit(concrete(path), "ann", url.Values{"email": {strings.Repeat("x", 70<<10)}}); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s with 70 KB: %d", route, got.status)
		}
		if got := h.ask("POST", concrete(path), "", "{}", "Origin: "+h.URL, "Cookie: access_token=ann"); got.status != http.StatusBadRequest {
			t.Errorf("%s with JSON: %d", route, got.status)
		}
	}
	if forms < 12 {
		t.Errorf("only %d forms", forms)
	}
}

func TestTrap_O5_LookingAtALinkUsesNothingUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const query = "?email=ann%40example.com&token=good&next=%2Faccount"
	for _, path := range []string{"/auth/email/verify", "/auth/password/reset", "/auth/password/setup"} {
		for _, method := range []string{"HEAD", "GET", "GET"} {
			got := h.ask(method, path+query, "", "")
			if got.status != http.StatusOK || len(got.header.Values("Set-Cookie")) > 0 || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v", method, path, got.status, got.header)
			}
		}
		// The page says nothing about whether there is such a user or such a link.
		known := h.ask("GET", path+query, "", "").body
		unknown := h.ask("GET", path+strings.NewReplacer("good", "none", "ann", "eve").Replace(query), "", "").body
		if strings.NewReplacer("good", "none", "ann", "eve").Replace(known) != unknown {
			t.Errorf("%s differs for a stranger", path)
		}
	}
	if asked := h.entry.asked(); asked != "" {
		t.Errorf("looking asked: %s", asked)
	}
	if page := h.ask("GET", "/auth/email/verify"+query, "", "").body; strings.Count(page, "<button") != 1 {
		t.Errorf("the page of a link has other buttons than one: %s", page)
	}
	in := h.submit("/auth/email/verify/web", "", url.Values{"email": {"ann@example.com"}, "token": {"good"}, "next": {"/account"}})
	if in.status != http.StatusSeeOther || in.header.Get("Location") != "/account" || cookieOf(in, "access_token") == "" {
		t.Errorf("the button: %d %v", in.status, in.header)
	}
	late := h.submit("/auth/email/verify/web", "", url.Values{"email": {"ann@example.com"}, "token": {"used"}})
	if late.status != http.StatusUnauthorized || !strings.Contains(late.body, "used up") || cookieOf(late, "access_token") != "" {
		t.Errorf("a link that is used up: %d %s", late.status, late.body)
	}
}

func TestPasswordsByALink(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for path, wrong := range map[string]url.Values{
		"/auth/password/reset/confirm": {"email": {"ann@example.com"}, "token": {"good"}, "password": {"one password"}, "confirm_password": {"another one"}},
		"/auth/password/setup/confirm": {"email": {"ann@example.com"}, "token": {"good"}, "password": {"short"}, "confirm_password": {"short"}},
	} {
		h.entry.asked()
		if got := h.submit(path, "", wrong); got.status != http.StatusBadRequest || !strings.Contains(got.body, `value="good"`) || strings.Contains(got.body, "one password") || h.entry.asked() != "" {
			t.Errorf("%s refused: %d %s", path, got.status, got.body)
		}
		fields := url.Values{"email": {"ann@example.com"}, "token": {"none"}, "password": {"long enough"}, "confirm_password": {"long enough"}, "name": {"Ann"}}
		if got := h.submit(path, "", fields); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "used up") || strings.Contains(got.body, "long enough") {
			t.Errorf("%s with a dead link: %d %s", path, got.status, got.body)
		}
		fields.Set("token", "good")
		if got := h.submit(path, "", fields); got.status != http.StatusSeeOther || got.header.Get("Location") != "/" || cookieOf(got, "access_token") == "" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
	}
	for _, path := range []string{"/auth/password/reset", "/auth/password/setup/request", "/login/email"} {
		one := h.submit(path, "", url.Values{"email": {"ann@example.com"}})
		two := h.submit(path, "", url.Values{"email": {"stranger@example.com"}})
		if one.status != http.StatusOK || one.body != two.body {
			t.Errorf("%s: %d %s, %d %s", path, one.status, one.body, two.status, two.body)
		}
	}
	if got := h.ask("GET", "/auth/password/reset", "", ""); got.header.Get("Location") != "/login/password" {
		t.Errorf("without a link: %d %v", got.status, got.header)
	}
	var s struct {
		AccessToken string `json:"access_token"`
		Message     string
	}
	got := h.ask("POST", "/auth/password/setup", "", `{"email":"ann@example.com","token":"good","password":"long enough"}`)
	if err := json.Unmarshal([]byte(got.body), &s); err != nil || s.AccessToken != "ann" || s.Message == "" {
		t.Errorf("setup: %d %s", got.status, got.body)
	}
}

func TestSigningInByAProvider(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	away := h.ask("GET", "/auth/google/login?next=/account", "", "")
	if away.status != http.StatusSeeOther || away.header.Get("Location") != "https://idp.example.com/authorize?state=x" || h.entry.asked() != "begin google /account" {
		t.Errorf("%d to %s", away.status, away.header.Get("Location"))
	}
	cookies := strings.Join(away.header.Values("Set-Cookie"), "\n")
	for _, want := range []string{"Path=/auth/oidc; Max-Age=600; HttpOnly; SameSite=Lax", "Path=/auth/google; Max-Age=600; HttpOnly; SameSite=Lax"} {
		if !strings.Contains(cookies, want) {
			t.Errorf("the cookies %s lack %s", cookies, want)
		}
	}
	back := h.ask("GET", "/auth/oidc/google/callback?code=c&state=x", "", "", "Cookie: oidc_transaction=sealed")
	if back.status != http.StatusSeeOther || back.header.Get("Location") != "/" || cookieOf(back, "access_token") == "" || !strings.Contains(cookieOf(back, "oidc_transaction"), "Max-Age=0") {
		t.Errorf("back: %d %v", back.status, back.header)
	}
	if e := h.record.last(t); e.Action != "signin.oidc" || e.Actor.Email != "ann@example.com" || e.Params["provider"] != "google" {
		t.Errorf("recorded: %+v", e)
	}
	for err, code := range map[error]string{
		&httpapi.RefusedError{Code: "domain_not_allowed", Fault: fault.New(fault.Forbidden, "no")}: "domain_not_allowed",
		&httpapi.RefusedError{Code: "\"><script>", Fault: fault.New(fault.Forbidden, "no")}:        "not_allowed",
		fault.New(fault.Unavailable, "away"):                                                       "unavailable",
		fault.New(fault.Permanent, "odd"):                                                          "oauth_failed",
	} {
		h := newHouse(t)
		h.entry.oidc = err
		if got := h.ask("GET", "/auth/oidc/sso/callback?error=x", "", ""); got.header.Get("Location") != "/login?error="+code+"&next=%2Faccount" || cookieOf(got, "access_token") != "" {
			t.Errorf("%v: %d to %s", err, got.status, got.header.Get("Location"))
		}
	}
	if got := h.ask("GET", "/auth/oidc/none/login", "", ""); got.header.Get("Location") != "/login?error=not_configured" {
		t.Errorf("an unknown provider: %d to %s", got.status, got.header.Get("Location"))
	}
}

func TestSigningInADevice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.ask("POST", "/auth/device/code", "", `{"client_name":"da on laptop"}`)
	var code map[string]any
	if err := json.Unmarshal([]byte(got.body), &code); err != nil || code["device_code"] != "secret" || code["verification_uri_complete"] != "/auth/device?user_code=WDJB-MJHT" || code["interval"] != 5.0 {
		t.Errorf("the code: %d %s", got.status, got.body)
	}
	if got := h.ask("POST", "/auth/device/code", "", ""); got.status != http.StatusOK {
		t.Errorf("without a body: %d %s", got.status, got.body)
	}
	recorded := h.record.count()
	for _, c := range []struct {
		code     string
		fault    *fault.Error
		recorded bool
	}{
		{"authorization_pending", fault.New(fault.Busy, "not yet").After(5 * time.Second), false},
		{"slow_down", fault.New(fault.Busy, "slower").After(10 * time.Second), false},
		{"access_denied", fault.New(fault.Invalid, "refused"), true},
		{"expired_token", fault.New(fault.Invalid, "too late"), true},
	} {
		h.entry.poll = &httpapi.DeviceError{Code: c.code, Fault: c.fault}
		got := h.ask("POST", "/auth/device/token", "", `{"device_code":"secret"}`)
		p := got.problem(t)
		if got.status != http.StatusBadRequest || p.Code != c.code || !strings.Contains(got.body, `"error":"`+c.code+`"`) {
			t.Errorf("%s: %d %s", c.code, got.status, got.body)
		}
		if after := got.header.Get("Retry-After"); (after != "") != !c.recorded {
			t.Errorf("%s: Retry-After %q", c.code, after)
		}
		if n := h.record.count(); (n > recorded) != c.recorded {
			t.Errorf("%s: %d entries more", c.code, n-recorded)
		}
		recorded = h.record.count()
	}
	h.entry.poll = nil
	if got := h.ask("POST", "/auth/device/token", "", `{"device_code":"secret","grant_type":"urn:ietf:params:oauth:grant-type:device_code"}`); got.status != 200 || !strings.Contains(got.body, `"access_token":"ann"`) {
		t.Errorf("the session: %d %s", got.status, got.body)
	}
	h.entry.asked()

	page := h.ask("GET", "/auth/device?user_code=wdjb-mjht", "", "", "Cookie: access_token=ann")
	for _, want := range []string{"da on &lt;laptop&gt;", "192.0.2.10", "WDJB-MJHT", `value="approve"`, `value="deny"`} {
		if page.status != 200 || !strings.Contains(page.body, want) {
			t.Errorf("the page (%d) lacks %s", page.status, want)
		}
	}
	if got := h.ask("GET", "/auth/device?user_code=XXXX", "", "", "Cookie: access_token=ann"); got.status != 404 || !strings.Contains(got.body, "no sign-in with this code") || !strings.Contains(got.body, "one-time-code") {
		t.Errorf("another code: %d %s", got.status, got.body)
	}
	if asked := h.entry.asked(); asked != "" {
		t.Errorf("looking decided: %s", asked)
	}
	for decision, want := range map[string]string{"approve": "yes", "deny": "no"} {
		got := h.submit("/auth/device", "ann", url.Values{"user_code": {"wdjb-mjht"}, "decision": {decision}})
		if asked := h.entry.asked(); got.status != 200 || asked != "decide 2 WDJB-MJHT "+want {
			t.Errorf("%s: %d %q", decision, got.status, asked)
		}
	}
	if got := h.submit("/auth/device", "ann", url.Values{"user_code": {"WDJB-MJHT"}}); got.status != 400 || h.entry.asked() != "" {
		t.Errorf("no decision: %d", got.status)
	}
	if got := h.ask("POST", "/auth/device/requests/wdjb-mjht", "ann", `{"approve":true}`); got.status != 204 || h.entry.asked() != "decide 2 WDJB-MJHT yes" {
		t.Errorf("by JSON: %d %s", got.status, got.body)
	}
	if got := h.ask("POST", "/auth/device/requests/WDJB-MJHT", "ann-pat", `{"approve":true}`); got.status != 403 {
		t.Errorf("a token lets a device in: %d", got.status)
	}
}

func TestAccountPage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	page := h.ask("GET", "/account", "", "", "Cookie: access_token=ann")
	for _, want := range []string{"ann@example.com", "analyst", "Firefox", "this one", "7a1f6a52", `action="/account/sessions/revoke-all"`, `autocomplete="new-password"`, `action="/logout/web"`} {
		if page.status != 200 || !strings.Contains(page.body, want) {
			t.Errorf("the page (%d) lacks %s", page.status, want)
		}
	}
	if strings.Contains(page.body, `value="admin"`) || strings.Contains(page.body, "00000000") {
		t.Error("an analyst is offered the scope admin, or a token that is revoked")
	}
	if boss := h.ask("GET", "/account", "", "", "Cookie: access_token=admin"); !strings.Contains(boss.body, `value="admin"`) {
		t.Error("an administrator is not offered the scope admin")
	}
	made := h.submit("/account/tokens", "ann", url.Values{"name": {"laptop <2>"}, "days": {"30"}, "scope": {"sync", "read"}})
	if made.status != 200 || !strings.Contains(made.body, "<code>30</code>") || !strings.Contains(made.body, "laptop &lt;2&gt;") || !strings.Contains(made.body, "May read, sync.") || made.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a token: %d %v %s", made.status, made.header, made.body)
	}
	for _, c := range []struct {
		path   string
		fields url.Values
		status int
		to     string
	}{
		{"/account/tokens", url.Values{"name": {"x"}, "days": {"0"}, "scope": {"read"}}, 400, ""},
		{"/account/tokens", url.Values{"name": {" "}, "days": {"1"}, "scope": {"read"}}, 400, ""},
		{"/account/tokens", url.Values{"name": {"x"}, "days": {"1"}}, 400, ""},
		{"/account/tokens", url.Values{"name": {"x"}, "days": {"1"}, "scope": {"root"}}, 400, ""},
		{"/account/tokens", url.Values{"name": {"x"}, "days": {"1"}, "scope": {"admin"}}, 403, ""},
		{"/account/tokens/t1/revoke", nil, 303, "/account?notice=token_revoked"},
		{"/account/tokens/t9/revoke", nil, 404, ""},
		{"/account/sessions/s3/revoke", nil, 303, "/account?notice=session_ended"},
		{"/account/sessions/s2/revoke", nil, 303, "/login?notice=signed_out"},
		{"/account/sessions/s9/revoke", nil, 404, ""},
		{"/account/sessions/revoke-all", url.Values{"keep_current": {"1"}}, 303, "/account?notice=sessions_ended"},
		{"/account/sessions/revoke-all", nil, 303, "/login?notice=signed_out"},
		{"/account/password", url.Values{"old_password": {"correct"}, "password": {"long enough"}, "confirm_password": {"long enough"}}, 303, "/account?notice=password_changed"},
		{"/account/password", url.Values{"old_password": {"wrong"}, "password": {"long enough"}, "confirm_password": {"long enough"}}, 403, ""},
		{"/account/password", url.Values{"old_password": {"correct"}, "password": {"long enough"}, "confirm_password": {"other"}}, 400, ""},
	} {
		got := h.submit(c.path, "ann", c.fields)
		if got.status != c.status || got.header.Get("Location") != c.to || (c.to == "") != strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%s %v: %d to %q: %s", c.path, c.fields, got.status, got.header.Get("Location"), got.body)
		}
		if e := h.record.last(t); (e.Result == httpapi.ResultOK) != (c.status == 303) || e.Actor.UserID != "2" {
			t.Errorf("%s %v is recorded as %+v", c.path, c.fields, e)
		}
	}
}

func TestWhatCannotBeRecordedIsNotConfirmed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.record.broken = fault.New(fault.Unavailable, "the disk is full")
	got := h.submit("/auth/password/login/web", "", url.Values{"email": {"ann@example.com"}, "password": {"correct"}})
	if got.status != http.StatusServiceUnavailable || cookieOf(got, "access_token") != "" || !strings.Contains(got.header.Get("Content-Type"), "text/html") {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
}

func TestSessionsAndRefresh(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if got := h.ask("GET", "/auth/sessions", "ann", ""); got.status != 200 || !strings.Contains(got.body, `"count":2`) || !strings.Contains(got.body, `"current":true`) || strings.Contains(got.body, "user_email") {
		t.Errorf("sessions: %d %s", got.status, got.body)
	}
	if got := h.ask("GET", "/api/admin/sessions?user_id=2&active=true&limit=2&offset=3", "admin", ""); got.status != 200 || !strings.HasSuffix(h.entry.asked(), "sessions 2 true 2 3") || !strings.Contains(got.body, `"total":7`) {
		t.Errorf("all sessions: %d %s", got.status, got.body)
	}
	for _, c := range []struct{ method, path, token, body, asked string }{
		{"DELETE", "/auth/sessions/s3", "ann", "", "end 2 s3"},
		{"DELETE", "/api/admin/sessions/s3", "admin", "", "end  s3"},
		{"POST", "/auth/logout/all", "ann", "", "end all 2 "},
		{"POST", "/auth/logout/all", "ann", `{"keep_current":true}`, "end all 2 s2"},
		{"POST", "/api/users/2/logout", "admin", "", "end all 2 "},
		{"POST", "/auth/password/change", "ann", `{"old_password":"correct","new_password":"long enough"}`, "change 2 correct long enough"},
	} {
		if got := h.ask(c.method, c.path, c.token, c.body); got.status != 204 || h.entry.asked() != c.asked {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.status, got.body)
		}
	}
	if got := h.ask("POST", "/auth/refresh", "ann", ""); got.status != 200 || cookieOf(got, "access_token") != "" {
		t.Errorf("refresh: %d %v", got.status, got.header)
	}
	if got := h.ask("POST", "/auth/refresh", "", "", "Cookie: access_token=ann", "Origin: "+h.URL); got.status != 200 || cookieOf(got, "access_token") == "" {
		t.Errorf("refresh of a cookie: %d %v", got.status, got.header)
	}
}

func TestTokenScopes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, c := range []struct {
		token, scopes string
		status        int
		want          string
	}{
		{"ann", `null`, 201, `["read","query","sync"]`},
		{"ann", `[]`, 201, `["read","query","sync"]`},
		{"ann", `["sync","read","read"]`, 201, `["read","sync"]`},
		{"ann", `["admin"]`, 403, "role"},
		{"ann", `["root"]`, 422, "scopes"},
		{"admin", `["admin"]`, 201, `["admin"]`},
	} {
		if got := h.ask("POST", "/auth/tokens", c.token, `{"name":"x","scopes":`+c.scopes+`}`); got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s %s: %d %s", c.token, c.scopes, got.status, got.body)
		}
	}
	if got := h.ask("GET", "/auth/tokens", "ann", ""); !strings.Contains(got.body, `"last_used_ip":"192.0.2.10"`) || !strings.Contains(got.body, `"scopes":["read"]`) || strings.Contains(got.body, "user_id") {
		t.Errorf("tokens: %s", got.body)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for query, want := range map[string]string{
		"": "1,2,3 of 3", "?search=ANN": "2,3 of 2", "?role=admin": "1 of 1", "?active=false": "3 of 1", "?active=true&role=analyst": "2 of 1",
		"?limit=1&offset=1": "2 of 3", "?offset=9": " of 3", "?search=nobody": " of 0",
	} {
		got := h.ask("GET", "/api/users"+query, "admin", "")
		var list []httpapi.UserView
		if err := json.Unmarshal([]byte(got.body), &list); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, u := range list {
			ids = append(ids, u.ID)
		}
		if found := strings.Join(ids, ",") + " of " + got.header.Get("X-Total-Count"); found != want {
			t.Errorf("%q finds %s, want %s", query, found, want)
		}
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/api/users/2", "", 200, `"email":"ann@example.com"`},
		{"GET", "/api/users/9", "", 404, "no such user"},
		{"POST", "/api/users/2/deactivate", "", 200, `"active":false`},
		{"POST", "/api/users/2/activate", "", 200, `"active":true`},
		{"POST", "/api/users/2/invite", "", 200, "/auth/password/setup?email=ann%40example.com&token=good"},
		{"POST", "/api/users/2/reset-password", "", 200, `"reset_token":"good","reset_url":"https://agnes.example.com/auth/password/reset?token=good","email_sent":true`},
		{"POST", "/api/users/9/invite", "", 404, "no such user"},
		{"POST", "/api/users/9/logout", "", 404, "no such user"},
		{"POST", "/api/users", `{"email":"eve@example.com","name":"Eve"}`, 201, `"invite_url":null,"invite_email_sent":null`},
		{"POST", "/api/users", `{"email":"eve@example.com","name":"Eve","send_invite":true}`, 201, `"invite_email_sent":false,"message":"AGNES_PUBLIC_URL is not set`},
		{"POST", "/api/users", `{"email":"eve@example.com","role":"root"}`, 400, "no role"},
	} {
		if got := h.ask(c.method, c.path, "admin", c.body); got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.status, got.body)
		}
		if c.method == "POST" && strings.Contains(fmt.Sprint(h.record.last(t)), "good") {
			t.Errorf("%s records a secret", c.path)
		}
	}
}

func TestCORSIsClosedByDefault(t *testing.T) {
	t.Parallel()
	closed := newHouse(t)
	for _, path := range []string{"/", "/api/version", "/auth/me", "/auth/token", "/api/nothing"} {
		for _, method := range []string{"GET", "OPTIONS"} {
			got := closed.ask(method, path, "ann", "", "Origin: https://app.example.com", "Access-Control-Request-Method: POST")
			for name := range got.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s answers with %s", method, path, name)
				}
			}
		}
	}
	open := newHouse(t, func(c *httpapi.Config) { c.CORSOrigins = []string{"https://app.example.com"} })
	got := open.ask("GET", "/auth/me", "ann", "", "Origin: https://app.example.com")
	if got.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(strings.Join(got.header.Values("Vary"), ","), "Origin") {
		t.Errorf("an origin that is allowed: %v", got.header)
	}
	pre := open.ask("OPTIONS", "/api/query", "", "", "Origin: https://app.example.com", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
	if pre.status != 204 || !strings.Contains(pre.header.Get("Access-Control-Allow-Headers"), "Authorization") || !strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("a preflight: %d %v", pre.status, pre.header)
	}
	for _, origin := range []string{"https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"} {
		got := open.ask("GET", "/auth/me", "ann", "", "Origin: "+origin)
		if got.header.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(strings.Join(got.header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: %v", origin, got.header)
		}
	}
	if got.header.Get("Access-Control-Allow-Credentials") != "" || pre.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Error("cookies are let in from elsewhere")
	}
	if got := open.ask("POST", "/api/query", "", `{"sql":"SELECT 1"}`, "Cookie: access_token=ann", "Origin: https://app.example.com"); got.status != 403 {
		t.Errorf("a cookie from an origin that is allowed: %d", got.status)
	}
}

func TestHeadersOfAnHTTPSInstallation(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *httpapi.Config) { c.PublicURL = "https://agnes.example.com" })
	for _, path := range []string{"/", "/login", "/api/version"} {
		got := h.ask("GET", path, "", "")
		if !strings.HasPrefix(got.header.Get("Strict-Transport-Security"), "max-age=") || got.header.Get("Cross-Origin-Opener-Policy") != "same-origin" || got.header.Get("Permissions-Policy") == "" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	if got := newHouse(t).ask("GET", "/", "", ""); got.header.Get("Strict-Transport-Security") != "" {
		t.Error("an installation without https promises it")
	}
	if got := h.submit("/auth/password/login/web", "", url.Values{"email": {"ann@example.com"}, "password": {"correct"}}, "Origin: http://agnes.example.com"); got.status != 403 {
		t.Errorf("a page of the same host without TLS: %d", got.status)
	}
}

func TestPagesNeedNoScriptAndNameTheirFields(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, path := range []string{"/login", "/login/password", "/login/email", "/auth/password/reset?email=a&token=b", "/auth/password/setup?email=a&token=b", "/auth/email/verify?token=b", "/auth/device", "/auth/device?user_code=WDJB-MJHT", "/account", "/"} {
		token := ""
		if strings.HasPrefix(path, "/account") || strings.HasPrefix(path, "/auth/device") {
			token = "ann"
		}
		body := h.ask("GET", path, token, "").body
		for _, word := range []string{"<script", "style=", " onclick", "<style", "//cdn", "http://", "ZgotmplZ"} {
			if strings.Contains(strings.ReplaceAll(body, "http://localhost:8000", ""), word) {
				t.Errorf("%s holds %q", path, word)
			}
		}
		for _, input := range strings.Split(body, "<input ")[1:] {
			tag, _, _ := strings.Cut(input, ">")
			if strings.Contains(tag, `type="hidden"`) || strings.Contains(tag, `type="checkbox"`) || strings.Contains(tag, `aria-hidden`) {
				continue
			}
			_, id, _ := strings.Cut(tag, `id="`)
			id, _, _ = strings.Cut(id, `"`)
			if id == "" || strings.Count(body, `for="`+id+`"`) != 1 || strings.Count(body, `id="`+id+`"`) != 1 || !strings.Contains(tag, "autocomplete=") {
				t.Errorf("%s has a field without a label of its own: %s", path, tag)
			}
		}
	}
}

func TestAPageOfAFailureSaysWhatFailed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got := h.ask("POST", "/login/email", "", "email=ann%40example.com", "Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: cross-site")
	if got.status != http.StatusForbidden || strings.Contains(got.body, "internal error") || !strings.Contains(got.body, "role=\"alert\"") {
		t.Errorf("%d %s", got.status, got.body)
	}
	got = h.ask("POST", "/login/email", "", "{}", "Sec-Fetch-Site: same-origin")
	if got.status != http.StatusBadRequest || !strings.Contains(got.body, "This takes what a form of a page sends") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
