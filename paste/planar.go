package paste

import (
	"image"
	"math"

	"restored/frame"
)

// planar is the canvas of a video's picture. Luma changes by pixel, a chroma
// sample by the mean over the area that it stands for: a box as wide as the
// distance of two samples, around its place.
type planar struct {
	p            *frame.Planar
	y, cb, cr    [3]float32 // codes a unit of R, G, B
	low, high    int        // legal codes
	across, down box
}

// box is the weights of the pixels first, first+1, … from the start of a
// chroma sample's block.
type box struct {
	first  int
	weight []float32
}

func newBox(sub uint, site float64) box {
	n := float64(int(1) << sub)
	from, to := site-n/2, site+n/2 // pixel i covers i−½ to i+½
	b := box{first: int(math.Floor(from + 0.5))}
	for i := float64(b.first); i-0.5 < to; i++ {
		b.weight = append(b.weight, float32((min(i+0.5, to)-max(i-0.5, from))/n))
	}
	return b
}

// end is the pixel after the last.
func (b *box) end() int { return b.first + len(b.weight) }

func newPlanar(p *frame.Planar) *planar {
	c := &planar{p: p, low: 0, high: 1<<p.Depth - 1}
	if !p.Colour.Full { // the codes beyond belong to SDI's synchronisation
		c.low, c.high = 1<<(p.Depth-8), 255<<(p.Depth-8)-1
	}
	_, luma, _, chroma := p.Scale()
	for k := range 3 {
		var rgb [3]float64
		rgb[k] = 1
		y, cb, cr := p.Colour.YCbCr(rgb[0], rgb[1], rgb[2])
		c.y[k], c.cb[k], c.cr[k] = float32(y/luma), float32(cb/chroma), float32(cr/chroma)
	}
	c.across, c.down = newBox(p.SubX, p.Colour.SiteX), newBox(p.SubY, p.Colour.SiteY)
	return c
}

func (c *planar) reach() (margin, block image.Point) {
	if c.p.Mono {
		return image.Point{}, image.Pt(1, 1)
	}
	block = image.Pt(1<<c.p.SubX, 1<<c.p.SubY)
	return image.Pt(max(-c.across.first, c.across.end()-block.X, 0), max(-c.down.first, c.down.end()-block.Y, 0)), block
}

func (c *planar) gray(dst []float32, x, y int) {
	p := c.p
	black, luma, _, _ := p.Scale()
	scale, zero := float32(luma), float32(-black*luma)
	if p.Depth == 8 {
		for i, v := range p.Pix[0][y*p.Stride[0]+x:][:len(dst)] {
			dst[i] = zero + scale*float32(v)
		}
		return
	}
	pix := p.Pix[0][y*p.Stride[0]+2*x:]
	for i := range dst {
		dst[i] = zero + scale*float32(uint32(pix[2*i])|uint32(pix[2*i+1])<<8)
	}
}

func (c *planar) write(b *band, from, to int) {
	for y := from; y < to; y++ {
		c.luma(b.rect.Min.X, y, b.row(y))
	}
	if c.p.Mono {
		return
	}
	sum := make([]float32, 3*b.rect.Dx())
	n := 1 << c.p.SubY
	for y := from; y < to; y += n {
		c.mean(sum, b, y)
		c.chroma(sum, b.rect.Min.X, y>>c.p.SubY)
	}
}

func (c *planar) luma(x, y int, change []float32) {
	for i := range len(change) / 3 {
		d := (*[3]float32)(change[3*i:])
		if *d == [3]float32{} {
			continue
		}
		c.add(0, x+i, y, c.y[0]*d[0]+c.y[1]*d[1]+c.y[2]*d[2])
	}
}

// mean is the mean change over the rows of the block row at y.
func (c *planar) mean(sum []float32, b *band, y int) {
	clear(sum)
	var total float32
	for i, w := range c.down.weight {
		v := y + c.down.first + i
		if v < 0 || v >= c.p.Height {
			continue // the mean is over the pixels that there are
		}
		total += w
		if v < b.rect.Min.Y || v >= b.rect.Max.Y {
			continue
		}
		for j, d := range b.row(v) {
			sum[j] += w * d
		}
	}
	for j := range sum {
		sum[j] /= total
	}
}

// chroma adds to row k of the chroma planes; change begins at the pixel left.
func (c *planar) chroma(change []float32, left, k int) {
	right := left + len(change)/3
	for u := left >> c.p.SubX; u<<c.p.SubX < right; u++ {
		var r, g, b, total float32
		for i, w := range c.across.weight {
			x := u<<c.p.SubX + c.across.first + i
			if x < 0 || x >= c.p.Width {
				continue
			}
			total += w
			if x < left || x >= right {
				continue
			}
			d := (*[3]float32)(change[3*(x-left):])
			r += w * d[0]
			g += w * d[1]
			b += w * d[2]
		}
		if r == 0 && g == 0 && b == 0 {
			continue
		}
		r, g, b = r/total, g/total, b/total
		c.add(1, u, k, c.cb[0]*r+c.cb[1]*g+c.cb[2]*b)
		c.add(2, u, k, c.cr[0]*r+c.cr[1]*g+c.cr[2]*b)
	}
}

// add changes a sample by d codes, rounded to nearest. What lies outside of
// the legal codes may stay there, but nothing is driven out of them.
func (c *planar) add(plane, x, y int, d float32) {
	n := int(math.Floor(float64(d) + 0.5))
	if n == 0 {
		return
	}
	v := c.p.Sample(plane, x, y)
	c.p.SetSample(plane, x, y, min(max(v+n, min(c.low, v)), max(c.high, v)))
}
