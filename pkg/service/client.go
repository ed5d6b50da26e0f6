package service

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Networks are the proxies of ours: who is believed when they say whom they speak for.
type Networks []*net.IPNet

// ParseNetworks reads networks or single addresses; a fault of kind invalid names the variable.
func ParseNetworks(variable string, list []string) (Networks, error) {
	var out Networks
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

// ClientIP is the address of the peer; where the peer is a proxy of ours, the last address in
// X-Forwarded-For that is none. A header that the client writes itself is not believed.
func (n Networks) ClientIP(r *http.Request) string {
	peer, ok := address(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	if !n.contain(peer) {
		return peer.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, ok := address(strings.TrimSpace(text))
		if !ok {
			break
		}
		peer = hop
		if !n.contain(hop) {
			break
		}
	}
	return peer.String()
}

// address reads an IP address, with a port (some proxies send it) or without. An IPv4 address is the
// same one however it is written.
func address(text string) (netip.Addr, bool) {
	if port, err := netip.ParseAddrPort(text); err == nil {
		return port.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return addr.Unmap().WithZone(""), err == nil
}

func (n Networks) contain(ip netip.Addr) bool {
	return slices.ContainsFunc(n, func(network *net.IPNet) bool { return network.Contains(ip.AsSlice()) })
}
