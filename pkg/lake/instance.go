package lake

import (
	"context"
	"errors"
	"time"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// instance is an in-memory DuckDB by its raw handle: for what is locked, and for what streams.
type instance struct {
	db mapping.Database
}

// openInstance opens a private one and runs the statements that set it up.
func openInstance(setup []string) (*instance, error) {
	var config mapping.Config
	defer mapping.DestroyConfig(&config)
	if mapping.CreateConfig(&config) == mapping.StateError {
		return nil, errors.New("DuckDB gave no configuration")
	}
	i := &instance{}
	var message string
	if mapping.OpenExt("", &i.db, config, &message) == mapping.StateError {
		i.close()
		return nil, scrubText(message)
	}
	conn, err := i.connect()
	if err != nil {
		i.close()
		return nil, err
	}
	defer mapping.Disconnect(&conn)
	for _, s := range setup {
		if err := execute(conn, s); err != nil {
			i.close()
			return nil, err
		}
	}
	return i, nil
}

// connect gives a connection. It keeps the instance alive, whoever closes it.
func (i *instance) connect() (mapping.Connection, error) {
	var conn mapping.Connection
	if mapping.Connect(i.db, &conn) == mapping.StateError {
		return conn, errors.New("DuckDB refused a connection")
	}
	return conn, nil
}

func (i *instance) close() { mapping.Close(&i.db) }

// execute runs a statement of ours whose result nobody needs.
func execute(conn mapping.Connection, sql string) error {
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.Query(conn, sql, &result) == mapping.StateError {
		return scrubText(mapping.ResultError(&result))
	}
	return nil
}

// interruptEvery is how often an interrupt is repeated: one that comes while DuckDB prepares is
// forgotten when it begins to execute.
const interruptEvery = 5 * time.Millisecond

// interruptOn interrupts what the connection does once ctx ends, until stop is called. stop returns
// when no interrupt can come any more.
func interruptOn(ctx context.Context, conn mapping.Connection) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(gone)
		for {
			mapping.Interrupt(conn)
			select {
			case <-done:
				return
			case <-time.After(interruptEvery):
			}
		}
	})
	return func() {
		close(done)
		if !unwatch() {
			<-gone
		}
	}
}
