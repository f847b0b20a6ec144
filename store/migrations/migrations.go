// Package migrations holds the schema of each engine, as the steps in which it was
// made. A step that was released never changes.
package migrations

import "embed"

// Files has a directory for each engine: postgres and sqlite.
//
//go:embed postgres sqlite
var Files embed.FS
