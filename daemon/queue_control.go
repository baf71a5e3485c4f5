package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
)

// photosInWork are the photos that this process works on, by their numbers.
type photosInWork struct {
	begun atomic.Int64 // jobs that River has handed over, also those that go back at once

	mu   sync.Mutex
	jobs map[int64]photoInWork
}

type photoInWork struct {
	stop  context.CancelCauseFunc
	began time.Time
}

// enter notes a photo until leave is called. ctx ends with errCancelled if
// somebody cancels it.
func (p *photosInWork) enter(ctx context.Context, id int64) (_ context.Context, leave func()) {
	p.begun.Add(1)
	ctx, stop := context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.jobs == nil {
		p.jobs = map[int64]photoInWork{}
	}
	p.jobs[id] = photoInWork{stop, time.Now()}
	return ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		stop(nil)
		delete(p.jobs, id)
	}
}

// of is what stops a photo; nil = nobody works on it.
func (p *photosInWork) of(id int64) context.CancelCauseFunc {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.jobs[id].stop
}

// busy tells whether anybody works on a file, whose run is 0 where it is no
// video in work: this process, or any of the cluster.
func (q *queue) busy(ctx context.Context, db rowser, id, run int64) (bool, error) {
	if q.ledger.shared != nil {
		_, running, err := jobsOpen(ctx, db, id)
		return running, err
	}
	return q.busyHere(id, run), nil
}

func (q *queue) busyHere(id, run int64) bool {
	return q.photos != nil && q.photos.of(id) != nil || q.runner != nil && run != 0 && len(q.runner.active.of(run)) > 0
}

// stopWork cancels what this process, or another of the cluster, does with a file.
func (q *queue) stopWork(ctx context.Context, id, run int64) error {
	if q.ledger.shared != nil {
		return q.ledger.inTx(ctx, func(tx *sql.Tx) error { return cancelJobs(ctx, q.client, tx, id, 0) })
	}
	if q.runner != nil {
		q.runner.active.stop(run, errCancelled)
	}
	if q.photos == nil {
		return nil
	}
	if stop := q.photos.of(id); stop != nil {
		stop(errCancelled)
	}
	return nil
}

// idle waits until nobody works on a file any more.
func (q *queue) idle(ctx context.Context, id, run int64) error {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for {
		busy, err := q.busy(ctx, q.ledger.db, id, run)
		if err != nil || !busy {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// discard removes the work folder of a run, at the latest at the next start; 0
// = there is none.
func (q *queue) discard(ctx context.Context, run int64) {
	if q.runner != nil && run != 0 {
		q.runner.discard(ctx, run)
	}
}

// pauseWait is how long River may take to see a pause: it looks each two
// seconds.
const pauseWait = 10 * time.Second

// pause returns when nothing new is begun any more.
func (q *queue) pause(ctx context.Context) error {
	q.pauses.Lock()
	defer q.pauses.Unlock()
	if paused, err := q.paused(ctx); err != nil || paused {
		return err
	}
	var seen <-chan *river.Event
	if q.photos != nil && q.ledger.shared == nil { // this process works, and no other
		events, cancel := q.client.Subscribe(river.EventKindQueuePaused)
		defer cancel()
		seen = events
	}
	q.pausing.Store(true)
	defer q.pausing.Store(false)
	if err := q.client.QueuePause(ctx, river.QueueDefault, nil); err != nil {
		return fmt.Errorf("queue: pause: %w", err)
	}
	if seen == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pauseWait)
	defer cancel()
	select {
	case <-seen:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("queue: the pause is noted, but not seen yet: %w", ctx.Err())
	}
}

func (q *queue) resume(ctx context.Context) error {
	if err := q.client.QueueResume(ctx, river.QueueDefault, nil); err != nil {
		return fmt.Errorf("queue: resume: %w", err)
	}
	return nil
}

// paused tells whether nothing new is begun: not yet while pause waits for River
// to see it. Before its first start there is no queue to pause.
func (q *queue) paused(ctx context.Context) (bool, error) {
	row, err := q.client.QueueGet(ctx, river.QueueDefault)
	if errors.Is(err, river.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("queue: %w", err)
	}
	return row.PausedAt != nil && !q.pausing.Load(), nil
}

// nextTry is when a file that waits is tried again; nil = as soon as it is its
// turn.
func (q *queue) nextTry(ctx context.Context, id int64) (*time.Time, error) {
	seconds := "unixepoch(scheduled_at)"
	if q.ledger.shared != nil {
		seconds = "CAST(extract(epoch FROM scheduled_at) AS BIGINT)"
	}
	var first *int64
	err := q.ledger.db.QueryRowContext(ctx, "SELECT min("+seconds+`) FROM river_job
		WHERE state IN ('retryable', 'scheduled') AND CAST(args ->> 'file' AS BIGINT) = $1`, id).Scan(&first)
	if err != nil || first == nil {
		return nil, err
	}
	at := time.Unix(*first, 0)
	return &at, nil
}
