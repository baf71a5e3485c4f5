package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

const (
	// tendEvery is the longest pause between two looks of the watchdog, which
	// are also when the status is told.
	tendEvery = 10 * time.Second
	// overdue is how long work may take beyond the time at which it should have
	// been stopped, and how long a queue may begin nothing that is due.
	overdue = time.Minute
	// watchPatience is how long one look at a folder or file may take. A share
	// that doesn't answer takes longer.
	watchPatience = 10 * time.Minute
	// ledgerPatience is how long the ledger may take to answer.
	ledgerPatience = 30 * time.Second
)

// watchdog tells systemd that the daemon lives, as long as it does: the ledger
// answers, watching goes on, what waits is begun, and nothing in work is far
// over its time. Long work that gets on is alive, and so is an idle daemon.
type watchdog struct {
	queue    *queue
	timeout  time.Duration              // of a photo
	stall    time.Duration              // of a step of a video
	rescan   time.Duration              // the longest pause between two beats of an idle watcher
	beat     *atomic.Pointer[time.Time] // when the watcher was last seen alive
	log      *slog.Logger
	neglects time.Time // since when something due isn't begun; zero = it is
	begun    int64     // jobs at the last look
	told     string    // the last trouble
}

// watchInterval is the pause between two looks: a third of the time after which
// the service manager would lose patience, where it has any.
func watchInterval() (time.Duration, error) {
	patience, err := sd.SdWatchdogEnabled(false)
	if err != nil || patience == 0 {
		return tendEvery, err
	}
	return min(patience/3, tendEvery), nil
}

// tend looks each interval until ctx is done. stopping ends earlier: then
// nothing new is to be begun, and nobody watches.
func (w *watchdog) tend(ctx, stopping context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		w.look(ctx, stopping.Err() != nil, time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look feeds the watchdog, or tells why not.
func (w *watchdog) look(ctx context.Context, stopping bool, now time.Time) {
	trouble := w.trouble(ctx, stopping, now)
	if trouble == "" {
		notify(ctx, w.log, sd.SdNotifyWatchdog)
	} else if trouble != w.told && ctx.Err() == nil {
		w.log.ErrorContext(ctx, "stuck: the watchdog is not fed", "reason", trouble)
	}
	w.told = trouble
}

// trouble is what shows that the daemon doesn't get on, or "".
func (w *watchdog) trouble(ctx context.Context, stopping bool, now time.Time) string {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	info, err := (&Control{queue: w.queue}).Status(ctx)
	if err != nil && w.queue.ledger.shared != nil {
		return "" // the daemon waits for the database, and doing so is alive
	}
	if err != nil {
		return err.Error()
	}
	if !stopping {
		notify(ctx, w.log, info.status())
	}
	if late := w.queue.photos.longest(now); late > w.timeout+overdue {
		return fmt.Sprintf("a photo is in work for %s (queue.timeout is %s)", late.Round(time.Second), w.timeout)
	}
	if r := w.queue.runner; r != nil {
		for _, p := range r.active.all() {
			if silent := p.silent(now); silent > w.stall+r.grace+overdue {
				return fmt.Sprintf("%s tells no progress for %s (video.stall is %s)", p.st.rec.Path, silent.Round(time.Second), w.stall)
			}
		}
	}
	if stopping {
		return ""
	}
	if silent := now.Sub(*w.beat.Load()); silent > w.rescan+watchPatience {
		return fmt.Sprintf("watching has stopped for %s: a share that doesn't answer?", silent.Round(time.Second))
	}
	return w.neglected(ctx, info, now)
}

// neglected tells whether for too long nothing is in work although something is
// due.
func (w *watchdog) neglected(ctx context.Context, info QueueInfo, now time.Time) string {
	if w.queue.ledger.shared != nil {
		return "" // what is due may be for other machines
	}
	due, err := w.queue.due(ctx)
	if err != nil {
		return err.Error()
	}
	begun, before := w.queue.begun(), w.begun
	w.begun = begun
	if due == 0 || info.Paused || begun != before || w.queue.working() {
		w.neglects = time.Time{}
		return ""
	}
	if w.neglects.IsZero() {
		w.neglects = now
	}
	if since := now.Sub(w.neglects); since > overdue {
		return fmt.Sprintf("%d jobs are due and none is begun for %s", due, since.Round(time.Second))
	}
	return ""
}

// longest is how long the photo is in work that is it for longest.
func (p *photosInWork) longest(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for _, job := range p.jobs {
		longest = max(longest, now.Sub(job.began))
	}
	return longest
}

// silent is how long the step has told nothing.
func (p *pulse) silent(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Sub(p.last)
}

// working tells whether this process works on anything.
func (q *queue) working() bool {
	q.photos.mu.Lock()
	defer q.photos.mu.Unlock()
	return len(q.photos.jobs) > 0 || q.runner != nil && len(q.runner.active.all()) > 0
}

// begun counts the jobs that were handed to the workers.
func (q *queue) begun() int64 {
	n := q.photos.begun.Load()
	if q.runner != nil {
		n += q.runner.active.begun.Load()
	}
	return n
}

// due is the number of jobs that could be begun now.
func (q *queue) due(ctx context.Context) (n int, err error) {
	err = q.ledger.db.QueryRowContext(ctx, "SELECT count(*) FROM river_job WHERE state = 'available' AND queue <> $1", noticeQueue).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("queue: %w", err)
	}
	return n, nil
}
