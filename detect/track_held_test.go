package detect

import (
	"fmt"
	"image"
	"math"
	"math/rand"
	"testing"
)

func TestHeld(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes []float32 // -1 = the same picture, -2 = not known
		want    string    // the pictures that are held
	}{
		{"one in a motion", []float32{5, 4, 0.3, 6, 5}, "[2]"},
		{"each second one", []float32{-2, 0.2, 5, 0.3, 6, 0.2, 5, 0.4}, "[1 3 5 7]"},
		{"everything holds still", []float32{0.3, 0.2, 0.3, 0.1, 0.3}, "[]"},
		{"a slow motion", []float32{0.9, 0.7, 0.6, 0.8, 0.9}, "[]"},
		{"too much of a change", []float32{20, 21, 1.5, 19, 22}, "[]"},
		{"exact repeats say nothing of the others", []float32{0.3, -1, 0.3, -1, 0.3}, "[]"},
		{"not known", []float32{-2, -2, 0.5, -2}, "[]"},
	} {
		steps := make([]step, len(c.changes))
		for i, v := range c.changes {
			steps[i] = step{seen: true, repeat: v == -1, change: max(v, 0), known: v > -2}
		}
		got := []int{}
		for i, h := range held(steps) {
			if h {
				got = append(got, i)
			}
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestChanged(t *testing.T) {
	var r ring
	r.init(image.Pt(8, 8), 8)
	dark, light := image.NewGray(image.Rect(0, 0, 8, 8)), image.NewGray(image.Rect(0, 0, 8, 8))
	for y := range 8 {
		for x := range 4 {
			light.Pix[y*8+x] = 10
		}
	}
	r.push(dark, 3)
	r.push(light, 4)
	for _, c := range []struct {
		n     int
		box   image.Rectangle
		want  float32
		known bool
	}{
		{4, image.Rect(0, 0, 4, 4), 10, true},
		{4, image.Rect(2, 2, 6, 6), 5, true},
		{4, image.Rect(-3, -3, 4, 20), 10, true},
		{4, image.Rect(20, 20, 30, 30), 0, false},
		{3, image.Rect(0, 0, 4, 4), 0, false},
		{5, image.Rect(0, 0, 4, 4), 0, false},
	} {
		if got, known := r.changed(c.n, c.box); got != c.want || known != c.known {
			t.Errorf("picture %d, %v: %g, %v, want %g, %v", c.n, c.box, got, known, c.want, c.known)
		}
	}
}

// Film at 12 pictures a second that is shown at 24: the landmarks stand still in each
// second picture, exactly, and follow the motion in the others.
func TestSmoothHeld(t *testing.T) {
	pose := func(n int) frame { return newFrame(100+3*float64(n/2), 150, 80, 5) }
	for _, mark := range []func(f *TrackFrame){
		func(f *TrackFrame) { f.Held = true },
		func(f *TrackFrame) { f.Repeat = true },
	} {
		frames, truth := walk(80, 0.5, pose)
		for i := 1; i < len(frames); i += 2 {
			mark(&frames[i])
		}
		smooth := Smooth(frames)
		for i := 1; i < len(smooth); i += 2 {
			if smooth[i] != smooth[i-1] {
				t.Fatalf("picture %d moves by %.3f pixels", i, apart(smooth[i], smooth[i-1]))
			}
		}
		if e, at := furthest(smooth, truth); e > 1 {
			t.Errorf("error %.2f in picture %d", e, at)
		}
	}
}

// A face that wasn't seen at first and was in the repeated picture stands as it was seen.
func TestMerge(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	points := func() (p [5]Point) {
		for i := range p {
			p[i] = Point{rnd.Float64(), rnd.Float64()}
		}
		return p
	}
	a, b, c := points(), points(), points()
	different, of := merge([]TrackFrame{{Landmarks: a}, {Landmarks: b, Seen: true, Held: true}, {Landmarks: c, Repeat: true}, {Landmarks: c, Seen: true}})
	if len(different) != 2 || fmt.Sprint(of) != "[0 0 0 1]" || different[0].Landmarks != b || !different[0].Seen || different[1].Landmarks != c {
		t.Errorf("%v, %v", different, of)
	}
}

func TestLumaChange(t *testing.T) {
	// even is a picture of slopes, cut out over r and brighter by so much.
	even := func(r image.Rectangle, brighter uint8) *image.Gray {
		g := image.NewGray(r)
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				g.Pix[g.PixOffset(x, y)] = uint8(2*x+y) + brighter
			}
		}
		return g
	}
	a, b := even(image.Rect(0, 0, 40, 40), 0), even(image.Rect(3, 2, 40, 40), 3)
	if got := LumaChange(a, b, image.Rect(1, 1, 20, 20)); got != 3 {
		t.Errorf("3 levels brighter: %g", got)
	}
	if got := LumaChange(a, a, image.Rect(5, 5, 20, 20)); got != 0 {
		t.Errorf("the same picture: %g", got)
	}
	if got := LumaChange(a, b, image.Rect(-9, 0, 2, 20)); !math.IsInf(got, 1) {
		t.Errorf("nothing in common: %g", got)
	}
}
