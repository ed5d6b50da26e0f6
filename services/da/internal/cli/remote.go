package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/localdb"
)

// accept is the media type that a format is made of. JSON is asked for line by line, so that an answer
// of any length streams.
func accept(format string) string {
	switch format {
	case formatCSV:
		return client.TypeCSV
	case formatJSON, formatNDJSON:
		return client.TypeNDJSON
	case formatParquet:
		return client.TypeParquet
	}
	return client.TypeJSON
}

func (a *app) queryRemote(ctx context.Context, sql string, f queryFlags) error {
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	q := client.QueryRequest{SQL: sql, Limit: f.limit, Accept: accept(f.format), Registered: f.aliases, NoSemiJoin: f.noSemiJoin}
	if len(q.Registered) > 0 {
		if yes, err := a.agreeRemote(ctx, c, q, f); err != nil || !yes {
			return err
		}
	}
	stream, err := c.Query(ctx, q)
	if err != nil {
		return err
	}
	defer stream.Close()
	return a.deliver(f.output, func(_ string, w io.Writer) error {
		switch f.format {
		case formatTable:
			return a.remoteTable(w, stream, f)
		case formatJSON:
			if err := listOf(w, stream); err != nil {
				return err
			}
		default:
			if _, err := io.Copy(w, stream); err != nil {
				return err
			}
		}
		switch {
		case !stream.Truncated():
		case f.limit > 0:
			a.note("Only the first %d rows are given: --limit 0 gives all that the server allows.", f.limit)
		default:
			a.note("The server left rows off: ask for fewer columns and rows, or for an aggregate.")
		}
		return nil
	}, false)
}

// remoteTable shows the server's JSON answer as a table.
func (a *app) remoteTable(w io.Writer, stream io.Reader, f queryFlags) error {
	answer, err := readAnswer(stream)
	if err != nil {
		return err
	}
	columns := make([]catalog.Column, len(answer.Columns))
	for i, name := range answer.Columns {
		columns[i].Name = name
		if i < len(answer.Types) {
			columns[i].Type = answer.Types[i]
		}
	}
	width, terminal := isTerminal(w)
	if !terminal {
		width = 0
	}
	out := newWriter(f.format, w, columns, width)
	for _, row := range answer.Rows {
		values := make([]localdb.Value, len(columns))
		for i, raw := range row {
			if i < len(values) {
				values[i] = textOf(raw)
			}
		}
		if err := out.row(values); err != nil {
			return err
		}
	}
	hidden, err := out.end()
	if err != nil {
		return err
	}
	a.tellCut(answer.Truncated, len(answer.Rows), hidden, len(columns))
	return nil
}

// remoteAnswer is the server's answer as JSON.
type remoteAnswer struct {
	Columns   []string            `json:"columns"`
	Types     []string            `json:"types"`
	Rows      [][]json.RawMessage `json:"rows"`
	Truncated bool                `json:"truncated"`
}

func readAnswer(r io.Reader) (remoteAnswer, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return remoteAnswer{}, err
	}
	var answer remoteAnswer
	if err := json.Unmarshal(raw, &answer); err != nil {
		return answer, fault.Wrap(err, fault.Permanent, "the server's answer cannot be understood: is it as new as this program?")
	}
	return answer, nil
}

// textOf shows a JSON value: texts without their quotes, the others as they are.
func textOf(raw json.RawMessage) localdb.Value {
	if bytes.Equal(raw, []byte("null")) {
		return localdb.Value{Null: true}
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return localdb.Value{Text: text}
	}
	return localdb.Value{Text: string(raw)}
}

// listOf makes lines of JSON one list.
func listOf(w io.Writer, lines io.Reader) error {
	in, out := bufio.NewReaderSize(lines, 64<<10), bufio.NewWriter(w)
	between := "[\n"
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			_, _ = out.WriteString(between) // bufio keeps the first error until Flush
			_, _ = out.Write(line)
			between = ",\n"
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if between == "[\n" {
		_, _ = out.WriteString("[]\n")
	} else {
		_, _ = out.WriteString("\n]\n")
	}
	return out.Flush()
}
