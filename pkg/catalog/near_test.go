package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/catalog"
)

func TestNearFindsWhatWasMeant(t *testing.T) {
	t.Parallel()
	names := []string{"orders", "order_items", "shop.orders", "crm.*", "customers", "ann@example.com", "eve@example.com", strings.Repeat("x", 300)}
	for wrote, want := range map[string][]string{
		"ordres":                 {"orders"},
		"ORDERS":                 {"orders", "shop.orders"},
		"crm":                    {"crm.*"},
		"costumers":              {"customers"},
		"nothing":                nil,
		"eva@example.com":        {"eve@example.com"},
		"bob@example.com":        nil,
		"":                       nil,
		strings.Repeat("x", 300): nil,
	} {
		if got := catalog.Near(wrote, names); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", wrote, got, want)
		}
	}
}
