package audit

import (
	"encoding/json"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// removed stands where a secret stood.
const removed = "[removed]"

// scrubbers find secrets by what they look like, each looked for only where the lower-case text holds one
// of its hints.
var scrubbers = []struct {
	hints []string
	find  *regexp.Regexp
	put   string
}{
	{[]string{"private key"}, regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`), removed},
	{[]string{"eyj"}, regexp.MustCompile(`eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*`), removed},
	{[]string{"agnes_"}, regexp.MustCompile(`agnes_[A-Za-z0-9]*_?[A-Za-z0-9_-]{16,}`), removed},
	// GitHub, GitLab, AWS, Slack, OpenAI and others, Google, Hugging Face, SendGrid, Atlassian, npm, PyPI
	{[]string{"gho_", "ghp_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "akia", "asia", "xox", "xapp-", "sk-", "aiza", "ya29.", "gocspx-", "hf_", "sg.", "atatt", "npm_", "pypi-"},
		regexp.MustCompile(`\b(?:gh[opsur]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{16,}|A[KS]IA[0-9A-Z]{12,}|xox[a-z]-[A-Za-z0-9-]{8,}|xapp-[A-Za-z0-9-]{8,}` +
			`|sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{16,}|GOCSPX-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}|SG\.[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]+)?` +
			`|ATATT[A-Za-z0-9_=-]{16,}|npm_[A-Za-z0-9]{16,}|pypi-[A-Za-z0-9_-]{16,})`), removed},
	{[]string{"-"}, regexp.MustCompile(`\b[0-9]{1,8}-[0-9]{1,10}-[A-Za-z0-9]{24,}\b`), removed}, // Keboola
	{[]string{":aa"}, regexp.MustCompile(`\b[0-9]{6,12}:AA[A-Za-z0-9_-]{20,}`), removed},        // Telegram
	{[]string{"hooks.slack.com"}, regexp.MustCompile(`(?i)(hooks\.slack\.com/[a-z]+/)[a-z0-9/_-]+`), "${1}" + removed},
	{[]string{"://"}, regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^/\s'"?#]*@`), "${1}" + removed + "@"},
	{[]string{"bearer", "basic", "negotiate"}, regexp.MustCompile(`(?i)\b(bearer|basic|negotiate)\s+[a-z0-9._~+/=-]{6,}`), "${1} " + removed},
	{[]string{"identified"}, regexp.MustCompile(`(?is)(\bidentified\s+(?:with\s+\S+\s+)?(?:by|as)\s+)` + quoted), "${1}" + removed},
}

// Scrub gives the text without what looks like a secret: passwords and tokens behind their names,
// signed tokens, keys of well-known services, private keys, and what a URL carries before the @.
func Scrub(text string) string {
	if len(text) < 6 {
		return text
	}
	lower := strings.ToLower(text)
	for _, s := range scrubbers {
		for _, hint := range s.hints {
			if strings.Contains(lower, hint) {
				text = s.find.ReplaceAllString(text, s.put)
				break
			}
		}
	}
	return scrubNamed(text)
}

// Bounds of what one record may hold, so that nobody can fill the disk with one request.
const (
	maxText   = 10 << 10
	maxParams = 64 << 10
	maxField  = 1 << 10
)

// clean bounds an entry and takes secrets out of it, whoever wrote it.
func clean(m *agnesv1.AuditRecorded) {
	for _, field := range []*string{
		&m.Actor, &m.ActorEmail, &m.Action, &m.Result, &m.RemoteAddress, &m.Credential, &m.CredentialId, &m.RequestId, &m.UserAgent, &m.Service,
	} {
		*field = Scrub(clip(*field, maxField))
	}
	// The kind before an id is ours, and may be the word that a secret follows: token:<id>.
	kind, id, _ := strings.Cut(clip(m.Resource, maxField), ":")
	if m.Resource = Scrub(kind); id != "" {
		m.Resource += ":" + Scrub(id)
	}
	if m.GetParams() == nil {
		return
	}
	cleanStruct(m.Params)
	if proto.Size(m.Params) > maxParams {
		raw, _ := m.Params.MarshalJSON() // what cannot be written is left out
		m.Params = &structpb.Struct{Fields: map[string]*structpb.Value{
			"clipped": structpb.NewStringValue(strings.ToValidUTF8(string(raw[:min(len(raw), maxText)]), "")),
		}}
	}
}

func cleanStruct(s *structpb.Struct) {
	for key, value := range s.GetFields() {
		if isSecretName(key) && holdsSomething(value) {
			s.Fields[key] = structpb.NewStringValue(removed)
			continue
		}
		cleanValue(value)
	}
}

// holdsSomething tells a value that can be a secret from one that only says whether there is one.
func holdsSomething(v *structpb.Value) bool {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue != ""
	case *structpb.Value_NumberValue, *structpb.Value_ListValue, *structpb.Value_StructValue:
		return true
	}
	return false
}

func cleanValue(v *structpb.Value) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		kind.StringValue = Scrub(clip(kind.StringValue, maxText))
	case *structpb.Value_ListValue:
		for _, one := range kind.ListValue.GetValues() {
			cleanValue(one)
		}
	case *structpb.Value_StructValue:
		cleanStruct(kind.StructValue)
	}
}

// clip bounds a text and makes it valid UTF-8, as the bus wants it.
func clip(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}

// Params turns what handlers noted into what an event carries.
func Params(m map[string]any) (*structpb.Struct, error) {
	if len(m) == 0 {
		return nil, nil //nolint:nilnil // no params is a message of its own
	}
	if s, err := structpb.NewStruct(m); err == nil {
		return s, nil
	}
	raw, err := json.Marshal(m) // lists and times of Go
	if err != nil {
		return nil, err
	}
	var plain map[string]any
	if err := json.Unmarshal(raw, &plain); err != nil {
		return nil, err
	}
	return structpb.NewStruct(plain)
}
