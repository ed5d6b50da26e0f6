package lake

import (
	"errors"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// instance is an in-memory DuckDB by its raw handles: what streams, and what is locked.
type instance struct {
	db mapping.Database
}

// openInstance opens one and runs the statements that set it up.
func openInstance(setup []string) (*instance, error) {
	var config mapping.Config
	if mapping.CreateConfig(&config) == mapping.StateError {
		mapping.DestroyConfig(&config)
		return nil, errors.New("DuckDB gave no configuration")
	}
	defer mapping.DestroyConfig(&config)
	i := &instance{}
	var message string
	if mapping.OpenExt("", &i.db, config, &message) == mapping.StateError {
		mapping.Close(&i.db)
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

func (i *instance) connect() (mapping.Connection, error) {
	var conn mapping.Connection
	if mapping.Connect(i.db, &conn) == mapping.StateError {
		return conn, errors.New("DuckDB refused a connection")
	}
	return conn, nil
}

func (i *instance) close() { mapping.Close(&i.db) }

// execute runs statements of ours, whose results nobody needs.
func execute(conn mapping.Connection, sql string) error {
	var result mapping.Result
	defer mapping.DestroyResult(&result)
	if mapping.Query(conn, sql, &result) == mapping.StateError {
		return scrubText(mapping.ResultError(&result))
	}
	return nil
}
