package daemon

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// errTaken is work on a job that another machine has taken over, or that has
// ended meanwhile. Its result is dropped.
var errTaken = errors.New("the job isn't this machine's any more")

// errCutOff is work of a machine that hasn't reached the database for too long.
var errCutOff = errors.New("the database isn't reached: others take the work over")

// heldJob is a job of a cluster's queue that this process works on. A job that
// is taken over ends, and goes on as another one: so its number is its lease.
type heldJob struct {
	id   int64
	lost atomic.Bool // by errTaken or errCutOff
	stop context.CancelCauseFunc
}

// heldKey finds the heldJob in a context.
type heldKey struct{}

// check refuses to note anything for a job that isn't held any more. Jobs are
// taken over under the lock that the transaction has.
func (j *heldJob) check(ctx context.Context, tx *sql.Tx) error {
	var mine bool
	err := tx.QueryRowContext(ctx, "SELECT count(*) = 1 FROM river_job WHERE id = $1 AND state = 'running'", j.id).Scan(&mine)
	if err == nil && !mine {
		j.lost.Store(true)
		err = errTaken
	}
	return err
}

// lose stops the work on a job whose result is of no use any more.
func (j *heldJob) lose(why error) {
	j.lost.Store(true)
	j.stop(why)
}

// heldJobs are those of this process. It is a middleware of River's client.
type heldJobs struct {
	river.MiddlewareDefaults
	mu   sync.Mutex
	jobs map[int64]*heldJob
	left map[int64]time.Time // those that have ended lately, which River is about to note
	done int64
}

// Work notes a job while it is worked on.
func (h *heldJobs) Work(ctx context.Context, row *rivertype.JobRow, doInner func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	j := &heldJob{id: row.ID, stop: stop}
	h.mu.Lock()
	h.jobs[j.id] = j
	h.mu.Unlock()
	err := doInner(context.WithValue(ctx, heldKey{}, j))
	h.mu.Lock()
	delete(h.jobs, j.id)
	h.left[j.id] = time.Now()
	if err == nil {
		h.done++
	}
	h.mu.Unlock()
	if j.lost.Load() {
		// No try. Where the job has ended or is another one by now, River notes nothing.
		return river.JobSnooze(time.Second)
	}
	return err
}

// all lists the jobs in work.
func (h *heldJobs) all() (jobs []*heldJob, done int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, j := range h.jobs {
		jobs = append(jobs, j)
	}
	return jobs, h.done
}

// known are the numbers of those in work and of those that have ended within
// the last age.
func (h *heldJobs) known(age time.Duration) []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := []int64{}
	for id := range h.jobs {
		ids = append(ids, id)
	}
	for id, at := range h.left {
		if time.Since(at) > age {
			delete(h.left, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}
