package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

// Session is what signing in gives.
type Session struct {
	AccessToken string    `json:"access_token" doc:"Send it as Authorization: Bearer …" example:"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.sig"`
	TokenType   string    `json:"token_type" doc:"Always bearer." example:"bearer"`
	UserID      string    `json:"user_id" doc:"The id of the user." example:"0d0f3c1e-6a0e-4c55-9f0a-6f2a5e8f2c11"`
	Email       string    `json:"email" doc:"The e-mail address of the user, in lower case." example:"ann@example.com"`
	Role        string    `json:"role" enum:"viewer,analyst,km_admin,admin" doc:"The role of the user." example:"analyst"`
	ExpiresAt   time.Time `json:"expires_at" doc:"When the session ends by itself." example:"2026-01-02T15:04:05Z"`
}

// Token is a personal access token without its secret.
type Token struct {
	ID         string     `json:"id" doc:"The id of the token." example:"7a1f6a52-8f4e-4a43-9d53-0f8b7f3f1a55"`
	Name       string     `json:"name" doc:"What its owner called it." example:"laptop"`
	Prefix     string     `json:"prefix" doc:"The first characters of the id, to tell tokens apart." example:"7a1f6a52"`
	CreatedAt  *time.Time `json:"created_at" doc:"When it was made."`
	ExpiresAt  *time.Time `json:"expires_at" doc:"When it ends by itself; null for never."`
	LastUsedAt *time.Time `json:"last_used_at" doc:"When it was last used; null for never."`
	RevokedAt  *time.Time `json:"revoked_at" doc:"When it was revoked; null where it is not."`
	UserID     string     `json:"user_id,omitempty" doc:"In the listing of all tokens: whose it is."`
	UserEmail  string     `json:"user_email,omitempty" doc:"In the listing of all tokens: the owner's e-mail address."`
	LastUsedIP string     `json:"last_used_ip,omitempty" doc:"The address that used it last." example:"192.0.2.10"`
	Scopes     []Scope    `json:"scopes" doc:"What it may be used for: read, query, sync, admin." example:"[\"read\",\"query\",\"sync\"]"`
}

// NewToken is a token just made.
type NewToken struct {
	ID        string     `json:"id" doc:"The id of the token." example:"7a1f6a52-8f4e-4a43-9d53-0f8b7f3f1a55"`
	Name      string     `json:"name" doc:"What its owner called it." example:"laptop"`
	Prefix    string     `json:"prefix" doc:"The first characters of the id." example:"7a1f6a52"`
	Token     string     `json:"token" doc:"The secret. It is shown this once." example:"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.sig"`
	ExpiresAt *time.Time `json:"expires_at" doc:"When it ends by itself; null for never."`
	CreatedAt *time.Time `json:"created_at" doc:"When it was made."`
	Scopes    []Scope    `json:"scopes" doc:"What it may be used for: read, query, sync, admin." example:"[\"read\",\"query\",\"sync\"]"`
}

// UserView is a user as administrators see one.
type UserView struct {
	ID            string     `json:"id" doc:"The id of the user." example:"0d0f3c1e-6a0e-4c55-9f0a-6f2a5e8f2c11"`
	Email         string     `json:"email" doc:"In lower case; unique." example:"ann@example.com"`
	Name          string     `json:"name" doc:"What to call the user." example:"Ann"`
	Role          string     `json:"role" enum:"viewer,analyst,km_admin,admin" doc:"The role."`
	Active        bool       `json:"active" doc:"Whether the user may sign in."`
	CreatedAt     *time.Time `json:"created_at" doc:"When the user was made."`
	DeactivatedAt *time.Time `json:"deactivated_at" doc:"When the user was deactivated; null where not."`
}

// NewUser is a user to make.
type NewUser struct {
	Email    string `json:"email" format:"email" maxLength:"254" doc:"The e-mail address; shown as it is written here, and found in whatever case." example:"ann@example.com"`
	Name     string `json:"name,omitempty" maxLength:"200" doc:"What to call the user; the part before the @ where empty." example:"Ann"`
	Role     string `json:"role,omitempty" maxLength:"32" default:"analyst" doc:"viewer, analyst, km_admin or admin; analyst where empty." example:"analyst"`
	Password string `json:"password,omitempty" maxLength:"1024" doc:"A first password, at least 8 characters; none where empty." example:"correct horse battery"`
	// SendInvite has them choose their password themselves.
	SendInvite bool `json:"send_invite,omitempty" doc:"Whether to make a link to choose a first password, and mail it where mail is set up."`
}

// UserChange is what to change of a user; what is left out stays.
type UserChange struct {
	Name   *string `json:"name,omitempty" maxLength:"200" doc:"What to call the user."`
	Role   *string `json:"role,omitempty" maxLength:"32" doc:"viewer, analyst, km_admin or admin. The last active administrator keeps theirs."`
	Active *bool   `json:"active,omitempty" doc:"false ends all sessions and tokens at once. Nobody can deactivate themselves or the last administrator."`
}

// Strings is a list of texts that may also be written as one text.
type Strings []string

// UnmarshalJSON reads a list, one text (commas divide), or null.
func (l *Strings) UnmarshalJSON(raw []byte) error {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		*l = list
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return fmt.Errorf("expected a string or a list of strings: %w", err)
	}
	*l = nil
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}

// Schema describes it, for huma.
func (Strings) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}},
		{Type: huma.TypeString},
	}}
}

// RegisteredTable is a row of the registry.
type RegisteredTable struct {
	ID               string         `json:"id" doc:"Names the table in every route; unique, in lower case." example:"orders"`
	Name             string         `json:"name" doc:"The table's name within its source, and the name to query." example:"orders"`
	Source           string         `json:"source" doc:"The source that it is extracted from." example:"shop"`
	SourceType       string         `json:"source_type" doc:"The connector of the source." example:"csv"`
	Bucket           string         `json:"bucket" doc:"The group that the source keeps it in; permissions can name it." example:"in.c-shop"`
	SourceTable      string         `json:"source_table" doc:"What the source calls it: a file, a table id." example:"orders.csv"`
	SyncStrategy     string         `json:"sync_strategy" doc:"full_refresh or incremental, where the connector knows both." example:"full_refresh"`
	QueryMode        string         `json:"query_mode" enum:"local,remote,materialized" doc:"local: copied into parts. remote: asked where it lives. materialized: the result of a query, copied." example:"local"`
	SyncSchedule     string         `json:"sync_schedule" doc:"When to extract: every 15m, daily 06:00, or five fields of cron; empty for never by itself." example:"every 1h"`
	ProfileAfterSync bool           `json:"profile_after_sync" doc:"Whether columns are profiled after a change."`
	PrimaryKey       []string       `json:"primary_key" doc:"The columns that make a row unique, in order." example:"[\"order_id\"]"`
	Folder           string         `json:"folder" doc:"A heading to list it under."`
	Description      string         `json:"description" doc:"What it holds."`
	IsPublic         bool           `json:"is_public" doc:"Whether every user may read it without a permission."`
	Options          map[string]any `json:"options" doc:"Options of the connector for this table."`
	RegisteredBy     string         `json:"registered_by" doc:"Who registered it."`
	RegisteredAt     *time.Time     `json:"registered_at" doc:"When it was registered."`
}

// NewTable is a table to register.
type NewTable struct {
	Name             string         `json:"name" minLength:"1" maxLength:"200" doc:"The table's name within its source. The id is made from it: lower case, with underscores for spaces, and the source before it where that id is another table's." example:"orders"`
	Source           string         `json:"source,omitempty" nullable:"true" maxLength:"64" doc:"The source; where empty: the only configured source of source_type." example:"shop"`
	SourceType       string         `json:"source_type,omitempty" nullable:"true" maxLength:"64" doc:"The connector; where empty: that of the source." example:"csv"`
	Bucket           string         `json:"bucket,omitempty" nullable:"true" maxLength:"300" doc:"The group that the source keeps it in." example:"in.c-shop"`
	SourceTable      string         `json:"source_table,omitempty" nullable:"true" maxLength:"1024" doc:"What the source calls it; where empty: the name." example:"orders.csv"`
	SyncStrategy     string         `json:"sync_strategy,omitempty" nullable:"true" maxLength:"64" default:"full_refresh" doc:"full_refresh or incremental."`
	QueryMode        string         `json:"query_mode,omitempty" nullable:"true" maxLength:"32" default:"local" doc:"local, remote or materialized; local where empty."`
	SyncSchedule     string         `json:"sync_schedule,omitempty" nullable:"true" maxLength:"200" doc:"When to extract; empty for never by itself." example:"every 1h"`
	ProfileAfterSync *bool          `json:"profile_after_sync,omitempty" nullable:"true" default:"true" doc:"Whether columns are profiled after a change."`
	PrimaryKey       Strings        `json:"primary_key,omitempty" doc:"The columns that make a row unique: a list, or one text with commas."`
	Folder           string         `json:"folder,omitempty" nullable:"true" maxLength:"300" doc:"A heading to list it under."`
	Description      string         `json:"description,omitempty" nullable:"true" maxLength:"10000" doc:"What it holds."`
	IsPublic         *bool          `json:"is_public,omitempty" nullable:"true" doc:"Whether every user may read it without a permission. Left out: true, unless the same table of the source is private, or was when it was removed."`
	Options          map[string]any `json:"options,omitempty" doc:"Options of the connector for this table."`
}

// TableChange is what to change of a registered table; what is left out stays.
type TableChange struct {
	Name             *string         `json:"name,omitempty" nullable:"true" minLength:"1" maxLength:"200" doc:"The name that it has: a table cannot be renamed, only registered anew."`
	Source           *string         `json:"source,omitempty" nullable:"true" maxLength:"64" doc:"The source, for a row of the predecessor that has none. A table cannot move."`
	SourceType       *string         `json:"source_type,omitempty" nullable:"true" maxLength:"64" doc:"The connector."`
	Bucket           *string         `json:"bucket,omitempty" nullable:"true" maxLength:"300" doc:"The group; empty for none."`
	SourceTable      *string         `json:"source_table,omitempty" nullable:"true" maxLength:"1024" doc:"What the source calls it."`
	SyncStrategy     *string         `json:"sync_strategy,omitempty" nullable:"true" maxLength:"64" doc:"full_refresh or incremental."`
	QueryMode        *string         `json:"query_mode,omitempty" nullable:"true" enum:"local,remote,materialized" doc:"How it is queried."`
	SyncSchedule     *string         `json:"sync_schedule,omitempty" nullable:"true" maxLength:"200" doc:"When to extract; empty for never by itself."`
	ProfileAfterSync *bool           `json:"profile_after_sync,omitempty" nullable:"true" doc:"Whether columns are profiled after a change."`
	PrimaryKey       *Strings        `json:"primary_key,omitempty" doc:"The columns that make a row unique; an empty list for none."`
	Folder           *string         `json:"folder,omitempty" nullable:"true" maxLength:"300" doc:"A heading to list it under."`
	Description      *string         `json:"description,omitempty" nullable:"true" maxLength:"10000" doc:"What it holds."`
	IsPublic         *bool           `json:"is_public,omitempty" nullable:"true" doc:"Whether every user may read it without a permission."`
	Options          *map[string]any `json:"options,omitempty" doc:"Options of the connector; replaces all of them."`
}

// TriggerBody says what to extract. The zero value means everything that is registered.
type TriggerBody struct {
	Tables  []string `json:"tables,omitempty" doc:"Ids of registered tables."`
	Source  string   `json:"source,omitempty" doc:"One source."`
	Sources []string `json:"sources,omitempty" doc:"Several sources."`
	Force   bool     `json:"force,omitempty" doc:"Publish even what a guard would hold back, such as the loss of more than half of a table's rows."`
}

// UnmarshalJSON reads the object, the predecessor's bare list of table ids, or null.
func (t *TriggerBody) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &t.Tables) == nil {
		return nil
	}
	type object TriggerBody
	return json.Unmarshal(raw, (*object)(t))
}

// Schema describes it, for huma.
func (TriggerBody) Schema(huma.Registry) *huma.Schema {
	texts := func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}, Description: doc}
	}
	object := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false, Properties: map[string]*huma.Schema{
		"tables":  texts("Ids of registered tables; none means all of the sources."),
		"source":  {Type: huma.TypeString, Description: "One source."},
		"sources": texts("Several sources; none means all."),
		"force":   {Type: huma.TypeBoolean, Description: "Publish even what a guard would hold back, such as the loss of more than half of a table's rows."},
	}}
	return &huma.Schema{
		Description: "What to extract: an object, a bare list of table ids, or nothing at all for everything.",
		AnyOf:       []*huma.Schema{object, texts("Ids of registered tables."), {Type: "null"}},
	}
}

// TriggerAnswer names the run that was started.
type TriggerAnswer struct {
	Status  string   `json:"status" doc:"Always triggered." example:"triggered"`
	RunID   string   `json:"run_id" doc:"Follow it at /api/sync/runs/{id}." example:"0190f3a2-7a54-7cc2-9f0e-2f4a8e1c5b10"`
	Tables  any      `json:"tables" doc:"The ids of the tables that were asked for, or the text all."`
	Sources []string `json:"sources" doc:"The sources that the run spans." example:"[\"shop\"]"`
	Message string   `json:"message" doc:"What happens now, in a sentence."`
}

// Run is one extraction.
type Run struct {
	ID          string      `json:"id" doc:"The id of the run." example:"0190f3a2-7a54-7cc2-9f0e-2f4a8e1c5b10"`
	Status      string      `json:"status" enum:"queued,running,publishing,succeeded,partial,failed" doc:"How far it is. partial: some tables failed, the others are published."`
	Reason      string      `json:"reason" doc:"Why: manual, schedule, retry, watch or start; automatic or external where nobody asked the api for it." example:"manual"`
	RequestedBy string      `json:"requested_by" doc:"A user id, or the name of a service."`
	RequestedAt *time.Time  `json:"requested_at" doc:"When it was asked for."`
	StartedAt   *time.Time  `json:"started_at" doc:"When the first extractor began; null before."`
	FinishedAt  *time.Time  `json:"finished_at" doc:"When the last source was done; null before."`
	DurationMS  int64       `json:"duration_ms" doc:"From start to finish, or to now."`
	Force       bool        `json:"force" doc:"Whether guards were overruled."`
	Source      string      `json:"source" doc:"The source, where there is only one."`
	Error       string      `json:"error" doc:"What went wrong with the run as a whole; empty where nothing did."`
	Sources     []RunSource `json:"sources" doc:"Each source of the run."`
	Tables      []RunTable  `json:"tables" doc:"Each table that is known of so far."`
	Progress    RunProgress `json:"progress" doc:"Sums over the tables."`
}

// RunSource is one source of a run.
type RunSource struct {
	Source    string `json:"source" doc:"The source." example:"shop"`
	Status    string `json:"status" doc:"queued, running, publishing, succeeded, partial or failed."`
	Error     string `json:"error" doc:"What went wrong; empty where nothing did."`
	ErrorKind string `json:"error_kind" doc:"The kind of the error; empty for none."`
}

// RunTable is what became of one table in a run, or how far it is.
type RunTable struct {
	TableID      string `json:"table_id" doc:"The id of the table." example:"orders"`
	Source       string `json:"source" doc:"Its source." example:"shop"`
	Table        string `json:"table" doc:"Its name within the source." example:"orders"`
	Outcome      string `json:"outcome" doc:"updated, unchanged, failed, held_back or removed; empty while it is being worked on."`
	Phase        string `json:"phase" doc:"started, reading, writing, publishing or done; empty before."`
	Rows         int64  `json:"rows" doc:"Rows read so far, or in the table."`
	Bytes        int64  `json:"bytes" doc:"Bytes read so far, or of the parts."`
	BytesTotal   int64  `json:"bytes_total" doc:"Bytes expected; 0 where unknown."`
	DurationMS   int64  `json:"duration_ms" doc:"How long the table took."`
	Error        string `json:"error" doc:"What went wrong and what to do; empty where nothing did."`
	ErrorKind    string `json:"error_kind" doc:"The kind of the error; empty for none."`
	RejectedRows int64  `json:"rejected_rows" doc:"Rows set aside in <table>__rejects."`
	// SchemaChanges of a table that failed are those that its contract refused.
	SchemaChanges []SchemaChange `json:"schema_changes" doc:"Columns that are different from the version before."`
}

// SchemaChange is one column that is different from what it was.
type SchemaChange struct {
	Column   string `json:"column" doc:"The name of the column." example:"discount"`
	Change   string `json:"change" doc:"added, removed, retyped, or discarded: a new column that the table's schema contract leaves out." example:"added"`
	FromType string `json:"from_type" doc:"Its type before; empty for a new column." example:""`
	ToType   string `json:"to_type" doc:"Its type now; empty for a column that is gone." example:"DOUBLE"`
}

// TableRun is what became of one table in one run.
type TableRun struct {
	RunID         string         `json:"run_id" doc:"Names the run." example:"01JX3V0G6Q7Z8Y9W2T5R4M1K0N"`
	Reason        string         `json:"reason" doc:"Why it ran: schedule, manual, watch, start or retry." example:"schedule"`
	At            *time.Time     `json:"at" nullable:"true" doc:"When the source was extracted, or asked for where it was not (UTC)."`
	Outcome       string         `json:"outcome" doc:"updated, unchanged, failed, held_back or removed." example:"updated"`
	Rows          int64          `json:"rows" doc:"Rows of the table afterwards."`
	Bytes         int64          `json:"bytes" doc:"Bytes of its parts afterwards."`
	DurationMS    int64          `json:"duration_ms" doc:"How long the table took."`
	PartsWritten  int            `json:"parts_written" doc:"Parts that were written anew."`
	PartsReused   int            `json:"parts_reused" doc:"Parts that stayed."`
	RejectedRows  int64          `json:"rejected_rows" doc:"Rows set aside in <table>__rejects."`
	Error         string         `json:"error" doc:"What went wrong and what to do; empty where nothing did."`
	ErrorKind     string         `json:"error_kind" doc:"The kind of the error; empty for none."`
	SchemaChanges []SchemaChange `json:"schema_changes" doc:"Columns that were different from the version before; of a table that failed, those that its schema contract refused."`
}

// RunProgress sums up a run.
type RunProgress struct {
	TablesDone  int   `json:"tables_done" doc:"Tables with an outcome."`
	TablesTotal int   `json:"tables_total" doc:"Tables of the run; 0 while unknown."`
	Rows        int64 `json:"rows" doc:"Rows so far."`
	Bytes       int64 `json:"bytes" doc:"Bytes so far."`
}

// DiscoveredTable is a proposal for the registry.
type DiscoveredTable struct {
	ID          string           `json:"id" doc:"The id that it has or would get." example:"orders"`
	Name        string           `json:"name" doc:"The name within the source." example:"orders"`
	Bucket      string           `json:"bucket" doc:"The group that the source keeps it in."`
	SourceTable string           `json:"source_table" doc:"What the source calls it." example:"orders.csv"`
	Columns     []catalog.Column `json:"columns" doc:"The columns with their DuckDB types."`
	Rows        int64            `json:"rows" doc:"-1 where unknown."`
	SizeBytes   int64            `json:"size_bytes" doc:"0 where unknown."`
	Registered  bool             `json:"registered" doc:"Whether it is in the registry."`
	Problem     string           `json:"problem" doc:"Why it cannot be extracted as it stands; empty where it can."`
	PrimaryKey  []string         `json:"primary_key" doc:"The columns that make a row unique, where the source says so."`
	Description string           `json:"description" doc:"What it holds."`
	QueryMode   string           `json:"query_mode" doc:"How it would be queried." example:"local"`
}
