//go:build unix

package wsgateway

import (
	"errors"

	"golang.org/x/sys/unix"
)

// tryWrite writes to a socket that does not wait.
func tryWrite(fd uintptr, b []byte) (int, error) {
	n, err := unix.Write(int(fd), b) //nolint:gosec // a descriptor is a small number
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return max(n, 0), nil
	}
	return max(n, 0), err
}
