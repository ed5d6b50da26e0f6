//go:build unix

package csv

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// A pipe would hold up whoever opens it.
func TestAPipeIsNoFile(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `{}`)
	if err := syscall.Mkfifo(h.file("pipe.csv"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := outcome(h.run()["pipe"]); got != "failed invalid: pipe.csv: it is not a regular file" {
		t.Error(got)
	}
}

// The tests may run as a user whom nothing is forbidden, so the system's answer is given here.
func TestTrap_O8_WhatMayNotBeReadIsToldWithoutItsPath(t *testing.T) {
	t.Parallel()
	err := cannotRead(input{rel: "a.csv", path: "/secret/a.csv"}, &fs.PathError{Op: "open", Path: "/secret/a.csv", Err: syscall.EACCES})
	if fault.Message(err) != "a.csv: it may not be read by this service" || !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	err = cannotRead(input{rel: "a.csv"}, &fs.PathError{Op: "read", Path: "/secret/a.csv", Err: syscall.EIO})
	if fault.Message(err) != "a.csv: it cannot be read: input/output error" {
		t.Errorf("%v", err)
	}
	if err := cannotRead(input{}, errChanged); !errors.Is(err, errChanged) || fault.KindOf(err) != fault.Internal {
		t.Errorf("%v", err)
	}
}
