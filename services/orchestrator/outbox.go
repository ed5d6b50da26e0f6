package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// The outbox remembers what a publication changed from before the document is renamed into place
// until the bus has stored the announcement: a process that is killed in between announces it when
// it starts again, with exactly the tables that changed.

func (o *Orchestrator) outboxDir() string { return filepath.Join(o.dataDir, "analytics", "outbox") }

func (o *Orchestrator) outboxPath(source string) string {
	return filepath.Join(o.outboxDir(), source+".json")
}

// noteAnnouncement puts an announcement into the outbox. The caller holds the lock of the source.
func (o *Orchestrator) noteAnnouncement(m *agnesv1.AnalyticsPublished) error {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Errorf("note the announcement: %w", err)
	}
	if err := o.replace(o.outboxPath(m.GetSource()), raw); err != nil {
		return fmt.Errorf("note the announcement: %w", err)
	}
	return nil
}

// announcementID is the same for every announcement of one publication, and for no other one.
func announcementID(m *agnesv1.AnalyticsPublished) string {
	return fmt.Sprintf("analytics.published/%s/%d/%d", m.GetSource(), m.GetGeneration(), m.GetPublishedAt().AsTime().UnixNano())
}

// sendNoted announces what the outbox holds of a source. The caller holds the lock of the source.
func (o *Orchestrator) sendNoted(ctx context.Context, source string) error {
	raw, err := os.ReadFile(o.outboxPath(source))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the noted announcement: %w", err)
	}
	var m agnesv1.AnalyticsPublished
	if err := protojson.Unmarshal(raw, &m); err != nil || m.GetSource() != source {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("a noted announcement cannot be read and is dropped")
		return o.dropNoted(source)
	}
	stands, err := o.standing(source)
	if err != nil {
		return err
	}
	if stands < m.GetGeneration() {
		return o.dropNoted(source) // the publication it was noted for never happened
	}
	if err := o.announce(ctx, announcementID(&m), &m); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the publication of source %s could not be announced", source)
	}
	return o.dropNoted(source)
}

// standing is the generation that readers of a source see: that of its document, or the one in
// which it was removed.
func (o *Orchestrator) standing(source string) (uint64, error) {
	s, err := catalog.LoadSource(o.dataDir, source)
	if errors.Is(err, fs.ErrNotExist) {
		return o.removedAt(source)
	}
	if err != nil {
		return 0, err
	}
	return s.Generation, nil
}

func (o *Orchestrator) dropNoted(source string) error {
	if err := os.Remove(o.outboxPath(source)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop the noted announcement: %w", err)
	}
	return nil
}

// noted lists the sources with an announcement that was not sent yet.
func (o *Orchestrator) noted() ([]string, error) {
	entries, err := os.ReadDir(o.outboxDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list noted announcements: %w", err)
	}
	var sources []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			sources = append(sources, name)
		}
	}
	return sources, nil
}
