package state

import "context"

// Spoil makes the next checkpoint end as one does that cannot write: DuckDB gives the database up.
func (s *Store) Spoil(ctx context.Context) error {
	s.writing <- struct{}{}
	defer func() { <-s.writing }()
	_, err := s.writer.ExecContext(ctx, "SET GLOBAL debug_checkpoint_abort = 'before_header'")
	return err
}
