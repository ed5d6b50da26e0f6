package store

import (
	"strings"
	"testing"
	"time"
)

// TestCountingReadsNoDocuments holds what is asked for again and again to an index: over the documents of
// a large site it takes seconds.
func TestCountingReadsNoDocuments(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, query := range []string{countQuery, newestQuery} {
		var id, parent, unused int
		var plan string
		if err := s.read.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query).Scan(&id, &parent, &unused, &plan); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(plan, "USING COVERING INDEX") {
			t.Errorf("%s: %s", query, plan)
		}
	}
	early, late := time.UnixMicro(1_700_000_000_000_000).UTC(), time.UnixMicro(1_800_000_000_000_000).UTC()
	err = s.Write(t.Context(), func(tx *Tx) error {
		for _, d := range []Document{
			{ID: 1, Updated: early, Open: true}, {ID: 2, Updated: late, Open: true, Partial: true}, {ID: 3, Updated: early, Partial: true, Open: true, Deleted: late},
		} {
			d.Month = "2026-01"
			if err := tx.Put(t.Context(), d, 1, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Count(t.Context()); err != nil || c != (Counts{Issues: 3, Deleted: 1, Partial: 1, Open: 2}) {
		t.Errorf("counted %+v: %v", c, err)
	}
	if newest, err := s.Newest(t.Context()); err != nil || !newest.Equal(late) {
		t.Errorf("the newest is of %s: %v", newest, err)
	}
}
