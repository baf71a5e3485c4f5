package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// RunOptions are for [RunVideo].
type RunOptions struct {
	Stall   time.Duration // as config's video.stall
	Reserve int64         // as config's disk.reserve
	Log     *slog.Logger
}

// RunVideo does all steps of a video now and without a queue, one after the
// other, watched over as in the daemon: a step that gets no further is tried
// once more and then is the error, and where there is no room on the disk it
// waits for some. It makes job.Work and leaves it to the caller, in every case:
// a further try goes on with what lies there. The folder of job.Out is made if
// it is missing.
//
// In a [Processor], job.Claim is to answer Job.Overwrite for Job.Out, which is
// claimed already, and to ask Job.Claim for other paths only.
func RunVideo(ctx context.Context, v Videos, job VideoJob, o RunOptions) (Result, error) {
	r := &videoRunner{
		videos: v, room: room{reserveOf(o.Reserve), freeSpace}, stall: o.Stall, grace: cancelTimeout, log: o.Log,
	}
	return r.all(ctx, job, roomWait)
}

// all does the steps; wait is the pause before room is looked for again.
func (r *videoRunner) all(ctx context.Context, job VideoJob, wait time.Duration) (Result, error) {
	info, err := os.Lstat(job.In)
	if err != nil {
		return Result{}, err
	}
	for _, dir := range []string{job.Work, filepath.Dir(job.Out)} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return Result{}, err
		}
	}
	st := step{
		rec: Record{ID: job.ID, Path: job.In, Version: versionOf(info)}, video: videoRow{stage: stagePlan},
		out: job.Out, work: job.Work,
	}
	end, err := r.one(ctx, st, job, 0, wait)
	if err != nil {
		return Result{}, err
	}
	plan := end.plan
	st.video = videoRow{
		segments: plan.Segments, frames: plan.Frames, workBytes: plan.WorkBytes, outBytes: plan.OutBytes, out: plan.Out,
	}
	for _, st.video.stage = range []stage{stageAnalyse, stageRender} {
		for st.segment = range plan.Segments {
			if _, err := r.one(ctx, st, job, plan.Segments, wait); err != nil {
				return Result{}, err
			}
		}
	}
	st.video.stage = stageJoin
	end, err = r.one(ctx, st, job, 0, wait)
	return end.result, err
}

// one does one step, when there is room for the rest of the work.
func (r *videoRunner) one(ctx context.Context, st step, job VideoJob, segments int, wait time.Duration) (outcome, error) {
	if st.video.stage != stageJoin {
		job.Claim = nil
	}
	left := segments // still to be rendered
	if st.video.stage == stageRender {
		left -= st.segment
	}
	inWork := need{st.work, st.video.workBytes / int64(max(segments, 1)) * int64(left)}
	told := false
	for {
		var end outcome
		err := r.room.check(inWork, need{st.outDir(), st.video.outBytes})
		if err == nil {
			end, err = r.entered(ctx, st, job)
		}
		var none *noRoomError
		if !errors.As(err, &none) || deaf(err) {
			return end, err
		}
		if !told {
			r.logStep(st).WarnContext(ctx, "video waits for room on the disk", "reason", err.Error())
			told = true
		}
		select {
		case <-ctx.Done():
			return outcome{}, fmt.Errorf("%s: %w", job.In, errors.Join(ctx.Err(), err))
		case <-time.After(wait):
		}
	}
}

func (r *videoRunner) entered(ctx context.Context, st step, job VideoJob) (outcome, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p := r.active.enter(st, stop)
	end, err := r.attempt(ctx, st, p, job)
	return end, errors.Join(err, r.active.leave(p))
}
