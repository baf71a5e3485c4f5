package align

import (
	"fmt"
	"image"
	"math"
	"sync"
)

// MaxSize is the largest side of a crop.
const MaxSize = 4096

// oversample is the density, relative to the crop, of the low-passed copy
// that a shrinking warp samples: dense enough that the second interpolation
// costs no sharpness (−0.5 dB at half the crop's Nyquist frequency).
const oversample = 1.5

// Warp cuts the square crop of the given side out of img; m maps the photo to
// the crop (what Estimate(landmarks, template) returns). It is WarpAffine with
// the similarity's matrix.
func Warp(img image.Image, m Similarity, size int) ([]float32, error) {
	return WarpAffine(img, m.Affine(), size)
}

// WarpAffine cuts the square crop of the given side out of img; a maps the
// photo to the crop: x' = a[0]·x + a[1]·y + a[2], y' = a[3]·x + a[4]·y + a[5].
// It may turn, mirror, and stretch one axis of the photo, as the pixels of an
// anamorphic video ask for. img is one of *image.Gray, *image.Gray16,
// *image.NRGBA, *image.NRGBA64, *frame.Planar; alpha is ignored, gray comes
// out as three equal planes, of a *frame.Planar only what the crop needs is
// made RGB. The result has 3·size·size values in [0, 1], planar RGB.
//
// Enlarging uses cubic convolution (Keys, a = −½). Shrinking first low-passes
// with the same kernel stretched to the crop's pixel, after a box reduction
// by a whole factor where the photo is four or more times denser, so that
// nothing aliases; each axis of the photo by its own density. Where the crop
// reaches out of the photo the photo's edge pixels are repeated. An identity
// copies the pixels exactly.
//
// It fails for another image type, a size outside 1..MaxSize, and with
// ErrDegenerate for an a that has no inverse or maps to nowhere near. Memory is
// bounded by the size of the crop or of the photo, whichever is smaller,
// whatever a is.
func WarpAffine(img image.Image, a [6]float64, size int) ([]float32, error) {
	src, err := newSource(img)
	if err != nil {
		return nil, err
	}
	if size < 1 || size > MaxSize {
		return nil, fmt.Errorf("align: crop size %d is outside 1..%d", size, MaxSize)
	}
	back, err := affine(a).inverse()
	if err != nil {
		return nil, err
	}
	dx, dy := back.density()
	win, ok := window(src, back, size, dx, dy)
	if !ok {
		return nil, fmt.Errorf("align: crop of %v lies further than %g pixels away: %w", a, farthest, ErrDegenerate)
	}
	r := rooms.Get().(*room)
	defer rooms.Put(r)
	var p plane
	if max(dx, dy) < shrinks {
		p = r.load(src, win)
	} else {
		p = r.shrink(src, win, dx, dy)
	}
	// From the crop to the plane: photo coordinate x lies at
	// (x − origin + ½)/step − ½.
	toPlane := affine{
		back[0] / p.stepX, back[1] / p.stepX, (back[2]-float64(win.Min.X)+0.5)/p.stepX - 0.5,
		back[3] / p.stepY, back[4] / p.stepY, (back[5]-float64(win.Min.Y)+0.5)/p.stepY - 0.5,
	}
	out := make([]float32, 3*size*size)
	bands(size, 32, func(from, to int) { p.sample(out, toPlane, size, from, to) })
	return out, nil
}

// farthest bounds the photo coordinates of a crop's corners; beyond it a
// transform is a mistake.
const farthest = 1e8

// shrinks is the density, in photo pixels a crop pixel, from which an axis is
// low-passed.
const shrinks = 1 + 1.0/64

// plane is a part of the photo in interleaved RGB, its pixels stepX and stepY
// photo pixels apart.
type plane struct {
	pix          []float32
	w, h         int
	stepX, stepY float64
}

// window is the part of the photo that the crop's pixels depend on: their
// bounding box with room for the kernel, cut to the photo, never empty. It is
// not ok where the crop reaches further than farthest.
func window(src source, back affine, size int, dx, dy float64) (win image.Rectangle, ok bool) {
	end := float64(size - 1)
	x0, y0, x1, y1 := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, c := range []Point{{0, 0}, {end, 0}, {0, end}, {end, end}} {
		q := back.apply(c)
		x0, x1 = min(x0, q.X), max(x1, q.X)
		y0, y1 = min(y0, q.Y), max(y1, q.Y)
	}
	if !(x0 > -farthest && x1 < farthest && y0 > -farthest && y1 < farthest) {
		return win, false
	}
	padX, padY := 3+4*max(1, dx), 3+4*max(1, dy)
	lo := func(v float64, n int) int { return int(min(max(math.Floor(v), 0), float64(n-1))) }
	hi := func(v float64, n int) int { return int(min(max(math.Ceil(v), 0), float64(n-1))) }
	return image.Rect(lo(x0-padX, src.w), lo(y0-padY, src.h), hi(x1+padX, src.w)+1, hi(y1+padY, src.h)+1), true
}

// room is the memory of a warp, used again by later ones.
type room struct{ pix, rows []float32 }

var rooms = sync.Pool{New: func() any { return new(room) }}

// sized gives n values of *buf, whatever they hold, with room for spare ones.
func sized(buf *[]float32, n int) []float32 {
	if cap(*buf) < n+spare {
		*buf = make([]float32, n+spare)
	}
	return (*buf)[:n]
}

// load copies the window as it is.
func (r *room) load(src source, win image.Rectangle) plane {
	p := plane{w: win.Dx(), h: win.Dy(), stepX: 1, stepY: 1}
	p.pix = sized(&r.pix, 3*p.w*p.h)
	bands(p.h, 64, func(from, to int) {
		row := src.rows()
		for y := from; y < to; y++ {
			row(p.pix[3*p.w*y:][:3*p.w], win.Min.X, win.Min.Y+y)
		}
	})
	return p
}

// reduction is how one axis of n pixels is shrunk: a box reduction by a whole
// factor that leaves a density of 2..4, then stretched Keys kernels onto a
// grid oversample times the crop's.
type reduction struct {
	box  int // photo pixels a block
	n    int // blocks
	step float64
	taps []taps // of blocks
}

func newReduction(n int, density float64, longest int) reduction {
	if density < shrinks {
		density = 1
	}
	r := reduction{box: 1}
	if density >= 4 {
		r.box = int(min(density/2, float64(longest)))
	}
	r.n = (n + r.box - 1) / r.box
	width := density / float64(r.box)
	step := max(1, width/oversample)
	r.taps = shrinkTaps(r.n, step, width)
	r.step = step * float64(r.box)
	return r
}

// shrink copies the window low-passed to the crop's resolution.
func (r *room) shrink(src source, win image.Rectangle, dx, dy float64) plane {
	longest := max(win.Dx(), win.Dy())
	across, down := newReduction(win.Dx(), dx, longest), newReduction(win.Dy(), dy, longest)
	p := plane{w: len(across.taps), h: len(down.taps), stepX: across.step, stepY: down.step}
	n := 3 * p.w
	rows := sized(&r.rows, n*down.n)
	bands(down.n, 16, func(from, to int) {
		row := src.rows()
		line := make([]float32, 3*win.Dx()+spare)[:3*win.Dx()]
		boxed := line
		if across.box > 1 || down.box > 1 {
			boxed = make([]float32, 3*across.n+spare)[:3*across.n]
		}
		for y := from; y < to; y++ {
			if across.box == 1 && down.box == 1 {
				row(line, win.Min.X, win.Min.Y+y)
			} else {
				boxRow(boxed, line, row, win, across.box, down.box, y)
			}
			shrinkRow(rows[n*y:][:n], boxed, across.taps)
		}
	})
	p.pix = sized(&r.pix, n*p.h)
	bands(p.h, 16, func(from, to int) {
		for y := from; y < to; y++ {
			dst := p.pix[n*y:][:n]
			clear(dst)
			for i, f := range down.taps[y].weight {
				addScaled(dst, rows[n*(down.taps[y].first+i):][:n], f)
			}
		}
	})
	return p
}

// boxRow averages the blocks of boxX×boxY pixels of row y of blocks; blocks cut
// off by the photo's edge average what they have.
func boxRow(dst, line []float32, row rowReader, win image.Rectangle, boxX, boxY, y int) {
	clear(dst)
	n := 0
	for v := win.Min.Y + y*boxY; v < min(win.Min.Y+(y+1)*boxY, win.Max.Y); v++ {
		row(line, win.Min.X, v)
		n++
		for u := range len(dst) / 3 {
			d := dst[3*u:][:3]
			for i := 3 * u * boxX; i < min(3*(u+1)*boxX, len(line)); i += 3 {
				p := (*[3]float32)(line[i:])
				d[0] += p[0]
				d[1] += p[1]
				d[2] += p[2]
			}
		}
	}
	for u := range len(dst) / 3 {
		f := 1 / float32(n*min(boxX, len(line)/3-u*boxX))
		dst[3*u] *= f
		dst[3*u+1] *= f
		dst[3*u+2] *= f
	}
}

func shrinkRow(dst, row []float32, across []taps) {
	for u, t := range across {
		d := (*[3]float32)(dst[3*u:])
		d[0], d[1], d[2] = weigh(row[3*t.first:], t.weight)
	}
}

// sample fills rows from..to of the planar crop by cubic convolution.
func (p *plane) sample(out []float32, toPlane affine, size, from, to int) {
	right, bottom := float64(p.w-2), float64(p.h-2)
	n := size * size
	for j := from; j < to; j++ {
		rows := [3][]float32{out[j*size:][:size], out[n+j*size:][:size], out[2*n+j*size:][:size]}
		place := [6]float64{toPlane[0], toPlane[1] * float64(j), toPlane[2], toPlane[3], toPlane[4] * float64(j), toPlane[5]}
		// edge fills one value if its neighbours lie outside the plane. The
		// others are one stretch: a row of the crop is a line in the plane.
		edge := func(i int) bool {
			q := Point{place[0]*float64(i) + place[1] + place[2], place[3]*float64(i) + place[4] + place[5]}
			if q.X >= 1 && q.X < right && q.Y >= 1 && q.Y < bottom {
				return false
			}
			rows[0][i], rows[1][i], rows[2][i] = p.atEdge(q)
			return true
		}
		first, end := 0, size
		for first < end && edge(first) {
			first++
		}
		for first < end && edge(end-1) {
			end--
		}
		cubicRow(&rows, p.pix, p.w, &place, first, end)
	}
}

// atEdge is sample for one position whose neighbours may lie outside.
func (p *plane) atEdge(q Point) (r, g, b float32) {
	fx := min(max(q.X, 0), float64(p.w-1))
	fy := min(max(q.Y, 0), float64(p.h-1))
	x, y := int(fx), int(fy)
	wx := &cubic[int((fx-float64(x))*phases+0.5)]
	wy := &cubic[int((fy-float64(y))*phases+0.5)]
	for k := range 4 {
		v := min(max(y-1+k, 0), p.h-1)
		for l := range 4 {
			u := min(max(x-1+l, 0), p.w-1)
			c := p.pix[3*(v*p.w+u):]
			f := wy[k] * wx[l]
			r += f * c[0]
			g += f * c[1]
			b += f * c[2]
		}
	}
	return min(max(r, 0), 1), min(max(g, 0), 1), min(max(b, 0), 1)
}
