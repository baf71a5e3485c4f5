package paste

import (
	"errors"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"testing"
)

const side = 128 // of the crops in these tests

// affine is the transform photo→crop that puts the crop's centre at (x, y)
// of the photo, spanning width photo pixels, turned by degrees.
func affine(x, y, width, degrees float64) [6]float64 {
	s, t := side/width, degrees*math.Pi/180
	a, b, c := s*math.Cos(t), s*math.Sin(t), (side-1)/2.0
	return [6]float64{a, -b, c - a*x + b*y, b, a, c - b*x - a*y}
}

// crop makes a crop from a function of its pixel coordinates.
func crop(f func(x, y float64) [3]float64) []float32 {
	out := make([]float32, 3*side*side)
	for y := range side {
		for x := range side {
			v := f(float64(x), float64(y))
			for k := range 3 {
				out[(k*side+y)*side+x] = float32(v[k])
			}
		}
	}
	return out
}

func plus(a []float32, f func(x, y float64) [3]float64) []float32 {
	out := crop(f)
	for i := range out {
		out[i] += a[i]
	}
	return out
}

// skin varies in hue as a face does; grayish is the same in black and white.
func skin(x, y float64) [3]float64 {
	v := 0.5 + 0.15*math.Sin(x/9)*math.Cos(y/7)
	h := 0.08 * math.Sin(x/13+y/10)
	return [3]float64{v + 0.1 + h, v, v - 0.1 - h}
}

func grayish(x, y float64) [3]float64 {
	c := skin(x, y)
	v := 0.299*c[0] + 0.587*c[1] + 0.114*c[2]
	return [3]float64{v, v, v}
}

// waves is a change without low frequencies.
func waves(x, y float64) [3]float64 {
	v := 0.1 * math.Sin(x/2) * math.Cos(y/2.3)
	return [3]float64{v, v * 0.8, v * 0.6}
}

// photos are random pixels in each of the four types.
func photos(w, h int) []image.Image {
	r := rand.New(rand.NewPCG(1, 2))
	b := image.Rect(0, 0, w, h)
	g, g16, c, c16 := image.NewGray(b), image.NewGray16(b), image.NewNRGBA(b), image.NewNRGBA64(b)
	for _, pix := range [][]uint8{g.Pix, g16.Pix, c.Pix, c16.Pix} {
		for i := range pix {
			pix[i] = uint8(64 + r.IntN(128))
		}
	}
	return []image.Image{g, g16, c, c16}
}

func bytesOf(img image.Image) []uint8 {
	switch p := img.(type) {
	case *image.Gray:
		return p.Pix
	case *image.Gray16:
		return p.Pix
	case *image.NRGBA:
		return p.Pix
	case *image.NRGBA64:
		return p.Pix
	}
	panic("not a photo")
}

func copyOf(img image.Image) []uint8 { return append([]uint8(nil), bytesOf(img)...) }

func mustPaste(t testing.TB, img image.Image, faces ...Face) []image.Rectangle {
	t.Helper()
	rects, err := Paste(img, faces)
	if err != nil {
		t.Fatal(err)
	}
	if len(rects) != len(faces) {
		t.Fatalf("%d rectangles for %d faces", len(rects), len(faces))
	}
	return rects
}

func TestOutsideTheMaskNothingChanges(t *testing.T) {
	before := crop(skin)
	for _, img := range photos(300, 260) {
		old := copyOf(img)
		f := Face{Before: before, After: plus(before, waves), Size: side, ToCrop: affine(140.3, 120.8, 90, 17), Blend: 1}
		rect := mustPaste(t, img, f)[0]
		now, size := bytesOf(img), len(old)/(300*260)
		e, a, changed := newEgg(side, nil), f.ToCrop, 0
		for i := range old {
			x, y := i/size%300, i/size/300
			u, v := float64(x), float64(y)
			inside := e.at(a[0]*u+a[1]*v+a[2], a[3]*u+a[4]*v+a[5]) > 0
			if now[i] == old[i] {
				continue
			}
			changed++
			if !inside || !image.Pt(x, y).In(rect) {
				t.Fatalf("%T: byte %d of (%d, %d) changed outside the mask or %v", img, i%size, x, y, rect)
			}
			if _, gray := img.(*image.Gray); !gray && size >= 4 && i%size >= size/4*3 {
				t.Fatalf("%T: alpha changed at (%d, %d)", img, x, y)
			}
		}
		if changed < 1000 {
			t.Errorf("%T: only %d bytes changed", img, changed)
		}
	}
}

func TestNothingToDoChangesNothing(t *testing.T) {
	before := crop(skin)
	after := plus(before, waves)
	at := affine(100, 100, 80, 5)
	for name, f := range map[string]Face{
		"blend 0":     {Before: before, After: after, ToCrop: at, Blend: 0},
		"same":        {Before: before, After: before, ToCrop: at, Blend: 1},
		"far away":    {Before: before, After: after, ToCrop: affine(5000, 100, 80, 5), Blend: 1},
		"shift":       {Before: before, After: plus(before, func(_, _ float64) [3]float64 { return [3]float64{0.1, 0.1, 0.1} }), ToCrop: at, Blend: 1},
		"colour cast": {Before: before, After: plus(before, func(_, _ float64) [3]float64 { return [3]float64{0.1, -0.1, 0.05} }), ToCrop: at, Blend: 1},
	} {
		f.Size = side
		for _, img := range photos(200, 200) {
			old := copyOf(img)
			rect := mustPaste(t, img, f)[0]
			for i, v := range bytesOf(img) {
				if v != old[i] {
					t.Fatalf("%s: %T changed at byte %d", name, img, i)
				}
			}
			if empty := name == "blend 0" || name == "far away"; rect.Empty() != empty {
				t.Errorf("%s: rectangle %v", name, rect)
			}
		}
	}
	img := photos(200, 200)[2]
	old := copyOf(img)
	mustPaste(t, img) // no faces
	if string(bytesOf(img)) != string(old) {
		t.Error("no faces changed something")
	}
}

// A slow gradient and a cast must not move the face's mean colour; the mean
// over the mask stays within a third of an 8-bit step of where it was.
func TestBrightnessAndCastsStay(t *testing.T) {
	before := crop(skin)
	after := plus(before, func(x, y float64) [3]float64 {
		v := 0.12 * (x + y - side) / side
		w := waves(x, y)
		return [3]float64{v + 0.05 + w[0], v - 0.03 + w[1], w[2] - v}
	})
	img := picture(200, 200, func(_, _ float64) [3]float64 { return [3]float64{0.6, 0.5, 0.4} })
	f := Face{Before: before, After: after, Size: side, ToCrop: affine(100, 100, 128, 0), Blend: 1}
	mustPaste(t, img, f)
	e := newEgg(side, nil)
	var sum [3]float64
	var n float64
	for y := range 200 {
		for x := range 200 {
			m := float64(e.at(float64(x)-36.5, float64(y)-36.5))
			c := img.NRGBA64At(x, y)
			for k, v := range []uint16{c.R, c.G, c.B} {
				sum[k] += m * float64(v) / 65535
			}
			n += m
		}
	}
	for k, want := range []float64{0.6, 0.5, 0.4} {
		d := sum[k]/n - want
		t.Logf("channel %d moved by %.3f steps of 8 bits on average", k, 255*d)
		if math.Abs(d) > 0.33/255 {
			t.Errorf("channel %d moved by %.5f on average", k, d)
		}
	}
}

func picture(w, h int, f func(x, y float64) [3]float64) *image.NRGBA64 {
	img := image.NewNRGBA64(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			v := f(float64(x), float64(y))
			img.SetNRGBA64(x, y, color.NRGBA64{depth(v[0]), depth(v[1]), depth(v[2]), 0xabcd})
		}
	}
	return img
}

func depth(v float64) uint16 { return uint16(min(max(v, 0), 1)*65535 + 0.5) }

// A known change arrives at its place with its amplitude: enlarged, at equal
// density and shrunk, turned, within the mask's flat middle.
func TestChangeArrivesInPlace(t *testing.T) {
	// Periods of 19 and 23 crop pixels: well below the colour match, well
	// above what a third of the density can hold.
	change := func(x, y float64) [3]float64 {
		v := 0.1 * math.Sin(x/3) * math.Cos(y/3.7)
		return [3]float64{v, -v, v / 2}
	}
	before := crop(skin)
	after := plus(before, change)
	for _, c := range []struct{ width, degrees, want float64 }{
		{128, 0, 50}, {300, 21, 50}, {128, -33, 50}, {70, 8, 42}, {45, 100, 34},
	} {
		img := picture(400, 400, func(_, _ float64) [3]float64 { return [3]float64{0.5, 0.5, 0.5} })
		a := affine(201.3, 198.6, c.width, c.degrees)
		mustPaste(t, img, Face{Before: before, After: after, Size: side, ToCrop: a, Blend: 1})
		e := newEgg(side, nil)
		var wrong, all float64
		for y := range 400 {
			for x := range 400 {
				u, v := a[0]*float64(x)+a[1]*float64(y)+a[2], a[3]*float64(x)+a[4]*float64(y)+a[5]
				if e.at(u, v) < 1 {
					continue
				}
				got := img.NRGBA64At(x, y)
				want := change(u, v)
				for k, g := range []uint16{got.R, got.G, got.B} {
					d := float64(g)/65535 - 0.5
					wrong += (d - want[k]) * (d - want[k])
					all += want[k] * want[k]
				}
			}
		}
		snr := 10 * math.Log10(all/wrong)
		t.Logf("crop of %d over %g pixels at %g°: %.1f dB", side, c.width, c.degrees, snr)
		if snr < c.want {
			t.Errorf("crop of %d over %g pixels at %g°: change to error %.1f dB, want %.0f", side, c.width, c.degrees, snr, c.want)
		}
	}
}

// A change finer than the photo's pixels vanishes; it doesn't alias.
func TestShrinkingDoesNotAlias(t *testing.T) {
	before := crop(skin)
	after := plus(before, func(x, y float64) [3]float64 {
		v := 0.3 * math.Cos(math.Pi*x) * math.Cos(math.Pi*y)
		return [3]float64{v, v, v}
	})
	for _, width := range []float64{64, 40, 25, 17} {
		img := picture(100, 100, func(_, _ float64) [3]float64 { return [3]float64{0.5, 0.5, 0.5} })
		mustPaste(t, img, Face{Before: before, After: after, Size: side, ToCrop: affine(50.2, 49.7, width, 0), Blend: 1})
		for i := 0; i < len(img.Pix); i += 8 {
			v := float64(uint16(img.Pix[i])<<8|uint16(img.Pix[i+1])) / 65535
			if math.Abs(v-0.5) > 0.006 {
				t.Fatalf("over %g pixels: %.4f at pixel %d", width, v, i/8)
			}
		}
	}
}

// Sixteen bits hold changes that eight can't: half an 8-bit step arrives.
func TestSixteenBits(t *testing.T) {
	const tiny = 0.4 / 255
	before := crop(skin)
	after := plus(before, func(x, _ float64) [3]float64 {
		v := tiny * math.Sin(x/2)
		return [3]float64{v, v, v}
	})
	f := Face{Before: before, After: after, Size: side, ToCrop: affine(100, 100, 128, 0), Blend: 1}
	low, high := math.MaxInt, 0
	img := picture(200, 200, func(_, _ float64) [3]float64 { return [3]float64{0.5, 0.5, 0.5} })
	mustPaste(t, img, f)
	for x := 80; x < 120; x++ {
		v := int(img.NRGBA64At(x, 100).G)
		low, high = min(low, v), max(high, v)
	}
	if swing := float64(high-low) / 65535; math.Abs(swing/(2*tiny)-1) > 0.05 {
		t.Errorf("16 bits: swing %.6f, want %.6f", swing, 2*tiny)
	}
	for _, img := range photos(200, 200)[:3] {
		if _, wide := img.(*image.Gray16); wide {
			continue
		}
		old := copyOf(img)
		mustPaste(t, img, f)
		for i, v := range bytesOf(img) {
			if v != old[i] {
				t.Fatalf("%T: 0.4 of a step changed byte %d", img, i)
			}
		}
	}
}

func TestBadFacesAreRefused(t *testing.T) {
	before := crop(skin)
	after := plus(before, waves)
	good := Face{Before: before, After: after, Size: side, ToCrop: affine(50, 50, 60, 0), Blend: 1}
	poison := func(v float32) []float32 {
		c := append([]float32(nil), after...)
		c[len(c)/2] = v
		return c
	}
	nan := math.NaN()
	for name, spoil := range map[string]func(f *Face){
		"NaN after":      func(f *Face) { f.After = poison(float32(nan)) },
		"NaN before":     func(f *Face) { f.Before = poison(float32(nan)) },
		"infinite":       func(f *Face) { f.After = poison(float32(math.Inf(1))) },
		"0..255":         func(f *Face) { f.After = poison(200) },
		"short":          func(f *Face) { f.After = after[1:] },
		"none":           func(f *Face) { f.Before, f.After = nil, nil },
		"wrong size":     func(f *Face) { f.Size = side / 2 },
		"no size":        func(f *Face) { f.Size = 0 },
		"blend above 1":  func(f *Face) { f.Blend = 1.1 },
		"blend below 0":  func(f *Face) { f.Blend = -0.1 },
		"blend NaN":      func(f *Face) { f.Blend = nan },
		"no transform":   func(f *Face) { f.ToCrop = [6]float64{} },
		"NaN transform":  func(f *Face) { f.ToCrop[1] = nan },
		"NaN shift":      func(f *Face) { f.ToCrop[2] = nan },
		"flat transform": func(f *Face) { f.ToCrop = [6]float64{1, 1, 0, 1, 1, 0} },
		"minute":         func(f *Face) { f.ToCrop = affine(50, 50, 5, 0) },
	} {
		bad := good
		spoil(&bad)
		img := photos(100, 100)[2]
		old := copyOf(img)
		if _, err := Paste(img, []Face{good, bad}); !errors.Is(err, ErrFace) {
			t.Errorf("%s: %v", name, err)
		}
		for i, v := range bytesOf(img) {
			if v != old[i] {
				t.Fatalf("%s: the photo was touched at byte %d", name, i)
			}
		}
	}
	if _, err := Paste(image.NewRGBA(image.Rect(0, 0, 9, 9)), nil); err == nil {
		t.Error("RGBA was accepted")
	}
}

func FuzzPaste(f *testing.F) {
	f.Add(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0)
	f.Add(2.0, -0.5, -30.0, 0.5, 2.0, -20.0, 0.5)
	f.Add(8.0, 0.0, -4e8, 0.001, 0.02, 1e8, 1.0)
	f.Add(1e-4, 1e-3, 64.0, 1e-3, -1e-4, 64.0, 1.0)
	f.Add(math.NaN(), math.Inf(1), 1e308, -1e308, 0.0, 1e-308, 1.0)
	const n = MinSize
	r := rand.New(rand.NewPCG(3, 4))
	before, after := make([]float32, 3*n*n), make([]float32, 3*n*n)
	for i := range before {
		before[i], after[i] = r.Float32(), r.Float32()
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g, blend float64) {
		face := Face{Before: before, After: after, Size: n, ToCrop: [6]float64{a, b, c, d, e, g}, Blend: blend,
			Landmarks: &Landmarks{[2]float64{a, b}, [2]float64{c, d}, [2]float64{e, g}}}
		images := photos(31, 23)
		for i := range formats {
			images = append(images, newFrame(i, 31, 23, noise(uint64(i))))
		}
		for _, img := range images {
			face.Grain = !face.Grain
			rects, err := Paste(img, []Face{face, face})
			if err == nil && !rects[0].In(img.Bounds()) {
				t.Fatalf("rectangle %v", rects[0])
			}
		}
	})
}
