package federation

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
)

// bucketBudget keeps accounts on the bus, for services.
type bucketBudget struct{ bucket *event.Bucket }

// BucketBudget keeps the accounts on the bus, where every process sees them.
func BucketBudget(bus *event.Bus) BudgetStore {
	return bucketBudget{bucket: bus.Bucket(event.BucketBudget)}
}

func (b bucketBudget) Load(ctx context.Context, day string) ([]byte, uint64, error) {
	e, err := b.bucket.Get(ctx, day)
	if fault.Is(err, fault.NotFound) {
		return nil, 0, nil
	}
	return e.Value, e.Revision, err
}

func (b bucketBudget) Save(ctx context.Context, day string, account []byte, revision uint64) error {
	var err error
	if revision == 0 {
		_, err = b.bucket.Create(ctx, day, account)
	} else {
		_, err = b.bucket.Update(ctx, day, account, revision)
	}
	return err
}

// fileBudget keeps accounts in a file, for one person's machine.
type fileBudget struct{ path string }

// FileBudget keeps the accounts in a file, which processes of one machine share by a lock beside it.
func FileBudget(path string) BudgetStore { return fileBudget{path: path} }

// budgetFile is what the file holds: the last day alone, for earlier ones bound nothing.
type budgetFile struct {
	Day      string          `json:"day"`
	Revision uint64          `json:"revision"`
	Account  json.RawMessage `json:"account"`
}

func (f fileBudget) read() (budgetFile, error) {
	var b budgetFile
	raw, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &b)
	}
	return b, fault.Wrap(err, fault.Permanent, "the budget in %s cannot be read, and what cannot be counted is not spent", f.path)
}

func (f fileBudget) Load(_ context.Context, day string) ([]byte, uint64, error) {
	b, err := f.read()
	if err != nil || b.Day != day {
		return nil, 0, err
	}
	return b.Account, b.Revision, nil
}

func (f fileBudget) Save(ctx context.Context, day string, account []byte, revision uint64) error {
	unlock, err := lake.Lock(ctx, f.path+".lock")
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the budget in %s cannot be locked", f.path)
	}
	defer unlock()
	b, err := f.read()
	if err != nil {
		return err
	}
	if b.Day > day {
		return nil // yesterday's bounds nothing any more
	}
	if b.Day < day {
		b = budgetFile{Day: day}
	}
	if b.Revision != revision {
		return fault.New(fault.Conflict, "the budget was changed by somebody else")
	}
	b.Revision, b.Account = revision+1, account
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return fault.Wrap(replaceFile(f.path, raw), fault.Permanent, "the budget in %s cannot be written", f.path)
}

// replaceFile writes a file that is there whole or as it was.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".budget-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
