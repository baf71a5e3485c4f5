package paste

import (
	"math"
	"slices"
	"testing"
)

// Wherever faces overlap, what arrives of a change that they share is the sum of
// their masks, but never more than the whole of it, in any order of the faces.
func TestOverlappingFacesDoNotAdd(t *testing.T) {
	before := crop(skin)
	change := func(x, y float64) float64 { return 0.2 * math.Sin(x/5) * math.Cos(y/6) } // by place in the photo
	face := func(x, blend float64) Face {
		after := plus(before, func(u, v float64) [3]float64 {
			d := change(u+x-(side-1)/2.0, v+100-(side-1)/2.0)
			return [3]float64{d, d / 2, d / 2}
		})
		return Face{Before: before, After: after, Size: side, ToCrop: affine(x, 100, side, 0), Blend: blend}
	}
	flat := func(_, _ float64) [3]float64 { return [3]float64{0.5, 0.5, 0.5} }
	e := newEgg(side, nil)
	for _, faces := range [][]Face{
		{face(100, 1)}, {face(100, 1), face(100, 1)}, {face(100, 0.5), face(100, 0.5)},
		{face(85, 1), face(115, 1)}, {face(90, 1), face(100, 0.7), face(110, 1)},
	} {
		img, other := picture(220, 200, flat), picture(220, 200, flat)
		mustPaste(t, img, faces...)
		back := append([]Face(nil), faces...)
		slices.Reverse(back)
		mustPaste(t, other, back...)
		var worst float64
		for y := range 200 {
			for x := range 220 {
				var weight float64
				for _, f := range faces {
					weight += f.Blend * float64(e.at(float64(x)+f.ToCrop[2], float64(y)+f.ToCrop[5]))
				}
				a, b := img.NRGBA64At(x, y), other.NRGBA64At(x, y)
				want := min(weight, 1) * change(float64(x), float64(y))
				worst = max(worst, math.Abs(float64(a.R)/65535-0.5-want))
				if d := int(a.R) - int(b.R); d < -1 || d > 1 {
					t.Fatalf("(%d, %d): %d in one order, %d in the other", x, y, a.R, b.R)
				}
			}
		}
		// The low frequencies that are taken out are what is off.
		if worst > 0.02 {
			t.Errorf("%d faces: off by %.4f", len(faces), worst)
		}
	}
}

func TestFacePartlyOutside(t *testing.T) {
	before := crop(skin)
	after := plus(before, waves)
	for _, img := range photos(80, 70) {
		for _, c := range [][2]float64{{0, 0}, {79, 0}, {79, 69}, {-20, 35}, {40, 90}, {40, 35}} {
			old := copyOf(img)
			rect := mustPaste(t, img, Face{Before: before, After: after, Size: side, ToCrop: affine(c[0], c[1], 90, 30), Blend: 1})[0]
			if !rect.In(img.Bounds()) || rect.Empty() {
				t.Errorf("%T at %v: rectangle %v", img, c, rect)
			}
			same := 0
			for i, v := range bytesOf(img) {
				if v == old[i] {
					same++
				}
			}
			if same == len(old) {
				t.Errorf("%T at %v: nothing changed", img, c)
			}
		}
	}
}
