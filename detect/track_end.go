package detect

import "slices"

// cutAt suspends all paths: a shot begins with picture n, unless it turns out
// to be a flash.
func (t *Tracker) cutAt(n int) {
	if t.cuts.sinceCut == 0 {
		t.shotBefore = t.shot
	}
	t.shot = n
	for _, p := range t.live {
		if !p.cut {
			p.cut = true
			if p.lost < 0 {
				p.lost = n
			}
		}
	}
}

// cutBack takes the paths up again that a flash suspended, and drops those that
// began in it.
func (t *Tracker) cutBack() {
	t.shot = t.shotBefore
	kept := t.live[:0]
	for _, p := range t.live {
		if p.cut && p.shot == t.shot {
			p.cut = false
			kept = append(kept, p)
		}
	}
	t.live = kept
}

// expire ends the paths that have been gone for too long.
func (t *Tracker) expire() error {
	kept := t.live[:0]
	var failed error
	for _, p := range t.live {
		over := p.lost >= 0 && t.n-p.lost >= t.pictures(patience) ||
			p.missed && t.n-p.found >= t.pictures(patience) ||
			p.cut && t.cuts.before == nil || t.hopeless(p)
		if !over {
			kept = append(kept, p)
		} else if err := t.finish(p); err != nil {
			failed = err
		}
	}
	t.live = kept
	return failed
}

// hopeless says that a path needn't be followed any longer, as it won't be kept.
func (t *Tracker) hopeless(p *path) bool {
	const proven = 5 // scans
	return p.missed && len(p.scores) == 1 && p.scores[0] < t.opt.Threshold ||
		len(p.scores) >= proven && !t.face(p, hopeful/2)
}

// face says whether a path's scores are those of a face, or fall short of that by
// slack at most: half of them over the threshold and one plainly so, or two so
// plainly that it may be seen badly for the rest.
func (t *Tracker) face(p *path, slack float64) bool {
	const plainly = 0.35
	s := slices.Clone(p.scores)
	slices.Sort(s)
	n, least := len(s), t.opt.Threshold-slack
	return median(s) >= least && s[n-1] >= least+sure || n > 1 && s[n-2] >= least+plainly
}

// finish ends a path at its last sure picture. It is kept if it is a face.
func (t *Tracker) finish(p *path) error {
	if p.sure < p.first {
		return nil
	}
	shot := t.n + 1 - p.shot // t.n is the newest picture's number
	if p.cut {
		shot = p.lost - p.shot
	}
	p.steps = p.steps[:p.sure+1-p.first]
	if len(p.steps) < min(t.pictures(briefest), max(fewest, shot*2/3), t.n+1) {
		return nil
	}
	if len(p.scores) == 1 && p.sure != p.found {
		// One scan is little; its last picture may still be looked at.
		if pic := t.ring.at(p.sure); pic != nil {
			score, ok, err := t.proof(pic, fitFrame(p.steps[len(p.steps)-1].pts))
			if err != nil {
				return err
			}
			if ok {
				p.confirm(p.sure, score)
			} else {
				p.miss()
			}
		}
	}
	if len(p.scores) < min(2, p.scans) || !t.face(p, 0) {
		return nil
	}
	t.done = append(t.done, p)
	return nil
}
