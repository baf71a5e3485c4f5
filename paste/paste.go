package paste

import (
	"errors"
	"fmt"
	"image"
	"math"
	"sync/atomic"
)

// Face is one restored face.
type Face struct {
	// Before is the aligned crop as it was cut from the photo, After as it
	// came out of the network: 3·Size·Size values each, nominally in [0, 1].
	Before, After []float32
	Size          int
	// ToCrop maps the photo to the crop: x' = a[0]·x + a[1]·y + a[2],
	// y' = a[3]·x + a[4]·y + a[5].
	ToCrop [6]float64
	// Landmarks fit the mask to a turned head; nil is the mean face.
	Landmarks *Landmarks
	// Blend is the share of the change that is pasted, 0..1; at 0 the face
	// is left alone.
	Blend float64
	// Grain gives back the grain that After has lost: noise of the picture's
	// luma, at the face as well as around it. Where there is none nothing is
	// added.
	Grain bool
}

// ErrFace is wrapped by every error about a face's data: the photo has not
// been touched.
var ErrFace = errors.New("unusable face")

// MinSide is the smallest side, in photo pixels, of a crop that is pasted,
// and MinSize the smallest crop.
const (
	MinSide = 16
	MinSize = 64
	maxSize = 4096
)

// Paste blends the faces into img, in place, and returns for each face the
// rectangle of img outside of which it changed nothing (empty where Blend is
// 0 or the face lies outside). img is one of *image.Gray, *image.Gray16,
// *image.NRGBA, *image.NRGBA64, *frame.Planar. Gray pictures take the Rec. 601
// luma of the change; alpha is left as it is. Values are rounded to nearest at
// the picture's depth and clamped. Pixels where every mask is 0, or the change
// rounds to 0, keep their bits.
//
// The planes of a *frame.Planar take the change through the picture's own
// matrix: luma by pixel, a chroma sample the mean over the area around it that
// it stands for. Limited range is held to the codes that SDI carries (1..254
// times 2^(Depth−8)); a sample beyond them stays, but isn't driven further.
//
// Where masks overlap, the weights (mask·Blend) are divided by their sum
// wherever that exceeds one, so the order of the faces doesn't matter. A face
// whose colours lie on one tone curve (black-and-white, sepia) is changed
// along that curve only: equal R, G and B stay equal.
//
// Everything is checked first: if there is an error (wrapping ErrFace, or
// about the image's type) img is as it was.
func Paste(img image.Image, faces []Face) ([]image.Rectangle, error) {
	c, err := newCanvas(img)
	if err != nil {
		return nil, err
	}
	bounds := img.Bounds()
	margin, block := c.reach()
	patches := make([]*patch, 0, len(faces))
	rects := make([]image.Rectangle, len(faces))
	for i := range faces {
		p, err := check(&faces[i], bounds)
		if err != nil {
			return nil, fmt.Errorf("paste: face %d: %w", i, err)
		}
		if !p.rect.Empty() {
			rects[i] = spread(p.rect, bounds, margin, block)
			p.prepare(&faces[i])
			patches = append(patches, p)
		}
	}
	for _, p := range patches {
		if p.grain {
			p.ready = p.grained(c, bounds)
		}
	}
	blendAll(bounds, patches, c)
	for _, p := range patches {
		p.release()
	}
	return rects, nil
}

// check validates a face and finds its place. The patch's rect is empty where
// there is nothing to do.
func check(f *Face, bounds image.Rectangle) (*patch, error) {
	if f.Size < MinSize || f.Size > maxSize {
		return nil, fmt.Errorf("%w: crop size %d is outside %d..%d", ErrFace, f.Size, MinSize, maxSize)
	}
	if n := 3 * f.Size * f.Size; len(f.Before) != n || len(f.After) != n {
		return nil, fmt.Errorf("%w: %d values before and %d after, a crop of size %d has %d",
			ErrFace, len(f.Before), len(f.After), f.Size, n)
	}
	if !(f.Blend >= 0 && f.Blend <= 1) {
		return nil, fmt.Errorf("%w: blend %g is outside 0..1", ErrFace, f.Blend)
	}
	if !sane(f.Before) || !sane(f.After) {
		return nil, fmt.Errorf("%w: the crop holds values that aren't numbers near [0, 1]", ErrFace)
	}
	a := f.ToCrop
	det := a[0]*a[4] - a[1]*a[3]
	wx, wy := math.Hypot(a[0], a[1]), math.Hypot(a[3], a[4])
	limit := float64(f.Size) / MinSide
	// Neither axis may vanish, nor the two fall together.
	if !(math.Abs(det) > 1e-3*wx*wy) || !(wx <= limit && wy <= limit) || !(min(wx, wy) > 1e-4) ||
		!(math.Abs(a[2]) < 1e9 && math.Abs(a[5]) < 1e9) {
		return nil, fmt.Errorf("%w: the transform %v to the crop is degenerate, or the crop smaller than %d pixels in the photo",
			ErrFace, a, MinSide)
	}
	p := &patch{toCrop: a, mask: newEgg(f.Size, f.Landmarks), blend: float32(f.Blend), grain: f.Grain}
	if f.Blend == 0 {
		return p, nil
	}
	p.rect = place(a, det, &p.mask).Add(bounds.Min).Intersect(bounds)
	if !p.rect.Empty() {
		// The stretched kernel still covers 1.5 boxes a photo pixel, so
		// that the boxes' own aliases fall where it is all but zero.
		p.box = max(1, int(min(wx, wy)/1.5))
		p.across, p.down = newKernel(wx/float64(p.box)), newKernel(wy/float64(p.box))
	}
	return p, nil
}

// place is the box in the photo around the ellipse that holds the mask.
func place(a [6]float64, det float64, e *egg) image.Rectangle {
	inv := [4]float64{a[4] / det, -a[1] / det, -a[3] / det, a[0] / det}
	u, v := e.x-a[2], e.y-a[5]
	x, y := inv[0]*u+inv[1]*v, inv[2]*u+inv[3]*v
	w, h := e.extent()
	dx, dy := math.Hypot(inv[0]*w, inv[1]*h), math.Hypot(inv[2]*w, inv[3]*h)
	cut := func(v float64) int { return int(min(max(v, -1e8), 1e8)) }
	return image.Rect(cut(math.Floor(x-dx)), cut(math.Floor(y-dy)), cut(math.Ceil(x+dx))+1, cut(math.Ceil(y+dy))+1)
}

// sane is false for NaN, infinities and values of 4 or more.
func sane(v []float32) bool {
	var bad atomic.Bool
	bands(len(v), 1<<16, func(from, to int) {
		const sign, two = 1 << 31, 0x40000000 // of the bits of a float
		var all uint32
		rest := v[from:to]
		for len(rest) >= 4 {
			q := (*[4]float32)(rest)
			all |= math.Float32bits(q[0]) | math.Float32bits(q[1]) | math.Float32bits(q[2]) | math.Float32bits(q[3])
			rest = rest[4:]
		}
		for _, x := range rest {
			all |= math.Float32bits(x)
		}
		if all&^sign < two {
			return // and so is every one of them
		}
		for _, x := range v[from:to] {
			if !(x > -4 && x < 4) {
				bad.Store(true)
				return
			}
		}
	})
	return !bad.Load()
}
