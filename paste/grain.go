package paste

import (
	"image"
	"math"
	"slices"
	"sync"
)

// Film grain and sensor noise live at the scale of the picture's pixels, so
// they are looked at there: in bands of an undecimated wavelet transform
// (à trous, cubic B-spline) of the luma. Of each band, what is no larger than
// the noise and is not in the restored face any more is given back.
const (
	grainBands = 3 // of wavelengths 2–4, 4–8 and 8–16 pixels
	grainBlock = 8 // side of the blocks whose energy is measured

	// Below grainNone the finest band holds no noise worth giving back, from
	// grainAll on all of it: standard deviations in units of full scale. Clear
	// digital video has 0.3 to 0.9 of 255 in its quiet parts, white noise of
	// 2/255 has 2.
	grainNone = 1.1 / 255
	grainAll  = 1.8 / 255

	// A deviation of up to coreKeep times the noise is noise, from coreDrop on
	// it is detail.
	coreKeep = 2.5
	coreDrop = 5
)

// grained computes the change at each pixel of the patch's rectangle, with the
// grain that it takes away given back. It is nil where there is no grain.
func (p *patch) grained(c canvas, bounds image.Rectangle) []float32 {
	strength := p.grainStrength(c, bounds)
	if strength == 0 {
		return nil
	}
	g := grainPool.Get().(*grainRoom)
	defer grainPool.Put(g)
	margin := 4 << grainBands
	area := p.rect.Inset(-margin).Intersect(bounds)
	g.resize(area.Dx(), area.Dy())
	ready := borrow(3 * p.rect.Dx() * p.rect.Dy())
	clear(ready)
	clear(g.mask)
	bands(g.h, 16, func(from, to int) {
		r := row{min: bounds.Min, left: area.Min.X}
		for v := from; v < to; v++ {
			y := area.Min.Y + v
			c.gray(g.before[v*g.w:][:g.w], area.Min.X, y)
			after := g.after[v*g.w:][:g.w]
			clear(after)
			r.each(p, y, func(i int, w float32, cx, cy float64) {
				red, green, blue := p.at(cx, cy)
				at := 3 * ((y-p.rect.Min.Y)*p.rect.Dx() + i - (p.rect.Min.X - area.Min.X))
				ready[at], ready[at+1], ready[at+2] = red, green, blue
				after[i] += luma(red, green, blue)
				g.mask[v*g.w+i] = w / p.blend
			})
		}
	})
	g.carry(&p.toCrop)
	for i, v := range g.before {
		g.after[i] += v
	}
	clear(g.noise)
	for l := range grainBands {
		g.band(l)
	}
	shift := p.rect.Min.Sub(area.Min)
	for y := range p.rect.Dy() {
		noise := g.noise[(y+shift.Y)*g.w+shift.X:][:p.rect.Dx()]
		row := ready[3*y*p.rect.Dx():][:3*p.rect.Dx()]
		for x, n := range noise {
			n *= strength
			row[3*x] += n
			row[3*x+1] += n
			row[3*x+2] += n
		}
	}
	return ready
}

// grainStrength is 0 where the picture around and in the face has no grain, 1
// where it has, by the finest band in blocks of both. The quieter of the two
// counts: skin and what is behind it may have texture, grain is on both.
func (p *patch) grainStrength(c canvas, bounds image.Rectangle) float32 {
	pad := p.rect.Dy() / 4
	area := p.rect.Inset(-pad).Intersect(bounds)
	const side = grainBlock + 4
	step := max(grainBlock, int(math.Sqrt(float64(area.Dx()*area.Dy()))/32))
	var inside, around []float32
	var rows [side][]float32
	for i := range rows {
		rows[i] = make([]float32, area.Dx())
	}
	a, origin := &p.toCrop, bounds.Min
	for y := area.Min.Y; y+side <= area.Max.Y; y += step {
		for i := range rows {
			c.gray(rows[i], area.Min.X, y+i)
		}
		for x := 0; x+side <= area.Dx(); x += step {
			u, v := float64(area.Min.X+x+side/2-origin.X), float64(y+side/2-origin.Y)
			m := p.mask.at(a[0]*u+a[1]*v+a[2], a[3]*u+a[4]*v+a[5])
			if m > 0 && m < 0.5 {
				continue
			}
			energy, ok := blockEnergy(&rows, x)
			if !ok {
				continue
			}
			if m > 0 {
				inside = append(inside, energy)
			} else {
				around = append(around, energy)
			}
		}
	}
	level, ok := quiet(inside, 0.2)
	if !ok {
		return 0
	}
	if other, ok := quiet(around, 0.2); ok {
		level = min(level, other)
	}
	return min(max((level-grainNone)/(grainAll-grainNone), 0), 1)
}

// blockEnergy is the mean square of the finest band in a block; not ok where
// the block is black or white, where noise is cut off.
func blockEnergy(rows *[grainBlock + 4][]float32, x int) (energy float32, ok bool) {
	var across [grainBlock + 4][grainBlock]float32
	var mean float32
	for i := range rows {
		in := rows[i][x:][:grainBlock+4]
		for j := range grainBlock {
			across[i][j] = (in[j] + in[j+4] + 4*(in[j+1]+in[j+3]) + 6*in[j+2]) / 16
		}
	}
	for i := range grainBlock {
		for j := range grainBlock {
			s := (across[i][j] + across[i+4][j] + 4*(across[i+1][j]+across[i+3][j]) + 6*across[i+2][j]) / 16
			d := rows[i+2][x+2+j] - s
			energy += d * d
			mean += s
		}
	}
	mean /= grainBlock * grainBlock
	return energy / (grainBlock * grainBlock), mean > 0.02 && mean < 0.98
}

// quiet is the root of the q-quantile of energies; not ok for too few.
func quiet(energies []float32, q float64) (float32, bool) {
	if len(energies) < 4 {
		return 0, false
	}
	slices.Sort(energies)
	return float32(math.Sqrt(float64(energies[int(q*float64(len(energies)-1))]))), true
}

// grainRoom is the memory of one face's grain.
type grainRoom struct {
	w, h              int
	before, after     []float32 // luma; from band to band smoother
	detail, lost, row []float32
	mask, noise       []float32
	cells             []cell
}

var grainPool = sync.Pool{New: func() any { return new(grainRoom) }}

func (g *grainRoom) resize(w, h int) {
	g.w, g.h = w, h
	for _, s := range []*[]float32{&g.before, &g.after, &g.detail, &g.lost, &g.row, &g.mask, &g.noise} {
		*s = slices.Grow((*s)[:0], w*h)[:w*h]
	}
}

// band takes band l off before and after, and adds to noise what it holds of
// the grain that is missing.
func (g *grainRoom) band(l int) {
	g.split(g.before, g.detail, 1<<l)
	g.split(g.after, g.lost, 1<<l)
	sigma, ok := g.level(g.detail)
	if !ok {
		return
	}
	scale := 1 / sigma
	side := 4 << l
	cw, ch := g.w/side+1, g.h/side+1
	g.cells = slices.Grow(g.cells[:0], cw*ch)[:cw*ch]
	clear(g.cells)
	for y := range g.h {
		cells := g.cells[y/side*cw:][:cw]
		before, after := g.detail[y*g.w:][:g.w], g.lost[y*g.w:][:g.w]
		for x, v := range before {
			b, a := core(v, scale), core(after[x], scale)
			before[x] = b
			c := &cells[x/side]
			c.kept += a * b
			c.all += b * b
		}
	}
	least := 0.1 * sigma * sigma * float32(side*side)
	share := missing(g.cells, cw, ch, least)
	for y := range g.h {
		j, t := cellOf(y, side)
		top, bottom := share[j*cw:][:cw], share[min(j+1, ch-1)*cw:][:cw]
		noise, detail := g.noise[y*g.w:][:g.w], g.detail[y*g.w:][:g.w]
		for x := range noise {
			i, s := cellOf(x, side)
			k := min(i+1, cw-1)
			upper, lower := top[i]+s*(top[k]-top[i]), bottom[i]+s*(bottom[k]-bottom[i])
			noise[x] += (upper + t*(lower-upper)) * detail[x]
		}
	}
}

// carry leaves of before what a crop can hold of it and give back: what it
// can't was not taken from the picture, and is still there.
func (g *grainRoom) carry(toCrop *[6]float64) {
	across := roundTrip(math.Hypot(toCrop[0], toCrop[3]))
	down := roundTrip(math.Hypot(toCrop[1], toCrop[4]))
	w, h := g.w, g.h
	bands(h, 32, func(from, to int) {
		for y := from; y < to; y++ {
			in, out := g.before[y*w:][:w], g.row[y*w:][:w]
			for x := range out {
				sum := across[0] * in[x]
				for j, f := range across[1:] {
					sum += f * (in[max(x-j-1, 0)] + in[min(x+j+1, w-1)])
				}
				out[x] = sum
			}
		}
	})
	bands(h, 32, func(from, to int) {
		for y := from; y < to; y++ {
			out := g.before[y*w:][:w]
			for x, v := range g.row[y*w:][:w] {
				out[x] = down[0] * v
			}
			for j, f := range down[1:] {
				up, below := g.row[max(y-j-1, 0)*w:][:w], g.row[min(y+j+1, h-1)*w:][:w]
				for x := range out {
					out[x] += f * (up[x] + below[x])
				}
			}
		}
	})
}

// roundTrip is the one-dimensional filter, from its middle on, that warping to
// a crop of density pixels a picture pixel and back comes to: the cubic kernel
// convolved with itself, stretched to the coarser pixels of the two.
func roundTrip(density float64) []float32 {
	width := max(1, 1/density)
	taps := make([]float32, int(math.Ceil(4*width)))
	var sum float64
	for j := range taps {
		var v float64
		const step = 1.0 / 64
		for t := -2.0; t < 2; t += step {
			v += step * keys(t) * keys(t+float64(j)/width)
		}
		taps[j] = float32(v)
		sum += v
		if j > 0 {
			sum += v
		}
	}
	for j := range taps {
		taps[j] /= float32(sum)
	}
	return taps
}

// cell sums what is noise in the picture, and the same in the restored face,
// over some pixels.
type cell struct{ kept, all float32 }

// missing is the share of the noise that the restored face has lost, by cell,
// from the sums over the cell and its neighbours.
func missing(cells []cell, w, h int, least float32) []float32 {
	share := make([]float32, len(cells))
	for y := range h {
		for x := range w {
			var kept, all float32
			for v := max(y-1, 0); v < min(y+2, h); v++ {
				for u := max(x-1, 0); u < min(x+2, w); u++ {
					f := float32(1)
					if u == x {
						f = 2
					}
					if v == y {
						f *= 2
					}
					kept += f * cells[v*w+u].kept
					all += f * cells[v*w+u].all
				}
			}
			share[y*w+x] = min(max(1-kept/max(all, 16*least), 0), 1)
		}
	}
	return share
}

// cellOf gives the cells that the pixel x lies between, and how far.
func cellOf(x, side int) (i int, t float32) {
	f := (float32(x)+0.5)/float32(side) - 0.5
	if f < 0 {
		return 0, 0
	}
	i = int(f)
	return i, f - float32(i)
}

// core is v where it is noise, 0 where it is detail; scale is 1/σ.
func core(v, scale float32) float32 {
	t := v * scale
	if t < 0 {
		t = -t
	}
	if t <= coreKeep {
		return v
	}
	if t >= coreDrop {
		return 0
	}
	return v * (coreDrop - t) / (coreDrop - coreKeep)
}

// level is the noise of a band in the face: its median, but no more than a
// half over its quiet parts.
func (g *grainRoom) level(band []float32) (float32, bool) {
	var energies []float32
	for y := 0; y+grainBlock <= g.h; y += grainBlock {
		for x := 0; x+grainBlock <= g.w; x += grainBlock {
			if g.mask[(y+grainBlock/2)*g.w+x+grainBlock/2] <= 0.5 {
				continue
			}
			var sum float32
			for j := range grainBlock {
				for _, v := range band[(y+j)*g.w+x:][:grainBlock] {
					sum += v * v
				}
			}
			energies = append(energies, sum/(grainBlock*grainBlock))
		}
	}
	low, ok := quiet(energies, 0.2)
	middle, _ := quiet(energies, 0.5)
	return min(middle, 1.5*low), ok && low > 0
}

// split smooths img with a cubic B-spline of the given step and puts what goes
// into detail.
func (g *grainRoom) split(img, detail []float32, step int) {
	w, h := g.w, g.h
	bands(h, 32, func(from, to int) {
		for y := from; y < to; y++ {
			splineRow(g.row[y*w:][:w], img[y*w:][:w], step)
		}
	})
	bands(h, 32, func(from, to int) {
		line := func(y int) []float32 { return g.row[min(max(y, 0), h-1)*w:][:w] }
		for y := from; y < to; y++ {
			in, out := img[y*w:][:w], detail[y*w:][:w]
			spline(out, line(y-2*step), line(y-step), line(y), line(y+step), line(y+2*step))
			for x, s := range out {
				in[x], out[x] = s, in[x]-s
			}
		}
	})
}

// splineRow smooths a row; its ends are repeated.
func splineRow(dst, src []float32, step int) {
	w := len(src)
	n := max(w-4*step, 0)
	at := func(x int) float32 { return src[min(max(x, 0), w-1)] }
	for i := range w - n { // both ends
		x := i
		if n > 0 && i >= 2*step {
			x += n
		}
		dst[x] = (at(x-2*step) + at(x+2*step) + 4*(at(x-step)+at(x+step)) + 6*src[x]) / 16
	}
	if n == 0 {
		return
	}
	spline(dst[2*step:][:n], src, src[step:], src[2*step:], src[3*step:], src[4*step:])
}
