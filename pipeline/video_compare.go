package pipeline

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"io"
	"math"

	"restored/align"
	"restored/detect"
	"restored/frame"
	"restored/media"
)

const (
	// stillBlock is the mean change of a block of an aligned crop (see steadyBlock) from
	// one picture to the next, on the scale of 0 to 1, below which the face holds still there.
	stillBlock = 1.5 / 255
	// stillFace is the mean change of the luma in a face's box, on the scale of
	// 0 to 255, below which there is no motion, unless stillPoint says otherwise: how
	// far the picture about a landmark may shift, in pixels of the crop.
	stillFace  = 0.5
	stillPoint = 0.25
	// compareSize is the side of the crops that are compared.
	compareSize = 512
)

// A Comparison says how steady a restored video is beside its original.
type Comparison struct {
	Frames int64 `json:"frames"`
	Faces  int64 `json:"faces"` // pairs of consecutive crops of one face
	// FlickerIn and FlickerOut are the mean absolute differences, on the scale of
	// 0 to 255, between consecutive aligned crops, over the blocks in the
	// middle of the face that hold still in the original.
	FlickerIn  float64 `json:"flicker_in"`
	FlickerOut float64 `json:"flicker_out"`
	// Jump is the largest step of a landmark between two pictures in which neither
	// the face nor what is about the landmark moves, in pixels of the 512×512 crop; Still is
	// how many such steps there were.
	Jump  float64 `json:"jump"`
	Still int64   `json:"still"`
	// Outside is the PSNR of the luma, in dB, where no face is: of the restored video
	// against the original.
	Outside float64 `json:"psnr_outside"`
}

// Ratio is the flicker of the output over that of the input.
func (c Comparison) Ratio() float64 { return c.FlickerOut / c.FlickerIn }

// CompareVideos measures the video out against the original in, picture by
// picture; the faces are those of the original. It fails where the two have not
// the same pictures.
func (e *Engine) CompareVideos(ctx context.Context, in, out string) (c Comparison, err error) {
	p, err := e.plan(ctx, in, func(VideoProgress) {})
	if err != nil {
		return c, err
	}
	p.Segments = []Segment{{From: media.NoTime, To: media.NoTime}}
	w, err := e.acquire(ctx)
	if err != nil {
		return c, err
	}
	a, err := e.analyse(ctx, w, &p, 0, false, func(VideoProgress) {})
	e.pool <- w
	if err != nil {
		return c, err
	}
	restored, err := media.ProbeVideo(ctx, out)
	if err != nil {
		return c, err
	}
	first, err := media.OpenReader(ctx, &p.Video, media.ReadOptions{From: media.NoTime, To: media.NoTime, Bwdif: p.Encoding.Deinterlaced, Direct: p.Index.Direct})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, first.Close()) }()
	second, err := media.OpenReader(ctx, restored, media.ReadOptions{From: media.NoTime, To: media.NoTime})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, second.Close()) }()
	m := &meter{g: newGeometry(p.Video.Stream().Picture), a: a, smooth: make([][][5]detect.Point, len(a.Tracks)), last: map[int]*look{}}
	for i, t := range a.Tracks {
		m.smooth[i] = detect.Smooth(t.Frames)
	}
	return m.all(ctx, first, second)
}

// A meter compares two videos.
type meter struct {
	g      geometry
	a      *analysis
	smooth [][][5]detect.Point // by track
	last   map[int]*look       // of each track, in the picture before
	c      Comparison
	blocks float64 // that held still
	wrong  float64 // squared error outside faces
	count  float64
}

// A look is one face in one picture of both videos.
type look struct {
	in, out   []float32
	luma      *image.Gray // of the original, about the box
	box       image.Rectangle
	landmarks [5]detect.Point
	scale     float64 // of the crop, in its pixels a square pixel
}

func (m *meter) all(ctx context.Context, first, second *media.Reader) (Comparison, error) {
	for i := 0; ; i++ {
		a, err := first.Next(ctx)
		b, otherErr := second.Next(ctx)
		if errors.Is(err, io.EOF) && errors.Is(otherErr, io.EOF) {
			break
		}
		if err := errors.Join(err, otherErr); err != nil {
			return m.c, fmt.Errorf("picture %d: %w (the videos must have as many)", i, err)
		}
		err = m.picture(i, &a.Planar, &b.Planar)
		a.Release()
		b.Release()
		if err != nil {
			return m.c, fmt.Errorf("picture %d: %w", i, err)
		}
		m.c.Frames++
	}
	if m.blocks > 0 {
		m.c.FlickerIn *= 255 / m.blocks
		m.c.FlickerOut *= 255 / m.blocks
	}
	if m.count > 0 {
		m.c.Outside = 10 * math.Log10(255*255/max(m.wrong/m.count, 1e-9))
	}
	return m.c, nil
}

func (m *meter) picture(i int, a, b *frame.Planar) error {
	if a.Width != b.Width || a.Height != b.Height {
		return fmt.Errorf("%d×%d and %d×%d pixels", a.Width, a.Height, b.Width, b.Height)
	}
	var faces []image.Rectangle
	for k := range m.a.Tracks {
		t := &m.a.Tracks[k]
		if i < t.First || i >= t.end() {
			delete(m.last, k)
			continue
		}
		l, err := m.look(a, b, t.frame(i).Box, m.smooth[k][i-t.First])
		if err != nil {
			return err
		}
		if before := m.last[k]; before != nil && l != nil {
			m.pair(before, l)
		}
		m.last[k] = l
		box := t.frame(i).Box
		grown := box.Inset(-box.Dx()) // the mask lies well within
		grown.Min.X, grown.Max.X = int(float64(grown.Min.X)/m.g.wide), int(float64(grown.Max.X)/m.g.wide)+1
		faces = append(faces, grown)
	}
	m.outside(a.Luma8(nil), b.Luma8(nil), faces)
	return nil
}

func (m *meter) look(a, b *frame.Planar, box image.Rectangle, landmarks [5]detect.Point) (*look, error) {
	s, _, ok, err := fit(landmarks, "ffhq_512", compareSize)
	if err != nil || !ok {
		return nil, err
	}
	l := &look{box: box, landmarks: landmarks, scale: s.Scale()}
	to := m.g.toCrop(s)
	if l.in, err = align.WarpAffine(a, to, compareSize); err != nil {
		return nil, err
	}
	if l.out, err = align.WarpAffine(b, to, compareSize); err != nil {
		return nil, err
	}
	whole := m.g.square(a.Luma8(nil), nil)
	// What lies further about the points isn't looked at; a's memory is its own again soon.
	r := box.Inset(-box.Dx() / 2).Intersect(whole.Rect)
	l.luma = image.NewGray(r)
	draw.Draw(l.luma, r, whole, r.Min, draw.Src)
	return l, nil
}

// pair adds what two consecutive looks at one face tell.
func (m *meter) pair(a, b *look) {
	m.c.Faces++
	const lo, hi = compareSize / 4, compareSize * 3 / 4
	for y := lo; y < hi; y += steadyBlock {
		for x := lo; x < hi; x += steadyBlock {
			in := blockChange(a.in, b.in, compareSize, x, y)
			if in >= stillBlock {
				continue
			}
			m.blocks++
			m.c.FlickerIn += float64(in)
			m.c.FlickerOut += float64(blockChange(a.out, b.out, compareSize, x, y))
		}
	}
	if detect.LumaChange(a.luma, b.luma, a.box) > stillFace {
		return
	}
	for i, p := range a.landmarks {
		if moved, known := motion(a.luma, b.luma, p.X, p.Y, motionPatch*float64(a.box.Dx())); known && moved*a.scale > stillPoint {
			continue
		}
		q := b.landmarks[i]
		m.c.Still++
		m.c.Jump = max(m.c.Jump, b.scale*math.Hypot(p.X-q.X, p.Y-q.Y))
	}
}

// outside adds the squared error where no face is.
func (m *meter) outside(a, b *image.Gray, faces []image.Rectangle) {
	for y := range a.Rect.Dy() {
		p, q := a.Pix[y*a.Stride:][:a.Rect.Dx()], b.Pix[y*b.Stride:][:a.Rect.Dx()]
	pixels:
		for x := range p {
			for _, f := range faces {
				if (image.Point{X: x, Y: y}).In(f) {
					continue pixels
				}
			}
			d := float64(p[x]) - float64(q[x])
			m.wrong += d * d
			m.count++
		}
	}
}
