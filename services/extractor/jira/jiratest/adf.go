package jiratest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Text is a document of Atlassian Document Format with one paragraph for each line.
func Text(lines ...string) json.RawMessage {
	nodes := make([]string, len(lines))
	for i, l := range lines {
		nodes[i] = paragraph(textNode(l))
	}
	return adf(nodes...)
}

func adf(nodes ...string) json.RawMessage {
	return json.RawMessage(`{"version":1,"type":"doc","content":[` + strings.Join(nodes, ",") + `]}`)
}

func textNode(v string, marks ...string) string {
	if len(marks) == 0 {
		return `{"type":"text","text":` + quoted(v) + `}`
	}
	return `{"type":"text","text":` + quoted(v) + `,"marks":[` + strings.Join(marks, ",") + `]}`
}

func node(kind, attrs string, content ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"type":%q`, kind)
	if attrs != "" {
		b.WriteString(`,"attrs":` + attrs)
	}
	if len(content) > 0 {
		b.WriteString(`,"content":[` + strings.Join(content, ",") + `]`)
	}
	b.WriteByte('}')
	return b.String()
}

func paragraph(content ...string) string { return node("paragraph", "", content...) }

// Rich is a document with one of every kind of node that people write: headings, lists, a table, code,
// a quote, a panel, links, a mention, emoji, a date, a status, media and a hard break.
func Rich(title string) json.RawMessage {
	cell := func(kind, v string) string { return node(kind, "{}", paragraph(textNode(v))) }
	listItem := func(v string, more ...string) string {
		return node("listItem", "", append([]string{paragraph(textNode(v))}, more...)...)
	}
	return adf(
		node("heading", `{"level":2}`, textNode(title)),
		paragraph(
			textNode("The export "), textNode("fails", `{"type":"strong"}`), textNode(" since "), node("date", `{"timestamp":"1767225600000"}`),
			textNode(", see "), textNode("the runbook", `{"type":"link","attrs":{"href":"https://wiki.example.com/runbook?a=1&b=2"}}`),
			textNode(" or ask "), node("mention", `{"id":"5b10a2844c201657000ede22","text":"@Ann Carter","accessLevel":""}`),
			textNode(" "), node("emoji", `{"shortName":":smile:","id":"1f604","text":"😄"}`), node("hardBreak", ""), textNode("Thanks & <regards>"),
		),
		node("bulletList", "", listItem("first"), listItem("second", node("bulletList", "", listItem("nested")))),
		node("orderedList", `{"order":1}`, listItem("stop"), listItem("start")),
		node("codeBlock", `{"language":"sql"}`, textNode("SELECT *\nFROM \"orders\"\nWHERE a < 1;")),
		node("blockquote", "", paragraph(textNode("It worked yesterday."))),
		node("panel", `{"panelType":"warning"}`, paragraph(textNode("Do not restart."))),
		node("table", `{"isNumberColumnEnabled":false,"layout":"default"}`,
			node("tableRow", "", cell("tableHeader", "Region"), cell("tableHeader", "Errors")),
			node("tableRow", "", cell("tableCell", "eu | west"), cell("tableCell", "17"))),
		node("rule", ""),
		paragraph(textNode("State: "), node("status", `{"text":"IN REVIEW","color":"yellow","localId":"1"}`), textNode(" "),
			textNode("x := y", `{"type":"code"}`), node("inlineCard", `{"url":"https://example.com/card"}`)),
		node("mediaSingle", `{"layout":"center"}`, node("media", `{"id":"6e7c7f2c-dd7a-499c-bceb-6f32bfbf30b5","type":"file","collection":""}`)),
	)
}

// plain is what webhooks have in place of a document: they are of version 2 of the API, which has text.
func plain(doc json.RawMessage) string {
	var n struct {
		Type    string
		Text    string
		Content []json.RawMessage
		Attrs   struct{ Text string }
	}
	if len(doc) == 0 || json.Unmarshal(doc, &n) != nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(n.Text)
	b.WriteString(n.Attrs.Text)
	for i, c := range n.Content {
		if i > 0 && n.Type != "paragraph" {
			b.WriteString("\n")
		}
		b.WriteString(plain(c))
	}
	return b.String()
}
