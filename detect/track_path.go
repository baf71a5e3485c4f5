package detect

import (
	"image"
	"math"
	"slices"
	"sort"
)

// step is what a path keeps of a picture.
type step struct {
	pts          [parts]Point
	seen, repeat bool
	change       float32 // of the face's box since the picture before, in gray levels
	known        bool    // change is
}

// path is a track in the making: one step for each picture from first on,
// without gaps.
type path struct {
	id     int
	first  int
	steps  []step
	scores []float64 // of the scans that found it
	scans  int       // how many there were, also those that didn't
	sure   int       // last picture that has the face for certain
	found  int       // last picture in which a scan found it
	missed bool      // a scan since found didn't
	lost   int       // since which picture it is lost, or −1
	cut    bool      // lost to a cut
	shot   int       // first picture of its shot
	thumb  thumb     // how it looked when last seen
	known  thumb     // how it looked when a scan last found it
}

func (p *path) end() int { return p.first + len(p.steps) }

// at is the step of a picture in which the face was seen, or nil.
func (p *path) at(n int) *step {
	if n < p.first || n >= p.end() || !p.steps[n-p.first].seen {
		return nil
	}
	return &p.steps[n-p.first]
}

// repeat adds a picture that is the same as the one before.
func (p *path) repeat(n int) {
	s := p.steps[len(p.steps)-1]
	s.repeat, s.change, s.known = true, 0, true
	p.steps = append(p.steps, s)
	if p.lost < 0 && p.sure == n-1 {
		p.sure = n
	}
	if p.found == n-1 {
		p.found = n
	}
}

// see adds a picture with the face.
func (p *path) see(n int, l look) {
	if p.lost >= 0 {
		p.fill(n, l)
	}
	p.steps = append(p.steps, step{pts: l.pts, seen: true})
	p.lost, p.cut = -1, false
	p.thumb = l.thumb
	if !p.missed {
		p.sure = n
	}
}

// lose adds a picture without the face.
func (p *path) lose(n int) {
	if p.lost < 0 {
		p.lost = n
	}
	p.steps = append(p.steps, step{pts: p.steps[len(p.steps)-1].pts})
}

// unsee takes the newest picture back.
func (p *path) unsee(n int) {
	p.steps = p.steps[:len(p.steps)-1]
	if p.sure == n {
		p.sure = n - 1
	}
	p.lose(n)
}

// confirm notes that a scan found the face in picture n, the newest.
func (p *path) confirm(n int, score float64) {
	p.scores = append(p.scores, score)
	p.scans++
	p.missed = false
	p.sure, p.found = n, n
	p.known = p.thumb
}

// miss notes that a scan didn't.
func (p *path) miss() {
	p.missed = true
	p.scans++
	p.sure = min(p.sure, p.found)
}

// fill sets the steps since the face was lost on the way to where it is in
// picture n.
func (p *path) fill(n int, l look) {
	from := p.lost - p.first - 1
	if from < 0 {
		return
	}
	a, b := fitFrame(p.steps[from].pts), fitFrame(l.pts)
	shapeA, shapeB := a.shape(p.steps[from].pts), b.shape(l.pts)
	for i := from + 1; i < len(p.steps); i++ {
		k := float64(i-from) / float64(n-p.first-from)
		f := a.between(b, k)
		for j := range shapeA {
			q := Point{shapeA[j].X + k*(shapeB[j].X-shapeA[j].X), shapeA[j].Y + k*(shapeB[j].Y-shapeA[j].Y)}
			p.steps[i].pts[j] = f.at(q.X, q.Y)
		}
	}
}

// shape gives points in the frame's own coordinates: at is its inverse.
func (f frame) shape(pts [parts]Point) (out [parts]Point) {
	n := f.ax*f.ax + f.ay*f.ay
	for i, p := range pts {
		x, y := p.X-f.ox, p.Y-f.oy
		out[i] = Point{(x*f.ax + y*f.ay) / n, (y*f.ax - x*f.ay) / n}
	}
	return out
}

// between is a frame on the way from f to g: centre, log of the size and angle
// in even steps.
func (f frame) between(g frame, k float64) frame {
	a, b := f.at(0.5, 0.5), g.at(0.5, 0.5)
	turn := math.Remainder(g.degrees()-f.degrees(), 360)
	return newFrame(a.X+k*(b.X-a.X), a.Y+k*(b.Y-a.Y),
		f.side()*math.Pow(g.side()/f.side(), k), f.degrees()+k*turn)
}

func (f frame) degrees() float64 { return math.Atan2(f.ay, f.ax) * 180 / math.Pi }

// predict is where the face should be in the next picture.
func (p *path) predict() frame {
	last := p.steps[len(p.steps)-1]
	f := fitFrame(last.pts)
	if p.lost >= 0 || len(p.steps) < 2 {
		return f
	}
	i := len(p.steps) - 2
	for i > 0 && p.steps[i+1].repeat {
		i--
	}
	if !p.steps[i].seen {
		return f
	}
	// Half of the way: a face that stops isn't overrun, one that moves is kept.
	a, b := fitFrame(p.steps[i].pts).at(0.5, 0.5), f.at(0.5, 0.5)
	const follow = 0.6
	f.ox += follow * (b.X - a.X)
	f.oy += follow * (b.Y - a.Y)
	return f
}

// thumb is how a face looks within its frame, set to mean 0 and length 1.
const thumbN = 16

type thumb [thumbN * thumbN]float32

// like is the correlation of two thumbs, −1 to 1.
func (t *thumb) like(o *thumb) float64 {
	var sum float64
	for i := range t {
		sum += float64(t[i]) * float64(o[i])
	}
	return sum
}

// thumbOf samples a crop of cropFrame at a frame that is given in the crop's
// own pixels.
func thumbOf(crop *plane, f frame) (t thumb) {
	const over = 3 // samples each way for a cell
	line := make([]uint8, thumbN*over)
	for y := range thumbN * over {
		v := (float64(y) + 0.5) / (thumbN * over)
		const half = 0.5 / (thumbN * over)
		sampleLine(crop, f.at(half, v), f.at(1-half, v), line)
		for x, s := range line {
			t[y/over*thumbN+x/over] += float32(s)
		}
	}
	var mean, length float32
	for _, v := range t {
		mean += v / (thumbN * thumbN)
	}
	for i := range t {
		t[i] -= mean
		length += t[i] * t[i]
	}
	if length = float32(math.Sqrt(float64(length))); length > 1 {
		for i := range t {
			t[i] /= length
		}
	}
	return t
}

// report gives the paths that are done as tracks.
func (t *Tracker) report() []Track {
	tracks := make([]Track, 0, len(t.done))
	for _, p := range t.done {
		tr := Track{
			ID: p.id, First: p.first, Scans: len(p.scores), Score: median(p.scores),
			FromCut: p.first == p.shot, ToCut: p.cut && p.end() == p.lost || p.end() > t.n,
		}
		holds := held(p.steps)
		for i, s := range p.steps {
			f := t.frameOf(s)
			f.Held = holds[i]
			tr.Frames = append(tr.Frames, f)
		}
		tracks = append(tracks, tr)
	}
	sort.SliceStable(tracks, func(i, j int) bool {
		a, b := tracks[i], tracks[j]
		if a.First != b.First {
			return a.First < b.First
		}
		return a.Frames[0].Landmarks[4].X < b.Frames[0].Landmarks[4].X
	})
	return tracks
}

// frameOf is a step as the result has it.
func (t *Tracker) frameOf(s step) TrackFrame {
	return TrackFrame{
		Box:       fitFrame(s.pts).box().Intersect(image.Rectangle{Max: t.size}),
		Landmarks: s.pts, Seen: s.seen, Repeat: s.repeat,
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
