package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/api/internal/download"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// Roles, from least to most.
const (
	RoleViewer  = "viewer"
	RoleAnalyst = "analyst"
	RoleCurator = "km_admin"
	RoleAdmin   = "admin"
)

// Caller is who passed a gate, and by which credential.
type Caller struct {
	UserID, Email, Name, Role string
	// Credential is "session" or "pat"; TokenID names it in the state.
	Credential, TokenID string
	// ExpiresAt is when the credential ends by itself; nil for never.
	ExpiresAt *time.Time
	// Scopes are those of a personal access token; of no meaning for a session, which may all.
	Scopes []Scope
}

// Admin tells whether the caller may administrate.
func (c Caller) Admin() bool { return c.Role == RoleAdmin }

// From is where a sign-in comes from.
type From struct {
	IP, UserAgent string
}

// Identity knows who people are. Its errors are faults with sentences for the user.
type Identity interface {
	// Authenticate tells who a session or token belongs to; fault.Unauthenticated where to nobody.
	Authenticate(ctx context.Context, token, ip string) (Caller, error)
	// Login checks a password and opens a session.
	Login(ctx context.Context, email, password string, from From) (Session, error)
	// Bootstrap makes the first administrator; fault.Forbidden once anybody could sign in.
	Bootstrap(ctx context.Context, email, name, password string, from From) (Session, error)
	// Logout ends the caller's session.
	Logout(ctx context.Context, c Caller) error

	// CreateToken makes a personal access token that may do what scopes say; nil days for one that does
	// not end by itself.
	CreateToken(ctx context.Context, c Caller, name string, days *int, scopes []Scope) (NewToken, error)
	// Tokens lists tokens, newest first: of one user, or of all where userID is empty.
	Tokens(ctx context.Context, userID string) ([]Token, error)
	// RevokeToken ends a token: one of the user's, or anybody's where userID is empty.
	RevokeToken(ctx context.Context, by Caller, userID, id string) error

	// Users lists all, by e-mail.
	Users(ctx context.Context) ([]UserView, error)
	// User gives one; fault.NotFound where there is none.
	User(ctx context.Context, id string) (UserView, error)
	// CreateUser adds one; password may be empty.
	CreateUser(ctx context.Context, by Caller, u NewUser) (UserView, error)
	// UpdateUser changes what is not nil.
	UpdateUser(ctx context.Context, by Caller, id string, c UserChange) (UserView, error)
	// SetPassword replaces a password and ends the user's sessions.
	SetPassword(ctx context.Context, by Caller, id, password string) error
	// DeleteUser removes a user with tokens, sessions and grants.
	DeleteUser(ctx context.Context, by Caller, id string) error
}

// Grants is what one caller can reach, computed once per request.
type Grants interface {
	// Allows tells whether the caller can read the table.
	Allows(t *published.Table) bool
	// Fingerprint is equal for equal sets.
	Fingerprint() string
}

// Access decides who can reach what.
type Access interface {
	// Grants computes the caller's set with a constant number of state queries.
	Grants(ctx context.Context, c Caller, s *published.Snapshot) (Grants, error)
	// Permissions lists grants, and tells how many match beyond the page.
	Permissions(ctx context.Context, f PermissionFilter) (list []Permission, total int, err error)
	// Grant sets one. fault.NotFound where there is no such user or group, or nothing of that name to
	// read and force is not set.
	Grant(ctx context.Context, by Caller, p Permission, force bool) (Permission, error)
	// Revoke takes one away; one that is not there is none already.
	Revoke(ctx context.Context, by Caller, p Permission) error
	// Explain tells what a user can read, and why; fault.NotFound where there is no such user.
	Explain(ctx context.Context, userID string) (AccessReport, error)
}

// Registry is the table of what is to be extracted.
type Registry interface {
	List(ctx context.Context, source string) ([]RegisteredTable, error)
	Get(ctx context.Context, id string) (RegisteredTable, error)
	// Register adds a table; fault.Conflict where it is there.
	Register(ctx context.Context, by Caller, t NewTable) (RegisteredTable, error)
	// RegisterAll adds those that are not there, and says of each that was refused why.
	RegisterAll(ctx context.Context, by Caller, tables []NewTable) (Registration, error)
	// Update changes what is named.
	Update(ctx context.Context, by Caller, id string, c TableChange) (updated []string, err error)
	Delete(ctx context.Context, by Caller, id string) error
}

// Runs starts extractions and tells how they went.
type Runs interface {
	Trigger(ctx context.Context, by Caller, t TriggerBody) (TriggerAnswer, error)
	List(ctx context.Context, f RunFilter) ([]Run, error)
	Get(ctx context.Context, id string) (Run, error)
	// History tells what became of a table of a source, newest first, at most limit entries.
	History(ctx context.Context, source, table string, limit int) ([]TableRun, error)
}

// RunFilter narrows a listing of runs; empty fields match all.
type RunFilter struct {
	Source, Status string
	Limit          int
}

// Queries answers SQL in locked sessions.
type Queries interface {
	// Query runs one statement over what the grants reach, and writes the answer in the media type.
	// head is called once, before the first byte: until then an error can still become a status.
	Query(ctx context.Context, q Question, head func() io.Writer) (QuerySummary, error)
}

// Question is a statement with who asks it and what it may reach.
type Question struct {
	Caller    Caller
	Grants    Grants
	Snapshot  *published.Snapshot
	SQL       string
	Limit     int
	MediaType string
	// Fetched are tables of this question alone, which hide others of their names; nil for none.
	Fetched *HybridFetched
}

// QuerySummary tells what was sent.
type QuerySummary struct {
	Rows, Bytes int64
	Truncated   bool
	// Waited is how long the statement stood in the queue.
	Waited time.Duration
	// Tables are the qualified names of those that it mentions.
	Tables []string
}

// Profiles gives what was found out about the columns of a content.
type Profiles interface {
	Profile(ctx context.Context, t *published.Table) (json.RawMessage, error)
}

// Wholes gives a table as one file.
type Wholes interface {
	// Digests gives hash and size of the tables' files, in their order, waiting for those that are
	// being computed until ctx ends.
	Digests(ctx context.Context, tables []catalog.Table) ([]lake.Digest, error)
	// Content gives the file of one version of a table.
	Content(ctx context.Context, t catalog.Table) (download.Content, error)
	// Part gives one part.
	Part(ctx context.Context, p catalog.Part) (download.Content, error)
	// File gives a file that rows of a table are about, by the id that they have.
	File(ctx context.Context, source, table, id string) (download.Content, error)
}

// Bus is what the handlers need of the bus.
type Bus interface {
	// Discover asks the extractor of a source what is there; fault.Unavailable where none answers.
	Discover(ctx context.Context, source string) ([]DiscoveredTable, error)
	// TestSource tells what a test of the connection of a source showed.
	TestSource(ctx context.Context, source string) (findings []string, err error)
	// Preview gives the first rows of a table of a source, registered or not.
	Preview(ctx context.Context, t RegisteredTable, rows int) (TablePreview, error)
	// PushMetadata writes what is said of columns to the source, or tells what it would.
	PushMetadata(ctx context.Context, t RegisteredTable, notes []ColumnNote, dryRun bool) (MetadataPushed, error)
	// Rebuild announces the extract of a source, as an extractor would.
	Rebuild(ctx context.Context, source string) error
	DeadLetters(ctx context.Context, f event.LetterFilter) ([]event.DeadLetter, error)
	ReplayDeadLetter(ctx context.Context, number uint64) error
	DropDeadLetter(ctx context.Context, number uint64) error
}

// Check is one reason for being ready or not.
type Check struct {
	Name string
	// Do tells why not; nil where all is well.
	Do func(context.Context) error
}

// Proxies are the services that this one passes requests on to; nil where not configured.
type Proxies struct {
	Webhooks http.Handler // /webhooks/jira
	Sockets  http.Handler // /ws/
}
