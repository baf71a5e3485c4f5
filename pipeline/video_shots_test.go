package pipeline

import (
	"image"
	"math"
	"testing"

	"restored/media"
)

func videoPlan(f media.PictureFormat) *Plan {
	return &Plan{
		Video: media.Video{Streams: []media.Stream{{Kind: media.KindVideo, TimeBase: media.Rational{Num: 1, Den: 100}, Picture: &f}}},
		Index: media.Index{First: 1000},
	}
}

// However long a track is, its shots lie at its quarters, and little is kept.
func TestShots(t *testing.T) {
	p := videoPlan(media.PictureFormat{Width: 200, Height: 100})
	for _, n := range []int{0, 1, 2, 3, 4, 5, 63, 64, 65, 128, 129, 1000, 100_000} {
		var m moments
		for i := range n {
			m.add(1000+100*int64(i), image.Rect(20, 10, 60, 60))
			if len(m.kept) > maxMoments {
				t.Fatalf("%d moments are kept", len(m.kept))
			}
		}
		shots := m.shots(p)
		if want := min(n, shotsOfTrack); len(shots) != want && !(n == 2 && len(shots) == 2) {
			t.Fatalf("%d pictures: %d shots", n, len(shots))
		}
		last := -1.0
		for i, s := range shots {
			if s.At <= last || s.At > float64(n-1) || s.Left != 0.1 || s.Top != 0.1 || s.Width != 0.2 || s.Height != 0.5 {
				t.Errorf("%d pictures: shot %d is %+v", n, i, s)
			}
			if want := float64(n) * float64(i+1) / 4; n >= 64 && math.Abs(s.At-want) > float64(n)/16 {
				t.Errorf("%d pictures: shot %d is at %g s, want about %g", n, i, s.At, want)
			}
			last = s.At
		}
	}
}

// What a container doesn't say isn't a place.
func TestShotsOfNothing(t *testing.T) {
	p := videoPlan(media.PictureFormat{})
	var m moments
	m.add(1000, image.Rect(0, 0, 1, 1))
	if shots := m.shots(p); shots != nil {
		t.Errorf("%+v", shots)
	}
}

// A box is where players show it.
func TestShown(t *testing.T) {
	box := image.Rect(20, 10, 60, 60)
	for _, c := range []struct {
		f    media.PictureFormat
		want Shot
	}{
		{media.PictureFormat{}, Shot{0, 0.1, 0.1, 0.2, 0.5}},
		{media.PictureFormat{Flip: true}, Shot{0, 0.7, 0.1, 0.2, 0.5}},
		{media.PictureFormat{Rotation: 90}, Shot{0, 0.4, 0.1, 0.5, 0.2}},
		{media.PictureFormat{Rotation: 180}, Shot{0, 0.7, 0.4, 0.2, 0.5}},
		{media.PictureFormat{Rotation: 270}, Shot{0, 0.1, 0.7, 0.5, 0.2}},
	} {
		c.f.Width, c.f.Height = 200, 100
		got := shown(box, newGeometry(&c.f), &c.f)
		for _, d := range []float64{got.Left - c.want.Left, got.Top - c.want.Top, got.Width - c.want.Width, got.Height - c.want.Height} {
			if math.Abs(d) > 1e-9 {
				t.Errorf("rotation %d, flip %v: %+v, want %+v", c.f.Rotation, c.f.Flip, got, c.want)
			}
		}
	}
}
