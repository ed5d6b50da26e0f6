// Command da keeps a workspace in sync with an Agnes server and asks it with SQL.
package main

import (
	"os"

	"github.com/agnes-platform/agnes/services/da"
)

func main() { os.Exit(da.Main()) }
