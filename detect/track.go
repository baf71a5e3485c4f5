package detect

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"sync"
)

// TrackOptions say what a Tracker looks for. Zero values mean the defaults.
type TrackOptions struct {
	// Models, Threshold and MinFace are as in Options. MaxPixels is too, but
	// 1 million by default: that finds faces from 40 pixels in 0.25 MP, from 75
	// in 1280×720 and from 115 in 1920×1080. Smaller ones are followed.
	Models    string
	Threshold float64
	MinFace   int
	MaxPixels int
	// Every is how many pictures a scan is apart from the next, where neither a
	// cut nor a lost face asks for one; default 8.
	Every int
	// Turn is by how many degrees a player turns the pictures clockwise: 0, 90,
	// 180 or 270. Faces stand turned the other way in what Add is given, and so
	// do the results.
	Turn int
	// Rate is the number of pictures a second, default 25: how long a face may
	// be gone, and how short a track may be, goes by the second.
	Rate float64
}

const (
	defaultTrackPixels = 1_000_000
	defaultEvery       = 8
	defaultRate        = 25

	// patience is for how many seconds a face may be gone, or followed without
	// a scan that confirms it, before its track ends.
	patience = 1
	// briefest is how many seconds a track has to last; in a shorter shot two
	// thirds of it and fewest pictures will do.
	briefest = 0.3
	fewest   = 3
	// weak is how far below the threshold a hit may score to confirm a track
	// that is there already.
	weak = 0.6
	// hopeful is how far below it one may score that begins a track: whether it
	// is one is decided at its end, by the median.
	hopeful = 0.25
	// grainy is the noise, in gray levels, over which scans are of blurred
	// pictures.
	grainy = 2.5
)

// Track is one face in consecutive pictures.
type Track struct {
	ID     int          // as Live gave it
	First  int          // number of the first picture, from 0
	Frames []TrackFrame // one for each picture from First
	// Score is the median of the scans' scores, as Face.Score. It is under the
	// threshold where a face was seen plainly in a few scans and badly in most.
	Score float64
	Scans int // how many scans found the face
	// FromCut and ToCut say that the track begins and ends with its shot, or with
	// the sequence, and not by a face that comes or goes.
	FromCut, ToCut bool
}

// A Live face is one that is followed at the moment. Not every one makes a Track.
type Live struct {
	ID int
	TrackFrame
}

// TrackFrame is a track's face in one picture, in that picture's pixels.
type TrackFrame struct {
	// Box is a square about the face, set by its landmarks, cut at the
	// picture's edges. It is upright even if the face isn't.
	Box image.Rectangle
	// Landmarks are as in Face.Landmarks, not smoothed yet: see Smooth.
	Landmarks [5]Point
	// Seen is false where the face was lost for a while, and the landmarks lie
	// on the way from where it went to where it came back.
	Seen bool
	// Repeat says that the picture has the same luma as the one before.
	Repeat bool
	// Held says that the face stands as in the picture before, nearly, while it moves in
	// those about it: a repeated picture that was encoded since.
	Held bool
}

// TrackStats count what a Tracker did since NewTracker.
type TrackStats struct {
	Pictures, Repeats, Cuts, Scans, Looks, Proofs int
}

// Tracker follows faces through the pictures of a video. Between calls it holds
// the luma of the last pictures (Every of them, 64 MiB at most), and a hundred
// bytes for each face and picture since the sequence began. Calls run one at a
// time: use one Tracker per worker.
type Tracker struct {
	mu      sync.Mutex
	opt     TrackOptions
	scanner *Scanner
	err     error // what ended the sequence too early

	size image.Point
	n    int // number of the next picture
	ring ring
	cuts cutter
	shot int // first picture of the shot
	// shotBefore is that of the shot before, while the cut may be a flash.
	shotBefore int
	lastScan   int // picture of the last scan, or −1
	live       []*path
	done       []*path
	paths      int // how many there were
	stats      TrackStats
}

// NewTracker reads the models. Its errors are New's.
func NewTracker(o TrackOptions) (*Tracker, error) {
	if o.MinFace == 0 {
		o.MinFace = defaultMinFace
	}
	if o.MaxPixels == 0 {
		o.MaxPixels = defaultTrackPixels
	}
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.Rate == 0 {
		o.Rate = defaultRate
	}
	if err := checkScan(o.MinFace, o.MaxPixels, o.Threshold); err != nil {
		return nil, err
	}
	switch {
	case o.Every < 1 || o.Every > 250:
		return nil, fmt.Errorf("detect: Every %d, want 1 to 250 pictures", o.Every)
	case o.Turn != 0 && o.Turn != 90 && o.Turn != 180 && o.Turn != 270:
		return nil, fmt.Errorf("detect: Turn %d, want 0, 90, 180 or 270", o.Turn)
	case !(o.Rate >= 1 && o.Rate <= 1000):
		return nil, fmt.Errorf("detect: Rate %v, want 1 to 1000 pictures a second", o.Rate)
	}
	s, err := NewScanner(o.Models)
	if err != nil {
		return nil, err
	}
	t := &Tracker{opt: o, scanner: s}
	t.reset()
	return t, nil
}

// Close frees the native memory. It may be called again.
func (t *Tracker) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reset()
	t.ring = ring{}
	return t.scanner.Close()
}

// Stats says what the Tracker did so far.
func (t *Tracker) Stats() TrackStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

func (t *Tracker) reset() {
	t.err, t.n, t.shot, t.shotBefore, t.lastScan = nil, 0, 0, 0, -1
	t.live, t.done, t.paths = nil, nil, 0
	t.cuts = cutter{}
	t.ring.clear()
}

// pictures is a time in pictures, at least one.
func (t *Tracker) pictures(seconds float64) int { return max(1, int(math.Round(seconds*t.opt.Rate))) }

var errSequence = errors.New("detect: the sequence was ended by an error, Finish first")

// Add takes the next picture's luma, 8 bits, square pixels; it isn't kept. All
// pictures of a sequence have one size. After an error the sequence is over:
// only Finish and Close are left.
func (t *Tracker) Add(ctx context.Context, luma *image.Gray) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return errSequence
	}
	t.err = t.add(ctx, luma)
	return t.err
}

func (t *Tracker) add(ctx context.Context, luma *image.Gray) error {
	if err := checkImage(luma); err != nil {
		return err
	}
	if size := luma.Rect.Size(); t.n == 0 {
		t.size = size
		t.ring.init(size, t.opt.Every)
	} else if size != t.size {
		return fmt.Errorf("detect: picture %d is %v, those before are %v", t.n, size, t.size)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("detect: %w", err)
	}
	t.stats.Pictures++
	defer func() { t.n++ }()
	if t.ring.repeats(luma) {
		t.stats.Repeats++
		for _, p := range t.live {
			p.repeat(t.n)
		}
		return nil
	}
	pic := t.ring.push(luma, t.n)
	switch t.cuts.add(tinyOf(pic.luma)) {
	case cutHere:
		t.stats.Cuts++
		t.cutAt(t.n)
	case cutBack:
		t.cutBack()
	}
	if err := t.follow(ctx, pic); err != nil {
		return err
	}
	if t.scanDue() {
		if err := t.scan(ctx, pic); err != nil {
			return err
		}
	}
	for _, p := range t.live {
		if s := p.at(t.n); s != nil {
			s.change, s.known = t.ring.changed(t.n, fitFrame(s.pts).box())
		}
	}
	return t.expire()
}

// Live gives the faces that were seen in the picture that was added last.
func (t *Tracker) Live() []Live {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Live
	for _, p := range t.live {
		if s := p.at(t.n - 1); s != nil {
			out = append(out, Live{p.id, t.frameOf(*s)})
		}
	}
	return out
}

// Finish ends the sequence and gives its tracks, by their first picture and
// then from left to right. The Tracker begins anew. If Add failed, Finish gives
// no tracks but Add's error.
func (t *Tracker) Finish(ctx context.Context) ([]Track, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.reset()
	if t.err != nil {
		return nil, t.err
	}
	t.n-- // the newest picture's number
	for _, p := range t.live {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("detect: %w", err)
		}
		if err := t.finish(p); err != nil {
			return nil, err
		}
	}
	return t.report(), nil
}
