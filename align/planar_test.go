package align

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"restored/frame"
)

var (
	bt601  = frame.Colour{Kr: 0.299, Kb: 0.114}
	bt709  = frame.Colour{Kr: 0.2126, Kb: 0.0722}
	bt2020 = frame.Colour{Kr: 0.2627, Kb: 0.0593}
)

func sited(c frame.Colour, full bool, x, y float64) frame.Colour {
	c.Full, c.SiteX, c.SiteY = full, x, y
	return c
}

// newPlanar makes a picture whose rows have room to spare.
func newPlanar(w, h, depth int, subX, subY uint, c frame.Colour) *frame.Planar {
	p := &frame.Planar{Width: w, Height: h, Depth: depth, SubX: subX, SubY: subY, Colour: c}
	for i := range 3 {
		pw, ph := p.PlaneSize(i)
		p.Stride[i] = pw*p.Bytes() + 6
		p.Pix[i] = make([]byte, p.Stride[i]*ph)
	}
	return p
}

// fill sets each plane's samples to f of the plane and the place in luma
// pixels, as codes of 8 bits.
func fill(p *frame.Planar, f func(plane int, x, y float64) float64) *frame.Planar {
	for i := range p.Planes() {
		w, h := p.PlaneSize(i)
		for y := range h {
			for x := range w {
				u, v := float64(x), float64(y)
				if i > 0 {
					u, v = u*float64(int(1)<<p.SubX)+p.Colour.SiteX, v*float64(int(1)<<p.SubY)+p.Colour.SiteY
				}
				code := math.Round(f(i, u, v) * float64(int(1)<<(p.Depth-8)))
				p.SetSample(i, x, y, int(min(max(code, 0), float64(int(1)<<p.Depth-1))))
			}
		}
	}
	return p
}

// whole converts all of a picture, chroma interpolated linearly at its sites.
func whole(p *frame.Planar) *image.NRGBA64 {
	black, luma, middle, chroma := p.Scale()
	w, h := p.PlaneSize(1)
	between := func(x int, sub uint, site float64, n int) (a, b int, t float64) {
		f := min(max((float64(x)-site)/float64(int(1)<<sub), 0), float64(n-1))
		a = int(f)
		return a, min(a+1, n-1), f - float64(a)
	}
	img := image.NewNRGBA64(p.Bounds())
	for y := range p.Height {
		for x := range p.Width {
			v := (float64(p.Sample(0, x, y)) - black) * luma
			var c [2]float64
			for i := range p.Planes() - 1 {
				x0, x1, s := between(x, p.SubX, p.Colour.SiteX, w)
				y0, y1, t := between(y, p.SubY, p.Colour.SiteY, h)
				at := func(x, y int) float64 { return float64(p.Sample(i+1, x, y)) }
				top, bottom := at(x0, y0)+s*(at(x1, y0)-at(x0, y0)), at(x0, y1)+s*(at(x1, y1)-at(x0, y1))
				c[i] = (top + t*(bottom-top) - middle) * chroma
			}
			r, g, b := p.Colour.RGB(v, c[0], c[1])
			img.SetNRGBA64(x, y, color.NRGBA64{depth16(r), depth16(g), depth16(b), 65535})
		}
	}
	return img
}

// The crop out of the planes is the crop out of the whole picture converted
// to 16-bit RGB, but for that conversion's rounding.
func TestWarpPlanarIsTheWholePictureConverted(t *testing.T) {
	const tolerance = 2.5 / 65535
	r := rand.New(rand.NewPCG(11, 12))
	noise := func(int, float64, float64) float64 { return 256 * r.Float64() }
	for _, c := range []struct {
		name       string
		depth      int
		subX, subY uint
		mono       bool
		colour     frame.Colour
	}{
		{"4:2:0 left", 8, 1, 1, false, sited(bt709, false, 0, 0.5)},
		{"4:2:0 center, full", 8, 1, 1, false, sited(bt601, true, 0.5, 0.5)},
		{"4:2:0 topleft, 10 bits", 10, 1, 1, false, sited(bt2020, false, 0, 0)},
		{"4:2:0 bottomleft", 8, 1, 1, false, sited(bt601, false, 0, 1)},
		{"4:2:2, 12 bits, full", 12, 1, 0, false, sited(bt709, true, 0, 0)},
		{"4:2:2", 8, 1, 0, false, sited(bt601, false, 0, 0)},
		{"4:4:4", 8, 0, 0, false, bt709},
		{"4:4:4, 16 bits", 16, 0, 0, false, bt709},
		{"4:1:1", 8, 2, 0, false, sited(bt601, false, 0, 0)},
		{"4:1:0, 9 bits", 9, 2, 2, false, sited(bt601, false, 1.5, 1.5)},
		{"gray", 8, 0, 0, true, bt709},
		{"gray, 10 bits", 10, 0, 0, true, sited(bt709, true, 0, 0)},
	} {
		p := newPlanar(153, 117, c.depth, c.subX, c.subY, c.colour)
		p.Mono = c.mono
		fill(p, noise)
		img := whole(p)
		for _, m := range []Similarity{{A: 1}, turned(2.3, 12, -120, -91), turned(0.6, -70, 10, 80), turned(0.2, 5, 1, 1)} {
			got, want := warp(t, p, m, 96), warp(t, img, m, 96)
			for i := range got {
				if d := math.Abs(float64(got[i] - want[i])); d > tolerance {
					t.Fatalf("%s, %+v: %v at %d, want %v", c.name, m, got[i], i, want[i])
				}
			}
		}
	}
}

// Where no chroma is between samples, At says the same.
func TestWarpPlanarIsAt(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, full := range []bool{false, true} {
		p := fill(newPlanar(40, 30, 10, 0, 0, sited(bt709, full, 0, 0)), func(int, float64, float64) float64 { return 256 * r.Float64() })
		crop := warp(t, p, Similarity{A: 1}, 30)
		for y := range 30 {
			for x := range 30 {
				c := p.At(x, y).(color.NRGBA64)
				for k, v := range []uint16{c.R, c.G, c.B} {
					if d := math.Abs(float64(crop[(k*30+y)*30+x]) - float64(v)/65535); d > 1.0/65535 {
						t.Fatalf("plane %d at (%d, %d): off by %g", k, x, y, d)
					}
				}
			}
		}
	}
}

func TestWarpRefusesBrokenPlanes(t *testing.T) {
	p := newPlanar(40, 30, 8, 1, 1, bt709)
	p.Pix[2] = p.Pix[2][:10]
	if _, err := Warp(p, Similarity{A: 1}, 30); err == nil {
		t.Error("a plane too short was accepted")
	}
}

// stretched is the transform that first makes the photo's pixels square (their
// width is aspect times their height), then turns and scales it.
func stretched(m Similarity, aspect float64, mirror bool) [6]float64 {
	a := m.Affine()
	if mirror {
		aspect = -aspect
	}
	a[0], a[3] = a[0]*aspect, a[3]*aspect
	return a
}

// An anamorphic, mirrored, turned picture gives the crop that the same scene
// in square pixels gives.
func TestWarpAffineIsExact(t *testing.T) {
	for _, c := range []struct {
		aspect float64
		mirror bool
		m      Similarity
		want   float64 // dB
	}{
		{1, true, turned(1.3, 20, 300, -120), 66},
		{16.0 / 11, false, turned(1.4, -8, -300, -200), 66},
		{16.0 / 11, true, turned(0.8, 90, 200, 300), 55},
		{0.5, false, turned(0.9, 30, 10, -120), 48},
		{0.5, false, turned(2.5, 180, 350, 420), 66},
	} {
		const size = 100
		a := affine(stretched(c.m, c.aspect, c.mirror))
		img := picture(400, 300, func(x, y float64) [3]float64 { return smooth(x*c.aspect, y) })
		back, err := a.inverse()
		if err != nil {
			t.Fatal(err)
		}
		crop, err := WarpAffine(img, a, size)
		if err != nil {
			t.Fatal(err)
		}
		ideal := make([]float32, len(crop))
		dx, dy := back.density()
		seen := 0
		inside := func(x, y int) bool {
			p := back.apply(Point{float64(x), float64(y)})
			return p.X > 2+4*dx && p.X < 397-4*dx && p.Y > 2+4*dy && p.Y < 297-4*dy
		}
		for y := range size {
			for x := range size {
				p := back.apply(Point{float64(x), float64(y)})
				for k, v := range smooth(p.X*c.aspect, p.Y) {
					ideal[(k*size+y)*size+x] = float32(v)
				}
				if inside(x, y) {
					seen++
				}
			}
		}
		got := psnr(crop, ideal, size, 0, inside)
		t.Logf("aspect %.2f, mirror %v, %+v: %.1f dB", c.aspect, c.mirror, c.m, got)
		if seen < size*size/10 || !(got >= c.want) {
			t.Errorf("aspect %.2f, mirror %v, %+v: %.1f dB over %d pixels, want %.0f", c.aspect, c.mirror, c.m, got, seen, c.want)
		}
	}
}

// Stripes finer than the crop's pixels across the dense axis vanish, those
// along the other axis stay sharp.
func TestWarpAffineDoesNotAlias(t *testing.T) {
	const size = 80
	stripes := picture(600, 200, gray(func(x, _ float64) float64 { return math.Mod(x, 2) }))
	lines := picture(600, 200, gray(func(_, y float64) float64 { return 0.5 + 0.5*math.Cos(y) }))
	for _, degrees := range []float64{0, 33, 90} {
		m := turned(1.1, degrees, 0, 0)
		a := affine(stretched(m, 0.25, false)) // four times denser across
		p := a.apply(Point{300, 100})
		a[2], a[5] = 40-p.X, 40-p.Y
		crop, err := WarpAffine(stripes, a, size)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range crop {
			if math.Abs(float64(v)-0.5) > 0.01 {
				t.Fatalf("stripes at %g°: %v at %d", degrees, v, i)
			}
		}
		if crop, err = WarpAffine(lines, a, size); err != nil {
			t.Fatal(err)
		}
		low, high := float32(1), float32(0)
		for _, v := range crop[:size*size] {
			low, high = min(low, v), max(high, v)
		}
		if low > 0.02 || high < 0.98 {
			t.Errorf("lines at %g°: only %.3f to %.3f is left", degrees, low, high)
		}
	}
}

func TestWarpAffineRefusesWhatHasNoInverse(t *testing.T) {
	img := picture(40, 30, smooth)
	nan := math.NaN()
	for _, a := range [][6]float64{
		{}, {1, 2, 0, 1, 2, 0}, {1, 0, 0, 0, 0, 0}, {nan, 0, 0, 0, 1, 0}, {1, 0, nan, 0, 1, 0}, {1, 0, 1e300, 0, 1, 0}, {1, 1e-12, 0, 1, 0, 0},
	} {
		if _, err := WarpAffine(img, a, 16); err == nil {
			t.Errorf("%v was accepted", a)
		}
	}
}

func FuzzWarpAffine(f *testing.F) {
	f.Add(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, uint8(16))
	f.Add(-1e-3, 1e-7, 3.0, 4.0, 2.0, 5.0, uint8(40))
	f.Add(1e9, -1e9, 1e12, -1e12, 1.0, 2.0, uint8(8))
	f.Add(math.NaN(), math.Inf(1), 0.0, 1e308, 1.0, 1e-300, uint8(1))
	f.Add(0.01, 0.0, 0.0, 0.0, 30.0, 0.0, uint8(30))
	r := rand.New(rand.NewPCG(21, 22))
	noise := func(int, float64, float64) float64 { return 256 * r.Float64() }
	pictures := []*frame.Planar{
		fill(newPlanar(37, 23, 8, 1, 1, sited(bt709, false, 0, 0.5)), noise),
		fill(newPlanar(37, 23, 10, 2, 2, sited(bt709, true, 1.5, 1.5)), noise),
		fill(newPlanar(1, 1, 8, 1, 1, sited(bt709, false, 0, 1)), noise),
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g float64, size uint8) {
		for _, p := range pictures {
			crop, err := WarpAffine(p, [6]float64{a, b, c, d, e, g}, int(size))
			if err != nil {
				return
			}
			for i, v := range crop {
				if !(v >= 0 && v <= 1) {
					t.Fatalf("value %v at %d", v, i)
				}
			}
		}
	})
}

func BenchmarkWarpPlanar(b *testing.B) {
	for _, c := range []struct {
		name  string
		depth int
		sub   uint
	}{{"420p8", 8, 1}, {"420p10", 10, 1}, {"444p8", 8, 0}} {
		p := newPlanar(1920, 1080, c.depth, c.sub, c.sub, sited(bt709, false, 0, float64(c.sub)/2))
		fill(p, func(i int, x, y float64) float64 { return 128 + 60*math.Sin(x/7+float64(i))*math.Cos(y/9) })
		for _, side := range []float64{200, 350, 500, 850} {
			b.Run(fmt.Sprintf("%s/%g", c.name, side), func(b *testing.B) {
				s := 512 / side
				m := Similarity{A: s * math.Cos(0.2), B: s * math.Sin(0.2), TX: -700 * s, TY: -300 * s}
				for b.Loop() {
					if _, err := Warp(p, m, 512); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// What zimg makes of a picture is what a crop without scale gives, within a
// tenth of a step of 8 bits. (swscale of FFmpeg 5.1 isn't the measure: it puts
// the chroma of 4:2:0 half a pixel too low, unless it is sited at the top.)
func TestWarpPlanarIsAsZimg(t *testing.T) {
	const w, h, size, tolerance = 160, 120, 120, 0.1 / 255
	raw := filepath.Join(t.TempDir(), "raw")
	ffmpeg := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command("ffmpeg", append([]string{"-v", "error", "-y"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ffmpeg %v: %v\n%s", args, err, out)
		}
		return out
	}
	for _, c := range []struct {
		pixels, matrix, span, place string
		planar                      *frame.Planar
	}{
		{"yuv420p", "709", "limited", "left", newPlanar(w, h, 8, 1, 1, sited(bt709, false, 0, 0.5))},
		{"yuv420p", "170m", "full", "center", newPlanar(w, h, 8, 1, 1, sited(bt601, true, 0.5, 0.5))},
		{"yuv420p10le", "2020_ncl", "limited", "topleft", newPlanar(w, h, 10, 1, 1, sited(bt2020, false, 0, 0))},
		{"yuv422p", "709", "limited", "left", newPlanar(w, h, 8, 1, 0, sited(bt709, false, 0, 0))},
		{"yuv444p12le", "709", "limited", "left", newPlanar(w, h, 12, 0, 0, sited(bt709, false, 0, 0))},
	} {
		ffmpeg("-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=%dx%d", w, h), "-frames:v", "1", "-pix_fmt", c.pixels, "-f", "rawvideo", raw)
		data, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		p := c.planar
		for i := range 3 {
			pw, ph := p.PlaneSize(i)
			p.Stride[i] = pw * p.Bytes()
			p.Pix[i], data = data[:p.Stride[i]*ph], data[p.Stride[i]*ph:]
		}
		rgb := ffmpeg("-f", "rawvideo", "-pix_fmt", c.pixels, "-s", fmt.Sprintf("%dx%d", w, h), "-i", raw, "-vf",
			fmt.Sprintf("zscale=min=%s:rin=%s:cin=%s:m=gbr:r=full:f=bilinear:d=none,format=gbrp16le,format=rgb48le", c.matrix, c.span, c.place),
			"-f", "rawvideo", "-")
		crop := warp(t, p, Similarity{A: 1}, size)
		var worst float64
		for y := range size {
			for x := range size {
				for k := range 3 {
					at := rgb[6*(y*w+x)+2*k:]
					worst = max(worst, math.Abs(float64(crop[(k*size+y)*size+x])-float64(uint32(at[0])|uint32(at[1])<<8)/65535))
				}
			}
		}
		t.Logf("%s, %s, %s: off by %.3f steps of 8 bits at most", c.pixels, c.matrix, c.place, 255*worst)
		if worst > tolerance {
			t.Errorf("%s, %s, %s: off by %.3f steps of 8 bits", c.pixels, c.matrix, c.place, 255*worst)
		}
	}
}
