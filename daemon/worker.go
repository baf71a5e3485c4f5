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
)

// worker is River's view of the Processor.
type worker struct {
	river.WorkerDefaults[photoArgs]
	ledger    *Ledger
	processor Processor
	schedule  schedule
	settings  func(profile string, video bool) string
	roots     func() []root
	lost      error // of a file below none of them
	timeout   time.Duration
	attempts  int // the most tries of a file
	room      room
	wait      time.Duration // before room is looked for again
	retry     func(attempt int) time.Duration
	log       *slog.Logger
	active    photosInWork
	metrics   *metrics
}

// Timeout is real, so that River rescues a job that hangs.
func (w *worker) Timeout(*river.Job[photoArgs]) time.Duration { return w.timeout }

// NextRetry is asked for after an error that may pass.
func (w *worker) NextRetry(job *river.Job[photoArgs]) time.Time {
	return time.Now().Add(w.retry(job.Attempt))
}

// Work does one job: nil completes it, a cancel error ends it for good, and
// any other error has River try again.
func (w *worker) Work(ctx context.Context, job *river.Job[photoArgs]) error {
	log := w.log.With("job", job.ID, "file", job.Args.Path)
	// Before anything is asked of the ledger, as for videos: who cancels the file
	// there is either seen by what follows, or stops it.
	ctx, leave := w.active.enter(ctx, job.Args.File)
	defer leave()
	rec, ok, err := w.ledger.byID(ctx, job.Args.File)
	if err != nil {
		log.ErrorContext(ctx, "ledger not readable", "stage", "ledger", "error", err)
		return err
	}
	if !ok {
		return river.JobCancel(fmt.Errorf("the ledger has no file %d", job.Args.File))
	}
	if rec.State == Done || rec.State == Failed {
		return nil // noted before a crash, or while the job was waiting
	}
	if wait, why := w.schedule.wait(); wait > 0 {
		log.DebugContext(ctx, "photo waits for its hours", "wait", wait.String())
		if err := w.ledger.requeue(ctx, rec.ID, why, true); err != nil {
			return err
		}
		return river.JobSnooze(wait)
	}
	var none *noRoomError
	if err := w.hasRoom(rec); errors.As(err, &none) {
		if !waitingForRoom(rec.Reason) {
			log.WarnContext(ctx, "photo waits for room on the disk", "reason", err.Error())
		}
		if err := w.ledger.requeue(ctx, rec.ID, err.Error(), true); err != nil {
			return err
		}
		return river.JobSnooze(w.wait)
	}
	began := time.Now()
	res, err := w.try(ctx, rec)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("took longer than %s (queue.timeout)", w.timeout)
	}
	state, err := w.ledger.end(ctx, rec.ID, res, err, job.Attempt < job.MaxAttempts, func(tx *sql.Tx) error {
		if err := mark(context.WithoutCancel(ctx), tx, w.roots(), rec); err != nil {
			return err
		}
		_, err := river.JobCompleteTx[*riversqlite.Driver](context.WithoutCancel(ctx), tx, job)
		return err
	})
	took := time.Since(began)
	w.metrics.worked(kindPhoto, took)
	w.metrics.ended(kindPhoto, state, res, err, took)
	log = log.With("milliseconds", took.Milliseconds())
	w.report(ctx, log, state, res, err, job)
	if state == Failed {
		return river.JobCancel(err)
	}
	return err
}

// hasRoom asks for room for an output as large as the photo. What is wrong
// otherwise, the work will meet too.
func (w *worker) hasRoom(rec Record) error {
	r, ok := rootOf(w.roots(), rec.Path)
	if !ok {
		return nil
	}
	return w.room.check(need{r.out, rec.Version.Size})
}

// try finds where the output belongs and works on the file.
func (w *worker) try(ctx context.Context, rec Record) (Result, error) {
	r, ok := rootOf(w.roots(), rec.Path)
	if !ok {
		return Result{}, w.lost
	}
	out, err := r.plan(rec.Path)
	if err != nil {
		return Result{}, err
	}
	return w.ledger.try(ctx, w.processor, task{rec: rec, out: out, top: r.out, profile: r.profile, settings: w.settings(r.profile, false)})
}

func (w *worker) report(ctx context.Context, log *slog.Logger, state State, res Result, err error, job *river.Job[photoArgs]) {
	var unread *errUnread
	var crash *panicError
	switch {
	case state == Done && res.sameAs != "":
		log.InfoContext(ctx, "photo done before", "out", res.Out, "same_as", res.sameAs)
	case state == Done:
		log.InfoContext(ctx, "photo done", "out", res.Out)
	case errors.As(err, &unread):
		log.InfoContext(ctx, "photo put aside until it is seen again", "reason", unread.reason)
	case errors.As(err, &crash):
		log.ErrorContext(ctx, "photo failed by a panic", "error", err, "stack", string(crash.stack))
	case errors.Is(err, errCancelled):
		log.InfoContext(ctx, "photo cancelled")
	case errors.Is(err, errTaken):
		log.WarnContext(ctx, "photo dropped: it isn't this machine's any more")
	case state == Queued && errors.Is(err, context.Canceled):
		log.InfoContext(ctx, "photo put back")
	case state == Queued:
		log.WarnContext(ctx, "photo to be tried again", "error", err, "attempt", job.Attempt,
			"wait", w.retry(job.Attempt).String())
	default:
		log.ErrorContext(ctx, "photo failed", "error", err)
	}
}
