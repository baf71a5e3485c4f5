//go:build race

package daemon

// manyFiles is fewer under the race detector, which makes SQLite in Go slow.
const manyFiles = 300
