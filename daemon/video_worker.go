package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"
)

// videoTimeout is when River gives a step up. What tells no progress is
// stopped long before.
const videoTimeout = 24 * time.Hour

// stepWorker is River's view of one kind of steps.
type stepWorker[T stepArgs] struct {
	river.WorkerDefaults[T]
	*videoWorker
}

// Timeout is real, as for photos.
func (w *stepWorker[T]) Timeout(*river.Job[T]) time.Duration { return videoTimeout }

// NextRetry is asked for after an error that may pass.
func (w *stepWorker[T]) NextRetry(job *river.Job[T]) time.Time {
	return time.Now().Add(w.retry(job.Attempt))
}

// Work does one job; what it returns is as for photos.
func (w *stepWorker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	w.active.begun.Add(1)
	return w.work(ctx, job.JobRow, job.Args.key(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := river.JobCompleteTx[*riversqlite.Driver](ctx, tx, job)
		return err
	})
}

// videoWorker works on videos for River.
type videoWorker struct {
	*videoRunner
	isVideo  func(name string) bool
	schedule schedule
	settings func(profile string, video bool) string
	roots    func() []root
	lanes    lanes
	lost     error         // of a file below none of them
	wait     time.Duration // before room is looked for again
	retry    func(attempt int) time.Duration
}

// stepJob is a step that is a job.
type stepJob struct {
	step
	row      *rivertype.JobRow
	client   *river.Client[*sql.Tx]
	complete func(context.Context, *sql.Tx) error
	log      *slog.Logger
}

func (w *videoWorker) work(ctx context.Context, row *rivertype.JobRow, key stepKey, complete func(context.Context, *sql.Tx) error) error {
	st, ok, err := w.find(ctx, key)
	if err != nil {
		w.log.ErrorContext(ctx, "ledger not readable", "job", row.ID, "stage", "ledger", "error", err)
		return err
	}
	if !ok {
		return nil // noted before a crash, failed or changed meanwhile
	}
	st.try = row.Attempt
	j := stepJob{st, row, river.ClientFromContext[*sql.Tx](ctx), complete, w.logStep(st).With("job", row.ID)}
	if wait, why := w.schedule.wait(); wait > 0 {
		j.log.DebugContext(ctx, "video waits for its hours", "wait", wait.String())
		if err := w.ledger.holdStep(ctx, j.step, why); err != nil {
			return err
		}
		return river.JobSnooze(wait)
	}
	began := time.Now()
	if j.rec.Started.IsZero() {
		j.rec.Started = began
	}
	var end outcome
	r, ok := rootOf(w.roots(), st.rec.Path)
	if !ok {
		err = w.lost
	} else if j.out, err = r.plan(st.rec.Path); err == nil {
		j.top, j.profile, j.settings, j.lane = r.out, r.profile, w.settings(r.profile, true), w.lanes.segment
		var leave func()
		end, leave, err = w.do(ctx, j.step)
		defer leave()
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("took longer than %s", videoTimeout)
	}
	took := time.Since(began)
	w.active.metrics.worked(string(j.video.stage), took)
	j.log = j.log.With("milliseconds", took.Milliseconds())
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	return w.end(late, j, end, err, errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), errCancelled))
}

// find looks up the step of a job; false = there is nothing to do any more.
func (w *videoWorker) find(ctx context.Context, key stepKey) (step, bool, error) {
	rec, ok, err := w.ledger.byID(ctx, key.file)
	if err != nil || !ok || rec.State == Done || rec.State == Failed {
		return step{}, false, err
	}
	if key.stage == stagePlan {
		v, stale, err := w.ledger.openVideo(ctx, rec)
		if err != nil {
			return step{}, false, err
		}
		if stale != 0 {
			w.discard(ctx, stale)
		}
		return step{rec: rec, video: *v, work: w.ledger.workDir(v.run)}, v.stage == stagePlan, nil
	}
	v, err := w.ledger.videoRun(ctx, w.ledger.db, key.run)
	if err != nil || v == nil || v.kept || v.stage != key.stage {
		return step{}, false, err
	}
	return step{rec: rec, video: *v, segment: key.segment, work: w.ledger.workDir(v.run)}, true, nil
}

// end notes how a step ended and tells River: nil completes the job, a cancel
// error ends it for good, a snooze has it wait, and any other error has River
// try again. interrupted says that the daemon stops.
func (w *videoWorker) end(ctx context.Context, j stepJob, end outcome, err error, interrupted bool) error {
	if err == nil {
		if err = w.note(ctx, j, end); err == nil {
			return nil
		}
	}
	var unread *errUnread
	var none *noRoomError
	cancel := func(tx *sql.Tx) error { return cancelJobs(ctx, j.client, tx, j.rec.ID, j.row.ID) }
	switch {
	case errors.Is(err, errTaken):
		j.log.WarnContext(ctx, "video's step dropped: it isn't this machine's any more")
		return err
	case errors.Is(err, errGone):
		return river.JobCancel(err)
	case errors.As(err, &unread):
		j.log.InfoContext(ctx, "video put aside until it is seen again", "reason", unread.reason)
		err = errors.Join(err, w.ledger.videoDropped(ctx, j.step, err.Error(), cancel))
		w.over(ctx, j.step)
		return river.JobCancel(err)
	case errors.As(err, &none) && !deaf(err):
		if !waitingForRoom(j.rec.Reason) {
			j.log.WarnContext(ctx, "video waits for room on the disk", "reason", err.Error())
		}
		if err := w.ledger.holdStep(ctx, j.step, err.Error()); err != nil {
			return err
		}
		return river.JobSnooze(w.wait)
	case interrupted:
		j.log.InfoContext(ctx, "video put back")
		return errors.Join(err, context.Canceled, w.ledger.holdStep(ctx, j.step, ""))
	case errors.Is(err, errLost), errors.Is(err, ErrStale) && j.video.continued:
		return w.anew(ctx, j, err)
	case j.row.Attempt < j.row.MaxAttempts && IsTransient(err) && !deaf(err):
		j.log.WarnContext(ctx, "video to be tried again", "error", err, "attempt", j.row.Attempt,
			"wait", w.retry(j.row.Attempt).String())
		return errors.Join(err, w.ledger.holdStep(ctx, j.step, err.Error()))
	}
	return w.fail(ctx, j, err, cancel)
}

func deaf(err error) bool {
	var d *deafError
	return errors.As(err, &d)
}

// note notes a step that went well, completes its job and makes the next ones,
// all in one transaction.
func (w *videoWorker) note(ctx context.Context, j stepJob, end outcome) error {
	next := func(tx *sql.Tx, v *videoRow) error {
		if err := j.complete(ctx, tx); err != nil {
			return err
		}
		if v.stage == j.video.stage {
			return nil
		}
		return w.lanes.insertSteps(ctx, j.client, tx, v, j.rec.Path)
	}
	switch {
	case end.known, j.video.stage == stageJoin:
		err := w.ledger.videoDone(ctx, j.step, end.result, func(tx *sql.Tx) error {
			return errors.Join(mark(ctx, tx, w.roots(), j.rec), j.complete(ctx, tx))
		})
		if err != nil {
			return err
		}
		w.active.metrics.ended(kindVideo, Done, end.result, nil, time.Since(j.rec.Started))
		w.discard(ctx, j.video.run)
		if end.known {
			j.log.InfoContext(ctx, "video done before", "out", end.result.Out, "same_as", end.result.sameAs)
		} else {
			j.log.InfoContext(ctx, "video done", "out", end.result.Out)
		}
	case j.video.stage == stagePlan:
		if err := w.ledger.planned(ctx, j.step, end.plan, next); err != nil {
			return unnoted(err)
		}
		j.log.InfoContext(ctx, "video planned", "segments", end.plan.Segments, "frames", end.plan.Frames)
	default:
		if err := w.ledger.segmentDone(ctx, j.step, end.told, next); err != nil {
			return unnoted(err)
		}
		j.log.DebugContext(ctx, "segment done", "frames", end.told.Frames, "faces", end.told.Faces)
	}
	return nil
}

// unnoted tells errors of the ledger, which may pass, from its refusals.
func unnoted(err error) error {
	if errors.Is(err, ErrForeign) || errors.Is(err, errGone) {
		return err
	}
	return Transient(err)
}

// anew has a video planned again.
func (w *videoWorker) anew(ctx context.Context, j stepJob, why error) error {
	j.log.InfoContext(ctx, "video is begun again", "reason", why.Error())
	err := w.ledger.videoAnew(ctx, j.step, func(tx *sql.Tx) error {
		if err := cancelJobs(ctx, j.client, tx, j.rec.ID, j.row.ID); err != nil {
			return err
		}
		v := videoRow{file: j.rec.ID, version: j.rec.Version, stage: stagePlan}
		return w.lanes.insertSteps(ctx, j.client, tx, &v, j.rec.Path)
	})
	w.over(ctx, j.step)
	return river.JobCancel(errors.Join(why, err))
}

// fail notes a failure and ends the video's other steps.
func (w *videoWorker) fail(ctx context.Context, j stepJob, err error, cancel func(*sql.Tx) error) error {
	var crash *panicError
	var kept *KeptError
	keep := errors.As(err, &kept)
	reason := err.Error()
	if keep {
		reason += "; its work is kept in " + j.work
	}
	switch {
	case errors.As(err, &crash):
		j.log.ErrorContext(ctx, "video failed by a panic", "error", err, "stack", string(crash.stack))
	case errors.Is(err, errCancelled):
		j.log.InfoContext(ctx, "video cancelled", "reason", reason)
	default:
		j.log.ErrorContext(ctx, "video failed", "error", reason)
	}
	w.active.metrics.ended(kindVideo, Failed, Result{}, err, 0)
	err = errors.Join(err, w.ledger.videoFailed(ctx, j.step, reason, keep, cancel))
	w.active.stop(j.video.run, errGone)
	if !keep {
		w.discard(ctx, j.video.run)
	}
	return river.JobCancel(err)
}

// over stops the other steps of a run that is not in the ledger any more, and
// removes its folder.
func (w *videoWorker) over(ctx context.Context, st step) {
	w.active.stop(st.video.run, errGone)
	w.discard(ctx, st.video.run)
}

// discard removes the folder of a run, at the latest at the next start.
func (r *videoRunner) discard(ctx context.Context, run int64) {
	if err := r.active.discard(run, r.ledger.workDir(run)); err != nil {
		r.log.WarnContext(ctx, "work folder not removed", "error", err)
	}
}
