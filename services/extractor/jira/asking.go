package jira

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/cloud"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/rows"
	"github.com/agnes-platform/agnes/services/extractor/jira/internal/store"
)

// previewIssues are the newest issues that a preview looks at: one call of Jira, and some for their lists.
const previewIssues = 20

// Test asks Jira who the account is, and what it sees of the projects.
func (s *source) Test(ctx context.Context) ([]string, error) {
	kept, err := s.site.store.Count(ctx)
	if err != nil {
		return nil, err
	}
	held := fmt.Sprintf("%d issues are kept here", kept.Issues)
	if s.site.client == nil {
		return []string{"no account is configured: only webhooks tell of issues, and nothing can be fetched", held}, nil
	}
	me, err := s.site.client.Myself(ctx)
	if err != nil {
		return nil, err
	}
	about, err := s.site.client.ServerInfo(ctx)
	if err != nil {
		return nil, err
	}
	issues, err := s.site.client.Count(ctx, s.site.all())
	if err != nil {
		return nil, err
	}
	of := "all projects that it sees"
	if len(s.site.Projects) > 0 {
		of = "the projects " + strings.Join(s.site.Projects, ", ")
	}
	return []string{
		fmt.Sprintf("the account %s is accepted by %s (%s)", me.DisplayName, s.site.Site, about.Deployment),
		fmt.Sprintf("it finds about %d issues in %s", issues, of),
		held,
	}, nil
}

// Preview gives the rows of the newest issues: from Jira, or where no account is configured of those that
// are kept.
func (s *source) Preview(ctx context.Context, spec extract.TableSpec, most int) (extract.Preview, error) {
	t, found := s.site.tables[spec.SourceTable]
	if !found {
		if t, found = s.site.tables[spec.Name]; !found {
			return extract.Preview{}, fault.New(fault.NotFound, "Jira has no table %s; there are %s", spec.Name, strings.Join(names(s.site.tables), ", "))
		}
	}
	out, err := newRowFile(s.stage.scratch.Path("preview.ndjson"), t.Columns)
	if err != nil {
		return extract.Preview{}, err
	}
	taken, seen := 0, map[any]bool{}
	err = s.newest(ctx, func(flat *rows.Rows) error {
		for _, row := range t.rowsOf(flat) {
			if t.entities != 0 { // many issues tell of the same one
				if seen[row[0]] {
					continue
				}
				seen[row[0]] = true
			}
			if taken == most {
				return errEnough
			}
			if err := out.write(row); err != nil {
				return err
			}
			taken++
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	written, cerr := out.close()
	if err = errors.Join(err, cerr); err != nil {
		return extract.Preview{}, err
	}
	query := selectNothing(t.Columns)
	if taken > 0 {
		query = selectFile(t.Columns, written)
	}
	db, err := lake.Open(ctx, lake.Options{Threads: 1})
	if err != nil {
		return extract.Preview{}, fmt.Errorf("preview: %w", err)
	}
	defer func() { _ = db.Close() }()
	return extract.PreviewQuery(ctx, db, query, most)
}

// errEnough ends a reading that has what it wants.
var errEnough = errors.New("enough")

// newest gives the rows of the newest issues, the newest first.
func (s *source) newest(ctx context.Context, each func(*rows.Rows) error) error {
	if s.site.client == nil {
		return s.newestKept(ctx, each)
	}
	refs, err := s.newestRefs(ctx)
	if err != nil || len(refs) == 0 {
		return err
	}
	bulk, err := s.site.client.BulkFetch(ctx, refs)
	if err != nil {
		return err
	}
	flat := s.site.flattener()
	order := map[string]int{}
	for i, ref := range refs {
		order[ref] = i
	}
	documents := bulk.Documents
	slices.SortFunc(documents, func(a, b cloud.Document) int { return order[a.ID] - order[b.ID] })
	for _, d := range documents {
		r, err := flat.Flatten(d.JSON)
		if err != nil {
			continue // a run sets it aside
		}
		if err := each(&r); err != nil {
			return err
		}
	}
	return nil
}

// newestRefs are the ids of the newest issues.
func (s *source) newestRefs(ctx context.Context) (refs []string, err error) {
	err = s.site.client.Search(ctx, s.site.all()+" ORDER BY created DESC", []string{"key"}, func(p cloud.Page) error {
		for _, hit := range p.Hits {
			if refs = append(refs, hit.ID); len(refs) == previewIssues {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return refs, err
}

func (s *source) newestKept(ctx context.Context, each func(*rows.Rows) error) error {
	months, err := s.site.store.Months(ctx)
	if err != nil {
		return err
	}
	flat, left := s.site.flattener(), previewIssues
	for _, month := range slices.Backward(months) {
		err := s.site.store.Month(ctx, month, func(d store.Document) error {
			if left--; left < 0 {
				return errEnough
			}
			r, err := flat.Flatten(d.JSON)
			if err != nil {
				return nil //nolint:nilerr // a run sets it aside
			}
			return each(&r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var _ interface {
	extract.Tester
	extract.Previewer
} = (*source)(nil)
