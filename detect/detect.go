package detect

import (
	"context"
	"fmt"
	"image"
	"math"
	"sort"
	"sync"
	"time"
)

// Options say what New's Detector looks for. Zero values mean the defaults.
type Options struct {
	// Models is the folder with shape_predictor_5_face_landmarks.dat.
	Models string
	// Threshold is the least score of a face, over dlib's own threshold: 0 is
	// dlib's default, −0.3 finds more and errs more, 0.3 the reverse.
	Threshold float64
	// MinFace is the shorter side, in the photo's pixels, of the smallest box
	// reported; default 40. Below that, dlib would need more than one doubling.
	MinFace int
	// MaxPixels bounds the image that is scanned, and so the time and the
	// memory (about 16 bytes a pixel); default 4 million. dlib finds faces of
	// 80 pixels and more in what it scans: with the default that is all of
	// MinFace 40 up to 1 MP, 57 pixels in 2 MP, 139 pixels (3.5 % of the width) in
	// 12 MP, 196 pixels in 24 MP.
	MaxPixels int
	// Rotations also looks at turned copies when nothing is found upright.
	Rotations bool
}

const (
	defaultMinFace   = 40
	defaultMaxPixels = 4_000_000

	// hogFace is the smallest face, in pixels, that dlib's detector sees.
	hogFace = 80
	// maxEnlarge is how far a photo is enlarged for it.
	maxEnlarge = 2
)

// Face is one face of a photo.
type Face struct {
	// Box is a square about the face, from the brows to the chin, in the
	// photo's pixels; cut at the photo's edges. It is upright even if the face
	// isn't.
	Box image.Rectangle
	// Score says how sure the detector is, over its own threshold: 0 just
	// passes, 1 is plain, 2 to 3 a clear portrait.
	Score float64
	// Landmarks are dlib's five points, finer than pixels: outer and inner
	// corner of the eye at the image's right (of an upright face), outer and
	// inner corner of the other eye, base of the nose.
	Landmarks [5]Point
	// Angle is how far the face is turned clockwise, in degrees: 0 where it
	// was found in the upright photo, else the turn at which it was found.
	Angle float64
}

// Detector finds faces and their landmarks in photos. Calls run one at a time:
// use one Detector per worker.
type Detector struct {
	mu      sync.Mutex
	opt     Options
	scanner *Scanner
	placing time.Duration // spent on landmarks by the last Detect
}

// New reads the models. A missing, truncated or wrong file gives an error with
// its name and the reason.
func New(opt Options) (*Detector, error) {
	if opt.MinFace == 0 {
		opt.MinFace = defaultMinFace
	}
	if opt.MaxPixels == 0 {
		opt.MaxPixels = defaultMaxPixels
	}
	if err := checkScan(opt.MinFace, opt.MaxPixels, opt.Threshold); err != nil {
		return nil, err
	}
	s, err := NewScanner(opt.Models)
	if err != nil {
		return nil, err
	}
	return &Detector{opt: opt, scanner: s}, nil
}

// checkScan is for the options that a Detector and a Tracker share.
func checkScan(minFace, maxPixels int, threshold float64) error {
	switch {
	case minFace < 4:
		return fmt.Errorf("detect: MinFace %d, want at least 4 pixels", minFace)
	case maxPixels < 10_000 || maxPixels > 200_000_000:
		return fmt.Errorf("detect: MaxPixels %d, want 10000 to 200 million", maxPixels)
	case math.IsNaN(threshold) || math.Abs(threshold) > 100:
		return fmt.Errorf("detect: Threshold %v, want something about 0", threshold)
	}
	return nil
}

// Close frees the native memory. It may be called again.
func (d *Detector) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.scanner.Close()
}

// Detect finds the faces of a photo, each once, the largest first (equal ones
// from left to right). The photo is *image.Gray, *image.Gray16, *image.NRGBA or
// *image.NRGBA64; its alpha is ignored; places count from its top left corner.
// A context that ends is noticed between scans, each well under a second with
// the default MaxPixels.
func (d *Detector) Detect(ctx context.Context, img image.Image) ([]Face, error) {
	if err := checkImage(img); err != nil {
		return nil, err
	}
	read, err := newLumaReader(img)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	size := img.Bounds().Size()
	d.placing = 0
	found, err := d.upright(ctx, read, size)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && d.opt.Rotations {
		if found, err = d.turned(ctx, read, size); err != nil {
			return nil, err
		}
	}
	return d.report(found, size), nil
}

// LandmarkTime is how much of the last Detect went into landmarks.
func (d *Detector) LandmarkTime() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.placing
}

// place finds the landmarks of a candidate and counts the time.
func (d *Detector) place(read lumaReader, size image.Point, f frame) ([parts]Point, error) {
	start := time.Now()
	defer func() { d.placing += time.Since(start) }()
	return d.scanner.landmarks(read, size, f)
}

// candidate is a face on its way to the result.
type candidate struct {
	score     float64
	turn      float64 // of the copy it was found in
	frame     frame   // where the detector saw it
	landmarks [parts]Point
	pose      frame // where its landmarks say it is
}

// scanSize is the size at which a photo is scanned.
func scanSize(size image.Point, minFace, maxPixels int) image.Point {
	scale := min(maxEnlarge, hogFace/float64(minFace),
		math.Sqrt(float64(maxPixels)/(float64(size.X)*float64(size.Y))))
	if math.Abs(scale-1) < 0.02 {
		scale = 1
	}
	return image.Pt(max(1, int(float64(size.X)*scale)), max(1, int(float64(size.Y)*scale)))
}

// scannable says whether a face could be in an image of this size at all.
func scannable(s image.Point) bool { return min(s.X, s.Y) >= hogFace/2 && max(s.X, s.Y) <= maxSide }

// upright scans the photo as it is.
func (d *Detector) upright(ctx context.Context, read lumaReader, size image.Point) ([]candidate, error) {
	scan := scanSize(size, d.opt.MinFace, d.opt.MaxPixels)
	if !scannable(scan) {
		return nil, nil
	}
	img := resample(read, image.Rectangle{Max: size}, scan.X, scan.Y)
	hits, err := d.scanner.Scan(img.pixels(), false, d.opt.Threshold)
	if err != nil {
		return nil, err
	}
	kx, ky := float64(size.X)/float64(scan.X), float64(size.Y)/float64(scan.Y)
	var out []candidate
	for _, h := range hits {
		f := boxFrame(h.Box)
		c := f.at(0.5, 0.5)
		f = newFrame((c.X+0.5)*kx-0.5, (c.Y+0.5)*ky-0.5, f.side()*math.Sqrt(kx*ky), 0)
		if out, err = d.consider(ctx, out, read, size, candidate{score: h.Score, frame: f}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// consider adds a candidate with its landmarks, unless it is too small or a
// better one has the same place. Candidates come best first.
func (d *Detector) consider(ctx context.Context, have []candidate, read lumaReader, size image.Point, c candidate) ([]candidate, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("detect: %w", err)
	}
	// A box of n pixels has n−1 between the centres of its corners.
	if math.Round(c.frame.side())+1 < float64(d.opt.MinFace) {
		return have, nil
	}
	if c.turn == 0 && c.score < d.opt.Threshold+doubtful {
		score, ok, err := d.prove(read, size, c.frame)
		if err != nil {
			return nil, err
		}
		if !ok || (score+c.score)/2 < d.opt.Threshold+sure {
			return have, nil
		}
	}
	var err error
	if c.landmarks, err = d.place(read, size, c.frame); err != nil {
		return nil, err
	}
	c.pose = fitFrame(c.landmarks)
	for _, h := range have {
		if same(h.frame.box(), c.frame.box()) || same(h.pose.box(), c.pose.box()) {
			return have, nil
		}
	}
	return append(have, c), nil
}

// same says whether two boxes are of one face: they share 30 % of their union,
// or two thirds of the smaller one (a face found within a face).
func same(a, b image.Rectangle) bool {
	area := func(r image.Rectangle) float64 { return float64(r.Dx()) * float64(r.Dy()) }
	i := area(a.Intersect(b))
	return i > 0.3*(area(a)+area(b)-i) || i > 0.66*min(area(a), area(b))
}

// report turns candidates into the result.
func (d *Detector) report(found []candidate, size image.Point) []Face {
	faces := make([]Face, 0, len(found))
	sort.SliceStable(found, func(i, j int) bool {
		a, b := found[i].frame, found[j].frame
		if a.side() != b.side() {
			return a.side() > b.side()
		}
		return a.ox < b.ox
	})
	for _, c := range found {
		box := c.frame.box().Intersect(image.Rectangle{Max: size})
		if box.Empty() {
			continue
		}
		faces = append(faces, Face{Box: box, Score: c.score, Landmarks: c.landmarks, Angle: c.turn})
	}
	return faces
}

func sized(img image.Image) image.Rectangle { return image.Rectangle{Max: img.Bounds().Size()} }
