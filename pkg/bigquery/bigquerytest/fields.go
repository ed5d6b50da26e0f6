package bigquerytest

import bq "google.golang.org/api/bigquery/v2"

// Fields makes a schema of pairs of a name and a type, such as "id", "INTEGER".
func Fields(pairs ...string) []*bq.TableFieldSchema {
	var fields []*bq.TableFieldSchema
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, &bq.TableFieldSchema{Name: pairs[i], Type: pairs[i+1]})
	}
	return fields
}
