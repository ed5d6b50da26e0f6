package orchestrator

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/orchestrator/internal/serverdb"
)

// What is derived from the catalog is made in the background: a publication never waits for it.

// serverDBPatience bounds how long steady publications put off writing server.duckdb.
const serverDBPatience = 30 * time.Second

// background knows what is to be derived anew.
type background struct {
	serverDB chan struct{} // holds one token while server.duckdb is older than the catalog
	profiles *backlog
}

func newBackground() background {
	return background{serverDB: make(chan struct{}, 1), profiles: newBacklog(profileQuiet, profilePatience)}
}

// changed says that a source's document is another one. It does not block.
func (b *background) changed(source string) {
	select {
	case b.serverDB <- struct{}{}:
	default:
	}
	b.profiles.add(source)
}

// serverDBLoop writes server.duckdb once at the start and then some time after publications, however
// many they were.
func (r *runner) serverDBLoop(ctx context.Context) {
	if r.cfg.ServerDB < 0 {
		return
	}
	r.changed("")
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.serverDB:
		}
		if !service.Calm(ctx, r.serverDB, r.cfg.ServerDB, serverDBPatience) {
			return
		}
		if err := r.o.WriteServerDB(ctx); err != nil && ctx.Err() == nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("cannot write server.duckdb; the one before stays")
		}
	}
}

// WriteServerDB derives analytics/server.duckdb from the catalog as it stands on disk and swaps it
// into place. Who has the old file open goes on reading it; who opens it now sees the new one.
func (o *Orchestrator) WriteServerDB(ctx context.Context) (err error) {
	started := time.Now()
	defer func() {
		if err != nil && ctx.Err() == nil {
			o.metrics.serverFail.Inc()
		}
	}()
	unlock, err := o.lock(ctx, ".server")
	if err != nil {
		return err
	}
	defer unlock()
	sources, problems, err := catalog.LoadSources(o.dataDir)
	if err != nil {
		return err
	}
	for _, p := range problems {
		zerolog.Ctx(ctx).Warn().Msg(p.Message)
	}
	scratch, err := lake.NewScratch(o.tmpDir(), name)
	if err != nil {
		return fmt.Errorf("write server.duckdb: %w", err)
	}
	defer func() { _ = scratch.Close() }()
	file, _, err := serverdb.Write(ctx, o.dataDir, scratch.Dir, catalog.NewIndex(sources, o.configuredAliases()))
	if err != nil {
		return err
	}
	if err := lake.SwapFile(file, serverdb.Path(o.dataDir)); err != nil {
		return err
	}
	o.metrics.serverDB.Observe(time.Since(started).Seconds())
	return nil
}
