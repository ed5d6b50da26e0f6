package identity

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

// slow is a way to a provider that hangs until the timeout.
type slow struct {
	at    *time.Time
	asked int
}

func (s *slow) RoundTrip(*http.Request) (*http.Response, error) {
	s.asked++
	*s.at = s.at.Add(oidcTimeout)
	return nil, errors.New("timeout")
}

func TestAProviderThatHangsHoldsUpOneRequestAtATime(t *testing.T) {
	t.Parallel()
	at := time.Now()
	p, err := newProvider(ProviderConfig{Name: "sso", Issuer: "https://id.example.com", ClientID: "x", ClientSecret: "y"}, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	way := &slow{at: &at}
	p.client = &http.Client{Transport: way}
	for range 10 { // all those who waited while the first one asked
		if _, err := p.discover(t.Context()); err == nil {
			t.Fatal("a provider that is away was discovered")
		}
	}
	if way.asked != 1 {
		t.Errorf("the provider was asked %d times", way.asked)
	}
	at = at.Add(discoverPause)
	if _, err := p.discover(t.Context()); err == nil || way.asked != 2 {
		t.Errorf("after the pause: asked %d times, %v", way.asked, err)
	}
}

func TestGooglesWordIsTakenForWhatItOwns(t *testing.T) {
	t.Parallel()
	google := &provider{ProviderConfig: ProviderConfig{Issuer: GoogleIssuer}}
	s := &Service{cfg: Config{AllowedDomains: func() []string { return []string{"example.com", "gmail.com"} }}}
	for _, c := range []struct {
		email, hosted string
		trusts, signs bool
	}{
		{"ann@example.com", "example.com", true, true},
		{"ann@example.com", "", false, false},             // a Google account that merely has the address
		{"ann@example.com", "other.example", true, false}, // of another organisation
		{"ann@gmail.com", "", true, true},
		{"ann@googlemail.com", "", true, false}, // not listed
		{"ann@other.example", "other.example", true, false},
	} {
		if got := google.trusts(c.email, c.hosted); got != c.trusts {
			t.Errorf("%+v: trusts is %v", c, got)
		}
		if got := s.maySignUp(google, c.email, c.hosted); got != c.signs {
			t.Errorf("%+v: sign-up is %v", c, got)
		}
	}
}
