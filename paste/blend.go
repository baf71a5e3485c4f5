package paste

import (
	"image"
	"runtime"
	"sync"
	"sync/atomic"
)

// blendAll adds the patches to the picture.
func blendAll(bounds image.Rectangle, patches []*patch, c canvas) {
	margin, block := c.reach()
	for len(patches) > 0 {
		g := newGroup(bounds, patches, margin, block)
		g.blend(c, margin)
		patches = patches[len(g.patches):]
	}
}

// group is some patches none of which touches one of another group.
type group struct {
	patches []*patch
	rect    image.Rectangle // what they change: whole blocks, as far as the picture goes
	min     image.Point     // of the picture
	block   image.Point
}

// newGroup moves the patches that hang together with the first one to the front.
func newGroup(bounds image.Rectangle, patches []*patch, margin, block image.Point) group {
	n := 1
	for i := 0; i < n; i++ {
		for j := n; j < len(patches); j++ {
			if spread(patches[i].rect, bounds, margin, block).Overlaps(spread(patches[j].rect, bounds, margin, block)) {
				patches[n], patches[j] = patches[j], patches[n]
				n++
			}
		}
	}
	g := group{patches: patches[:n], min: bounds.Min, block: block}
	for _, p := range g.patches {
		g.rect = g.rect.Union(spread(p.rect, bounds, margin, block))
	}
	return g
}

// spread is r, margin more on each side, grown to whole blocks.
func spread(r, bounds image.Rectangle, margin, block image.Point) image.Rectangle {
	r = r.Sub(bounds.Min)
	down := func(v, n int) int { return v &^ (n - 1) }
	return image.Rect(
		down(max(r.Min.X-margin.X, 0), block.X), down(max(r.Min.Y-margin.Y, 0), block.Y),
		down(r.Max.X+margin.X+block.X-1, block.X), down(r.Max.Y+margin.Y+block.Y-1, block.Y),
	).Add(bounds.Min).Intersect(bounds)
}

// chunk is how many rows a goroutine takes at a time: a multiple of any block.
const chunk = 16

// blend adds the patches chunk by chunk, each by one goroutine.
func (g *group) blend(c canvas, margin image.Point) {
	var next atomic.Int64
	overlap := len(g.patches) > 1
	work := func() {
		w, n := g.rect.Dx(), chunk+2*margin.Y
		b := band{change: make([]float32, 3*w*n)}
		r := row{min: g.min, left: g.rect.Min.X}
		if overlap {
			r.total = make([]float32, w)
		}
		for {
			from := g.rect.Min.Y + chunk*int(next.Add(1)-1)
			if from >= g.rect.Max.Y {
				return
			}
			to := min(from+chunk, g.rect.Max.Y)
			b.rect = image.Rect(g.rect.Min.X, max(from-margin.Y, g.rect.Min.Y), g.rect.Max.X, min(to+margin.Y, g.rect.Max.Y))
			for y := b.rect.Min.Y; y < b.rect.Max.Y; y++ {
				r.change = b.row(y)
				clear(r.change)
				r.blend(y, g.patches)
			}
			c.write(&b, from, to)
		}
	}
	workers := min(runtime.GOMAXPROCS(0), g.rect.Dy()/(2*chunk))
	if workers <= 1 {
		work()
		return
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(work)
	}
	wg.Wait()
}

// row is a worker's room for one row of the picture.
type row struct {
	min    image.Point
	left   int
	change []float32 // summed change of R, G, B
	total  []float32 // summed weights; nil where there is one face only
}

func (r *row) blend(row int, patches []*patch) {
	if r.total != nil {
		clear(r.total)
		for _, p := range patches {
			r.each(p, row, func(i int, w float32, _, _ float64) { r.total[i] += w })
		}
	}
	for _, p := range patches {
		r.each(p, row, func(i int, w float32, x, y float64) {
			if r.total != nil && r.total[i] > 1 {
				w /= r.total[i]
			}
			c := (*[3]float32)(r.change[3*i:])
			if p.ready != nil {
				d := (*[3]float32)(p.ready[3*((row-p.rect.Min.Y)*p.rect.Dx()+r.left+i-p.rect.Min.X):])
				c[0] += w * d[0]
				c[1] += w * d[1]
				c[2] += w * d[2]
				return
			}
			red, green, blue := p.at(x, y)
			c[0] += w * red
			c[1] += w * green
			c[2] += w * blue
		})
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
