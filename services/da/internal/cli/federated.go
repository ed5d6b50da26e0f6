package cli

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/federation"
	"github.com/agnes-platform/agnes/services/da/internal/federated"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// afar tells whether a statement that the local database cannot answer may be over tables that stay where they live.
func (a *app) afar(ws *workspace.Workspace, sql string, f queryFlags) bool {
	state, _, err := ws.LoadState()
	return err == nil && !f.write && len(federated.Mentions(state, sql)) > 0
}

// queryFederated answers from the workspace and BigQuery together.
func (a *app) queryFederated(ctx context.Context, ws *workspace.Workspace, sql string, f queryFlags) error {
	state, _, err := ws.LoadState()
	if err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	asker := federated.New(federated.Config{
		Workspace: ws, State: state, BudgetFile: filepath.Join(s.Dir, "bigquery_budget.json"), Note: a.note,
		Agree: func(plan *federation.HybridPlan) (bool, error) { return a.agree(partsOf(plan), f) },
	})
	q := federated.Question{Question: f.question(sql), Registered: f.aliases, NoSemiJoin: f.noSemiJoin}
	if f.format == formatParquet {
		q.Limit = f.limit
		return agreed(a.deliver(f.output, func(path string, _ io.Writer) error {
			q.Parquet = path
			_, err := asker.Query(ctx, q)
			return err
		}, true))
	}
	rows, err := asker.Query(ctx, q)
	if err != nil {
		return agreed(err)
	}
	defer func() { _ = rows.Close() }()
	return a.deliver(f.output, func(_ string, w io.Writer) error { return a.write(w, rows, f) }, false)
}

// agreed is no error where nothing was run because nobody agreed to pay.
func agreed(err error) error {
	if errors.Is(err, federated.ErrRefused) {
		return nil
	}
	return err
}

func partsOf(plan *federation.HybridPlan) []client.HybridPart {
	parts := make([]client.HybridPart, len(plan.Parts))
	for i, p := range plan.Parts {
		parts[i] = client.HybridPart{
			Alias: p.Alias, Bytes: p.Bytes, MaxBytes: p.Reserved, PriceUSD: p.Price,
			SemiJoin: client.SemiJoin{Columns: p.SemiJoin.Columns, Tables: p.SemiJoin.Tables, Keys: p.SemiJoin.Keys, Why: p.SemiJoin.Why},
		}
		for _, t := range p.Tables {
			parts[i].Tables = append(parts[i].Tables, t.String())
		}
	}
	return parts
}
