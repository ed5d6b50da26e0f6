package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/download"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// reach finds a table that the caller may read. What is not granted does not exist: the error is the
// same, word for word.
func (s *Server) reach(ctx context.Context, id string) (*published.Snapshot, *published.Table, error) {
	snapshot := s.published.Current()
	grants, err := s.access.Grants(ctx, callerOf(ctx), snapshot)
	if err != nil {
		return nil, nil, err
	}
	if t, ok := snapshot.Lookup(id); ok && grants.Allows(t) {
		return snapshot, t, nil
	}
	noteResource(ctx, "table", id)
	return nil, nil, fault.New(fault.NotFound, "there is no table %q, or it is not granted to you", id)
}

type downloadQuestion struct {
	Table   string `path:"table" maxLength:"400" doc:"The id of the table, as in the manifest." example:"orders"`
	Part    string `query:"part" maxLength:"64" doc:"The SHA-256 of one part, from the manifest. Without it the whole table comes as one file."`
	IfMatch string `header:"If-Match" maxLength:"1000" doc:"The ETag of the one version to get. An older one is sent as long as its files stand."`
}

type streamed struct {
	Body func(huma.Context)
}

func (s *Server) downloadRoutes() {
	get := op{
		method: http.MethodGet, path: "/api/data/{table}/download", id: "download", scope: ScopeSync, audit: "data.download", tag: tagData, summary: "Fetch a table or one of its parts",
		text:   "Parquet, as it was published; a table of several parts is sent as one file unless `part` names one. The ETag is the SHA-256 of the bytes and strong: Range, If-Range, If-None-Match and If-Match work, so a download can resume and a version can be held on to.",
		errors: []int{http.StatusNotModified, http.StatusNotFound, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity},
		more:   describeDownload,
	}
	add(s, User, get, s.download)
	get.method, get.id, get.summary, get.text = http.MethodHead, "downloadHead", "Size and hash of a download", "The headers of the download without its bytes."
	add(s, User, get, s.download)
	file := op{
		method: http.MethodGet, path: "/api/data/{table}/files/{file}", id: "downloadFile", scope: ScopeSync, audit: "data.download", tag: tagData, summary: "Fetch a file that a row is about",
		text:   "Such as an attachment of Jira, by `attachment_id`, where the source keeps their content. It is sent as a download, whatever it is: nothing in it is to be trusted. Range, If-Range, If-None-Match and If-Match work.",
		errors: get.errors, more: describeDownload,
	}
	add(s, User, file, s.downloadFile)
}

type fileQuestion struct {
	Table string `path:"table" maxLength:"400" doc:"The id of the table whose row is about the file." example:"attachments"`
	File  string `path:"file" maxLength:"100" doc:"The id of the file, as the row has it." example:"10001"`
}

// downloadFile hands out a file to whoever may read the table that it belongs to.
func (s *Server) downloadFile(ctx context.Context, in *fileQuestion) (*streamed, error) {
	_, t, err := s.reach(ctx, in.Table)
	if err != nil {
		return nil, err
	}
	noteResource(ctx, "table", t.ID)
	noteParam(ctx, "table", t.Source+"."+t.Name)
	noteParam(ctx, "file", in.File)
	content, err := s.wholes.File(ctx, t.Source, t.Name, in.File)
	if err != nil {
		return nil, err
	}
	noteParam(ctx, "sha256", content.SHA256)
	noteParam(ctx, "size", content.Size)
	return &streamed{Body: func(hc huma.Context) {
		w, r := echoOf(hc)
		s.sendFile(w, r, content)
	}}, nil
}

func describeDownload(o *huma.Operation) {
	header := func(doc string, of string) *huma.Param {
		return &huma.Param{Description: doc, Schema: &huma.Schema{Type: of}}
	}
	headers := map[string]*huma.Param{
		"ETag":                header("The SHA-256 (hex) of the whole file, in quotes.", huma.TypeString),
		"Content-Length":      header("Bytes of this answer.", huma.TypeInteger),
		"Content-Disposition": header("A file name to save it under.", huma.TypeString),
		"Accept-Ranges":       header("Always bytes.", huma.TypeString),
		"X-Content-MD5":       header("The MD5 (hex) of the whole file.", huma.TypeString),
		"Last-Modified":       header("When this content was extracted.", huma.TypeString),
	}
	content := map[string]*huma.MediaType{download.MediaType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "A parquet file."}}}
	partial := map[string]*huma.Param{"Content-Range": header("Which bytes of how many.", huma.TypeString)}
	for name, h := range headers {
		partial[name] = h
	}
	o.Responses["200"] = &huma.Response{Description: "The file.", Headers: headers, Content: content}
	o.Responses["206"] = &huma.Response{Description: "The ranges that were asked for; several come as multipart/byteranges.", Headers: partial, Content: content}
	for _, name := range []string{"Range", "If-Range", "If-None-Match"} {
		o.Parameters = append(o.Parameters, &huma.Param{
			Name: name, In: "header", Description: "As in RFC 9110.", Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
}

func (s *Server) download(ctx context.Context, in *downloadQuestion) (*streamed, error) {
	snapshot, t, err := s.reach(ctx, in.Table)
	if err != nil {
		return nil, err
	}
	if !t.Copied() {
		return nil, fault.New(fault.NotFound, "table %q is asked where it lives and has no files: use /api/query", in.Table)
	}
	content, err := s.contentOf(ctx, snapshot, t, in)
	if err != nil {
		return nil, err
	}
	noteResource(ctx, "table", t.ID)
	noteParam(ctx, "table", t.Source+"."+t.Name)
	noteParam(ctx, "sha256", content.SHA256)
	noteParam(ctx, "size", content.Size)
	if in.Part != "" {
		noteParam(ctx, "part", in.Part)
	}
	return &streamed{Body: func(hc huma.Context) {
		w, r := echoOf(hc)
		s.sendFile(w, r, content)
	}}, nil
}

// sendFile answers with a file of a table.
func (s *Server) sendFile(w http.ResponseWriter, r *http.Request, content download.Content) {
	ctx := r.Context()
	noteParam(ctx, "method", r.Method)
	if asked := r.Header.Get("Range"); asked != "" {
		noteParam(ctx, "range", clip(asked, 200))
	}
	s.handOut(w, r, func(w http.ResponseWriter) error {
		if !download.Holds(r, content) {
			return errVersionGone
		}
		return download.Serve(w, r, content)
	})
}

// handOut lets send answer with a file, and records it before its last byte goes out.
func (s *Server) handOut(w http.ResponseWriter, r *http.Request, send func(http.ResponseWriter) error) {
	ctx := r.Context()
	recorded := false
	out := &withheld{ResponseWriter: w}
	out.last = func() error {
		recorded = true
		noteParam(ctx, "bytes", out.sent)
		noteParam(ctx, "status", out.status)
		return s.recorded(ctx, nil)
	}
	err := send(out)
	switch {
	case recorded:
	case err != nil && out.status == 0:
		writeProblem(w, r, s.recorded(ctx, err))
	case err != nil || out.sent > 0: // more was to come
		noteParam(ctx, "bytes", out.sent)
		_ = s.recorded(ctx, fault.New(fault.Unavailable, "the client left")) // logged there, and nobody is left to tell
	default: // headers only, and these are sent when this returns
		if err := out.last(); err != nil {
			infoOf(ctx).failure = err
			panic(http.ErrAbortHandler)
		}
	}
}

// errVersionGone answers a request for a version that does not stand any more.
var errVersionGone = &Problem{
	Type: problemKind, Title: titleOf(http.StatusPreconditionFailed), Status: http.StatusPreconditionFailed, Kind: fault.Conflict,
	Detail: "the version that the request names is gone; fetch the manifest again",
}

// contentOf finds the bytes that a download asks for: a part, or the whole of the version as it
// stands, or of the older one that If-Match names. Only what the snapshot holds is ever opened.
func (s *Server) contentOf(ctx context.Context, snapshot *published.Snapshot, t *published.Table, in *downloadQuestion) (download.Content, error) {
	if in.Part != "" {
		part, ok := snapshot.Part(t, in.Part)
		if !ok {
			return download.Content{}, fault.New(fault.NotFound, "table %q has no part %q; fetch the manifest again", in.Table, in.Part)
		}
		content, err := s.wholes.Part(ctx, part)
		content.Name, content.Modified = t.Name+"-"+part.SHA256[:min(12, len(part.SHA256))]+".parquet", t.ExtractedAt
		return content, err
	}
	wait, cancel := context.WithTimeout(ctx, s.limits.ManifestWait)
	defer cancel()
	wanted, named := download.Named(in.IfMatch)
	var found download.Content
	for i, version := range snapshot.Versions(t) {
		content, err := s.wholes.Content(wait, version)
		if i == 0 {
			if err != nil {
				return download.Content{}, busyHashing(err)
			}
			content.Name, content.Modified = t.Name+".parquet", version.ExtractedAt
			found = content
			if !named || content.SHA256 == wanted {
				return found, nil
			}
			continue
		}
		if err == nil && content.SHA256 == wanted {
			content.Name, content.Modified = t.Name+".parquet", version.ExtractedAt
			return content, nil
		}
	}
	return found, nil // If-Match fails against it: 412
}
