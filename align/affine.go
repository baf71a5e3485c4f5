package align

import (
	"fmt"
	"math"
)

// affine is x' = a[0]·x + a[1]·y + a[2], y' = a[3]·x + a[4]·y + a[5].
type affine [6]float64

func (a *affine) apply(p Point) Point {
	return Point{a[0]*p.X + a[1]*p.Y + a[2], a[3]*p.X + a[4]*p.Y + a[5]}
}

// inverse is the transform back. It fails with ErrDegenerate as
// [Similarity.Inverse] does, whose result it gives, bit for bit, for a similarity.
func (a affine) inverse() (affine, error) {
	d := a[0]*a[4] - a[1]*a[3]
	inv := affine{0: a[4] / d, 1: -a[1] / d, 3: -a[3] / d, 4: a[0] / d}
	inv[2] = -(inv[0]*a[2] + inv[1]*a[5])
	inv[5] = -(inv[3]*a[2] + inv[4]*a[5])
	// Axes that fall together leave a determinant of rounding only.
	ok := math.Abs(d) > 1e-9*math.Hypot(a[0], a[1])*math.Hypot(a[3], a[4])
	for i := range a {
		ok = ok && finite(a[i]) && finite(inv[i])
	}
	if !ok || inv[0] == 0 && inv[1] == 0 || inv[3] == 0 && inv[4] == 0 {
		return affine{}, fmt.Errorf("align: inverse of %v: %w", a, ErrDegenerate)
	}
	return inv, nil
}

// density is how many pixels of the target's x and y axis a pixel of the
// source spans. For an axis-wise stretch of a similarity, either can be
// filtered by itself; where a shear ties them together, both get the larger,
// which blurs more than it must, but lets nothing alias.
func (a *affine) density() (x, y float64) {
	x, y = math.Hypot(a[0], a[1]), math.Hypot(a[3], a[4])
	if math.Abs(a[0]*a[3]+a[1]*a[4]) > 0.05*x*y {
		// The larger singular value.
		s, t := math.Hypot(a[0]+a[4], a[1]-a[3]), math.Hypot(a[0]-a[4], a[1]+a[3])
		x = (s + t) / 2
		y = x
	}
	return x, y
}
