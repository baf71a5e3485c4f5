package paste

import (
	"math"
	"testing"
)

// Across the mask's border the change must rise no faster than the feather:
// a change of one step all over gives no step between neighbours above 3 %.
func TestNoSeam(t *testing.T) {
	before := crop(skin)
	after := plus(before, func(_, _ float64) [3]float64 { return [3]float64{0.2, 0.2, 0.2} })
	img := picture(200, 200, func(_, _ float64) [3]float64 { return [3]float64{0.5, 0.5, 0.5} })
	mustPaste(t, img, Options{FreeColour: true}, Face{Before: before, After: after, Size: side, ToCrop: affine(100, 100, 128, 10), Blend: 1})
	var steepest float64
	for y := 1; y < 200; y++ {
		for x := 1; x < 200; x++ {
			v := float64(img.NRGBA64At(x, y).R)
			steepest = max(steepest, math.Abs(v-float64(img.NRGBA64At(x-1, y).R)), math.Abs(v-float64(img.NRGBA64At(x, y-1).R)))
		}
	}
	// 128-pixel crop: the feather is 19 pixels wide, its steepest slope 1.5/19.
	if share := steepest / (0.2 * 65535); share > 0.09 {
		t.Errorf("steepest step between neighbours is %.3f of the change", share)
	}
	if v := img.NRGBA64At(100, 100).R; v < depth(0.699) {
		t.Errorf("middle is at %d, want %d", v, depth(0.7))
	}
}

func TestOverlappingFacesDoNotAdd(t *testing.T) {
	before := crop(skin)
	after := plus(before, func(_, _ float64) [3]float64 { return [3]float64{0.2, 0.1, 0.1} })
	face := func(x, blend float64) Face {
		return Face{Before: before, After: after, Size: side, ToCrop: affine(x, 100, 128, 0), Blend: blend}
	}
	flat := func(_, _ float64) [3]float64 { return [3]float64{0.5, 0.5, 0.5} }
	o := Options{FreeColour: true}
	for _, faces := range [][]Face{
		{face(100, 1), face(100, 1)}, {face(85, 1), face(115, 1)}, {face(90, 1), face(100, 0.7), face(110, 1)},
	} {
		img, other := picture(220, 200, flat), picture(220, 200, flat)
		mustPaste(t, img, o, faces...)
		back := append([]Face(nil), faces...)
		for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
			back[i], back[j] = back[j], back[i]
		}
		mustPaste(t, other, o, back...)
		for y := range 200 {
			for x := range 220 {
				a, b := img.NRGBA64At(x, y), other.NRGBA64At(x, y)
				if a.R > depth(0.7)+1 || a.R < depth(0.5) {
					t.Fatalf("(%d, %d): %d is outside %d..%d", x, y, a.R, depth(0.5), depth(0.7))
				}
				if d := int(a.R) - int(b.R); d < -1 || d > 1 {
					t.Fatalf("(%d, %d): %d in one order, %d in the other", x, y, a.R, b.R)
				}
			}
		}
	}
	// Half of each, all over one another: the halves add up.
	img := picture(220, 200, flat)
	mustPaste(t, img, o, face(100, 0.5), face(100, 0.5))
	if v := img.NRGBA64At(100, 100).R; v < depth(0.7)-1 || v > depth(0.7)+1 {
		t.Errorf("two halves give %d, want %d", v, depth(0.7))
	}
}

func TestFacePartlyOutside(t *testing.T) {
	before := crop(skin)
	after := plus(before, waves)
	for _, img := range photos(80, 70) {
		for _, c := range [][2]float64{{0, 0}, {79, 0}, {79, 69}, {-20, 35}, {40, 90}, {40, 35}} {
			old := copyOf(img)
			rect := mustPaste(t, img, Options{}, Face{Before: before, After: after, Size: side, ToCrop: affine(c[0], c[1], 90, 30), Blend: 1})[0]
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
