package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"restored/detect"
	"restored/media"
)

// RenderSegment does pass 2 of one segment of the plan in work: it restores the
// faces and encodes the pictures. Every segment must have been analysed. What is
// done already isn't done again.
func (e *Engine) RenderSegment(ctx context.Context, in, work string, segment int, careful bool, tell Tell) error {
	path := segmentPath(work, segment)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	p, err := e.begin(in, work, segment)
	if err != nil {
		return err
	}
	l, err := e.link(&p, work)
	if err != nil {
		return err
	}
	if !l.restored() && !e.o.Video.Always {
		return nil // the join copies the file
	}
	ms, err := e.render(ctx, &p, l, work, segment, careful, tell)
	if err != nil {
		return fmt.Errorf("%s: restore segment %d of %d: %w", p.Input, segment+1, len(p.Segments), err)
	}
	data, err := json.Marshal(ms)
	if err != nil {
		return err
	}
	return writeWhole(path+".ms", data)
}

// render reads the segment's pictures, restores the faces of as many at a time
// as the window holds, and encodes them in order.
func (e *Engine) render(ctx context.Context, p *Plan, l *links, work string, segment int, careful bool, tell Tell) (_ VideoMillis, err error) {
	faces, err := loadFaces(p, l, work, segment)
	if err != nil {
		return VideoMillis{}, err
	}
	s := p.Segments[segment]
	r, err := media.OpenReader(ctx, &p.Video, media.ReadOptions{
		From: s.From, To: s.To, Bwdif: p.Encoding.Deinterlaced, Direct: p.Index.Direct, Threads: decoderThreads(careful),
	})
	if err != nil {
		return VideoMillis{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	out, err := media.CreateSegment(segmentPath(work, segment), &p.Video, p.Encoding, p.Encoding.Threads)
	if err != nil {
		return VideoMillis{}, err
	}
	defer out.Abort() // does nothing after Finish

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &renderer{e: e, p: p, g: newGeometry(p.Video.Stream().Picture), faces: faces, cancel: cancel}
	queue := make(chan *shot, e.window())
	go v.read(ctx, r, queue)
	written, restored := int64(0), int64(0)
	for s := range queue { // drained whatever happens, so that nothing is left running
		<-s.done
		if ctx.Err() == nil && s.err == nil {
			start := time.Now()
			s.err = out.Write(ctx, s.pic)
			v.ms.Encode += millis(start)
			written++
			restored += int64(s.faces)
			tell(p.progress("render", segment, written, restored))
		}
		if s.err != nil {
			cancel(s.err)
		}
		v.ms.add(s.ms)
		s.pic.Release()
	}
	v.ms.Decode = v.decode // read's own until it has closed the queue
	if err := context.Cause(ctx); err != nil {
		return v.ms, err
	}
	if want := l.Frames[segment]; written != want {
		return v.ms, fmt.Errorf("%d pictures were decoded where the analysis saw %d", written, want)
	}
	start := time.Now()
	err = out.Finish(ctx)
	v.ms.Encode += millis(start)
	return v.ms, err
}

// A renderer is pass 2 of one segment on its way.
type renderer struct {
	e      *Engine
	p      *Plan
	g      geometry
	faces  *segmentFaces
	cancel context.CancelCauseFunc
	decode float64 // milliseconds
	ms     VideoMillis
}

// A shot is a picture on its way from the decoder to the encoder.
type shot struct {
	pic     *media.Picture
	patches []patch // what was done to it; complete when done is closed
	faces   int
	ms      VideoMillis
	err     error
	done    chan struct{}
}

// read decodes pictures and starts the work on each. The queue bounds how many
// there are at a time.
func (v *renderer) read(ctx context.Context, r *media.Reader, queue chan<- *shot) {
	defer close(queue)
	var before *shot
	for {
		start := time.Now()
		pic, err := r.Next(ctx)
		v.decode += millis(start)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			v.cancel(err)
			return
		}
		s := &shot{pic: pic, done: make(chan struct{})}
		select {
		case queue <- s:
		case <-ctx.Done():
			pic.Release()
			return
		}
		wanted, err := v.faces.at(pic.PTS)
		switch {
		case err != nil:
			s.err = err
			close(s.done)
		case len(wanted) == 0:
			close(s.done) // untouched
		default:
			earlier := before
			go func() {
				defer close(s.done)
				s.err = v.restore(ctx, s, wanted, earlier)
			}()
		}
		before = s
	}
}

// repeats says whether the picture equals the one before, so that its faces do too.
func repeats(faces []wantedFace) bool {
	return !slices.ContainsFunc(faces, func(w wantedFace) bool { return !w.repeat })
}

// A wantedFace is a face of one picture, as it is to be restored.
type wantedFace struct {
	track     *VideoTrack
	landmarks [5]detect.Point // smoothed
	blend     float64
	repeat    bool // the picture equals the one before
}

// segmentFaces are the smoothed landmarks of a segment's own pictures.
type segmentFaces struct {
	index map[int64]int  // timestamp → picture
	of    [][]wantedFace // by picture
}

// at gives the faces of the picture with that timestamp.
func (f *segmentFaces) at(pts int64) ([]wantedFace, error) {
	i, ok := f.index[pts]
	if !ok {
		return nil, fmt.Errorf("a picture at %d that the analysis hasn't seen", pts)
	}
	return f.of[i], nil
}

// fadePictures is how many pictures a face takes to come and to go, where it
// isn't a cut that ends it.
const fadePictures = 6

// loadFaces reads the tracks of a segment with what its neighbours know of
// them, and smooths them: a picture's landmarks come from the analysis of the
// segment that owns it, so both sides of a seam smooth the same.
func loadFaces(p *Plan, l *links, work string, segment int) (*segmentFaces, error) {
	near := make([]*analysis, 3) // before, own, after
	for k := range near {
		i := segment + k - 1
		if i < 0 || i >= len(p.Segments) {
			continue
		}
		var err error
		if near[k], err = loadAnalysis(analysisPath(work, i)); err != nil {
			return nil, err
		}
	}
	own := near[1]
	f := &segmentFaces{index: map[int64]int{}, of: make([][]wantedFace, own.To-own.From)}
	for i, pts := range own.PTS[own.From:own.To] {
		f.index[pts] = i
	}
	for k := range own.Tracks {
		id := l.IDs[segment][k]
		if id < 0 || l.Tracks[id].Decision != FaceRestored {
			continue
		}
		f.place(near, l, segment, id)
	}
	return f, nil
}

// place puts the smoothed landmarks of one face into the pictures.
func (f *segmentFaces) place(near []*analysis, l *links, segment, id int) {
	// A track of the segment may lie in several pieces, and each piece may go on in
	// the neighbours: the chain is what is one face in consecutive pictures.
	for _, chain := range chains(near, l, segment, id) {
		smooth := detect.Smooth(chain.frames)
		for i, points := range smooth {
			at := chain.first + i // in own pictures
			if at < 0 || at >= len(f.of) {
				continue
			}
			w := wantedFace{track: &l.Tracks[id], landmarks: points, blend: l.Tracks[id].Blend, repeat: chain.frames[i].Repeat}
			w.blend *= fade(i, chain.fadeIn) * fade(len(smooth)-1-i, chain.fadeOut)
			f.of[at] = append(f.of[at], w)
		}
	}
}

// fade is the share of the blend i pictures from a track's end.
func fade(i int, on bool) float64 {
	if !on || i >= fadePictures {
		return 1
	}
	return float64(i+1) / (fadePictures + 1)
}

// A chain is a face in consecutive pictures, first counted in the own pictures of the
// segment (negative: before it).
type chain struct {
	first           int
	frames          []detect.TrackFrame
	fadeIn, fadeOut bool
}

// chains are a face's consecutive pictures in the segment and its neighbours,
// each picture's as its own segment saw it.
func chains(near []*analysis, l *links, segment, id int) []chain {
	var out []chain
	for k, a := range near {
		if a == nil {
			continue
		}
		offset := 0 // of the analysis' own first picture, in own pictures of the segment
		switch k {
		case 0:
			offset = -(a.To - a.From)
		case 2:
			offset = near[1].To - near[1].From
		}
		for j := range a.Tracks {
			t := &a.Tracks[j]
			lo, hi := max(t.First, a.From), min(t.end(), a.To)
			if l.IDs[segment+k-1][j] != id || lo >= hi {
				continue
			}
			first := offset + lo - a.From
			frames := t.Frames[lo-t.First : hi-t.First]
			// What begins or ends where the analysis was cut off ends there for no reason of its own.
			fadeIn, fadeOut := lo == t.First && !t.FromCut, hi == t.end() && !t.ToCut
			if n := len(out); n > 0 && out[n-1].first+len(out[n-1].frames) == first {
				out[n-1].frames = append(slices.Clip(out[n-1].frames), frames...)
				out[n-1].fadeOut = fadeOut
				continue
			}
			out = append(out, chain{first, frames, fadeIn, fadeOut})
		}
	}
	return out
}
