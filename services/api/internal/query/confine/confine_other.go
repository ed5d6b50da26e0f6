//go:build !linux

// Package confine takes from a process what it does not need; only Linux has what it takes.
package confine
