package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// maxForm bounds what a form of a page may send, in bytes.
const maxForm = 64 << 10

// form is what came with a request for a page: the fields of its body, or of its query where it only
// looks.
type form struct {
	url.Values
	request *http.Request
	from    From
}

// email is the field of that name as it was typed, without the space around it.
func (f form) email() string { return strings.TrimSpace(f.Get("email")) }

// next is the page to go to afterwards.
func (f form) next() string { return safeNext(f.Get("next")) }

// reply is the answer to a page's request: where to send the browser, or what to show it.
type reply struct {
	to      string // a path of this server, by 303
	cookies []*http.Cookie

	page, title string // a template of pages/, and what to write above it
	notice      string // good news
	problem     string // bad news
	data        any
}

func (r reply) empty() bool { return r.to == "" && r.page == "" }

// saying gives the reply with the words of an error, which becomes its status too.
func (r reply) saying(err error) (reply, error) {
	r.problem = sentence(err)
	return r, err
}

// sentence writes the message of an error as a sentence of a page.
func sentence(err error) string {
	message := fault.Message(err)
	var p *Problem
	if errors.As(err, &p) {
		message = p.Detail
	}
	text := []rune(message)
	if len(text) == 0 {
		return ""
	}
	return strings.ToUpper(string(text[:1])) + strings.TrimRight(string(text[1:]), ".") + "."
}

// pageHandler answers a page's request. A reply beside an error is shown with the error's status.
type pageHandler func(ctx context.Context, f form) (reply, error)

// pageRoute registers a page to look at. Looking changes nothing, neither by GET nor by HEAD.
func (s *Server) pageRoute(d door, path string, h pageHandler) {
	d.html = true
	s.rawDoor(d, http.MethodGet, path, s.showing(h))
	s.rawDoor(d, http.MethodHead, path, s.showing(h))
}

// formRoute registers what a form of a page is sent to.
func (s *Server) formRoute(d door, path string, h pageHandler) {
	d.html, d.form = true, true
	s.rawDoor(d, http.MethodPost, path, s.showing(h))
}

func (s *Server) showing(h pageHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var out reply
		f, err := s.readForm(w, r)
		if err == nil {
			out, err = h(r.Context(), f)
		}
		told := s.recorded(r.Context(), err)
		if told != nil && (out.empty() || err == nil) {
			s.writeFailure(w, r, told)
			return
		}
		s.send(w, r, out, told)
	})
}

// readForm reads the fields of a request, of which there cannot be much.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request) (form, error) {
	f := form{Values: r.URL.Query(), request: r, from: From{IP: infoOf(r.Context()).remote, UserAgent: r.UserAgent()}}
	if r.Method != http.MethodPost {
		return f, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return f, fault.New(fault.Invalid, "this takes what a form of a page sends (application/x-www-form-urlencoded)")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	f.Values = r.PostForm
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return f, fault.New(fault.TooLarge, "the form is longer than %d bytes", tooLong.Limit)
	}
	if err != nil {
		return f, fault.Wrap(err, fault.Invalid, "the form cannot be read: send it again")
	}
	return f, nil
}

// shown is what every template gets.
type shown struct {
	Name, Title, Who string
	Notice, Problem  string
	Page             any
}

// send answers with a reply. err is what went wrong, where the reply says so.
func (s *Server) send(w http.ResponseWriter, r *http.Request, out reply, err error) {
	for _, c := range out.cookies {
		http.SetCookie(w, c)
	}
	status := http.StatusOK
	if err != nil {
		p := problemOf(r.Context(), err)
		note(r.Context(), p, err)
		status = p.Status
		if after := p.GetHeaders().Get("Retry-After"); after != "" {
			w.Header().Set("Retry-After", after)
		}
	}
	if out.to != "" {
		w.Header().Set("Location", out.to)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	var body bytes.Buffer
	page := shown{Name: s.instance().Name, Title: out.title, Who: infoOf(r.Context()).caller.Email, Notice: out.notice, Problem: out.problem, Page: out.data}
	if err := s.templates[out.page].ExecuteTemplate(&body, "layout", page); err != nil {
		writeProblem(w, r, fmt.Errorf("page %s: %w", out.page, err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body.Bytes()); err != nil {
		zerolog.Ctx(r.Context()).Debug().Err(err).Msg("a page could not be sent; the client left")
	}
}

// writeFailure answers a page's request with an error, as a page.
func (s *Server) writeFailure(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(r.Context(), err)
	s.send(w, r, reply{page: "error", title: p.Title, problem: sentence(p), data: p}, p)
}

// pageNames are the templates of pages/ that are shown with the layout.
var pageNames = []string{"account", "device", "email", "error", "login", "new-password", "notice", "password", "verify"}

// parsePages reads the templates.
func parsePages() (map[string]*template.Template, error) {
	parsed := map[string]*template.Template{}
	for _, name := range pageNames {
		t, err := template.New(name).Funcs(pageFuncs).ParseFS(pageFiles, "pages/layout.html", "pages/fields.html", "pages/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("page %s: %w", name, err)
		}
		parsed[name] = t
	}
	return parsed, nil
}

var pageFuncs = template.FuncMap{
	"when": func(t *time.Time) string {
		if t == nil || t.IsZero() {
			return "never"
		}
		return t.UTC().Format("2 Jan 2006, 15:04 UTC")
	},
	"moment": func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
}

// safeNext gives a path of this server to go to, or "/" for anything that could lead elsewhere.
func safeNext(next string) string {
	const longest = 2000
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || len(next) > longest {
		return "/"
	}
	if strings.ContainsFunc(next, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }) {
		return "/" // browsers drop some of these, and read a backslash as a slash
	}
	if u, err := url.Parse(next); err != nil || u.IsAbs() || u.Host != "" || u.User != nil {
		return "/"
	}
	return next
}

// withNext adds the page to go to afterwards to the path of another page.
func withNext(path, next string) string {
	if next = safeNext(next); next == "/" {
		return path
	}
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	return path + mark + "next=" + url.QueryEscape(next)
}

// sessionCookie gives a browser its session.
func (s *Server) sessionCookie(session Session) *http.Cookie {
	c := s.cookie(SessionCookie, session.AccessToken, "/")
	c.MaxAge = max(1, int(time.Until(session.ExpiresAt).Seconds()))
	return c
}

// noCookie takes a cookie away.
func (s *Server) noCookie(name, path string) *http.Cookie {
	c := s.cookie(name, "", path)
	c.MaxAge = -1
	return c
}

func (s *Server) cookie(name, value, path string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: path, HttpOnly: true, Secure: s.https(), SameSite: http.SameSiteLaxMode}
}

// https tells whether people reach this installation by https alone.
func (s *Server) https() bool { return strings.HasPrefix(s.publicURL, "https://") }

// signedIn sends a browser on with its new session.
func (s *Server) signedIn(ctx context.Context, session Session, next string) reply {
	noteSession(ctx, session)
	return reply{to: safeNext(next), cookies: []*http.Cookie{s.sessionCookie(session)}}
}

// noteSession records who signed in.
func noteSession(ctx context.Context, session Session) {
	noteResource(ctx, "user", session.UserID)
	noteActor(ctx, Caller{UserID: session.UserID, Email: session.Email, Role: session.Role, Credential: credentialSession})
}

// noteTried records the address that somebody tries to sign in with, or asks a link for.
func noteTried(ctx context.Context, email string) {
	noteParam(ctx, "email", clip(strings.TrimSpace(email), 254))
}
