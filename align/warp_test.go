package align

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// picture makes a 16-bit picture from a function of pixel-centre coordinates
// with values in [0, 1].
func picture(w, h int, f func(x, y float64) [3]float64) *image.NRGBA64 {
	img := image.NewNRGBA64(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			v := f(float64(x), float64(y))
			img.SetNRGBA64(x, y, color.NRGBA64{depth16(v[0]), depth16(v[1]), depth16(v[2]), uint16(x * 31)})
		}
	}
	return img
}

func depth16(v float64) uint16 { return uint16(min(max(v, 0), 1)*65535 + 0.5) }

func gray(f func(x, y float64) float64) func(x, y float64) [3]float64 {
	return func(x, y float64) [3]float64 { v := f(x, y); return [3]float64{v, v, v} }
}

func smooth(x, y float64) [3]float64 {
	return [3]float64{
		0.5 + 0.3*math.Sin(x/11)*math.Cos(y/17),
		0.5 + 0.25*math.Sin((x+2*y)/23),
		0.4 + 0.2*math.Cos((x-y)/19),
	}
}

func fromCrop(crop []float32, size int) *image.NRGBA64 {
	n := size * size
	return picture(size, size, func(x, y float64) [3]float64 {
		i := int(y)*size + int(x)
		return [3]float64{float64(crop[i]), float64(crop[n+i]), float64(crop[2*n+i])}
	})
}

func warp(t *testing.T, img image.Image, m Similarity, size int) []float32 {
	t.Helper()
	crop, err := Warp(img, m, size)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range crop {
		if !(v >= 0 && v <= 1) {
			t.Fatalf("value %v at %d is outside [0, 1]", v, i)
		}
	}
	return crop
}

func turned(scale, degrees, tx, ty float64) Similarity {
	a := degrees * math.Pi / 180
	return Similarity{scale * math.Cos(a), scale * math.Sin(a), tx, ty}
}

// psnr compares two planar crops at least margin pixels from the edge and
// where ok, if given, holds.
func psnr(a, b []float32, size, margin int, ok func(x, y int) bool) float64 {
	var sum float64
	n := 0
	for k := range 3 {
		for y := margin; y < size-margin; y++ {
			for x := margin; x < size-margin; x++ {
				if ok != nil && !ok(x, y) {
					continue
				}
				i := (k*size+y)*size + x
				sum += sq(float64(a[i] - b[i]))
				n++
			}
		}
	}
	return -10 * math.Log10(sum/float64(n)+1e-12)
}

func astronaut(t *testing.T) image.Image {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("go.mod not found above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.Open(filepath.Join(dir, ".deps", "samples", "astronaut.png"))
	if err != nil {
		t.Fatalf("the sample is fetched by make setup: %v", err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	out := image.NewNRGBA(image.Rect(0, 0, img.Bounds().Dx(), img.Bounds().Dy()))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.Set(x, y, img.At(x, y))
		}
	}
	return out
}

func TestWarpIdentityIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	img := image.NewNRGBA64(image.Rect(0, 0, 100, 100))
	for i := range img.Pix {
		img.Pix[i] = uint8(r.Uint32())
	}
	crop := warp(t, img, Similarity{A: 1}, 100)
	shifted := warp(t, img, Similarity{A: 1, TX: -20, TY: -30}, 60)
	for y := range 60 {
		for x := range 60 {
			c := img.NRGBA64At(x+20, y+30)
			for k, want := range []uint16{c.R, c.G, c.B} {
				if got := shifted[(k*60+y)*60+x]; got != float32(want)/65535 {
					t.Fatalf("shift: plane %d at (%d, %d): %v, want %v", k, x, y, got, float32(want)/65535)
				}
				if got := crop[(k*100+y+30)*100+x+20]; got != float32(want)/65535 {
					t.Fatalf("identity: plane %d at (%d, %d): %v", k, x, y, got)
				}
			}
		}
	}
}

func TestWarpTypesAgree(t *testing.T) {
	wide := picture(90, 80, gray(func(x, y float64) float64 {
		return math.Floor(255*(0.5+0.4*math.Sin(x/5)*math.Cos(y/7))) / 255
	}))
	b := wide.Bounds()
	images := []image.Image{wide, image.NewNRGBA(b), image.NewGray(b), image.NewGray16(b)}
	for y := range b.Dy() {
		for x := range b.Dx() {
			v := wide.NRGBA64At(x, y).R
			images[1].(*image.NRGBA).SetNRGBA(x, y, color.NRGBA{uint8(v >> 8), uint8(v >> 8), uint8(v >> 8), uint8(x)})
			images[2].(*image.Gray).SetGray(x, y, color.Gray{uint8(v >> 8)})
			images[3].(*image.Gray16).SetGray16(x, y, color.Gray16{v})
		}
	}
	inner := image.NewGray(image.Rect(-10, -10, 200, 200))
	for y := range b.Dy() {
		for x := range b.Dx() {
			inner.SetGray(x+20, y+30, images[2].(*image.Gray).GrayAt(x, y))
		}
	}
	images = append(images, inner.SubImage(image.Rect(20, 30, 110, 110)))
	for _, m := range []Similarity{turned(2.3, 12, -20, -31), turned(0.6, -70, 10, 40), turned(0.1, 5, 1, 1)} {
		want := warp(t, wide, m, 64)
		for _, img := range images {
			got := warp(t, img, m, 64)
			for i := range got {
				if math.Abs(float64(got[i]-want[i])) > 1e-5 {
					t.Fatalf("%T: %v at %d, NRGBA64 gives %v", img, got[i], i, want[i])
				}
			}
		}
	}
	for _, img := range []image.Image{nil, image.NewRGBA(b), image.NewGray(image.Rectangle{})} {
		if _, err := Warp(img, Similarity{A: 1}, 8); err == nil {
			t.Errorf("%T was accepted", img)
		}
	}
	for _, size := range []int{0, -1, MaxSize + 1} {
		if _, err := Warp(wide, Similarity{A: 1}, size); err == nil {
			t.Errorf("size %d was accepted", size)
		}
	}
}

// A known function sampled at the transformed place is what the warp must
// give: this checks scale, angle and the half-pixel conventions together.
func TestWarpIsSubPixelExact(t *testing.T) {
	img := picture(400, 300, smooth)
	for _, c := range []struct {
		m    Similarity
		want float64 // dB
	}{
		{turned(1, 0, -100.25, -80.5), 66},
		{turned(1, 31, 30, -120), 66},
		{turned(3.7, -12, -500, -400), 66},
		{turned(0.97, 3, -60, -60), 60},
		{turned(0.7, 20, -40, -70), 55},
		{turned(0.5, 95, 170, -40), 48},
		{turned(0.24, 10, 25, 10), 36}, // the stretched kernel begins to damp the waves
	} {
		const size = 100
		back, err := c.m.Inverse()
		if err != nil {
			t.Fatal(err)
		}
		crop := warp(t, img, c.m, size)
		ideal := make([]float32, len(crop))
		inside := func(x, y int) bool {
			p, pad := back.Apply(Point{float64(x), float64(y)}), 2+4/c.m.Scale()
			return p.X > pad && p.X < 399-pad && p.Y > pad && p.Y < 299-pad
		}
		seen := 0
		for y := range size {
			for x := range size {
				p := back.Apply(Point{float64(x), float64(y)})
				for k, v := range smooth(p.X, p.Y) {
					ideal[(k*size+y)*size+x] = float32(v)
				}
				if inside(x, y) {
					seen++
				}
			}
		}
		got := psnr(crop, ideal, size, 0, inside)
		if seen < size*size/10 || !(got >= c.want) {
			t.Errorf("%+v: %.1f dB over %d pixels, want %.0f", c.m, got, seen, c.want)
		}
	}
}

// The place of a small blob in the crop is the transform of its place in the
// photo, within a hundredth of a pixel.
func TestWarpPutsPointsOnTheTemplate(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 3 {
		place := turned(math.Exp2(2*r.Float64()-2.5), 60*(r.Float64()-0.5), 300, 280)
		face := make([]Point, 5)
		for i, p := range FFHQ512 {
			face[i] = place.Apply(Point{p.X - 256, p.Y - 256})
		}
		m, err := Estimate(face, FFHQ512[:])
		if err != nil {
			t.Fatal(err)
		}
		width := 8 * place.Scale()
		img := picture(600, 560, gray(func(x, y float64) float64 {
			var v float64
			for _, p := range face {
				v += math.Exp(-0.5 * (sq(x-p.X) + sq(y-p.Y)) / sq(width))
			}
			return v
		}))
		crop := warp(t, img, m, 512)
		for i, p := range FFHQ512 {
			var sum, sx, sy float64
			for y := int(p.Y) - 25; y <= int(p.Y)+26; y++ {
				for x := int(p.X) - 25; x <= int(p.X)+26; x++ {
					v := float64(crop[y*512+x])
					sum, sx, sy = sum+v, sx+v*float64(x), sy+v*float64(y)
				}
			}
			// The window is centred on the whole pixel: correct what it cuts
			// off by comparing with the ideal blob in the same window.
			var isum, ix, iy float64
			for y := int(p.Y) - 25; y <= int(p.Y)+26; y++ {
				for x := int(p.X) - 25; x <= int(p.X)+26; x++ {
					v := math.Exp(-0.5 * (sq(float64(x)-p.X) + sq(float64(y)-p.Y)) / 64)
					isum, ix, iy = isum+v, ix+v*float64(x), iy+v*float64(y)
				}
			}
			if dx, dy := sx/sum-ix/isum, sy/sum-iy/isum; math.Hypot(dx, dy) > 0.01 {
				t.Errorf("scale %.2f: landmark %d is off by (%.4f, %.4f) px", m.Scale(), i, dx, dy)
			}
		}
	}
}

// There and back: 80 dB on a smooth picture; on a photograph 36 dB with the
// same pixel size, 38 dB through a crop twice as dense.
func TestWarpThereAndBack(t *testing.T) {
	photo := astronaut(t)
	waves := picture(512, 512, smooth)
	for _, c := range []struct {
		name string
		img  image.Image
		m    Similarity
		size int
		want float64
	}{
		{"smooth", waves, turned(1.1, 14, 60.3, -70.6), 512, 80},
		{"photo, same density", photo, turned(1, 14, 70.3, -50.6), 512, 36},
		{"photo, doubled", photo, turned(2, -9, -40.7, 160.2), 1024, 38},
	} {
		back, err := c.m.Inverse()
		if err != nil {
			t.Fatal(err)
		}
		crop := warp(t, c.img, c.m, c.size)
		again := warp(t, fromCrop(crop, c.size), back, 512)
		original := warp(t, c.img, Similarity{A: 1}, 512)
		got := psnr(again, original, 512, 8, func(x, y int) bool {
			p := c.m.Apply(Point{float64(x), float64(y)})
			return p.X > 8 && p.Y > 8 && p.X < float64(c.size-9) && p.Y < float64(c.size-9)
		})
		t.Logf("%s: %.1f dB", c.name, got)
		if !(got >= c.want) {
			t.Errorf("%s: %.1f dB, want %.0f", c.name, got, c.want)
		}
	}
}

// Detail finer than the crop's pixels must vanish to its mean, not turn into
// coarse patterns.
func TestWarpShrinkingDoesNotAlias(t *testing.T) {
	const side = 900
	checker := picture(side, side, gray(func(x, y float64) float64 { return math.Mod(x+y, 2) }))
	zone := picture(side, side, gray(func(x, y float64) float64 {
		// Frequency grows from 0 at the corner to 0.5 cycles a pixel.
		return 0.5 + 0.5*math.Cos(math.Pi*(x*x+y*y)/(2*side))
	}))
	for _, factor := range []float64{2, 3.3, 5, 8} {
		for _, angle := range []float64{0, 27} {
			const size = 80
			m := turned(1/factor, angle, size/2, size/2)
			p := m.Apply(Point{side / 2, side / 2})
			m.TX, m.TY = m.TX-p.X+size/2, m.TY-p.Y+size/2
			for i, v := range warp(t, checker, m, size) {
				if math.Abs(float64(v)-0.5) > 0.01 {
					t.Fatalf("checkerboard /%.1f at %g°: %v at %d", factor, angle, v, i)
				}
			}
			back, err := m.Inverse()
			if err != nil {
				t.Fatal(err)
			}
			crop := warp(t, zone, m, size)
			var sum float64
			n := 0
			for y := range size {
				for x := range size {
					q := back.Apply(Point{float64(x), float64(y)})
					// Frequencies of 1.6 times the crop's Nyquist limit and up.
					if f := math.Hypot(q.X, q.Y) / (2 * side); q.X > 0 && q.Y > 0 && f > 0.8/factor {
						sum += sq(float64(crop[y*size+x]) - 0.5)
						n++
					}
				}
			}
			if n == 0 {
				continue
			}
			if rms := math.Sqrt(sum / float64(n)); rms > 0.03 {
				t.Errorf("zone plate /%.1f at %g°: rms %.4f of 0.354 is left over %d pixels", factor, angle, rms, n)
			}
		}
	}
}

func TestWarpRepeatsTheEdge(t *testing.T) {
	img := picture(40, 40, gray(func(x, y float64) float64 { return 0.25 + 0.5*x/39 }))
	for _, scale := range []float64{1, 2.5, 0.4} {
		for _, c := range []struct{ tx, want float64 }{{400, 0.25}, {-400, 0.75}} {
			for i, v := range warp(t, img, Similarity{A: scale, TX: c.tx}, 64) {
				if math.Abs(float64(v)-c.want) > 0.012 {
					t.Fatalf("scale %g, shift %g: %v at %d", scale, c.tx, v, i)
				}
			}
		}
	}
	one := picture(1, 1, gray(func(_, _ float64) float64 { return 0.6 }))
	for i, v := range warp(t, one, turned(30, 20, 3, 3), 32) {
		if math.Abs(float64(v)-0.6) > 1e-4 {
			t.Fatalf("one pixel enlarged: %v at %d", v, i)
		}
	}
}

func FuzzWarp(f *testing.F) {
	f.Add(1.0, 0.0, 0.0, 0.0, uint8(16))
	f.Add(1e-6, 1e-7, 3.0, 4.0, uint8(40))
	f.Add(1e9, -1e9, 1e12, -1e12, uint8(8))
	f.Add(math.NaN(), math.Inf(1), 0.0, 1e308, uint8(1))
	f.Add(1e-150, 0.0, 0.0, 0.0, uint8(3))
	f.Add(1e-150, 0.0, 0.0, 0.0, uint8(1))
	img := picture(37, 23, smooth)
	f.Fuzz(func(t *testing.T, a, b, tx, ty float64, size uint8) {
		crop, err := Warp(img, Similarity{a, b, tx, ty}, int(size))
		if err != nil {
			return
		}
		for i, v := range crop {
			if !(v >= 0 && v <= 1) {
				t.Fatalf("value %v at %d", v, i)
			}
		}
	})
}
