// Package frame holds one type, the picture of a video in its own planes.
//
// It is what passes between the stages where the standard library has no type:
// image.YCbCr knows neither more than 8 bits, nor limited range, nor which
// matrix its colours were made by. The package imports the standard library
// only, and every stage may import it (docs/decisions/0004).
package frame
