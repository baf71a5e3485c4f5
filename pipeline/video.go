package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"restored/media"
)

// JoinVideo puts the segments in the folder work together with all else that
// the video holds, checks the result and renames it to out, or copies the
// video where no face was restored. Every segment must have been rendered.
func (e *Engine) JoinVideo(ctx context.Context, in, out, work string, claim Claim, tell Tell) (Report, error) {
	start := time.Now()
	p, err := e.begin(in, work, 0)
	if err != nil {
		return Report{}, err
	}
	r := e.videoReport(&p)
	l, err := e.link(&p, work)
	if err != nil {
		return r, err
	}
	r.Video.Tracks, r.Video.Frames = l.Tracks, l.frames()
	r.Video.Millis.add(l.Millis)
	for _, c := range l.Counts {
		r.Video.Corrupt += c.Corrupt
	}
	if !l.restored() && !e.o.Video.Always {
		return r, e.unchangedVideo(ctx, &r, p.Input, out, claim)
	}
	segments := make([]string, len(p.Segments))
	for i := range segments {
		segments[i] = segmentPath(work, i)
		if err := addMillis(&r.Video.Millis, segments[i]+".ms"); err != nil {
			return r, fmt.Errorf("%s: join: %w", p.Input, err)
		}
	}
	out = p.Encoding.OutputPath(out)
	overwrite, err := claim(ctx, out)
	if err != nil {
		return r, fmt.Errorf("%s: output %s: %w", p.Input, out, err)
	}
	expect := p.Index
	expect.Frames = l.frames() // what was decoded: damaged pictures are not among them
	info, err := media.JoinVideo(ctx, &p.Video, p.Encoding, segments, out, media.JoinOptions{
		Provenance: e.o.Provenance, Overwrite: overwrite, Expect: expect,
		Progress: func(done float64) {
			n := int64(done * float64(l.frames()))
			tell(VideoProgress{Pass: "join", Done: n, Length: l.frames(), Frames: n, Total: l.frames()})
		},
	})
	if err != nil {
		return r, fmt.Errorf("%s: join: %w", p.Input, err)
	}
	r.Video.Millis.Join = millis(start)
	r.Status, r.Output, r.Notes = Restored, info.Path, info.Notes
	return r, nil
}

// videoReport is what the plan says of a video.
func (e *Engine) videoReport(p *Plan) Report {
	f := p.Video.Stream().Picture
	r := Report{
		Input: p.Input, Faces: []Face{}, Format: p.Video.Format, Width: f.Width, Height: f.Height, Depth: f.Depth,
		Model: e.session.Model().Name, ModelHash: e.session.Model().SHA256, Provider: e.session.Provider(),
		Notes: p.Encoding.Notes,
		Video: &VideoReport{
			Duration: p.Video.Stream().TimeBase.Seconds(p.Index.End - p.Index.First), Segments: len(p.Segments),
			Encoder: p.Encoding.Encoder, Container: p.Encoding.Muxer, Partial: p.Index.Truncated,
		},
	}
	if f.Rotation%180 != 0 {
		r.Width, r.Height = r.Height, r.Width
	}
	return r
}

// unchangedVideo ends a video in which nothing was restored.
func (e *Engine) unchangedVideo(ctx context.Context, r *Report, in, out string, claim Claim) error {
	r.Notes = nil // they are about an encoding that didn't happen
	if !e.o.Video.CopyNoFace {
		r.Status = Skipped
		return nil
	}
	overwrite, err := claim(ctx, out)
	if err != nil {
		return fmt.Errorf("%s: output %s: %w", in, out, err)
	}
	if err := media.CopyFile(ctx, in, out, overwrite); err != nil {
		return err
	}
	r.Status, r.Output = Copied, out
	return nil
}

// addMillis adds the times of a rendered segment.
func addMillis(ms *VideoMillis, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var one VideoMillis
	if err := json.Unmarshal(data, &one); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ms.add(one)
	return nil
}
