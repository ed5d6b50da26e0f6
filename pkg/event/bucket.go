package event

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Bucket is small durable state on the bus: values by key, each with a revision that grows with every
// write. Keys may hold anything.
type Bucket struct {
	bus  *Bus
	name string
}

// Entry is one value of a bucket.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	Written  time.Time
}

// Bucket gives one of the buckets that streams.go declares, such as BucketScheduler.
func (b *Bus) Bucket(name string) *Bucket { return &Bucket{bus: b, name: name} }

// do runs an operation on the bucket; a bucket that went with the bus's store is made again.
func (k *Bucket) do(ctx context.Context, op func(context.Context, jetstream.KeyValue) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	kv, err := k.bus.js.KeyValue(ctx, k.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		if err = k.bus.ensure(ctx); err == nil {
			kv, err = k.bus.js.KeyValue(ctx, k.name)
		}
	}
	if err == nil {
		err = op(ctx, kv)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		return fault.Wrap(err, fault.NotFound, "no such key in %s", k.name)
	case errors.Is(err, jetstream.ErrKeyExists), isWrongRevision(err):
		return fault.Wrap(err, fault.Conflict, "the key in %s was changed by somebody else", k.name)
	}
	return fault.Wrap(err, fault.Unavailable, "the bucket %s does not answer", k.name)
}

func isWrongRevision(err error) bool {
	var api jetstream.JetStreamError
	if !errors.As(err, &api) || api.APIError() == nil {
		return false
	}
	code := api.APIError().ErrorCode
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// Get reads a key; fault.NotFound where it is not there.
func (k *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	var e Entry
	err := k.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		got, err := kv.Get(ctx, Token(key))
		if err == nil {
			e = entryOf(got)
		}
		return err
	})
	return e, err
}

func entryOf(e jetstream.KeyValueEntry) Entry {
	return Entry{Key: Untoken(e.Key()), Value: e.Value(), Revision: e.Revision(), Written: e.Created()}
}

// All reads every key of the bucket.
func (k *Bucket) All(ctx context.Context) (map[string]Entry, error) {
	all := map[string]Entry{}
	err := k.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			return err
		}
		defer func() { _ = watch.Stop() }()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case e, ok := <-watch.Updates():
				if !ok {
					return errors.New("the watch ended early")
				}
				if e == nil { // the end of what stands
					return nil
				}
				all[Untoken(e.Key())] = entryOf(e)
			}
		}
	})
	return all, err
}

// Put writes a key whatever stood there, and gives its revision.
func (k *Bucket) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = k.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) (err error) {
		revision, err = kv.Put(ctx, Token(key), value)
		return err
	})
	return revision, err
}

// Create writes a key that must not be there; fault.Conflict where it is.
func (k *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = k.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) (err error) {
		revision, err = kv.Create(ctx, Token(key), value)
		return err
	})
	return revision, err
}

// Update writes a key if it still has the revision; fault.Conflict where it does not.
func (k *Bucket) Update(ctx context.Context, key string, value []byte, last uint64) (revision uint64, err error) {
	err = k.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) (err error) {
		revision, err = kv.Update(ctx, Token(key), value, last)
		return err
	})
	return revision, err
}

// Delete removes a key; removing one that is not there is fine.
func (k *Bucket) Delete(ctx context.Context, key string) error {
	return k.do(ctx, func(ctx context.Context, kv jetstream.KeyValue) error {
		return kv.Purge(ctx, Token(key))
	})
}
