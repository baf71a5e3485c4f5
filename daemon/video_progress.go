package daemon

import (
	"context"
	"time"
)

// tellEvery is the pause between two lines on a video in work.
const tellEvery = 30 * time.Second

// report logs how far the videos in work are, until ctx is done.
func (r *videoRunner) report(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before map[stepKey]seen
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			before = r.reportOnce(ctx, now, before)
		}
	}
}

// seen is how far a video's stage was at a time.
type seen struct {
	at     time.Time
	frames int64
}

// speedSpan is over how long, at least, the frames a second are counted.
const speedSpan = 10 * time.Second

// videoWork is how far the stage of a video in work is.
type videoWork struct {
	rec            Record
	stage          stage
	sum            Progress
	segments, done int           // 0 where the stage has none
	fps            float64       // lately; 0 = unknown
	eta            time.Duration // until the stage ends; 0 = unknown
}

// reportOnce logs a line for each video in work, and returns looks at them to
// be compared with the next time.
func (r *videoRunner) reportOnce(ctx context.Context, now time.Time, before map[stepKey]seen) map[stepKey]seen {
	works, after := r.inWork(ctx, now, before)
	for _, w := range works {
		log := r.log.With("file", w.rec.Path, "stage", string(w.stage))
		if w.stage.segmented() {
			log = log.With("segment", w.done, "segments", w.segments)
		}
		log.InfoContext(ctx, "video in work", "frames", w.sum.Frames, "total", w.sum.Total, "faces", w.sum.Faces,
			"fps", w.fps, "eta", w.eta.String())
	}
	return after
}

// inWork tells of the videos in work. Speeds are counted from the looks before,
// which are replaced when they are speedSpan old.
func (r *videoRunner) inWork(ctx context.Context, now time.Time, before map[stepKey]seen) (works []videoWork, after map[stepKey]seen) {
	byVideo := map[stepKey][]*pulse{}
	for _, p := range r.active.all() {
		key := stepKey{file: p.st.rec.ID, run: p.st.video.run, stage: p.st.video.stage}
		byVideo[key] = append(byVideo[key], p)
	}
	after = map[stepKey]seen{}
	for key, pulses := range byVideo {
		v := pulses[0].st.video
		segments, done, err := r.ledger.doneSegments(ctx, key.run, key.stage)
		if err != nil {
			continue // told by whoever has to write there
		}
		w := videoWork{rec: pulses[0].st.rec, stage: key.stage, sum: Progress{Frames: done.Frames, Faces: done.Faces, Total: v.frames}}
		if key.stage.segmented() {
			w.segments, w.done = v.segments, segments
		}
		began := now
		for _, p := range pulses {
			told, _ := p.look()
			w.sum.Frames += told.Frames
			w.sum.Faces += told.Faces
			if !key.stage.segmented() {
				w.sum.Total = told.Total
			}
			if p.began.Before(began) {
				began = p.began
			}
		}
		last, ok := before[key]
		if !ok {
			last = seen{began, done.Frames}
		}
		look := seen{now, w.sum.Frames}
		w.fps, w.eta = speed(last, look, w.sum)
		if after[key] = last; now.Sub(last.at) >= speedSpan {
			after[key] = look
		}
		works = append(works, w)
	}
	return works, after
}

// speed is the frames a second between two looks, to a tenth, and how long the
// rest of the stage takes at that; 0 = unknown.
func speed(before, after seen, sum Progress) (fps float64, eta time.Duration) {
	span := after.at.Sub(before.at).Seconds()
	if span <= 0 || after.frames <= before.frames {
		return 0, 0
	}
	rate := float64(after.frames-before.frames) / span
	if rest := sum.Total - sum.Frames; rest > 0 {
		eta = time.Duration(float64(rest) / rate * float64(time.Second)).Round(time.Second)
	}
	return float64(int64(rate*10+0.5)) / 10, eta
}
