package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/published"
)

// Manifest lists what the caller may hold a copy of. Everything in it comes from one moment.
type Manifest struct {
	Tables       map[string]ManifestTable `json:"tables" doc:"Every table granted to you that is kept as files, by id."`
	RemoteTables map[string]ManifestTable `json:"remote_tables" doc:"Tables granted to you that can only be asked on the server."`
	Assets       map[string]any           `json:"assets" doc:"Other things to fetch; empty for now."`
	Generation   string                   `json:"generation" doc:"Changes exactly when the catalog does." example:"5f2b8c7d9e0a1b2c3d4e5f6071829304"`
	ServerTime   time.Time                `json:"server_time" doc:"The clock of the server." example:"2026-01-02T15:04:05Z"`
}

// ManifestTable is one table of the manifest.
type ManifestTable struct {
	Hash        string           `json:"hash" doc:"MD5 (hex) of the bytes that a download of the whole table sends; empty where they cannot be made, or for a remote table." example:"9e107d9d372bb6826bd81d3542a419d6"`
	SHA256      string           `json:"sha256" doc:"SHA-256 (hex) of the same bytes; also their ETag." example:"d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"`
	SizeBytes   int64            `json:"size_bytes" doc:"How many bytes a download of the whole table sends." example:"1048576"`
	Updated     time.Time        `json:"updated" doc:"When the content was extracted." example:"2026-01-02T15:04:05Z"`
	Rows        int64            `json:"rows" doc:"Rows of the table." example:"120000"`
	Name        string           `json:"name" doc:"The table's name within its source." example:"orders"`
	Source      string           `json:"source" doc:"The source." example:"shop"`
	Alias       bool             `json:"alias" doc:"Whether the name alone stands for this table; otherwise it is source.name."`
	Wanted      bool             `json:"wanted" doc:"Whether you want a copy of it, as your settings say; true unless they say otherwise."`
	QueryMode   string           `json:"query_mode" doc:"local, materialized or remote." example:"local"`
	Description string           `json:"description" doc:"What it holds."`
	Fingerprint string           `json:"fingerprint" doc:"Changes exactly when the content or the columns do."`
	Columns     []catalog.Column `json:"columns" doc:"The columns in order, with their DuckDB types."`
	Parts       []ManifestPart   `json:"parts" doc:"The files that hold the rows, in order. Fetch one with ?part=<sha256>."`
	// BigQuery is where a remote table lives, for clients that may ask Google themselves.
	BigQuery *catalog.BigQueryTable `json:"bigquery,omitempty" doc:"Where a remote table lives in BigQuery, for clients with an account there; missing for all others."`
}

// ManifestPart is one immutable file of a table.
type ManifestPart struct {
	SHA256    string `json:"sha256" doc:"SHA-256 (hex) of the file: its name." example:"d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"`
	MD5       string `json:"md5" doc:"MD5 (hex) of the file." example:"9e107d9d372bb6826bd81d3542a419d6"`
	SizeBytes int64  `json:"size_bytes" doc:"Bytes of the file." example:"1048576"`
	Rows      int64  `json:"rows" doc:"Rows in the file." example:"120000"`
}

type manifestQuestion struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"1000" doc:"The ETag of the manifest that you have."`
}

type manifestAnswer struct {
	Status       int    `json:"-"`
	ETag         string `header:"ETag" doc:"Names this state of the manifest."`
	CacheControl string `header:"Cache-Control" doc:"Always private, no-cache: keep it, and ask each time."`
	Body         *Manifest
}

func (s *Server) manifestRoutes() {
	add(s, User, op{
		method: http.MethodGet, path: "/api/sync/manifest", id: "manifest", scope: ScopeSync, tag: tagData, summary: "What I may hold a copy of",
		text:   "Every table granted to you with its files and their hashes, all from one moment. A hash that is still being computed is waited for; the answer never holds one that was not computed.",
		errors: []int{http.StatusNotModified, http.StatusUnprocessableEntity},
	}, s.manifest)
}

func (s *Server) manifest(ctx context.Context, in *manifestQuestion) (*manifestAnswer, error) {
	snapshot := s.published.Current()
	grants, err := s.access.Grants(ctx, callerOf(ctx), snapshot)
	if err != nil {
		return nil, err
	}
	wanted, err := s.wishesOf(ctx)
	if err != nil {
		return nil, err
	}
	out := &manifestAnswer{Status: http.StatusOK, ETag: weakTag(snapshot.Version, grants.Fingerprint(), wanted.tag()), CacheControl: "private, no-cache"}
	if holds(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
		return out, nil
	}
	var copied []*published.Table
	m := &Manifest{
		Tables: map[string]ManifestTable{}, RemoteTables: map[string]ManifestTable{}, Assets: map[string]any{},
		Generation: snapshot.Version, ServerTime: time.Now().UTC(),
	}
	for _, t := range snapshot.Tables() {
		switch {
		case !grants.Allows(t):
		case t.Copied():
			copied = append(copied, t)
		default:
			entry := manifestTable(t, wanted)
			if source, ok := snapshot.Source(t.Source); ok {
				if at, ok := source.BigQuery(t.Table); ok {
					entry.BigQuery = &at
				}
			}
			m.RemoteTables[t.ID] = entry
		}
	}
	wait, cancel := context.WithTimeout(ctx, s.limits.ManifestWait)
	defer cancel()
	contents := make([]catalog.Table, len(copied))
	for i, t := range copied {
		contents[i] = t.Table
	}
	digests, err := s.wholes.Digests(wait, contents)
	if err != nil {
		return nil, busyHashing(err)
	}
	for i, t := range copied {
		entry := manifestTable(t, wanted)
		entry.Hash, entry.SHA256, entry.SizeBytes = digests[i].MD5, digests[i].SHA256, digests[i].Size
		m.Tables[t.ID] = entry
	}
	out.Body = m
	return out, nil
}

// busyHashing is the answer where hashes were not ready in time.
func busyHashing(err error) error {
	if fault.KindOf(err) == fault.Unavailable {
		wrapped := fault.New(fault.Unavailable, "tables were just published and their hashes are still being computed; try again in a moment")
		return wrapped.After(2 * time.Second)
	}
	return err
}

func manifestTable(t *published.Table, wanted wishes) ManifestTable {
	m := ManifestTable{
		Wanted:  wanted.has(t),
		Updated: t.ExtractedAt.UTC(), Rows: t.Rows, Name: t.Name, Source: t.Source, Alias: t.Alias, QueryMode: t.QueryMode,
		Description: t.Description, Fingerprint: t.Fingerprint, Columns: orEmpty(t.Columns), Parts: make([]ManifestPart, len(t.Parts)),
	}
	for i, p := range t.Parts {
		m.Parts[i] = ManifestPart{SHA256: p.SHA256, MD5: p.MD5, SizeBytes: p.SizeBytes, Rows: p.Rows}
	}
	return m
}

// weakTag names a representation by what it is made of. It is weak: the bytes also hold the clock.
func weakTag(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return `W/"` + hex.EncodeToString(sum[:16]) + `"`
}

// holds tells whether an If-None-Match header names the tag, by weak comparison.
func holds(header, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for _, candidate := range strings.Split(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
			return true
		}
	}
	return false
}
