package detect

import (
	"context"
	"image"
	"math"
	"sort"
)

// turns are the angles, clockwise in degrees, that a face may be turned by when
// it isn't upright; dlib's filters reach some 20° to either side of each. A
// group that finds something ends the search: tilted heads are more usual than
// photos on their side, and those more than photos on their head.
var turns = [][]float64{{30, -30}, {90, -90}, {180}, {60, -60}}

const (
	// turnedPixels bounds each turned copy: eleven of them cost less than
	// three upright scans of the default size.
	turnedPixels = 750_000
)

// turned scans turned copies of the photo until a group of angles has faces.
// Many angles are many chances to err, so each candidate is proved; its score is
// that of the second look.
func (d *Detector) turned(ctx context.Context, read lumaReader, size image.Point) ([]candidate, error) {
	scan := scanSize(size, d.opt.MinFace, min(d.opt.MaxPixels, turnedPixels))
	if !scannable(scan) {
		return nil, nil
	}
	img := resample(read, image.Rectangle{Max: size}, scan.X, scan.Y)
	kx, ky := float64(size.X)/float64(scan.X), float64(size.Y)/float64(scan.Y)
	for _, group := range turns {
		var all []candidate
		for _, degrees := range group {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			found, err := d.scanner.scanTurned(img, degrees, d.opt.Threshold)
			if err != nil {
				return nil, err
			}
			for _, c := range found {
				o := c.frame.at(0.5, 0.5)
				c.frame = newFrame((o.X+0.5)*kx-0.5, (o.Y+0.5)*ky-0.5, c.frame.side()*math.Sqrt(kx*ky), degrees)
				score, ok, err := d.prove(read, size, c.frame)
				if err != nil {
					return nil, err
				}
				if ok && score >= d.opt.Threshold+turnedSure {
					c.score = score
					all = append(all, c)
				}
			}
		}
		sort.SliceStable(all, func(i, j int) bool { return all[i].score > all[j].score })
		var out []candidate
		for _, c := range all {
			var err error
			if out, err = d.consider(ctx, out, read, size, c); err != nil {
				return nil, err
			}
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	return nil, nil
}

// scanTurned scans a copy of img in which faces turned by degrees are upright.
// The frames are in img's pixels.
func (s *Scanner) scanTurned(img *plane, degrees, threshold float64) ([]candidate, error) {
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	w := int(math.Ceil(math.Abs(cos)*float64(img.w) + math.Abs(sin)*float64(img.h) - 1e-6))
	h := int(math.Ceil(math.Abs(sin)*float64(img.w) + math.Abs(cos)*float64(img.h) - 1e-6))
	// back maps the copy's pixels to img's.
	back := func(x, y float64) Point {
		x, y = x-float64(w-1)/2, y-float64(h-1)/2
		return Point{x*cos - y*sin + float64(img.w-1)/2, x*sin + y*cos + float64(img.h-1)/2}
	}
	copied := &plane{pix: make([]uint8, w*h), w: w, h: h}
	for y := range h {
		sampleLine(img, back(0, float64(y)), back(float64(w-1), float64(y)), copied.pix[y*w:(y+1)*w])
	}
	hits, err := s.Scan(copied.pixels(), false, threshold)
	if err != nil {
		return nil, err
	}
	var out []candidate
	for _, hit := range hits {
		f := boxFrame(hit.Box)
		o := f.at(0.5, 0.5)
		p := back(o.X, o.Y)
		out = append(out, candidate{score: hit.Score, turn: degrees, frame: newFrame(p.X, p.Y, f.side(), degrees)})
	}
	return out, nil
}
