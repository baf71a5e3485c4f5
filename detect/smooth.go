package detect

import (
	"math"
	"slices"
)

// SmoothRadius is how many different pictures to either side Smooth looks at: what
// lies further makes no difference.
const SmoothRadius = 32

// Smoothing works on the mean of a face's points, the log of its size, its
// angle, and the shape of its points in its frame. All count in pixels of the
// 512-pixel crop, in which a frame's side is some unit pixels and the points lie
// arm pixels from their mean.
const (
	unit = 298
	arm  = 66
)

const (
	// noiseReach is from how many pictures to either side the noise is learned,
	// widthReach over how many the windows' widths are evened.
	noiseReach = 8
	widthReach = 4
	// leastNoise, in pixels, is taken for granted.
	leastNoise = 0.3
	// filled is the weight of a picture in which the face wasn't seen.
	filled = 0.1
	// stiff keeps curvature out of windows that hold little of it, as at a
	// track's ends.
	stiff = 0.002
)

// widths are the half-widths of the windows that are tried, in pictures. With
// what is added to it, the widest stays within SmoothRadius.
var widths = [...]float64{1.6, 2.5, 3.5, 5, 7, 10, 13}

// Smooth gives the landmarks of a track's consecutive pictures without the
// predictor's noise and without lag: each is a robust local parabola through
// those about it, over a window as wide as the motion lets it be. What wasn't
// seen counts little. Pictures that only repeat the one before (Repeat, Held) have
// its landmarks, and count as one with it: the motion stands still in them.
func Smooth(frames []TrackFrame) [][5]Point {
	out := make([][5]Point, len(frames))
	if len(frames) == 0 {
		return out
	}
	different, of := merge(frames)
	smooth := smoothed(different)
	for i := range out {
		out[i] = smooth[of[i]]
	}
	return out
}

// merge makes one of a picture and those that repeat it, with the mean of the
// landmarks that were seen in them. of gives the place of each in the result.
func merge(frames []TrackFrame) (different []TrackFrame, of []int) {
	of = make([]int, len(frames))
	count := 0.0 // of those that make the last one
	for i, f := range frames {
		switch {
		case i == 0 || !f.Repeat && !f.Held:
			different, count = append(different, f), 1
		case f.Seen:
			last := &different[len(different)-1]
			if !last.Seen {
				*last, count = f, 0
			}
			count++
			for k, p := range f.Landmarks {
				q := &last.Landmarks[k]
				*q = Point{q.X + (p.X-q.X)/count, q.Y + (p.Y-q.Y)/count}
			}
		}
		of[i] = len(different) - 1
	}
	return different, of
}

// smoothed does Smooth's work on pictures that differ.
func smoothed(frames []TrackFrame) [][5]Point {
	out := make([][5]Point, len(frames))
	s := newSeries(frames)
	for _, g := range s.groups() {
		g.learnNoise(s.weight)
		g.outliers(s.keep)
	}
	for i, k := range s.keep {
		s.weight[i] *= k
	}
	for _, g := range s.groups() {
		g.smooth(s.weight)
	}
	for i := range out {
		out[i] = s.points(i)
	}
	return out
}

// series are a track's parameters, picture by picture.
type series struct {
	weight, keep []float64
	place        group // x, y of the points' mean
	size, turn   group
	shape        group // x, y of each point in the frame
}

// group are channels that share their noise and their windows.
type group struct {
	channels [][]float64
	pixel    []float64 // pixels of the crop in one of the channels' units
	noise    []float64 // in pixels of the crop
}

func (s *series) groups() []*group { return []*group{&s.place, &s.size, &s.turn, &s.shape} }

func newSeries(frames []TrackFrame) *series {
	n := len(frames)
	s := &series{weight: make([]float64, n), keep: make([]float64, n)}
	for i, g := range s.groups() {
		g.channels = make([][]float64, [...]int{2, 1, 1, 2 * parts}[i])
		for c := range g.channels {
			g.channels[c] = make([]float64, n)
		}
		g.pixel = make([]float64, n)
	}
	for i, f := range frames {
		pose := fitFrame(f.Landmarks)
		turn := pose.degrees() * math.Pi / 180
		if i > 0 {
			last := s.turn.channels[0][i-1]
			turn = last + math.Remainder(turn-last, 2*math.Pi)
		}
		s.turn.channels[0][i] = turn
		s.size.channels[0][i] = math.Log(pose.side())
		shape := pose.shape(f.Landmarks)
		for k, p := range f.Landmarks {
			s.place.channels[0][i] += p.X / parts
			s.place.channels[1][i] += p.Y / parts
			s.shape.channels[2*k][i], s.shape.channels[2*k+1][i] = shape[k].X, shape[k].Y
		}
		s.place.pixel[i], s.size.pixel[i], s.turn.pixel[i], s.shape.pixel[i] = unit/pose.side(), arm, arm, unit
		s.weight[i], s.keep[i] = filled, 1
		if f.Seen {
			s.weight[i] = 1
		}
	}
	return s
}

// points puts the landmarks of picture i together again.
func (s *series) points(i int) (pts [parts]Point) {
	f := newFrame(0, 0, math.Exp(s.size.channels[0][i]), s.turn.channels[0][i]*180/math.Pi)
	var mean Point
	for k := range pts {
		pts[k] = f.at(s.shape.channels[2*k][i], s.shape.channels[2*k+1][i])
		mean.X += pts[k].X / parts
		mean.Y += pts[k].Y / parts
	}
	for k := range pts {
		pts[k].X += s.place.channels[0][i] - mean.X
		pts[k].Y += s.place.channels[1][i] - mean.Y
	}
	return pts
}

// learnNoise estimates each picture's noise from third differences, which
// smooth motion hardly has.
func (g *group) learnNoise(weight []float64) {
	n := len(g.pixel)
	norm := make([]float64, n) // of the difference about i, or −1
	for i := range norm {
		norm[i] = -1
		if i < 1 || i+2 >= n || min(weight[i-1], weight[i], weight[i+1], weight[i+2]) < 1 {
			continue
		}
		var sum float64
		for _, c := range g.channels {
			d := (c[i+2] - 3*c[i+1] + 3*c[i] - c[i-1]) * g.pixel[i]
			sum += d * d
		}
		norm[i] = math.Sqrt(sum / 20 / float64(len(g.channels)))
	}
	// The median of the root mean square of k normal values, for σ = 1.
	usual := [...]float64{1: 0.674, 2: 0.833, 3: 0.97}[min(len(g.channels), 3)]
	g.noise = make([]float64, n)
	var near []float64
	for i := range g.noise {
		near = near[:0]
		for _, v := range norm[max(0, i-noiseReach):min(n, i+noiseReach+1)] {
			if v >= 0 {
				near = append(near, v)
			}
		}
		g.noise[i] = max(leastNoise, median(near)/usual)
	}
}

// outliers sets keep to 0 where a picture's value stands out by itself: neither
// the motion before nor that after leads to it, nor the way between.
func (g *group) outliers(keep []float64) {
	n := len(g.pixel)
	const limit = 7 // times the noise
	off := make([]float64, n)
	for i := 2; i < n-2; i++ {
		var before, after, between float64
		for _, c := range g.channels {
			before += sq(c[i] - 2*c[i-1] + c[i-2])
			after += sq(c[i] - 2*c[i+1] + c[i+2])
			between += sq(c[i] - (4*(c[i-1]+c[i+1])-c[i-2]-c[i+2])/6)
		}
		off[i] = math.Sqrt(min(before, after, between)/float64(len(g.channels))) * g.pixel[i]
	}
	for i := 2; i < n-2; i++ {
		if off[i] > limit*g.noise[i] && off[i] > max(off[i-2], off[i-1], off[i+1], off[i+2]) {
			keep[i] = 0
		}
	}
}

func sq(v float64) float64 { return v * v }

// smooth replaces the channels by their smooth course.
func (g *group) smooth(weight []float64) {
	n := len(g.pixel)
	logs := make([]float64, n)
	for i := range logs {
		logs[i] = math.Log(g.width(i, weight))
	}
	least := make([]float64, n)
	for i := range least {
		least[i] = slices.Min(logs[max(0, i-widthReach):min(n, i+widthReach+1)])
	}
	smooth := make([][]float64, len(g.channels))
	for c := range smooth {
		smooth[c] = make([]float64, n)
	}
	var k kernel
	value := make([]float64, len(g.channels))
	for i := range n {
		var sum, total float64
		for d := -widthReach; d <= widthReach; d++ {
			if j := i + d; j >= 0 && j < n {
				w := float64(widthReach + 1 - max(d, -d))
				sum, total = sum+w*least[j], total+w
			}
		}
		g.fit(&k, i, math.Exp(sum/total), weight, value)
		for c := range smooth {
			smooth[c][i] = value[c]
		}
	}
	g.channels = smooth
}

// width is the half-width of the widest window about picture i whose parabola
// agrees with those of all narrower ones, within the noise (Lepski's rule).
func (g *group) width(i int, weight []float64) float64 {
	var k kernel
	var values [len(widths)][]float64
	var errs [len(widths)]float64
	slack := 1 + 1.3/math.Sqrt(float64(len(g.channels)))
	for w, h := range widths {
		values[w] = make([]float64, len(g.channels))
		errs[w] = g.fit(&k, i, h, weight, values[w])
		for v := range w {
			var sum float64
			for c, x := range values[w] {
				d := (x - values[v][c]) * g.pixel[i]
				sum += d * d
			}
			if math.Sqrt(sum/float64(len(g.channels))) > slack*errs[v] {
				return widths[w-1]
			}
		}
	}
	return widths[len(widths)-1]
}

// kernel are weighted pictures about one, and the parabolas through them.
type kernel struct {
	from, at int       // first picture, and the one in question
	weights  []float64 // of the pictures from from on
	inverse  [3][3]float64
	curve    [][3]float64 // of each channel: value, slope, curvature at the picture
}

// fit puts the value of a parabola over the window of half-width h about picture
// i into value. What is far off that parabola counts less in a second one. It
// gives the value's standard error in pixels.
func (g *group) fit(k *kernel, i int, h float64, weight, value []float64) float64 {
	reach := int(math.Ceil(h)) - 1
	k.from, k.at = max(0, i-reach), i
	k.weights = k.weights[:0]
	for j := k.from; j < min(len(weight), i+reach+1); j++ {
		u := math.Abs(float64(j-i)) / h
		u = 1 - u*u*u
		k.weights = append(k.weights, u*u*u*weight[j])
	}
	k.solve(h)
	k.pass(g.channels)
	if reach > 3 {
		limit := 4 * g.noise[i]
		for j := range k.weights {
			if off := k.off(g, j) / limit; off < 1 {
				k.weights[j] *= (1 - off*off) * (1 - off*off)
			} else {
				k.weights[j] *= 1e-3
			}
		}
		k.solve(h)
		k.pass(g.channels)
	}
	for c, v := range k.curve {
		value[c] = v[0]
	}
	var sum float64
	for j, w := range k.weights {
		d := float64(k.from + j - i)
		w *= k.inverse[0][0] + d*k.inverse[0][1] + d*d*k.inverse[0][2]
		sum += w * w
	}
	return g.noise[i] * math.Sqrt(sum)
}

// solve inverts the normal equations of a parabola.
func (k *kernel) solve(h float64) {
	var m [5]float64 // weighted sums of the powers of the distance
	for j, w := range k.weights {
		d := float64(k.from + j - k.at)
		for p := range m {
			m[p] += w
			w *= d
		}
	}
	// Even a single picture gives a value, and two a slope.
	m22 := m[4] + stiff*m[0]*h*h*h*h
	m11 := m[2] + 1e-9*m[0]*h*h
	c00, c01, c02 := m11*m22-m[3]*m[3], m[2]*m[3]-m[1]*m22, m[1]*m[3]-m11*m[2]
	c11, c12, c22 := m[0]*m22-m[2]*m[2], m[1]*m[2]-m[0]*m[3], m[0]*m11-m[1]*m[1]
	det := m[0]*c00 + m[1]*c01 + m[2]*c02
	k.inverse = [3][3]float64{
		{c00 / det, c01 / det, c02 / det}, {c01 / det, c11 / det, c12 / det}, {c02 / det, c12 / det, c22 / det},
	}
}

// pass lays a parabola through each channel.
func (k *kernel) pass(channels [][]float64) {
	k.curve = k.curve[:0]
	for _, ch := range channels {
		var b [3]float64
		for j, w := range k.weights {
			d := float64(k.from + j - k.at)
			x := w * (ch[k.from+j] - ch[k.at])
			b[0] += x
			b[1] += d * x
			b[2] += d * d * x
		}
		var c [3]float64
		for r := range c {
			c[r] = k.inverse[r][0]*b[0] + k.inverse[r][1]*b[1] + k.inverse[r][2]*b[2]
		}
		c[0] += ch[k.at]
		k.curve = append(k.curve, c)
	}
}

// off is how far the window's picture j is from its parabolas, in pixels.
func (k *kernel) off(g *group, j int) float64 {
	d := float64(k.from + j - k.at)
	var sum float64
	for c, ch := range g.channels {
		v := (ch[k.from+j] - k.curve[c][0] - d*k.curve[c][1] - d*d*k.curve[c][2]) * g.pixel[k.at]
		sum += v * v
	}
	return math.Sqrt(sum / float64(len(g.channels)))
}
