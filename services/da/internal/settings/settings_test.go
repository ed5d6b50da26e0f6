package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env gives the variables of a test, with a configuration folder of its own that holds the files.
func env(t *testing.T, variables map[string]string, files map[string]string) func(string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil { //nolint:gosec // as the predecessor did
			t.Fatal(err)
		}
	}
	return func(name string) string {
		if name == settings.EnvConfigDir {
			return dir
		}
		return variables[name]
	}
}

func TestAFlagWinsOverTheEnvironmentOverTheFiles(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		settings.ConfigFile: "server: https://file.example\n",
		settings.TokenFile:  `{"access_token":"file-token","email":"ann@example.com","role":"admin"}`,
	}
	for name, tc := range map[string]struct {
		flag            string
		variables       map[string]string
		server, from    string
		token, elswhere string
	}{
		"files":              {server: "https://file.example", from: settings.FromFile, token: "file-token"},
		"environment":        {variables: map[string]string{settings.EnvServer: "https://env.example"}, server: "https://env.example", from: settings.FromEnv, elswhere: "https://file.example"},
		"flag":               {flag: "flag.example/", variables: map[string]string{settings.EnvServer: "https://env.example"}, server: "https://flag.example", from: settings.FromFlag, elswhere: "https://file.example"},
		"token of the env":   {variables: map[string]string{settings.EnvToken: "env-token"}, server: "https://file.example", from: settings.FromFile, token: "env-token"},
		"both of the env":    {variables: map[string]string{settings.EnvToken: "env-token", settings.EnvServer: "https://env.example"}, server: "https://env.example", from: settings.FromEnv, token: "env-token"},
		"the same, as typed": {flag: "FILE.example", server: "https://file.example", from: settings.FromFlag, token: "file-token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := settings.Load(tc.flag, env(t, tc.variables, files))
			if err != nil {
				t.Fatal(err)
			}
			if s.Server != tc.server || s.ServerFrom != tc.from || s.Token != tc.token || s.Elsewhere != tc.elswhere {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s, err := settings.Load("", env(t, nil, nil))
	if err != nil || s.Server != settings.DefaultServer || s.Token != "" || s.Retries != 0 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestWhatIsSavedIsForThisUserAlone(t *testing.T) {
	t.Parallel()
	look := env(t, nil, map[string]string{settings.ConfigFile: "server: https://old.example\nother: kept\n"})
	dir := filepath.Join(look(settings.EnvConfigDir), "da")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as the predecessor did
		t.Fatal(err)
	}
	s := &settings.Settings{Dir: dir}
	if err := s.SaveCredential(settings.Credential{AccessToken: "t", Email: "e", Role: "r", Server: "https://new.example"}); err != nil {
		t.Fatal(err)
	}
	s.Dir = look(settings.EnvConfigDir)
	if err := s.SaveServer("https://new.example"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(s.Dir, settings.ConfigFile))
	if err != nil || !strings.Contains(string(raw), "other: kept") || !strings.Contains(string(raw), "server: https://new.example") {
		t.Errorf("config.yaml: %s, %v", raw, err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, settings.TokenFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTrap_O8_DamagedFilesDoNotTellWhatIsInThem(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		variables map[string]string
		files     map[string]string
	}{
		"token":   {files: map[string]string{settings.TokenFile: `{"access_token": very-secret`}},
		"server":  {variables: map[string]string{settings.EnvServer: "https://ann:very-secret@example.com"}},
		"retries": {variables: map[string]string{settings.EnvRetries: "very-secret"}},
	} {
		_, err := settings.Load("", env(t, tc.variables, tc.files))
		if err == nil || strings.Contains(err.Error(), "very-secret") || strings.Contains(fault.Message(err), "very-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
