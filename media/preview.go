package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
)

const (
	previewQuality = 82
	// previewPoints bounds the points of a picture that make one of a preview, along
	// a side.
	previewPoints = 4
)

// Preview is a JPEG in sRGB of a photo as people see it, upright, of at most
// side×side pixels. Errors are as OpenPhoto's; of a file that is damaged at its
// end it may show what is there.
func Preview(ctx context.Context, path string, side int, o Options) ([]byte, error) {
	src, b, _, err := read(path, o)
	if err != nil {
		return nil, err
	}
	if src.bmp != nil {
		return shrunk(src.bmp.decode(b), side, 1, turning{})
	}
	small, err := preview(ctx, src.kind, b, side)
	if err != nil {
		return nil, fmt.Errorf("preview of %s: %w: %w", path, ErrDamaged, err)
	}
	return small, nil
}

// PreviewVideo is Preview of the picture that a video shows at a time in seconds
// from its start, or of its last one. A negative time is a tenth of the video.
func PreviewVideo(ctx context.Context, path string, side int, at float64) (_ []byte, err error) {
	v, err := ProbeVideo(ctx, path)
	if err != nil {
		return nil, err
	}
	if at < 0 {
		at = v.Duration.Seconds() / 10
	}
	s := v.Stream()
	from := NoTime
	if s.Start != NoTime && s.TimeBase.Num > 0 {
		// Half a picture earlier: times are rounded on their way here.
		from = s.Start + int64(at*float64(s.TimeBase.Den)/float64(s.TimeBase.Num)) - s.step()/2
	}
	// A picture more or less doesn't matter, and so the file is read from its middle.
	r, err := OpenReader(ctx, v, ReadOptions{From: from, To: NoTime, Direct: true, Threads: 1})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	p, err := r.Next(ctx)
	if errors.Is(err, io.EOF) && from != NoTime && at > 0 {
		return PreviewVideo(ctx, path, side, 0)
	}
	if err != nil {
		return nil, err
	}
	defer p.Release()
	wide := 1.0
	if a := s.Picture.SampleAspect; a.Num > 0 && a.Den > 0 {
		wide = min(max(float64(a.Num)/float64(a.Den), 0.25), 4)
	}
	return shrunk(&p.Planar, side, wide, turning{s.Picture.Rotation, s.Picture.Flip})
}

// turning is how pictures are turned to be shown, as in PictureFormat.
type turning struct {
	rotation int
	flip     bool
}

// place finds the point of a stored picture of w×h that is shown at x, y, all
// from 0 to 1.
func (t turning) place(x, y float64) (float64, float64) {
	switch t.rotation {
	case 90:
		x, y = y, 1-x
	case 180:
		x, y = 1-x, 1-y
	case 270:
		x, y = 1-y, x
	}
	if t.flip {
		x = 1 - x
	}
	return x, y
}

// shrunk encodes an image, whose pixels are so many times as wide as high, so
// that it fits side×side pixels: each is the mean of some points.
func shrunk(img image.Image, side int, wide float64, t turning) ([]byte, error) {
	b := img.Bounds()
	w, h := float64(b.Dx())*wide, float64(b.Dy())
	if t.rotation%180 != 0 {
		w, h = h, w
	}
	scale := min(1, float64(side)/max(w, h))
	small := image.NewRGBA(image.Rect(0, 0, max(1, int(w*scale+0.5)), max(1, int(h*scale+0.5))))
	points := min(max(1, int(1/scale+0.5)), previewPoints)
	sw, sh := small.Rect.Dx(), small.Rect.Dy()
	for y := range sh {
		for x := range sw {
			var sum [3]uint32
			for i := range points * points {
				px, py := t.place((float64(x)+(float64(i%points)+0.5)/float64(points))/float64(sw), (float64(y)+(float64(i/points)+0.5)/float64(points))/float64(sh))
				c := img.At(b.Min.X+min(int(px*float64(b.Dx())), b.Dx()-1), b.Min.Y+min(int(py*float64(b.Dy())), b.Dy()-1))
				r, g, bl, _ := c.RGBA()
				sum[0], sum[1], sum[2] = sum[0]+r>>8, sum[1]+g>>8, sum[2]+bl>>8
			}
			n := uint32(points * points)
			small.SetRGBA(x, y, color.RGBA{uint8(sum[0] / n), uint8(sum[1] / n), uint8(sum[2] / n), 255})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: previewQuality}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
