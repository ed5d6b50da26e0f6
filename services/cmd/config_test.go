package cmd_test

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/joho/godotenv"

	"github.com/agnes-platform/agnes/pkg/service"
)

const root = "../.."

// notServices are binaries that no container runs.
var notServices = []string{"agnes", "da"}

// secretsOf are the services that are given a secret; nobody else is.
var secretsOf = map[string][]string{
	"SEED_ADMIN_PASSWORD": {"api"}, "JWT_SECRET_KEY": {"api"},
	"JIRA_WEBHOOK_SECRET": {"jira-webhook", "extractor-jira"}, "JIRA_API_TOKEN": {"extractor-jira"}, "JIRA_SLA_API_TOKEN": {"extractor-jira"},
	"KEBOOLA_STORAGE_TOKEN": {"extractor-keboola"}, "GOOGLE_APPLICATION_CREDENTIALS": {"api", "extractor-bigquery"},
}

func loadCompose(t *testing.T, env map[string]string) *types.Project {
	t.Helper()
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  root,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, "docker-compose.yml")}},
		Environment: env,
	})
	if err != nil {
		t.Fatalf("docker-compose.yml does not load: %v", err)
	}
	return project
}

func template(t *testing.T) map[string]string {
	t.Helper()
	env, err := godotenv.Read(filepath.Join(root, "config", ".env.template"))
	if err != nil {
		t.Fatalf("config/.env.template does not load: %v", err)
	}
	return env
}

func TestComposeUsesOnlyDocumentedVariables(t *testing.T) {
	t.Parallel()
	documented := template(t)
	raw, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Z0-9_]+)`).FindAllSubmatch(raw, -1) {
		used[string(m[1])] = true
		if _, ok := documented[string(m[1])]; !ok {
			t.Errorf("docker-compose.yml uses %s, which config/.env.template does not document", m[1])
		}
	}
	for name := range documented {
		if !used[name] {
			t.Errorf("config/.env.template documents %s, which docker-compose.yml does not use", name)
		}
	}
	f, err := os.Open(filepath.Join(root, "config", ".env.template"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	explained := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "":
			explained = false
		case strings.HasPrefix(line, "#"):
			explained = true
		case !explained:
			t.Errorf("config/.env.template does not explain %q", line)
		}
	}
}

func TestComposeRunsEveryServiceConfined(t *testing.T) {
	t.Parallel()
	env := template(t)
	env["AGNES_NATS_TOKEN"] = "secret of the bus"
	env["SEED_ADMIN_PASSWORD"] = "a password with spaces and $dollars"
	env["JWT_SECRET_KEY"] = "0123456789abcdef0123456789abcdef"
	env["JIRA_WEBHOOK_SECRET"], env["JIRA_API_TOKEN"], env["JIRA_SLA_API_TOKEN"] = "of webhooks", "of Jira", "of Jira's SLA"
	env["KEBOOLA_STORAGE_TOKEN"] = "of Keboola"
	env["GOOGLE_APPLICATION_CREDENTIALS"] = "/config/key.json"
	project := loadCompose(t, env)

	var binaries, built []string
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(notServices, e.Name()) {
			binaries = append(binaries, e.Name())
		}
	}
	for name, s := range project.Services {
		if s.Build == nil && name == "volume" {
			continue
		}
		if s.User == "" || strings.HasPrefix(s.User, "0") {
			t.Errorf("%s runs as root", name)
		}
		if !s.ReadOnly {
			t.Errorf("%s has a writable root file system", name)
		}
		if s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		if s.Build != nil {
			built = append(built, *s.Build.Args["SERVICE"])
			if s.Build.Dockerfile != "deploy/Dockerfile" {
				t.Errorf("%s is built by %s", name, s.Build.Dockerfile)
			}
		}
		for secret, keepers := range secretsOf {
			if v := s.Environment[secret]; (v != nil && *v != "") != slices.Contains(keepers, name) {
				t.Errorf("%s and %s: only %v are given it", name, secret, keepers)
			}
		}
	}
	slices.Sort(binaries)
	slices.Sort(built)
	if !slices.Equal(binaries, built) {
		t.Errorf("compose runs %v, services/cmd has %v", built, binaries)
	}
	if got := project.Services["api"].Environment["SEED_ADMIN_PASSWORD"]; got == nil || *got != env["SEED_ADMIN_PASSWORD"] {
		t.Errorf("Q1: the password arrives as %v", got)
	}
	if len(project.Volumes) != 1 {
		t.Errorf("%d volumes, not one", len(project.Volumes))
	}
}

func TestComposeRefusesToStartWithoutTheBusToken(t *testing.T) {
	t.Parallel()
	_, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  root,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(root, "docker-compose.yml")}},
		Environment: template(t),
	})
	if err == nil || !strings.Contains(err.Error(), "AGNES_NATS_TOKEN") {
		t.Errorf("got %v", err)
	}
}

func TestExampleInstanceLoads(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "config", "instance.yaml.example"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, service.InstanceFile), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := service.LoadInstance(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(i.Sources) == 0 || len(i.Unset) > 0 {
		t.Errorf("got %+v", i)
	}
}

func TestDockerfileBuildsAnyService(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ARG SERVICE", "./cmd/${SERVICE}", "USER 10001", "HEALTHCHECK", "-tags duckdb_arrow"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("deploy/Dockerfile lacks %q", want)
		}
	}
}

// TestEveryDependencySaysWhyItIsThere compares the modules' direct requirements with docs/dependencies.md.
func TestEveryDependencySaysWhyItIsThere(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^- `([^`]+)` — .").FindAllSubmatch(raw, -1) {
		explained[string(m[1])] = false
	}
	for _, module := range []string{"proto", "pkg", "services"} {
		gomod, err := os.ReadFile(filepath.Join(root, module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:require )?\t?([a-z0-9.-]+\.[a-z]+/\S+) v\S+$`).FindAllSubmatch(gomod, -1) {
			name := string(m[1])
			if strings.HasPrefix(name, "github.com/agnes-platform/") {
				continue
			}
			if _, ok := explained[name]; !ok {
				t.Errorf("%s requires %s, which docs/dependencies.md does not explain", module, name)
			}
			explained[name] = true
		}
	}
	for name, used := range explained {
		if !used {
			t.Errorf("docs/dependencies.md explains %s, which no module requires", name)
		}
	}
}
