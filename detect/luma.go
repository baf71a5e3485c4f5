package detect

import (
	"fmt"
	"image"
	"runtime"
	"sync"
)

// plane is an 8-bit gray image without padding.
type plane struct {
	pix  []uint8
	w, h int
}

func (p *plane) pixels() Pixels {
	return Pixels{Pix: p.pix, Stride: p.w, Width: p.w, Height: p.h, Channels: 1}
}

// Luma weights of ITU-R BT.601, which dlib and JPEG use.
const (
	lumaR = 0.299
	lumaG = 0.587
	lumaB = 0.114
)

// lumaReader writes the luma, 0 to 255, of the pixels x0 to x0+len(dst) of row
// y. Coordinates count from the image's own top left corner.
type lumaReader func(y, x0 int, dst []float32)

// newLumaReader serves the four types a photo can have. Alpha is ignored.
func newLumaReader(img image.Image) (lumaReader, error) {
	switch m := img.(type) {
	case *image.Gray:
		return func(y, x0 int, dst []float32) {
			row := m.Pix[y*m.Stride+x0:]
			for i := range dst {
				dst[i] = float32(row[i])
			}
		}, nil
	case *image.Gray16:
		return func(y, x0 int, dst []float32) {
			row := m.Pix[y*m.Stride+2*x0:]
			for i := range dst {
				dst[i] = float32(int(row[2*i])<<8|int(row[2*i+1])) * (1.0 / 257)
			}
		}, nil
	case *image.NRGBA:
		return func(y, x0 int, dst []float32) {
			row := m.Pix[y*m.Stride+4*x0:]
			row = row[:4*len(dst)]
			for i := range dst {
				p := row[4*i : 4*i+4 : 4*i+4]
				dst[i] = lumaR*float32(p[0]) + lumaG*float32(p[1]) + lumaB*float32(p[2])
			}
		}, nil
	case *image.NRGBA64:
		return func(y, x0 int, dst []float32) {
			row := m.Pix[y*m.Stride+8*x0:]
			for i := range dst {
				p := row[8*i : 8*i+8 : 8*i+8]
				r, g, b := int(p[0])<<8|int(p[1]), int(p[2])<<8|int(p[3]), int(p[4])<<8|int(p[5])
				dst[i] = (lumaR*float32(r) + lumaG*float32(g) + lumaB*float32(b)) * (1.0 / 257)
			}
		}, nil
	}
	return nil, fmt.Errorf("detect: image type %T, want *image.Gray, *image.Gray16, *image.NRGBA or *image.NRGBA64", img)
}

// checkImage reports an image whose buffer doesn't hold what its bounds say.
func checkImage(img image.Image) error {
	var n, stride, bytes int
	switch m := img.(type) {
	case *image.Gray:
		n, stride, bytes = len(m.Pix), m.Stride, 1
	case *image.Gray16:
		n, stride, bytes = len(m.Pix), m.Stride, 2
	case *image.NRGBA:
		n, stride, bytes = len(m.Pix), m.Stride, 4
	case *image.NRGBA64:
		n, stride, bytes = len(m.Pix), m.Stride, 8
	default:
		_, err := newLumaReader(img)
		return err
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	switch {
	case w < 1 || h < 1 || w > maxSide || h > maxSide:
		return fmt.Errorf("detect: image is %d×%d, want 1 to %d each way", w, h, maxSide)
	case stride < w*bytes || n < stride*(h-1)+w*bytes:
		return fmt.Errorf("detect: image buffer of %d bytes, stride %d, is too small for %d×%d", n, stride, w, h)
	}
	return nil
}

// taps are the source pixels and weights that make one output pixel.
type taps struct {
	first   int
	weights []float32
}

// axisTaps maps n source pixels to m output pixels: by the area each output
// pixel covers when shrinking, linearly between centres when enlarging.
func axisTaps(n, m int) []taps {
	out := make([]taps, m)
	scale := float64(n) / float64(m)
	for i := range out {
		if scale <= 1 {
			x := max((float64(i)+0.5)*scale-0.5, 0)
			j := min(int(x), n-1)
			f := float32(x - float64(j))
			if j+1 >= n || f == 0 {
				out[i] = taps{j, []float32{1}}
			} else {
				out[i] = taps{j, []float32{1 - f, f}}
			}
			continue
		}
		lo, hi := float64(i)*scale, min(float64(i+1)*scale, float64(n))
		t := taps{first: min(int(lo), n-1)}
		for j := t.first; j < n && float64(j) < hi; j++ {
			cover := min(hi, float64(j+1)) - max(lo, float64(j))
			t.weights = append(t.weights, float32(cover/(hi-lo)))
		}
		out[i] = t
	}
	return out
}

// resample gives the luma of a region, counted from the image's top left
// corner, as w×h pixels. The region must lie in the image. It uses all
// processors.
func resample(read lumaReader, region image.Rectangle, w, h int) *plane {
	out := &plane{pix: make([]uint8, w*h), w: w, h: h}
	xs, ys := axisTaps(region.Dx(), w), axisTaps(region.Dy(), h)
	workers := min(runtime.GOMAXPROCS(0), 1+w*h>>16, h)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			resampleRows(read, region, xs, ys, out, i*h/workers, (i+1)*h/workers)
		})
	}
	wg.Wait()
	return out
}

// resampleRows makes the output rows y0 to y1.
func resampleRows(read lumaReader, region image.Rectangle, xs, ys []taps, out *plane, y0, y1 int) {
	src := make([]float32, region.Dx())
	// Neighbouring output rows share at most two source rows; each is filtered
	// along x once and kept under its number's lowest bit.
	var kept [2][]float32
	keptRow := [2]int{-1, -1}
	for i := range kept {
		kept[i] = make([]float32, out.w)
	}
	sum := make([]float32, out.w)
	for y := y0; y < y1; y++ {
		clear(sum)
		for k, wy := range ys[y].weights {
			row := ys[y].first + k
			line := kept[row&1]
			if keptRow[row&1] != row {
				keptRow[row&1] = row
				read(region.Min.Y+row, region.Min.X, src)
				filterRow(src, xs, line)
			}
			for x, v := range line {
				sum[x] += wy * v
			}
		}
		dst := out.pix[y*out.w : (y+1)*out.w]
		for x, v := range sum {
			dst[x] = uint8(v + 0.5)
		}
	}
}

func filterRow(src []float32, xs []taps, dst []float32) {
	for x := range xs {
		t := &xs[x]
		var v float32
		for i, s := range src[t.first : t.first+len(t.weights)] {
			v += s * t.weights[i]
		}
		dst[x] = v
	}
}

// grain estimates the noise of a plane in gray levels, by the median of what a
// filter leaves that cancels flat and linear parts, edges among them
// (Immerkær, "Fast noise variance estimation", CVIU 64(2), 1996).
func (p *plane) grain() float64 {
	if p.w < 3 || p.h < 3 {
		return 0
	}
	var counts [2041]int
	n := 0
	for y := 1; y < p.h-1; y += 3 {
		a, b, c := p.pix[(y-1)*p.w:y*p.w], p.pix[y*p.w:(y+1)*p.w], p.pix[(y+1)*p.w:(y+2)*p.w]
		for x := 1; x < p.w-1; x += 2 {
			v := int(a[x-1]) + int(a[x+1]) + int(c[x-1]) + int(c[x+1]) + 4*int(b[x]) -
				2*(int(a[x])+int(c[x])+int(b[x-1])+int(b[x+1]))
			counts[max(v, -v)]++
			n++
		}
	}
	half := n / 2
	for v, k := range counts {
		if half -= k; half < 0 {
			return float64(v) / (0.6745 * 6)
		}
	}
	return 0
}

// blurred is the plane filtered by 1-2-1 each way.
func (p *plane) blurred() *plane {
	out := &plane{pix: make([]uint8, len(p.pix)), w: p.w, h: p.h}
	sum := make([]int, p.w+2)
	for y := range p.h {
		up, down := p.pix[max(0, y-1)*p.w:], p.pix[min(p.h-1, y+1)*p.w:]
		at := p.pix[y*p.w:]
		for x := range p.w {
			sum[x+1] = int(up[x]) + 2*int(at[x]) + int(down[x])
		}
		sum[0], sum[p.w+1] = sum[1], sum[p.w]
		dst := out.pix[y*p.w:]
		for x := range p.w {
			dst[x] = uint8((sum[x] + 2*sum[x+1] + sum[x+2] + 8) >> 4)
		}
	}
	return out
}
