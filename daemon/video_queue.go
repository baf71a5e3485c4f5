package daemon

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/riverqueue/river"
)

// River's priorities: photos do not wait behind films, and a film that is
// further on is finished before the next one is begun.
const (
	priorityPhoto   = 1
	priorityFinish  = 2 // render and join
	priorityAnalyse = 3 // and plan
	priorityLast    = 4 // what was in work when the process ended, more than once
)

// videoArgs are the job of a video's plan, as photoArgs are a photo's.
type videoArgs struct {
	File  int64  `json:"file" river:"unique"`
	Path  string `json:"path"` // for people only
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime_ns"`
}

// Kind names the jobs in River's table.
func (videoArgs) Kind() string { return "video" }

func (a videoArgs) key() stepKey { return stepKey{file: a.File, stage: stagePlan} }

// segmentArgs are the job of one pass over one segment.
type segmentArgs struct {
	Run     int64  `json:"run" river:"unique"`
	Pass    stage  `json:"pass" river:"unique"`
	Segment int    `json:"segment" river:"unique"`
	File    int64  `json:"file"`
	Path    string `json:"path"`
}

// Kind names the jobs in River's table.
func (segmentArgs) Kind() string { return "segment" }

func (a segmentArgs) key() stepKey { return stepKey{a.File, a.Run, a.Pass, a.Segment} }

// joinArgs are the job that makes the output of the segments.
type joinArgs struct {
	Run  int64  `json:"run" river:"unique"`
	File int64  `json:"file"`
	Path string `json:"path"`
}

// Kind names the jobs in River's table.
func (joinArgs) Kind() string { return "join" }

func (a joinArgs) key() stepKey { return stepKey{file: a.File, run: a.Run, stage: stageJoin} }

// stepKey names a step. The plan has no run yet.
type stepKey struct {
	file, run int64
	stage     stage
	segment   int
}

type stepArgs interface {
	river.JobArgs
	key() stepKey
}

// uniqueOpts makes an open job the only one with its arguments. lane is River's
// queue, "" = its default.
func uniqueOpts(priority int, lane string) *river.InsertOpts {
	return &river.InsertOpts{Priority: priority, Queue: lane, UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: openStates}}
}

// stepJobs are the jobs that a video's stage needs and that are not done.
// Those that wait already are not made twice.
func (n lanes) stepJobs(ctx context.Context, tx *sql.Tx, v *videoRow, path string) ([]river.InsertManyParams, error) {
	switch v.stage {
	case stagePlan:
		args := videoArgs{v.file, path, v.version.Size, v.version.MtimeNS}
		return []river.InsertManyParams{{Args: args, InsertOpts: uniqueOpts(priorityAnalyse, n.plan)}}, nil
	case stageJoin:
		args := joinArgs{v.run, v.file, path}
		return []river.InsertManyParams{{Args: args, InsertOpts: uniqueOpts(priorityFinish, n.join)}}, nil
	}
	priority := priorityAnalyse
	if v.stage == stageRender {
		priority = priorityFinish
	}
	open, err := openSegments(ctx, tx, v)
	if err != nil {
		return nil, err
	}
	jobs := make([]river.InsertManyParams, len(open))
	for i, segment := range open {
		jobs[i] = river.InsertManyParams{Args: segmentArgs{v.run, v.stage, segment, v.file, path}, InsertOpts: uniqueOpts(priority, v.lane)}
	}
	return jobs, nil
}

// insertSteps makes a video's missing jobs.
func (n lanes) insertSteps(ctx context.Context, client *river.Client[*sql.Tx], tx *sql.Tx, v *videoRow, path string) error {
	jobs, err := n.stepJobs(ctx, tx, v, path)
	if err != nil || len(jobs) == 0 {
		return err
	}
	if _, err := client.InsertManyTx(ctx, tx, jobs); err != nil {
		return fmt.Errorf("queue %s: %w", path, err)
	}
	return nil
}

// cancelJobs cancels a file's open jobs but one; 0 = all.
func cancelJobs(ctx context.Context, client *river.Client[*sql.Tx], tx *sql.Tx, file, but int64) error {
	open, _, err := jobsOpen(ctx, tx, file)
	if err != nil {
		return err
	}
	for _, id := range open {
		if id == but {
			continue
		}
		if _, err := client.JobCancelTx(ctx, tx, id); err != nil {
			return fmt.Errorf("cancel job %d: %w", id, err)
		}
	}
	return nil
}

// jobsOpen lists a file's open jobs and tells whether one of them is running.
func jobsOpen(ctx context.Context, db rowser, file int64) (ids []int64, running bool, err error) {
	rows, err := db.QueryContext(ctx, `SELECT id, state = 'running' FROM river_job
		WHERE state IN ('available', 'pending', 'running', 'retryable', 'scheduled') AND CAST(args ->> 'file' AS BIGINT) = $1`, file)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var runs bool
		if err := rows.Scan(&id, &runs); err != nil {
			return nil, false, err
		}
		ids, running = append(ids, id), running || runs
	}
	return ids, running, rows.Err()
}

// videoAgain queues another version of a known video; false = a step of the
// earlier version is in work, and is told to stop. stale is the run of the
// earlier version, or 0.
func (q *queue) videoAgain(ctx context.Context, tx *sql.Tx, rec Record, f foundFile) (ok bool, stale int64, err error) {
	old, err := q.ledger.videoOf(ctx, tx, rec.ID)
	if err != nil {
		return false, 0, err
	}
	_, running, err := jobsOpen(ctx, tx, rec.ID)
	if err != nil {
		return false, 0, err
	}
	if running {
		if old != nil && q.runner != nil {
			q.runner.active.stop(old.run, &errUnread{"the file has changed since it was queued"})
		}
		return false, 0, nil
	}
	if err := cancelJobs(ctx, q.client, tx, rec.ID, 0); err != nil {
		return false, 0, err
	}
	if old != nil {
		stale = old.run
		if err := forget(ctx, tx, old.run); err != nil {
			return false, 0, err
		}
	}
	if _, err := q.client.InsertTx(ctx, tx, f.videoArgs(rec.ID), uniqueOpts(priorityAnalyse, q.lanes.plan)); err != nil {
		return false, 0, fmt.Errorf("queue %s: %w", f.path, err)
	}
	return true, stale, renew(ctx, tx, rec.ID, f.version)
}

func (f foundFile) videoArgs(id int64) videoArgs {
	return videoArgs{id, f.path, f.version.Size, f.version.MtimeNS}
}

// recoverVideos gives each video in work the jobs that it lacks. Those that
// have failed by too many crashes lose theirs.
func (q *queue) recoverVideos(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "UPDATE videos SET continued = 1"); err != nil {
		return err
	}
	// What was interrupted stands behind its siblings: back into their order.
	_, err := tx.ExecContext(ctx, "UPDATE river_job SET scheduled_at = created_at WHERE kind = 'segment' AND state = 'available'")
	if err != nil {
		return err
	}
	all, err := q.ledger.videos(ctx, tx)
	if err != nil {
		return err
	}
	for _, v := range all {
		rec, ok, err := q.ledger.recordByID(ctx, tx, v.file)
		switch {
		case err != nil:
		case ok && !v.kept && q.otherSettings(v):
			err = q.replan(ctx, tx, rec, v)
		case ok && !v.kept && (rec.State == Queued || rec.State == Running):
			err = q.lanes.insertSteps(ctx, q.client, tx, &v, rec.Path)
		case v.kept:
		default:
			if err = cancelJobs(ctx, q.client, tx, v.file, 0); err == nil {
				err = forget(ctx, tx, v.run)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// otherSettings tells whether a video was planned by a cluster with other
// settings, whose segments nobody takes any more.
func (q *queue) otherSettings(v videoRow) bool {
	return q.ledger.shared != nil && v.stage != stagePlan && !q.lanes.sameVideos(v.lane)
}

// replan has a video planned anew.
func (q *queue) replan(ctx context.Context, tx *sql.Tx, rec Record, v videoRow) error {
	err := cancelJobs(ctx, q.client, tx, v.file, 0)
	if err == nil {
		err = forget(ctx, tx, v.run)
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE files SET state = 'queued', reason = '' WHERE id = $1", v.file)
	}
	if err != nil {
		return err
	}
	fresh := videoRow{file: rec.ID, version: rec.Version, stage: stagePlan}
	return q.lanes.insertSteps(ctx, q.client, tx, &fresh, rec.Path)
}
