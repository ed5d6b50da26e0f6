// Package cmd is where the binaries are; each folder is one main of a dozen lines.
package cmd
