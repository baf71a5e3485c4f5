package main

import (
	"bytes"
	"context"
	_ "embed" // the known face
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"math"
	"time"

	"restored/align"
	"restored/detect"
	"restored/restore"
)

// faceFile is the face that models are tried on: NASA's portrait of Eileen
// Collins (public domain), cropped by `restored align` on ffhq_512.
//
//go:embed face.jpg
var faceFile []byte

const faceSide = 512

// What a restored known face must be like. A network that is fed wrongly, or
// overflows, paints one colour, inverts, swaps colours or makes somebody else;
// a good one stays well within.
const (
	leastPSNR     = 16.0 // dB from the input
	leastContrast = 0.6  // of the input's
	mostContrast  = 2.0
	mostShift     = 0.10 // by which the mean of a colour moves, of the whole range
	mostDistance  = 0.6  // of dlib's descriptors: under it, it is one person
)

// A faceCheck is what a model made of the known face.
type faceCheck struct {
	Model    string   `json:"model"`
	SHA256   string   `json:"sha256"`
	Provider string   `json:"provider"`
	Size     int      `json:"size"`
	PSNR     float64  `json:"psnr"`     // dB, from the degraded input
	Gain     float64  `json:"gain"`     // dB by which it came nearer to the clear face
	Contrast float64  `json:"contrast"` // standard deviation of luma over the input's
	Shift    float64  `json:"colour_shift"`
	Identity *float64 `json:"identity,omitempty"` // nil: no face was found in the result
	Millis   float64  `json:"ms"`                 // of a second run
	Good     bool     `json:"good"`
	Problems []string `json:"problems,omitempty"`
}

// checkFace restores the known face, degraded, and measures the result. An error is of
// the machine or of a network that can't run; a bad result is in Problems.
func checkFace(ctx context.Context, s *restore.Session, r *detect.Recognizer) (faceCheck, error) {
	c := faceCheck{Model: s.Model().Name, SHA256: s.Model().SHA256, Provider: s.Provider(), Size: s.Spec().Size}
	face, err := knownFace()
	if err != nil {
		return c, err
	}
	toModel, err := frameChange(s.Spec())
	if err != nil {
		return c, err
	}
	clear, in, err := modelInput(face, toModel, c.Size)
	if err != nil {
		return c, err
	}
	var out [][]float32
	for range 2 { // the first run warms up
		start := time.Now()
		if out, err = s.Restore(ctx, []restore.Face{{Image: in, Steps: 4, Seed: 1}}); err != nil {
			return c, err
		}
		c.Millis = float64(time.Since(start).Microseconds()) / 1000
	}
	c.Gain = psnr(clear, out[0]) - psnr(clear, in)
	before, after, err := descriptors(r, face, out[0], toModel, c.Size)
	if err != nil {
		return c, err
	}
	if after != nil {
		d := detect.Distance(before, *after)
		c.Identity = &d
	}
	c.compare(in, out[0])
	c.judge()
	return c, nil
}

// modelInput is the known face in the model's frame, clear and degraded: it
// keeps a quarter of its resolution.
func modelInput(face *image.NRGBA, toModel align.Similarity, size int) (clear, degraded []float32, err error) {
	small, err := align.Warp(face, align.Similarity{A: 0.25, TX: -0.375, TY: -0.375}, faceSide/4)
	if err != nil {
		return nil, nil, fmt.Errorf("known face: %w", err)
	}
	fromSmall := align.Similarity{A: 4, TX: 1.5, TY: 1.5}.Then(toModel)
	degraded, err = align.Warp(planarImage(small, faceSide/4), fromSmall, size)
	if err != nil {
		return nil, nil, fmt.Errorf("known face: %w", err)
	}
	clear, err = align.Warp(face, toModel, size)
	return clear, degraded, err
}

// compare sets the figures that input and output give.
func (c *faceCheck) compare(in, out []float32) {
	c.PSNR = min(psnr(in, out), 99)
	c.Contrast = spread(luma(out)) / spread(luma(in))
	c.Shift = colourShift(in, out)
}

// judge sets Good and Problems by the figures.
func (c *faceCheck) judge() {
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
		}
	}
	bad(c.Contrast < leastContrast, "the face lost its contrast (%.2f of it is left): one colour, or a wrong range", c.Contrast)
	bad(c.Contrast > mostContrast, "the contrast grew %.1f times: a wrong range", c.Contrast)
	bad(!(c.PSNR >= leastPSNR), "the result is another picture (%.1f dB from the input, want %.0f): inverted, moved or made of noise", c.PSNR, leastPSNR)
	bad(c.Shift > mostShift, "the colours moved by %.2f of the range: red and blue swapped, or a wrong range", c.Shift)
	bad(c.Identity == nil, "no face is found in the result")
	bad(c.Identity != nil && *c.Identity > mostDistance, "it is somebody else (identity distance %.2f, at most %.1f)", value(c.Identity), mostDistance)
	c.Good = len(c.Problems) == 0
}

func value(p *float64) float64 {
	if p == nil {
		return 0
	}
	return *p
}

// knownFace is the known face's picture.
func knownFace() (*image.NRGBA, error) {
	img, err := jpeg.Decode(bytes.NewReader(faceFile))
	if err != nil {
		return nil, fmt.Errorf("known face: %w", err)
	}
	if img.Bounds() != image.Rect(0, 0, faceSide, faceSide) {
		return nil, errors.New("known face: not the aligned crop")
	}
	out := image.NewNRGBA(img.Bounds())
	draw.Draw(out, out.Rect, img, image.Point{}, draw.Src)
	return out, nil
}

// frameChange maps the known face's frame to the model's.
func frameChange(spec restore.Spec) (align.Similarity, error) {
	from, err := align.Template("ffhq_512", faceSide)
	if err != nil {
		return align.Similarity{}, err
	}
	to, err := align.Template(spec.Template, spec.Size)
	if err != nil {
		return align.Similarity{}, err
	}
	return align.Estimate(from, to)
}

// descriptors describes the known face before and after; after is nil where no
// face is found. The result is put back into the known face's frame, because a
// model's own frame may cut off what the detector looks for.
func descriptors(r *detect.Recognizer, face *image.NRGBA, out []float32, toModel align.Similarity, size int) (before [128]float32, after *[128]float32, err error) {
	own, err := align.Warp(face, align.Similarity{A: 1}, faceSide)
	if err != nil {
		return before, nil, fmt.Errorf("known face: %w", err)
	}
	back, err := toModel.Inverse()
	if err != nil {
		return before, nil, fmt.Errorf("known face: %w", err)
	}
	result, err := align.Warp(planarImage(out, size), back, faceSide)
	if err != nil {
		return before, nil, fmt.Errorf("known face: %w", err)
	}
	const n = faceSide * faceSide
	for i := range n {
		p := toModel.Apply(align.Point{X: float64(i % faceSide), Y: float64(i / faceSide)})
		if last := float64(size - 1); p.X < 0 || p.Y < 0 || p.X > last || p.Y > last {
			for c := range 3 {
				result[c*n+i] = own[c*n+i]
			}
		}
	}
	before, ok, err := r.Descriptor(own, faceSide)
	if err == nil && !ok {
		err = errors.New("dlib finds no face in the known face: its models are damaged")
	}
	if err != nil {
		return before, nil, err
	}
	d, ok, err := r.Descriptor(result, faceSide)
	if err != nil || !ok {
		return before, nil, err
	}
	return before, &d, nil
}

// spread is the standard deviation.
func spread(v []float64) float64 {
	var sum, squares float64
	for _, x := range v {
		sum += x
		squares += x * x
	}
	n := float64(len(v))
	return math.Sqrt(max(squares/n-sum*sum/n/n, 0))
}

// colourShift is the most by which the mean of a channel moved.
func colourShift(a, b []float32) float64 {
	n := len(a) / 3
	var most float64
	for c := range 3 {
		var d float64
		for i := c * n; i < (c+1)*n; i++ {
			d += float64(b[i]) - float64(a[i])
		}
		most = max(most, math.Abs(d)/float64(n))
	}
	return most
}
