package event

import (
	"google.golang.org/protobuf/proto"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// Kind is one kind of event: its name on the bus and the message it carries.
type Kind[M proto.Message] struct {
	name   string // "<noun>.<verb>"
	stream string // where it is stored; empty for events that are not
}

// The events of Agnes; who publishes and who consumes them is in docs/events.md.
var (
	// ExtractRequested is work for the extractor of a source's type, which is the key.
	ExtractRequested = Kind[*agnesv1.ExtractRequested]{"extract.requested", streamRequests}
	// ExtractProgress is not stored: who does not listen misses it.
	ExtractProgress = Kind[*agnesv1.ExtractProgress]{"extract.progress", ""}
	// ExtractReady says that a new version of the source stands on disk.
	ExtractReady = Kind[*agnesv1.ExtractReady]{"extract.ready", streamEvents}
	// ExtractFailed says that a whole run failed.
	ExtractFailed = Kind[*agnesv1.ExtractFailed]{"extract.failed", streamEvents}
	// AnalyticsPublished says that the catalog of the source has a new generation.
	AnalyticsPublished = Kind[*agnesv1.AnalyticsPublished]{"analytics.published", streamEvents}
	// TableProfiled carries the profile of one table.
	TableProfiled = Kind[*agnesv1.TableProfiled]{"table.profiled", streamEvents}
	// RegistryChanged asks everybody who caches the registry to read it again.
	RegistryChanged = Kind[*agnesv1.RegistryChanged]{"registry.changed", streamEvents}
	// NotificationRaised is a message for one user or for all.
	NotificationRaised = Kind[*agnesv1.NotificationRaised]{"notification.raised", streamEvents}
	// JiraReceived is one verified webhook. It cannot be fetched again: a stream of its own.
	JiraReceived = Kind[*agnesv1.JiraReceived]{"jira.received", streamJira}
	// AuditRecorded is one line of who did what. It cannot be fetched again: a stream of its own.
	AuditRecorded = Kind[*agnesv1.AuditRecorded]{"audit.recorded", streamAudit}
)

// Method is one request of the bus: its name, its request and its response.
type Method[Req, Resp proto.Message] struct {
	name string // "<noun>.<verb>", or "<verb>" for a method that is served per target
}

// The requests of Agnes.
var (
	// ListRegistry asks the api for the registered tables.
	ListRegistry = Method[*agnesv1.ListRegistryRequest, *agnesv1.ListRegistryResponse]{"registry.list"}
	// RegisterTables asks the api to register what a connector discovered.
	RegisterTables = Method[*agnesv1.RegisterTablesRequest, *agnesv1.RegisterTablesResponse]{"registry.register"}
	// CheckToken asks the api who a credential belongs to.
	CheckToken = Method[*agnesv1.CheckTokenRequest, *agnesv1.CheckTokenResponse]{"token.check"}
	// CheckAccess asks the api who a credential belongs to, and which tables they can read.
	CheckAccess = Method[*agnesv1.CheckAccessRequest, *agnesv1.CheckAccessResponse]{"access.check"}
	// LinkChat asks the api to link a chat by its one-time code.
	LinkChat = Method[*agnesv1.LinkChatRequest, *agnesv1.LinkChatResponse]{"chat.link"}
)

// Discover asks the extractor that owns the source what is there.
func Discover(source string) Method[*agnesv1.DiscoverRequest, *agnesv1.DiscoverResponse] {
	return Method[*agnesv1.DiscoverRequest, *agnesv1.DiscoverResponse]{"discover." + Token(source)}
}

// TestSource asks the extractor of a source whether the source can be used.
func TestSource(source string) Method[*agnesv1.TestSourceRequest, *agnesv1.TestSourceResponse] {
	return Method[*agnesv1.TestSourceRequest, *agnesv1.TestSourceResponse]{"test." + Token(source)}
}

// PreviewTable asks the extractor of a source for the first rows of a table.
func PreviewTable(source string) Method[*agnesv1.PreviewTableRequest, *agnesv1.PreviewTableResponse] {
	return Method[*agnesv1.PreviewTableRequest, *agnesv1.PreviewTableResponse]{"preview." + Token(source)}
}

// PushMetadata asks the extractor of a source to write what is known of columns to the source.
func PushMetadata(source string) Method[*agnesv1.PushMetadataRequest, *agnesv1.PushMetadataResponse] {
	return Method[*agnesv1.PushMetadataRequest, *agnesv1.PushMetadataResponse]{"push-metadata." + Token(source)}
}

// What the extractor of a site of Jira answers; the source is that site.

// JiraStatus asks how a site is.
func JiraStatus(source string) Method[*agnesv1.JiraStatusRequest, *agnesv1.JiraStatusResponse] {
	return Method[*agnesv1.JiraStatusRequest, *agnesv1.JiraStatusResponse]{"jira.status." + Token(source)}
}

// JiraTask asks for a long task.
func JiraTask(source string) Method[*agnesv1.JiraTaskRequest, *agnesv1.JiraTaskResponse] {
	return Method[*agnesv1.JiraTaskRequest, *agnesv1.JiraTaskResponse]{"jira.task." + Token(source)}
}

// JiraSetAside asks for what could not be taken in.
func JiraSetAside(source string) Method[*agnesv1.JiraSetAsideRequest, *agnesv1.JiraSetAsideResponse] {
	return Method[*agnesv1.JiraSetAsideRequest, *agnesv1.JiraSetAsideResponse]{"jira.set-aside." + Token(source)}
}

// JiraFields asks which fields a site has.
func JiraFields(source string) Method[*agnesv1.JiraFieldsRequest, *agnesv1.JiraFieldsResponse] {
	return Method[*agnesv1.JiraFieldsRequest, *agnesv1.JiraFieldsResponse]{"jira.fields." + Token(source)}
}

// Name is the kind's stable name, such as "extract.ready".
func (k Kind[M]) Name() string { return k.name }

// Stored tells whether events of this kind are kept in a stream, so that a consumer that was away
// gets them later.
func (k Kind[M]) Stored() bool { return k.stream != "" }

// newMessage makes an empty message of a generated type.
func newMessage[M proto.Message]() M {
	var zero M
	return zero.ProtoReflect().New().Interface().(M)
}
