//go:build deps

package services

import (
	_ "github.com/chromedp/chromedp"
	_ "github.com/coreos/go-oidc/v3/oidc"
	_ "github.com/elastic/go-seccomp-bpf"
	_ "github.com/emersion/go-smtp"
	_ "github.com/landlock-lsm/go-landlock/landlock"
	_ "github.com/wneessen/go-mail"
	_ "golang.org/x/oauth2"
	_ "golang.org/x/time/rate"
)
