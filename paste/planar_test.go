package paste

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"testing"

	"restored/frame"
)

var (
	bt601 = frame.Colour{Kr: 0.299, Kb: 0.114}
	bt709 = frame.Colour{Kr: 0.2126, Kb: 0.0722}
)

func sited(c frame.Colour, full bool, x, y float64) frame.Colour {
	c.Full, c.SiteX, c.SiteY = full, x, y
	return c
}

// formats are the ways to store a picture that the tests go through.
var formats = []struct {
	name       string
	depth      int
	subX, subY uint
	mono       bool
	colour     frame.Colour
}{
	{"4:2:0 left", 8, 1, 1, false, sited(bt709, false, 0, 0.5)},
	{"4:2:0 center, full", 8, 1, 1, false, sited(bt601, true, 0.5, 0.5)},
	{"4:2:0 topleft, 10 bits", 10, 1, 1, false, sited(bt709, false, 0, 0)},
	{"4:2:0 bottomleft", 8, 1, 1, false, sited(bt601, false, 0, 1)},
	{"4:2:2, 12 bits, full", 12, 1, 0, false, sited(bt709, true, 0, 0)},
	{"4:4:4, 16 bits", 16, 0, 0, false, bt709},
	{"4:1:1", 8, 2, 0, false, sited(bt601, false, 0, 0)},
	{"gray", 8, 0, 0, true, bt709},
	{"gray, 10 bits, full", 10, 0, 0, true, sited(bt709, true, 0, 0)},
}

// newFrame makes a picture of format i with the samples that f gives, as codes
// of 8 bits. Its rows have room to spare.
func newFrame(i, w, h int, f func(plane, x, y int) float64) *frame.Planar {
	c := formats[i]
	p := &frame.Planar{Width: w, Height: h, Depth: c.depth, SubX: c.subX, SubY: c.subY, Mono: c.mono, Colour: c.colour}
	for k := range p.Planes() {
		pw, ph := p.PlaneSize(k)
		p.Stride[k] = pw*p.Bytes() + 6
		p.Pix[k] = make([]byte, p.Stride[k]*ph)
		for y := range ph {
			for x := range pw {
				p.SetSample(k, x, y, int(f(k, x, y)*float64(int(1)<<(c.depth-8))))
			}
		}
	}
	return p
}

func noise(seed uint64) func(plane, x, y int) float64 {
	r := rand.New(rand.NewPCG(seed, 2))
	return func(_, _, _ int) float64 { return 64 + 128*r.Float64() }
}

func flat(plane, _, _ int) float64 { return 128 - 20*float64(plane) }

func clone(p *frame.Planar) *frame.Planar {
	q := *p
	for i := range q.Pix {
		q.Pix[i] = append([]byte(nil), p.Pix[i]...)
	}
	return &q
}

// covers says whether a face's mask reaches the area of a sample: for chroma,
// the box around its site.
func covers(f *Face, p *frame.Planar, plane, x, y int) bool {
	e, a := newEgg(f.Size, f.Landmarks), f.ToCrop
	at := func(u, v float64) bool { return e.at(a[0]*u+a[1]*v+a[2], a[3]*u+a[4]*v+a[5]) > 0 }
	if plane == 0 {
		return at(float64(x), float64(y))
	}
	w, h := float64(int(1)<<p.SubX), float64(int(1)<<p.SubY)
	for v := math.Ceil(float64(y)*h + p.Colour.SiteY - h/2 - 0.49); v < float64(y)*h+p.Colour.SiteY+h/2+0.5; v++ {
		for u := math.Ceil(float64(x)*w + p.Colour.SiteX - w/2 - 0.49); u < float64(x)*w+p.Colour.SiteX+w/2+0.5; u++ {
			if at(u, v) {
				return true
			}
		}
	}
	return false
}

func TestPlanarOutsideTheMaskNothingChanges(t *testing.T) {
	before := crop(skin)
	for i, c := range formats {
		p := newFrame(i, 301, 259, noise(1))
		old := clone(p)
		faces := []Face{
			{Before: before, After: plus(before, coloured), Size: side, ToCrop: affine(100.3, 120.8, 90, 17), Blend: 1},
			{Before: before, After: plus(before, coloured), Size: side, ToCrop: affine(150.3, 90.8, 70, -17), Blend: 1},
			{Before: before, After: plus(before, coloured), Size: side, ToCrop: affine(289, 250, 60, 0), Blend: 1},
		}
		rects := mustPaste(t, p, faces...)
		for k := range p.Planes() {
			w, h := p.PlaneSize(k)
			changed := 0
			for y := range h {
				for x := range w {
					if p.Sample(k, x, y) == old.Sample(k, x, y) {
						continue
					}
					changed++
					ok := false
					for j := range faces {
						at := image.Pt(x, y)
						if k > 0 {
							at = image.Pt(x<<p.SubX, y<<p.SubY)
						}
						ok = ok || covers(&faces[j], p, k, x, y) && at.In(rects[j])
					}
					if !ok {
						t.Fatalf("%s: plane %d changed at (%d, %d), outside of every mask or of %v", c.name, k, x, y, rects)
					}
				}
			}
			if changed < w*h/50 {
				t.Errorf("%s: only %d of %d samples of plane %d changed", c.name, changed, w*h, k)
			}
			for y := range h - 1 { // the room between rows
				if at := y*p.Stride[k] + w*p.Bytes(); string(p.Pix[k][at:at+6]) != string(old.Pix[k][at:at+6]) {
					t.Fatalf("%s: wrote beyond row %d of plane %d", c.name, y, k)
				}
			}
		}
	}
}

// coloured is a change with no low frequencies, of another shape in each channel.
func coloured(x, y float64) [3]float64 {
	v := 0.1 * math.Sin(x/3) * math.Cos(y/3.7)
	return [3]float64{v, -v, v / 2}
}

// Each sample moves by the matrix times the change at its place: luma at the
// pixel, chroma as the mean over the area around its site.
func TestPlanarChangeArrivesInPlace(t *testing.T) {
	before := crop(skin)
	for i, c := range formats {
		p := newFrame(i, 300, 300, flat)
		old := clone(p)
		f := Face{Before: before, After: plus(before, coloured), Size: side, ToCrop: affine(150.3, 148.6, 250, 21), Blend: 1}
		mustPaste(t, p, f)
		e, a := newEgg(side, nil), f.ToCrop
		_, luma, _, chroma := p.Scale()
		for k := range p.Planes() {
			w, h := p.PlaneSize(k)
			unit, sx, sy, bx, by := luma, 0.0, 0.0, 1.0, 1.0
			if k > 0 {
				unit, sx, sy, bx, by = chroma, p.Colour.SiteX, p.Colour.SiteY, float64(int(1)<<p.SubX), float64(int(1)<<p.SubY)
			}
			var wrong, all float64
			for y := range h {
				for x := range w {
					u, v := float64(x)*bx+sx, float64(y)*by+sy
					u, v = a[0]*u+a[1]*v+a[2], a[3]*u+a[4]*v+a[5]
					if e.at(u, v) < 1 {
						continue
					}
					d := coloured(u, v)
					var ycc [3]float64
					ycc[0], ycc[1], ycc[2] = p.Colour.YCbCr(d[0], d[1], d[2])
					want := ycc[k] / unit
					got := float64(p.Sample(k, x, y) - old.Sample(k, x, y))
					wrong += (got - want) * (got - want)
					all += want * want
				}
			}
			// Half a code of rounding to either side is 0.29 in the mean.
			rms := math.Sqrt(wrong / all)
			t.Logf("%s, plane %d: rms error %.3f of the change", c.name, k, rms)
			if limit := 0.02 + 0.1/float64(int(1)<<(c.depth-8)); !(rms < limit) {
				t.Errorf("%s, plane %d: rms error is %.3f of the change, want %.3f", c.name, k, rms, limit)
			}
		}
	}
}

// Planes and RGB agree: with 4:4:4 and 16 bits a picture comes out as its RGB
// does, faces that overlap included.
func TestPlanarIsAsRGB(t *testing.T) {
	before := crop(skin)
	img := picture(220, 200, func(x, y float64) [3]float64 { return skin(x, y) })
	p := newFrame(5, 220, 200, func(_, _, _ int) float64 { return 0 })
	black, luma, middle, chroma := p.Scale()
	for y := range 200 {
		for x := range 220 {
			c := img.NRGBA64At(x, y)
			v, cb, cr := p.Colour.YCbCr(float64(c.R)/65535, float64(c.G)/65535, float64(c.B)/65535)
			p.SetSample(0, x, y, int(math.Round(black+v/luma)))
			p.SetSample(1, x, y, int(math.Round(middle+cb/chroma)))
			p.SetSample(2, x, y, int(math.Round(middle+cr/chroma)))
		}
	}
	faces := []Face{
		{Before: before, After: plus(before, coloured), Size: side, ToCrop: affine(90, 90, 110, 17), Blend: 1},
		{Before: before, After: plus(before, waves), Size: side, ToCrop: affine(130, 110, 90, -17), Blend: 0.8},
	}
	mustPaste(t, img, faces...)
	mustPaste(t, p, faces...)
	for y := range 200 {
		for x := range 220 {
			r, g, b, _ := p.At(x, y).RGBA()
			c := img.NRGBA64At(x, y)
			for k, d := range []int{int(r) - int(c.R), int(g) - int(c.G), int(b) - int(c.B)} {
				if max(d, -d) > 5 {
					t.Fatalf("channel %d at (%d, %d) differs by %d of 65535", k, x, y, d)
				}
			}
		}
	}
}

func TestPlanarNothingToDoChangesNothing(t *testing.T) {
	before := crop(skin)
	at := affine(60, 50, 80, 5)
	for name, f := range map[string]Face{
		"blend 0":  {Before: before, After: plus(before, waves), ToCrop: at},
		"same":     {Before: before, After: before, ToCrop: at, Blend: 1},
		"far away": {Before: before, After: plus(before, waves), ToCrop: affine(5000, 100, 80, 5), Blend: 1},
		"shift":    {Before: before, After: plus(before, func(_, _ float64) [3]float64 { return [3]float64{0.1, 0.1, 0.1} }), ToCrop: at, Blend: 1},
	} {
		f.Size = side
		for i, c := range formats {
			if name == "shift" && c.depth > 8 {
				continue // the gradual end of a shift of many codes isn't exactly none
			}
			p := newFrame(i, 121, 99, noise(3))
			old := clone(p)
			mustPaste(t, p, f)
			for k := range p.Planes() {
				if string(p.Pix[k]) != string(old.Pix[k]) {
					t.Errorf("%s, %s: plane %d changed", name, c.name, k)
				}
			}
		}
	}
}

// A black-and-white face leaves the chroma planes as they are, whatever
// colours the network gave it; a coloured one doesn't.
func TestPlanarNeutralStays(t *testing.T) {
	for _, b := range []struct {
		before []float32
		same   bool
	}{{crop(grayish), true}, {noisy(crop(grayish), 2.0/255), true}, {crop(skin), false}} {
		for i, c := range formats {
			if c.mono {
				continue
			}
			p := newFrame(i, 120, 120, func(plane, x, y int) float64 {
				if plane > 0 {
					return 128
				}
				return 100 + float64((x*7+y*3)%50)
			})
			old := clone(p)
			mustPaste(t, p, Face{Before: b.before, After: plus(b.before, coloured), Size: side, ToCrop: affine(60, 60, 100, 12), Blend: 1})
			same := string(p.Pix[1]) == string(old.Pix[1]) && string(p.Pix[2]) == string(old.Pix[2])
			if same != b.same || string(p.Pix[0]) == string(old.Pix[0]) {
				t.Errorf("%s: chroma stayed %v, want %v", c.name, same, b.same)
			}
		}
	}
}

// Nothing is driven out of the legal codes, and what lay beyond stays.
func TestPlanarLegalCodes(t *testing.T) {
	before := crop(grayish)
	for i, c := range formats {
		one := 1 << (c.depth - 8)
		low, high := one, 255*one-1
		if c.colour.Full {
			low, high = 0, 256*one-1
		}
		for _, start := range []float64{0, 1, 3, 250, 254, 255} {
			for _, gain := range []float64{3, -3} {
				p := newFrame(i, 100, 100, func(plane, _, _ int) float64 {
					if plane > 0 {
						return 128
					}
					return start
				})
				old := p.Sample(0, 0, 0)
				after := plus(before, func(x, y float64) [3]float64 {
					v := gain * waves(x, y)[0]
					return [3]float64{v, v, v}
				})
				mustPaste(t, p, Face{Before: before, After: after, Size: side, ToCrop: affine(50, 50, 90, 0), Blend: 1})
				for y := range 100 {
					for x := range 100 {
						if v := p.Sample(0, x, y); v < min(low, old) || v > max(high, old) {
							t.Fatalf("%s: %d became %d", c.name, old, v)
						}
					}
				}
			}
		}
	}
}

func TestPlanarRefusesBrokenPlanes(t *testing.T) {
	p := newFrame(0, 100, 100, flat)
	p.Pix[1] = p.Pix[1][:50]
	if _, err := Paste(p, nil); err == nil {
		t.Error("a plane too short was accepted")
	}
}

// BenchmarkPastePlanar puts one 512-pixel crop of a colour face into a
// picture of 1920×1080; the number is the crop's side there, in pixels.
func BenchmarkPastePlanar(b *testing.B) {
	const size = 512
	before, after := make([]float32, 3*size*size), make([]float32, 3*size*size)
	for i := range before {
		before[i] = 0.5 + 0.3*float32(math.Sin(float64(i)/50+float64(i/(size*size))))
		after[i] = before[i] + 0.05*float32(math.Sin(float64(i)/7))
	}
	for _, c := range []struct {
		format int
		grain  bool
	}{{0, false}, {0, true}, {2, false}} {
		for _, width := range []float64{250, 420, 850} {
			b.Run(fmt.Sprintf("%s, grain %v/%g", formats[c.format].name, c.grain, width), func(b *testing.B) {
				p := newFrame(c.format, 1920, 1080, noise(4))
				s := size / width
				sin, cos := math.Sincos(0.15)
				a := [6]float64{s * cos, -s * sin, -700 * s, s * sin, s * cos, -300 * s}
				faces := []Face{{Before: before, After: after, Size: size, ToCrop: a, Blend: 1, Grain: c.grain}}
				for b.Loop() {
					if _, err := Paste(p, faces); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
