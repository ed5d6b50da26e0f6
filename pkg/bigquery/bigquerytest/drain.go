package bigquerytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Drain reads a table (projects/…/datasets/…/tables/…) from a Storage Read API without credentials as a bare
// client does: its streams side by side, the messages of Arrow as they come, which are dropped. It is what
// copies of a table are measured against.
func Drain(ctx context.Context, endpoint, parent, table string, streams int) (rows int64, err error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		return 0, fmt.Errorf("drain: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	client := storagepb.NewBigQueryReadClient(conn)
	session, err := client.CreateReadSession(ctx, &storagepb.CreateReadSessionRequest{
		Parent: parent, MaxStreamCount: int32(streams), ReadSession: &storagepb.ReadSession{Table: table, DataFormat: storagepb.DataFormat_ARROW},
	})
	if err != nil {
		return 0, fmt.Errorf("drain: %w", err)
	}
	var count atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	for _, s := range session.GetStreams() {
		group.Go(func() error {
			reading, err := client.ReadRows(groupCtx, &storagepb.ReadRowsRequest{ReadStream: s.GetName()})
			if err != nil {
				return err
			}
			for {
				message, err := reading.Recv()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				count.Add(message.GetRowCount())
			}
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("drain: %w", err)
	}
	return count.Load(), nil
}
