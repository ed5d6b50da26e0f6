package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	uploadPath = "/api/upload/"
	// formOverhead is what a form may hold beside its file.
	formOverhead = 64 << 10
	// uploadTime bounds a whole upload, however steadily it trickles.
	uploadTime = time.Hour
)

// bodyLimit is the longest body that a request may have.
func (s *Server) bodyLimit(r *http.Request) int64 {
	if s.uploads != nil && (r.URL.Path == uploadPath+"sessions" || r.URL.Path == uploadPath+"artifacts") {
		return s.uploads.MaxBytes() + formOverhead
	}
	return s.limits.MaxBody
}

// tooLong refuses a body by the length that it announces, before anything of it is read.
func (s *Server) tooLong(r *http.Request) error {
	most := s.bodyLimit(r)
	if r.ContentLength <= most || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if most != s.limits.MaxBody {
		return fault.New(fault.TooLarge, "the file is larger than %d MiB, the most that is taken: split it, or compress it", s.uploads.MaxBytes()>>20)
	}
	return fault.New(fault.TooLarge, "the request body is longer than %d bytes", most)
}

// uploadQuestion takes hold of the body, which huma would read into memory.
type uploadQuestion struct {
	context huma.Context
}

// Resolve keeps the request for the handler.
func (q *uploadQuestion) Resolve(ctx huma.Context) []error {
	q.context = ctx
	return nil
}

// Uploaded confirms an upload.
type Uploaded struct {
	Status   string `json:"status" doc:"Always ok." example:"ok"`
	Filename string `json:"filename" doc:"The name that it is kept under." example:"2026-01-02.jsonl"`
	Size     int64  `json:"size" doc:"Bytes." example:"1024"`
	SHA256   string `json:"sha256" doc:"The SHA-256 (hex) of its bytes."`
}

type uploadedAnswer struct{ Body Uploaded }

type notesQuestion struct {
	Body struct {
		Content string `json:"content" doc:"The text, in Markdown." example:"# Notes"`
	}
}

// NotesKept confirms that notes are kept.
type NotesKept struct {
	Status string `json:"status" doc:"Always ok." example:"ok"`
	User   string `json:"user" doc:"The e-mail address of their user." example:"ann@example.com"`
	Size   int    `json:"size" doc:"Characters." example:"1024"`
}

type notesAnswer struct{ Body NotesKept }

// UploadList is what a user sent, and how much room is left.
type UploadList struct {
	Uploads []Upload `json:"uploads" doc:"By kind and name."`
	Quota   Quota    `json:"quota" doc:"What they take."`
}

type uploadsAnswer struct{ Body UploadList }

type uploadsOfQuestion struct {
	UserID string `path:"user_id" maxLength:"128" doc:"The id of the user." example:"0d0f3c1e-8a54-4cc2-9f0e-2f4a8e1c5b10"`
}

type oneUploadQuestion struct {
	Kind     string `path:"kind" enum:"sessions,artifacts,local-md" doc:"What it is." example:"sessions"`
	Filename string `path:"filename" maxLength:"255" doc:"The name that it is kept under." example:"2026-01-02.jsonl"`
}

func (s *Server) uploadRoutes() {
	const again = "A file of the same name takes the place of the one before. The name is reduced to one that is safe; the answer has it. What does not arrive whole leaves nothing."
	for kind, what := range map[string]string{"sessions": "a session", "artifacts": "an artifact"} {
		add(s, User, op{
			method: http.MethodPost, path: uploadPath + kind, id: "upload" + strings.ToUpper(kind[:1]) + kind[1:], scope: ScopeSync, audit: "upload.create", limit: LimitUpload,
			tag: tagUploads, summary: "Upload " + what, text: "One file in a form (multipart/form-data), in the field `file`. It is written to disk while it arrives. " + again,
			errors: []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity},
		}, func(ctx context.Context, in *uploadQuestion) (*uploadedAnswer, error) { return s.upload(ctx, kind, in) })
		describeForm(s.api.OpenAPI().Paths[uploadPath+kind].Post)
	}
	add(s, User, op{
		method: http.MethodPost, path: uploadPath + "local-md", id: "uploadLocalMd", scope: ScopeSync, audit: "upload.create", limit: LimitUpload,
		tag: tagUploads, summary: "Upload notes", text: "The user's own notes for assistants: one text per user. " + again,
	}, s.uploadNotes)
	add(s, User, op{
		method: http.MethodGet, path: "/api/uploads", id: "listUploads", scope: ScopeSync, tag: tagUploads, summary: "List my uploads",
		text: "What the caller sent, and how much of their quota it takes.", errors: []int{http.StatusNotFound},
	}, s.listUploads)
	add(s, User, op{
		method: http.MethodGet, path: "/api/uploads/{kind}/{filename}", id: "getUpload", scope: ScopeSync, audit: "upload.download", tag: tagUploads, summary: "Fetch an upload back",
		text: "The bytes as they were sent, to be saved and never shown.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity}, more: describeUpload,
	}, s.getUpload)
	add(s, User, op{
		method: http.MethodDelete, path: "/api/uploads/{kind}/{filename}", id: "deleteUpload", scope: ScopeSync, audit: "upload.delete", tag: tagUploads, summary: "Delete an upload",
		text: "It is gone at once and for good.", status: http.StatusNoContent, errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.deleteUpload)
	add(s, Admin, op{
		method: http.MethodGet, path: "/api/admin/uploads/{user_id}", id: "listUploadsOf", tag: tagUploads, summary: "List a user's uploads",
		text: "What a user sent, and how much of their quota it takes.", errors: []int{http.StatusNotFound, http.StatusUnprocessableEntity},
	}, s.listUploadsOf)
}

// describeForm writes the form into the document once the route stands: huma reads the body of a route
// that has one when it is registered.
func describeForm(o *huma.Operation) {
	o.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
		Type: huma.TypeObject, Required: []string{"file"},
		Properties: map[string]*huma.Schema{"file": {Type: huma.TypeString, Format: "binary", Description: "The file, with its name."}},
	}}}}
}

func describeUpload(o *huma.Operation) {
	o.Responses["200"] = &huma.Response{
		Description: "The file.",
		Headers: map[string]*huma.Param{
			"Content-Disposition": {Description: "attachment, with the name.", Schema: &huma.Schema{Type: huma.TypeString}},
			"Content-Length":      {Description: "Bytes.", Schema: &huma.Schema{Type: huma.TypeInteger}},
		},
		Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "The bytes."}}},
	}
}

func (s *Server) upload(ctx context.Context, kind string, in *uploadQuestion) (*uploadedAnswer, error) {
	w, r := echoOf(in.context)
	body := &patient{body: r.Body, control: http.NewResponseController(w), pause: s.limits.BodyTimeout, end: time.Now().Add(uploadTime)}
	answer, err := s.take(ctx, kind, r, body)
	if err != nil {
		// Many clients read an answer only when they have sent everything: a connection that is closed
		// before would tell them nothing. The body is no longer than what is taken.
		if !body.broken {
			_, _ = io.Copy(io.Discard, body)
		}
		return nil, err
	}
	body.lift()
	return answer, nil
}

// take stores the file of a form.
func (s *Server) take(ctx context.Context, kind string, r *http.Request, body io.Reader) (*uploadedAnswer, error) {
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return nil, fault.New(fault.Invalid, "send the file as multipart/form-data, in the field file")
	}
	form := multipart.NewReader(body, params["boundary"])
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			p := newProblem(fault.New(fault.Invalid, "validation failed: body.file: expected a file"))
			p.Status, p.Title = http.StatusUnprocessableEntity, titleOf(http.StatusUnprocessableEntity)
			p.Errors = []ProblemField{{Location: "body.file", Message: "expected a file"}}
			return nil, p
		}
		if err != nil {
			return nil, unread(err)
		}
		if part.FormName() != "file" {
			continue
		}
		u, err := s.uploads.Save(ctx, callerOf(ctx), kind, part.FileName(), &onlyFile{form: form, part: part})
		if err != nil {
			return nil, unread(err)
		}
		noteUpload(ctx, u)
		return &uploadedAnswer{Body: Uploaded{Status: ResultOK, Filename: u.Filename, Size: u.Size, SHA256: u.SHA256}}, nil
	}
}

func noteUpload(ctx context.Context, u Upload) {
	noteResource(ctx, "upload", u.Kind+"/"+u.Filename)
	noteParam(ctx, "bytes", u.Size)
	noteParam(ctx, "sha256", u.SHA256)
}

// unread says why a form could not be read to its end.
func unread(err error) error {
	var known *fault.Error
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &known), errors.As(err, &tooLong), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStalled("the upload stalled and was given up: nothing was stored; send it again")
	case errors.Is(err, io.ErrUnexpectedEOF), strings.HasPrefix(err.Error(), "multipart:"), strings.HasPrefix(err.Error(), "mime:"), strings.HasPrefix(err.Error(), "malformed MIME"):
		return fault.Wrap(err, fault.Invalid, "the form is malformed, or was cut before its end: nothing was stored; send it again")
	}
	return err
}

// onlyFile reads a file of a form, and ends only where the form ends behind it.
type onlyFile struct {
	form *multipart.Reader
	part *multipart.Part
}

// Read gives the bytes of the file.
func (l *onlyFile) Read(p []byte) (int, error) {
	n, err := l.part.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	for {
		next, err := l.form.NextPart()
		if err != nil {
			return n, err // io.EOF at the end of the form
		}
		if next.FormName() == "file" {
			return n, fault.New(fault.Invalid, "send one file at a time")
		}
	}
}

// patient is a body whose client may take its time as long as bytes arrive: each read has a deadline of
// its own.
type patient struct {
	body    io.Reader
	control *http.ResponseController
	pause   time.Duration
	end     time.Time
	broken  bool // nothing more comes
}

// Read waits for bytes for at most the pause.
func (p *patient) Read(b []byte) (int, error) {
	deadline := time.Now().Add(p.pause)
	if deadline.After(p.end) {
		deadline = p.end
	}
	if err := p.control.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := p.body.Read(b)
	p.broken = p.broken || err != nil
	return n, err
}

// lift takes the deadline away, for what comes next on the connection.
func (p *patient) lift() { _ = p.control.SetReadDeadline(time.Time{}) }

func (s *Server) uploadNotes(ctx context.Context, in *notesQuestion) (*notesAnswer, error) {
	c := callerOf(ctx)
	u, err := s.uploads.Save(ctx, c, "local-md", "", strings.NewReader(in.Body.Content))
	if err != nil {
		return nil, err
	}
	noteUpload(ctx, u)
	return &notesAnswer{Body: NotesKept{Status: ResultOK, User: c.Email, Size: utf8.RuneCountInString(in.Body.Content)}}, nil
}

func (s *Server) listUploads(ctx context.Context, _ *none) (*uploadsAnswer, error) {
	return s.uploadsOf(ctx, callerOf(ctx).UserID)
}

func (s *Server) listUploadsOf(ctx context.Context, in *uploadsOfQuestion) (*uploadsAnswer, error) {
	return s.uploadsOf(ctx, in.UserID)
}

func (s *Server) uploadsOf(ctx context.Context, userID string) (*uploadsAnswer, error) {
	list, quota, err := s.uploads.List(ctx, userID)
	return &uploadsAnswer{Body: UploadList{Uploads: orEmpty(list), Quota: quota}}, err
}

func (s *Server) getUpload(ctx context.Context, in *oneUploadQuestion) (*streamed, error) {
	noteResource(ctx, "upload", in.Kind+"/"+in.Filename)
	f, u, err := s.uploads.Open(ctx, callerOf(ctx).UserID, in.Kind, in.Filename)
	if err != nil {
		return nil, err
	}
	noteUpload(ctx, u)
	return &streamed{Body: func(hc huma.Context) {
		defer func() { _ = f.Close() }()
		w, r := echoOf(hc)
		s.handOut(w, r, func(w http.ResponseWriter) error {
			h := w.Header()
			h.Set("Content-Type", "application/octet-stream")
			h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": u.Filename}))
			h.Set("Content-Length", strconv.FormatInt(u.Size, 10))
			w.WriteHeader(http.StatusOK)
			_, err := io.CopyN(w, f, u.Size)
			return err
		})
	}}, nil
}

func (s *Server) deleteUpload(ctx context.Context, in *oneUploadQuestion) (*none, error) {
	noteResource(ctx, "upload", in.Kind+"/"+in.Filename)
	return nil, s.uploads.Delete(ctx, callerOf(ctx).UserID, in.Kind, in.Filename)
}
