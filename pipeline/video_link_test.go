package pipeline

import (
	"bytes"
	"image"
	"os"
	"path/filepath"
	"testing"

	"restored/detect"
	"restored/media"
)

// moving is a track of n pictures from first, its box at x, y.
func moving(first, n, x, y int, samples ...sample) track {
	t := track{First: first, Score: 1, Samples: samples}
	for i := range n {
		f := detect.TrackFrame{Box: image.Rect(x, y, x+100, y+100), Seen: true}
		for k := range f.Landmarks {
			f.Landmarks[k] = detect.Point{X: float64(x + 10*k + i), Y: float64(y + 50)}
		}
		t.Frames = append(t.Frames, f)
	}
	return t
}

// degraded is a sample that restoration leaves the same person.
func degraded(octaves, who float64) sample {
	d := 0.1
	s := sample{Octaves: octaves, Verdict: FaceRestored, Blend: 1, Identity: &d, IdentityFull: &d, Known: true}
	s.Descriptor[0] = float32(who)
	return s
}

// ticks are n timestamps from first, ten apart.
func ticks(first, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(10 * (first + i))
	}
	return out
}

// linked saves the analyses of as many segments and links them.
func linked(t *testing.T, o Options, parts ...*analysis) (*links, Plan, string) {
	t.Helper()
	dir := t.TempDir()
	p := Plan{Version: planVersion, Settings: "test"}
	p.Video.Streams = []media.Stream{{TimeBase: media.Rational{Num: 1, Den: 250}, Picture: &media.PictureFormat{}}}
	for i, a := range parts {
		a.Version = planVersion
		if err := a.save(analysisPath(dir, i)); err != nil {
			t.Fatal(err)
		}
		p.Segments = append(p.Segments, Segment{From: a.PTS[a.From], To: a.PTS[a.To-1] + 1})
	}
	e := &Engine{o: o, session: session}
	l, err := e.link(&p, dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.link(&p, dir) // from the file now
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Tracks) != len(l.Tracks) || len(again.IDs) != len(l.IDs) {
		t.Errorf("read back: %d tracks of %d segments, want %d of %d", len(again.Tracks), len(again.IDs), len(l.Tracks), len(l.IDs))
	}
	return l, p, dir
}

func videoOptions() Options {
	return Options{Detect: detect.Options{MinFace: 40}, Steps: AutoSteps, Blend: 1, SharpBelow: 0.5, Limit: 0.5}
}

// A face that goes on over the seam is one track with one decision; another
// face is another.
func TestLinkAcrossASeam(t *testing.T) {
	a := &analysis{PTS: ticks(0, 60), From: 0, To: 50, Tracks: []track{
		moving(0, 60, 100, 100, degraded(2, 0)),
		moving(20, 40, 400, 100, degraded(3, 1)),
	}}
	b := &analysis{PTS: ticks(40, 60), From: 10, To: 60, Tracks: []track{
		moving(0, 30, 405, 102, degraded(1, 1)),
		moving(0, 60, 102, 100, degraded(2.2, 0)),
		moving(0, 9, 700, 100, degraded(2, 2)), // in the overlap only, and not in a: nobody's
	}}
	l, _, _ := linked(t, videoOptions(), a, b)
	if len(l.Tracks) != 2 {
		t.Fatalf("%d tracks, want 2: %+v", len(l.Tracks), l.Tracks)
	}
	if got := [][]int{l.IDs[0], l.IDs[1]}; got[0][0] != got[1][1] || got[0][1] != got[1][0] || got[1][2] != -1 {
		t.Errorf("ids %v: the two faces aren't linked", got)
	}
	if l.Tracks[0].Frames != 100 || l.Tracks[1].Frames != 30+20 {
		t.Errorf("%d and %d pictures, want 100 and 50", l.Tracks[0].Frames, l.Tracks[1].Frames)
	}
	if l.frames() != 100 {
		t.Errorf("%d pictures in all, want 100", l.frames())
	}
	for _, v := range l.Tracks {
		if v.Decision != FaceRestored || v.Blend != 1 {
			t.Errorf("track %d: %s, blend %g", v.ID, v.Decision, v.Blend)
		}
	}
}

// Whoever comes back soon is the same person; whoever comes late or looks
// otherwise isn't.
func TestRejoin(t *testing.T) {
	for _, c := range []struct {
		name  string
		start int
		who   float64
		same  bool
	}{
		{"soon, alike", 60, 0.2, true},
		{"soon, another", 60, 0.9, false},
		{"late, alike", 130, 0.2, false}, // 2.5 s after the other's last picture, at 25 a second
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &analysis{PTS: ticks(0, 200), To: 200, Tracks: []track{
				moving(0, 50, 100, 100, degraded(1, 0)),
				moving(c.start, 50, 300, 100, degraded(3, c.who)),
			}}
			l, _, _ := linked(t, videoOptions(), a)
			one := l.Tracks[0].Person == l.Tracks[1].Person
			if one != c.same {
				t.Errorf("one person: %t, want %t", one, c.same)
			}
			if one && (l.Tracks[0].Steps != l.Tracks[1].Steps || l.Tracks[0].Seed != l.Tracks[1].Seed) {
				t.Error("one person with two decisions")
			}
		})
	}
}

func TestDecisions(t *testing.T) {
	far, near := 0.9, 0.2
	other := sample{Octaves: 2, Verdict: FaceIdentity, Identity: &far, IdentityFull: &far}
	half := sample{Octaves: 2, Verdict: FaceRestored, Blend: 0.5, Identity: &near, IdentityFull: &far}
	unknown := sample{Octaves: 2, Verdict: FaceUnverified}
	sharp := sample{Octaves: 0.1, Verdict: FaceSharp}
	keep := videoOptions()
	keep.Unverified = true
	for _, c := range []struct {
		name    string
		o       Options
		samples []sample
		want    Decision
		blend   float64
	}{
		{"plain", videoOptions(), []sample{degraded(2, 0), degraded(2, 0)}, FaceRestored, 1},
		{"none", videoOptions(), nil, FaceLandmarks, 0},
		{"sharp", videoOptions(), []sample{sharp, sharp, degraded(2, 0)}, FaceSharp, 0},
		{"somebody else", videoOptions(), []sample{other, other, degraded(2, 0)}, FaceIdentity, 0},
		{"one bad picture of five", videoOptions(), []sample{degraded(2, 0), other, degraded(2, 0), degraded(2, 0), degraded(2, 0)}, FaceRestored, 1},
		{"half", videoOptions(), []sample{half, half, degraded(2, 0)}, FaceRestored, 0.5},
		{"not to be measured", videoOptions(), []sample{unknown, unknown, degraded(2, 0)}, FaceUnverified, 0},
		{"not to be measured, kept", keep, []sample{unknown}, FaceRestored, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &analysis{PTS: ticks(0, 50), To: 50, Tracks: []track{moving(0, 50, 100, 100, c.samples...)}}
			l, _, _ := linked(t, c.o, a)
			if v := l.Tracks[0]; v.Decision != c.want || v.Blend != c.blend {
				t.Errorf("%q with blend %g, want %q with %g", v.Decision, v.Blend, c.want, c.blend)
			}
		})
	}
}

// The pictures on both sides of a seam get landmarks that were smoothed over the
// same pictures: the segment before and the one after agree.
func TestSmoothAcrossASeam(t *testing.T) {
	whole := &analysis{PTS: ticks(0, 100), To: 100, Tracks: []track{moving(0, 100, 100, 100, degraded(2, 0))}}
	l, p, dir := linked(t, videoOptions(), whole)
	want, err := loadFaces(&p, l, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(from, to, lo, hi int) *analysis {
		a := &analysis{PTS: ticks(from, to-from), From: lo - from, To: hi - from}
		tr := moving(0, 100, 100, 100, degraded(2, 0))
		tr.Frames = tr.Frames[from:to]
		a.Tracks = []track{tr}
		return a
	}
	l, p, dir = linked(t, videoOptions(), cut(0, 60, 0, 50), cut(40, 100, 50, 100))
	for i := range 2 {
		got, err := loadFaces(&p, l, dir, i)
		if err != nil {
			t.Fatal(err)
		}
		for k := range got.of {
			w, g := want.of[50*i+k], got.of[k]
			if len(g) != 1 || g[0].landmarks != w[0].landmarks || g[0].blend != w[0].blend {
				t.Fatalf("picture %d: %+v, as one segment %+v", 50*i+k, g, w)
			}
		}
	}
}

func TestAnalysisFile(t *testing.T) {
	dir := t.TempDir()
	good := &analysis{Version: planVersion, PTS: ticks(0, 10), From: 2, To: 8, Tracks: []track{moving(1, 5, 10, 10)}}
	path := filepath.Join(dir, "a")
	if err := good.save(path); err != nil {
		t.Fatal(err)
	}
	got, err := loadAnalysis(path)
	if err != nil || len(got.Tracks) != 1 || got.Tracks[0].Frames[4] != good.Tracks[0].Frames[4] {
		t.Fatalf("read back %+v, %v", got, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadAnalysis(path); err == nil {
		t.Error("half a file was read")
	}
	for name, bad := range map[string]analysis{
		"another version":        {Version: planVersion + 1, PTS: ticks(0, 10), To: 10},
		"own pictures outside":   {Version: planVersion, PTS: ticks(0, 10), To: 11},
		"timestamps not rising":  {Version: planVersion, PTS: []int64{5, 5}, To: 2},
		"a track without an end": {Version: planVersion, PTS: ticks(0, 10), To: 10, Tracks: []track{moving(8, 5, 0, 0)}},
		"a track without a face": {Version: planVersion, PTS: ticks(0, 10), To: 10, Tracks: []track{{First: 3}}},
	} {
		if err := bad.save(path); err != nil {
			t.Fatal(err)
		}
		if _, err := loadAnalysis(path); err == nil {
			t.Errorf("%s: read without an error", name)
		}
	}
}

func FuzzReadAnalysis(f *testing.F) {
	dir := f.TempDir()
	a := &analysis{Version: planVersion, PTS: ticks(0, 10), To: 10, Tracks: []track{moving(1, 5, 10, 10, degraded(2, 0))}}
	path := filepath.Join(dir, "a")
	if err := a.save(path); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(_ *testing.T, data []byte) {
		a, err := readAnalysis(bytes.NewReader(data))
		if err != nil {
			return
		}
		for i := range a.Tracks { // what was accepted can be walked
			for k := a.Tracks[i].First; k < a.Tracks[i].end(); k++ {
				_ = a.PTS[k]
				_ = a.Tracks[i].frame(k).Box
			}
		}
	})
}
