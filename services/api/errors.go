package api

import (
	"net/url"

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
