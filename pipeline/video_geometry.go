package pipeline

import (
	"errors"
	"image"
	"math"

	"restored/align"
	"restored/detect"
	"restored/media"
)

// A geometry maps the stored pixels of a video to those that faces are looked for
// in: square ones. The pictures aren't turned: trackers and templates take
// faces as they stand.
type geometry struct {
	width, height int     // of the square-pixel picture
	wide          float64 // stored pixel to square pixel, along x
	stored        int     // width of the stored picture
}

func newGeometry(f *media.PictureFormat) geometry {
	g := geometry{width: f.Width, height: f.Height, wide: 1, stored: f.Width}
	if a := f.SampleAspect; a.Num > 0 && a.Den > 0 {
		// What a container says of its pixels is believed within reason.
		if r := float64(a.Num) / float64(a.Den); r > 0.25 && r < 4 && math.Abs(r-1) > 0.01 {
			g.width = int(math.Round(float64(f.Width) * r))
			g.wide = float64(g.width) / float64(f.Width)
		}
	}
	return g
}

// square gives the luma with square pixels, in into where it must be made.
func (g geometry) square(luma, into *image.Gray) *image.Gray {
	if g.wide == 1 {
		return luma
	}
	if into == nil {
		into = image.NewGray(image.Rect(0, 0, g.width, g.height))
	}
	// Linear between the two nearest pixels, in 8 bits of fraction: enough for finding.
	at, part := make([]int, g.width), make([]int, g.width)
	for x := range at {
		u := min(max((float64(x)+0.5)/g.wide-0.5, 0), float64(g.stored-1))
		at[x] = min(int(u), max(g.stored-2, 0))
		part[x] = int((u - float64(at[x])) * 256)
	}
	for y := range g.height {
		src, dst := luma.Pix[y*luma.Stride:][:g.stored], into.Pix[y*into.Stride:][:g.width]
		for x := range dst {
			a, b := int(src[at[x]]), int(src[min(at[x]+1, g.stored-1)])
			dst[x] = uint8((a<<8 + part[x]*(b-a) + 128) >> 8)
		}
	}
	return into
}

// toCrop is the affine map from stored pixels to a crop, of a similarity from
// square pixels to it.
func (g geometry) toCrop(m align.Similarity) [6]float64 {
	a := m.Affine()
	shift := (g.wide - 1) / 2 // (x+½)·wide − ½
	return [6]float64{a[0] * g.wide, a[1], a[2] + a[0]*shift, a[3] * g.wide, a[4], a[5] + a[3]*shift}
}

// fit finds the similarity that brings landmarks to the template at size. It
// reports false where they don't form a face.
func fit(landmarks [5]detect.Point, template string, size int) (align.Similarity, []align.Point, bool, error) {
	points := make([]align.Point, len(landmarks))
	for i, p := range landmarks {
		points[i] = align.Point(p)
	}
	target, err := align.Template("dlib_"+template, size)
	if err != nil {
		return align.Similarity{}, points, false, err
	}
	m, err := align.Estimate(points, target)
	if err != nil || m.RMS(points, target)*512/float64(size) > maxResidual {
		return m, points, false, ignoreDegenerate(err)
	}
	return m, points, true, nil
}

// ignoreDegenerate makes nothing of the error that points don't form a face.
func ignoreDegenerate(err error) error {
	if errors.Is(err, align.ErrDegenerate) {
		return nil
	}
	return err
}
