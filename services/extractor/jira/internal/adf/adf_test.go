package adf

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Short ways to write nodes.
func doc(content ...string) string {
	return `{"type":"doc","version":1,"content":[` + strings.Join(content, ",") + `]}`
}

func node(kind, attrs string, content ...string) string {
	if attrs == "" {
		attrs = "{}"
	}
	return fmt.Sprintf(`{"type":%q,"attrs":%s,"content":[%s]}`, kind, attrs, strings.Join(content, ","))
}

func p(content ...string) string { return node("paragraph", "", content...) }

func text(words string, marks ...string) string {
	raw, err := json.Marshal(words)
	if err != nil {
		panic(err)
	}
	list := make([]string, len(marks))
	for i, m := range marks {
		list[i] = fmt.Sprintf(`{"type":%q}`, m)
		if strings.HasPrefix(m, "{") {
			list[i] = m
		}
	}
	return fmt.Sprintf(`{"type":"text","text":%s,"marks":[%s]}`, raw, strings.Join(list, ","))
}

func link(href string) string {
	return fmt.Sprintf(`{"type":"link","attrs":{"href":%q}}`, href)
}

func item(content ...string) string { return node("listItem", "", content...) }

func leaf(kind, attrs string) string { return fmt.Sprintf(`{"type":%q,"attrs":%s}`, kind, attrs) }

func row(cells ...string) string { return node("tableRow", "", cells...) }

func cell(content ...string) string { return node("tableCell", "", content...) }

func header(content ...string) string { return node("tableHeader", "", content...) }

const br = `{"type":"hardBreak"}`

func TestMarkdown(t *testing.T) {
	t.Parallel()
	one, two := p(text("one")), p(text("two"))
	for name, c := range map[string]struct{ in, want string }{
		"nothing":       {`null`, ""},
		"wiki text":     {`"h1. Title\n* {color:red}x{color}  "`, "h1. Title\n* {color:red}x{color}  "},
		"number":        {`12.50`, "12.50"},
		"not JSON":      {`{"type":`, ""},
		"empty":         {doc(), ""},
		"no content":    {`{"type":"doc"}`, ""},
		"paragraphs":    {doc(one, two), "one\n\ntwo"},
		"no empty ones": {doc(p(), one, p(), p(text("  ")), two, p()), "one\n\ntwo"},
		"list of nodes": {"[" + one + "," + two + "]", "one\n\ntwo"},
		"bare text":     {`{"text":"alone"}`, "alone"},
		"as typed":      {doc(p(text("snake_case *.go a|b"))), "snake_case *.go a|b"},
		"hard break":    {doc(p(text("a "), br, text("b"), br)), "a  \nb"},
		"heading":       {doc(node("heading", `{"level":3}`, text("A"), br, text("B"))), "### A B"},
		"heading level": {doc(node("heading", `{"level":99}`, text("A")), node("heading", `{"level":"x"}`, text("B"))), "###### A\n\n# B"},
		"empty heading": {doc(node("heading", `{"level":2}`), one), "one"},
		"rule":          {doc(one, leaf("rule", "{}"), two), "one\n\n---\n\ntwo"},

		"strong":            {doc(p(text("a "), text("b", "strong"), text(" c"))), "a **b** c"},
		"space moves out":   {doc(p(text("a"), text(" b ", "strong"), text("c"))), "a **b** c"},
		"marks go on":       {doc(p(text("a", "strong"), text("b", "strong", "em"), text("c", "strong"))), "**a*b*c**"},
		"order of marks":    {doc(p(text("a", "em", "strong"), text(" b", "strong", "em"))), "***a b***"},
		"break in a mark":   {doc(p(text("a", "strong"), br, text("b", "strong"))), "**a  \nb**"},
		"all marks":         {doc(p(text("a", "strike"), text("b", "underline"), text("c", `{"type":"textColor","attrs":{"color":"#f00"}}`))), "~~a~~<u>b</u>c"},
		"sub and sup":       {doc(p(text("H"), text("2", `{"type":"subsup","attrs":{"type":"sub"}}`), text("x"), text("3", `{"type":"subsup","attrs":{"type":"sup"}}`))), "H<sub>2</sub>x<sup>3</sup>"},
		"inline code":       {doc(p(text("go build ", "code"), text("a`b", "code"), text("`", "code"))), "`go build ```a`b```` ` ``"},
		"strong code":       {doc(p(text("x", "code", "strong"))), "**`x`**"},
		"link":              {doc(p(text("see "), text("the [docs]", link("https://example.com/a(b) c")))), `see [the \[docs\]](https://example.com/a%28b%29%20c)`},
		"link in strong":    {doc(p(text("a", "strong"), text("b", "strong", link("https://x.example")))), "**a**[**b**](https://x.example)"},
		"bare link":         {doc(p(text("https://example.com", link("https://example.com")))), "https://example.com"},
		"mail link":         {doc(p(text("a@example.com", link("mailto:a@example.com")))), "a@example.com"},
		"running link":      {doc(p(text("x", link("java\tscript:alert(1)")))), "x"},
		"unknown mark":      {doc(p(text("x", "glow"))), "x"},
		"mention":           {doc(p(leaf("mention", `{"id":"1","text":"@Ann Lee"}`), text(" and "), leaf("mention", `{"id":"557:2","text":""}`), leaf("mention", `{"text":"Bo"}`))), "@Ann Lee and @557:2@Bo"},
		"emoji":             {doc(p(leaf("emoji", `{"shortName":":smile:","text":"😄"}`), leaf("emoji", `{"shortName":":blob:"}`), leaf("emoji", `{"shortName":"x","text":""}`))), "😄:blob::x:"},
		"date":              {doc(p(leaf("date", `{"timestamp":"1709251199000"}`), text(" "), leaf("date", `{"timestamp":1709251200000}`), text(" "), leaf("date", `{"timestamp":"soon"}`))), "2024-02-29 2024-03-01 soon"},
		"status":            {doc(p(leaf("status", `{"text":"IN PROGRESS","color":"blue"}`), leaf("status", `{"text":""}`))), "[IN PROGRESS]"},
		"inline card":       {doc(p(leaf("inlineCard", `{"url":"https://example.com/x y"}`), text(" "), leaf("inlineCard", `{"data":{"url":"https://e.example","name":"E"}}`))), "https://example.com/x y [E](https://e.example)"},
		"block card":        {doc(one, leaf("blockCard", `{"url":"https://example.com"}`), leaf("embedCard", `{"url":"https://e.example"}`)), "one\n\nhttps://example.com\n\nhttps://e.example"},
		"placeholder":       {doc(p(leaf("placeholder", `{"text":"type here"}`))), "type here"},
		"inline extension":  {doc(p(leaf("inlineExtension", `{"extensionKey":"k","text":"seen"}`))), "seen"},
		"media":             {doc(node("mediaSingle", "", leaf("media", `{"type":"file","id":"u-1","alt":"a b.png"}`), node("caption", "", text("how")))), "[attachment: a b.png]\n\nhow"},
		"media group":       {doc(node("mediaGroup", "", leaf("media", `{"id":"u-1"}`), leaf("media", `{"id":"u-2","alt":"x.pdf"}`))), "[attachment: u-1]\n[attachment: x.pdf]"},
		"media inline":      {doc(p(text("see "), leaf("mediaInline", `{"id":"u-1","alt":"x.pdf"}`))), "see [attachment: x.pdf]"},
		"media elsewhere":   {doc(node("mediaSingle", "", leaf("media", `{"type":"external","url":"https://e.example/a.png","alt":"A"}`))), "![A](https://e.example/a.png)"},
		"unknown with text": {doc(leaf("hologram", `{"text":"shape"}`), one), "shape\n\none"},
		"unknown with more": {doc(node("hologram", "", one, node("beam", "", text("x")))), "one\n\nx"},
		"garbage":           {`{"type":7,"content":[null,3,"str",[1],{"type":"paragraph","content":"no"},{"type":"text"},{"marks":3,"text":"t","type":"text"}]}`, "str\n\nt"},
		"deep attrs":        {doc(leaf("heading", `null`), leaf("media", `7`), leaf("date", `[]`)), ""},
	} {
		if got := Markdown([]byte(c.in)); got != c.want {
			t.Errorf("%s:\n%s\ngot\n%s\nwant\n%s", name, c.in, got, c.want)
		}
	}
}

func TestMarkdownBlocks(t *testing.T) {
	t.Parallel()
	one, two := p(text("one")), p(text("two"))
	code := node("codeBlock", `{"language":"Go"}`, text("a := 1\n\nb"))
	for name, c := range map[string]struct{ in, want string }{
		"bullets":           {node("bulletList", "", item(one), item(two)), "- one\n- two"},
		"nested":            {node("bulletList", "", item(one, node("orderedList", "", item(two, node("bulletList", "", item(one))), item(one))), item(two)), "- one\n  1. two\n     - one\n  2. one\n- two"},
		"numbered from":     {node("orderedList", `{"order":9}`, item(one), item(p(text("a"), br, text("b")))), "9. one\n10. a  \n    b"},
		"two in an item":    {node("bulletList", "", item(one, two), item(two)), "- one\n\n  two\n- two"},
		"list around":       {one + "," + node("bulletList", "", item(two)) + "," + one, "one\n\n- two\n\none"},
		"list after empty":  {node("bulletList", "", item(p(), node("bulletList", "", item(one)))), "- - one"},
		"empty item":        {node("bulletList", "", item(), item(one)), "-\n- one"},
		"bare items":        {node("bulletList", "", text("a"), p(text("b")), `null`, `5`), "- a\n- b\n-\n-"},
		"tasks":             {node("taskList", "", node("taskItem", `{"state":"DONE"}`, text("one")), node("taskList", "", node("taskItem", `{"state":"TODO"}`, text("two"))), node("taskItem", `{}`, text("three"))), "- [x] one\n  - [ ] two\n- [ ] three"},
		"block tasks":       {node("taskList", "", node("blockTaskItem", `{"state":"DONE"}`, one)), "- [x] one"},
		"decisions":         {node("decisionList", "", node("decisionItem", `{"state":"DECIDED"}`, text("go"))), "- Decision: go"},
		"quote":             {one + "," + node("blockquote", "", one, p(), two) + "," + two, "one\n\n> one\n>\n> two\n\n" + "two"},
		"empty quote":       {one + "," + node("blockquote", "") + "," + two, "one\n\ntwo"},
		"quote in a list":   {node("bulletList", "", item(node("blockquote", "", one, two))), "- > one\n  >\n  > two"},
		"list in a quote":   {node("blockquote", "", node("bulletList", "", item(one), item(two))), "> - one\n> - two"},
		"code":              {code, "```go\na := 1\n\nb\n```"},
		"code in a list":    {node("bulletList", "", item(one, code)), "- one\n\n  ```go\n  a := 1\n\n  b\n  ```"},
		"code in a quote":   {node("blockquote", "", code), "> ```go\n> a := 1\n>\n> b\n> ```"},
		"code with a fence": {node("codeBlock", `{"language":"a b"}`, text("```\nx\n```")), "````\n```\nx\n```\n````"},
		"empty code":        {node("codeBlock", ``), "```\n\n```"},
		"panel":             {node("panel", `{"panelType":"warning"}`, one, two) + "," + one, "> **Warning:** one\n>\n> two\n\none"},
		"panel of a list":   {node("panel", `{"panelType":"info"}`, node("bulletList", "", item(one))), "> **Info:**\n>\n> - one"},
		"custom panel":      {node("panel", `{"panelType":"custom"}`, one), "> one"},
		"expand":            {node("expand", `{"title":"More"}`, one), "**More**\n\none"},
		"expand untitled":   {node("nestedExpand", `{}`, one), "one"},
		"layout":            {node("layoutSection", "", node("layoutColumn", `{"width":50}`, one), node("layoutColumn", `{"width":50}`, two)), "one\n\ntwo"},
		"extension":         {node("bodiedExtension", `{"extensionKey":"x"}`, one) + "," + leaf("extension", `{"text":"ext"}`), "one\n\next"},

		"table":          {node("table", "", row(header(p(text("A|1"))), header(p(text("B")))), row(cell(one), cell(p(text("x|y", "code"))))), "| A\\|1 | B |\n| --- | --- |\n| one | `x\\|y` |"},
		"table headless": {node("table", "", row(header(one), cell(two)), row(header(one), cell())), "| | |\n| --- | --- |\n| **one** | two |\n| **one** | |"},
		"table cells":    {node("table", "", row(header(one)), row(cell(one, two, node("bulletList", "", item(one), item(p(text("a"), br, text("b"))))))), "| one |\n| --- |\n| one<br>two<br>- one<br>- a<br>  b |"},
		"table code":     {node("table", "", row(header(one)), row(cell(code))), "| one |\n| --- |\n| `a := 1`<br>`b` |"},
		"table heading":  {node("table", "", row(header(one)), row(cell(node("heading", `{"level":2}`, text("h"))))), "| one |\n| --- |\n| h |"},
		"table spans":    {node("table", "", row(header(one), header(one), header(one)), row(node("tableCell", `{"rowspan":2}`, two), node("tableCell", `{"colspan":2}`, two)), row(cell(one), cell(one))), "| one | one | one |\n| --- | --- | --- |\n| two | two | |\n| | one | one |"},
		"table ragged":   {node("table", "", row(header(one)), row(cell(one), cell(two))), "| one | |\n| --- | --- |\n| one | two |"},
		"table empty":    {one + "," + node("table", "") + "," + node("table", "", row()) + "," + two, "one\n\ntwo"},
		"table in a list": {node("bulletList", "", item(one, node("table", "", row(header(one)), row(cell(two))))),
			"- one\n\n  | one |\n  | --- |\n  | two |"},
		"table huge span": {node("table", "", row(header(one)), row(node("tableCell", `{"colspan":1000000000,"rowspan":1000000000}`, two))), "| one |" + strings.Repeat(" |", 99) + "\n|" + strings.Repeat(" --- |", 100) + "\n| two |" + strings.Repeat(" |", 99)},
	} {
		if got := Markdown([]byte(doc(c.in))); got != c.want {
			t.Errorf("%s:\n%s", name, cmp.Diff(c.want, got))
		}
	}
}

// A page with everything, as the editor makes it, for the eye.
func TestMarkdownOfAPage(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile("testdata/page.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/page.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), Markdown(in)+"\n"); diff != "" {
		t.Error(diff)
	}
}

func TestMarkdownIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", MaxBytes)
	for name, in := range map[string]string{
		"text":       text(long),
		"string":     long,
		"paragraphs": doc(strings.TrimSuffix(strings.Repeat(p(text(long[:1<<16]))+",", 40), ",")),
		"cells":      doc(node("table", "", strings.TrimSuffix(strings.Repeat(row(cell(p(text(long[:1<<16]))))+",", 40), ","))),
		"lines":      doc(strings.Repeat(`{"type":"blockquote","content":[`, 100) + p(text(strings.Repeat("x\n", MaxBytes))) + strings.Repeat("]}", 100)),
	} {
		if name == "string" {
			in = `"` + in + `"`
		}
		got := Markdown([]byte(in))
		if len(got) > MaxBytes || !utf8.ValidString(got) || !strings.HasSuffix(got, ellipsis) {
			t.Errorf("%s: %d bytes, valid %v, ends with %q", name, len(got), utf8.ValidString(got), got[max(0, len(got)-8):])
		}
	}
	// What is nested deeper than anybody reads is cut, and what stands above it stays.
	for _, opening := range []string{`{"type":"bulletList","content":[{"type":"listItem","content":[`, `{"type":"table","content":[{"type":"tableRow","content":[{"type":"tableCell","content":[`, `{"type":"expand","content":[`} {
		closing := strings.Repeat("]}", strings.Count(opening, "{"))
		deep := doc(p(text("top")), strings.Repeat(opening, 5000)+p(text("bottom"))+strings.Repeat(closing, 5000))
		if got := Markdown([]byte(deep)); !strings.HasPrefix(got, "top") || strings.Contains(got, "bottom") || len(got) > 1<<16 {
			t.Errorf("%s: %d bytes: %.80q", opening, len(got), got)
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	page, err := os.ReadFile("testdata/page.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page)
	f.Add([]byte(doc(node("bulletList", "", item(p(text("a", "strong"), br, text("b", "code")))))))
	f.Add([]byte(`[{"type":"table","content":[{"content":[{"attrs":{"rowspan":3}}]}]}]`))
	f.Add([]byte("{\"type\":\"text\",\"text\":\"\xff\\ud800\"}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got := Markdown(in)
		if !utf8.ValidString(got) || len(got) > MaxBytes {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
		if Markdown(in) != got {
			t.Error("a second time gives something else")
		}
	})
}
