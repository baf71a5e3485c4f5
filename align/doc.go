// Package align brings a face from a photo into the frame that the restoring
// networks were trained in, and says how degraded it is there.
//
// Flow: landmarks in the photo → [Estimate] against a [Template] → a
// [Similarity] photo→crop → [Warp] to a square crop → [Degradation]. A video's
// picture is warped straight out of its planes: only what the crop needs is
// made RGB. [WarpAffine] takes pixels that aren't square, turned or mirrored.
//
// Coordinates are pixel-centre coordinates throughout: pixel (i, j) has its
// centre at (i, j), a picture of width w spans [-0.5, w-0.5]. A crop is a
// []float32 of 3*size*size values in [0, 1], planar R, G, B, row by row.
//
// The package is Go, with the innermost loops in assembly on amd64, to the same
// bits. It keeps nothing but memory to use again, owns nothing that must be freed, and
// never writes to the pictures it is given. Every function is safe for
// concurrent use; Warp itself works on up to GOMAXPROCS goroutines, all of
// which have ended when it returns.
package align
