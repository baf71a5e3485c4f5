package detect

import (
	"image"
	"math"
)

// cropFrame samples a frame as a square of face pixels a side, with edge pixels
// around it. What lies outside the photo repeats its edge.
func cropFrame(read lumaReader, size image.Point, f frame, face, edge int) *plane {
	n := face + 2*edge
	step := 1 / float64(face-1)
	lo, hi := -float64(edge)*step, 1+float64(edge)*step
	minX, minY, maxX, maxY := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, p := range [4]Point{f.at(lo, lo), f.at(hi, lo), f.at(lo, hi), f.at(hi, hi)} {
		minX, maxX = min(minX, p.X), max(maxX, p.X)
		minY, maxY = min(minY, p.Y), max(maxY, p.Y)
	}
	region := image.Rect(
		clamp(math.Floor(minX)-1, 0, size.X-1), clamp(math.Floor(minY)-1, 0, size.Y-1),
		clamp(math.Ceil(maxX)+2, 1, size.X), clamp(math.Ceil(maxY)+2, 1, size.Y))

	// A face larger than the crop is shrunk by area first, or it would alias.
	shrink := min(1, float64(face)/f.side())
	w := int(math.Ceil(float64(region.Dx()) * shrink))
	h := int(math.Ceil(float64(region.Dy()) * shrink))
	src := resample(read, region, w, h)

	kx, ky := float64(w)/float64(region.Dx()), float64(h)/float64(region.Dy())
	toSrc := func(p Point) Point {
		return Point{(p.X-float64(region.Min.X)+0.5)*kx - 0.5, (p.Y-float64(region.Min.Y)+0.5)*ky - 0.5}
	}
	out := &plane{pix: make([]uint8, n*n), w: n, h: n}
	for y := range n {
		v := float64(y-edge) * step
		sampleLine(src, toSrc(f.at(lo, v)), toSrc(f.at(hi, v)), out.pix[y*n:(y+1)*n])
	}
	return out
}

func clamp(v float64, lo, hi int) int {
	return int(max(float64(lo), min(v, float64(hi))))
}

// sampleLine fills dst with bilinear samples at even steps from a to b.
func sampleLine(src *plane, a, b Point, dst []uint8) {
	dx, dy := (b.X-a.X)/float64(len(dst)-1), (b.Y-a.Y)/float64(len(dst)-1)
	inside := func(p Point) bool {
		return p.X >= 0 && p.Y >= 0 && p.X < float64(src.w-1) && p.Y < float64(src.h-1)
	}
	if !inside(a) || !inside(b) {
		for i := range dst {
			dst[i] = src.bilinear(a.X+float64(i)*dx, a.Y+float64(i)*dy)
		}
		return
	}
	// Fixed point: 16 bits of fraction for the place, 8 for the weights.
	const one = 1 << 16
	x, y := int(a.X*one), int(a.Y*one)
	sx, sy := int(dx*one), int(dy*one)
	for i := range dst {
		at := (y>>16)*src.w + x>>16
		fx, fy := x>>8&255, y>>8&255
		p := src.pix[at : at+src.w+2]
		top := int(p[0])<<8 + fx*(int(p[1])-int(p[0]))
		bottom := int(p[src.w])<<8 + fx*(int(p[src.w+1])-int(p[src.w]))
		dst[i] = uint8((top<<8 + fy*(bottom-top) + 1<<15) >> 16)
		x += sx
		y += sy
	}
}

// bilinear samples the plane; outside it repeats the edge.
func (p *plane) bilinear(x, y float64) uint8 {
	x = max(0, min(x, float64(p.w-1)))
	y = max(0, min(y, float64(p.h-1)))
	x0, y0 := int(x), int(y)
	x1, y1 := min(x0+1, p.w-1), min(y0+1, p.h-1)
	fx, fy := float32(x-float64(x0)), float32(y-float64(y0))
	top, bottom := p.pix[y0*p.w:y0*p.w+p.w], p.pix[y1*p.w:y1*p.w+p.w]
	a := float32(top[x0]) + fx*(float32(top[x1])-float32(top[x0]))
	b := float32(bottom[x0]) + fx*(float32(bottom[x1])-float32(bottom[x0]))
	return uint8(a + fy*(b-a) + 0.5)
}
