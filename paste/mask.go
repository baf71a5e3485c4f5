package paste

import "math"

// Landmarks are the points, in the pixel-centre coordinates of the crop, that
// fit the mask to a turned head.
type Landmarks struct {
	LeftEye, RightEye [2]float64 // centres of the eyes, left and right as seen in the picture
	Nose              [2]float64 // tip or base
}

// The mask is an egg in the frame of the ffhq_512 template, as fractions of
// the crop's side: its half-way contour runs from the hairline to the chin
// and from cheekbone to cheekbone of the mean face.
const (
	maskX      = 256.0 / 512
	maskY      = 290.0 / 512
	maskHalfW  = 156.0 / 512
	maskHalfH  = 166.0 / 512
	maskSoft   = 0.24 // the feather's half-width, as a share of the half axes: 15 % of the side in all
	maskShift  = 20.0 / 512
	maskNarrow = 0.75
	maskWiden  = 1.15
)

// egg is a soft ellipse whose left and right halves differ in width.
type egg struct{ x, y, left, right, half float64 }

// newEgg fits the mask. The nose's offset from the middle of the eyes, in
// units of their distance, tells the yaw: the side that the nose points to
// is narrowed by as much, the other widened, within limits that keep the
// mask off the crop's border.
func newEgg(size int, l *Landmarks) egg {
	s := float64(size)
	e := egg{maskX*s - 0.5, maskY*s - 0.5, maskHalfW * s, maskHalfW * s, maskHalfH * s}
	if l == nil {
		return e
	}
	middle := (l.LeftEye[0] + l.RightEye[0]) / 2
	apart := l.RightEye[0] - l.LeftEye[0]
	turn := (l.Nose[0] - middle) / apart
	shift := (l.Nose[0]+middle)/2 - e.x
	if !(apart > 0.05*s) || math.IsNaN(turn+shift) {
		return e // profile or nonsense: the mean face is the safer guess
	}
	e.x += min(max(shift, -maskShift*s), maskShift*s)
	e.left *= min(max(1+turn, maskNarrow), maskWiden)
	e.right *= min(max(1-turn, maskNarrow), maskWiden)
	return e
}

// at is the mask's value in [0, 1]; exactly 0 outside and exactly 1 inside
// the feather.
func (e *egg) at(x, y float64) float32 {
	dx, dy := x-e.x, (y-e.y)/e.half
	if dx < 0 {
		dx /= e.left
	} else {
		dx /= e.right
	}
	d := dx*dx + dy*dy
	if d >= (1+maskSoft)*(1+maskSoft) {
		return 0
	}
	if d <= (1-maskSoft)*(1-maskSoft) {
		return 1
	}
	t := (1 + maskSoft - math.Sqrt(d)) / (2 * maskSoft)
	return float32(t * t * (3 - 2*t))
}

// extent is half the width and height of a box around (x, y) outside of
// which the mask is 0.
func (e *egg) extent() (w, h float64) {
	return (1 + maskSoft) * max(e.left, e.right), (1 + maskSoft) * e.half
}

// Mask gives the size×size weights in [0, 1] that Paste uses for a crop of
// that side, for reports and previews. Landmarks may be nil: then it is the
// mask of the mean face seen from the front. It is nil for a size below 1.
func Mask(size int, l *Landmarks) []float32 {
	if size < 1 {
		return nil
	}
	e := newEgg(size, l)
	mask := make([]float32, size*size)
	for y := range size {
		for x := range size {
			mask[y*size+x] = e.at(float64(x), float64(y))
		}
	}
	return mask
}
