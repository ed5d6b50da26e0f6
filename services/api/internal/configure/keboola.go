package configure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/agnes-platform/agnes/pkg/fault"
)

const (
	testTimeout = 10 * time.Second
	maxAnswer   = 1 << 20
)

// verified is what Keboola's GET /v2/storage/tokens/verify answers, as far as it is shown.
type verified struct {
	IsExpired         bool              `json:"isExpired"`
	IsDisabled        bool              `json:"isDisabled"`
	CanManageBuckets  bool              `json:"canManageBuckets"`
	BucketPermissions map[string]string `json:"bucketPermissions"`
	Owner             struct {
		ID   json.Number `json:"id"`
		Name string      `json:"name"`
	} `json:"owner"`
}

// testKeboola asks the stack who the token is, and gives sentences that say what it showed.
func (s *Service) testKeboola(ctx context.Context, stack *url.URL, token string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, stack.String()+"/v2/storage/tokens/verify", http.NoBody)
	if err != nil {
		return nil, errNotAllowed("keboola_url")
	}
	r.Header.Set("X-StorageApi-Token", token)
	r.Header.Set("Accept", "application/json")
	client := s.cfg.Guard.client(stack.Hostname(), testTimeout)
	if s.cfg.TLS != nil {
		client.Transport.(*http.Transport).TLSClientConfig = s.cfg.TLS.Clone()
	}
	resp, err := client.Do(r)
	switch {
	case errors.Is(err, errPrivate):
		return nil, errNotAllowed("keboola_url")
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "connection failed: %s cannot be reached", stack.Host)
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return nil, fault.New(fault.Invalid, "connection failed: %s refused the token", stack.Host)
	case resp.StatusCode/100 == 3:
		return nil, fault.New(fault.Invalid, "connection failed: %s points elsewhere; enter the address of the stack itself", stack.Host)
	case resp.StatusCode != http.StatusOK:
		return nil, fault.New(fault.Invalid, "connection failed: %s answered with status %d", stack.Host, resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	var v verified
	if err != nil || len(raw) > maxAnswer || json.Unmarshal(raw, &v) != nil || v.Owner.ID == "" {
		return nil, fault.New(fault.Invalid, "connection failed: %s does not answer as Keboola does", stack.Host)
	}
	if v.IsExpired || v.IsDisabled {
		return nil, fault.New(fault.Invalid, "connection failed: the token is expired or disabled")
	}
	tested := []string{fmt.Sprintf("%s accepted the token for the project %q (%s)", stack.Host, shown(v.Owner.Name), shown(v.Owner.ID.String()))}
	if v.CanManageBuckets {
		return append(tested, "the token may manage all buckets of the project; one that can only read is enough"), nil
	}
	return append(tested, fmt.Sprintf("the token may read %d buckets", len(v.BucketPermissions))), nil
}

// shown makes a text from outside fit for a sentence.
func shown(text string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(clean); len(runes) > 100 {
		return string(runes[:100]) + "…"
	}
	return clean
}
