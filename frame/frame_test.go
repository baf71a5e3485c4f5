package frame

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"testing"
)

var (
	bt601  = Colour{Kr: 0.299, Kb: 0.114}
	bt709  = Colour{Kr: 0.2126, Kb: 0.0722}
	bt2020 = Colour{Kr: 0.2627, Kb: 0.0593}
)

func full(c Colour) Colour {
	c.Full = true
	return c
}

// newPlanar makes a picture with pad bytes after each row, all samples 0.
func newPlanar(w, h, depth int, subX, subY uint, c Colour, pad int) *Planar {
	p := &Planar{Width: w, Height: h, Depth: depth, SubX: subX, SubY: subY, Colour: c}
	for i := range 3 {
		pw, ph := p.PlaneSize(i)
		p.Stride[i] = pw*p.Bytes() + pad
		p.Pix[i] = make([]byte, p.Stride[i]*ph)
	}
	return p
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(p *Planar)
		ok    bool
	}{
		"as made":              {func(*Planar) {}, true},
		"last row not padded":  {func(p *Planar) { p.Pix[0] = p.Pix[0][:len(p.Pix[0])-6] }, true},
		"gray":                 {func(p *Planar) { p.Mono, p.Pix[1], p.Pix[2] = true, nil, nil }, true},
		"no width":             {func(p *Planar) { p.Width = 0 }, false},
		"negative height":      {func(p *Planar) { p.Height = -1 }, false},
		"too wide":             {func(p *Planar) { p.Width = 1<<16 + 1 }, false},
		"7 bits":               {func(p *Planar) { p.Depth = 7 }, false},
		"17 bits":              {func(p *Planar) { p.Depth = 17 }, false},
		"more bits than bytes": {func(p *Planar) { p.Depth = 10 }, false},
		"subsampled by 8":      {func(p *Planar) { p.SubX = 3 }, false},
		"no matrix":            {func(p *Planar) { p.Colour = Colour{} }, false},
		"no green":             {func(p *Planar) { p.Colour.Kr = 0.95 }, false},
		"NaN":                  {func(p *Planar) { p.Colour.Kb = math.NaN() }, false},
		"luma too short":       {func(p *Planar) { p.Pix[0] = p.Pix[0][:len(p.Pix[0])-7] }, false},
		"chroma too short":     {func(p *Planar) { p.Pix[2] = p.Pix[2][:20] }, false},
		"no chroma":            {func(p *Planar) { p.Pix[1] = nil }, false},
		"stride too short":     {func(p *Planar) { p.Stride[1] = 10 }, false},
		"negative stride":      {func(p *Planar) { p.Stride[0] = -p.Stride[0] }, false},
	} {
		p := newPlanar(21, 13, 8, 1, 1, bt709, 6)
		c.spoil(p)
		if err := p.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlaneSize(t *testing.T) {
	for _, c := range []struct {
		w, h       int
		subX, subY uint
		cw, ch     int
	}{{21, 13, 1, 1, 11, 7}, {20, 12, 1, 1, 10, 6}, {21, 13, 1, 0, 11, 13}, {21, 13, 0, 0, 21, 13}, {21, 13, 2, 2, 6, 4}, {1, 1, 1, 1, 1, 1}} {
		p := newPlanar(c.w, c.h, 8, c.subX, c.subY, bt709, 0)
		if w, h := p.PlaneSize(0); w != c.w || h != c.h {
			t.Errorf("%+v: luma %d×%d", c, w, h)
		}
		if w, h := p.PlaneSize(2); w != c.cw || h != c.ch {
			t.Errorf("%+v: chroma %d×%d", c, w, h)
		}
	}
}

// The codes of pure colours: 75 % bars of BT.601 and BT.709 as in EBU Tech 3373 and SMPTE RP 219,
// 100 % ones, and black and white at each depth and range, as H.273 puts them.
func TestPublishedCodes(t *testing.T) {
	for _, c := range []struct {
		name    string
		colour  Colour
		depth   int
		r, g, b float64
		want    [3]int
	}{
		{"white", bt709, 8, 1, 1, 1, [3]int{235, 128, 128}},
		{"black", bt709, 8, 0, 0, 0, [3]int{16, 128, 128}},
		{"white, 10 bits", bt2020, 10, 1, 1, 1, [3]int{940, 512, 512}},
		{"black, 12 bits", bt2020, 12, 0, 0, 0, [3]int{256, 2048, 2048}},
		{"white, full", full(bt709), 8, 1, 1, 1, [3]int{255, 128, 128}},
		{"white, full, 10 bits", full(bt709), 10, 1, 1, 1, [3]int{1023, 512, 512}},
		{"BT.601 75 % yellow", bt601, 8, .75, .75, 0, [3]int{162, 44, 142}},
		{"BT.601 75 % cyan", bt601, 8, 0, .75, .75, [3]int{131, 156, 44}},
		{"BT.601 75 % green", bt601, 8, 0, .75, 0, [3]int{112, 72, 58}},
		{"BT.601 75 % magenta", bt601, 8, .75, 0, .75, [3]int{84, 184, 198}},
		{"BT.601 75 % red", bt601, 8, .75, 0, 0, [3]int{65, 100, 212}},
		{"BT.601 75 % blue", bt601, 8, 0, 0, .75, [3]int{35, 212, 114}},
		{"BT.709 75 % yellow", bt709, 8, .75, .75, 0, [3]int{168, 44, 136}},
		{"BT.709 75 % red", bt709, 8, .75, 0, 0, [3]int{51, 109, 212}},
		{"BT.709 75 % blue, 10 bits", bt709, 10, 0, 0, .75, [3]int{111, 848, 481}},
		{"BT.709 75 % green, 10 bits", bt709, 10, 0, .75, 0, [3]int{534, 253, 207}},
		{"BT.601 red, full", full(bt601), 8, 1, 0, 0, [3]int{76, 85, 255}},
		{"BT.709 100 % red", bt709, 8, 1, 0, 0, [3]int{63, 102, 240}},
		{"BT.709 100 % blue", bt709, 8, 0, 0, 1, [3]int{32, 240, 118}},
	} {
		p := newPlanar(1, 1, c.depth, 0, 0, c.colour, 0)
		black, luma, middle, chroma := p.Scale()
		y, cb, cr := c.colour.YCbCr(c.r, c.g, c.b)
		top := 1<<c.depth - 1
		got := [3]int{int(math.Round(black + y/luma)), min(int(math.Round(middle+cb/chroma)), top), min(int(math.Round(middle+cr/chroma)), top)}
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		for i, v := range got {
			p.SetSample(i, 0, 0, v)
			if p.Sample(i, 0, 0) != v {
				t.Errorf("%s: plane %d holds %d, not %d", c.name, i, p.Sample(i, 0, 0), v)
			}
		}
		// And back: within a code's rounding, which chroma carries up to twice into R and B.
		tolerance := 1.7 * chroma * 65535
		q := p.At(0, 0).(color.NRGBA64)
		for k, v := range []uint16{q.R, q.G, q.B} {
			if d := math.Abs(float64(v) - 65535*[]float64{c.r, c.g, c.b}[k]); d > tolerance {
				t.Errorf("%s: channel %d comes back as %d", c.name, k, v)
			}
		}
	}
}

func TestMatricesInvert(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []Colour{bt601, bt709, bt2020} {
		for range 100 {
			r, g, b := r.Float64(), r.Float64(), r.Float64()
			y, cb, cr := c.YCbCr(r, g, b)
			if math.Abs(cb) > 0.5+1e-12 || math.Abs(cr) > 0.5+1e-12 || y < 0 || y > 1 {
				t.Fatalf("%+v: (%v, %v, %v) of (%v, %v, %v)", c, y, cb, cr, r, g, b)
			}
			r2, g2, b2 := c.RGB(y, cb, cr)
			if math.Abs(r-r2)+math.Abs(g-g2)+math.Abs(b-b2) > 1e-12 {
				t.Fatalf("%+v: (%v, %v, %v) becomes (%v, %v, %v)", c, r, g, b, r2, g2, b2)
			}
		}
		if y, cb, cr := c.YCbCr(0.4, 0.4, 0.4); math.Abs(y-0.4) > 1e-15 || math.Abs(cb)+math.Abs(cr) > 1e-15 {
			t.Errorf("%+v: gray has chroma %g, %g", c, cb, cr)
		}
	}
}

// At takes the chroma of the pixel's own block.
func TestAt(t *testing.T) {
	p := newPlanar(5, 3, 10, 1, 1, bt709, 2)
	for y := range 3 {
		for x := range 5 {
			p.SetSample(0, x, y, 64+876*x/4)
		}
	}
	for y := range 2 {
		for x := range 3 {
			p.SetSample(1, x, y, 512)
			p.SetSample(2, x, y, 512+20*x)
		}
	}
	if p.Bounds() != image.Rect(0, 0, 5, 3) || p.ColorModel() != color.NRGBA64Model {
		t.Errorf("bounds %v", p.Bounds())
	}
	for _, c := range []struct {
		x, y int
		want color.NRGBA64
	}{{0, 0, color.NRGBA64{0, 0, 0, 65535}}, {1, 2, color.NRGBA64{16384, 16384, 16384, 65535}}, {4, 0, color.NRGBA64{65535, 64167, 65535, 65535}}} {
		got := p.At(c.x, c.y).(color.NRGBA64)
		if d := int(got.G) - int(c.want.G); got.R != c.want.R || max(d, -d) > 20 || got.A != 65535 {
			t.Errorf("(%d, %d) is %v, want %v", c.x, c.y, got, c.want)
		}
	}
	p.Mono = true
	if got := p.At(4, 0); got != (color.NRGBA64{65535, 65535, 65535, 65535}) {
		t.Errorf("without chroma (4, 0) is %v", got)
	}
}

func TestLuma8(t *testing.T) {
	p := newPlanar(5, 3, 8, 1, 1, bt709, 3)
	p.SetSample(0, 4, 2, 200)
	g := p.Luma8(nil)
	if g.Rect != p.Bounds() || g.GrayAt(4, 2).Y != 200 || &g.Pix[0] != &p.Pix[0][0] {
		t.Error("8 bits don't share the memory")
	}
	for _, depth := range []int{9, 10, 12, 16} {
		p := newPlanar(5, 3, depth, 1, 1, bt709, 3)
		for x := range 5 {
			p.SetSample(0, x, 2, (50*x+7)<<(depth-8)|1)
		}
		g := p.Luma8(nil)
		for x := range 5 {
			if v := g.GrayAt(x, 2).Y; int(v) != 50*x+7 {
				t.Errorf("%d bits: %d at %d", depth, v, x)
			}
		}
		if p.Luma8(g) != g {
			t.Error("a picture of the size wasn't used again")
		}
		if other := p.Luma8(image.NewGray(image.Rect(0, 0, 4, 3))); other.Rect != p.Bounds() {
			t.Error("a picture of another size was used")
		}
	}
}
