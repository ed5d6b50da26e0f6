package adf

import (
	"slices"
	"strings"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// mark is a pair of delimiters around text. The ranks order the marks of one text: the outermost first.
type mark struct {
	rank        int
	open, close string
	href        string
}

const (
	rankLink = iota
	rankStrong
	rankEm
	rankStrike
	rankUnderline
	rankSub
)

// span is a line of text with marks that are open.
type span struct {
	r       *Renderer
	open    []mark
	space   string // white space that belongs before or after the next delimiters
	started bool
}

// inline renders nodes that stand within a line.
func (r *Renderer) inline(nodes []*jsontree.Value) {
	s := span{r: r}
	for _, n := range nodes {
		if r.full {
			return
		}
		s.node(n)
	}
	s.closeTo(0)
}

func (s *span) node(n *jsontree.Value) {
	if n.Type() == jsontree.String {
		s.text(jsontree.Text(n), nil)
		return
	}
	switch kindOf(n) {
	case "hardBreak":
		s.lineBreak()
	case "mention":
		s.text(mention(n), n)
	case "emoji":
		s.text(emoji(n), n)
	case "date":
		s.text(date(n), n)
	case "status":
		if text := oneLine(attr(n, "text")); text != "" {
			s.text("["+text+"]", n)
		}
	case "inlineCard":
		s.text(card(n), n)
	case "mediaInline":
		s.text(media(n), n)
	case "placeholder", "inlineExtension":
		s.text(attr(n, "text"), n)
	default:
		s.text(jsontree.Text(n.Get("text")), n)
	}
}

func mention(n *jsontree.Value) string {
	name := oneLine(attr(n, "text"))
	if name == "" {
		name = oneLine(attr(n, "id"))
	}
	if name == "" || name[0] == '@' {
		return name
	}
	return "@" + name
}

func emoji(n *jsontree.Value) string {
	if text := attr(n, "text"); text != "" {
		return text
	}
	name := oneLine(attr(n, "shortName"))
	if name == "" {
		return ""
	}
	return ":" + strings.Trim(name, ":") + ":"
}

func (s *span) lineBreak() {
	switch {
	case s.r.line:
		s.space += " "
	case s.r.cell:
		s.space = strings.TrimRight(s.space, " ") + "\n"
	default:
		s.space = strings.TrimRight(s.space, " ") + "  \n"
	}
}

// text adds text under the marks of the node.
func (s *span) text(text string, n *jsontree.Value) {
	if text == "" {
		return
	}
	if s.r.line {
		text = strings.ReplaceAll(text, "\n", " ")
	}
	marks, code := marksOf(n, text)
	core := strings.Trim(text, " \t\n")
	if code {
		core = codeSpan(text)
	}
	if core == "" {
		s.space += text
		return
	}
	before, after := "", ""
	if !code {
		at := strings.Index(text, core)
		before, after = text[:at], text[at+len(core):]
	}
	shared := 0
	for shared < len(s.open) && shared < len(marks) && s.open[shared] == marks[shared] {
		shared++
	}
	s.closeTo(shared)
	s.writeSpace(before)
	for _, m := range marks[shared:] {
		s.r.write(m.open)
		s.open = append(s.open, m)
	}
	if !code && len(s.open) > 0 && s.open[0].rank == rankLink {
		core = linkText(core)
	}
	s.r.write(core)
	s.started = true
	s.space = after
}

// writeSpace writes the white space between two texts; none at the beginning of a line.
func (s *span) writeSpace(before string) {
	space := s.space + before
	s.space = ""
	if !s.started {
		return
	}
	s.r.write(space)
}

func (s *span) closeTo(n int) {
	for len(s.open) > n {
		last := len(s.open) - 1
		s.r.write(s.open[last].close)
		s.open = s.open[:last]
	}
}

// marksOf gives the marks of a node, the outermost first, and whether it is code.
func marksOf(n *jsontree.Value, text string) (marks []mark, code bool) {
	if n == nil {
		return nil, false
	}
	for _, m := range n.GetArray("marks") {
		switch kindOf(m) {
		case "code":
			code = true
		case "strong":
			marks = append(marks, mark{rank: rankStrong, open: "**", close: "**"})
		case "em":
			marks = append(marks, mark{rank: rankEm, open: "*", close: "*"})
		case "strike":
			marks = append(marks, mark{rank: rankStrike, open: "~~", close: "~~"})
		case "underline":
			marks = append(marks, mark{rank: rankUnderline, open: "<u>", close: "</u>"})
		case "subsup":
			tag := "sub"
			if attr(m, "type") == "sup" {
				tag = "sup"
			}
			marks = append(marks, mark{rank: rankSub, open: "<" + tag + ">", close: "</" + tag + ">"})
		case "link":
			if href := attr(m, "href"); href != "" && href != text && href != "mailto:"+text && safeLink(href) {
				marks = append(marks, mark{rank: rankLink, open: "[", close: "](" + target(href) + ")", href: href})
			}
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.rank - b.rank })
	marks = slices.CompactFunc(marks, func(a, b mark) bool { return a.rank == b.rank })
	return marks, code
}

// safeLink tells that an address does not run something where it is clicked on.
func safeLink(href string) bool {
	scheme, _, found := strings.Cut(strings.ToLower(strings.Join(strings.Fields(href), "")), ":")
	return !found || scheme != "javascript" && scheme != "vbscript" && scheme != "data"
}

var linkEscapes = strings.NewReplacer("[", `\[`, "]", `\]`)

func linkText(text string) string { return linkEscapes.Replace(text) }

var targetEscapes = strings.NewReplacer(" ", "%20", "\t", "%09", "\n", "", "\r", "", "(", "%28", ")", "%29", "<", "%3C", ">", "%3E")

// target writes an address so that the link ends where it should.
func target(href string) string { return targetEscapes.Replace(strings.TrimSpace(href)) }
