// Package settings finds out which server da speaks to, as whom, and where it keeps what it remembers
// of that. A flag wins over the environment, the environment over the files.
package settings

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// DefaultServer is asked where nothing else is configured: an Agnes on this machine.
const DefaultServer = "http://localhost:8000"

// The files in the configuration folder.
const (
	ConfigFile = "config.yaml"
	TokenFile  = "token.json"
)

// Environment variables that da reads.
const (
	EnvServer    = "DA_SERVER"
	EnvToken     = "DA_TOKEN" //nolint:gosec // the name of a variable
	EnvConfigDir = "DA_CONFIG_DIR"
	EnvWorkspace = "DA_LOCAL_DIR"
	EnvRetries   = "DA_STREAM_RETRIES"
	EnvNoBrowser = "DA_NO_BROWSER"
)

// Where a setting came from.
const (
	FromFlag    = "flag"
	FromEnv     = "environment"
	FromFile    = "file"
	FromDefault = "default"
)

// Credential is who da is signed in as: the content of token.json.
type Credential struct {
	AccessToken string `json:"access_token"`
	Email       string `json:"email"`
	Role        string `json:"role"`
	// Server is the only one that gets the token. The predecessor's files do not have it: theirs belong
	// to the server of config.yaml.
	Server string `json:"server,omitempty"`
	// IssuedAt and ExpiresAt are zero where they are not known, as in the predecessor's files, or where
	// the token does not end.
	IssuedAt  time.Time `json:"issued_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Ageing tells whether a session has less than a quarter of its life left, but not none: it is time to
// renew it. A personal access token is never renewed.
func (c Credential) Ageing(now time.Time) bool {
	began, ends := c.IssuedAt, c.ExpiresAt
	if claims, ok := client.ReadClaims(c.AccessToken); ok {
		if claims.Type != "session" {
			return false
		}
		if began.IsZero() {
			began = claims.IssuedAt
		}
		if ends.IsZero() {
			ends = claims.ExpiresAt
		}
	}
	if began.IsZero() || ends.IsZero() {
		return false
	}
	left := ends.Sub(now)
	return left > 0 && left < ends.Sub(began)/4
}

// Settings are what applies to one call of da.
type Settings struct {
	// Dir is the configuration folder.
	Dir string
	// Server is the base URL of the server; ServerFrom says where that was set.
	Server     string
	ServerFrom string
	// Token is empty where da is not signed in to Server; TokenFrom says where it came from.
	Token     string
	TokenFrom string
	// Email and Role are those of the stored credential; empty for a token of the environment.
	Email, Role string
	// Stored is the credential that Token comes from, where that is the file.
	Stored Credential
	// Elsewhere is the server that a stored credential belongs to, where that is not Server.
	Elsewhere string
	// Retries is DA_STREAM_RETRIES, as the client wants it: 0 for its default, negative for none.
	Retries int
}

type configFile struct {
	Server string `yaml:"server"`
}

// Load reads what applies. server is the flag's value, empty where it was not given. A file that cannot
// be read or understood is an error that names it; a missing one is not.
func Load(server string, env func(string) string) (*Settings, error) {
	s := &Settings{}
	var err error
	if s.Dir, err = configDir(env); err != nil {
		return nil, err
	}
	config, err := readConfig(filepath.Join(s.Dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	s.Server, s.ServerFrom = first(
		choice{server, FromFlag}, choice{env(EnvServer), FromEnv}, choice{config.Server, FromFile}, choice{DefaultServer, FromDefault})
	base, err := client.ParseServer(s.Server)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the server set by %s cannot be used: %s", s.describe(s.ServerFrom), fault.Message(err))
	}
	s.Server = base.String()
	if s.Retries, err = retries(env(EnvRetries)); err != nil {
		return nil, err
	}
	if t := env(EnvToken); t != "" {
		s.Token, s.TokenFrom = t, FromEnv
		return s, nil
	}
	return s, s.useStored(config)
}

// useStored takes the stored credential where it belongs to the server.
func (s *Settings) useStored(config configFile) error {
	stored, err := readCredential(filepath.Join(s.Dir, TokenFile))
	if err != nil || stored.AccessToken == "" {
		return err
	}
	if elsewhere := stored.elsewhere(s.Server, config.Server); elsewhere != "" {
		s.Elsewhere = elsewhere
		return nil
	}
	s.use(stored)
	return nil
}

// elsewhere is the server that a credential belongs to, where that is not the one that is asked.
func (c Credential) elsewhere(asked, configured string) string {
	owner := c.Server
	if owner == "" {
		owner = configured
	}
	if base, err := client.ParseServer(owner); err == nil && base.String() != asked {
		return base.String()
	}
	return ""
}

func (s *Settings) use(stored Credential) {
	s.Stored = stored
	s.Token, s.TokenFrom = stored.AccessToken, FromFile
	s.Email, s.Role = stored.Email, stored.Role
}

// Reload reads the stored credential again, which another process may have renewed. It gives the one
// that was there before where the file is gone, cannot be read, or is of another server by now.
func (s *Settings) Reload() Credential {
	stored, err := readCredential(filepath.Join(s.Dir, TokenFile))
	if err != nil || stored.AccessToken == "" || stored.elsewhere(s.Server, s.Server) != "" {
		return s.Stored
	}
	s.use(stored)
	return stored
}

// Newer gives the token that is stored now, where it took the place of the refused one; else nothing.
func (s *Settings) Newer(refused string) string {
	stored, err := readCredential(filepath.Join(s.Dir, TokenFile))
	if err != nil || stored.AccessToken == refused || stored.elsewhere(s.Server, s.Server) != "" {
		return ""
	}
	return stored.AccessToken
}

// Lock makes the caller the only one who renews the stored credential, until unlock.
func (s *Settings) Lock(ctx context.Context) (unlock func(), err error) {
	if err := s.makeDir(); err != nil {
		return nil, err
	}
	return lake.Lock(ctx, filepath.Join(s.Dir, "token.lock"))
}

type choice struct{ value, from string }

func first(choices ...choice) (value, from string) {
	for _, c := range choices {
		if c.value != "" {
			return c.value, c.from
		}
	}
	return "", ""
}

func (s *Settings) describe(from string) string {
	switch from {
	case FromFlag:
		return "--server"
	case FromEnv:
		return EnvServer
	}
	return filepath.Join(s.Dir, ConfigFile)
}

func configDir(env func(string) string) (string, error) {
	dir := env(EnvConfigDir)
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fault.Wrap(err, fault.Invalid, "there is no home folder to keep the configuration in: set %s", EnvConfigDir)
		}
		dir = filepath.Join(home, ".config", "da")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, "the configuration folder %s cannot be resolved", dir)
	}
	return dir, nil
}

// retries reads DA_STREAM_RETRIES: how many times a request is tried again.
func retries(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "%s must be a number of retries, such as 3", EnvRetries)
	}
	if n == 0 {
		return -1, nil
	}
	return n, nil
}

func readConfig(path string) (configFile, error) {
	var c configFile
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fault.Wrap(err, fault.Invalid, "cannot read %s", path)
	}
	if err := yaml.Unmarshal(raw, &c); err != nil {
		return c, fault.Wrap(err, fault.Invalid, "%s is not valid YAML: mend it or delete it", path)
	}
	return c, nil
}

func readCredential(path string) (Credential, error) {
	var c Credential
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		_ = os.Chmod(path, 0o600) // the predecessor left it readable for others; where this fails, reading may still work
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return c, fault.Wrap(err, fault.Invalid, "cannot read %s", path)
	}
	if json.Unmarshal(raw, &c) != nil { // its error could quote the token
		return c, fault.New(fault.Invalid, "%s is damaged: sign in again with `da login`", path)
	}
	return c, nil
}

// SaveServer remembers the server. What else the file holds stays.
func (s *Settings) SaveServer(server string) error {
	path := filepath.Join(s.Dir, ConfigFile)
	content := map[string]any{}
	if raw, err := os.ReadFile(path); err == nil {
		if yaml.Unmarshal(raw, &content) != nil || content == nil {
			content = map[string]any{}
		}
	}
	content["server"] = server
	raw, err := yaml.Marshal(content)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the configuration cannot be written")
	}
	return s.write(path, raw)
}

// SaveCredential remembers who is signed in.
func (s *Settings) SaveCredential(c Credential) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the credential cannot be written")
	}
	return s.write(filepath.Join(s.Dir, TokenFile), append(raw, '\n'))
}

// DropCredential forgets who is signed in, also where the file is damaged. It tells whether there was
// anybody.
func DropCredential(env func(string) string) (bool, error) {
	dir, err := configDir(env)
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, TokenFile)
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fault.Wrap(err, fault.Permanent, "cannot delete %s", path)
	}
	return true, nil
}

// makeDir makes the folder, for this user alone.
func (s *Settings) makeDir() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fault.Wrap(err, fault.Permanent, "cannot make the folder %s", s.Dir)
	}
	if info, err := os.Stat(s.Dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		_ = os.Chmod(s.Dir, 0o700) //nolint:gosec // a folder needs x; where this fails, the file is still closed
	}
	return nil
}

// write puts a file in place for this user alone: whole, or not at all.
func (s *Settings) write(path string, raw []byte) error {
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := lake.WriteFileAtomic(path, raw, 0o600); err != nil {
		return fault.Wrap(err, fault.Permanent, "cannot write %s", path)
	}
	return nil
}
