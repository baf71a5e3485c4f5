package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

const (
	// maxAttempts bounds the tries of a file whose errors may pass.
	maxAttempts = 8
	// enqueueBatch is the number of files noted in one transaction.
	enqueueBatch = 256
	// finishedRetention is how long River keeps a finished job; the ledger
	// has the history.
	finishedRetention = 24 * time.Hour
	// fetchPoll is how often River looks for new work. It looks by itself
	// (PollOnly): its listener on SQLite is a poll too, each 50 ms, and costs an
	// idle daemon a hundredth of a processor more.
	fetchPoll = 250 * time.Millisecond
	// fetchCooldown bounds how often River looks for work, and so the rate of
	// very short jobs.
	fetchCooldown = 20 * time.Millisecond
)

// A backoff is the pauses after the first, second, … try; the last one holds
// for all that follow.
type backoff []time.Duration

func (b backoff) after(attempt int) time.Duration {
	return b[min(max(attempt, 1), len(b))-1]
}

// retryDelays wait for about four hours together.
var retryDelays = backoff{
	10 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute,
	30 * time.Minute, time.Hour, 2 * time.Hour,
}

// photoArgs are what River keeps of a job. The file is named by its number in
// the ledger, since JSON cannot hold every path; a file has at most one job
// that is not finished.
type photoArgs struct {
	File  int64  `json:"file" river:"unique"`
	Path  string `json:"path"` // for people only
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime_ns"`
}

// Kind names the jobs in River's table.
func (photoArgs) Kind() string { return "photo" }

// openStates are those in which a job still has something to come.
var openStates = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
	rivertype.JobStateRetryable, rivertype.JobStateScheduled,
}

// queue is River on the ledger's database.
type queue struct {
	ledger  *Ledger
	lanes   lanes   // zero: all jobs go to River's default queue
	member  *member // nil = the ledger isn't shared, or nothing is worked on
	works   bool    // the client fetches
	client  *river.Client[*sql.Tx]
	isVideo func(name string) bool // nil = no videos
	runner  *videoRunner           // nil = no videos, or nothing is worked on
	photos  *photosInWork          // nil = nothing is worked on
	pauses  sync.Mutex             // held by pause
	pausing atomic.Bool            // River hasn't seen a pause yet
}

// openQueue brings River's tables up to date and makes its client; nothing
// runs before start. Without videos, v is nil; without notices, n; where the
// ledger isn't shared, m.
func openQueue(ctx context.Context, l *Ledger, w *worker, v *videoWorker, n *noticeWorker, m *member, workers int, log *slog.Logger) (*queue, error) {
	log = quiet(log)
	if l.shared == nil { // else a migration of its own has done it
		if err := migrateQueue(ctx, riversqlite.New(l.db), log); err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
	}
	registered := river.NewWorkers()
	err := river.AddWorkerSafely(registered, w)
	if v != nil {
		err = errors.Join(err, river.AddWorkerSafely(registered, &stepWorker[videoArgs]{videoWorker: v}),
			river.AddWorkerSafely(registered, &stepWorker[segmentArgs]{videoWorker: v}),
			river.AddWorkerSafely(registered, &stepWorker[joinArgs]{videoWorker: v}))
	}
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}}
	if n != nil {
		err = errors.Join(err, river.AddWorkerSafely(registered, n))
	}
	if n != nil && (m == nil || m.daemon) { // workers only note what is to be told
		queues[noticeQueue] = river.QueueConfig{MaxWorkers: noticeWorkers, FetchPollInterval: noticePoll}
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	cfg := &river.Config{
		Logger:                      log,
		Workers:                     registered,
		Queues:                      queues,
		JobTimeout:                  w.timeout,
		RescueStuckJobsAfter:        max(w.timeout, videoTimeout) + time.Hour,
		MaxAttempts:                 w.attempts,
		PollOnly:                    true,
		FetchPollInterval:           fetchPoll,
		FetchCooldown:               fetchCooldown,
		CompletedJobRetentionPeriod: finishedRetention,
		CancelledJobRetentionPeriod: finishedRetention,
		DiscardedJobRetentionPeriod: finishedRetention,
	}
	q := &queue{ledger: l, photos: &w.active, works: true}
	if m != nil {
		if len(m.taken) == 0 {
			delete(queues, river.QueueDefault)
		}
		q.lanes, q.member, q.works = m.lanes, m, len(queues) > 0
		cfg.ID, cfg.Middleware = m.id, []rivertype.Middleware{m.held}
		if !q.works {
			cfg.Queues = nil
		}
	}
	if q.client, err = newClient(l, m, cfg); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	if n != nil {
		l.ended = (&notices{l, n.cfg, q.client, n.log}).add
	}
	if v != nil {
		q.isVideo, q.runner = v.isVideo, v.videoRunner
	}
	return q, nil
}

// newClient makes River's client on the ledger's database.
func newClient(l *Ledger, m *member, cfg *river.Config) (*river.Client[*sql.Tx], error) {
	if l.shared == nil {
		return river.NewClient(riversqlite.New(l.db), cfg)
	}
	driver := &sharedDriver{Driver: riverpgxv5.New(l.shared.pool), postgres: l.shared}
	if m != nil {
		driver.fetch = &fetcher{m.taken, m.holds}
	}
	return river.NewClient[*sql.Tx](driver, cfg)
}

// start begins to work, where anything is taken.
func (q *queue) start(ctx context.Context) error {
	if !q.works {
		return nil
	}
	if err := q.client.Start(ctx); err != nil {
		return fmt.Errorf("queue: start: %w", err)
	}
	return nil
}

// migrateQueue brings River's tables up to date.
func migrateQueue[TTx any](ctx context.Context, driver riverdriver.Driver[TTx], log *slog.Logger) error {
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: log})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return fmt.Errorf("prepare the tables: %w", err)
	}
	return nil
}

// foundFile is a settled file.
type foundFile struct {
	path    string
	version Version
}

func (f foundFile) args(id int64) photoArgs {
	return photoArgs{id, f.path, f.version.Size, f.version.MtimeNS}
}

// enqueue notes files as queued and makes a job for each, in one transaction.
// It returns those that have to wait because an earlier version is in work.
func (q *queue) enqueue(ctx context.Context, files []foundFile) (busy []foundFile, err error) {
	var stale []int64 // runs whose work is of no use any more
	err = q.ledger.inTx(ctx, func(tx *sql.Tx) error {
		var fresh []river.InsertManyParams
		for _, f := range files {
			rec, known, err := q.ledger.lookup(ctx, tx, f.path)
			switch {
			case err != nil:
				return err
			case !known:
				id, err := insert(ctx, tx, f.path, f.version)
				if err != nil {
					return err
				}
				fresh = append(fresh, q.job(f, id))
			case rec.Version == f.version:
				// Queued, done or failed as it is.
			default:
				ok, run, err := q.again(ctx, tx, rec, f)
				if err != nil {
					return err
				}
				if !ok {
					busy = append(busy, f)
				}
				if run != 0 {
					stale = append(stale, run)
				}
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		_, err := q.client.InsertManyTx(ctx, tx, fresh)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("enqueue: %w", err)
	}
	for _, run := range stale {
		q.discard(ctx, run)
	}
	return busy, nil
}

// job is the first job of a file.
func (q *queue) job(f foundFile, id int64) river.InsertManyParams {
	if q.takesVideo(f.path) {
		return river.InsertManyParams{Args: f.videoArgs(id), InsertOpts: uniqueOpts(priorityAnalyse, q.lanes.plan)}
	}
	return river.InsertManyParams{Args: f.args(id), InsertOpts: uniqueOpts(priorityPhoto, q.lanes.photo)}
}

func (q *queue) takesVideo(path string) bool {
	return q.isVideo != nil && q.isVideo(filepath.Base(path))
}

// again queues another version of a known file; false = its earlier version is
// in work. stale is as videoAgain's.
func (q *queue) again(ctx context.Context, tx *sql.Tx, rec Record, f foundFile) (ok bool, stale int64, err error) {
	if q.takesVideo(f.path) {
		return q.videoAgain(ctx, tx, rec, f)
	}
	ok, err = q.photoAgain(ctx, tx, rec, f)
	return ok, 0, err
}

func (q *queue) photoAgain(ctx context.Context, tx *sql.Tx, rec Record, f foundFile) (bool, error) {
	if rec.State == Running {
		return false, nil
	}
	res, err := q.client.InsertTx(ctx, tx, f.args(rec.ID), uniqueOpts(priorityPhoto, q.lanes.photo))
	if err != nil {
		return false, fmt.Errorf("queue %s: %w", f.path, err)
	}
	if res.UniqueSkippedAsDuplicate {
		switch res.Job.State {
		case rivertype.JobStateRunning:
			return false, nil // its end is not noted yet
		case rivertype.JobStateRetryable, rivertype.JobStateScheduled:
			// It waits for another try of the old version.
			if _, err := q.client.JobRetryTx(ctx, tx, res.Job.ID); err != nil {
				return false, fmt.Errorf("queue %s: %w", f.path, err)
			}
		}
	}
	return true, renew(ctx, tx, rec.ID, f.version)
}

// atLeast passes only the log records of a level and above.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level && h.Handler.Enabled(ctx, level)
}

func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(attrs), h.level}
}

func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}
