package paste

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"testing"
)

// sepia tones a gray along a curve: a different gamma for each channel.
func sepia(x, y float64) [3]float64 {
	v := grayish(x, y)[0]
	return [3]float64{math.Pow(v, 0.8), math.Pow(v, 1.0) * 0.95, math.Pow(v, 1.35) * 0.85}
}

func toneOf(c []float32) tone {
	e := newEgg(side, nil)
	o := look(&Face{Before: c, After: c, Size: side}, &e)
	return measureTone(o.before, o.weight)
}

func noisy(c []float32, sigma float64) []float32 {
	r := rand.New(rand.NewPCG(5, 6))
	out := append([]float32(nil), c...)
	for i := range out {
		out[i] += float32(sigma * r.NormFloat64())
	}
	return out
}

func TestMonochromeIsRecognised(t *testing.T) {
	for _, c := range []struct {
		name          string
		crop          []float32
		mono, neutral bool
	}{
		{"colour", crop(skin), false, false},
		{"gray", crop(grayish), true, true},
		{"gray with colour noise of 3/255", noisy(crop(grayish), 3.0/255), true, true},
		{"sepia", crop(sepia), true, false},
		{"sepia with noise of 3/255", noisy(crop(sepia), 3.0/255), true, false},
		{"black", make([]float32, 3*side*side), true, true},
		{"one tint", crop(func(_, _ float64) [3]float64 { return [3]float64{0.6, 0.5, 0.4} }), true, false},
	} {
		got := toneOf(c.crop)
		neutral := got.cb == [3]float64{} && got.cr == [3]float64{}
		t.Logf("%s: spread %.4f, strongest %.4f", c.name, got.spread, got.strongest)
		if got.monochrome != c.mono || neutral && !c.neutral || c.neutral && !neutral {
			t.Errorf("%s: %+v, want monochrome %v, neutral %v", c.name, got, c.mono, c.neutral)
		}
	}
}

// A coloured change on a black-and-white face leaves R = G = B exactly; the
// same change on a coloured face doesn't.
func TestBlackAndWhiteStays(t *testing.T) {
	coloured := func(x, y float64) [3]float64 {
		v := 0.2 * math.Sin(x/2) * math.Cos(y/2.3)
		return [3]float64{v, -v / 2, v / 3}
	}
	for _, c := range []struct {
		before []float32
		same   bool
	}{{crop(grayish), true}, {crop(skin), false}} {
		f := Face{Before: c.before, After: plus(c.before, coloured), Size: side, ToCrop: affine(60, 60, 100, 12), Blend: 1}
		gray8, gray16 := image.NewNRGBA(image.Rect(0, 0, 120, 120)), image.NewNRGBA64(image.Rect(0, 0, 120, 120))
		r := rand.New(rand.NewPCG(7, 8))
		for y := range 120 {
			for x := range 120 {
				v := uint16(r.Uint32())
				gray8.SetNRGBA(x, y, color.NRGBA{uint8(v), uint8(v), uint8(v), 255})
				gray16.SetNRGBA64(x, y, color.NRGBA64{v, v, v, 65535})
			}
		}
		old := copyOf(gray8)
		mustPaste(t, gray8, f)
		mustPaste(t, gray16, f)
		broken, changed := 0, 0
		for y := range 120 {
			for x := range 120 {
				a, b := gray8.NRGBAAt(x, y), gray16.NRGBA64At(x, y)
				if a.R != a.G || a.G != a.B || b.R != b.G || b.G != b.B {
					broken++
				}
				if a.R != old[gray8.PixOffset(x, y)] {
					changed++
				}
			}
		}
		if c.same != (broken == 0) || changed == 0 {
			t.Errorf("black-and-white %v: %d pixels took on colour, %d changed", c.same, broken, changed)
		}
	}
}

// On a sepia face, changed pixels lie on the same tone curve as before.
func TestSepiaStays(t *testing.T) {
	before := crop(sepia)
	after := plus(before, func(x, y float64) [3]float64 {
		v := 0.15 * math.Sin(x/2) * math.Cos(y/2.3)
		return [3]float64{v, -v / 5, v}
	})
	at := [6]float64{1, 0, 0, 0, 1, 0}
	img := picture(side, side, sepia)
	mustPaste(t, img, Face{Before: before, After: after, Size: side, ToCrop: at, Blend: 1})
	var worst, moved float64
	for y := range side {
		for x := range side {
			c := img.NRGBA64At(x, y)
			r, g, b := float64(c.R)/65535, float64(c.G)/65535, float64(c.B)/65535
			v := g / 0.95 // the gray that the toning started from
			worst = max(worst, math.Abs(r-math.Pow(v, 0.8)), math.Abs(b-0.85*math.Pow(v, 1.35)))
			moved = max(moved, math.Abs(g-sepia(float64(x), float64(y))[1]))
		}
	}
	t.Logf("up to %.4f off the curve after moves of up to %.3f", worst, moved)
	if worst > 0.012 || moved < 0.03 {
		t.Errorf("up to %.4f off the tone curve, moved by up to %.3f", worst, moved)
	}
}

func TestMask(t *testing.T) {
	frontal := &Landmarks{[2]float64{193, 240}, [2]float64{319, 240}, [2]float64{256.6, 314}}
	turned := &Landmarks{[2]float64{193, 240}, [2]float64{319, 240}, [2]float64{290, 314}}
	odd := &Landmarks{[2]float64{math.NaN(), 0}, [2]float64{0, math.Inf(1)}, [2]float64{1e300, -1e300}}
	swapped := &Landmarks{[2]float64{319, 240}, [2]float64{193, 240}, [2]float64{256, 314}}
	for name, l := range map[string]*Landmarks{"none": nil, "frontal": frontal, "turned": turned, "odd": odd, "swapped": swapped} {
		for _, size := range []int{64, 512} {
			m := Mask(size, l)
			var steepest float32
			for y := range size {
				for x := range size {
					v := m[y*size+x]
					if edge := min(x, y, size-1-x, size-1-y); !(v >= 0 && v <= 1) || edge < size/64 && v != 0 {
						t.Fatalf("%s: %v at (%d, %d) of %d", name, v, x, y, size)
					}
					if x > 0 {
						steepest = max(steepest, v-m[y*size+x-1], m[y*size+x-1]-v)
					}
				}
			}
			if limit := 15 / float32(size); steepest > limit {
				t.Errorf("%s at %d: a step of %.3f between neighbours, want at most %.3f", name, size, steepest, limit)
			}
		}
	}
	m := Mask(512, frontal)
	// Eyes with their corners, brows, nose and mouth are wholly inside.
	for _, p := range [][2]int{{165, 240}, {345, 240}, {193, 205}, {319, 205}, {256, 314}, {201, 371}, {313, 371}, {256, 410}} {
		if v := m[p[1]*512+p[0]]; v != 1 {
			t.Errorf("mask is %.3f at %v", v, p)
		}
	}
	// Turned to the right, the right cheek's background counts less.
	n := Mask(512, turned)
	if a, b := n[300*512+400], m[300*512+400]; a >= b {
		t.Errorf("at the narrow side: %.3f turned, %.3f frontal", a, b)
	}
	if a, b := n[300*512+115], m[300*512+115]; a <= b {
		t.Errorf("at the wide side: %.3f turned, %.3f frontal", a, b)
	}
	if Mask(0, nil) != nil {
		t.Error("a mask of no size")
	}
}
