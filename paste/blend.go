package paste

import (
	"fmt"
	"image"
	"runtime"
	"sync"
	"sync/atomic"
)

// blendAll adds the patches to the photo row by row, each row by one
// goroutine.
func blendAll(bounds image.Rectangle, patches []*patch, write rowWriter) {
	var all image.Rectangle
	overlap := false
	for i, p := range patches {
		all = all.Union(p.rect)
		for _, q := range patches[:i] {
			overlap = overlap || p.rect.Overlaps(q.rect)
		}
	}
	const chunk = 8
	var next atomic.Int64
	work := func() {
		r := row{min: bounds.Min, left: all.Min.X, change: make([]float32, 3*all.Dx())}
		if overlap {
			r.total = make([]float32, all.Dx())
		}
		for {
			from := all.Min.Y + chunk*int(next.Add(1)-1)
			if from >= all.Max.Y {
				return
			}
			for y := from; y < min(from+chunk, all.Max.Y); y++ {
				r.blend(y, patches, write)
			}
		}
	}
	var wg sync.WaitGroup
	for range max(1, min(runtime.GOMAXPROCS(0), all.Dy()/(2*chunk))) {
		wg.Go(work)
	}
	wg.Wait()
}

// row is a worker's room for one row of the photo.
type row struct {
	min    image.Point
	left   int
	change []float32 // summed change of R, G, B; all zero between rows
	total  []float32 // summed weights; nil where no two faces overlap
}

func (r *row) blend(y int, patches []*patch, write rowWriter) {
	if r.total != nil {
		clear(r.total)
		for _, p := range patches {
			r.each(p, y, func(i int, w float32, _, _ float64) { r.total[i] += w })
		}
	}
	for _, p := range patches {
		r.each(p, y, func(i int, w float32, x, y float64) {
			if r.total != nil && r.total[i] > 1 {
				w /= r.total[i]
			}
			red, green, blue := p.at(x, y)
			c := (*[3]float32)(r.change[3*i:])
			c[0] += w * red
			c[1] += w * green
			c[2] += w * blue
		})
	}
	for _, p := range patches {
		if y < p.rect.Min.Y || y >= p.rect.Max.Y {
			continue
		}
		change := r.change[3*(p.rect.Min.X-r.left):][:3*p.rect.Dx()]
		write(p.rect.Min.X, y, change)
		clear(change) // so that a face that overlaps this one adds nothing twice
	}
}

// each calls f for the pixels of row y where p's weight isn't 0, with their
// index in the row, the weight and the place in the crop.
func (r *row) each(p *patch, y int, f func(i int, weight float32, x, y float64)) {
	if y < p.rect.Min.Y || y >= p.rect.Max.Y {
		return
	}
	a, v := &p.toCrop, float64(y-r.min.Y)
	for x := p.rect.Min.X; x < p.rect.Max.X; x++ {
		u := float64(x - r.min.X)
		cx, cy := a[0]*u+a[1]*v+a[2], a[3]*u+a[4]*v+a[5]
		if w := p.mask.at(cx, cy); w > 0 {
			f(x-r.left, w*p.blend, cx, cy)
		}
	}
}

// rowWriter adds a change (interleaved R, G, B in units of full scale) to the
// pixels of a row from (x, y) rightwards.
type rowWriter func(x, y int, change []float32)

func writer(img image.Image) (rowWriter, error) {
	switch p := img.(type) {
	case *image.Gray:
		return func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c := (*[3]float32)(change[3*i:])
				pix[i] = add8(pix[i], luma(c[0], c[1], c[2]))
			}
		}, nil
	case *image.Gray16:
		return func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c := (*[3]float32)(change[3*i:])
				add16(pix[2*i:], luma(c[0], c[1], c[2]))
			}
		}, nil
	case *image.NRGBA:
		return func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c, q := (*[3]float32)(change[3*i:]), pix[4*i:][:3]
				if *c == [3]float32{} {
					continue
				}
				q[0], q[1], q[2] = add8(q[0], c[0]), add8(q[1], c[1]), add8(q[2], c[2])
			}
		}, nil
	case *image.NRGBA64:
		return func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c := (*[3]float32)(change[3*i:])
				add16(pix[8*i:], c[0])
				add16(pix[8*i+2:], c[1])
				add16(pix[8*i+4:], c[2])
			}
		}, nil
	}
	return nil, fmt.Errorf("paste: image type %T isn't one of Gray, Gray16, NRGBA, NRGBA64", img)
}

func add8(v uint8, d float32) uint8 {
	return uint8(min(max(float32(v)+255*d+0.5, 0), 255))
}

func add16(pix []uint8, d float32) {
	v := uint32(min(max(float32(uint32(pix[0])<<8|uint32(pix[1]))+65535*d+0.5, 0), 65535))
	pix[0], pix[1] = uint8(v>>8), uint8(v)
}

// bands calls f on ranges that cover [0, n), none shorter than least except
// where n is, on at most GOMAXPROCS goroutines, and returns when all are done.
func bands(n, least int, f func(from, to int)) {
	k := max(1, min(runtime.GOMAXPROCS(0), n/max(1, least)))
	if k == 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for i := range k {
		wg.Go(func() { f(i*n/k, (i+1)*n/k) })
	}
	wg.Wait()
}
