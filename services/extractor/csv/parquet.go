package csv

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/agnes-platform/agnes/pkg/catalog"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/lake"
	"github.com/agnes-platform/agnes/services/extractor/csv/internal/naming"
)

// parquet reads parquet files, which carry their types.
func (l *load) parquet(ctx context.Context) error {
	columns, err := l.parquetColumns(ctx)
	if err != nil {
		return err
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		ident := lake.QuoteIdent(c.Name)
		list[i] = ident
		if t := l.reading.columns[strings.ToLower(c.Name)]; t != "" {
			list[i] = "CAST(" + ident + " AS " + t + ") AS " + ident
		}
	}
	err = l.write(ctx, "SELECT "+strings.Join(list, ", ")+" FROM "+l.readParquet(l.inputs), 0)
	return l.parquetError(err)
}

// readParquet is the SQL that reads the files in their order.
func (l *load) readParquet(inputs []input) string {
	paths := make([]string, len(inputs))
	for i, in := range inputs {
		paths[i] = in.path
	}
	return "read_parquet(" + literalPaths(paths) + ", union_by_name = true, hive_partitioning = false)"
}

// parquetColumns gives the columns over all files.
func (l *load) parquetColumns(ctx context.Context) ([]catalog.Column, error) {
	for _, in := range l.inputs {
		if in.compression != naming.Plain {
			return nil, fault.New(fault.Invalid, "%s: parquet is compressed by itself; it is not read out of a %s file", in.rel, in.compression)
		}
		if err := magic(in); err != nil {
			return nil, err
		}
	}
	all, err := l.describeParquet(ctx, l.inputs)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, c := range all {
		there[strings.ToLower(c.Name)] = true
	}
	for _, name := range l.reading.required {
		if !there[strings.ToLower(name)] {
			return nil, fault.New(fault.Invalid, "columns: there is no column %q in %s", name, l.inputs[0].rel)
		}
	}
	return all, l.sameParquet(ctx, all)
}

// sameParquet wants all files to have the same columns where they are not to be united.
func (l *load) sameParquet(ctx context.Context, all []catalog.Column) error {
	if l.reading.union || len(l.inputs) == 1 {
		return nil
	}
	for _, in := range l.inputs {
		own, err := l.describeParquet(ctx, []input{in})
		if err != nil {
			return err
		}
		if len(own) != len(all) {
			return fault.New(fault.Invalid, "%s: it does not have the columns of the other files, and union_by_name is off", in.rel)
		}
	}
	return nil
}

func (l *load) describeParquet(ctx context.Context, inputs []input) ([]catalog.Column, error) {
	var out []catalog.Column
	query := "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM " + l.readParquet(inputs) + ")"
	err := l.Rows(ctx, query, func(scan func(...any) error) error {
		var c catalog.Column
		if err := scan(&c.Name, &c.Type); err != nil {
			return err
		}
		out = append(out, c)
		return nil
	})
	if lake.ClassOf(err) == lake.ClassIO && verify(l.inputs, l.tokens) == nil {
		return nil, l.invalidParquet(err) // what it reads is not there, though the file is as it was
	}
	return out, l.parquetError(err)
}

// parquetError tells damage from the rest: DuckDB says in which file it is.
func (l *load) parquetError(err error) error {
	switch lake.ClassOf(err) {
	case "Invalid Input", "Conversion", "Out of Range", lake.ClassBinder, "Serialization", "Not implemented":
		return l.invalidParquet(err)
	}
	return err
}

func (l *load) invalidParquet(err error) error {
	name := l.inputs[0].rel
	if len(l.inputs) > 1 {
		name = fmt.Sprintf("%s and %d more files", name, len(l.inputs)-1)
	}
	return fault.Wrap(err, fault.Invalid, "%s: the parquet data is damaged (%s)", name, err)
}

// magic looks for the mark that parquet files start and end with.
func magic(in input) error {
	f, err := os.Open(in.path)
	if err != nil {
		return cannotRead(in, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return cannotRead(in, err)
	}
	var start, end [4]byte
	if info.Size() >= 12 {
		if _, err := f.ReadAt(start[:], 0); err != nil {
			return cannotRead(in, err)
		}
		if _, err := f.ReadAt(end[:], info.Size()-4); err != nil {
			return cannotRead(in, err)
		}
	}
	switch {
	case string(start[:]) == "PAR1" && string(end[:]) == "PAR1":
		return nil
	case string(start[:]) == "PAR1":
		return fault.New(fault.Invalid, "%s: the parquet file is cut off: its end is missing", in.rel)
	}
	return fault.New(fault.Invalid, "%s: this is not a parquet file", in.rel)
}
