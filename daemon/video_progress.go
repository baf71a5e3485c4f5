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

// reportOnce logs a line for each video in work, and returns how far they are.
func (r *videoRunner) reportOnce(ctx context.Context, now time.Time, before map[stepKey]seen) map[stepKey]seen {
	byVideo := map[stepKey][]*pulse{}
	for _, p := range r.active.all() {
		key := stepKey{file: p.st.rec.ID, run: p.st.video.run, stage: p.st.video.stage}
		byVideo[key] = append(byVideo[key], p)
	}
	after := map[stepKey]seen{}
	for key, pulses := range byVideo {
		v := pulses[0].st.video
		segments, done, err := r.ledger.doneSegments(ctx, key.run, key.stage)
		if err != nil {
			continue // told by whoever has to write there
		}
		sum := Progress{Frames: done.Frames, Faces: done.Faces, Total: v.frames}
		began := now
		for _, p := range pulses {
			told, _ := p.look()
			sum.Frames += told.Frames
			sum.Faces += told.Faces
			if !key.stage.segmented() {
				sum.Total = told.Total
			}
			if p.began.Before(began) {
				began = p.began
			}
		}
		last, ok := before[key]
		if !ok {
			last = seen{began, done.Frames}
		}
		after[key] = seen{now, sum.Frames}
		log := r.log.With("file", pulses[0].st.rec.Path, "stage", string(key.stage))
		if key.stage.segmented() {
			log = log.With("segment", segments, "segments", v.segments)
		}
		fps, eta := speed(last, after[key], sum)
		log.InfoContext(ctx, "video in work", "frames", sum.Frames, "total", sum.Total, "faces", sum.Faces,
			"fps", fps, "eta", eta.String())
	}
	return after
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
