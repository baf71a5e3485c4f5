package detect

import (
	"image"
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

// changed is the mean absolute difference of picture n from the one before it in a box, in
// gray levels. known is false where the ring hasn't both.
func (r *ring) changed(n int, box image.Rectangle) (change float32, known bool) {
	a, b := r.at(n-1), r.at(n)
	box = box.Intersect(image.Rectangle{Max: r.size})
	if a == nil || b == nil || box.Empty() {
		return 0, false
	}
	sum := 0
	for y := box.Min.Y; y < box.Max.Y; y++ {
		p, q := a.luma.Pix[y*a.luma.Stride:][:r.size.X], b.luma.Pix[y*b.luma.Stride:][:r.size.X]
		for x := box.Min.X; x < box.Max.X; x++ {
			d := int(p[x]) - int(q[x])
			sum += max(d, -d)
		}
	}
	return float32(sum) / float32(box.Dx()*box.Dy()), true
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
