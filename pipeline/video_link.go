package pipeline

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"restored/detect"
	"restored/media"
)

const (
	linkName = "tracks.json"
	// seamIoU is how much, of their union, the boxes of two tracks must share in
	// the pictures of a seam to be of one face.
	seamIoU = 0.5
	// samePerson is the distance of descriptors below which a face that comes
	// back within rejoinGap is the one that went: stricter than dlib's 0.6.
	samePerson = 0.4
	rejoinGap  = 2 * time.Second
	// briefest is how many pictures a face must be followed through: a restored face that
	// flashes up is worse than none.
	briefest = 5
	// maxDescriptors bounds what is kept of a track for rejoining it, at either end.
	maxDescriptors = 4
)

// Links say which tracks of the segments are one face, and what is decided
// about it. Decisions are for a whole track, so that nothing flickers.
type links struct {
	Version int                `json:"version"`
	IDs     [][]int            `json:"ids"`    // segment, track → index in Tracks; −1 = not the segment's
	Tracks  []VideoTrack       `json:"tracks"` // in order of their first picture
	Frames  []int64            `json:"frames"` // own pictures of each segment
	Counts  []media.ReadCounts `json:"counts"`
	Millis  VideoMillis        `json:"ms"`
}

// restored says whether there is anything to paste.
func (l *links) restored() bool {
	return slices.ContainsFunc(l.Tracks, func(t VideoTrack) bool { return t.Decision == FaceRestored })
}

// frames is the number of pictures of the whole video.
func (l *links) frames() (n int64) {
	for _, k := range l.Frames {
		n += k
	}
	return n
}

// link reads the links of a video, or makes and keeps them from the analyses
// of all its segments.
func (e *Engine) link(p *Plan, work string) (*links, error) {
	path := filepath.Join(work, linkName)
	data, err := os.ReadFile(path)
	if err == nil {
		var l links
		if err := json.Unmarshal(data, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if l.Version != planVersion || len(l.IDs) != len(p.Segments) {
			return nil, fmt.Errorf("%s: of another version or plan", path)
		}
		return &l, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := e.makeLinks(p, work)
	if err != nil {
		return nil, fmt.Errorf("%s: join tracks: %w", p.Input, err)
	}
	if data, err = json.Marshal(l); err != nil {
		return nil, err
	}
	return l, writeWhole(path, data)
}

// A thread is a face through the whole video while it is put together.
type thread struct {
	track    VideoTrack
	sizes    []int
	scores   []float64
	samples  []sample
	first    []*sample // with a descriptor, from either end
	last     []*sample
	parent   *thread // of one person; nil: itself
	frames   int64
	from, to int64
	moments  moments
}

// person is the thread that stands for all of one person.
func (t *thread) person() *thread {
	for t.parent != nil {
		t = t.parent
	}
	return t
}

func (e *Engine) makeLinks(p *Plan, work string) (*links, error) {
	l := &links{Version: planVersion, Tracks: []VideoTrack{}}
	base := p.Video.Stream().TimeBase
	var threads []*thread
	var before *analysis
	var beforeOf []*thread // of before's tracks
	for i := range p.Segments {
		a, err := loadAnalysis(analysisPath(work, i))
		if err != nil {
			return nil, err
		}
		of := make([]*thread, len(a.Tracks))
		if before != nil {
			for k, j := range seam(before, a) {
				of[k] = beforeOf[j]
			}
		}
		for k := range a.Tracks {
			t := &a.Tracks[k]
			if of[k] == nil && (t.First >= a.To || t.end() <= a.From) {
				continue // a neighbour's
			}
			if of[k] == nil {
				of[k] = &thread{from: a.PTS[max(t.First, a.From)]}
				threads = append(threads, of[k])
			}
			of[k].add(a, t)
		}
		l.note(a, of, threads)
		before, beforeOf = a, of
	}
	rejoin(threads, base)
	for i, t := range threads {
		t.track.ID = i
		e.decide(p, threads, i)
		l.Tracks = append(l.Tracks, t.track)
	}
	return l, nil
}

// note keeps what the report and the rendering need of a segment.
func (l *links) note(a *analysis, of, threads []*thread) {
	ids := make([]int, len(of))
	for k, t := range of {
		ids[k] = slices.Index(threads, t)
	}
	l.IDs = append(l.IDs, ids)
	l.Frames = append(l.Frames, int64(a.To-a.From))
	l.Counts = append(l.Counts, a.Counts)
	l.Millis.add(a.Millis)
}

// seam finds the tracks of two neighbouring segments that are one: the index
// in a of each such track of b.
func seam(a, b *analysis) map[int]int {
	type pair struct {
		a, b int
		iou  float64
	}
	var pairs []pair
	for j := range a.Tracks {
		for k := range b.Tracks {
			if iou := shared(a, b, &a.Tracks[j], &b.Tracks[k]); iou >= seamIoU {
				pairs = append(pairs, pair{j, k, iou})
			}
		}
	}
	slices.SortStableFunc(pairs, func(x, y pair) int { return cmp.Compare(y.iou, x.iou) })
	taken, of := map[int]bool{}, map[int]int{}
	for _, p := range pairs {
		if _, done := of[p.b]; !done && !taken[p.a] {
			of[p.b], taken[p.a] = p.a, true
		}
	}
	return of
}

// shared is the mean IoU of the boxes of two tracks in the pictures that both
// have; 0 if there are none.
func shared(a, b *analysis, s, t *track) float64 {
	sum, n := 0.0, 0
	at := t.First
	for i := s.First; i < s.end() && at < t.end(); {
		switch c := cmp.Compare(a.PTS[i], b.PTS[at]); {
		case c < 0:
			i++
		case c > 0:
			at++
		default:
			sum += iou(s.frame(i).Box, t.frame(at).Box)
			n++
			i++
			at++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

func iou(a, b image.Rectangle) float64 {
	area := func(r image.Rectangle) float64 { return float64(r.Dx()) * float64(r.Dy()) }
	in := area(a.Intersect(b))
	return in / (area(a) + area(b) - in)
}

// add puts a segment's part of a face to the thread.
func (t *thread) add(a *analysis, part *track) {
	lo, hi := max(part.First, a.From), min(part.end(), a.To)
	for i := lo; i < hi; i++ {
		b := part.frame(i).Box
		t.sizes = append(t.sizes, min(b.Dx(), b.Dy()))
		t.moments.add(a.PTS[i], b)
	}
	if lo < hi {
		t.to = a.PTS[hi-1]
		t.frames += int64(hi - lo)
	}
	if len(t.sizes) > 1<<12 { // the median of half of them is as good
		slices.Sort(t.sizes)
		for i := range len(t.sizes) / 2 {
			t.sizes[i] = t.sizes[2*i]
		}
		t.sizes = t.sizes[:len(t.sizes)/2]
	}
	t.scores = append(t.scores, part.Score)
	for i := range part.Samples {
		s := &part.Samples[i]
		t.samples = append(t.samples, *s)
		if !s.Known {
			continue
		}
		if len(t.first) < maxDescriptors {
			t.first = append(t.first, s)
		}
		if t.last = append(t.last, s); len(t.last) > maxDescriptors {
			t.last = t.last[1:]
		}
	}
}

// rejoin makes one person of faces that went and came back soon after.
func rejoin(threads []*thread, base media.Rational) {
	gap := base.Ticks(rejoinGap)
	for i, t := range threads {
		for _, s := range threads[:i] {
			if t.from <= s.to || t.from-s.to > gap || s.person() == t.person() {
				continue
			}
			if closest(s.last, t.first) < samePerson {
				t.person().parent = s.person()
			}
		}
	}
}

// closest is the smallest distance between two sets of descriptors.
func closest(a, b []*sample) float64 {
	least := 2.0
	for _, s := range a {
		for _, t := range b {
			least = min(least, detect.Distance(s.Descriptor, t.Descriptor))
		}
	}
	return least
}

// decide sets what becomes of thread i, by the samples of all of its person.
func (e *Engine) decide(p *Plan, threads []*thread, i int) {
	t := threads[i]
	who := t.person()
	var samples []sample
	for _, s := range threads {
		if s.person() == who {
			samples = append(samples, s.samples...)
		}
	}
	v := &t.track
	v.Person = slices.Index(threads, who)
	v.From, v.To = p.Video.Stream().TimeBase.Seconds(t.from-p.Index.First), p.Video.Stream().TimeBase.Seconds(t.to-p.Index.First)
	v.Shots = t.moments.shots(p)
	v.Frames, v.Size, v.Score = t.frames, median(t.sizes), median(t.scores)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", p.Settings, v.Person)
	v.Seed = h.Sum64()
	octaves := make([]float64, len(samples))
	for i, s := range samples {
		octaves[i] = s.Octaves
	}
	v.Degradation = median(octaves)
	switch {
	case v.Frames < briefest && v.Frames < p.Index.Frames:
		v.Decision = FaceBrief
	case v.Size < e.o.Detect.MinFace:
		v.Decision = FaceSmall
	case len(samples) == 0:
		v.Decision = FaceLandmarks
	case v.Degradation < e.o.SharpBelow:
		v.Decision = FaceSharp
	default:
		v.Steps = e.steps(v.Degradation)
		e.verdict(v, samples)
	}
}

// verdict decides by the identities of the samples: the blend that three
// quarters of the samples that could be measured can bear.
func (e *Engine) verdict(v *VideoTrack, samples []sample) {
	var blends, after, full []float64
	unknown := 0
	for _, s := range samples {
		switch {
		case s.Verdict == FaceSharp:
		case s.Identity == nil:
			unknown++
		default:
			blends = append(blends, s.Blend)
			after, full = append(after, *s.Identity), append(full, *s.IdentityFull)
		}
	}
	if unknown > len(blends) || len(blends) == 0 {
		v.Decision = FaceUnverified
		if e.o.Unverified {
			v.Decision, v.Blend = FaceRestored, e.o.Blend
		}
		return
	}
	slices.Sort(blends)
	identity, before := median(after), median(full)
	v.Identity, v.IdentityFull = &identity, &before
	if v.Blend = blends[len(blends)/4]; v.Blend > 0 {
		v.Decision = FaceRestored
	} else {
		v.Decision = FaceIdentity
	}
}

// median of a list, which it sorts; 0 of none.
func median[T cmp.Ordered](v []T) (m T) {
	if len(v) == 0 {
		return m
	}
	slices.Sort(v)
	return v[len(v)/2]
}
