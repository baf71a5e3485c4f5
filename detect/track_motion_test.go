package detect

import (
	"bytes"
	"context"
	"image"
	"image/jpeg"
	"math"
	"math/rand"
	"testing"
)

// film are pictures of a sample photo's face in motion: at each picture, where
// the photo lies in it.
type film struct {
	src  *plane
	size image.Point
	move func(n int) warp
}

// picture renders one with grain of so many gray levels, and through JPEG of a
// low quality, as old compressions do.
func (f film) picture(t testing.TB, n int, grain float64, quality int) *image.Gray {
	g := f.move(n).render(f.src, f.size.X, f.size.Y)
	rnd := rand.New(rand.NewSource(int64(n)))
	if grain > 0 {
		for i, v := range g.Pix {
			g.Pix[i] = uint8(max(0, min(255, float64(v)+grain*rnd.NormFloat64())))
		}
	}
	if quality == 0 {
		return g
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, g, &jpeg.Options{Quality: quality}); err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(&buf)
	if err != nil {
		t.Fatal(err)
	}
	return img.(*image.Gray)
}

// portrait is a film of obama.jpg in which the face is about side pixels wide and its
// centre moves as place says, in pixels; zoom is a factor, turn in degrees.
func portrait(t testing.TB, side float64, place func(n int) (x, y, zoom, turn float64)) film {
	img := sample(t, "obama.jpg")
	// The face of the photo is 272 pixels wide about (472, 330).
	k := 2.0
	src := lumaOf(t, img, img.Rect.Dx()/2, img.Rect.Dy()/2)
	size := image.Pt(320, 240)
	return film{src: src, size: size, move: func(n int) warp {
		x, y, zoom, turn := place(n)
		return warp{from: Point{472 / k, 330 / k}, to: Point{160 + x, 120 + y}, scale: zoom * side / (272 / k), degrees: turn}
	}}
}

func tracker(t testing.TB, o TrackOptions) *Tracker {
	t.Helper()
	o.Models = models(t)
	tr, err := NewTracker(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// track runs pictures through a tracker.
func track(t testing.TB, tr *Tracker, n int, picture func(i int) *image.Gray) []Track {
	t.Helper()
	for i := range n {
		if err := tr.Add(context.Background(), picture(i)); err != nil {
			t.Fatal(err)
		}
	}
	tracks, err := tr.Finish(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return tracks
}

// steadiness says, in pixels of the 512-pixel crop, how far landmarks err after
// what is the same everywhere is taken off, and how far their steps from picture to
// picture are from those of the motion.
type steadiness struct{ err, worst, step, worstStep float64 }

func measure(pts [][5]Point, move func(n int) warp) steadiness {
	var ref [5]Point
	for n, p := range pts {
		for k := range p {
			q := move(n).undo(p[k])
			ref[k].X += q.X / float64(len(pts))
			ref[k].Y += q.Y / float64(len(pts))
		}
	}
	var s steadiness
	var last [5]Point
	for n, p := range pts {
		var off [5]Point
		side := fitFrame(p).side()
		for k := range p {
			want := move(n).apply(ref[k])
			off[k] = Point{(p[k].X - want.X) * unit / side, (p[k].Y - want.Y) * unit / side}
		}
		e := apart(off, [5]Point{})
		s.err += e * e / float64(len(pts))
		s.worst = max(s.worst, e)
		if n > 0 {
			e := apart(off, last)
			s.step += e * e / float64(len(pts)-1)
			s.worstStep = max(s.worstStep, e)
		}
		last = off
	}
	s.err, s.step = math.Sqrt(s.err), math.Sqrt(s.step)
	return s
}

var motions = []struct {
	name  string
	even  bool
	place func(n int) (x, y, zoom, turn float64)
}{
	{"still", true, func(n int) (x, y, zoom, turn float64) { return 0.3, 0.2, 1, 0 }},
	{"drift", true, func(n int) (x, y, zoom, turn float64) { return 0.13 * float64(n), 0.07 * float64(n), 1, 0 }},
	{"zoom", true, func(n int) (x, y, zoom, turn float64) { return 0, 0, math.Pow(1.005, float64(n)), 0 }},
	{"nod", false, func(n int) (x, y, zoom, turn float64) { return 0, 14 * math.Sin(2*math.Pi*float64(n)/30), 1, 0 }},
	{"tilt", false, func(n int) (x, y, zoom, turn float64) { return 0, 0, 1, 12 * math.Sin(2*math.Pi*float64(n)/40) }},
	{"stops", false, func(n int) (x, y, zoom, turn float64) { return -30 + 3*max(0, min(float64(n)-14, 20)), 0, 1, 0 }},
}

// In a noisy, compressed film the face is followed in every picture, and its
// smoothed landmarks neither tremble nor lag.
func TestTrackMotion(t *testing.T) {
	const (
		n       = 48
		grain   = 8
		quality = 40
		// In pixels of the 512-pixel crop; a face of 90 pixels is enlarged 3.3
		// times there.
		rms, worst = 0.7, 2.0 // of the error
		step       = 0.5      // root mean square, of the error's steps
		worstStep  = 1.2
		stillStep  = 0.7 // the worst, where the motion is even
	)
	tr := tracker(t, TrackOptions{})
	for _, m := range motions {
		f := portrait(t, 90, m.place)
		tracks := track(t, tr, n, func(i int) *image.Gray { return f.picture(t, i, grain, quality) })
		if len(tracks) != 1 || tracks[0].First != 0 || len(tracks[0].Frames) != n {
			t.Errorf("%s: %d tracks, want one in all %d pictures", m.name, len(tracks), n)
			continue
		}
		raw := make([][5]Point, n)
		for i, fr := range tracks[0].Frames {
			raw[i] = fr.Landmarks
			if !fr.Seen || fr.Repeat {
				t.Errorf("%s: picture %d: seen %v, repeat %v", m.name, i, fr.Seen, fr.Repeat)
			}
		}
		r, s := measure(raw, f.move), measure(Smooth(tracks[0].Frames), f.move)
		t.Logf("%-6s error %.2f (worst %.2f), step %.2f (worst %.2f); raw %.2f (%.2f), %.2f (%.2f)",
			m.name, s.err, s.worst, s.step, s.worstStep, r.err, r.worst, r.step, r.worstStep)
		limit := worstStep
		if m.even {
			limit = stillStep
		}
		if s.err > rms || s.worst > worst || s.step > step || s.worstStep > limit {
			t.Errorf("%s: error %.2f (worst %.2f), step %.2f (worst %.2f), want %.2f (%.2f), %.2f (%.2f)",
				m.name, s.err, s.worst, s.step, s.worstStep, rms, worst, step, limit)
		}
	}
}
