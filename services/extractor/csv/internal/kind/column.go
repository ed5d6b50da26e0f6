package kind

// Column gathers what the values of one column can be. The zero Column is not usable: see NewColumn.
type Column struct {
	// Kinds that every value so far fits.
	Kinds Set
	// Filled tells that there was a value that is not null.
	Filled bool
	// EmptyText tells that there was an empty text that is not null: "" in quotes.
	EmptyText bool
}

// NewColumn is a column before its first value.
func NewColumn(f *Formats) Column { return Column{Kinds: f.Start()} }

// Add takes a value that is not null. An empty text says nothing about the kind: in a column of
// numbers it can only mean that there is none.
func (c *Column) Add(f *Formats, value []byte) {
	if len(value) == 0 {
		c.EmptyText = true
		return
	}
	c.Filled = true
	if c.Kinds != 0 && !fitsAll(value, c.Kinds) {
		c.Kinds = f.Of(value, c.Kinds)
	}
}

// fitsAll is a short way for the values that most columns are made of: true means that Of would give
// all of within.
func fitsAll(v []byte, within Set) bool {
	switch within {
	case Int | Float, Int, Float:
		if len(v) > 15 {
			return false
		}
		point := 0
		for i, c := range v {
			if c-'0' <= 9 {
				continue
			}
			if c != '.' || within != Float || point > 0 || i == 0 || i == len(v)-1 {
				return false
			}
			point = i
		}
		return v[0] != '0' || len(v) == 1 || point == 1
	case Date | Stamp, Date:
		return len(v) == 10 && isDate(v)
	default:
		return false
	}
}

// Merge takes the values of the same column of another file.
func (c *Column) Merge(o Column) {
	c.Kinds &= o.Kinds
	c.Filled = c.Filled || o.Filled
	c.EmptyText = c.EmptyText || o.EmptyText
}

// Kind is the one kind of the column; 0 means text.
func (c Column) Kind() Set {
	if !c.Filled {
		return 0
	}
	return Best(c.Kinds)
}

// TypeOf is the DuckDB type of a kind.
func (f *Formats) TypeOf(k Set) string {
	switch k {
	case Bool:
		return "BOOLEAN"
	case Int:
		return "BIGINT"
	case Float:
		return "DOUBLE"
	case Date, DateAs:
		return "DATE"
	case Stamp:
		return "TIMESTAMP"
	case StampTZ:
		return "TIMESTAMP WITH TIME ZONE"
	case Time:
		return "TIME"
	case StampAs:
		if f.Stamp.Zoned {
			return "TIMESTAMP WITH TIME ZONE"
		}
		return "TIMESTAMP"
	default:
		return "VARCHAR"
	}
}
