package jiratest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pages are the enumerations that page tokens stand for.
type pages struct {
	tokens map[string]*enumeration
	order  []string
}

type enumeration struct {
	ids  []int64
	next int
	jql  string
}

const keptTokens = 1000

// search is the enhanced search: no total, no offsets, pages by token alone. As in Jira a page may be
// shorter than asked for, when issues went away meanwhile, and strangers find nothing.
func (s *Site) search(w http.ResponseWriter, r *http.Request, who account) {
	var ask struct {
		JQL           string   `json:"jql"`
		MaxResults    *int     `json:"maxResults"`
		Fields        []string `json:"fields"`
		Expand        string   `json:"expand"`
		NextPageToken string   `json:"nextPageToken"`
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
			refusal(w, http.StatusBadRequest, "Invalid request payload. Refer to the REST API documentation and try again.")
			return
		}
	} else {
		q := r.URL.Query()
		ask.JQL, ask.Fields, ask.Expand, ask.NextPageToken = q.Get("jql"), q["fields"], q.Get("expand"), q.Get("nextPageToken")
		if n, err := strconv.Atoi(q.Get("maxResults")); err == nil {
			ask.MaxResults = &n
		}
	}
	v := view{cut: s.cfg.Bulk, sla: who.sla, changelog: hasExpand([]string{ask.Expand}, "changelog")}
	v.fieldsOf(ask.Fields, "id")
	size := 50
	if ask.MaxResults != nil {
		size = *ask.MaxResults
	}
	limit := 100
	if v.bare() && !v.changelog {
		limit = 5000
	}
	size = max(1, min(size, limit))

	s.mu.Lock()
	defer s.mu.Unlock()
	e, problem := s.enumerate(ask.JQL, ask.NextPageToken, who)
	if problem != "" {
		refusal(w, http.StatusBadRequest, "%s", problem)
		return
	}
	end := min(len(e.ids), e.next+size)
	var b buf
	b.open('{')
	b.key("issues")
	b.open('[')
	for _, id := range e.ids[e.next:end] {
		s.found(&b, id, v)
	}
	b.close(']')
	last := end >= len(e.ids)
	if !last {
		b.key("nextPageToken")
		b.str(s.token(&enumeration{ids: e.ids, next: end, jql: e.jql}))
	}
	b.key("isLast")
	b.bool(last)
	b.close('}')
	answer(w, http.StatusOK, b)
}

// count tells how many issues a JQL finds. Jira gives an estimate; here it is the number.
func (s *Site) count(w http.ResponseWriter, r *http.Request, who account) {
	var ask struct {
		JQL string `json:"jql"`
	}
	if json.NewDecoder(r.Body).Decode(&ask) != nil {
		refusal(w, http.StatusBadRequest, "Invalid request payload. Refer to the REST API documentation and try again.")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, problem := s.enumerate(ask.JQL, "", who)
	if problem != "" {
		refusal(w, http.StatusBadRequest, "%s", problem)
		return
	}
	var b buf
	b.open('{')
	b.key("count")
	b.num(int64(len(e.ids)))
	b.close('}')
	answer(w, http.StatusOK, b)
}

// found renders an issue of a page.
func (s *Site) found(b *buf, id int64, v view) {
	if v.bare() && !v.changelog {
		is := s.head(id)
		if is == nil {
			return
		}
		b.open('{')
		b.key("id")
		b.id(id)
		if v.with["key"] {
			b.key("key")
			b.str(is.key())
		}
		b.close('}')
		return
	}
	if is := s.at(id); is != nil && !is.hidden {
		s.issue(b, is, v)
	}
}

// enumerate gives where a search stands: at its beginning, or where a token says.
func (s *Site) enumerate(jql, token string, who account) (*enumeration, string) {
	if token != "" {
		e := s.pages.tokens[token]
		if e == nil || e.jql != jql {
			return nil, "The provided next page token is invalid or expired."
		}
		return e, ""
	}
	q, problem := s.parse(jql)
	if problem != "" {
		return nil, problem
	}
	if !who.known {
		return &enumeration{jql: jql}, ""
	}
	return &enumeration{ids: s.match(q), jql: jql}, ""
}

func (s *Site) token(e *enumeration) string {
	token := "Ch" + itoa(s.next()) + "=="
	s.pages.tokens[token] = e
	s.pages.order = append(s.pages.order, token)
	if len(s.pages.order) > keptTokens {
		delete(s.pages.tokens, s.pages.order[0])
		s.pages.order = s.pages.order[1:]
	}
	return token
}

// hit is what is needed of an issue to put it in order.
type hit struct {
	id, number       int64
	project          *project
	created, updated int64
}

// match gives the ids of the issues that a query finds, in its order.
func (s *Site) match(q query) []int64 {
	var all []hit
	take := func(is *issue) {
		if is != nil && !is.hidden && q.matches(is) {
			all = append(all, hit{is.id, is.number, is.project, is.created.UnixMilli(), is.updated.UnixMilli()})
		}
	}
	now := s.now()
	var scratch issue
	for i := range s.gen.n {
		id := firstIssue + i
		if _, touched := s.changed[id]; touched {
			take(s.indexed(id, now))
			continue
		}
		s.sketch(&scratch, i)
		take(&scratch)
	}
	for id := range s.changed {
		if id >= firstSeq {
			take(s.indexed(id, now))
		}
	}
	slices.SortFunc(all, func(a, b hit) int {
		for _, o := range q.order {
			if c := o.by(a, b); c != 0 {
				if o.down {
					return -c
				}
				return c
			}
		}
		return cmp.Compare(b.id, a.id)
	})
	ids := make([]int64, len(all))
	for i, h := range all {
		ids[i] = h.id
	}
	return ids
}

// indexed is an issue as the index of search has it, which may lag.
func (s *Site) indexed(id int64, now time.Time) *issue {
	if c, ok := s.changed[id]; ok && s.cfg.SearchLag > 0 && now.Sub(c.at) < s.cfg.SearchLag {
		return c.before
	}
	return s.head(id)
}

// query is what a JQL asks for.
type query struct {
	clauses []func(*issue) bool
	order   []ordering
}

type ordering struct {
	by   func(a, b hit) int
	down bool
}

func (q *query) matches(is *issue) bool {
	for _, c := range q.clauses {
		if !c(is) {
			return false
		}
	}
	return true
}

// parse reads the subset of JQL that the fake has: clauses joined by AND on project, key, id, created,
// updated, statusCategory, status and resolution, and ORDER BY. As in Jira a query without a clause is
// refused as unbounded, a project or key that does not exist is an error, and dates are of the account's
// time zone and of whole minutes.
func (s *Site) parse(jql string) (query, string) {
	tokens, ok := lex(jql)
	if !ok {
		return query{}, "Error in the JQL Query: a quoted string has not been completed."
	}
	p := &parser{site: s, tokens: tokens}
	return p.query()
}

func lex(jql string) ([]string, bool) {
	var tokens []string
	for i := 0; i < len(jql); {
		c := jql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n':
			i++
		case c == '"' || c == '\'':
			end := strings.IndexByte(jql[i+1:], c)
			if end < 0 {
				return nil, false
			}
			tokens = append(tokens, "\""+jql[i+1:i+1+end])
			i += end + 2
		case strings.ContainsRune("(),", rune(c)):
			tokens = append(tokens, string(c))
			i++
		case strings.ContainsRune("<>=!", rune(c)):
			n := 1
			if i+1 < len(jql) && jql[i+1] == '=' {
				n = 2
			}
			tokens = append(tokens, jql[i:i+n])
			i += n
		default:
			n := strings.IndexAny(jql[i:], " \t\n(),<>=!\"'")
			if n < 0 {
				n = len(jql) - i
			}
			tokens = append(tokens, jql[i:i+n])
			i += n
		}
	}
	return tokens, true
}

type parser struct {
	site   *Site
	tokens []string
	at     int
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

func (p *parser) take() string {
	t := p.peek()
	p.at++
	return t
}

func (p *parser) word(words ...string) bool {
	for i, w := range words {
		if p.at+i >= len(p.tokens) || !strings.EqualFold(p.tokens[p.at+i], w) {
			return false
		}
	}
	p.at += len(words)
	return true
}

func (p *parser) query() (query, string) {
	var q query
	for p.at < len(p.tokens) && !p.word("ORDER", "BY") {
		if len(q.clauses) > 0 && !p.word("AND") {
			return q, "Error in the JQL Query: Expecting either 'OR' or 'AND' but got '" + value(p.peek()) + "'."
		}
		c, problem := p.clause()
		if problem != "" {
			return q, problem
		}
		q.clauses = append(q.clauses, c)
	}
	if len(q.clauses) == 0 {
		return q, "Unbounded JQL queries are not allowed here. Please add a search restriction to your query."
	}
	for p.at < len(p.tokens) {
		by, ok := orders[strings.ToLower(value(p.take()))]
		if !ok {
			return q, "Error in the JQL Query: the field of ORDER BY cannot be sorted by."
		}
		o := ordering{by: by, down: p.word("DESC")}
		if !o.down {
			p.word("ASC")
		}
		q.order = append(q.order, o)
		if p.peek() == "," {
			p.at++
		}
	}
	return q, ""
}

var orders = map[string]func(a, b hit) int{
	"created": func(a, b hit) int { return cmp.Compare(a.created, b.created) },
	"updated": func(a, b hit) int { return cmp.Compare(a.updated, b.updated) },
	"id":      func(a, b hit) int { return cmp.Compare(a.id, b.id) },
	"key": func(a, b hit) int {
		return cmp.Or(strings.Compare(a.project.key, b.project.key), cmp.Compare(a.number, b.number))
	},
}

func value(token string) string { return strings.TrimPrefix(token, "\"") }

// clause reads one comparison.
func (p *parser) clause() (func(*issue) bool, string) {
	name := strings.ToLower(value(p.take()))
	op := p.take()
	var values []string
	switch {
	case strings.EqualFold(op, "not") && p.word("in"):
		op = "not in"
	case strings.EqualFold(op, "is") && p.word("not"):
		op = "is not"
	}
	op = strings.ToLower(op)
	if op == "in" || op == "not in" {
		if p.take() != "(" {
			return nil, "Error in the JQL Query: Expecting '(' but got something else."
		}
		for p.peek() != ")" {
			if p.at >= len(p.tokens) {
				return nil, "Error in the JQL Query: Expecting ')' before the end of the query."
			}
			if t := p.take(); t != "," {
				values = append(values, value(t))
			}
		}
		p.at++
	} else {
		values = []string{value(p.take())}
	}
	c, problem := p.site.condition(name, op, values)
	if problem != "" {
		return nil, problem
	}
	if c == nil {
		return nil, "Field '" + name + "' does not exist or you do not have permission to view it."
	}
	return c, ""
}

func (s *Site) condition(name, op string, values []string) (func(*issue) bool, string) {
	among := func(ok func(*issue, string) bool) func(*issue) bool {
		negate := op == "!=" || op == "not in"
		return func(is *issue) bool {
			return negate != slices.ContainsFunc(values, func(v string) bool { return ok(is, v) })
		}
	}
	switch name {
	case "project":
		for _, v := range values {
			if !slices.ContainsFunc(s.projects, func(p *project) bool { return p.is(v) }) {
				return nil, "The value '" + v + "' does not exist for the field 'project'."
			}
		}
		return among(func(is *issue, v string) bool { return is.project.is(v) }), ""
	case "key", "issuekey", "issue", "id":
		ids := map[int64]bool{}
		for _, v := range values {
			is, ok := s.lookup(v)
			if !ok {
				return nil, "An issue with key '" + v + "' does not exist for field '" + name + "'."
			}
			ids[is.id] = true
		}
		negate := op == "!=" || op == "not in"
		return func(is *issue) bool { return negate != ids[is.id] }, ""
	case "statuscategory":
		return among(func(is *issue, v string) bool {
			c := categories[is.status.category]
			return strings.EqualFold(c.name, v) || strings.EqualFold(is.status.category, v) || itoa(c.id) == v
		}), ""
	case "status":
		return among(func(is *issue, v string) bool { return strings.EqualFold(is.status.name, v) }), ""
	case fieldResolution:
		empty := op == "is" || op == "="
		return func(is *issue) bool { return (is.resolution == nil) == empty }, ""
	case "created", "updated":
		return s.dateCondition(name, op, values[0])
	}
	return nil, ""
}

func (p *project) is(v string) bool {
	return strings.EqualFold(p.key, v) || strings.EqualFold(p.name, v) || itoa(p.id) == v
}

func (s *Site) dateCondition(name, op, text string) (func(*issue) bool, string) {
	when, ok := s.date(text)
	if !ok {
		return nil, "Date value '" + text + "' for field '" + name + "' is invalid. Valid formats include: 'yyyy/MM/dd HH:mm', 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'."
	}
	of := func(is *issue) time.Time { return is.updated }
	if name == "created" {
		of = func(is *issue) time.Time { return is.created }
	}
	switch op {
	case ">=":
		return func(is *issue) bool { return !of(is).Before(when) }, ""
	case ">":
		return func(is *issue) bool { return of(is).After(when) }, ""
	case "<=":
		return func(is *issue) bool { return !of(is).After(when) }, ""
	case "<":
		return func(is *issue) bool { return of(is).Before(when) }, ""
	}
	return nil, "The operator '" + op + "' is not supported by the '" + name + "' field."
}

// date reads a date of the account's zone, a period before now, or milliseconds since 1970.
func (s *Site) date(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02 15:04", "2006/01/02 15:04", "2006-01-02", "2006/01/02"} {
		if t, err := time.ParseInLocation(layout, text, s.cfg.Location); err == nil {
			return t, true
		}
	}
	if text == "now" {
		return s.now(), true
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
		return time.UnixMilli(ms), true
	}
	if len(text) < 3 || text[0] != '-' {
		return time.Time{}, false
	}
	n, err := strconv.Atoi(text[1 : len(text)-1])
	unit := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[text[len(text)-1]]
	return s.now().Add(-time.Duration(n) * unit), err == nil && unit > 0
}
