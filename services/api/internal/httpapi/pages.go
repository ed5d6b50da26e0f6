package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed pages
var pageFiles embed.FS

// document is a page or file that is the same for everybody.
type document struct {
	mediaType, etag string
	body            []byte
}

type pages map[string]document // by path

func newDocument(mediaType string, body []byte) document {
	sum := sha256.Sum256(body)
	return document{mediaType: mediaType, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, body: body}
}

// ServeHTTP sends the document, or says that the client has it.
func (d document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", d.mediaType)
	h.Set("ETag", d.etag)
	h.Set("Cache-Control", "no-cache")
	if strings.Contains(r.Header.Get("If-None-Match"), strings.Trim(d.etag, `"`)) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(d.body)
}

// paths of the documents; the bodies are made once all routes are known.
var pagePaths = []string{"/docs", "/openapi.json", "/openapi.yaml", "/static/style.css", "/static/docs.js", "/static/icon.svg"}

// renderPages makes every page and the OpenAPI document.
func (s *Server) renderPages() error {
	s.describe()
	var err error
	if s.templates, err = parsePages(); err != nil {
		return err
	}
	s.page = pages{}
	for path, file := range map[string]struct{ name, mediaType string }{
		"/docs":             {"docs.html", "text/html; charset=utf-8"},
		"/static/style.css": {"style.css", "text/css; charset=utf-8"},
		"/static/docs.js":   {"docs.js", "text/javascript; charset=utf-8"},
		"/static/icon.svg":  {"icon.svg", "image/svg+xml"},
	} {
		body, err := pageFiles.ReadFile("pages/" + file.name)
		if err != nil {
			return fmt.Errorf("page %s: %w", path, err)
		}
		s.page[path] = newDocument(file.mediaType, body)
	}
	spec, err := s.api.OpenAPI().MarshalJSON()
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, spec, "", "  "); err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	s.page["/openapi.json"] = newDocument("application/json", indented.Bytes())
	yaml, err := s.api.OpenAPI().YAML()
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	s.page["/openapi.yaml"] = newDocument("application/yaml", yaml)
	return s.renderLanding()
}

// renderLanding makes the start page as strangers see it. It shows the installation's name, which can
// change while the server runs.
func (s *Server) renderLanding() error {
	t, err := template.ParseFS(pageFiles, "pages/index.html")
	if err != nil {
		return fmt.Errorf("start page: %w", err)
	}
	body, err := s.landingFor(t, "")
	if err != nil {
		return err
	}
	page := newDocument("text/html; charset=utf-8", body)
	s.start.Store(t)
	s.landing.Store(&page)
	return nil
}

// landingFor makes the start page as a user sees it, who is named by their e-mail address.
func (s *Server) landingFor(t *template.Template, who string) ([]byte, error) {
	var body bytes.Buffer
	err := t.Execute(&body, map[string]string{"Name": s.instance().Name, "Server": s.publicURL, "Version": s.build.Version, "Who": who})
	if err != nil {
		return nil, fmt.Errorf("start page: %w", err)
	}
	return body.Bytes(), nil
}

// startPage greets those who are signed in, and shows everybody else the same document.
func (s *Server) startPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Cookie, Authorization")
	c, in := s.known(r)
	if !in {
		s.landing.Load().ServeHTTP(w, r)
		return
	}
	body, err := s.landingFor(s.start.Load(), c.Email)
	if err != nil {
		writeProblem(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body) // the client may have left
}

// strayed tells whether a person with a browser is lost: they ask for a page that is none. Programs that ask
// for what is not there get a problem, also where they take pages.
func strayed(r *http.Request) bool {
	if (r.Method != http.MethodGet && r.Method != http.MethodHead) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return !slices.Contains([]string{"api", "auth", "webhooks", "ws", "static"}, first)
}

// moved are the pages of the predecessor that people have bookmarked, and where they are now.
var moved = map[string]string{"/tokens": accountPath + "#tokens", "/profile": accountPath, "/dashboard": "/"}

// pageRoutes serves the documents.
func (s *Server) pageRoutes() {
	s.raw(Public, "/", http.HandlerFunc(s.startPage))
	for from, to := range moved {
		s.pageRoute(door{gate: Public}, from, func(context.Context, form) (reply, error) { return reply{to: to}, nil })
	}
	for _, path := range pagePaths {
		s.raw(Public, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.page[path].ServeHTTP(w, r)
		}))
	}
}

func wrapHandler(h http.Handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		h.ServeHTTP(c.Response(), c.Request())
		return nil
	}
}
