package pipeline

import (
	"image"
	"math"
	"testing"
)

// waves draws a picture of waves, shifted by (dx, dy) pixels, over r.
func waves(r image.Rectangle, dx, dy, level float64) *image.Gray {
	g := image.NewGray(r)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			u, v := float64(x)-dx, float64(y)-dy
			g.Pix[g.PixOffset(x, y)] = uint8(level + 40*math.Sin(u/3)*math.Cos(v/4) + 30*math.Sin((u+v)/5) + 0.5)
		}
	}
	return g
}

func TestMotion(t *testing.T) {
	whole := image.Rect(0, 0, 80, 80)
	a := waves(whole, 0, 0, 100)
	for _, c := range []struct{ dx, dy, level, want float64 }{
		{0, 0, 100, 0},
		{0.3, 0, 100, 0.3},
		{0, -0.7, 100, 0.7},
		{0.4, 0.3, 100, 0.5},
		{0, 0, 120, 0}, // only brighter
		{0.3, 0, 120, 0.3},
	} {
		b := waves(image.Rect(5, 3, 80, 77), c.dx, c.dy, c.level) // another cut-out of the picture
		got, known := motion(a, b, 40.2, 38.7, 30)
		if !known || math.Abs(got-c.want) > 0.05 {
			t.Errorf("shift (%g, %g) at %g: %.3f, %v, want %g", c.dx, c.dy, c.level, got, known, c.want)
		}
	}
}

func TestMotionUnknown(t *testing.T) {
	whole := image.Rect(0, 0, 80, 80)
	a := waves(whole, 0, 0, 100)
	stripes := image.NewGray(whole) // slopes in one direction only: the other's shift can't be seen
	for i := range stripes.Pix {
		stripes.Pix[i] = uint8(100 + 50*math.Sin(float64(i%stripes.Stride)/3))
	}
	for name, c := range map[string]struct {
		pic  *image.Gray
		x, y float64
	}{
		"flat":    {image.NewGray(whole), 40, 40},
		"stripes": {stripes, 40, 40},
		"outside": {a, 10, 40},
	} {
		if got, known := motion(c.pic, c.pic, c.x, c.y, 30); known {
			t.Errorf("%s: a motion of %.3f", name, got)
		}
	}
}
