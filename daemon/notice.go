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

	"restored/config"
)

const (
	// noticeQueue is River's queue of notices, so that they wait for no photo and
	// no photo for them.
	noticeQueue = "notices"
	// noticeWorkers is how many are told at a time.
	noticeWorkers = 2
	// noticePoll is how often River looks for new ones.
	noticePoll = time.Second
	// maxNotices bounds those that wait; of what ends meanwhile nobody is told.
	maxNotices = 10_000
	// noticeAge is how long it is tried to tell of an end.
	noticeAge = 24 * time.Hour
	// noticeTries is more than there is time for.
	noticeTries = 25
)

// Who is told.
const (
	targetURL     = "url"
	targetCommand = "command"
)

// The longest of noticeDelays lies below farAhead.
var noticeDelays = backoff{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
}

// Notice tells of the end of a file's work.
type Notice struct {
	Event State     `json:"event"` // done or failed
	Time  time.Time `json:"time"`  // of the end
	Job   JobInfo   `json:"job"`   // with the report, if no other version is in work by now
}

// noticeArgs are what River keeps of a notice for one target.
type noticeArgs struct {
	Target string `json:"target"`
	Notice Notice `json:"notice"`
	// File is 0: jobs with the number of a file are the work on it.
	File int64 `json:"file"`
}

// Kind names the jobs in River's table.
func (noticeArgs) Kind() string { return "notice" }

// notices are the jobs that tell of files' ends, made in the transaction that
// notes the end: an end of which nobody hears, or a notice of an end that never
// was, there is not.
type notices struct {
	ledger *Ledger
	cfg    config.Notify
	client *river.Client[*sql.Tx]
	log    *slog.Logger
}

// targets are who is told of a state.
func targets(cfg config.Notify, state State) []string {
	var all []string
	if cfg.URL != "" {
		all = append(all, targetURL)
	}
	if len(commandOf(cfg, state)) > 0 {
		all = append(all, targetCommand)
	}
	return all
}

// commandOf is the command for a state.
func commandOf(cfg config.Notify, state State) []string {
	if state == Failed {
		return cfg.OnFailed
	}
	return cfg.OnDone
}

// notifies tells whether anybody is told of anything.
func notifies(cfg config.Notify) bool {
	return len(targets(cfg, Done))+len(targets(cfg, Failed)) > 0
}

// add makes the notices of a file that has just ended.
func (n *notices) add(ctx context.Context, tx *sql.Tx, id int64) error {
	rec, ok, err := n.ledger.recordByID(ctx, tx, id)
	if err != nil || !ok {
		return err
	}
	tell := targets(n.cfg, rec.State)
	if len(tell) == 0 {
		return nil
	}
	waiting, err := noticesWaiting(ctx, tx)
	if err != nil {
		return err
	}
	if waiting >= maxNotices {
		n.log.WarnContext(ctx, "too many notices wait: nobody is told", "file", rec.Path, "waiting", waiting)
		return nil
	}
	info := infoOf(rec, nil)
	info.Report = nil // looked up when it is told
	var jobs []river.InsertManyParams
	for _, target := range tell {
		jobs = append(jobs, river.InsertManyParams{
			Args:       noticeArgs{Target: target, Notice: Notice{rec.State, rec.Finished, info}},
			InsertOpts: &river.InsertOpts{Queue: noticeQueue, MaxAttempts: noticeTries},
		})
	}
	if _, err := n.client.InsertManyTx(ctx, tx, jobs); err != nil {
		return fmt.Errorf("notices: %w", err)
	}
	return nil
}

// noticesWaiting counts those that are still to be told.
func noticesWaiting(ctx context.Context, db querier) (n int, err error) {
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM river_job
		WHERE state IN ('available', 'running', 'retryable', 'scheduled') AND queue = $1`, noticeQueue).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("notices: %w", err)
	}
	return n, nil
}

// forgetNotices removes those that are still to be told, where nobody is to be
// told any more.
func forgetNotices(ctx context.Context, l *Ledger) error {
	_, err := l.db.ExecContext(ctx, `DELETE FROM river_job
		WHERE state IN ('available', 'running', 'retryable', 'scheduled') AND queue = $1`, noticeQueue)
	if err != nil {
		return fmt.Errorf("notices: %w", err)
	}
	return nil
}

// noticeWorker is River's view of a notice.
type noticeWorker struct {
	river.WorkerDefaults[noticeArgs]
	sender
	ledger  *Ledger
	retry   func(attempt int) time.Duration
	metrics *metrics
	log     *slog.Logger
}

// Timeout is longer than the sender's own.
func (w *noticeWorker) Timeout(*river.Job[noticeArgs]) time.Duration {
	return w.cfg.Timeout + 10*time.Second
}

// NextRetry is asked for after an error.
func (w *noticeWorker) NextRetry(job *river.Job[noticeArgs]) time.Time {
	return time.Now().Add(w.retry(job.Attempt))
}

// Work tells one target once.
func (w *noticeWorker) Work(ctx context.Context, job *river.Job[noticeArgs]) error {
	n, target := job.Args.Notice, job.Args.Target
	log := w.log.With("job", job.ID, "file", n.Job.Path, "target", target)
	rec, ok, err := w.ledger.byID(ctx, n.Job.ID)
	if err != nil {
		return err
	}
	paths := noticePaths{n.Job.Path, n.Job.Out}
	if ok {
		paths.in = rec.Path // its bytes, where they are no UTF-8
		if rec.State == n.Event && rec.Completed == n.Job.Completed {
			n.Job.Report, paths.out = rec.Report, rec.Out
		}
	}
	err = w.send(ctx, job.ID, target, n, paths)
	switch {
	case err == nil:
		w.metrics.noticed(target, "told")
		log.DebugContext(ctx, "notice told")
		// Noted at once: a kill just then must not have it told again.
		return w.complete(ctx, job)
	case errors.Is(ctx.Err(), context.Canceled):
		return err // the daemon stops
	case time.Since(n.Time) > noticeAge || job.Attempt >= job.MaxAttempts:
		w.metrics.noticed(target, "given up")
		log.ErrorContext(ctx, "notice given up", "error", err, "attempt", job.Attempt)
		return river.JobCancel(err)
	}
	w.metrics.noticed(target, "failed")
	log.WarnContext(ctx, "notice to be tried again", "error", err, "attempt", job.Attempt, "wait", w.retry(job.Attempt).String())
	return err
}

func (w *noticeWorker) complete(ctx context.Context, job *river.Job[noticeArgs]) error {
	return w.ledger.inTx(ctx, func(tx *sql.Tx) error {
		_, err := river.JobCompleteTx[*riversqlite.Driver](ctx, tx, job)
		return err
	})
}
