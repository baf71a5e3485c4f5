package align

import (
	"fmt"
	"image"

	"restored/frame"
)

// source reads rows of a picture as interleaved RGB in [0, 1].
type source struct {
	w, h int
	rows func() rowReader // for one goroutine
}

// rowReader fills dst (3·n values) with the n pixels from (x, y) rightwards.
type rowReader func(dst []float32, x, y int)

// byteValue holds v/255, so that 255 gives exactly 1.
var byteValue = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(i) / 255
	}
	return t
}()

func newSource(img image.Image) (source, error) {
	if img == nil {
		return source{}, fmt.Errorf("align: no image")
	}
	b := img.Bounds()
	s := source{w: b.Dx(), h: b.Dy()}
	if s.w <= 0 || s.h <= 0 {
		return source{}, fmt.Errorf("align: empty image %v", b)
	}
	var row rowReader
	switch p := img.(type) {
	case *frame.Planar:
		if err := p.Check(); err != nil {
			return source{}, fmt.Errorf("align: %w", err)
		}
		s.rows = planarRows(p)
		return s, nil
	case *image.Gray:
		row = func(dst []float32, x, y int) {
			for i, v := range p.Pix[p.PixOffset(b.Min.X+x, b.Min.Y+y):][:len(dst)/3] {
				f := byteValue[v]
				dst[3*i], dst[3*i+1], dst[3*i+2] = f, f, f
			}
		}
	case *image.Gray16:
		row = func(dst []float32, x, y int) {
			pix := p.Pix[p.PixOffset(b.Min.X+x, b.Min.Y+y):]
			for i := range len(dst) / 3 {
				f := word(pix[2*i], pix[2*i+1])
				dst[3*i], dst[3*i+1], dst[3*i+2] = f, f, f
			}
		}
	case *image.NRGBA:
		row = func(dst []float32, x, y int) {
			pix := p.Pix[p.PixOffset(b.Min.X+x, b.Min.Y+y):]
			for len(dst) >= 3 {
				d, q := (*[3]float32)(dst), (*[4]uint8)(pix)
				d[0], d[1], d[2] = byteValue[q[0]], byteValue[q[1]], byteValue[q[2]]
				dst, pix = dst[3:], pix[4:]
			}
		}
	case *image.NRGBA64:
		row = func(dst []float32, x, y int) {
			pix := p.Pix[p.PixOffset(b.Min.X+x, b.Min.Y+y):]
			for len(dst) >= 3 {
				d, q := (*[3]float32)(dst), (*[8]uint8)(pix)
				d[0], d[1], d[2] = word(q[0], q[1]), word(q[2], q[3]), word(q[4], q[5])
				dst, pix = dst[3:], pix[8:]
			}
		}
	default:
		return source{}, fmt.Errorf("align: image type %T isn't one of Gray, Gray16, NRGBA, NRGBA64, frame.Planar", img)
	}
	s.rows = func() rowReader { return row }
	return s, nil
}

func word(hi, lo uint8) float32 { return float32(uint32(hi)<<8|uint32(lo)) / 65535 }
