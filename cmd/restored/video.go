package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"restored/daemon"
	"restored/media"
	"restored/pipeline"
)

// isInput tells by the name whether a file is taken at all.
func isInput(name string) bool { return media.IsPhotoName(name) || media.IsVideoName(name) }

// runProcessor lets `restored run` work on one file after the other, a video with
// its own folder under work, in which an interrupted run goes on.
type runProcessor struct {
	engine  engine
	work    string
	bar     *progress
	options daemon.RunOptions
}

// Process restores one photo or video.
func (p runProcessor) Process(ctx context.Context, job daemon.Job) (daemon.Result, error) {
	if !media.IsVideoName(job.In) {
		return processor{always(p.engine)}.Process(ctx, job)
	}
	bar := p.bar.video(filepath.Base(job.In))
	defer bar.close()
	video := daemon.VideoJob{
		ID: job.ID, In: job.In, Out: job.Out, Work: filepath.Join(p.work, strconv.FormatInt(job.ID, 10)), Claim: claimOf(job),
	}
	r, err := daemon.RunVideo(ctx, videos{always(p.engine), bar.tell}, video, p.options)
	var kept *daemon.KeptError
	if err == nil || ctx.Err() == nil && !daemon.IsTransient(err) && !errors.As(err, &kept) {
		err = errors.Join(err, os.RemoveAll(video.Work))
	}
	return r, err
}

// claimOf asks the ledger for paths other than the job's own, and for that one
// too where it is asked for again: a process that crashed may have written there.
func claimOf(job daemon.Job) pipeline.Claim {
	asked := false
	return func(ctx context.Context, out string) (bool, error) {
		if out == job.Out && !asked {
			asked = true
			return job.Overwrite, nil
		}
		return job.Claim(ctx, out)
	}
}

func resultOf(in string, r pipeline.Report) (daemon.Result, error) {
	report, err := json.Marshal(r)
	if err != nil {
		return daemon.Result{}, fmt.Errorf("%s: report: %w", in, err)
	}
	return daemon.Result{Out: r.Output, Report: report, Tally: tallyOf(r)}, nil
}

// printPlan prints what would be done to a video, for --dry-run.
func printPlan(w io.Writer, p pipeline.Plan) {
	f := p.Video.Stream().Picture
	fmt.Fprintf(w, "%s: %s, %s\n", printable(p.Input), p.Video.Format, seconds(p.Video.Stream().TimeBase.Seconds(p.Index.End-p.Index.First)))
	fmt.Fprintf(w, "  pictures   %d, %d×%d, %s, rotation %d°, aspect of a pixel %d:%d, %s\n",
		p.Index.Frames, f.Width, f.Height, f.PixelFormat, f.Rotation, f.SampleAspect.Num, f.SampleAspect.Den, rateOf(p))
	fmt.Fprintf(w, "  colours    range %s, primaries %s, transfer %s, matrix %s\n", f.Range, f.Primaries, f.Transfer, f.Matrix)
	fields := f.FieldOrder
	if p.Encoding.Deinterlaced {
		fields += ", deinterlaced by bwdif"
	}
	fmt.Fprintf(w, "  fields     %s\n", fields)
	for _, s := range p.Video.Streams {
		what := "copied"
		if s.Index == p.Video.Stream().Index {
			what = "restored, encoded by " + p.Encoding.Encoder
		}
		fmt.Fprintf(w, "  stream %-3d %s %s, %s\n", s.Index, s.Kind, s.Codec, what)
	}
	if n := len(p.Video.Chapters); n > 0 {
		fmt.Fprintf(w, "  chapters   %d\n", n)
	}
	fmt.Fprintf(w, "  container  %s\n", p.Encoding.Muxer)
	fmt.Fprintf(w, "  segments   %d\n", len(p.Segments))
	fmt.Fprintf(w, "  disk       about %d MB while at work, %d MB for the result\n", p.WorkBytes>>20, p.OutBytes>>20)
	for _, note := range p.Encoding.Notes {
		fmt.Fprintf(w, "  note       %s\n", note)
	}
	if p.Index.Truncated != "" {
		fmt.Fprintf(w, "  note       truncated: %s\n", p.Index.Truncated)
	}
}

func rateOf(p pipeline.Plan) string {
	r := p.Video.Stream().Picture.AverageRate
	if r.Den == 0 {
		return "rate unknown"
	}
	kind := "constant"
	if p.Index.Variable {
		kind = "variable"
	}
	return fmt.Sprintf("%s rate, %.3f a second", kind, float64(r.Num)/float64(r.Den))
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond).String()
}

// videos lets the daemon work on videos by the pipeline, step by step.
type videos struct {
	engine engineOf
	also   pipeline.Tell // hears of the progress too; nil: nobody
}

// Plan implements daemon.Videos.
func (v videos) Plan(ctx context.Context, job daemon.VideoJob, tell func(daemon.Progress)) (daemon.VideoPlan, error) {
	p, err := v.engine(job.Profile).PlanVideo(ctx, job.In, job.Work, v.told(tell))
	if err != nil {
		return daemon.VideoPlan{}, err
	}
	return daemon.VideoPlan{
		Segments: len(p.Segments), Frames: p.Index.Frames, WorkBytes: p.WorkBytes, OutBytes: p.OutBytes,
		Out: p.Encoding.OutputPath(job.Out),
	}, nil
}

// Analyse implements daemon.Videos.
func (v videos) Analyse(ctx context.Context, job daemon.VideoJob, segment int, tell func(daemon.Progress)) error {
	return stale(v.engine(job.Profile).AnalyseSegment(ctx, job.In, job.Work, segment, job.Careful, v.told(tell)))
}

// Render implements daemon.Videos.
func (v videos) Render(ctx context.Context, job daemon.VideoJob, segment int, tell func(daemon.Progress)) error {
	return stale(v.engine(job.Profile).RenderSegment(ctx, job.In, job.Work, segment, job.Careful, v.told(tell)))
}

// Join implements daemon.Videos.
func (v videos) Join(ctx context.Context, job daemon.VideoJob, tell func(daemon.Progress)) (daemon.Result, error) {
	r, err := v.engine(job.Profile).JoinVideo(ctx, job.In, job.Out, job.Work, job.Claim, v.told(tell))
	switch {
	case errors.Is(err, media.ErrVerify):
		return daemon.Result{}, daemon.KeepWork(err)
	case err != nil:
		return daemon.Result{}, stale(err)
	}
	return resultOf(job.In, r)
}

// stale names the pipeline's error of that kind as the daemon knows it.
func stale(err error) error {
	if errors.Is(err, pipeline.ErrStale) {
		return fmt.Errorf("%w: %w", daemon.ErrStale, err)
	}
	return err
}

// told passes on what a step tells, counted within the step.
func (v videos) told(tell func(daemon.Progress)) pipeline.Tell {
	return func(p pipeline.VideoProgress) {
		if v.also != nil {
			v.also(p)
		}
		tell(daemon.Progress{Frames: p.Done, Total: p.Length, Faces: p.Faces})
	}
}
