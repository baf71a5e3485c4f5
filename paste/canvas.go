package paste

import (
	"fmt"
	"image"

	"restored/frame"
)

// canvas is a picture that changes are added to.
type canvas interface {
	// reach is how many pixels beyond a pixel its change may show, and the
	// size of the blocks that are written as one.
	reach() (margin, block image.Point)
	// gray fills dst with the luma, about 0 to 1, from (x, y) rightwards.
	gray(dst []float32, x, y int)
	// write adds a change to the rows from..to, which begin at a block. The
	// band holds them and reach more above and below, as far as there are any.
	write(b *band, from, to int)
}

// band is the change of some rows of a picture.
type band struct {
	rect   image.Rectangle
	change []float32 // interleaved R, G, B in units of full scale
}

func (b *band) row(y int) []float32 {
	n := 3 * b.rect.Dx()
	return b.change[n*(y-b.rect.Min.Y):][:n]
}

func newCanvas(img image.Image) (canvas, error) {
	switch p := img.(type) {
	case *image.Gray:
		return gray8(p), nil
	case *image.Gray16:
		return gray16(p), nil
	case *image.NRGBA:
		return nrgba8(p), nil
	case *image.NRGBA64:
		return nrgba16(p), nil
	case *frame.Planar:
		if err := p.Check(); err != nil {
			return nil, fmt.Errorf("paste: %w", err)
		}
		return newPlanar(p), nil
	}
	return nil, fmt.Errorf("paste: image type %T isn't one of Gray, Gray16, NRGBA, NRGBA64, frame.Planar", img)
}

// pixels is the canvas of a picture whose pixels stand alone.
type pixels struct {
	add  func(x, y int, change []float32) // to the pixels of a row from (x, y) rightwards
	read func(dst []float32, x, y int)
}

func (*pixels) reach() (margin, block image.Point) { return image.Point{}, image.Pt(1, 1) }

func (p *pixels) gray(dst []float32, x, y int) { p.read(dst, x, y) }

func (p *pixels) write(b *band, from, to int) {
	for y := from; y < to; y++ {
		p.add(b.rect.Min.X, y, b.row(y))
	}
}

func gray8(p *image.Gray) *pixels {
	return &pixels{
		add: func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c := (*[3]float32)(change[3*i:])
				pix[i] = add8(pix[i], luma(c[0], c[1], c[2]))
			}
		},
		read: func(dst []float32, x, y int) {
			for i, v := range p.Pix[p.PixOffset(x, y):][:len(dst)] {
				dst[i] = float32(v) / 255
			}
		},
	}
}

func gray16(p *image.Gray16) *pixels {
	return &pixels{
		add: func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c := (*[3]float32)(change[3*i:])
				add16(pix[2*i:], luma(c[0], c[1], c[2]))
			}
		},
		read: func(dst []float32, x, y int) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range dst {
				dst[i] = word(pix[2*i:])
			}
		},
	}
}

func nrgba8(p *image.NRGBA) *pixels {
	return &pixels{
		add: func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c, q := (*[3]float32)(change[3*i:]), pix[4*i:][:3]
				if *c == [3]float32{} {
					continue
				}
				q[0], q[1], q[2] = add8(q[0], c[0]), add8(q[1], c[1]), add8(q[2], c[2])
			}
		},
		read: func(dst []float32, x, y int) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range dst {
				q := pix[4*i:][:3]
				dst[i] = luma(float32(q[0]), float32(q[1]), float32(q[2])) / 255
			}
		},
	}
}

func nrgba16(p *image.NRGBA64) *pixels {
	return &pixels{
		add: func(x, y int, change []float32) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range len(change) / 3 {
				c := (*[3]float32)(change[3*i:])
				add16(pix[8*i:], c[0])
				add16(pix[8*i+2:], c[1])
				add16(pix[8*i+4:], c[2])
			}
		},
		read: func(dst []float32, x, y int) {
			pix := p.Pix[p.PixOffset(x, y):]
			for i := range dst {
				q := pix[8*i:][:6]
				dst[i] = luma(word(q), word(q[2:]), word(q[4:]))
			}
		},
	}
}

func word(pix []uint8) float32 { return float32(uint32(pix[0])<<8|uint32(pix[1])) / 65535 }

func add8(v uint8, d float32) uint8 {
	return uint8(min(max(float32(v)+255*d+0.5, 0), 255))
}

func add16(pix []uint8, d float32) {
	v := uint32(min(max(float32(uint32(pix[0])<<8|uint32(pix[1]))+65535*d+0.5, 0), 65535))
	pix[0], pix[1] = uint8(v>>8), uint8(v)
}
