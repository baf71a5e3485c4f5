package detect

import (
	"context"
	"fmt"
	"image"
	"math"
)

// scanDue says whether the newest picture is to be scanned as a whole.
func (t *Tracker) scanDue() bool {
	since := t.n - t.lastScan
	if t.lastScan < t.shot || since >= t.opt.Every {
		return true
	}
	// Where a face was just lost nearby scans didn't help. It may have moved
	// further; look once, and again half way.
	for _, p := range t.live {
		if p.lost == t.n && !p.cut && since >= t.opt.Every/2 {
			return true
		}
	}
	return false
}

// scan finds faces in a picture, confirms the paths that are on one, takes lost
// paths up again and begins new ones.
func (t *Tracker) scan(ctx context.Context, pic *picture) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	t.lastScan = pic.first
	hits, err := t.hits(pic)
	if err != nil {
		return err
	}
	if hits, err = t.confirm(pic, hits); err != nil {
		return err
	}
	for _, c := range hits {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("detect: %w", err)
		}
		if c.score < t.opt.Threshold-hopeful || math.Round(c.frame.side())+1 < float64(t.opt.MinFace) {
			continue
		}
		l, ok, err := t.claim(pic, c.frame)
		if err != nil {
			return err
		}
		if ok && c.score < t.opt.Threshold+doubtful {
			var score float64
			score, ok, err = t.proof(pic, l.pose)
			if err != nil {
				return err
			}
			c.score = (c.score + score) / 2
			ok = ok && c.score >= t.opt.Threshold-hopeful/2
		}
		if !ok {
			continue
		}
		if err := t.begin(pic, c, l); err != nil {
			return err
		}
	}
	return nil
}

// hits scans the whole picture, small enough for MaxPixels. The hits are in the
// picture's pixels, the best first, also those that only confirm.
func (t *Tracker) hits(pic *picture) ([]candidate, error) {
	size := scanSize(t.size, t.opt.MinFace, t.opt.MaxPixels)
	if !scannable(size) {
		return nil, nil
	}
	t.stats.Scans++
	img := resample(pic.read(), image.Rectangle{Max: t.size}, size.X, size.Y)
	shrunk := min(1, float64(size.X)/float64(t.size.X))
	if full := (&plane{pix: pic.luma.Pix, w: t.size.X, h: t.size.Y}); full.grain()*shrunk > grainy {
		img = img.blurred()
	}
	var found []candidate
	if t.opt.Turn == 0 {
		hits, err := t.scanner.Scan(img.pixels(), false, t.opt.Threshold-weak)
		if err != nil {
			return nil, err
		}
		for _, h := range hits {
			found = append(found, candidate{score: h.Score, frame: boxFrame(h.Box)})
		}
	} else {
		var err error
		if found, err = t.scanner.scanTurned(img, t.upright(), t.opt.Threshold-weak); err != nil {
			return nil, err
		}
	}
	kx, ky := float64(t.size.X)/float64(size.X), float64(t.size.Y)/float64(size.Y)
	for i, c := range found {
		o := c.frame.at(0.5, 0.5)
		found[i].frame = newFrame((o.X+0.5)*kx-0.5, (o.Y+0.5)*ky-0.5, c.frame.side()*math.Sqrt(kx*ky), t.upright())
	}
	return found, nil
}

// upright is the angle of an upright face in what Add is given.
func (t *Tracker) upright() float64 { return -float64(t.opt.Turn) }

// confirm gives each path that is in the picture the best hit on its face, and
// looks once more where there is none. It returns the hits left.
func (t *Tracker) confirm(pic *picture, hits []candidate) ([]candidate, error) {
	n := pic.first
	used := make([]bool, len(hits))
	for _, p := range t.live {
		s := p.at(n)
		if s == nil {
			continue
		}
		pose := fitFrame(s.pts)
		score, ok := 0.0, false
		for i, h := range hits {
			if !same(h.frame.box(), pose.box()) {
				continue
			}
			used[i] = true
			if place, _, _ := h.frame.apart(pose); !ok && place < farPlace && !wild(h.frame, pose) {
				score, ok = h.score, true
			}
		}
		if !ok {
			var err error
			if score, ok, err = t.proof(pic, pose); err != nil {
				return nil, err
			}
		}
		if ok {
			p.confirm(n, score)
		} else {
			p.miss()
		}
	}
	var left []candidate
	for i, h := range hits {
		if !used[i] {
			left = append(left, h)
		}
	}
	return left, nil
}

// begin makes a path of a face that none is on: a lost one that looks like it
// goes on, else a new one is made and followed backwards.
func (t *Tracker) begin(pic *picture, c candidate, l look) error {
	n := pic.first
	var lost *path
	best := again
	for _, p := range t.live {
		if p.lost < 0 || p.cut {
			continue
		}
		place, size, _ := fitFrame(p.steps[len(p.steps)-1].pts).apart(l.pose)
		like := max(l.thumb.like(&p.thumb), l.thumb.like(&p.known))
		if place < 1 && size < 0.5 && like > best {
			lost, best = p, like
		}
	}
	if lost != nil {
		lost.steps = lost.steps[:len(lost.steps)-1]
		lost.see(n, l)
		lost.confirm(n, c.score)
		return nil
	}
	t.paths++
	p := &path{id: t.paths, first: n, lost: -1, shot: t.shot}
	p.see(n, l)
	p.confirm(n, c.score)
	t.live = append(t.live, p)
	if c.score < t.opt.Threshold {
		return nil // most of these are none: not worth the time
	}
	return t.grow(p)
}

// grow follows a new path backwards through the pictures that are kept, up to
// where the shot begins or another path has the face.
func (t *Tracker) grow(p *path) error {
	var back []step
	at, known := fitFrame(p.steps[0].pts), p.thumb
	n := p.first
	for n > t.shot {
		pic := t.ring.at(n - 1)
		if pic == nil {
			break
		}
		l, ok, err := t.seek(pic, at, &known)
		if err != nil {
			return err
		}
		if !ok || t.taken(n-1, l.pose.box()) {
			break
		}
		for n > max(pic.first, t.shot) {
			n--
			back = append(back, step{pts: l.pts, seen: true, repeat: n > pic.first})
		}
		at, known = l.pose, l.thumb
	}
	steps := make([]step, 0, len(back)+len(p.steps))
	for i := range back {
		steps = append(steps, back[len(back)-1-i])
	}
	p.first, p.steps = n, append(steps, p.steps...)
	return nil
}
