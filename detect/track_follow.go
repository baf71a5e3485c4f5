package detect

import (
	"context"
	"fmt"
	"image"
	"math"
)

// look is what the predictor says about a face in a picture.
type look struct {
	pts    [parts]Point
	pose   frame
	spread float64 // how far the points follow the boxes: 0 not at all, 1 wholly
	thumb  thumb
}

const (
	// A look is taken again from the pose it found if that is further off than
	// the predictor's training had it, in parts of the side and in degrees.
	offPlace, offSize, offTurn = 0.10, 0.12, 8
	// A face can't have moved more since the picture before.
	farPlace, farSize, farTurn = 0.35, 0.30, 20
	// loose is the spread of points that hold on to nothing.
	loose = 0.75
	// A face looks like itself in the picture before; below familiar a scan is
	// asked, below strange it isn't the face. What was lost for a while has to
	// look like it did, or it is another track: people are like each other by
	// up to 0.77.
	familiar, strange, again = 0.85, 0.60, 0.80
)

// lookAt finds the landmarks of the face about a frame.
func (t *Tracker) lookAt(pic *picture, f frame) (look, error) {
	l, err := t.lookOnce(pic, f)
	if err != nil || wild(f, l.pose) {
		return l, err
	}
	if place, size, turn := f.apart(l.pose); place > offPlace || size > offSize || turn > offTurn {
		return t.lookOnce(pic, l.pose)
	}
	return l, nil
}

func (t *Tracker) lookOnce(pic *picture, f frame) (look, error) {
	t.stats.Looks++
	crop := cropFrame(pic.read(), t.size, f, cropFace, cropEdge)
	each, err := t.scanner.predictEach(crop.pixels(), jitter)
	if err != nil {
		return look{}, err
	}
	var l look
	l.pts = meanPoints(each)
	l.spread = spread(each, l.pts)
	l.thumb = thumbOf(crop, fitFrame(l.pts))
	for i, p := range l.pts {
		l.pts[i] = f.at((p.X-cropEdge)/(cropFace-1), (p.Y-cropEdge)/(cropFace-1))
	}
	l.pose = fitFrame(l.pts)
	return l, nil
}

// spread compares how far the points of the boxes lie apart with how far the
// boxes do.
func spread(each [][parts]Point, mean [parts]Point) float64 {
	var points, boxes float64
	for k, pts := range each {
		var dx, dy float64
		for i, p := range pts {
			dx += (p.X - mean[i].X) / parts
			dy += (p.Y - mean[i].Y) / parts
		}
		points += dx*dx + dy*dy
		bx, by := float64(jitter[k].Min.X-cropEdge), float64(jitter[k].Min.Y-cropEdge)
		boxes += bx*bx + by*by
	}
	return math.Sqrt(points / boxes)
}

// apart says how far two frames are apart: the centres in parts of the side,
// the sizes as a ratio less 1, the angles in degrees.
func (f frame) apart(g frame) (place, size, turn float64) {
	a, b := f.at(0.5, 0.5), g.at(0.5, 0.5)
	place = math.Hypot(a.X-b.X, a.Y-b.Y) / f.side()
	size = math.Abs(math.Expm1(math.Log(g.side() / f.side())))
	return place, size, math.Abs(math.Remainder(g.degrees()-f.degrees(), 360))
}

// inside says whether a frame's centre lies in the picture.
func (t *Tracker) inside(f frame) bool {
	c := f.at(0.5, 0.5)
	return c.X >= 0 && c.Y >= 0 && c.X < float64(t.size.X) && c.Y < float64(t.size.Y)
}

// seek looks for the face that was at a frame, or should be, and looked like
// known. ok says that it is there.
func (t *Tracker) seek(pic *picture, f frame, known *thumb) (l look, ok bool, err error) {
	if !t.inside(f) {
		return l, false, nil
	}
	if l, err = t.lookAt(pic, f); err != nil {
		return l, false, err
	}
	place, size, turn := f.apart(l.pose)
	if !(place < farPlace && size < farSize && turn < farTurn) || !t.inside(l.pose) || l.spread > 1 {
		return l, false, nil
	}
	like := l.thumb.like(known)
	if like < strange {
		return l, false, nil
	}
	if like < familiar || l.spread > loose {
		_, ok, err = t.proof(pic, l.pose)
		return l, ok, err
	}
	return l, true, nil
}

// proof scans the crop about a pose. ok says that the score is enough for a
// face that is known already.
func (t *Tracker) proof(pic *picture, pose frame) (score float64, ok bool, err error) {
	t.stats.Proofs++
	score, ok, err = t.scanner.proof(pic.read(), t.size, pose)
	return score, ok && score >= t.opt.Threshold-weak, err
}

// follow looks for every live path in a new picture.
func (t *Tracker) follow(ctx context.Context, pic *picture) error {
	n := pic.first
	for _, p := range t.live {
		if p.lost >= 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("detect: %w", err)
		}
		l, ok, err := t.seek(pic, p.predict(), &p.thumb)
		if err != nil {
			return err
		}
		if ok {
			p.see(n, l)
		} else {
			p.lose(n)
		}
	}
	t.part(n)
	for _, p := range t.live {
		if p.end() > n && p.lost < 0 {
			continue
		}
		l, score, err := t.regain(pic, p)
		if err != nil {
			return err
		}
		if found := !math.IsInf(score, -1); found {
			p.steps = p.steps[:n-p.first]
			p.see(n, l)
			p.confirm(n, score)
		} else if p.end() == n {
			p.lose(n)
		}
	}
	return nil
}

// part takes a face from all but one of the paths that are on it.
func (t *Tracker) part(n int) {
	for i, p := range t.live {
		for _, q := range t.live[:i] {
			a, b := p.at(n), q.at(n)
			if a == nil || b == nil || !same(fitFrame(a.pts).box(), fitFrame(b.pts).box()) {
				continue
			}
			worse := p
			if len(q.scores) < 2 && len(q.scores) < len(p.scores) ||
				q.thumb.like(&q.known) < p.thumb.like(&p.known) && len(p.scores) >= 2 {
				worse = q
			}
			worse.unsee(n)
		}
	}
}

// Where a lost face is sought: a scan of the crop about the place where it was,
// at regainFace pixels for the face and as many about it.
const regainFace, regainEdge = 100, 100

// regain scans the surroundings of a lost path for its face. The score is −Inf
// where it isn't found.
func (t *Tracker) regain(pic *picture, p *path) (l look, score float64, err error) {
	score = math.Inf(-1)
	f := fitFrame(p.steps[len(p.steps)-1].pts)
	if p.cut || p.lost >= 0 && pic.first-p.lost > t.opt.Every || !t.inside(f) {
		return l, score, nil
	}
	t.stats.Proofs++
	crop := cropFrame(pic.read(), t.size, f, regainFace, regainEdge)
	hits, err := t.scanner.Scan(crop.pixels(), false, t.opt.Threshold-weak/2)
	if err != nil {
		return l, score, err
	}
	best := again
	for _, h := range hits {
		b := boxFrame(h.Box)
		c := b.at(0.5, 0.5)
		at := func(v float64) float64 { return (v - regainEdge) / (regainFace - 1) }
		c = f.at(at(c.X), at(c.Y))
		g := newFrame(c.X, c.Y, b.side()*f.side()/(regainFace-1), f.degrees())
		if size := g.side() / f.side(); size < 0.6 || size > 1.7 {
			continue
		}
		m, fits, err := t.claim(pic, g)
		if err != nil {
			return l, score, err
		}
		if !fits {
			continue
		}
		if like := m.thumb.like(&p.thumb); like > best {
			best, l, score = like, m, h.Score
		}
	}
	return l, score, nil
}

// claim looks at a hit's frame. ok says that there is a face, and that no path
// has it.
func (t *Tracker) claim(pic *picture, f frame) (l look, ok bool, err error) {
	if !t.inside(f) || t.taken(pic.first, f.box()) {
		return l, false, nil
	}
	if l, err = t.lookAt(pic, f); err != nil {
		return l, false, err
	}
	return l, !wild(f, l.pose) && t.inside(l.pose) && l.spread < 1 && !t.taken(pic.first, l.pose.box()), nil
}

// taken says whether a path has its face in that box of a picture.
func (t *Tracker) taken(n int, box image.Rectangle) bool {
	for _, list := range [][]*path{t.live, t.done} {
		for _, p := range list {
			if s := p.at(n); s != nil && same(fitFrame(s.pts).box(), box) {
				return true
			}
		}
	}
	return false
}
