package api

import (
	"cmp"
	"context"

	"github.com/agnes-platform/agnes/services/api/internal/state"
	"github.com/agnes-platform/agnes/services/api/internal/uploads"
)

// UploadLimits bound what users may send. Zero means the default.
type UploadLimits struct {
	MaxMB    int64 `envconfig:"AGNES_UPLOAD_MAX_MB" default:"50" desc:"the longest file that may be uploaded, in MiB"`
	QuotaMB  int64 `envconfig:"AGNES_UPLOAD_QUOTA_MB" default:"2048" desc:"what all uploads of a user may take, in MiB"`
	MaxFiles int   `envconfig:"AGNES_UPLOAD_MAX_FILES" default:"10000" desc:"how many uploads a user may have"`
}

// openUploads makes the store of what users send.
func (c Config) openUploads(s *state.Store) (*uploads.Store, error) {
	return uploads.New(uploads.Config{
		DataDir: c.DataDir, TmpDir: c.tmpDir(), MaxBytes: cmp.Or(c.MaxMB, 50) << 20, MaxUserBytes: cmp.Or(c.QuotaMB, 2048) << 20,
		MaxUserFiles: cmp.Or(c.MaxFiles, 10000),
		EmailOf: func(ctx context.Context, id string) (string, error) {
			u, err := s.Users.Get(ctx, id)
			return u.Email, err
		},
	})
}
