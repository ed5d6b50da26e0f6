package standalone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/standalone/internal/demodata"
)

const demoAdmin = "admin@example.com"

// demoWait is how long the demo waits for its data; on two slow cores it takes a few seconds.
const demoWait = 3 * time.Minute

const demoInstance = `# Written by "agnes demo"; yours to change.
instance: {name: "Agnes demo"}
sources:
  - name: shop
    type: csv
    path: ../files
    watch: true # drop a file into the folder and it becomes a table
    auto_register: true
`

func demoCommand(own []string) *cobra.Command {
	var dir, size string
	var seed uint64
	var exit bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Generate sample data, serve it, and print a login and commands to try",
		Long: `Generate a sample shop, extract and publish it, and serve it on
AGNES_API_ADDR (default 127.0.0.1:8000) until interrupted. Everything is kept
under --dir; a second start goes on from there.`,
		Example: "  agnes demo --dir build/demo --size m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := demo{own: own, dir: dir, out: cmd.OutOrStdout(), exit: exit}
			return d.run(cmd.Context(), size, seed)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "agnes-demo", "folder that holds files, configuration and data")
	cmd.Flags().StringVar(&size, "size", "s", "how much sample data: xs, s, m or l")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "seed of the sample data")
	cmd.Flags().BoolVar(&exit, "exit", false, "stop once the data is queryable, instead of serving it")
	return cmd
}

// demo is one run of the command.
type demo struct {
	own      []string
	dir      string
	out      io.Writer
	exit     bool
	password string
}

func (d *demo) run(ctx context.Context, size string, seed uint64) error {
	if err := d.prepare(ctx, size, seed); err != nil {
		return err
	}
	var cfg Config
	if err := service.LoadEnv(&cfg); err != nil {
		return err
	}
	cfg.Own = d.own
	cfg.DataDir, cfg.ConfigDir = filepath.Join(d.dir, "data"), filepath.Join(d.dir, "config")
	for name, value := range map[string]string{"SEED_ADMIN_EMAIL": demoAdmin, "SEED_ADMIN_PASSWORD": d.password} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "agnes.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the demo's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	ctx, cancel := context.WithCancel(withLogger(ctx, log, cfg.LogLevel, cfg.LogFormat))
	defer cancel()
	addr := make(chan string, 1)
	cfg.OnReady = func(a string) { addr <- a }
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	select {
	case err := <-ended:
		return d.explain(err)
	case a := <-addr:
		if err := d.welcome(ctx, "http://"+a); err != nil && ctx.Err() == nil {
			cancel()
			return d.explain(errors.Join(err, <-ended))
		}
	}
	if d.exit {
		cancel()
	}
	return d.explain(<-ended)
}

// explain points to the log, which is not on the screen.
func (d *demo) explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (the log is in %s)", err, filepath.Join(d.dir, "agnes.log"))
}

// prepare writes what is not there yet: files, configuration and the admin's password.
func (d *demo) prepare(ctx context.Context, size string, seed uint64) error {
	s, err := demodata.ParseSize(size)
	if err != nil {
		return err
	}
	for _, sub := range []string{"config", "data"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			return fmt.Errorf("make the demo's folder: %w", err)
		}
	}
	if err := d.keepPassword(); err != nil {
		return err
	}
	instance := filepath.Join(d.dir, "config", service.InstanceFile)
	if _, err := os.Stat(instance); errors.Is(err, fs.ErrNotExist) {
		if err := lake.WriteFileAtomic(instance, []byte(demoInstance), 0o644); err != nil {
			return fmt.Errorf("write the demo's configuration: %w", err)
		}
	}
	files := filepath.Join(d.dir, "files")
	stamp, wanted := filepath.Join(d.dir, "sample"), fmt.Sprintf("size %s seed %d\n", size, seed)
	if have, err := os.ReadFile(stamp); err == nil && string(have) == wanted {
		return nil
	}
	_, _ = fmt.Fprintf(d.out, "Generating the sample shop (size %s) …\n", size)
	summary, err := demodata.Write(ctx, files, s, seed)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(d.out, "%d rows in %d tables written to %s\n", summary.Total, len(summary.Rows), files)
	return lake.WriteFileAtomic(stamp, []byte(wanted), 0o644)
}

func (d *demo) passwordFile() string { return filepath.Join(d.dir, "admin-password") }

func (d *demo) keepPassword() error {
	path := d.passwordFile()
	if raw, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(raw))) > 0 {
		d.password = strings.TrimSpace(string(raw))
		return nil
	}
	d.password = strings.ToLower(rand.Text()[:16])
	if err := lake.WriteFileAtomic(path, []byte(d.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the demo's password: %w", err)
	}
	return nil
}

// welcome waits until the sample is queryable and prints what to do with it.
func (d *demo) welcome(ctx context.Context, url string) error {
	_, _ = fmt.Fprintln(d.out, "Extracting and publishing …")
	tables, err := d.published(ctx, url)
	if err != nil {
		return err
	}
	self := "da"
	if path, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(path), "da"); fileExists(beside) {
			self = relative(beside)
		}
	}
	workspace := relative(filepath.Join(d.dir, "workspace"))
	_, err = fmt.Fprintf(d.out, `
Agnes serves %[1]d tables on %[2]s  (its API: %[2]s/docs)

  login     %[3]s
  password  %[4]s

Try, in another terminal:

  %[5]s login --server %[2]s --email %[3]s --password-stdin < %[8]s
  %[5]s sync --workspace %[6]s
  %[5]s query --workspace %[6]s "SELECT channel, count(*) AS sessions, avg(clicked::INT) AS click_through FROM web_sessions GROUP BY channel ORDER BY sessions DESC"

Drop a CSV file into %[7]s and it becomes a table. Stop with Ctrl-C.
`, tables, url, demoAdmin, d.password, self, workspace, relative(filepath.Join(d.dir, "files")), relative(d.passwordFile()))
	return err
}

// published waits until every table of the sample is in the catalog.
func (d *demo) published(ctx context.Context, url string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	token := ""
	for {
		n, err := d.countTables(ctx, url, &token)
		if err == nil && n >= len(demodata.Tables()) {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("only %d of %d tables were published: %w", n, len(demodata.Tables()), errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *demo) countTables(ctx context.Context, url string, token *string) (int, error) {
	api, err := client.New(client.Options{Server: url, Token: *token})
	if err != nil {
		return 0, err
	}
	defer api.Close()
	if *token == "" {
		session, err := api.Login(ctx, demoAdmin, d.password)
		if err != nil {
			return 0, err
		}
		*token = session.AccessToken
		return 0, nil
	}
	tables, _, err := api.Catalog(ctx)
	return len(tables), err
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// relative shortens a path to what one would type here.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(here, abs); err == nil && !strings.HasPrefix(short, "..") {
		return short
	}
	return abs
}
