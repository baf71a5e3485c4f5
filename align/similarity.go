package align

import (
	"errors"
	"fmt"
	"math"
)

// Point is a position in pixel-centre coordinates.
type Point struct{ X, Y float64 }

// Similarity is a rotation, uniform scale and shift without reflection:
// x' = A·x − B·y + TX, y' = B·x + A·y + TY.
type Similarity struct{ A, B, TX, TY float64 }

// ErrDegenerate is returned for points that determine no similarity
// transform, and for transforms that have no inverse.
var ErrDegenerate = errors.New("degenerate")

// Apply maps p.
func (m Similarity) Apply(p Point) Point {
	return Point{m.A*p.X - m.B*p.Y + m.TX, m.B*p.X + m.A*p.Y + m.TY}
}

// Scale is the length in the target of a unit length in the source.
func (m Similarity) Scale() float64 { return math.Hypot(m.A, m.B) }

// Angle is the rotation in radians, in (−π, π]; positive turns the x axis
// toward the y axis (clockwise on a screen).
func (m Similarity) Angle() float64 { return math.Atan2(m.B, m.A) }

// Affine gives the same transform as a 2×3 matrix in row order:
// x' = a[0]·x + a[1]·y + a[2], y' = a[3]·x + a[4]·y + a[5].
func (m Similarity) Affine() [6]float64 {
	return [6]float64{m.A, -m.B, m.TX, m.B, m.A, m.TY}
}

// Then is the transform that applies m first and n afterwards.
func (m Similarity) Then(n Similarity) Similarity {
	t := n.Apply(Point{m.TX, m.TY})
	return Similarity{n.A*m.A - n.B*m.B, n.B*m.A + n.A*m.B, t.X, t.Y}
}

// Inverse is the transform back. It fails with ErrDegenerate where the scale
// is zero, or a number isn't finite or overflows in the inverse.
func (m Similarity) Inverse() (Similarity, error) {
	d := m.A*m.A + m.B*m.B
	inv := Similarity{A: m.A / d, B: -m.B / d}
	inv.TX = -(inv.A*m.TX - inv.B*m.TY)
	inv.TY = -(inv.B*m.TX + inv.A*m.TY)
	if !(d > 0) || !m.finite() || !inv.finite() || inv.Scale() == 0 {
		return Similarity{}, fmt.Errorf("align: inverse of %+v: %w", m, ErrDegenerate)
	}
	return inv, nil
}

func (m Similarity) finite() bool {
	return finite(m.A) && finite(m.B) && finite(m.TX) && finite(m.TY)
}

// RMS is the root of the mean squared distance, in target pixels, between
// the images of src and dst. It is NaN for slices that are empty or of
// different length. Against a 512-pixel template, faces seen from the front
// give a few pixels; a residual above some 40 means landmarks that lie.
func (m Similarity) RMS(src, dst []Point) float64 {
	if len(src) == 0 || len(src) != len(dst) {
		return math.NaN()
	}
	var sum float64
	for i, p := range src {
		q := m.Apply(p)
		sum += sq(q.X-dst[i].X) + sq(q.Y-dst[i].Y)
	}
	return math.Sqrt(sum / float64(len(src)))
}

// Estimate finds the similarity that maps src onto dst with the least sum of
// squared distances, in closed form: S. Umeyama, "Least-squares estimation of
// transformation parameters between two point patterns", IEEE PAMI 13(4),
// 1991, in two dimensions and without reflection, where it reduces to the
// mean of the complex quotients. It needs two points or more. Slices of
// different length, numbers that aren't finite, points that coincide, and
// patterns whose best fit has no extent fail with ErrDegenerate.
func Estimate(src, dst []Point) (Similarity, error) {
	fail := func(why string) (Similarity, error) {
		return Similarity{}, fmt.Errorf("align: estimate from %d to %d points: %s: %w",
			len(src), len(dst), why, ErrDegenerate)
	}
	if len(src) != len(dst) {
		return fail("not the same number")
	}
	if len(src) < 2 {
		return fail("at least two are needed")
	}
	ms, vs := moments(src)
	md, vd := moments(dst)
	if !finite(vs) || !finite(vd) || !finite(ms.X+ms.Y+md.X+md.Y) {
		return fail("a coordinate is not finite or too large")
	}
	// A spread of less than 1e-9 of the distance from the origin is rounding.
	if tiny(vs, ms) || tiny(vd, md) {
		return fail("the points coincide")
	}
	var a, b float64
	for i, s := range src {
		sx, sy := s.X-ms.X, s.Y-ms.Y
		dx, dy := dst[i].X-md.X, dst[i].Y-md.Y
		a += sx*dx + sy*dy
		b += sx*dy - sy*dx
	}
	m := Similarity{A: a / vs, B: b / vs}
	m.TX = md.X - (m.A*ms.X - m.B*ms.Y)
	m.TY = md.Y - (m.B*ms.X + m.A*ms.Y)
	// The share of dst's spread that the fit explains is scale²·vs/vd.
	if !m.finite() || !(sq(m.Scale())*vs > 1e-12*vd) {
		return fail("no similarity fits")
	}
	return m, nil
}

// moments gives the mean and the summed squared distances from it.
func moments(ps []Point) (mean Point, spread float64) {
	n := float64(len(ps))
	for _, p := range ps {
		mean.X += p.X / n
		mean.Y += p.Y / n
	}
	for _, p := range ps {
		spread += sq(p.X-mean.X) + sq(p.Y-mean.Y)
	}
	return mean, spread
}

func tiny(spread float64, mean Point) bool {
	return !(spread > 1e-18*(sq(mean.X)+sq(mean.Y))) || spread < 1e-200
}

func sq(x float64) float64 { return x * x }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
