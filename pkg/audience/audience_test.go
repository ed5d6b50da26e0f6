package audience_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agnes-platform/agnes/pkg/audience"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// declared gives the names of every event and every request that the bus knows, from the file that
// declares them: one that is added there is found here.
func declared(t *testing.T) (kinds, methods []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../event/kinds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok || len(literal.Elts) == 0 {
			return true
		}
		of, name := literal.Type, literal.Elts[0]
		switch indexed := of.(type) {
		case *ast.IndexExpr:
			of = indexed.X
		case *ast.IndexListExpr:
			of = indexed.X
		}
		if sum, ok := name.(*ast.BinaryExpr); ok {
			name = sum.X
		}
		ident, isIdent := of.(*ast.Ident)
		text, isText := name.(*ast.BasicLit)
		if !isIdent || !isText {
			return true
		}
		value, err := strconv.Unquote(text.Value)
		if err != nil {
			t.Fatal(err)
		}
		switch ident.Name {
		case "Kind":
			kinds = append(kinds, value)
		case "Method":
			methods = append(methods, strings.TrimSuffix(value, "."))
		}
		return true
	})
	return kinds, methods
}

func TestTrap_P4_EveryEventAndRequestHasARule(t *testing.T) {
	t.Parallel()
	kinds, methods := declared(t)
	if len(kinds) < 10 || len(methods) < 5 {
		t.Fatalf("found only the events %v and the requests %v", kinds, methods)
	}
	for _, kind := range kinds {
		if _, ok := audience.RuleOf(kind); !ok {
			t.Errorf("nobody said who may see %s", kind)
		}
	}
	for _, method := range methods {
		if _, ok := audience.RequestRuleOf(method); !ok {
			t.Errorf("nobody said who may ask %s", method)
		}
	}
	if rule, ok := audience.RuleOf("made.up"); ok || rule != audience.Nobody {
		t.Error("an unknown kind is passed on")
	}
	if _, ok := audience.RequestRuleOf("made.up"); ok {
		t.Error("an unknown request has a rule")
	}
}

// readable are tables as <source>.<name>.
type readable []string

func (r readable) Allows(source, table string) bool { return slices.Contains(r, source+"."+table) }

func (r readable) Reaches(source string) bool {
	return slices.ContainsFunc(r, func(t string) bool { return strings.HasPrefix(t, source+".") })
}

func TestTrap_P4_WhoCanReadNothingIsToldNothing(t *testing.T) {
	t.Parallel()
	if seen := (audience.Viewer{UserID: "ann"}).See("table.profiled", "shop", &agnesv1.TableProfiled{Source: "shop", Table: "open"}); seen != nil {
		t.Errorf("ann sees %v", seen)
	}
}

func TestTrap_P4_EventsNameNothingThatIsHidden(t *testing.T) {
	t.Parallel()
	ann := audience.Viewer{UserID: "ann", Tables: readable{"shop.orders"}}
	admin := audience.Viewer{UserID: "root", Admin: true}
	for name, c := range map[string]struct {
		kind, source string
		payload      proto.Message
		ann, admin   bool
	}{
		"requested, all":             {"extract.requested", "shop", &agnesv1.ExtractRequested{RequestedBy: "root"}, true, true},
		"requested, some":            {"extract.requested", "shop", &agnesv1.ExtractRequested{Tables: []string{"orders", "salaries"}, RequestedBy: "root"}, true, true},
		"requested, hidden":          {"extract.requested", "shop", &agnesv1.ExtractRequested{Tables: []string{"salaries"}}, false, true},
		"requested, other source":    {"extract.requested", "crm", &agnesv1.ExtractRequested{}, false, true},
		"progress":                   {"extract.progress", "shop", &agnesv1.ExtractProgress{Source: "shop", Table: "orders", TablesTotal: 2}, true, true},
		"progress of the run":        {"extract.progress", "shop", &agnesv1.ExtractProgress{Source: "shop", Rows: 4711, TablesTotal: 2}, true, true},
		"progress, hidden":           {"extract.progress", "shop", &agnesv1.ExtractProgress{Source: "shop", Table: "salaries"}, false, true},
		"progress, other source":     {"extract.progress", "crm", &agnesv1.ExtractProgress{Source: "crm"}, false, true},
		"ready":                      {"extract.ready", "shop", &agnesv1.ExtractReady{Tables: []*agnesv1.TableOutcome{{Table: "orders"}, {Table: "salaries"}}}, true, true},
		"ready, hidden":              {"extract.ready", "shop", &agnesv1.ExtractReady{Source: "shop", Tables: []*agnesv1.TableOutcome{{Table: "salaries"}}}, false, true},
		"failed":                     {"extract.failed", "shop", &agnesv1.ExtractFailed{Source: "shop", Error: "salaries cannot be read"}, true, true},
		"failed, other source":       {"extract.failed", "crm", &agnesv1.ExtractFailed{Source: "crm"}, false, true},
		"published":                  {"analytics.published", "shop", &agnesv1.AnalyticsPublished{Source: "shop", Tables: []*agnesv1.TableChange{{Table: "orders"}, {Table: "salaries"}}, Problems: []*agnesv1.Problem{{Source: "shop", Table: "salaries"}}}, true, true},
		"published, a collision":     {"analytics.published", "shop", &agnesv1.AnalyticsPublished{Source: "shop", Problems: []*agnesv1.Problem{{Source: "shop", Table: "orders", Code: "collision", Message: "there are shop.orders and salaries.orders"}}}, false, true},
		"published, hidden":          {"analytics.published", "shop", &agnesv1.AnalyticsPublished{Source: "shop", Tables: []*agnesv1.TableChange{{Table: "salaries"}}}, false, true},
		"published, a false source":  {"analytics.published", "shop", &agnesv1.AnalyticsPublished{Source: "crm", Tables: []*agnesv1.TableChange{{Table: "orders"}}}, false, true},
		"profiled":                   {"table.profiled", "shop", &agnesv1.TableProfiled{Source: "shop", Table: "orders"}, true, true},
		"profiled, hidden":           {"table.profiled", "shop", &agnesv1.TableProfiled{Source: "shop", Table: "salaries"}, false, true},
		"registry":                   {"registry.changed", "shop", &agnesv1.RegistryChanged{Source: "shop", TableId: "orders"}, false, true},
		"audit":                      {"audit.recorded", "", &agnesv1.AuditRecorded{Actor: "ann"}, false, true},
		"jira":                       {"jira.received", "jira", &agnesv1.JiraReceived{}, false, false},
		"a notice for ann":           {"notification.raised", "", &agnesv1.NotificationRaised{UserId: "ann"}, true, false},
		"a notice for all":           {"notification.raised", "", &agnesv1.NotificationRaised{}, true, true},
		"a notice for somebody else": {"notification.raised", "", &agnesv1.NotificationRaised{UserId: "root"}, false, true},
		"another payload":            {"notification.raised", "", &agnesv1.TableProfiled{Source: "shop", Table: "orders"}, false, false},
		"an unknown kind":            {"made.up", "shop", &agnesv1.TableProfiled{Source: "shop", Table: "orders"}, false, false},
	} {
		before := proto.Clone(c.payload)
		seen := ann.See(c.kind, c.source, c.payload)
		if (seen != nil) != c.ann {
			t.Errorf("%s: ann sees %v", name, seen)
		}
		if text := fmt.Sprint(seen); strings.Contains(text, "salaries") || strings.Contains(text, "tables_total") || strings.Contains(text, "4711") || strings.Contains(text, "root") {
			t.Errorf("%s: ann is told of %s", name, text)
		}
		if !proto.Equal(before, c.payload) {
			t.Errorf("%s: the event was changed", name)
		}
		seen = admin.See(c.kind, c.source, c.payload)
		if (seen != nil) != c.admin || (c.admin && !proto.Equal(seen, c.payload)) {
			t.Errorf("%s: an administrator sees %v", name, seen)
		}
	}
}
