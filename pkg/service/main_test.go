package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
)

type testConfig struct {
	Base
	Limit int `envconfig:"AGNES_TEST_LIMIT" default:"7" desc:"how many"`
}

func TestStartReadsTheEnvironmentAndReports(t *testing.T) {
	t.Setenv("DATA_DIR", "/srv/agnes")
	t.Setenv("AGNES_TEST_LIMIT", "9")
	var out, errs bytes.Buffer
	var got testConfig
	code := start("agnes-test", nil, &out, &errs, func(ctx context.Context, c testConfig) error {
		got = c
		zerolog.Ctx(ctx).Info().Msg("hello")
		return nil
	})
	if code != 0 || got.DataDir != "/srv/agnes" || got.Limit != 9 || got.ConfigDir != "./config" {
		t.Errorf("exit %d, %+v", code, got)
	}
	if !strings.Contains(errs.String(), `"service":"agnes-test"`) || !strings.Contains(errs.String(), "hello") {
		t.Errorf("log: %s", errs.String())
	}
}

func TestStartTellsWhatIsWrong(t *testing.T) {
	fail := func(context.Context, testConfig) error { return errors.New("the disk is on fire") }
	for _, c := range []struct {
		name, limit string
		args        []string
		code        int
		want        string
	}{
		{"an error", "1", nil, 1, "the disk is on fire"},
		{"a bad value", "many", nil, 2, "AGNES_TEST_LIMIT"},
		{"an argument", "1", []string{"--wat"}, 2, `unknown argument "--wat"`},
		{"help", "1", []string{"--help"}, 0, "AGNES_TEST_LIMIT"},
		{"version", "1", []string{"--version"}, 0, "agnes-test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("AGNES_TEST_LIMIT", c.limit)
			var out bytes.Buffer
			if code := start("agnes-test", c.args, &out, &out, fail); code != c.code || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit %d: %s", code, out.String())
			}
		})
	}
}

func TestACommandIsForPeopleAndAWorkerIsNot(t *testing.T) {
	t.Setenv("AGNES_TEST_LIMIT", "9")
	run := func(context.Context, testConfig) error { return errors.New("the service ran") }
	command := Command("mend", "mend what is broken", func(_ context.Context, cfg testConfig, args []string, out io.Writer) error {
		switch strings.Join(args, " ") {
		case "":
			_, err := fmt.Fprintf(out, "mended %d", cfg.Limit)
			return err
		case "fault":
			return fault.Wrap(errors.New("secret"), fault.Unavailable, "nobody is there")
		case "error":
			return errors.New("out of paper")
		}
		return UsageError{"no such thing"}
	})
	worker := Subcommand{Name: "__work", Run: func() int { return 7 }}
	for _, c := range []struct {
		args, limit, want string
		code              int
	}{
		{"mend", "9", "mended 9", 0},
		{"mend fault", "9", "agnes-test mend: nobody is there\n", 1},
		{"mend error", "9", "out of paper", 1},
		{"mend all", "9", "no such thing; see agnes-test mend --help", 2},
		{"mend", "many", "AGNES_TEST_LIMIT", 2},
		{"--help", "9", "agnes-test mend: mend what is broken", 0},
		{"__work", "many", "", 7},
		{"__work more", "9", "unknown argument", 2},
	} {
		t.Setenv("AGNES_TEST_LIMIT", c.limit)
		var out bytes.Buffer
		code := start("agnes-test", strings.Fields(c.args), &out, &out, run, worker, command)
		if code != c.code || !strings.Contains(out.String(), c.want) || strings.Contains(out.String(), "secret") || strings.Contains(out.String(), "__work:") {
			t.Errorf("%s: exit %d: %s", c.args, code, out.String())
		}
	}
}

func TestHealthcheckAsksTheServiceBesideIt(t *testing.T) {
	var notReady error
	server := httptest.NewServer(HealthHandler(func(context.Context) error { return notReady }, NewRegistry()))
	defer server.Close()
	t.Setenv("AGNES_HEALTH_ADDR", strings.TrimPrefix(server.URL, "http://"))
	var errs bytes.Buffer
	if code := healthcheck(&errs, "agnes-test"); code != 0 {
		t.Errorf("exit %d: %s", code, errs.String())
	}
	notReady = errors.New("the canary does not sing")
	if code := healthcheck(&errs, "agnes-test"); code != 1 || !strings.Contains(errs.String(), "canary") {
		t.Errorf("O9: exit %d: %s", code, errs.String())
	}
	t.Setenv("AGNES_HEALTH_ADDR", "nonsense")
	if code := healthcheck(&errs, "agnes-test"); code != 2 {
		t.Errorf("exit %d", code)
	}
}

func TestServeHealthServesAndStops(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	ready := func(context.Context) error { return nil }
	stop, err := ServeHealth(t.Context(), addr, ready, NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ServeHealth(t.Context(), addr, ready, NewRegistry()); err == nil {
		t.Error("a taken address is no error")
	}
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/metrics": "go_goroutines"} {
		answer, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %.100s", path, answer.Status, body)
		}
	}
	stop()
	if answer, err := http.Get("http://" + addr + "/livez"); err == nil {
		_ = answer.Body.Close()
		t.Error("it still serves after stop")
	}
	if stop, err := ServeHealth(t.Context(), "", ready, NewRegistry()); err != nil {
		t.Error(err)
	} else {
		stop()
	}
}
