// Package federation answers questions over what is not copied: it fetches what a statement needs from where it
// lives, within a budget that holds across processes, so that the statement itself meets files alone.
package federation
