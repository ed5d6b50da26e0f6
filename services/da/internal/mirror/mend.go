package mirror

import (
	"context"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

// Mend makes the views of a workspace that was moved, or copied, find their files again, without asking
// any server. It does nothing where they do.
func Mend(ctx context.Context, ws *workspace.Workspace, views Views) error {
	state, _, err := ws.LoadState()
	if err != nil || len(state.Tables) == 0 || state.Root == ws.Root {
		return err
	}
	unlock, err := ws.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	published, err := views.Publish(ctx, state.Tables)
	if err != nil {
		return err
	}
	for _, err := range published.Refused {
		return fault.Wrap(err, fault.KindOf(err), "the workspace was moved, and not all of it can be shown: run `da sync`")
	}
	state.Root = ws.Root
	return ws.SaveState(state)
}
