package detect

import (
	"context"
	"errors"
	"image"
	"math/rand"
	"testing"
)

func steady(n int) (x, y, zoom, turn float64) { return 0.4 * float64(n), 0, 1, 0 }

// other are pictures of another face, elsewhere.
func other(t *testing.T) func(n int) *image.Gray {
	img := sample(t, "biden.jpg")
	src := lumaOf(t, img, img.Rect.Dx()/4, img.Rect.Dy()/4)
	faces := detect(t, detector(t, Options{}), src.gray())
	if len(faces) != 1 {
		t.Fatalf("biden.jpg: %d faces", len(faces))
	}
	f := fitFrame(faces[0].Landmarks)
	return func(n int) *image.Gray {
		return warp{from: f.at(0.5, 0.5), to: Point{110 - 0.3*float64(n), 130}, scale: 100 / f.side()}.render(src, 320, 240)
	}
}

// spans are the first and last pictures of tracks.
func spans(tracks []Track) (out [][2]int) {
	for _, k := range tracks {
		out = append(out, [2]int{k.First, k.First + len(k.Frames) - 1})
	}
	return out
}

func flat(g *image.Gray, r image.Rectangle, v uint8) *image.Gray {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			g.Pix[y*g.Stride+x] = v
		}
	}
	return g
}

func TestTracks(t *testing.T) {
	f := portrait(t, 90, steady)
	type picture func(i int) *image.Gray
	show := func(i int) *image.Gray { return f.picture(t, i, 3, 0) }
	hidden := func(from, to int) picture {
		return func(i int) *image.Gray {
			g := show(i)
			if i >= from && i < to {
				flat(g, g.Rect, 90)
			}
			return g
		}
	}
	second := other(t)
	for _, c := range []struct {
		name    string
		n       int
		picture picture
		want    [][2]int // of the tracks; each end may be off by
		off     int
		unseen  int // pictures
		repeats int
	}{
		{"a face that comes late is followed back", 21, func(i int) *image.Gray {
			g := show(i)
			if i < 11 {
				flat(g, g.Rect, 90)
			}
			return g
		}, [][2]int{{11, 20}}, 0, 0, 10},
		{"a cut parts two faces", 33, func(i int) *image.Gray {
			if i < 21 {
				return show(i)
			}
			return second(i)
		}, [][2]int{{0, 20}, {21, 32}}, 0, 0, 0},
		{"a flash is no cut", 30, func(i int) *image.Gray {
			g := show(i)
			if i == 13 || i == 14 {
				flat(g, g.Rect, 250)
			}
			return g
		}, [][2]int{{0, 29}}, 0, 2, 1},
		{"a face hidden shortly is one track", 34, func(i int) *image.Gray {
			g := show(i)
			if i >= 12 && i < 18 {
				flat(g, image.Rect(90, 50, 240, 190), 90)
			}
			return g
		}, [][2]int{{0, 33}}, 0, 6, 0},
		{"a face hidden for long is two", 62, hidden(12, 48), [][2]int{{0, 11}, {48, 61}}, 0, 0, 35},
		{"the same picture again and again", 50, func(i int) *image.Gray { return show(0) }, [][2]int{{0, 49}}, 0, 0, 49},
		{"each picture three times", 30, func(i int) *image.Gray { return show(i / 3) }, [][2]int{{0, 29}}, 0, 0, 20},
		{"one picture", 1, show, [][2]int{{0, 0}}, 0, 0, 0},
		{"a face in three pictures of many is none", 40, func(i int) *image.Gray {
			g := show(i)
			if i < 15 || i > 17 {
				flat(g, image.Rect(90, 50, 240, 190), 90)
			}
			return g
		}, nil, 0, 0, 0},
		{"noise", 20, func(i int) *image.Gray {
			g := image.NewGray(image.Rect(0, 0, 320, 240))
			rand.New(rand.NewSource(int64(i))).Read(g.Pix)
			return g
		}, nil, 0, 0, 0},
	} {
		tr := tracker(t, TrackOptions{})
		tracks := track(t, tr, c.n, c.picture)
		got := spans(tracks)
		ok := len(got) == len(c.want)
		for i := 0; ok && i < len(got); i++ {
			ok = max(got[i][0]-c.want[i][0], c.want[i][0]-got[i][0], got[i][1]-c.want[i][1], c.want[i][1]-got[i][1]) <= c.off
		}
		unseen := 0
		for _, k := range tracks {
			for _, fr := range k.Frames {
				if !fr.Seen {
					unseen++
				}
			}
		}
		if !ok || unseen != c.unseen || tr.Stats().Repeats != c.repeats {
			t.Errorf("%s: tracks %v, %d pictures filled, want %v, %d; %+v", c.name, got, unseen, c.want, c.unseen, tr.Stats())
		}
	}
}

// Two faces that stand still are two tracks; what is filled lies on the way.
func TestTrackTwoFaces(t *testing.T) {
	f := portrait(t, 80, func(n int) (x, y, zoom, turn float64) { return 60 - 0.5*float64(n), 0, 1, 0 })
	second := other(t)
	tracks := track(t, tracker(t, TrackOptions{}), 24, func(i int) *image.Gray {
		g := f.picture(t, i, 0, 0)
		o := second(i)
		for y := range 240 {
			copy(g.Pix[y*g.Stride:][:150], o.Pix[y*o.Stride+30:][:150])
		}
		return g
	})
	if got := spans(tracks); len(got) != 2 || got[0] != [2]int{0, 23} || got[1] != got[0] {
		t.Fatalf("tracks %v, want two in all 24 pictures", got)
	}
	if a, b := tracks[0].Frames[0].Box, tracks[1].Frames[0].Box; a.Min.X >= b.Min.X || a.Overlaps(b) {
		t.Errorf("boxes %v and %v, want them from left to right", a, b)
	}
	if k := tracks[0]; k.Scans < 3 || k.Score < 0.5 {
		t.Errorf("found by %d scans, score %.2f", k.Scans, k.Score)
	}
}

// Pictures that a player turns give the same landmarks, turned.
func TestTrackTurn(t *testing.T) {
	const tolerance = 2.5 // pixels of the 512-pixel crop
	const n = 12
	upright := portrait(t, 90, steady)
	want := track(t, tracker(t, TrackOptions{}), n, func(i int) *image.Gray { return upright.picture(t, i, 0, 0) })
	for _, turn := range []int{90, 180, 270} {
		// A player turns by turn, so the picture is turned back.
		back := warp{from: Point{160, 120}, to: Point{160, 160}, scale: 1, degrees: -float64(turn)}
		got := track(t, tracker(t, TrackOptions{Turn: turn}), n, func(i int) *image.Gray {
			w := upright.move(i)
			w.to, w.degrees = back.apply(w.to), w.degrees+back.degrees
			return w.render(upright.src, 321, 321)
		})
		if len(got) != 1 || len(got[0].Frames) != n {
			t.Errorf("turned by %d: tracks %v", turn, spans(got))
			continue
		}
		for i, fr := range got[0].Frames {
			var turned [5]Point
			for k, p := range want[0].Frames[i].Landmarks {
				turned[k] = back.apply(p)
			}
			if e := apart(fr.Landmarks, turned) * unit / fitFrame(turned).side(); e > tolerance {
				t.Errorf("turned by %d: picture %d is off by %.2f", turn, i, e)
			}
		}
	}
}

func TestTrackerErrors(t *testing.T) {
	ctx := context.Background()
	for _, o := range []TrackOptions{{Turn: 45}, {Every: -1}, {Every: 1000}, {MinFace: 1}, {MaxPixels: 7}, {Threshold: 1e9}, {Rate: -1}} {
		o.Models = models(t)
		if tr, err := NewTracker(o); err == nil {
			_ = tr.Close()
			t.Errorf("%+v: no error", o)
		}
	}
	if _, err := NewTracker(TrackOptions{Models: t.TempDir()}); err == nil {
		t.Error("no models: no error")
	}
	tr := tracker(t, TrackOptions{})
	if tracks, err := tr.Finish(ctx); err != nil || len(tracks) != 0 {
		t.Errorf("no pictures: %v, %v", tracks, err)
	}
	g := image.NewGray(image.Rect(0, 0, 64, 48))
	if err := tr.Add(ctx, g); err != nil {
		t.Fatal(err)
	}
	if err := tr.Add(ctx, image.NewGray(image.Rect(0, 0, 65, 48))); err == nil {
		t.Error("another size: no error")
	}
	if err := tr.Add(ctx, g); err == nil {
		t.Error("after an error: no error")
	}
	if _, err := tr.Finish(ctx); err == nil {
		t.Error("Finish after an error: no error")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := tr.Add(gone, g); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_, _ = tr.Finish(ctx)
	if err := tr.Add(ctx, &image.Gray{Pix: make([]byte, 5), Stride: 64, Rect: g.Rect}); err == nil {
		t.Error("short buffer: no error")
	}
	for range 2 {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := tr.Add(ctx, image.NewGray(image.Rect(0, 0, 320, 240))); err == nil {
		t.Error("after Close: no error")
	}
}
