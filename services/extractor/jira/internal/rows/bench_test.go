package rows

import (
	"encoding/json"
	"fmt"
	"testing"
)

// bigDocument is an issue as a busy site has them: a hundred custom fields that are null, a page of
// text, five comments, ten histories; 8 to 10 KB.
func bigDocument(n int) []byte {
	user := func(i int) map[string]any {
		return map[string]any{
			"accountId": fmt.Sprintf("557058:%08d-aaaa-bbbb", i), "displayName": fmt.Sprintf("Person %d", i), "emailAddress": fmt.Sprintf("p%d@example.com", i),
			"active": true, "timeZone": "Europe/Prague", "accountType": "atlassian", "self": fmt.Sprintf("https://your.atlassian.net/rest/api/3/user?accountId=%d", i),
		}
	}
	paragraph := func(i int) map[string]any {
		return map[string]any{"type": "paragraph", "content": []any{
			map[string]any{"type": "text", "text": "The checkout of gift cards fails ", "marks": []any{map[string]any{"type": "strong"}}},
			map[string]any{"type": "text", "text": fmt.Sprintf("for cart %d with “quotes” and\ttabs.", i)},
			map[string]any{"type": "hardBreak"}, map[string]any{"type": "mention", "attrs": map[string]any{"id": "1", "text": "@Ann Lee"}},
		}}
	}
	rich := func(n int) map[string]any {
		var content []any
		for i := range n {
			content = append(content, paragraph(i))
		}
		return map[string]any{"type": "doc", "version": 1, "content": content}
	}
	key := fmt.Sprintf("SUP-%d", n)
	fields := map[string]any{
		"summary": "Checkout of gift cards fails", "description": rich(4), "issuetype": map[string]any{"name": "Incident", "id": "1"},
		"status":   map[string]any{"name": "In Progress", "statusCategory": map[string]any{"name": "In Progress"}},
		"priority": map[string]any{"name": "High"}, "project": map[string]any{"key": "SUP", "name": "Support"},
		"creator": user(1), "reporter": user(2), "assignee": user(n % 50), "created": "2024-05-01T10:11:12.345+0200", "updated": "2024-06-01T10:11:12.345+0200",
		"labels": []string{"a", "b"}, "issuelinks": []any{}, "attachment": []any{},
		"customfield_10004": map[string]any{"value": "S1"}, "customfield_10323": []any{map[string]any{"value": "x"}, map[string]any{"value": "y"}},
		"customfield_10328": map[string]any{"name": "First response", "completedCycles": []any{map[string]any{
			"breached": false, "goalDuration": map[string]any{"millis": 3600000}, "elapsedTime": map[string]any{"millis": 1800000},
		}}},
	}
	for i := range 100 {
		fields[fmt.Sprintf("customfield_2%04d", i)] = nil
	}
	var comments, histories []any
	for i := range 5 {
		comments = append(comments, map[string]any{
			"id": fmt.Sprint(n*10 + i), "author": user(i), "updateAuthor": user(i), "body": rich(1), "created": "2024-05-02T10:11:12.345+0200", "updated": "2024-05-02T10:11:12.345+0200",
		})
	}
	for i := range 10 {
		histories = append(histories, map[string]any{"id": fmt.Sprint(n*20 + i), "author": user(i), "created": fmt.Sprintf("2024-05-%02dT10:11:12.345+0200", 20-i), "items": []any{
			map[string]any{"field": "status", "fieldtype": "jira", "from": "1", "fromString": "Open", "to": "2", "toString": "In Progress"},
			map[string]any{"field": "assignee", "fieldtype": "jira", "from": nil, "fromString": nil, "to": "2", "toString": "Person 2"},
		}})
	}
	doc, err := json.Marshal(map[string]any{
		"id": fmt.Sprint(100000 + n), "key": key, "fields": fields, "_comments": comments, "_changelog": histories, "_synced_at": "2024-06-01T08:11:13Z",
	})
	if err != nil {
		panic(err)
	}
	return doc
}

// BenchmarkFlatten: 50,000 documents have to take well under 20 s on one core, that is 400 µs each.
func BenchmarkFlatten(b *testing.B) {
	fields, err := NewFieldMap(nil)
	if err != nil {
		b.Fatal(err)
	}
	docs := make([][]byte, 64)
	size := 0
	for i := range docs {
		docs[i] = bigDocument(i)
		size += len(docs[i])
	}
	f := NewFlattener(fields, Site{URL: "https://your.atlassian.net"})
	b.SetBytes(int64(size / len(docs)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		rows, err := f.Flatten(docs[i%len(docs)])
		if err != nil || len(rows.Tables[Changelog]) != 20 || len(rows.Problems) != 0 {
			b.Fatal(err, len(rows.Tables[Changelog]), rows.Problems)
		}
	}
	b.ReportMetric(float64(size)/float64(len(docs)), "bytes/doc")
}
