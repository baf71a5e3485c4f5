package align

import (
	"fmt"
	"image"
	"math"
)

// MaxSize is the largest side of a crop.
const MaxSize = 4096

// oversample is the density, relative to the crop, of the low-passed copy
// that a shrinking warp samples: dense enough that the second interpolation
// costs no sharpness (−0.5 dB at half the crop's Nyquist frequency).
const oversample = 1.5

// Warp cuts the square crop of the given side out of img; m maps the photo to
// the crop (what Estimate(landmarks, template) returns). img is one of
// *image.Gray, *image.Gray16, *image.NRGBA, *image.NRGBA64; alpha is ignored,
// gray comes out as three equal planes. The result has 3·size·size values in
// [0, 1], planar RGB.
//
// Enlarging uses cubic convolution (Keys, a = −½). Shrinking first low-passes
// with the same kernel stretched to the crop's pixel, after a box reduction
// by a whole factor where the photo is four or more times denser, so that
// nothing aliases. Where the crop reaches out of the photo the photo's edge
// pixels are repeated. An identity m copies the pixels exactly.
//
// It fails for another image type, a size outside 1..MaxSize, and with
// ErrDegenerate for an m that has no inverse or maps to nowhere near. Memory is bounded by the size
// of the crop or of the photo, whichever is smaller, whatever m is.
func Warp(img image.Image, m Similarity, size int) ([]float32, error) {
	src, err := newSource(img)
	if err != nil {
		return nil, err
	}
	if size < 1 || size > MaxSize {
		return nil, fmt.Errorf("align: crop size %d is outside 1..%d", size, MaxSize)
	}
	back, err := m.Inverse()
	if err != nil {
		return nil, err
	}
	density := back.Scale() // photo pixels per crop pixel
	win, ok := window(src, back, size, density)
	if !ok {
		return nil, fmt.Errorf("align: crop of %+v lies further than %g pixels away: %w", m, farthest, ErrDegenerate)
	}
	var p plane
	if density < 1+1.0/64 {
		p = load(src, win)
	} else {
		p = shrink(src, win, density)
	}
	// From the crop to the plane: photo coordinate x lies at
	// (x − origin + ½)/step − ½.
	toPlane := Similarity{
		A: back.A / p.step, B: back.B / p.step,
		TX: (back.TX-float64(win.Min.X)+0.5)/p.step - 0.5,
		TY: (back.TY-float64(win.Min.Y)+0.5)/p.step - 0.5,
	}
	out := make([]float32, 3*size*size)
	bands(size, 32, func(from, to int) { p.sample(out, toPlane, size, from, to) })
	return out, nil
}

// farthest bounds the photo coordinates of a crop's corners; beyond it a
// transform is a mistake.
const farthest = 1e8

// plane is a part of the photo in interleaved RGB, its pixels step photo
// pixels apart.
type plane struct {
	pix  []float32
	w, h int
	step float64
}

// window is the part of the photo that the crop's pixels depend on: their
// bounding box with room for the kernel, cut to the photo, never empty. It is
// not ok where the crop reaches further than farthest.
func window(src source, back Similarity, size int, density float64) (win image.Rectangle, ok bool) {
	end := float64(size - 1)
	x0, y0, x1, y1 := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, c := range []Point{{0, 0}, {end, 0}, {0, end}, {end, end}} {
		q := back.Apply(c)
		x0, x1 = min(x0, q.X), max(x1, q.X)
		y0, y1 = min(y0, q.Y), max(y1, q.Y)
	}
	if !(x0 > -farthest && x1 < farthest && y0 > -farthest && y1 < farthest) {
		return win, false
	}
	pad := 3 + 4*max(1, density)
	lo := func(v float64, n int) int { return int(min(max(math.Floor(v-pad), 0), float64(n-1))) }
	hi := func(v float64, n int) int { return int(min(max(math.Ceil(v+pad), 0), float64(n-1))) }
	return image.Rect(lo(x0, src.w), lo(y0, src.h), hi(x1, src.w)+1, hi(y1, src.h)+1), true
}

// load copies the window as it is.
func load(src source, win image.Rectangle) plane {
	p := plane{w: win.Dx(), h: win.Dy(), step: 1}
	p.pix = make([]float32, 3*p.w*p.h)
	bands(p.h, 64, func(from, to int) {
		for y := from; y < to; y++ {
			src.row(p.pix[3*p.w*y:][:3*p.w], win.Min.X, win.Min.Y+y)
		}
	})
	return p
}

// shrink copies the window low-passed to the crop's resolution: a box
// reduction by a whole factor that leaves a density of 2..4, then a separable
// pass of stretched Keys kernels onto a grid oversample times the crop's.
func shrink(src source, win image.Rectangle, density float64) plane {
	box := 1
	if density >= 4 {
		box = int(min(density/2, float64(max(win.Dx(), win.Dy()))))
	}
	bw, bh := (win.Dx()+box-1)/box, (win.Dy()+box-1)/box
	width := density / float64(box)
	step := max(1, width/oversample)
	across, down := shrinkTaps(bw, step, width), shrinkTaps(bh, step, width)

	rows := make([]float32, 3*len(across)*bh)
	bands(bh, 16, func(from, to int) {
		line := make([]float32, 3*win.Dx())
		boxed := line
		if box > 1 {
			boxed = make([]float32, 3*bw)
		}
		for y := from; y < to; y++ {
			if box == 1 {
				src.row(line, win.Min.X, win.Min.Y+y)
			} else {
				boxRow(boxed, line, src, win, box, y)
			}
			shrinkRow(rows[3*len(across)*y:][:3*len(across)], boxed, across)
		}
	})
	p := plane{w: len(across), h: len(down), step: step * float64(box)}
	p.pix = make([]float32, 3*p.w*p.h)
	n := 3 * p.w
	bands(p.h, 16, func(from, to int) {
		for y := from; y < to; y++ {
			dst := p.pix[n*y:][:n]
			for i, f := range down[y].weight {
				for j, v := range rows[n*(down[y].first+i):][:n] {
					dst[j] += f * v
				}
			}
		}
	})
	return p
}

// boxRow averages the blocks of box×box pixels of row y of blocks; blocks cut
// off by the photo's edge average what they have.
func boxRow(dst, line []float32, src source, win image.Rectangle, box, y int) {
	clear(dst)
	n := 0
	for v := win.Min.Y + y*box; v < min(win.Min.Y+(y+1)*box, win.Max.Y); v++ {
		src.row(line, win.Min.X, v)
		n++
		for u := range len(dst) / 3 {
			d := dst[3*u:][:3]
			for i := 3 * u * box; i < min(3*(u+1)*box, len(line)); i += 3 {
				p := (*[3]float32)(line[i:])
				d[0] += p[0]
				d[1] += p[1]
				d[2] += p[2]
			}
		}
	}
	for u := range len(dst) / 3 {
		f := 1 / float32(n*min(box, len(line)/3-u*box))
		dst[3*u] *= f
		dst[3*u+1] *= f
		dst[3*u+2] *= f
	}
}

func shrinkRow(dst, row []float32, across []taps) {
	for u, t := range across {
		var r, g, b float32
		in := row[3*t.first:][:3*len(t.weight)]
		for _, f := range t.weight {
			p := (*[3]float32)(in)
			r += f * p[0]
			g += f * p[1]
			b += f * p[2]
			in = in[3:]
		}
		d := (*[3]float32)(dst[3*u:])
		d[0], d[1], d[2] = r, g, b
	}
}

// sample fills rows from..to of the planar crop by cubic convolution.
func (p *plane) sample(out []float32, toPlane Similarity, size, from, to int) {
	right, bottom := float64(p.w-2), float64(p.h-2)
	n := size * size
	for j := from; j < to; j++ {
		red, green, blue := out[j*size:][:size], out[n+j*size:][:size], out[2*n+j*size:][:size]
		for i := range size {
			q := toPlane.Apply(Point{float64(i), float64(j)})
			if !(q.X >= 1 && q.X < right && q.Y >= 1 && q.Y < bottom) {
				red[i], green[i], blue[i] = p.atEdge(q)
				continue
			}
			x, y := int(q.X), int(q.Y)
			wx := &cubic[int((q.X-float64(x))*phases+0.5)]
			wy := &cubic[int((q.Y-float64(y))*phases+0.5)]
			var r, g, b float32
			at := 3 * ((y-1)*p.w + x - 1)
			for k := range 4 {
				c := (*[12]float32)(p.pix[at:])
				f := wy[k]
				r += f * (wx[0]*c[0] + wx[1]*c[3] + wx[2]*c[6] + wx[3]*c[9])
				g += f * (wx[0]*c[1] + wx[1]*c[4] + wx[2]*c[7] + wx[3]*c[10])
				b += f * (wx[0]*c[2] + wx[1]*c[5] + wx[2]*c[8] + wx[3]*c[11])
				at += 3 * p.w
			}
			red[i], green[i], blue[i] = min(max(r, 0), 1), min(max(g, 0), 1), min(max(b, 0), 1)
		}
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
