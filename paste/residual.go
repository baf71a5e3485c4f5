package paste

import (
	"image"
	"math"
	"sync"
)

// patch is one face made ready: its difference picture and the way from the
// photo to it.
type patch struct {
	diff   []float32       // interleaved RGB, means of box×box pixels of area
	area   image.Rectangle // in the crop's pixels; may reach out of the crop, by repetition
	box    int             // 2 and more where the photo is three times coarser and more
	w, h   int             // of diff
	toCrop [6]float64
	across kernel
	down   kernel
	mask   egg
	blend  float32
	rect   image.Rectangle // of the photo, outside of which the mask is 0
	grain  bool
	ready  []float32 // the change of rect's pixels, interleaved RGB, where it isn't taken from diff
}

// prepare computes the difference within the mask's reach, without its low
// frequencies and, where the face has one, along its tone line.
func (p *patch) prepare(f *Face) {
	w, h := p.mask.extent()
	padX, padY := float64(p.box*(p.across.reach+1)), float64(p.box*(p.down.reach+1))
	p.area.Min = image.Pt(int(math.Floor(p.mask.x-w-padX)), int(math.Floor(p.mask.y-h-padY)))
	p.w = (int(math.Ceil(p.mask.x+w+padX))-p.area.Min.X)/p.box + 1
	p.h = (int(math.Ceil(p.mask.y+h+padY))-p.area.Min.Y)/p.box + 1
	p.area.Max = p.area.Min.Add(image.Pt(p.w*p.box, p.h*p.box))
	c := look(f, &p.mask)
	t := measureTone(c.before, c.weight)
	p.diff = borrow(3 * p.w * p.h)
	clear(p.diff)
	n, size := f.Size*f.Size, f.Size
	columns := make([]column, p.area.Dx())
	for i := range columns {
		x := min(max(p.area.Min.X+i, 0), size-1)
		columns[i].x, columns[i].at = x, 3*(i/p.box)
		columns[i].cell, columns[i].t = between(x, size)
	}
	share := 1 / float32(p.box*p.box)
	bands(p.h, 16, func(from, to int) {
		low := make([][3]float32, grid)
		for j := from * p.box; j < to*p.box; j++ {
			y := min(max(p.area.Min.Y+j, 0), size-1)
			c.lowRow(low, y, size)
			dst := p.diff[3*p.w*(j/p.box):][:3*p.w]
			before := [3][]float32{f.Before[y*size:][:size], f.Before[n+y*size:][:size], f.Before[2*n+y*size:][:size]}
			after := [3][]float32{f.After[y*size:][:size], f.After[n+y*size:][:size], f.After[2*n+y*size:][:size]}
			for _, o := range columns {
				l, m := &low[o.cell], &low[o.cell+1]
				br, bg, bb := before[0][o.x], before[1][o.x], before[2][o.x]
				r := after[0][o.x] - br - l[0] - o.t*(m[0]-l[0])
				g := after[1][o.x] - bg - l[1] - o.t*(m[1]-l[1])
				b := after[2][o.x] - bb - l[2] - o.t*(m[2]-l[2])
				if t.monochrome {
					r, g, b = t.move(luma(br, bg, bb), luma(r, g, b))
				}
				d := (*[3]float32)(dst[o.at:])
				d[0] += share * r
				d[1] += share * g
				d[2] += share * b
			}
		}
	})
}

// floats are the buffers of patches, used again by later ones.
var floats = sync.Pool{New: func() any { return new([]float32) }}

// borrow gives n values, whatever they hold, with room for spare ones.
func borrow(n int) []float32 {
	buf := *floats.Get().(*[]float32)
	if cap(buf) < n+spare {
		buf = make([]float32, n+spare)
	}
	return buf[:n]
}

// release gives the patch's memory back.
func (p *patch) release() {
	for _, buf := range [][]float32{p.diff, p.ready} {
		if buf != nil {
			floats.Put(&buf)
		}
	}
}

// column says where a column of a patch's area lies in the crop, on the grid
// and in a row of diff.
type column struct {
	x, cell, at int
	t           float32
}

// overview is the face and its change on a grid of grid×grid cells.
type overview struct {
	before [][3]float64 // mean colour
	weight []float64    // mean mask
	low    [][3]float32 // low-frequency part of the change
}

// lowSigma is the standard deviation, in cells, of the Gaussian whose output
// counts as brightness and cast: an eighth of the crop's side, the half
// distance of the eyes.
const lowSigma = grid / 8.0

// look averages over cells and takes the Gaussian mean of the change, each
// pixel weighed by the mask, so that only the face itself decides.
func look(f *Face, mask *egg) overview {
	c := overview{make([][3]float64, grid*grid), make([]float64, grid*grid), make([][3]float32, grid*grid)}
	size, n := f.Size, f.Size*f.Size
	change := make([][4]float64, grid*grid) // masked sums of R, G, B, and the mask's
	bands(grid, 4, func(from, to int) {
		for j := from; j < to; j++ {
			for i := range grid {
				x0, x1 := i*size/grid, (i+1)*size/grid
				y0, y1 := j*size/grid, (j+1)*size/grid
				// The mask is smooth: its value at the cell's centre stands
				// for the cell.
				m := float64(mask.at(float64(x0+x1-1)/2, float64(y0+y1-1)/2))
				if m == 0 {
					continue
				}
				count := float64((x1 - x0) * (y1 - y0))
				for k := range 3 {
					var b, d float32
					for y := y0; y < y1; y++ {
						before := f.Before[k*n+y*size:][x0:x1]
						after := f.After[k*n+y*size:][x0:x1]
						for x, v := range before {
							b += v
							d += after[x] - v
						}
					}
					c.before[j*grid+i][k] = float64(b) / count
					change[j*grid+i][k] = m * float64(d) / count
				}
				c.weight[j*grid+i], change[j*grid+i][3] = m, m
			}
		}
	})
	for i, v := range gauss(gauss(change)) {
		for k := range 3 {
			c.low[i][k] = float32(v[k] / max(v[3], 1e-9))
		}
	}
	return c
}

// gauss smooths along x and transposes; twice is a Gaussian in both.
func gauss(in [][4]float64) [][4]float64 {
	var weight [grid]float64
	for i := range weight {
		weight[i] = math.Exp(-0.5 * float64(i*i) / (lowSigma * lowSigma))
	}
	out := make([][4]float64, len(in))
	for y := range grid {
		for x := range grid {
			o := &out[x*grid+y]
			for i, v := range in[y*grid:][:grid] {
				w := weight[max(i-x, x-i)]
				o[0] += w * v[0]
				o[1] += w * v[1]
				o[2] += w * v[2]
				o[3] += w * v[3]
			}
		}
	}
	return out
}

// between gives the cells that the pixel v of n lies between, and how far.
func between(v, n int) (cell int, t float32) {
	at := min(max((float64(v)+0.5)*grid/float64(n)-0.5, 0), grid-1)
	cell = min(int(at), grid-2)
	return cell, float32(at - float64(cell))
}

// lowRow interpolates the low frequencies for the crop's row y.
func (c *overview) lowRow(dst [][3]float32, y, size int) {
	cell, t := between(y, size)
	for i := range dst {
		a, b := &c.low[cell*grid+i], &c.low[(cell+1)*grid+i]
		for k := range 3 {
			dst[i][k] = a[k] + t*(b[k]-a[k])
		}
	}
}

// at is the area-correct difference at the crop's position (x, y).
func (p *patch) at(x, y float64) (r, g, b float32) {
	scale := 1 / float64(p.box)
	u, wx := p.across.place((x-float64(p.area.Min.X)+0.5)*scale - 0.5)
	v, wy := p.down.place((y-float64(p.area.Min.Y)+0.5)*scale - 0.5)
	return weigh(p.diff[3*(v*p.w+u):], 3*p.w, wx, wy)
}
