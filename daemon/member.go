package daemon

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// maxBeat is the longest pause between two signs of life.
const maxBeat = 2 * time.Second

// forgetAfter is how long a silent machine is still listed.
const forgetAfter = 24 * time.Hour

// member is this process as one of a cluster. It gives signs of life, looks
// whether its jobs are still its own, and takes over those of the silent.
//
// A machine that hasn't reached the database for half of the lease stops its
// work, and the others take it over after the whole.
type member struct {
	ledger *Ledger
	id     string // River's client's too
	daemon bool
	about  Machine
	lanes  lanes
	taken  []string // of lanes
	slots  int
	held   *heldJobs
	runner *videoRunner // counts pictures; nil = there are no videos
	log    *slog.Logger

	lease   time.Duration
	folders atomic.Pointer[clusterRow] // as told last
	heard   time.Time                  // when the database was last reached
	cut     atomic.Bool                // it wasn't for too long
	before  struct {
		at            time.Time
		frames, faces int64
	}
}

// memberID is different for each process.
func memberID() (id, machine string) {
	machine, err := os.Hostname()
	if err != nil {
		machine = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", machine, os.Getpid(), strings.ToLower(rand.Text()[:6])), machine
}

// beat is the pause between two signs of life.
func (m *member) beat() time.Duration { return min(m.lease/10, maxBeat) }

// join makes this process known, before it takes any job.
func (m *member) join(ctx context.Context) error {
	_, machine := memberID()
	role := "worker"
	if m.daemon {
		role = "daemon"
	}
	err := m.ledger.inTx(ctx, func(tx *sql.Tx) error {
		if err := noOthers(ctx, tx, m.about.Version); err != nil && !m.daemon {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO workers (id, machine, pid, role, version, provider, model, sha256, encoders, takes, slots)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, m.id, machine, os.Getpid(), role, m.about.Version,
			m.about.Provider, m.about.Model, m.about.SHA256, m.about.Encoders, strings.Join(m.taken, ","), m.slots)
		return err
	})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	m.heard = time.Now()
	m.before.at = m.heard
	return nil
}

// leave tells that this process has ended in order.
func (m *member) leave(ctx context.Context) error {
	_, err := m.ledger.db.ExecContext(ctx, "DELETE FROM workers WHERE id = $1", m.id)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// run beats until ctx is done. fatal is called with what ends the process.
func (m *member) run(ctx context.Context, fatal func(error)) {
	tick := time.NewTicker(m.beat())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		err := m.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrSkew), errors.Is(err, errTwoDaemons):
			fatal(err)
			return
		case err == nil:
			m.heard = began
			if m.cut.Swap(false) {
				m.log.InfoContext(ctx, "the database is reached again")
			}
		case time.Since(m.heard) > m.lease/2 && !m.cut.Swap(true):
			m.log.WarnContext(ctx, "the database isn't reached: work is stopped, and its results are dropped", "error", err)
			jobs, _ := m.held.all()
			for _, j := range jobs {
				j.lose(errCutOff)
			}
		}
	}
}

// holds tells whether nothing is to be fetched: until what was cut off has
// returned, and the database is reached again.
func (m *member) holds() bool { return m.cut.Load() }

// look does all that is done at each beat.
func (m *member) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.lease/5)
	defer cancel()
	c, err := readCluster(ctx, m.ledger.db)
	if err != nil {
		return err
	}
	if c.version != m.about.Version {
		return fmt.Errorf("%w: the cluster is %s now and this is %s: install the same version", ErrSkew, c.version, m.about.Version)
	}
	m.folders.Store(&c)
	if m.daemon {
		if err := m.onlyDaemon(ctx); err != nil {
			return err
		}
	}
	if err := m.sign(ctx); err != nil {
		return err
	}
	if err := m.lookAtJobs(ctx); err != nil {
		return err
	}
	return m.takeOver(ctx)
}

// sign is the sign of life, with what is worked on.
func (m *member) sign(ctx context.Context) error {
	jobs, done := m.held.all()
	var frames, faces int64
	if m.runner != nil {
		frames, faces = m.runner.active.frames.Load(), m.runner.active.faces.Load()
	}
	at, last := time.Now(), m.before
	span := at.Sub(last.at).Seconds()
	fps, perSecond := float64(frames-last.frames)/span, float64(faces-last.faces)/span
	if span >= speedSpan.Seconds() {
		m.before.at, m.before.frames, m.before.faces = at, frames, faces
	}
	r, err := m.ledger.db.ExecContext(ctx, `UPDATE workers SET jobs = $1, done = $2, fps = $3, faces = $4, seen = now() WHERE id = $5`,
		len(jobs), done, fps, perSecond, m.id)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return m.join(ctx) // it was silent for so long that it was forgotten
}

// lookAtJobs stops the work on jobs that somebody has cancelled, and on those
// that another machine has taken over.
func (m *member) lookAtJobs(ctx context.Context) error {
	jobs, _ := m.held.all()
	if len(jobs) == 0 {
		return nil
	}
	byID := map[int64]*heldJob{}
	ids := make([]int64, len(jobs))
	for i, j := range jobs {
		ids[i], byID[j.id] = j.id, j
	}
	rows, err := m.ledger.db.QueryContext(ctx, `SELECT id, metadata ? 'cancel_attempted_at' FROM river_job
		WHERE id = ANY($1) AND state = 'running'`, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var cancelled bool
		if err := rows.Scan(&id, &cancelled); err != nil {
			return err
		}
		if cancelled {
			byID[id].stop(errCancelled)
		}
		delete(byID, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, j := range byID {
		j.lose(errTaken)
	}
	return nil
}

// orphans are the jobs in work whose machine was silent for a lease, and those
// of this process that it doesn't work on: their end was never noted.
const orphans = `SELECT id FROM river_job WHERE state = 'running' AND (
	NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = attempted_by[array_upper(attempted_by, 1)]
		AND w.seen > now() - $1 * interval '1 millisecond')
	OR attempted_by[array_upper(attempted_by, 1)] = $2 AND id <> ALL($3)
		AND attempted_at < now() - $1 * interval '1 millisecond' / 2)`

// takeOver puts orphaned jobs back: each ends, and goes on as a new one, so that
// nothing that its old machine still does or says counts.
func (m *member) takeOver(ctx context.Context) error {
	args := []any{m.lease.Milliseconds(), m.id, m.held.known(m.lease / 2)}
	var any bool
	if err := m.ledger.db.QueryRowContext(ctx, "SELECT EXISTS ("+orphans+")", args...).Scan(&any); err != nil || !any {
		return err
	}
	var taken []int64
	err := m.ledger.inTx(ctx, func(tx *sql.Tx) error {
		var err error
		if taken, err = numbers(ctx, tx, `UPDATE river_job SET state = 'cancelled', finalized_at = now(),
			metadata = metadata || '{"restored": "taken over"}' WHERE id IN (`+orphans+`) RETURNING id`, args...); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO river_job (args, kind, max_attempts, metadata, priority, queue, state, scheduled_at,
				created_at, tags, unique_key, unique_states, attempt, attempted_by, errors)
			SELECT args, kind, max_attempts, metadata - 'restored' - 'cancel_attempted_at', priority, queue, 'available', now(),
				created_at, tags, unique_key, unique_states, greatest(attempt - 1, 0), attempted_by, errors
			FROM river_job WHERE id = ANY($1) ORDER BY id`, taken)
		if err != nil {
			return err
		}
		return m.ledger.orphaned(ctx, tx, taken)
	})
	if err != nil {
		return err
	}
	m.log.WarnContext(ctx, "jobs of a silent machine are taken over", "jobs", len(taken))
	_, err = m.ledger.db.ExecContext(ctx, "DELETE FROM workers WHERE seen < now() - $1 * interval '1 millisecond'", forgetAfter.Milliseconds())
	return err
}

// orphaned notes for the files of orphaned jobs that their work was
// interrupted once more. One that has been too often has failed.
func (l *Ledger) orphaned(ctx context.Context, tx *sql.Tx, jobs []int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE files SET state = 'queued', crashes = crashes + 1 WHERE state = 'running'
		AND id IN (SELECT CAST(args ->> 'file' AS BIGINT) FROM river_job WHERE id = ANY($1))`, jobs)
	if err != nil {
		return err
	}
	failed, err := numbers(ctx, tx, "SELECT id FROM files WHERE state = 'queued' AND crashes >= $1", maxCrashes)
	if err != nil {
		return err
	}
	for _, id := range failed {
		reason := fmt.Sprintf("%d times a machine was lost while this file was in work", maxCrashes)
		if err := l.failTx(ctx, tx, id, reason); err != nil {
			return err
		}
	}
	return nil
}

// numbers reads a query's one column.
func numbers(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]int64, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, rows.Err()
}

// errTwoDaemons is a second daemon on the same database.
var errTwoDaemons = errors.New("another daemon works with the database of queue.url: one watches, and the others are workers (restored worker)")

// daemonLock is the advisory lock that the one daemon holds.
const daemonLock = ledgerLock + 1

// onlyDaemon takes the daemon's lock, and takes it anew where the connection
// that held it has gone.
func (m *member) onlyDaemon(ctx context.Context) error {
	if m.ledger.guard != nil && m.ledger.guard.PingContext(ctx) == nil {
		return nil
	}
	if m.ledger.guard != nil {
		_ = m.ledger.guard.Close() // it has gone
		m.ledger.guard = nil
	}
	conn, err := m.ledger.db.Conn(ctx)
	if err != nil {
		return err
	}
	var got bool
	err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", daemonLock).Scan(&got)
	if err != nil || !got {
		if err == nil {
			err = errTwoDaemons
		}
		return errors.Join(err, conn.Close())
	}
	m.ledger.guard = conn
	return nil
}
