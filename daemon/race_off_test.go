//go:build !race

package daemon

// manyFiles is the number of files that TestManyFiles drops at once.
const manyFiles = 2000
