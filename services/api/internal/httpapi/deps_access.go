package httpapi

import (
	"context"
	"io"
	"time"
)

// Group is a set of users that grants can be given to.
type Group struct {
	ID          string     `json:"id" doc:"The id of the group." example:"9b1d…"`
	Name        string     `json:"name" doc:"Unique whatever the case of its letters." example:"finance"`
	Description string     `json:"description" doc:"Who belongs to it."`
	Members     int        `json:"members" doc:"How many users it has." example:"3"`
	Grants      int        `json:"grants" doc:"How many grants it has." example:"2"`
	CreatedAt   *time.Time `json:"created_at" doc:"When it was made."`
}

// GroupDetail is a group with who is in it and what it may read.
type GroupDetail struct {
	Group
	Users       []GroupMember `json:"users" doc:"By e-mail address."`
	Permissions []Permission  `json:"permissions" doc:"By dataset."`
}

// GroupMember is a user of a group.
type GroupMember struct {
	UserID string `json:"user_id" doc:"The id of the user."`
	Email  string `json:"email" doc:"The e-mail address." example:"ann@example.com"`
	Name   string `json:"name" doc:"What to call the user." example:"Ann"`
}

// Groups are the groups; every method is for administrators.
type Groups interface {
	List(ctx context.Context) ([]Group, error)
	// Get finds a group by id or by name; fault.NotFound where there is none.
	Get(ctx context.Context, id string) (GroupDetail, error)
	Create(ctx context.Context, by Caller, name, description string) (Group, error)
	Update(ctx context.Context, by Caller, id string, name, description *string) (Group, error)
	Delete(ctx context.Context, by Caller, id string) error
	AddMember(ctx context.Context, by Caller, id, userID string) error
	RemoveMember(ctx context.Context, by Caller, id, userID string) error
}

// Request is a wish to read a table.
type Request struct {
	ID             string     `json:"id" doc:"The id of the request."`
	UserID         string     `json:"user_id" doc:"Who asks."`
	UserEmail      string     `json:"user_email" doc:"Their e-mail address." example:"ann@example.com"`
	TableID        string     `json:"table_id" doc:"What they ask for." example:"orders"`
	Reason         string     `json:"reason" doc:"Why."`
	Status         string     `json:"status" enum:"pending,approved,denied,cancelled" doc:"What came of it."`
	ReviewedBy     string     `json:"reviewed_by" doc:"The e-mail address of who decided; empty while pending."`
	ReviewedAt     *time.Time `json:"reviewed_at" doc:"When it was decided; null while pending."`
	DecisionReason string     `json:"decision_reason" doc:"Why it was decided so."`
	CreatedAt      *time.Time `json:"created_at" doc:"When it was asked."`
	TableExists    *bool      `json:"table_exists,omitempty" doc:"For administrators: whether there is something of that name to grant."`
}

// RequestFilter narrows a listing of requests.
type RequestFilter struct {
	UserID, Status, TableID string // empty for all
	Limit, Offset           int
	WithTables              bool // tell whether the tables exist; for administrators only
}

// Requests are the wishes to read tables.
type Requests interface {
	Create(ctx context.Context, by Caller, tableID, reason string) (Request, error)
	List(ctx context.Context, f RequestFilter) (list []Request, total int, err error)
	// Decide approves or denies a pending one, grants what was asked for and tells its user;
	// fault.NotFound where there is none that is pending.
	Decide(ctx context.Context, by Caller, id string, approve bool, reason string) (Request, error)
	// Cancel takes back one's own.
	Cancel(ctx context.Context, by Caller, id string) error
}

// DatasetSetting is a user's switch for a dataset.
type DatasetSetting struct {
	UserID    string          `json:"user_id" doc:"Whose."`
	Dataset   string          `json:"dataset" doc:"A table's id or source.table, <bucket>.* or <source>.*, or * for everything that nothing else names." example:"orders"`
	Enabled   bool            `json:"enabled" doc:"Whether da keeps a copy of it."`
	TableMode string          `json:"table_mode" enum:"all,explicit" doc:"all tables of the dataset, or those listed."`
	Tables    map[string]bool `json:"tables" doc:"With explicit: the tables that are wanted."`
	UpdatedAt *time.Time      `json:"updated_at" doc:"When it was set."`
}

// Preferences are what users want to have synced.
type Preferences interface {
	List(ctx context.Context, userID string) ([]DatasetSetting, error)
	// SetDatasets switches datasets that the caller can read, and tells of those that they cannot why not.
	SetDatasets(ctx context.Context, c Caller, datasets map[string]bool) (refused map[string]error, err error)
	// Subscribe stores which tables are wanted: with the mode all, everything but what is set to false;
	// with explicit, exactly what is set to true. fault.Forbidden, with their names and nothing stored,
	// where the caller cannot read some.
	Subscribe(ctx context.Context, c Caller, mode string, tables map[string]bool) (updated int, err error)
}

// Upload is a file that a user sent.
type Upload struct {
	Kind       string     `json:"kind" enum:"sessions,artifacts,local-md" doc:"What it is."`
	Filename   string     `json:"filename" doc:"The name that it is kept under." example:"2026-01-02.jsonl"`
	Size       int64      `json:"size" doc:"Bytes." example:"1024"`
	SHA256     string     `json:"sha256,omitempty" doc:"The SHA-256 (hex) of its bytes, in the answer to the upload."`
	ModifiedAt *time.Time `json:"modified_at" doc:"When it was last written."`
}

// Quota is how much of the room for uploads a user has taken.
type Quota struct {
	Files    int   `json:"files" doc:"How many files there are."`
	MaxFiles int   `json:"max_files" doc:"How many there may be."`
	Bytes    int64 `json:"bytes" doc:"How much they take."`
	MaxBytes int64 `json:"max_bytes" doc:"How much they may take."`
}

// Uploads keeps what users send. A body is written to disk as it comes.
type Uploads interface {
	// Save stores one file; fault.TooLarge beyond the size of one or the quota of all.
	Save(ctx context.Context, c Caller, kind, filename string, body io.Reader) (Upload, error)
	List(ctx context.Context, userID string) ([]Upload, Quota, error)
	// Open gives one file back, to whoever sent it and to administrators.
	Open(ctx context.Context, userID, kind, filename string) (io.ReadSeekCloser, Upload, error)
	Delete(ctx context.Context, userID, kind, filename string) error
	// MaxBytes is the longest file that is taken.
	MaxBytes() int64
}

// Setup is what an administrator configures.
type Setup struct {
	DataSource       string
	KeboolaToken     string
	KeboolaURL       string
	BigQueryProject  string
	BigQueryLocation string
	InstanceName     string
	AllowedDomain    string
	DryRun           bool // test and validate, write nothing
}

// SetupResult tells what was tested and changed.
type SetupResult struct {
	Connection string            // "verified", "not tested", "local"
	Tested     []string          // sentences: what was tried, and what it showed
	Changed    []string          // names of what is different now
	Current    map[string]string // what holds now, secrets as "set" or ""
	Restart    []string          // names that count after a restart only; empty where all was reloaded
}

// Configurer reads and changes the configuration of the installation.
type Configurer interface {
	Current(ctx context.Context) (SetupResult, error)
	Configure(ctx context.Context, by Caller, s Setup) (SetupResult, error)
}

// AuditFilter narrows a search of the record; empty fields match all.
type AuditFilter struct {
	From, Until                     time.Time
	Actor                           string // user id or e-mail address
	Action                          string // an action, or noun.* for all of a noun
	Resource, Result, IP, RequestID string
	Text                            string // anywhere in resource or params, whatever the case
	Before, After                   int64  // sequence numbers; Before pages backwards, After forwards
	Limit                           int
	Ascending                       bool
}

// AuditRecord is one entry as it stands in the record.
type AuditRecord struct {
	Seq          int64          `json:"seq" doc:"Its place in the record, from 1." example:"4711"`
	ID           string         `json:"id" doc:"The id of the event that brought it."`
	Time         time.Time      `json:"time" doc:"When it happened."`
	Action       string         `json:"action" doc:"What was done: noun.verb." example:"user.create"`
	Resource     string         `json:"resource" doc:"What it was done to." example:"user:0d0f3c1e"`
	Result       string         `json:"result" doc:"ok, refused or failed." example:"ok"`
	Actor        string         `json:"actor" doc:"The id of the user who did it; empty for a stranger."`
	ActorEmail   string         `json:"actor_email" doc:"Their e-mail address at the time."`
	Credential   string         `json:"credential" doc:"session, pat, service, or empty."`
	CredentialID string         `json:"credential_id" doc:"The id of the session or token."`
	Service      string         `json:"service" doc:"The service that recorded it." example:"api"`
	IP           string         `json:"ip" doc:"The address of the client."`
	UserAgent    string         `json:"user_agent" doc:"The program of the client."`
	RequestID    string         `json:"request_id" doc:"The id of the request, as in the log."`
	DurationMS   float64        `json:"duration_ms" doc:"How long it took, in milliseconds."`
	Params       map[string]any `json:"params" doc:"More, by action. Never a secret."`
	Hash         string         `json:"hash" doc:"SHA-256 (hex) that chains it to the one before."`
}

// AuditLog is the record for those who read it.
type AuditLog interface {
	Search(ctx context.Context, f AuditFilter) (records []AuditRecord, more bool, err error)
	// Export writes all that match, oldest first, as TypeNDJSON or TypeCSV.
	Export(ctx context.Context, f AuditFilter, mediaType string, w io.Writer) error
	// Chain writes the record as it is kept, with its checkpoints and the public key, as one archive that
	// can be verified offline. See pkg/audit.
	Chain(ctx context.Context, w io.Writer) error
}
