package detect

import (
	"image"
	"math"
	"testing"
)

// portraits are samples as gray planes, the faces 137 and 91 pixels wide.
func portraits(t *testing.T) map[string]*plane {
	out := map[string]*plane{}
	for name, k := range map[string]int{"obama.jpg": 2, "astronaut.png": 1} {
		img := sample(t, name)
		out[name] = lumaOf(t, img, img.Rect.Dx()/k, img.Rect.Dy()/k)
	}
	return out
}

// A photo moved by a fraction of a pixel moves the landmarks by as much. dlib's
// own whole pixels can't.
func TestLandmarksSubpixel(t *testing.T) {
	const (
		tolerance = 0.006 // of the face's side: the error's standard deviation
		gain      = 0.6   // of the direct way's error
	)
	d := detector(t, Options{})
	for name, src := range portraits(t) {
		faces := detect(t, d, src.gray())
		if len(faces) != 1 {
			t.Fatalf("%s: %d faces", name, len(faces))
		}
		ref, side := faces[0].Landmarks, float64(faces[0].Box.Dx())
		direct, err := d.scanner.Predict(src.pixels(), faces[0].Box)
		if err != nil {
			t.Fatal(err)
		}
		var fine, coarse float64
		const n = 6
		for i := range n {
			w := warp{to: Point{float64(i) * 0.37, 0.1 + float64(i)*0.23}, scale: 1}
			moved := w.render(src, src.w, src.h)
			got := detect(t, d, moved)
			if len(got) != 1 {
				t.Fatalf("%s moved by %v: %d faces", name, w.to, len(got))
			}
			rough, err := d.scanner.Predict(Pixels{Pix: moved.Pix, Stride: moved.Stride, Width: src.w, Height: src.h, Channels: 1}, got[0].Box)
			if err != nil {
				t.Fatal(err)
			}
			for k := range ref {
				p, q := w.undo(got[0].Landmarks[k]), w.undo(rough[k])
				fine += math.Pow(p.X-ref[k].X, 2) + math.Pow(p.Y-ref[k].Y, 2)
				coarse += math.Pow(q.X-direct[k].X, 2) + math.Pow(q.Y-direct[k].Y, 2)
			}
		}
		fine, coarse = math.Sqrt(fine/(2*n*parts)), math.Sqrt(coarse/(2*n*parts))
		t.Logf("%s: error %.3f pixels, direct way %.3f, side %v", name, fine, coarse, side)
		if fine > tolerance*side || fine > gain*coarse {
			t.Errorf("%s: landmarks err by %.3f pixels, want under %.3f and %v of the direct way's %.3f",
				name, fine, tolerance*side, gain, coarse)
		}
	}
}

// Landmarks turn and grow with the photo, whether or not the upright scan still
// finds the face.
func TestLandmarksTurned(t *testing.T) {
	const tolerance = 0.035 // of the face's side, root mean square
	d := detector(t, Options{Rotations: true})
	for name, src := range portraits(t) {
		upright := detect(t, d, src.gray())
		if len(upright) != 1 {
			t.Fatalf("%s: %d faces", name, len(upright))
		}
		center := Point{float64(src.w-1) / 2, float64(src.h-1) / 2}
		n := int(math.Hypot(float64(src.w), float64(src.h)))
		side := float64(upright[0].Box.Dx())
		for _, degrees := range []float64{-35, 15, 35, 48, 90, 120, 180} {
			w := warp{from: center, to: Point{float64(n-1) / 2, float64(n-1) / 2}, scale: 1, degrees: degrees}
			got := detect(t, d, w.render(src, n, n))
			if len(got) != 1 {
				t.Errorf("%s turned by %v°: %d faces: %v", name, degrees, len(got), got)
				continue
			}
			var want [parts]Point
			for i, p := range upright[0].Landmarks {
				want[i] = w.apply(p)
			}
			if e := apart(got[0].Landmarks, want); e > tolerance*side {
				t.Errorf("%s turned by %v°: landmarks err by %.2f pixels, want under %.2f (%+v)", name, degrees, e, tolerance*side, got[0])
			}
			if off := math.Abs(math.Remainder(got[0].Angle-degrees, 360)); got[0].Angle != 0 && off > 36 {
				t.Errorf("%s turned by %v°: found at %v°", name, degrees, got[0].Angle)
			}
			c := fitFrame(want).at(0.5, 0.5)
			if !image.Pt(int(c.X), int(c.Y)).In(got[0].Box) {
				t.Errorf("%s turned by %v°: box %v misses %v", name, degrees, got[0].Box, c)
			}
		}
	}
}

// Landmarks from a known box are those of Detect, also when the box is off.
func TestLandmarksOfBox(t *testing.T) {
	const tolerance = 0.015 // of the face's side
	d := detector(t, Options{})
	img := sample(t, "obama.jpg")
	f := detect(t, d, img)[0]
	side := f.Box.Dx()
	read, err := newLumaReader(img)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []image.Point{{}, {side / 12, 0}, {0, -side / 12}} {
		got, err := d.scanner.landmarks(read, img.Bounds().Size(), boxFrame(f.Box.Add(off)))
		if err != nil {
			t.Fatal(err)
		}
		if e := apart(got, f.Landmarks); e > tolerance*float64(side) {
			t.Errorf("box off by %v: landmarks err by %.2f pixels", off, e)
		}
	}
}

func TestFitFrame(t *testing.T) {
	want := newFrame(123.4, 56.7, 89, 33)
	var pts [parts]Point
	for i, c := range canonical {
		pts[i] = want.at(c.X, c.Y)
	}
	got := fitFrame(pts)
	if math.Abs(got.ox-want.ox)+math.Abs(got.oy-want.oy)+math.Abs(got.ax-want.ax)+math.Abs(got.ay-want.ay) > 1e-9 {
		t.Errorf("frame %v, want %v", got, want)
	}
	if math.Abs(got.angle()-33) > 1e-9 || math.Abs(got.side()-89) > 1e-9 {
		t.Errorf("angle %v, side %v", got.angle(), got.side())
	}
}

// Shrinking keeps areas, enlarging keeps centres.
func TestResample(t *testing.T) {
	src := image.NewGray(image.Rect(0, 0, 60, 40))
	for y := range 40 {
		for x := range 60 {
			src.Pix[y*60+x] = uint8(2*x + 3*y)
		}
	}
	for _, s := range []image.Point{{60, 40}, {30, 20}, {23, 17}, {90, 60}, {120, 80}, {7, 3}} {
		p := lumaOf(t, src, s.X, s.Y)
		for y := 1; y < s.Y-1; y++ {
			for x := 1; x < s.X-1; x++ {
				fx := (float64(x)+0.5)*60/float64(s.X) - 0.5
				fy := (float64(y)+0.5)*40/float64(s.Y) - 0.5
				if got, want := float64(p.pix[y*s.X+x]), 2*fx+3*fy; math.Abs(got-want) > 1 {
					t.Fatalf("%v: pixel (%d, %d) is %v, want %.2f", s, x, y, got, want)
				}
			}
		}
	}
}

// angle is the turn of a frame in degrees.
func (f frame) angle() float64 { return math.Atan2(f.ay, f.ax) * 180 / math.Pi }
