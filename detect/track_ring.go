package detect

import (
	"bytes"
	"image"
)

// picture is a luma that the ring keeps: packed, without padding.
type picture struct {
	luma    *image.Gray
	first   int // number of the picture
	repeats int // how many that follow are the same
}

func (p *picture) read() lumaReader {
	read, _ := newLumaReader(p.luma) // the type is one it knows
	return read
}

// ringBytes bounds what the ring keeps beside the newest picture.
const ringBytes = 64 << 20

// ring keeps the last different pictures, newest last.
type ring struct {
	size image.Point
	cap  int
	kept []*picture
	free []*image.Gray
}

func (r *ring) init(size image.Point, every int) {
	if size != r.size {
		*r = ring{size: size}
	}
	r.cap = 1 + min(every, ringBytes/max(1, size.X*size.Y))
}

// clear forgets the pictures but not their memory.
func (r *ring) clear() {
	for _, p := range r.kept {
		r.free = append(r.free, p.luma)
	}
	r.kept = nil
}

// repeats says whether the luma is that of the newest picture, and counts it.
func (r *ring) repeats(luma *image.Gray) bool {
	if len(r.kept) == 0 {
		return false
	}
	last := r.kept[len(r.kept)-1]
	w := r.size.X
	// What differs mostly does so in the middle: look there first.
	for i := range r.size.Y {
		y := (i + r.size.Y/2) % r.size.Y
		if !bytes.Equal(last.luma.Pix[y*w:(y+1)*w], luma.Pix[y*luma.Stride:][:w]) {
			return false
		}
	}
	last.repeats++
	return true
}

// push copies a luma and forgets the oldest when the ring is full.
func (r *ring) push(luma *image.Gray, n int) *picture {
	if len(r.kept) == r.cap {
		r.free = append(r.free, r.kept[0].luma)
		r.kept = append(r.kept[:0], r.kept[1:]...)
	}
	var to *image.Gray
	if k := len(r.free); k > 0 {
		to, r.free = r.free[k-1], r.free[:k-1]
	} else {
		to = image.NewGray(image.Rectangle{Max: r.size})
	}
	for y := range r.size.Y {
		copy(to.Pix[y*to.Stride:][:r.size.X], luma.Pix[y*luma.Stride:])
	}
	p := &picture{luma: to, first: n}
	r.kept = append(r.kept, p)
	return p
}

// at is the kept picture with that number, or nil.
func (r *ring) at(n int) *picture {
	for _, p := range r.kept {
		if n >= p.first && n <= p.first+p.repeats {
			return p
		}
	}
	return nil
}
