package cli

import (
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
)

// loginInBrowser signs in by a code that the user confirms in a browser (RFC 8628), on this machine or
// on any other.
func (a *app) loginInBrowser(ctx context.Context, s *settings.Settings, f loginFlags) (client.Session, error) {
	s.Token = ""
	c, err := client.New(options(s))
	if err != nil {
		return client.Session{}, err
	}
	defer c.Close()
	code, err := c.BeginDevice(ctx, clientName())
	if err != nil {
		return client.Session{}, err
	}
	address := code.VerificationURI
	if code.VerificationURIComplete != "" {
		address = code.VerificationURIComplete
	}
	if err := browsable(address); err != nil {
		return client.Session{}, err
	}
	a.note("To sign in, open this page in any browser and compare the code:\n\n    %s\n\n    %s\n", address, code.UserCode)
	if !f.noBrowser && a.Env(settings.EnvNoBrowser) == "" && a.openBrowser(ctx, address) {
		a.note("A browser was opened.")
	}
	stop := a.spin("Waiting for you to agree there (Ctrl-C gives up)")
	session, err := c.AwaitDevice(ctx, code)
	stop()
	if fault.Is(err, fault.Forbidden) {
		return session, hinted{err, "If that was not you, somebody else has seen the code: begin again with `da login`."}
	}
	return session, err
}

// clientName is what the page shows of this program, so that its user knows it again.
func clientName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "da"
	}
	return "da on " + host
}

// browsable refuses an address that a browser should not be sent to: it comes from the server.
func browsable(address string) error {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || strings.ContainsAny(address, " \t\r\n\"'`") {
		return fault.New(fault.Permanent, "the server names a page to sign in at that is no address of a page")
	}
	return nil
}

// openBrowser tries to show a page, and tells whether a browser was started. Where there is no screen
// none is: a text browser would take the terminal over.
func (a *app) openBrowser(ctx context.Context, address string) bool {
	var cmd *exec.Cmd
	ctx = context.WithoutCancel(ctx) // the browser outlives the command
	switch runtime.GOOS {
	case "windows":
		cmd = exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", address)
	case "darwin":
		cmd = exec.CommandContext(ctx, "open", address)
	default:
		if a.Env("DISPLAY") == "" && a.Env("WAYLAND_DISPLAY") == "" {
			return false
		}
		cmd = exec.CommandContext(ctx, "xdg-open", address)
	}
	if cmd.Start() != nil {
		return false
	}
	go func() { _ = cmd.Wait() }() // no zombie where the command goes on for long
	return true
}

// spin shows on a terminal that something is waited for, until stop.
func (a *app) spin(text string) (stop func()) {
	if _, yes := isTerminal(a.Err); !yes {
		a.note("%s…", text)
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(120 * time.Millisecond)
		defer tick.Stop()
		for frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"); ; frames = append(frames[1:], frames[0]) {
			_, _ = io.WriteString(a.Err, "\r"+string(frames[0])+" "+text)
			select {
			case <-done:
				_, _ = io.WriteString(a.Err, "\r\x1b[K")
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-ended }
}
