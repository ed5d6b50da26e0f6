// Command agnes runs every service in one process.
package main

import (
	"os"

	"github.com/agnes-platform/agnes/services/standalone"
)

func main() { os.Exit(standalone.Main()) }
