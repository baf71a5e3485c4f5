package pipeline

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"slices"
	"time"

	"restored/align"
	"restored/detect"
	"restored/frame"
	"restored/media"
	"restored/restore"
)

// overlap is how far the analysis of a segment looks into its neighbours, so
// that tracks agree across the seam.
const overlap = time.Second

// scanPixels bounds the pictures that are scanned for faces: those of 80
// pixels and more are found in 1920×1080. Smaller ones are followed.
const scanPixels = 2_100_000

// sampleAges are the sightings at which a track's face is looked at closely;
// after the last one it is again at each sampleEvery.
var sampleAges = []int{1, 12, 40, 120}

const sampleEvery = 240

// VideoProgress is how far a pass over a video is, as seen from one segment.
type VideoProgress struct {
	Pass   string // plan (in thousandths, not pictures), analyse, render, join
	Done   int64  // pictures of this segment that are done
	Length int64  // of this segment, about
	Frames int64  // of the video, with about as many as lie before the segment
	Total  int64  // of the video
	Faces  int64  // seen or restored in this segment so far
}

// Tell takes the progress of a pass, after each picture.
type Tell func(VideoProgress)

// progress is how far a segment's pass is after done of its pictures.
func (p *Plan) progress(pass string, segment int, done, faces int64) VideoProgress {
	v := VideoProgress{Pass: pass, Done: done, Total: p.Index.Frames, Faces: faces}
	from, to := 0.0, 1.0 // parts of the video's length
	if s, length := p.Segments[segment], float64(p.Index.End-p.Index.First); length > 0 {
		if s.From != media.NoTime {
			from = float64(s.From-p.Index.First) / length
		}
		if s.To != media.NoTime {
			to = float64(s.To-p.Index.First) / length
		}
	}
	v.Length = int64(float64(v.Total) * (to - from))
	v.Frames = min(int64(float64(v.Total)*from)+done, v.Total)
	return v
}

// AnalyseSegment does pass 1 of one segment of the plan in work for the video in: it follows the
// faces and looks at each closely a few times. What is done already isn't done again.
func (e *Engine) AnalyseSegment(ctx context.Context, in, work string, segment int, careful bool, tell Tell) error {
	path := analysisPath(work, segment)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	p, err := e.begin(in, work, segment)
	if err != nil {
		return err
	}
	w, err := e.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { e.pool <- w }()
	a, err := e.analyse(ctx, w, &p, segment, careful, tell)
	if err != nil {
		return fmt.Errorf("%s: analyse segment %d of %d: %w", p.Input, segment+1, len(p.Segments), err)
	}
	return a.save(path)
}

// An analyser is pass 1 of one segment on its way.
type analyser struct {
	e       *Engine
	w       *worker
	p       *Plan
	g       geometry
	tracker *detect.Tracker
	a       *analysis
	samples map[int][]sample // by the tracker's number of the track
	sights  map[int]int      // how often it was seen
	seen    int64
}

func (e *Engine) analyse(ctx context.Context, w *worker, p *Plan, segment int, careful bool, tell Tell) (_ *analysis, err error) {
	s, base := p.Segments[segment], p.Video.Stream().TimeBase
	margin := base.Ticks(overlap)
	read := media.ReadOptions{From: s.From, To: s.To, Bwdif: p.Encoding.Deinterlaced, Direct: p.Index.Direct, Threads: decoderThreads(careful)}
	if s.From != media.NoTime {
		read.From -= margin
	}
	if s.To != media.NoTime {
		read.To += margin
	}
	r, err := media.OpenReader(ctx, &p.Video, read)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	o := e.o.Detect
	tracker, err := detect.NewTracker(detect.TrackOptions{
		Models: o.Models, Threshold: o.Threshold, MinFace: o.MinFace, MaxPixels: min(o.MaxPixels, scanPixels),
		Every: e.o.Video.Every, Turn: p.Video.Stream().Picture.Rotation, Rate: p.rate(),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tracker.Close()) }()
	n := &analyser{
		e: e, w: w, p: p, g: newGeometry(p.Video.Stream().Picture), tracker: tracker,
		a: &analysis{Version: planVersion, From: -1, To: -1}, samples: map[int][]sample{}, sights: map[int]int{},
	}
	if err := n.pictures(ctx, r, s, segment, tell); err != nil {
		return nil, err
	}
	n.a.Counts = r.Counts()
	return n.a, n.finish(ctx)
}

// pictures shows every picture of the range to the tracker.
func (n *analyser) pictures(ctx context.Context, r *media.Reader, s Segment, segment int, tell Tell) error {
	var deep, wide *image.Gray
	start := time.Now()
	for {
		pic, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		n.a.Millis.Decode += millis(start)
		if n.a.From < 0 && (s.From == media.NoTime || pic.PTS >= s.From) {
			n.a.From = len(n.a.PTS)
		}
		if n.a.To < 0 && s.To != media.NoTime && pic.PTS >= s.To {
			n.a.To = len(n.a.PTS)
		}
		n.a.PTS = append(n.a.PTS, pic.PTS)
		start = time.Now()
		deep = pic.Luma8(deep)
		luma := deep
		if n.g.wide != 1 {
			wide = n.g.square(luma, wide)
			luma = wide
		}
		err = n.tracker.Add(ctx, luma)
		n.a.Millis.Track += millis(start)
		if err == nil {
			err = n.look(ctx, &pic.Planar)
		}
		if pic.Depth == 8 {
			deep = nil // it is the picture's memory
		}
		pic.Release()
		if err != nil {
			return err
		}
		if n.a.From >= 0 && n.a.To < 0 {
			tell(n.p.progress("analyse", segment, int64(len(n.a.PTS)-n.a.From), n.seen))
		}
		start = time.Now()
	}
	if n.a.From < 0 {
		n.a.From = len(n.a.PTS)
	}
	if n.a.To < 0 {
		n.a.To = len(n.a.PTS)
	}
	return nil
}

// look takes samples of the faces that are due.
func (n *analyser) look(ctx context.Context, pic *frame.Planar) error {
	for _, live := range n.tracker.Live() {
		n.seen++
		if n.sights[live.ID]++; !due(n.sights[live.ID]) {
			continue
		}
		start := time.Now()
		s, ok, err := n.sample(ctx, pic, live.Landmarks)
		if err != nil {
			return fmt.Errorf("face at %v: %w", live.Box, err)
		}
		if ok {
			n.samples[live.ID] = append(n.samples[live.ID], s)
		}
		n.a.Millis.Sample += millis(start)
	}
	return nil
}

// due says whether a face is looked at when it is seen for the n-th time.
func due(n int) bool { return n%sampleEvery == 0 || slices.Contains(sampleAges, n) }

// sample measures a face and restores it once to see what becomes of it.
func (n *analyser) sample(ctx context.Context, pic *frame.Planar, landmarks [5]detect.Point) (sample, bool, error) {
	e, spec := n.e, n.e.session.Spec()
	var s sample
	m, _, ok, err := fit(landmarks, spec.Template, spec.Size)
	if err != nil || !ok {
		return s, false, err
	}
	crop, err := align.WarpAffine(pic, n.g.toCrop(m), spec.Size)
	if err != nil {
		return s, false, err
	}
	measured, side := crop, spec.Size
	if spec.Template != "ffhq_512" || side%512 != 0 {
		side = 512
		if m, _, ok, err = fit(landmarks, "ffhq_512", 512); err != nil || !ok {
			return s, false, err
		}
		if measured, err = align.WarpAffine(pic, n.g.toCrop(m), 512); err != nil {
			return s, false, err
		}
	}
	d, err := align.Degradation(measured, side)
	if err != nil {
		return s, false, err
	}
	s.Octaves = d.Octaves
	if s.Descriptor, s.Known, err = n.w.recognizer.Descriptor(crop, spec.Size); err != nil {
		return s, false, fmt.Errorf("identity: %w", err)
	}
	if s.Octaves < e.o.SharpBelow {
		s.Verdict = FaceSharp
		return s, true, nil
	}
	after, err := e.session.Restore(ctx, []restore.Face{{Image: crop, Steps: e.steps(s.Octaves), Seed: 1}})
	if err != nil {
		return s, false, err
	}
	var f Face
	if err := e.checkIdentity(n.w, s.Descriptor, s.Known, crop, after[0], spec.Size, &f); err != nil {
		return s, false, err
	}
	s.Verdict, s.Blend, s.Identity, s.IdentityFull = f.Decision, f.Blend, f.Identity, f.IdentityFull
	return s, true, nil
}

// finish turns what the tracker found into the analysis' tracks.
func (n *analyser) finish(ctx context.Context) error {
	found, err := n.tracker.Finish(ctx)
	if err != nil {
		return err
	}
	for _, t := range found {
		n.a.Tracks = append(n.a.Tracks, track{
			First: t.First, Frames: t.Frames, Score: t.Score, FromCut: t.FromCut, ToCut: t.ToCut, Samples: n.samples[t.ID],
		})
	}
	return n.a.check()
}

// steps is the number of diffusion steps for a face.
func (e *Engine) steps(octaves float64) int {
	switch {
	case !e.session.TakesSteps():
		return 0
	case e.o.Steps == AutoSteps:
		return align.StepsFor(octaves)
	}
	return e.o.Steps
}

// decoderThreads is what a reader is given: one after a hang, else its default.
func decoderThreads(careful bool) int {
	if careful {
		return 1
	}
	return 0
}
