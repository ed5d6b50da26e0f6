package keboolatest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Region of the files of a project.
const Region = "eu-central-1"

// Store is where a project keeps its files. The plain ones of this package check that every request is
// signed in the way of its cloud; verification puts the clouds' own emulators in their place.
type Store interface {
	// Provider is the word of the API for the cloud: one of the constants.
	Provider() string
	// Put stores an object: content, or the file at path.
	Put(key string, content []byte, path string) error
	// Credentials are the fields of a file's detail with which what begins with key can be read.
	Credentials(key string, until time.Time) map[string]any
	// SignedURL reads one object without credentials.
	SignedURL(key string, until time.Time) string
	// Locator is how a manifest names an object.
	Locator(key string) string
	Close()
}

// What the plain stores are called.
const (
	storeBucket  = "kbc-sapi-files"
	storeAccount = "kbcsapifiles"
)

// plainStore is an HTTP server that holds objects in memory, or on the disk.
type plainStore struct {
	project *Project
	cloud   string
	server  *httptest.Server

	mu      sync.Mutex
	objects map[string]object
	issued  map[string]grant // by access key, or bearer token
	signKey []byte
	serial  int
}

type object struct {
	content []byte
	path    string
}

// grant is what credentials may read, and until when.
type grant struct {
	secret, session, prefix string
	until                   time.Time
}

func newPlainStore(cloud string, p *Project) *plainStore {
	if !slices.Contains([]string{AWS, Azure, GCP}, cloud) {
		misuse("there is no cloud %q", cloud)
	}
	s := &plainStore{project: p, cloud: cloud, objects: map[string]object{}, issued: map[string]grant{}, signKey: []byte("the key of the store")}
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

func (s *plainStore) Provider() string { return s.cloud }

func (s *plainStore) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *plainStore) Put(key string, content []byte, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = object{content, path}
	return nil
}

// root is the path of the bucket, or container.
func (s *plainStore) root() string {
	if s.cloud == Azure {
		return "/" + storeAccount + "/" + storeBucket + "/"
	}
	return "/" + storeBucket + "/"
}

func (s *plainStore) Locator(key string) string {
	switch s.cloud {
	case AWS:
		return "s3://" + storeBucket + "/" + key
	case GCP:
		return "gs://" + storeBucket + "/" + key
	}
	return "azure://" + storeAccount + ".blob.core.windows.net/" + storeBucket + "/" + key
}

func (s *plainStore) Credentials(key string, until time.Time) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	switch s.cloud {
	case AWS:
		access := fmt.Sprintf("ASIAEXAMPLE%05d", s.serial)
		g := grant{secret: "secret/of+" + access, session: "session//of+" + access, prefix: key, until: until}
		s.issued[access] = g
		return map[string]any{
			"s3Path":      map[string]any{"bucket": storeBucket, "key": key},
			"credentials": map[string]any{"AccessKeyId": access, "SecretAccessKey": g.secret, "SessionToken": g.session, "Expiration": until.UTC().Format(time.RFC3339)},
		}
	case GCP:
		bearer := fmt.Sprintf("ya29.example-%05d", s.serial)
		s.issued[bearer] = grant{prefix: key, until: until}
		return map[string]any{
			"gcsPath":        map[string]any{"bucket": storeBucket, "key": key},
			"gcsCredentials": map[string]any{"access_token": bearer, "expires_in": int(time.Until(until).Seconds()), "token_type": "Bearer", "projectId": "example"},
		}
	}
	return map[string]any{
		"absPath": map[string]any{"container": storeBucket, "name": key, "accountName": storeAccount},
		"absCredentials": map[string]any{
			"SASConnectionString": "BlobEndpoint=" + s.server.URL + "/" + storeAccount + ";SharedAccessSignature=" + s.sas(until).Encode(),
			"expiration":          until.UTC().Format(time.RFC3339),
		},
	}
}

// sas are the parameters of a shared access signature for the container.
func (s *plainStore) sas(until time.Time) url.Values {
	v := url.Values{"sv": {"2017-11-09"}, "sr": {"c"}, "sp": {"rl"}, "se": {until.UTC().Format(time.RFC3339)}}
	v.Set("sig", hex.EncodeToString(mac(s.signKey, v.Get("sr")+"\n"+v.Get("sp")+"\n"+v.Get("se"))))
	return v
}

func (s *plainStore) SignedURL(key string, until time.Time) string {
	base := s.server.URL + s.root() + escapePath(key)
	if s.cloud == Azure {
		return base + "?" + s.sas(until).Encode()
	}
	v := url.Values{"X-Expires": {until.UTC().Format(time.RFC3339)}}
	v.Set("X-Signature", hex.EncodeToString(mac(s.signKey, key+"\n"+v.Get("X-Expires"))))
	return base + "?" + v.Encode()
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text))
	return h.Sum(nil)
}

func escapePath(key string) string {
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// serve answers GET of an object, ranges too.
func (s *plainStore) serve(w http.ResponseWriter, r *http.Request) {
	key, found := strings.CutPrefix(r.URL.Path, s.root())
	name := RouteObject
	if strings.HasSuffix(key, "manifest") {
		name = RouteManifest
	}
	fault, leave := s.project.arrive(name, r)
	defer leave()
	w, done := s.project.fails(fault, w, r)
	if done {
		return
	}
	if status, code := s.refused(r, key, fault != nil && fault.Expired); status != 0 {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, code)
		return
	}
	s.mu.Lock()
	o, there := s.objects[key]
	s.mu.Unlock()
	if !found || !there || r.Method != http.MethodGet {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>`)
		return
	}
	w.Header().Set("ETag", `"`+hex.EncodeToString(mac(s.signKey, key))[:32]+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	if o.path == "" {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.content))
		return
	}
	f, err := os.Open(o.path)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer func() { _ = f.Close() }()
	http.ServeContent(w, r, "", time.Time{}, f)
}

// refused tells why a request may not read the object, in the words of the cloud; 0 where it may.
func (s *plainStore) refused(r *http.Request, key string, expired bool) (status int, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	if q.Has("X-Signature") {
		want := hex.EncodeToString(mac(s.signKey, key+"\n"+q.Get("X-Expires")))
		until, err := time.Parse(time.RFC3339, q.Get("X-Expires"))
		switch {
		case r.Header.Get("Authorization") != "":
			return http.StatusBadRequest, "InvalidArgument" // one way to sign, not two
		case err != nil || q.Get("X-Signature") != want:
			return http.StatusForbidden, "SignatureDoesNotMatch"
		case expired || time.Now().After(until):
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	}
	switch s.cloud {
	case AWS:
		return s.refusedAWS(r, key, expired)
	case GCP:
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		g, known := s.issued[token]
		switch {
		case !known || expired || time.Now().After(g.until):
			return http.StatusUnauthorized, "AuthenticationRequired"
		case !strings.HasPrefix(key, g.prefix):
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	}
	want := hex.EncodeToString(mac(s.signKey, q.Get("sr")+"\n"+q.Get("sp")+"\n"+q.Get("se")))
	until, err := time.Parse(time.RFC3339, q.Get("se"))
	if err != nil || q.Get("sig") != want || expired || time.Now().After(until) {
		return http.StatusForbidden, "AuthenticationFailed"
	}
	return 0, ""
}

// refusedAWS checks a request that is signed by AWS Signature Version 4, by its documentation.
func (s *plainStore) refusedAWS(r *http.Request, key string, expired bool) (status int, code string) {
	fields := map[string]string{}
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	for _, f := range strings.Split(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[k] = v
	}
	scope := strings.Split(fields["Credential"], "/")
	if !ok || len(scope) != 5 {
		return http.StatusForbidden, "AccessDenied"
	}
	g, known := s.issued[scope[0]]
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	switch {
	case !known:
		return http.StatusForbidden, "InvalidAccessKeyId"
	case expired || time.Now().After(g.until):
		return http.StatusBadRequest, "ExpiredToken"
	case r.Header.Get("X-Amz-Security-Token") != g.session:
		return http.StatusBadRequest, "InvalidToken"
	case err != nil || time.Since(at).Abs() > 15*time.Minute || !strings.HasPrefix(date, scope[1]):
		return http.StatusForbidden, "RequestTimeTooSkewed"
	case scope[2] != Region || scope[3] != "s3" || scope[4] != "aws4_request":
		return http.StatusBadRequest, "AuthorizationHeaderMalformed"
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	if !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-security-token") {
		return http.StatusForbidden, "AccessDenied"
	}
	var headers strings.Builder
	for _, h := range signed {
		v := strings.Join(r.Header.Values(h), ",")
		if h == "host" {
			v = r.Host
		}
		headers.WriteString(h + ":" + strings.TrimSpace(v) + "\n")
	}
	query := strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20")
	canonical := strings.Join([]string{r.Method, r.URL.EscapedPath(), query, headers.String(), fields["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256")}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", date, strings.Join(scope[1:], "/"), hex.EncodeToString(sum[:])}, "\n")
	sign := []byte("AWS4" + g.secret)
	for _, part := range scope[1:] {
		sign = mac(sign, part)
	}
	if hex.EncodeToString(mac(sign, text)) != fields["Signature"] {
		return http.StatusForbidden, "SignatureDoesNotMatch"
	}
	if !strings.HasPrefix(key, g.prefix) {
		return http.StatusForbidden, "AccessDenied"
	}
	return 0, ""
}
