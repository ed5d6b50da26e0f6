package state

import (
	"context"
	"database/sql"
	"hash/maphash"
	"sync/atomic"
)

// ownerShards is how many counters the users share: those of one share are read again together.
const ownerShards = 4096

// owners counts changes of users, so that one user's change does not make everybody's credentials be
// looked up again.
type owners struct {
	seed   maphash.Seed
	shards [ownerShards]atomic.Uint64
}

func newOwners() *owners { return &owners{seed: maphash.MakeSeed()} }

func (o *owners) of(userID string) *atomic.Uint64 {
	return &o.shards[maphash.String(o.seed, userID)%ownerShards]
}

// IdentityGenerationOf grows with every change of the user or one of their credentials, and with changes
// that concern everybody. Read it before the rows: what was read at an earlier generation is stale.
func (s *Store) IdentityGenerationOf(userID string) uint64 {
	return s.everybody.Load() + s.owners.of(userID).Load()
}

// writeOwned is write for a change of one user or their credentials. work may fill in who it is; where
// it leaves userID empty, nothing changed.
func (s *Store) writeOwned(ctx context.Context, userID *string, work func(ctx context.Context, tx *sql.Tx) error) error {
	if err := s.write(ctx, touchesNothing, work); err != nil {
		return err
	}
	if *userID != "" {
		s.identity.Add(1)
		s.owners.of(*userID).Add(1)
	}
	return nil
}
