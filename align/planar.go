package align

import (
	"restored/frame"
)

// planarRows reads a video's picture: luma, and the chroma of its rows and
// columns interpolated linearly at each pixel's place.
func planarRows(p *frame.Planar) func() rowReader {
	black, luma, middle, chroma := p.Scale()
	value := lumaValues(p, black, luma)
	if p.Mono {
		return func() rowReader {
			return func(dst []float32, x, y int) { monoRow(dst, p, value, x, y) }
		}
	}
	// What one step of Cb and Cr adds to R, G and B.
	var step [2][3]float32
	for i := range step {
		cb, cr := chroma, 0.0
		if i == 1 {
			cb, cr = 0, chroma
		}
		r, g, b := p.Colour.RGB(0, cb, cr)
		step[i] = [3]float32{float32(r), float32(g), float32(b)}
	}
	c := chromaReader{p: p, value: value, step: step, middle: float32(middle)}
	return func() rowReader {
		own := c
		w, _ := p.PlaneSize(1)
		own.shift = make([][4]float32, w)
		return own.row
	}
}

// lumaValues holds the value of each 8-bit code; deeper codes give it as a
// line, value[0] + code·value[1].
func lumaValues(p *frame.Planar, black, luma float64) []float32 {
	if p.Depth > 8 {
		return []float32{float32(-black * luma), float32(luma)}
	}
	value := make([]float32, 256)
	for i := range value {
		value[i] = float32((float64(i) - black) * luma)
	}
	return value
}

func monoRow(dst []float32, p *frame.Planar, value []float32, x, y int) {
	lumaRow(dst, p, value, x, y)
	for i := 0; i < len(dst); i += 3 {
		f := clamp(dst[i])
		dst[i], dst[i+1], dst[i+2] = f, f, f
	}
}

// lumaRow fills every third value of dst.
func lumaRow(dst []float32, p *frame.Planar, value []float32, x, y int) {
	if p.Depth == 8 {
		table := (*[256]float32)(value)
		for i, v := range p.Pix[0][y*p.Stride[0]+x:][:len(dst)/3] {
			dst[3*i] = table[v]
		}
		return
	}
	pix := p.Pix[0][y*p.Stride[0]+2*x:][:2*(len(dst)/3)]
	zero, one := value[0], value[1]
	for i := range len(dst) / 3 {
		dst[3*i] = zero + one*float32(uint32(pix[2*i])|uint32(pix[2*i+1])<<8)
	}
}

// chromaReader is one goroutine's way to the rows of a picture in colour.
type chromaReader struct {
	p      *frame.Planar
	value  []float32
	step   [2][3]float32
	middle float32
	shift  [][4]float32 // what the chroma adds to R, G, B at a row, by chroma column
}

func (c *chromaReader) row(dst []float32, x, y int) {
	p := c.p
	n := len(dst) / 3
	w, h := p.PlaneSize(1)
	across := newSiting(p.SubX, p.Colour.SiteX, w)
	first, _ := across.at(x)
	last, _ := across.at(x + n - 1)
	last = min(last+1, w-1)
	down := newSiting(p.SubY, p.Colour.SiteY, h)
	v, t := down.at(y)
	c.shiftRow(v, min(v+1, h-1), t, first, last)
	lumaRow(dst, p, c.value, x, y)
	if p.SubX == 0 {
		for i, s := range c.shift[first:][:n] {
			d := (*[3]float32)(dst[3*i:])
			l := d[0]
			d[0], d[1], d[2] = clamp(l+s[0]), clamp(l+s[1]), clamp(l+s[2])
		}
		return
	}
	for i := 0; i < n; {
		k, t := across.at(x + i)
		if p.SubX == 1 && t < 0.5 && float32(x+i) >= across.site {
			if pairs := min((n-i)/2, w-1-k); pairs > 0 {
				chromaPairs(dst[3*i:], c.shift[k:], t, pairs)
				i += 2 * pairs
				continue
			}
		}
		a, b := &c.shift[k], &c.shift[min(k+1, w-1)]
		d := (*[3]float32)(dst[3*i:])
		for j, l := 0, d[0]; j < 3; j++ {
			d[j] = clamp(l + a[j] + t*(b[j]-a[j]))
		}
		i++
	}
}

// shiftRow fills shift[first..last] for a place t between the chroma rows v
// and w.
func (c *chromaReader) shiftRow(v, w int, t float32, first, last int) {
	p, n := c.p, last-first+1
	b, r := &c.step[0], &c.step[1]
	shift := c.shift[first:][:n]
	set := func(i int, cb, cr float32) {
		cb, cr = cb-c.middle, cr-c.middle
		shift[i] = [4]float32{cr * r[0], cb*b[1] + cr*r[1], cb * b[2]}
	}
	if p.Depth == 8 {
		row := func(i, y int) []uint8 { return p.Pix[i][y*p.Stride[i]+first:][:n] }
		cb, cr, cb2, cr2 := row(1, v), row(2, v), row(1, w), row(2, w)
		for i := range cb {
			u, v := float32(cb[i]), float32(cr[i])
			set(i, u+t*(float32(cb2[i])-u), v+t*(float32(cr2[i])-v))
		}
		return
	}
	at := func(i, x, y int) float32 { return float32(p.Sample(i, first+x, y)) }
	for i := range shift {
		u, q := at(1, i, v), at(2, i, v)
		set(i, u+t*(at(1, i, w)-u), q+t*(at(2, i, w)-q))
	}
}

// siting finds a pixel's place among the n chroma samples of one direction.
type siting struct {
	sub  uint
	site float32
	n    int
}

func newSiting(sub uint, site float64, n int) siting { return siting{sub, float32(site), n} }

// at is the sample before the pixel x and the share, 0 to 1, of the one after it.
func (s *siting) at(x int) (k int, t float32) {
	f := (float32(x) - s.site) / float32(int(1)<<s.sub)
	if f <= 0 {
		return 0, 0
	}
	k = int(f)
	if k >= s.n-1 {
		return s.n - 1, 0
	}
	return k, f - float32(k)
}

func clamp(v float32) float32 {
	if v < 0 {
		return 0
	}
	if v > 1 {
		return 1
	}
	return v
}
