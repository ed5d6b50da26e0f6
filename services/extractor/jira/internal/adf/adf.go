// Package adf renders the Atlassian Document Format, Jira's rich text, as Markdown that reads well as
// it stands. The nodes and marks are those of
// https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/.
//
// The Markdown is made for reading and searching. The words of a text stay as they were typed: a `*`
// or `_` among them is not escaped. Colours, sizes and widths are dropped. Nothing is ever refused:
// a node that is not known gives the text in it, and what is no document gives its text or nothing.
package adf

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/services/extractor/jira/internal/jsontree"
)

// MaxBytes bounds the Markdown of one text. Jira itself takes 32,767 characters; what is longer than
// MaxBytes ends with an ellipsis.
const MaxBytes = 1 << 20

// Markdown renders a document given as JSON. What is not JSON renders as nothing.
func Markdown(text []byte) string {
	var p jsontree.Parser
	v, _, err := p.Parse(text)
	if err != nil {
		return ""
	}
	var r Renderer
	return r.Markdown(v)
}

// Renderer renders one document after the other in the same memory. The zero Renderer is ready. It
// is not safe for concurrent use.
type Renderer struct {
	writer
	cell bool // within a cell of a table
	line bool // within a heading: everything stays on one line
}

// Markdown renders a document, a list of nodes or a text, which stays as it is. It is "" for nothing.
func (r *Renderer) Markdown(v *jsontree.Value) string {
	if v == nil {
		return ""
	}
	switch v.Type() {
	case jsontree.Null:
		return ""
	case jsontree.String:
		return bounded(jsontree.Text(v))
	case jsontree.Array:
		r.reset()
		r.children(v.GetArray(), false)
	case jsontree.Object:
		r.reset()
		r.children([]*jsontree.Value{v}, false)
	default:
		return string(v.MarshalTo(nil))
	}
	if r.full {
		return bounded(string(r.buf) + ellipsis)
	}
	return strings.TrimRight(string(r.buf), " \n")
}

const ellipsis = "…"

// bounded cuts a text that is longer than MaxBytes.
func bounded(text string) string {
	if len(text) <= MaxBytes {
		return text
	}
	return text[:runeStart(text, MaxBytes-len(ellipsis))] + ellipsis
}

// runeStart is the last position up to n at which a rune starts.
func runeStart(text string, n int) int {
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}

func kindOf(n *jsontree.Value) string { return string(n.GetStringBytes("type")) }

func attr(n *jsontree.Value, name string) string { return jsontree.Text(n.Get("attrs", name)) }

// inlineNodes are those that stand within a line. A node without a type that has a text is one too.
var inlineNodes = map[string]bool{
	"text": true, "hardBreak": true, "mention": true, "emoji": true, "date": true, "status": true, "inlineCard": true,
	"placeholder": true, "mediaInline": true, "inlineExtension": true,
}

func isInline(n *jsontree.Value) bool {
	switch n.Type() {
	case jsontree.String:
		return true
	case jsontree.Object:
	default:
		return false
	}
	kind := n.GetStringBytes("type")
	return inlineNodes[string(kind)] || n.Get("content") == nil && n.Get("text") != nil
}

func isList(n *jsontree.Value) bool {
	switch kindOf(n) {
	case "bulletList", "orderedList", "taskList", "decisionList":
		return true
	}
	return false
}

// children renders nodes one below the other; neighbours that stand within a line share one. In a
// tight place, such as the item of a list, a list follows without an empty line.
func (r *Renderer) children(nodes []*jsontree.Value, tight bool) {
	for i := 0; i < len(nodes) && !r.full; {
		if i > 0 {
			gap := 2
			if tight && isList(nodes[i]) {
				gap = 1
			}
			r.separate(gap)
		}
		end := i
		for end < len(nodes) && isInline(nodes[end]) {
			end++
		}
		if end > i {
			r.inline(nodes[i:end])
			i = end
			continue
		}
		r.block(nodes[i])
		i++
	}
}

func (r *Renderer) content(n *jsontree.Value, tight bool) { r.children(n.GetArray("content"), tight) }

// block renders a node that stands by itself.
func (r *Renderer) block(n *jsontree.Value) {
	switch kindOf(n) {
	case "heading":
		r.heading(n)
	case "bulletList", "orderedList", "taskList", "decisionList":
		r.list(n)
	case "blockquote":
		r.quote("> ", n)
	case "panel":
		r.panel(n)
	case "expand", "nestedExpand":
		if title := oneLine(attr(n, "title")); title != "" {
			r.write("**" + title + "**")
			r.separate(2)
		}
		r.content(n, false)
	case "codeBlock":
		r.code(n)
	case "rule":
		r.write("---")
	case "table":
		r.table(n)
	case "mediaGroup":
		for _, m := range n.GetArray("content") {
			r.separate(1)
			r.block(m)
		}
	case "media":
		r.write(media(n))
	case "blockCard", "embedCard":
		r.write(card(n))
	default:
		r.other(n)
	}
}

// other renders paragraphs, layouts, captions, and whatever is not known.
func (r *Renderer) other(n *jsontree.Value) {
	if content := n.Get("content"); content != nil {
		r.content(n, false)
		return
	}
	text := attr(n, "text")
	if text == "" {
		text = jsontree.Text(n.Get("text"))
	}
	r.write(text)
}

func (r *Renderer) heading(n *jsontree.Value) {
	level := min(max(n.GetInt("attrs", "level"), 1), 6)
	marker := strings.Repeat("#", level) + " "
	if r.cell {
		marker = ""
	}
	wasLine := r.line
	r.line = true
	p := r.push(marker, "")
	r.content(n, false)
	r.pop(p)
	r.line = wasLine
}

// list renders the items of a list; any child counts as one.
func (r *Renderer) list(n *jsontree.Value) {
	kind := kindOf(n)
	number := 1
	if v := n.Get("attrs", "order"); v != nil {
		number = min(max(v.GetInt(), 0), 999_999)
	}
	for _, item := range n.GetArray("content") {
		r.separate(1)
		if isList(item) { // a list of tasks has its lists beside the items
			p := r.push("", "  ")
			r.list(item)
			r.pop(p)
			continue
		}
		marker := "- "
		indent := "  "
		switch {
		case kind == "orderedList":
			marker = strconv.Itoa(number) + ". "
			indent = strings.Repeat(" ", len(marker))
			number++
		case kind == "taskList" && attr(item, "state") == "DONE":
			marker = "- [x] "
		case kind == "taskList":
			marker = "- [ ] "
		case kind == "decisionList":
			marker = "- Decision: "
		}
		p := r.push(marker, indent)
		if isInline(item) {
			r.inline([]*jsontree.Value{item})
		} else {
			r.content(item, true)
		}
		r.keepLead()
		r.pop(p)
		if r.full {
			return
		}
	}
}

func (r *Renderer) quote(first string, n *jsontree.Value) {
	p := r.push(first, "> ")
	r.content(n, false)
	r.pop(p)
}

var panels = map[string]string{
	"info": "Info", "note": "Note", "tip": "Tip", "success": "Success", "warning": "Warning", "error": "Error",
}

// panel renders a coloured box as a quote that says what it is.
func (r *Renderer) panel(n *jsontree.Value) {
	label := panels[attr(n, "panelType")]
	content := n.GetArray("content")
	switch {
	case label == "":
		r.quote("> ", n)
	case len(content) > 0 && kindOf(content[0]) == "paragraph":
		r.quote("> **"+label+":** ", n)
	default:
		p := r.push("> ", "> ")
		r.write("**" + label + ":**")
		r.separate(2)
		r.content(n, false)
		r.pop(p)
	}
}

// code renders a block of code. Within a table, each of its lines is code within the line.
func (r *Renderer) code(n *jsontree.Value) {
	var b strings.Builder
	for _, c := range n.GetArray("content") {
		b.Write(c.GetStringBytes("text"))
	}
	text := strings.TrimRight(strings.ReplaceAll(b.String(), "\r\n", "\n"), "\n")
	if r.cell {
		for _, line := range strings.Split(text, "\n") {
			r.separate(1)
			r.write(codeSpan(line))
		}
		return
	}
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	r.write(fence + language(attr(n, "language")) + "\n" + text + "\n" + fence)
}

func language(name string) string {
	name = strings.ToLower(strings.TrimSpace(name))
	if len(name) > 40 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == '`' }) {
		return ""
	}
	return name
}

// codeSpan renders code within a line.
func codeSpan(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ReplaceAll(text, "\n", " ")
	fence := strings.Repeat("`", longestRun(text, '`')+1)
	if text[0] == '`' || text[len(text)-1] == '`' {
		text = " " + text + " "
	}
	return fence + text + fence
}

func longestRun(text string, c byte) (longest int) {
	run := 0
	for i := range len(text) {
		if text[i] != c {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// media renders a file by its name, which Jira keeps as the alternative text; a picture from
// elsewhere by its address.
func media(n *jsontree.Value) string {
	name := oneLine(attr(n, "alt"))
	if url := attr(n, "url"); url != "" && safeLink(url) {
		return "![" + linkText(name) + "](" + target(url) + ")"
	}
	if name == "" {
		name = oneLine(attr(n, "id"))
	}
	if name == "" {
		return ""
	}
	return "[attachment: " + name + "]"
}

// card renders a link that Jira shows as a card.
func card(n *jsontree.Value) string {
	url, name := attr(n, "url"), oneLine(jsontree.Text(n.Get("attrs", "data", "name")))
	if url == "" {
		url = jsontree.Text(n.Get("attrs", "data", "url"))
	}
	switch {
	case url == "" || !safeLink(url):
		return name
	case name == "":
		return oneLine(url)
	}
	return "[" + linkText(name) + "](" + target(url) + ")"
}

// date renders milliseconds since 1970, as a number or a text, as a day in UTC.
func date(n *jsontree.Value) string {
	v := n.Get("attrs", "timestamp")
	raw := jsontree.Text(v)
	if raw == "" {
		raw = jsontree.Raw(v)
	}
	ms, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		return raw
	}
	t := time.UnixMilli(ms).UTC()
	if t.Year() < 0 || t.Year() > 9999 {
		return raw
	}
	return t.Format(time.DateOnly)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
