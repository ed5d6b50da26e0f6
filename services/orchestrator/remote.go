package orchestrator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/service"
)

// allowedRemotes divides the attachments that an extract asks for into those that the configuration
// allows and the reasons against the others, by alias in lower case. Nothing is loaded, attached or
// sent here: whoever does so later finds only what was allowed.
func allowedRemotes(remotes []catalog.Remote, lists service.AllowLists) (allowed []catalog.Remote, refused map[string]string) {
	refused = make(map[string]string)
	seen := make(map[string]bool)
	for _, r := range remotes {
		alias := strings.ToLower(r.Alias)
		reason := lists.Refuse(r)
		if reason == "" && seen[alias] {
			reason = fmt.Sprintf("the alias %q is attached twice", r.Alias)
		}
		seen[alias] = true
		if reason != "" {
			refused[alias] = reason
			continue
		}
		allowed = append(allowed, r)
	}
	// An alias that is refused in one row is not usable through another.
	allowed = slices.DeleteFunc(allowed, func(r catalog.Remote) bool { return refused[strings.ToLower(r.Alias)] != "" })
	return allowed, refused
}
