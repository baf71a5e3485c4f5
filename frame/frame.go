package frame

import (
	"fmt"
	"image"
	"image/color"
	"math"
)

// Colour says how Y, Cb and Cr stand for R, G and B (ITU-T H.273).
type Colour struct {
	// Kr and Kb are the luma weights of red and blue: 0.299 and 0.114 in
	// BT.601, 0.2126 and 0.0722 in BT.709, 0.2627 and 0.0593 in BT.2020.
	Kr, Kb float64
	// Full range uses all codes; limited range 16..235 for luma and 16..240
	// for chroma, times 2^(Depth−8).
	Full bool
	// SiteX and SiteY place a chroma sample within its block of luma pixels,
	// from the centre of the block's first pixel, in luma pixels: MPEG-2's "left"
	// is (0, 0.5), JPEG's "center" (0.5, 0.5), "topleft" (0, 0). Where a
	// direction isn't subsampled its value is 0.
	SiteX, SiteY float64
}

// Planar is a picture in planes Y, Cb, Cr, or Y alone. Samples of 8 bits are
// bytes, those of more are little-endian 16-bit words with the value in the
// low Depth bits.
//
// The planes may lie in memory of a native library: who made the picture says
// how long it lives.
type Planar struct {
	Width, Height int
	Depth         int  // bits a sample, 8 to 16
	SubX, SubY    uint // log2 of the chroma subsampling: 1, 1 in 4:2:0; 1, 0 in 4:2:2
	Mono          bool // Y alone
	Pix           [3][]byte
	Stride        [3]int // bytes from a row to the next
	Colour        Colour
}

// maxSide bounds a picture's sides.
const maxSide = 1 << 16

// Planes is the number of planes: 1 or 3.
func (p *Planar) Planes() int {
	if p.Mono {
		return 1
	}
	return 3
}

// Bytes is the size of a sample: 1 or 2.
func (p *Planar) Bytes() int { return (p.Depth + 7) / 8 }

// PlaneSize is the size of plane i in samples; chroma is rounded up.
func (p *Planar) PlaneSize(i int) (w, h int) {
	if i == 0 {
		return p.Width, p.Height
	}
	return (p.Width + 1<<p.SubX - 1) >> p.SubX, (p.Height + 1<<p.SubY - 1) >> p.SubY
}

// Check reports a picture whose buffers don't hold what its fields say.
func (p *Planar) Check() error {
	switch {
	case p.Width < 1 || p.Height < 1 || p.Width > maxSide || p.Height > maxSide:
		return fmt.Errorf("frame: %d×%d pixels, want 1 to %d each way", p.Width, p.Height, maxSide)
	case p.Depth < 8 || p.Depth > 16:
		return fmt.Errorf("frame: %d bits a sample, want 8 to 16", p.Depth)
	case p.SubX > 2 || p.SubY > 2:
		return fmt.Errorf("frame: chroma subsampled by 2^%d×2^%d, want at most 4×4", p.SubX, p.SubY)
	case !(p.Colour.Kr > 0 && p.Colour.Kb > 0 && p.Colour.Kr+p.Colour.Kb < 1):
		return fmt.Errorf("frame: luma weights %g and %g aren't those of a matrix", p.Colour.Kr, p.Colour.Kb)
	}
	for i := range p.Planes() {
		w, h := p.PlaneSize(i)
		if p.Stride[i] < w*p.Bytes() || len(p.Pix[i]) < p.Stride[i]*(h-1)+w*p.Bytes() {
			return fmt.Errorf("frame: plane %d of %d×%d samples doesn't fit %d bytes of stride %d", i, w, h, len(p.Pix[i]), p.Stride[i])
		}
	}
	return nil
}

// Scale says how codes stand for values: luma = (code − black)·luma scale in
// 0..1, chroma = (code − middle)·chroma scale in −0.5..0.5.
func (p *Planar) Scale() (black, luma, middle, chroma float64) {
	one := float64(int(1) << (p.Depth - 8))
	middle = 128 * one
	if p.Colour.Full {
		top := 256*one - 1
		return 0, 1 / top, middle, 1 / top
	}
	return 16 * one, 1 / (219 * one), middle, 1 / (224 * one)
}

// Sample is the code of plane i at (x, y) of that plane.
func (p *Planar) Sample(i, x, y int) int {
	if p.Depth == 8 {
		return int(p.Pix[i][y*p.Stride[i]+x])
	}
	at := p.Pix[i][y*p.Stride[i]+2*x:]
	return int(at[0]) | int(at[1])<<8
}

// SetSample is the inverse of Sample; the code must fit Depth.
func (p *Planar) SetSample(i, x, y, code int) {
	if p.Depth == 8 {
		p.Pix[i][y*p.Stride[i]+x] = uint8(code)
		return
	}
	at := p.Pix[i][y*p.Stride[i]+2*x:]
	at[0], at[1] = uint8(code), uint8(code>>8)
}

// RGB gives R, G and B (0 to 1, a little over where the codes are) for luma
// and the two chroma values of Scale.
func (c Colour) RGB(y, cb, cr float64) (r, g, b float64) {
	r = y + 2*(1-c.Kr)*cr
	b = y + 2*(1-c.Kb)*cb
	g = (y - c.Kr*r - c.Kb*b) / (1 - c.Kr - c.Kb)
	return r, g, b
}

// YCbCr is the inverse of RGB. It is linear: differences go in and come out too.
func (c Colour) YCbCr(r, g, b float64) (y, cb, cr float64) {
	y = c.Kr*r + (1-c.Kr-c.Kb)*g + c.Kb*b
	return y, (b - y) / (2 * (1 - c.Kb)), (r - y) / (2 * (1 - c.Kr))
}

// Luma8 is the luma in 8 bits, with the range it has. With 8-bit samples it shares the
// picture's memory; else it fills and returns into, which is made if it is
// nil or of another size.
func (p *Planar) Luma8(into *image.Gray) *image.Gray {
	rect := image.Rect(0, 0, p.Width, p.Height)
	if p.Depth == 8 {
		return &image.Gray{Pix: p.Pix[0], Stride: p.Stride[0], Rect: rect}
	}
	if into == nil || into.Rect != rect {
		into = image.NewGray(rect)
	}
	shift := p.Depth - 8
	for y := range p.Height {
		src, dst := p.Pix[0][y*p.Stride[0]:][:2*p.Width], into.Pix[y*into.Stride:][:p.Width]
		for x := range dst {
			dst[x] = uint8((int(src[2*x]) | int(src[2*x+1])<<8) >> shift)
		}
	}
	return into
}

// Bounds, ColorModel and At make Planar an image.Image, for tests and for what
// need not be fast. At takes the nearest chroma sample.
func (p *Planar) Bounds() image.Rectangle { return image.Rect(0, 0, p.Width, p.Height) }

// ColorModel is 16-bit RGB.
func (p *Planar) ColorModel() color.Model { return color.NRGBA64Model }

// At is the colour of a pixel.
func (p *Planar) At(x, y int) color.Color {
	black, luma, middle, chroma := p.Scale()
	v := (float64(p.Sample(0, x, y)) - black) * luma
	r, g, b := v, v, v
	if !p.Mono {
		cb := (float64(p.Sample(1, x>>p.SubX, y>>p.SubY)) - middle) * chroma
		cr := (float64(p.Sample(2, x>>p.SubX, y>>p.SubY)) - middle) * chroma
		r, g, b = p.Colour.RGB(v, cb, cr)
	}
	word := func(v float64) uint16 { return uint16(math.Round(min(max(v, 0), 1) * 65535)) }
	return color.NRGBA64{R: word(r), G: word(g), B: word(b), A: 65535}
}
