package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
)

// This file holds what the ledger knows of videos in work, and the transitions
// of their state, one function each. A video in work has one row in the table
// videos, whose run is new for each version of the file; a step of a run that
// is not there any more changes nothing (errGone).

// workName is the folder in the state folder that holds the work folders.
const workName = "work"

// errGone is a step of a video that has failed, changed or been done meanwhile.
var errGone = errors.New("the video is not in work any more")

// videoRow is a row of the table videos.
type videoRow struct {
	run       int64
	file      int64
	version   Version
	stage     stage
	segments  int
	frames    int64
	workBytes int64
	outBytes  int64
	out       string
	continued bool
	kept      bool
	lane      string // River's queue of its segments
}

const videoColumns = "run, file, size, mtime_ns, stage, segments, frames, work_bytes, out_bytes, out, continued, kept, lane"

func (l *Ledger) scanVideo(row interface{ Scan(...any) error }) (videoRow, error) {
	var v videoRow
	err := row.Scan(&v.run, &v.file, &v.version.Size, &v.version.MtimeNS, &v.stage, &v.segments, &v.frames,
		&v.workBytes, &v.outBytes, &v.out, &v.continued, &v.kept, &v.lane)
	v.out = l.paths.local(v.out)
	return v, err
}

// videoOf finds the row of a file, videoRun that of a run. A row that is not
// there is nil.
func (l *Ledger) videoOf(ctx context.Context, db querier, file int64) (*videoRow, error) {
	return foundVideo(l.scanVideo(db.QueryRowContext(ctx, "SELECT "+videoColumns+" FROM videos WHERE file = $1", file)))
}

func (l *Ledger) videoRun(ctx context.Context, db querier, run int64) (*videoRow, error) {
	return foundVideo(l.scanVideo(db.QueryRowContext(ctx, "SELECT "+videoColumns+" FROM videos WHERE run = $1", run)))
}

func foundVideo(v videoRow, err error) (*videoRow, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: video: %w", err)
	}
	return &v, nil
}

// videos lists all rows.
func (l *Ledger) videos(ctx context.Context, tx *sql.Tx) ([]videoRow, error) {
	rows, err := tx.QueryContext(ctx, "SELECT "+videoColumns+" FROM videos ORDER BY run")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []videoRow
	for rows.Next() {
		v, err := l.scanVideo(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// workDir is the folder of a run.
func (l *Ledger) workDir(run int64) string {
	return filepath.Join(l.root, workName, strconv.FormatInt(run, 10))
}

// openVideo finds the row of a queued file, or makes it with the stage plan.
// Another version's row gives way; stale is its run, or 0.
func (l *Ledger) openVideo(ctx context.Context, rec Record) (v *videoRow, stale int64, err error) {
	err = l.inTx(ctx, func(tx *sql.Tx) error {
		if v, err = l.videoOf(ctx, tx, rec.ID); err != nil {
			return err
		}
		if v != nil && v.version == rec.Version && !v.kept {
			return nil
		}
		if v != nil {
			stale = v.run
			if err := forget(ctx, tx, v.run); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO videos (file, size, mtime_ns, stage) VALUES ($1, $2, $3, 'plan')",
			rec.ID, rec.Version.Size, rec.Version.MtimeNS)
		if err != nil {
			return err
		}
		v, err = l.videoOf(ctx, tx, rec.ID)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("ledger: begin with %s: %w", rec.Path, err)
	}
	return v, stale, nil
}

// forget removes the rows of a run.
func forget(ctx context.Context, tx *sql.Tx, run int64) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM segments WHERE run = $1", run)
	if err == nil {
		_, err = tx.ExecContext(ctx, "DELETE FROM videos WHERE run = $1", run)
	}
	return err
}

// onVideo runs f in a transaction if the step's run is still in work, and is
// errGone else. What f gets is the row as it is now.
func (l *Ledger) onVideo(ctx context.Context, st step, what string, f func(tx *sql.Tx, v *videoRow) error) error {
	err := l.inTx(ctx, func(tx *sql.Tx) error {
		v, err := l.videoRun(ctx, tx, st.video.run)
		if err != nil {
			return err
		}
		if v == nil || v.kept {
			return errGone
		}
		return f(tx, v)
	})
	if err == nil || errors.Is(err, errGone) {
		return err
	}
	return fmt.Errorf("ledger: %s video %d: %w", what, st.rec.ID, err)
}

// startStep: → running. try is the step's; the file's attempts are those of
// the step that needed most.
func (l *Ledger) startStep(ctx context.Context, st step) error {
	return l.onVideo(ctx, st, "start", func(tx *sql.Tx, _ *videoRow) error {
		_, err := tx.ExecContext(ctx, `UPDATE files SET state = 'running', reason = '', attempts = CASE WHEN attempts < $1 THEN $1 ELSE attempts END,
			started_ms = CASE WHEN started_ms = 0 THEN $2 ELSE started_ms END, finished_ms = 0 WHERE id = $3`, st.try, now(), st.rec.ID)
		return err
	})
}

// holdStep: running → queued, for another try of the step or because it was
// interrupted.
func (l *Ledger) holdStep(ctx context.Context, st step, reason string) error {
	return l.onVideo(ctx, st, "put back", func(tx *sql.Tx, _ *videoRow) error {
		_, err := tx.ExecContext(ctx, "UPDATE files SET state = 'queued', reason = $1 WHERE id = $2", shorten(reason), st.rec.ID)
		return err
	})
}

// planned: plan → analyse. The output's path is kept for the file, so that one
// that is taken is an error now and not after hours. also is in the
// transaction, as in what follows.
func (l *Ledger) planned(ctx context.Context, st step, plan VideoPlan, also func(*sql.Tx, *videoRow) error) error {
	out := plan.Out
	if out == "" {
		out = st.out
	}
	return l.onVideo(ctx, st, "plan", func(tx *sql.Tx, v *videoRow) error {
		if v.stage == stagePlan {
			if _, err := l.claimTx(ctx, tx, v.file, out, st.force, false); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `UPDATE videos SET stage = 'analyse', segments = $1, frames = $2, work_bytes = $3,
				out_bytes = $4, out = $5, lane = $6 WHERE run = $7`,
				plan.Segments, plan.Frames, plan.WorkBytes, plan.OutBytes, l.paths.shared(out), st.lane, v.run)
			if err != nil {
				return err
			}
		}
		return l.advance(ctx, tx, v, also)
	})
}

// segmentDone notes a segment. The last one of a stage moves the video on:
// analyse → render → join.
func (l *Ledger) segmentDone(ctx context.Context, st step, told Progress, also func(*sql.Tx, *videoRow) error) error {
	return l.onVideo(ctx, st, "segment of", func(tx *sql.Tx, v *videoRow) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO segments (run, stage, n, frames, faces) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (run, stage, n) DO UPDATE SET frames = excluded.frames, faces = excluded.faces`,
			v.run, st.video.stage, st.segment, told.Frames, told.Faces)
		if err != nil {
			return err
		}
		next := map[stage]stage{stageAnalyse: stageRender, stageRender: stageJoin}[v.stage]
		if next != "" && v.stage == st.video.stage {
			_, err = tx.ExecContext(ctx, `UPDATE videos SET stage = $1 WHERE run = $2 AND stage = $3 AND segments =
				(SELECT count(*) FROM segments WHERE run = $2 AND stage = $3)`, next, v.run, v.stage)
			if err != nil {
				return err
			}
		}
		return l.advance(ctx, tx, v, also)
	})
}

// advance notes that the video has got on, which forgives the crashes so far,
// and calls also with the row as it is now.
func (l *Ledger) advance(ctx context.Context, tx *sql.Tx, v *videoRow, also func(*sql.Tx, *videoRow) error) error {
	if _, err := tx.ExecContext(ctx, "UPDATE files SET crashes = 0 WHERE id = $1", v.file); err != nil {
		return err
	}
	v, err := l.videoRun(ctx, tx, v.run)
	if err != nil || also == nil {
		return err
	}
	return also(tx, v)
}

// videoDone: join → done.
func (l *Ledger) videoDone(ctx context.Context, st step, res Result, also func(*sql.Tx) error) error {
	return l.done(ctx, st.rec.ID, res, func(tx *sql.Tx) error {
		v, err := l.videoRun(ctx, tx, st.video.run)
		if err != nil {
			return err
		}
		if v == nil {
			return errGone
		}
		if err := forget(ctx, tx, v.run); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
}

// videoFailed: → failed. With keep the row and the work folder stay.
func (l *Ledger) videoFailed(ctx context.Context, st step, reason string, keep bool, also func(*sql.Tx) error) error {
	return l.endVideo(ctx, st, "fail", also, func(tx *sql.Tx) error {
		if err := l.failTx(ctx, tx, st.rec.ID, reason); err != nil {
			return err
		}
		if keep {
			_, err := tx.ExecContext(ctx, "UPDATE videos SET kept = 1 WHERE run = $1", st.video.run)
			return err
		}
		return forget(ctx, tx, st.video.run)
	})
}

// videoDropped: → failed with no version, as drop does.
func (l *Ledger) videoDropped(ctx context.Context, st step, reason string, also func(*sql.Tx) error) error {
	return l.endVideo(ctx, st, "drop", also, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, dropQuery, shorten(reason), now(), st.rec.ID); err != nil {
			return err
		}
		return forget(ctx, tx, st.video.run)
	})
}

// videoAnew: → queued, to be planned again.
func (l *Ledger) videoAnew(ctx context.Context, st step, also func(*sql.Tx) error) error {
	return l.endVideo(ctx, st, "begin again with", also, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE files SET state = 'queued', reason = '' WHERE id = $1", st.rec.ID)
		if err != nil {
			return err
		}
		return forget(ctx, tx, st.video.run)
	})
}

func (l *Ledger) endVideo(ctx context.Context, st step, what string, also, f func(*sql.Tx) error) error {
	return l.onVideo(ctx, st, what, func(tx *sql.Tx, _ *videoRow) error {
		if err := f(tx); err != nil || also == nil {
			return err
		}
		return also(tx)
	})
}

// parkVideos puts videos between two steps back to queued. The process has
// stopped in order, so that this is no crash.
func (l *Ledger) parkVideos(ctx context.Context) error {
	_, err := l.db.ExecContext(ctx, `UPDATE files SET state = 'queued' WHERE state = 'running'
		AND id IN (SELECT file FROM videos)`)
	if err != nil {
		return fmt.Errorf("ledger: put videos back: %w", err)
	}
	return nil
}

// doneSegments is what the segments of a run's stage that are done have counted.
func (l *Ledger) doneSegments(ctx context.Context, run int64, of stage) (segments int, sum Progress, err error) {
	err = l.db.QueryRowContext(ctx, `SELECT count(*), CAST(coalesce(sum(frames), 0) AS BIGINT), CAST(coalesce(sum(faces), 0) AS BIGINT)
		FROM segments WHERE run = $1 AND stage = $2`, run, of).Scan(&segments, &sum.Frames, &sum.Faces)
	if err != nil {
		return 0, Progress{}, fmt.Errorf("ledger: segments: %w", err)
	}
	return segments, sum, nil
}

// openSegments are those of the row's stage that are not done, in order.
func openSegments(ctx context.Context, tx *sql.Tx, v *videoRow) ([]int, error) {
	rows, err := tx.QueryContext(ctx, "SELECT n FROM segments WHERE run = $1 AND stage = $2", v.run, v.stage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	done := map[int]bool{}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		done[n] = true
	}
	var open []int
	for n := range v.segments {
		if !done[n] {
			open = append(open, n)
		}
	}
	return open, rows.Err()
}

// needs is what is still to be written for all planned videos up to a run.
// Those that were begun earlier come first, so that of two for which there is
// not enough room together one is finished.
func (l *Ledger) needs(ctx context.Context, run int64) ([]need, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT run, out, segments, work_bytes, out_bytes,
		(SELECT count(*) FROM segments s WHERE s.run = videos.run AND s.stage = 'render')
		FROM videos WHERE run <= $1 AND kept = 0 AND stage <> 'plan'`, run)
	if err != nil {
		return nil, fmt.Errorf("ledger: needs: %w", err)
	}
	defer rows.Close()
	needs := []need{{l.workDir(run), 0}}
	for rows.Next() {
		var r, segments, work, toOut, rendered int64
		var out string
		if err := rows.Scan(&r, &out, &segments, &work, &toOut, &rendered); err != nil {
			return nil, fmt.Errorf("ledger: needs: %w", err)
		}
		needs = append(needs, need{l.workDir(r), work / segments * (segments - rendered)}, need{filepath.Dir(l.paths.local(out)), toOut})
	}
	return needs, rows.Err()
}
