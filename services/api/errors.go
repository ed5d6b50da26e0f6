package api

import (
	"net"
	"net/url"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// upstream reads the address of a service that requests are passed on to; nil where none is set.
func upstream(variable, address string) (*url.URL, error) {
	if address == "" {
		return nil, nil //nolint:nilnil // no address is no upstream, and no error
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fault.New(fault.Invalid, "%s must be an address such as http://127.0.0.1:8080", variable)
	}
	return u, nil
}

// networks reads a list of networks or single addresses.
func networks(variable string, list []string) ([]*net.IPNet, error) {
	var out []*net.IPNet
	for _, text := range list {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if ip := net.ParseIP(text); ip != nil {
			bits := 8 * len(ip.To16())
			if ip4 := ip.To4(); ip4 != nil {
				ip, bits = ip4, 32
			}
			out = append(out, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
			continue
		}
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%s: %q is neither an address nor a network such as 10.0.0.0/8", variable, text)
		}
		out = append(out, network)
	}
	return out, nil
}
