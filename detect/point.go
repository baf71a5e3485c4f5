package detect

// Point is a place in an image in pixel-centre coordinates: (0, 0) is the
// centre of the top left pixel.
type Point struct{ X, Y float64 }
