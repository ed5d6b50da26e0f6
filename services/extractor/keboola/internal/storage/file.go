package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Clouds, as the API calls them.
const (
	providerAWS   = "aws"
	providerAzure = "azure"
	providerGCP   = "gcp"
)

// maxManifest bounds a manifest, in bytes: some 100,000 slices.
const maxManifest = 32 << 20

// File is an exported file: one object, or slices of it.
type File struct {
	// Sliced files have no line that names the columns; whole ones begin with it.
	Sliced bool
	// Size is what the objects have together, in bytes, as they travel; 0 where it is not known.
	Size int64

	c    *Client
	id   string
	what string

	mu         sync.Mutex
	detail     fileDetail
	generation int // of the credentials
}

// fileDetail is what the API says of a file, with the credentials to read it.
type fileDetail struct {
	Provider string `json:"provider"`
	Region   string `json:"region"`
	URL      string `json:"url"`
	Sliced   bool   `json:"isSliced"`
	Size     int64  `json:"sizeBytes"`

	S3Path struct {
		Bucket string `json:"bucket"`
		Key    string `json:"key"`
	} `json:"s3Path"`
	S3 struct {
		AccessKey string `json:"AccessKeyId"`
		SecretKey string `json:"SecretAccessKey"`
		Session   string `json:"SessionToken"`
	} `json:"credentials"`

	AzurePath struct {
		Container string `json:"container"`
		Name      string `json:"name"`
	} `json:"absPath"`
	Azure struct {
		Connection string `json:"SASConnectionString"`
	} `json:"absCredentials"`

	GCSPath struct {
		Bucket string `json:"bucket"`
		Key    string `json:"key"`
	} `json:"gcsPath"`
	GCS struct {
		Token string `json:"access_token"`
	} `json:"gcsCredentials"`
}

// file asks for a file and the credentials to read it.
func (c *Client) file(ctx context.Context, id, what string) (*File, error) {
	f := &File{c: c, id: id, what: what}
	if err := f.refresh(ctx, 0); err != nil {
		return nil, err
	}
	return f, nil
}

// refresh asks for new credentials, unless somebody did since generation.
func (f *File) refresh(ctx context.Context, generation int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.generation != generation {
		return nil
	}
	var d fileDetail
	err := f.c.do(ctx, call{
		route: "file", what: "read the file " + f.id, method: http.MethodGet, path: []string{"files", f.id}, query: url.Values{"federationToken": {"1"}},
	}, &d)
	if err != nil {
		return err
	}
	if d.Provider == "" && d.S3Path.Bucket != "" {
		d.Provider = providerAWS
	}
	if _, _, err := d.place(); err != nil {
		return fault.Wrap(err, fault.Unavailable, "Keboola does not say how its file is read: %s", f.what)
	}
	f.detail, f.Sliced, f.Size = d, d.Sliced, max(0, d.Size)
	f.generation++
	return nil
}

func (f *File) current() (fileDetail, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.detail, f.generation
}

// Object is a slice of a file, or the file where it is not sliced.
type Object struct{ key string }

// Objects gives the slices of the file, in the order of the manifest, which means nothing (trap K1). A file
// of a table without rows may have none.
func (f *File) Objects(ctx context.Context) ([]Object, error) {
	d, _ := f.current()
	_, key, err := d.place()
	if err != nil {
		return nil, err
	}
	if !f.Sliced {
		return []Object{{key}}, nil
	}
	var raw bytes.Buffer
	if _, err := f.Read(ctx, Object{key + "manifest"}, &limited{w: &raw, left: maxManifest}); err != nil {
		return nil, err
	}
	var manifest struct {
		Entries []struct {
			URL string `json:"url"`
		} `json:"entries"`
	}
	if err := json.Unmarshal(raw.Bytes(), &manifest); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the manifest of Keboola's file cannot be read: %s", f.what)
	}
	out := make([]Object, len(manifest.Entries))
	seen := map[string]bool{}
	for i, e := range manifest.Entries {
		slice, err := d.sliceKey(e.URL)
		if err != nil {
			return nil, fault.Wrap(err, fault.Permanent, "the manifest names a slice that is not one of the file: %s", f.what)
		}
		if seen[slice] {
			return nil, fault.New(fault.Unavailable, "the manifest names a slice twice: %s", f.what)
		}
		seen[slice], out[i] = true, Object{slice}
	}
	return out, nil
}

// limited refuses more than so many bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) > l.left {
		return 0, fault.New(fault.TooLarge, "the manifest of Keboola's file is larger than %d MiB", maxManifest>>20)
	}
	l.left -= len(b)
	return l.w.Write(b)
}

// place gives the address of the bucket or container of the file, without a slash at its end, and the key
// of the file in it. The address is taken from what the API says, so that it is right for every region.
func (d fileDetail) place() (base, key string, err error) {
	if d.Provider == providerAzure {
		endpoint, _, err := d.shared()
		if err != nil {
			return "", "", err
		}
		if d.AzurePath.Container == "" || d.AzurePath.Name == "" {
			return "", "", errors.New("no absPath")
		}
		return strings.TrimRight(endpoint, "/") + "/" + d.AzurePath.Container, d.AzurePath.Name, nil
	}
	bucket, key := d.S3Path.Bucket, d.S3Path.Key
	if d.Provider == providerGCP {
		bucket, key = d.GCSPath.Bucket, d.GCSPath.Key
	} else if d.Provider != providerAWS {
		return "", "", fmt.Errorf("the provider %q", d.Provider)
	}
	u, err := url.Parse(d.URL)
	if err != nil || u.Host == "" || bucket == "" || key == "" {
		return "", "", errors.New("no bucket, key or url")
	}
	switch {
	case strings.HasPrefix(u.Host, bucket+"."):
		return u.Scheme + "://" + u.Host, key, nil
	case strings.HasPrefix(u.Path, "/"+bucket+"/"):
		return u.Scheme + "://" + u.Host + "/" + bucket, key, nil
	}
	return "", "", errors.New("the url of the file is not in its bucket")
}

// sliceKey is the key of a slice as a manifest names it. It must be of the file: our credentials are shown
// to nobody else, and nothing else is read with them.
func (d fileDetail) sliceKey(locator string) (string, error) {
	u, err := url.Parse(strings.ReplaceAll(locator, "%", "%25"))
	if err != nil {
		return "", errors.New("it is no address")
	}
	bucket, path := u.Host, strings.TrimPrefix(u.Path, "/")
	wantBucket, wantKey := d.S3Path.Bucket, d.S3Path.Key
	scheme := "s3"
	switch d.Provider {
	case providerGCP:
		scheme, wantBucket, wantKey = "gs", d.GCSPath.Bucket, d.GCSPath.Key
	case providerAzure:
		scheme, wantBucket, wantKey = "azure", d.AzurePath.Container, d.AzurePath.Name
		bucket, path, _ = strings.Cut(path, "/")
	}
	if u.Scheme != scheme && (d.Provider != providerAzure || u.Scheme != "https") {
		return "", fmt.Errorf("its scheme is %q", u.Scheme)
	}
	if bucket != wantBucket || !strings.HasPrefix(path, wantKey) || strings.Contains(path, "..") {
		return "", errors.New("it is in another place")
	}
	return path, nil
}

// shared reads the connection string of Azure.
func (d fileDetail) shared() (endpoint, signature string, err error) {
	for _, part := range strings.Split(d.Azure.Connection, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "BlobEndpoint":
			endpoint = value
		case "SharedAccessSignature":
			signature = strings.TrimPrefix(value, "?")
		}
	}
	if endpoint == "" || signature == "" {
		return "", "", errors.New("no BlobEndpoint or SharedAccessSignature")
	}
	return endpoint, signature, nil
}
