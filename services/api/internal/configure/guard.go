package configure

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Guard keeps requests to addresses that an administrator entered out of the network of the server. The
// address that is dialled is what is checked: a name that leads elsewhere the second time it is asked
// (DNS rebinding) changes nothing.
type Guard struct {
	hosts    map[string]bool
	networks []netip.Prefix
}

// NewGuard reads the exceptions: names of hosts, addresses and networks that may be reached all the same.
func NewGuard(allow []string) (*Guard, error) {
	g := &Guard{hosts: map[string]bool{}}
	for _, entry := range allow {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "" {
			continue
		}
		if p, err := netip.ParsePrefix(entry); err == nil {
			g.networks = append(g.networks, p.Masked())
			continue
		}
		if a, err := netip.ParseAddr(entry); err == nil {
			g.networks = append(g.networks, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
			continue
		}
		if strings.ContainsAny(entry, "/:@ *") {
			return nil, fault.New(fault.Invalid, "AGNES_ALLOW_PRIVATE_URLS: %q is neither a host nor a network", entry)
		}
		g.hosts[entry] = true
	}
	return g, nil
}

// unreachable are the networks, beside those that netip knows by name, that are not the internet:
// RFC 6890 and those that carry an IPv4 address in an IPv6 one.
var unreachable = func() []netip.Prefix {
	var list []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"240.0.0.0/4", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}()

func public(a netip.Addr) bool {
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range unreachable {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var errPrivate = errors.New("the address is not a public one")

// address checks one address that a host led to.
func (g *Guard) address(host string, a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if public(a) || g.hosts[strings.ToLower(host)] {
		return nil
	}
	for _, p := range g.networks {
		if p.Contains(a) {
			return nil
		}
	}
	return errPrivate
}

// URL reads the address of a service: https, a host, no user, query or fragment. http is for hosts that
// are listed as exceptions.
func (g *Guard) URL(field, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fault.New(fault.Invalid, "%s must be an address such as https://connection.example.com", field)
	}
	if u.User != nil {
		return nil, fault.New(fault.Invalid, "%s must not hold a user or a password", field)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	if u.Scheme == "http" && !g.hosts[strings.ToLower(u.Hostname())] && (!literal || public(addr.Unmap()) || g.address("", addr) != nil) {
		return nil, fault.New(fault.Invalid, "%s must begin with https://: a token must not travel in the clear", field)
	}
	if literal && g.address(u.Hostname(), addr) != nil {
		return nil, errNotAllowed(field)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func errNotAllowed(field string) error {
	return fault.New(fault.Invalid, "%s leads into a private network: list its host in AGNES_ALLOW_PRIVATE_URLS if that is meant", field)
}

// client makes requests to one host: no redirects, no proxy of the environment, and no address that the
// guard does not let through.
func (g *Guard) client(host string, timeout time.Duration) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return errPrivate
		}
		return g.address(host, ap.Addr())
	}}
	return &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, TLSHandshakeTimeout: timeout, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
