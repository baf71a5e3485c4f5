// Package paste puts restored faces back into a photo or a video's picture.
//
// What is pasted is not the restored crop but its difference from the crop
// that went into the network: photo + mask·blend·W(after − before), where W
// is the area-correct inverse of the warp that made the crop. So everything
// that the crop couldn't hold (detail finer than its pixels, grain, bit depth,
// alpha) stays the photo's own, and where the network changed nothing,
// nothing changes.
//
// Flow: check everything → per face: difference, low-frequency part removed
// so that brightness and casts stay, held to the tone line where the face is
// black-and-white or toned → if asked, the grain that the face lost is added to
// the difference → per row of the photo: the masked differences of
// all faces, summed with weights that never exceed one, rounded once. A video's
// planes take the sums through their own matrix, chroma as means over its area.
//
// Rounding is plain: a change is at most half a code off. Dithering it would
// make samples move where nothing changed.
//
// Coordinates are pixel-centre coordinates: pixel (i, j) has its centre at
// (i, j). A crop is a []float32 of 3*size*size values in [0, 1], planar RGB.
//
// The package is Go, with the innermost loop in assembly on amd64, to the same
// bits. It keeps nothing but memory to use again. The photo is edited in place, by
// up to GOMAXPROCS goroutines that have ended when Paste returns; nothing
// else may use the photo meanwhile.
package paste
