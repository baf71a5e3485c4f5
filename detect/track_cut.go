package detect

import (
	"image"
	"slices"
)

// tiny is a picture in a few cells, each the mean of a part of it: grain and
// most of a face's motion are gone.
const tinyW, tinyH = 64, 36

type tiny [tinyW * tinyH]float32

// tinyOf averages some rows of each cell: enough for the mean.
func tinyOf(luma *image.Gray) *tiny {
	out := new(tiny)
	w, h := luma.Rect.Dx(), luma.Rect.Dy()
	const rows = 6
	var sums [tinyW]int32
	for cy := range tinyH {
		y0, y1 := cy*h/tinyH, max(cy*h/tinyH+1, (cy+1)*h/tinyH)
		step := max(1, (y1-y0)/rows)
		clear(sums[:])
		n := 0
		for y := y0 + (y1-y0-1)%step/2; y < y1; y += step {
			row := luma.Pix[y*luma.Stride:][:w]
			for cx := range tinyW {
				x0, x1 := cx*w/tinyW, max(cx*w/tinyW+1, (cx+1)*w/tinyW)
				var s int32
				for _, v := range row[x0:x1] {
					s += int32(v)
				}
				// Sums of cells of unlike width stand for one area.
				sums[cx] += s * 64 / int32(x1-x0)
			}
			n++
		}
		for cx, s := range sums {
			out[cy*tinyW+cx] = float32(s) / float32(64*n)
		}
	}
	return out
}

// unlike says how much of a picture the other doesn't explain, brightness and
// contrast apart: 0 for the same, about 1 for two that have nothing in common.
func (t *tiny) unlike(o *tiny) float64 {
	const n = tinyW * tinyH
	var mt, mo float64
	for i := range t {
		mt += float64(t[i]) / n
		mo += float64(o[i]) / n
	}
	var vt, vo, cov float64
	for i := range t {
		a, b := float64(t[i])-mt, float64(o[i])-mo
		vt += a * a / n
		vo += b * b / n
		cov += a * b / n
	}
	// What flat pictures differ by is noise: floor is a variance of so many
	// gray levels squared.
	const floor = 6
	gain := max(0.4, min(2.5, (cov+floor)/(vo+floor)))
	rest := vt - 2*gain*cov + gain*gain*vo
	return rest / (max(vt, gain*gain*vo) + floor)
}

type cutEvent int

const (
	cutNone cutEvent = iota
	cutHere          // the picture begins another shot
	cutBack          // the last cut was none, but a flash: the shot goes on
)

const (
	// cutLeast is what two pictures on either side of a cut have to be unlike;
	// cutTimes how many times more than the pictures before.
	cutLeast = 0.30
	cutTimes = 3.0
	// flash is for how many pictures a flash can last.
	flash = 4
	// alike is what pictures of one shot are unlike at most, across a flash.
	alike = 0.15
)

// cutter finds the cuts of a sequence.
type cutter struct {
	last     *tiny
	usual    []float64 // what the last pictures were unlike
	before   *tiny     // the picture before the last cut
	sinceCut int
}

// add takes the next picture.
func (c *cutter) add(t *tiny) cutEvent {
	last := c.last
	c.last = t
	if last == nil {
		return cutNone
	}
	d := t.unlike(last)
	if c.before != nil {
		c.sinceCut++
		if c.sinceCut > flash {
			c.before = nil
		} else if t.unlike(c.before) < alike {
			c.before = nil
			return cutBack
		}
	}
	var usual float64
	if len(c.usual) > 0 {
		sorted := slices.Clone(c.usual)
		slices.Sort(sorted)
		usual = sorted[len(sorted)/2]
	}
	if d > cutLeast && d > cutTimes*usual {
		c.usual = nil
		if c.before == nil {
			c.before, c.sinceCut = last, 0
		}
		return cutHere
	}
	if len(c.usual) == 12 {
		c.usual = c.usual[1:]
	}
	c.usual = append(c.usual, d)
	return cutNone
}
