package jiratest

import (
	"bytes"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// file finds an attachment and its content. That of generated ones is made out of the id.
func (s *Site) file(id string) (attachment, []byte, bool) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return attachment{}, nil, false
	}
	var owners []*issue
	if n < firstSeq {
		if is := s.at(n / 1000); is != nil {
			owners = append(owners, is)
		}
	} else if _, ok := s.blobs[n]; ok {
		for _, is := range s.issues {
			owners = append(owners, is)
		}
	}
	for _, is := range owners {
		for _, a := range is.attachments {
			if a.id != n || is.hidden {
				continue
			}
			if blob, ok := s.blobs[n]; ok {
				return a, blob, true
			}
			return a, bytes.Repeat([]byte("attachment "+id+"\n"), int(a.size)/12+1)[:a.size], true
		}
	}
	return attachment{}, nil, false
}

func (s *Site) getAttachment(w http.ResponseWriter, r *http.Request, who account) {
	s.mu.Lock()
	a, _, ok := s.file(r.PathValue("id"))
	var b buf
	if ok {
		s.attachment(&b, &a, &listView)
	}
	s.mu.Unlock()
	if !ok || !who.known {
		refusal(w, http.StatusNotFound, "The attachment with id '%s' does not exist", r.PathValue("id"))
		return
	}
	answer(w, http.StatusOK, b)
}

// getContent redirects to the media host, with a token of its own in the URL, or answers the content
// where redirect=false.
func (s *Site) getContent(w http.ResponseWriter, r *http.Request, who account) {
	id := r.PathValue("id")
	s.mu.Lock()
	a, content, ok := s.file(id)
	s.mu.Unlock()
	if !ok || !who.known {
		refusal(w, http.StatusNotFound, "The attachment with id '%s' does not exist", id)
		return
	}
	if r.URL.Query().Get("redirect") == "false" {
		serveBlob(w, r, a, content)
		return
	}
	w.Header().Set("Location", s.MediaURL+"/file/"+id+"/binary?client=agnes&name=x&token="+mediaToken(id))
	w.WriteHeader(http.StatusSeeOther)
}

func mediaToken(id string) string { return hex.EncodeToString([]byte("media-token-" + id)) }

// serveMedia is the media host: it knows its own tokens alone.
func (s *Site) serveMedia(w http.ResponseWriter, r *http.Request) {
	s.faulty(RouteMedia, func(w http.ResponseWriter, r *http.Request) {
		id := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/file/"), "/binary")
		if r.URL.Query().Get("token") != mediaToken(id) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		s.mu.Lock()
		a, content, ok := s.file(id)
		s.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		serveBlob(w, r, a, content)
	})(w, r)
}

func serveBlob(w http.ResponseWriter, r *http.Request, a attachment, content []byte) {
	w.Header().Set("Content-Type", a.mime)
	w.Header().Set("Content-Disposition", "attachment; filename*=UTF-8''"+a.filename)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
