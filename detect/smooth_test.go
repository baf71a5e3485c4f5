package detect

import (
	"math"
	"math/rand"
	"testing"
)

// walk is a track whose face's frame is known, with noise of so many pixels of the
// 512-pixel crop on each landmark.
func walk(n int, noise float64, pose func(n int) frame) ([]TrackFrame, [][5]Point) {
	rnd := rand.New(rand.NewSource(1))
	frames, truth := make([]TrackFrame, n), make([][5]Point, n)
	for i := range frames {
		f := pose(i)
		frames[i].Seen = true
		for k, c := range canonical {
			p := f.at(c.X, c.Y)
			truth[i][k] = p
			s := noise * f.side() / unit
			frames[i].Landmarks[k] = Point{p.X + s*rnd.NormFloat64(), p.Y + s*rnd.NormFloat64()}
		}
	}
	return frames, truth
}

// furthest is the greatest distance, in pixels of the 512-pixel crop, and where it is.
func furthest(a, b [][5]Point) (worst float64, at int) {
	for i := range a {
		if e := apart(a[i], b[i]) * unit / fitFrame(b[i]).side(); e > worst {
			worst, at = e, i
		}
	}
	return worst, at
}

func swing(n int) frame {
	x := float64(n)
	return newFrame(200+40*math.Sin(x/9), 150+0.5*x, 80*math.Exp(0.002*x), 10*math.Sin(x/12))
}

func TestSmoothNoise(t *testing.T) {
	for _, c := range []struct {
		name        string
		noise, want float64 // the worst error over all pictures, those at the ends too
		pose        func(n int) frame
	}{
		{"exact", 0, 0.8, swing},
		{"swing", 1, 2.0, swing},
		{"even", 1, 1.8, func(n int) frame { return newFrame(100+0.7*float64(n), 150, 80, 5) }},
		{"jump of 149 pixels", 0, 2.0, func(n int) frame { return newFrame(100+40*float64(n/50), 150, 80, 5) }},
	} {
		frames, truth := walk(100, c.noise, c.pose)
		if e, at := furthest(Smooth(frames), truth); e > c.want {
			t.Errorf("%s: error %.2f in picture %d, want under %.2f", c.name, e, at, c.want)
		}
	}
}

// A landmark that is wrong in one picture, and a stretch in which the face wasn't
// seen and the way between is guessed, change little.
func TestSmoothOutliers(t *testing.T) {
	const want = 1.5
	frames, truth := walk(80, 0.5, swing)
	frames[30].Landmarks[2].Y += 8
	for k := range frames[50].Landmarks {
		frames[50].Landmarks[k].X -= 12
	}
	if e, at := furthest(Smooth(frames), truth); e > want {
		t.Errorf("error %.2f in picture %d, want under %v", e, at, want)
	}
}

// What lies further than SmoothRadius makes no difference, so segments agree where
// they overlap.
func TestSmoothLocal(t *testing.T) {
	frames, _ := walk(200, 1, swing)
	frames[90].Landmarks[1].X += 9
	for i := 105; i < 112; i++ {
		frames[i].Seen = false
	}
	whole := Smooth(frames)
	for _, cut := range [][2]int{{0, 120}, {40, 200}, {71, 137}} {
		part := Smooth(frames[cut[0]:cut[1]])
		from, to := cut[0]+SmoothRadius, cut[1]-SmoothRadius
		if cut[0] == 0 {
			from = 0
		}
		if cut[1] == len(frames) {
			to = cut[1]
		}
		if e, at := furthest(part[from-cut[0]:to-cut[0]], whole[from:to]); e > 1e-6 {
			t.Errorf("pictures %v: picture %d is off by %g", cut, from+at, e)
		}
	}
	for _, n := range []int{0, 1, 2, 3, 4} {
		if got := Smooth(frames[:n]); len(got) != n {
			t.Errorf("%d pictures give %d", n, len(got))
		} else if n > 0 {
			if e, _ := furthest(got, whole[:n]); !(e < 6) {
				t.Errorf("%d pictures: off by %g", n, e)
			}
		}
	}
}
