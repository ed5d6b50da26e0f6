package cli

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// readLine reads one line of standard input, and no more of it.
func (a *app) readLine() (string, error) {
	const most = 64 << 10
	var line []byte
	one := make([]byte, 1)
	for len(line) < most {
		n, err := a.In.Read(one)
		if n > 0 {
			if one[0] == '\n' {
				break
			}
			line = append(line, one[0])
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fault.Wrap(err, fault.Invalid, "standard input cannot be read")
		}
	}
	return strings.TrimRight(string(line), "\r"), nil
}

// secret asks for what nobody may see, or reads a line of standard input where that was said. flag is
// what to say where nobody can be asked.
func (a *app) secret(prompt string, stdin bool, flag string) (string, error) {
	if stdin {
		return a.readLine()
	}
	in, ok := a.In.(*os.File)
	if _, yes := isTerminal(a.In); !yes || !ok {
		return "", usage("this needs %s where nobody can be asked", flag)
	}
	_, _ = io.WriteString(a.Err, prompt)
	raw, err := term.ReadPassword(int(in.Fd()))
	_, _ = io.WriteString(a.Err, "\n")
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "the answer cannot be read")
	}
	return string(raw), nil
}

// newPassword asks twice, or reads a line of standard input where that was said.
func (a *app) newPassword(stdin bool) (string, error) {
	password, err := a.secret("New password: ", stdin, "--password-stdin")
	if err != nil {
		return "", err
	}
	if password == "" {
		return "", usage("the password is empty")
	}
	if stdin {
		return password, nil
	}
	again, err := a.secret("Once more: ", false, "--password-stdin")
	if err == nil && again != password {
		err = usage("the two passwords differ")
	}
	return password, err
}

func joined(list []string) string { return strings.Join(list, ", ") }
