package detect

import (
	"image"
	"math"
	"slices"
)

const (
	// heldShare is how little a face's picture changes, in parts of what it does in
	// the pictures about it, where it only stands again.
	heldShare = 0.2
	// heldMost is the most that it changes then, in gray levels: what encoding
	// a picture anew does to it.
	heldMost = 1.0
	// heldReach is how many pictures to either side are looked at.
	heldReach = 4
)

// LumaChange is the mean absolute difference of two lumas in the part of the box that
// both have, in gray levels; infinite where there is none.
func LumaChange(a, b *image.Gray, box image.Rectangle) float64 {
	box = box.Intersect(a.Rect).Intersect(b.Rect)
	if box.Empty() {
		return math.Inf(1)
	}
	sum := 0
	for y := box.Min.Y; y < box.Max.Y; y++ {
		p, q := a.Pix[a.PixOffset(box.Min.X, y):], b.Pix[b.PixOffset(box.Min.X, y):]
		for x := range box.Dx() {
			d := int(p[x]) - int(q[x])
			sum += max(d, -d)
		}
	}
	return float64(sum) / float64(box.Dx()*box.Dy())
}

// changed is the LumaChange of picture n from the one before it. known is false where
// the ring hasn't both, or the box lies outside.
func (r *ring) changed(n int, box image.Rectangle) (change float32, known bool) {
	a, b := r.at(n-1), r.at(n)
	if a == nil || b == nil || !box.Overlaps(b.luma.Rect) {
		return 0, false
	}
	return float32(LumaChange(a.luma, b.luma, box)), true
}

// held says in which steps a face that moves in those about them stands as in
// the one before: where film is shown at a higher rate by repeating pictures, and was
// encoded afterwards, so that they aren't exactly the same. Where everything
// holds still there are none.
func held(steps []step) []bool {
	out := make([]bool, len(steps))
	var about []float32
	for i, s := range steps {
		if i == 0 || s.repeat || !s.known || s.change > heldMost {
			continue
		}
		about = about[:0]
		for _, o := range steps[max(0, i-heldReach):min(len(steps), i+heldReach+1)] {
			if o.known && !o.repeat {
				about = append(about, o.change)
			}
		}
		slices.Sort(about)
		out[i] = s.change < heldShare*about[len(about)*3/4]
	}
	return out
}
