package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// recover puts what the last process left in work back into the queue, and
// gives a job to every queued file that has none. The caller holds the lock on
// the state folder, so nobody else's jobs are in this database, unless it is
// shared: then work goes on, and what a lost machine had is taken over.
func (q *queue) recover(ctx context.Context) (int, error) {
	if q.ledger.shared != nil {
		return 0, q.recoverShared(ctx)
	}
	list, err := q.ledger.recoverRunning(ctx)
	if err != nil {
		return 0, err
	}
	err = q.ledger.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE river_job SET state = 'available', attempt = max(attempt - 1, 0),
			scheduled_at = datetime('now', 'subsec') WHERE state = 'running'`)
		if err != nil {
			return err
		}
		// A file that was in work at two ends of the process comes last.
		for _, f := range list {
			if f.crashes < 2 {
				continue
			}
			_, err := tx.ExecContext(ctx, `UPDATE river_job SET priority = $1 WHERE state = 'available'
				AND CAST(args ->> 'file' AS BIGINT) = $2`, priorityLast, f.id)
			if err != nil {
				return err
			}
		}
		if err := q.recoverVideos(ctx, tx); err != nil {
			return err
		}
		if err := recoverClock(ctx, tx); err != nil {
			return err
		}
		return q.adopt(ctx, tx)
	})
	if err == nil {
		err = q.ledger.sweepWork(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("queue: recover: %w", err)
	}
	return len(list), nil
}

// farAhead is farther than any wait for another try.
const farAhead = "+3 hours"

// recoverClock has jobs done that a clock which was ahead has put into the
// future.
func recoverClock(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE river_job SET scheduled_at = datetime('now', 'subsec')
		WHERE state = 'available' AND scheduled_at > datetime('now', 'subsec')
		OR state IN ('retryable', 'scheduled') AND scheduled_at > datetime('now', 'subsec', $1)`, farAhead)
	return err
}

// recoverShared gives every file its jobs, in the lanes of this daemon's settings.
func (q *queue) recoverShared(ctx context.Context) error {
	err := q.ledger.inTx(ctx, func(tx *sql.Tx) error {
		err := q.moveJobs(ctx, tx)
		if err == nil {
			err = q.recoverVideos(ctx, tx)
		}
		if err == nil {
			err = q.adopt(ctx, tx)
		}
		return err
	})
	if err == nil {
		err = q.ledger.sweepWork(ctx)
	}
	if err != nil {
		return fmt.Errorf("queue: recover: %w", err)
	}
	return nil
}

// adopt makes a job for each queued file that has none.
func (q *queue) adopt(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT "+recordColumns+` FROM files WHERE id IN (
		SELECT id FROM files WHERE state = 'queued' EXCEPT SELECT CAST(args ->> 'file' AS BIGINT) FROM river_job
		WHERE state IN ('available', 'pending', 'running', 'retryable', 'scheduled'))`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var orphans []Record
	for rows.Next() {
		r, err := q.ledger.scanRecord(rows)
		if err != nil {
			return err
		}
		orphans = append(orphans, r)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, r := range orphans {
		job := q.job(foundFile{r.Path, r.Version}, r.ID)
		_, err := q.client.InsertTx(ctx, tx, job.Args, job.InsertOpts)
		if err != nil {
			return err
		}
	}
	return nil
}
