package service

import (
	"os"
	"runtime/debug"
)

// Build says what is running. The variables of the release pipeline win over what the Go toolchain
// recorded in the binary.
type Build struct {
	Version  string // AGNES_VERSION, else the module's version, else "dev"
	Channel  string // RELEASE_CHANNEL, else "dev"
	ImageTag string // AGNES_TAG, else "unknown"
	Commit   string // AGNES_COMMIT_SHA, else the commit recorded at build time, else "unknown"
}

// version is set by the linker: -ldflags "-X github.com/agnes-platform/agnes/pkg/service.version=…".
var version string

// ReadBuild reads it from the environment and the binary.
func ReadBuild() Build {
	b := Build{
		Version:  env("AGNES_VERSION", version),
		Channel:  env("RELEASE_CHANNEL", "dev"),
		ImageTag: env("AGNES_TAG", "unknown"),
		Commit:   env("AGNES_COMMIT_SHA", ""),
	}
	if info, ok := debug.ReadBuildInfo(); ok && b.Commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	if b.Commit == "" {
		b.Commit = "unknown"
	}
	return b
}

func env(key, fallback string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return fallback
}
