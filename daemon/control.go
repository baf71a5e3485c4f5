package daemon

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

const (
	// DefaultPage and MaxPage bound the files of one [Control.List].
	DefaultPage = 100
	MaxPage     = 1000
	// idlePoll is how often cancelled work is asked whether it has ended.
	idlePoll = 20 * time.Millisecond
)

// Errors of a [Control], to be told apart by errors.Is.
var (
	ErrUnknown  = errors.New("the ledger has no such file")
	ErrConflict = errors.New("the file's state doesn't allow it")
)

// errCancelled is the reason of a file that somebody has cancelled.
var errCancelled = errors.New("cancelled on request")

// JobInfo is a file as [Control] tells of it. Path and Out are for people: in
// JSON, bytes that aren't UTF-8 are replaced. The number names the file for
// good.
type JobInfo struct {
	ID        int64      `json:"id"`
	Path      string     `json:"path"`
	State     State      `json:"state"`
	Reason    string     `json:"reason,omitempty"` // why it has failed, or waits for another try
	Out       string     `json:"out,omitempty"`
	Size      int64      `json:"size"` // bytes; -1 = it wasn't there any more
	Attempts  int        `json:"attempts"`
	Crashes   int        `json:"crashes,omitempty"`
	Completed int        `json:"completed"`
	Queued    time.Time  `json:"queued"`
	Started   *time.Time `json:"started,omitempty"`
	Finished  *time.Time `json:"finished,omitempty"`
	NextTry   *time.Time `json:"next_try,omitempty"` // only from Show: of one that waits for another try

	// Of a video in work: what is done next with it, the segments that this is
	// done with one by one (0 = it has none), and those that it is done with.
	Stage        string `json:"stage,omitempty"`
	Segments     int    `json:"segments,omitempty"`
	SegmentsDone int    `json:"segments_done,omitempty"`

	Report json.RawMessage `json:"report,omitempty"` // only from Show
}

// Page is a part of the list.
type Page struct {
	Jobs []JobInfo `json:"jobs"`
	Next int64     `json:"next,omitempty"` // List's after for the files that follow; 0 = these are the last
}

// QueueInfo is the queue as a whole.
type QueueInfo struct {
	Queued  int  `json:"queued"`
	Running int  `json:"running"`
	Done    int  `json:"done"`
	Failed  int  `json:"failed"`
	Paused  bool `json:"paused"` // nothing new is begun
}

// Control shows the queue to people and obeys them. The daemon makes one for
// its socket; a command makes one by [OpenControl] where no daemon runs.
// Its methods may be called from several goroutines.
type Control struct {
	queue *queue
	owned bool // Close closes the ledger

	watchers atomic.Int32
}

// OpenControl is for a state folder that no daemon has in use, else the error
// is [ErrLocked]. What an interrupted daemon had in work waits afterwards, as
// after its own start. isVideo goes by the name alone, and is nil where there
// are no videos. A folder without a database is fs.ErrNotExist.
func OpenControl(ctx context.Context, state string, isVideo func(name string) bool) (*Control, error) {
	if _, err := os.Stat(filepath.Join(state, databaseName)); err != nil {
		return nil, fmt.Errorf("no daemon has worked with this state folder: %w", err)
	}
	l, err := OpenLedger(ctx, state)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	q := &queue{ledger: l, isVideo: isVideo}
	q.client, err = newClient(l, nil, &river.Config{MaxAttempts: maxAttempts, Logger: log})
	if err == nil {
		err = migrateQueue(ctx, riversqlite.New(l.db), log)
	}
	if err == nil {
		_, err = q.recover(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("queue: %w", err), l.Close())
	}
	return &Control{queue: q, owned: true}, nil
}

// Close gives up what OpenControl took.
func (c *Control) Close() error {
	if !c.owned {
		return nil
	}
	return c.queue.ledger.Close()
}

// Status counts the files.
func (c *Control) Status(ctx context.Context) (QueueInfo, error) {
	counts, err := c.queue.ledger.Counts(ctx)
	if err != nil {
		return QueueInfo{}, err
	}
	paused, err := c.queue.paused(ctx)
	return QueueInfo{counts[Queued], counts[Running], counts[Done], counts[Failed], paused}, err
}

// List gives the files in a state ("" = in any) whose numbers are greater than
// after, at most limit: 1 to [MaxPage], or 0 for [DefaultPage].
func (c *Control) List(ctx context.Context, state State, after int64, limit int) (Page, error) {
	return c.list(ctx, state, after, limit, false)
}

// Newest is List from the other end: by falling numbers, those that are less
// than before, where this isn't 0.
func (c *Control) Newest(ctx context.Context, state State, before int64, limit int) (Page, error) {
	return c.list(ctx, state, before, limit, true)
}

func (c *Control) list(ctx context.Context, state State, after int64, limit int, newest bool) (Page, error) {
	if limit == 0 {
		limit = DefaultPage
	}
	limit = min(max(limit, 1), MaxPage)
	records, err := c.queue.ledger.list(ctx, state, after, limit+1, newest)
	if err != nil {
		return Page{}, err
	}
	page := Page{Jobs: []JobInfo{}}
	if len(records) > limit {
		records = records[:limit]
		page.Next = records[limit-1].ID
	}
	progress, err := c.queue.ledger.videoProgress(ctx)
	for _, r := range records {
		page.Jobs = append(page.Jobs, infoOf(r, progress))
	}
	return page, err
}

// Find gives the number of a file by its absolute path, or [ErrUnknown].
func (c *Control) Find(ctx context.Context, path string) (int64, error) {
	if real, err := resolve(path); err == nil {
		path = real
	}
	r, ok, err := c.queue.ledger.Lookup(ctx, path)
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", path, ErrUnknown)
	}
	return r.ID, err
}

// Show gives all that is known of a file.
func (c *Control) Show(ctx context.Context, id int64) (JobInfo, error) {
	rec, err := c.known(ctx, c.queue.ledger.db, id)
	if err != nil {
		return JobInfo{}, err
	}
	progress, err := c.queue.ledger.videoProgress(ctx)
	if err != nil {
		return JobInfo{}, err
	}
	info := infoOf(rec, progress)
	info.Report = rec.Report
	if rec.State == Queued {
		info.NextTry, err = c.queue.nextTry(ctx, id)
	}
	return info, err
}

func (c *Control) known(ctx context.Context, db querier, id int64) (Record, error) {
	rec, ok, err := c.queue.ledger.recordByID(ctx, db, id)
	if err == nil && !ok {
		err = fmt.Errorf("number %d: %w", id, ErrUnknown)
	}
	return rec, err
}

// Retry has a failed file done from the start, as it is now, or one that waits
// for another try tried at once. [ErrConflict]: it is in work, done, or not there.
func (c *Control) Retry(ctx context.Context, id int64) (JobInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for {
		again, stale, err := c.retry(ctx, id)
		switch {
		case err != nil:
			return JobInfo{}, err
		case again:
			c.queue.discard(ctx, stale)
			return c.Show(ctx, id)
		}
		// The end of its last job is not noted by River yet.
		select {
		case <-tick.C:
		case <-ctx.Done():
			return JobInfo{}, fmt.Errorf("number %d is still in work: %w", id, ErrConflict)
		}
	}
}

// retry queues a file again; false = its last job hasn't ended yet. stale is as
// again's.
func (c *Control) retry(ctx context.Context, id int64) (again bool, stale int64, err error) {
	q := c.queue
	err = q.ledger.inTx(ctx, func(tx *sql.Tx) error {
		rec, err := c.known(ctx, tx, id)
		if err != nil {
			return err
		}
		if rec.State == Done || rec.State == Running {
			return fmt.Errorf("%s is %s: %w", rec.Path, rec.State, ErrConflict)
		}
		info, err := os.Lstat(rec.Path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not there any more: %w", rec.Path, ErrConflict)
		}
		if err != nil {
			return err
		}
		again, stale, err = q.again(ctx, tx, rec, foundFile{rec.Path, versionOf(info)})
		return err
	})
	return again, stale, err
}

// Cancel ends the work on a file that waits or is in work: it has failed then,
// is not tried again by itself, and Retry begins anew. It returns when nothing
// works on the file any more, which takes two seconds at most, or when ctx
// ends. A file whose output was written just then is done. [ErrConflict]: there
// is nothing to cancel.
func (c *Control) Cancel(ctx context.Context, id int64) (JobInfo, error) {
	for first := true; ; first = false {
		busy, run, err := c.cancel(ctx, id)
		switch {
		case errors.Is(err, ErrConflict) && !first: // it has ended meanwhile
			return c.Show(ctx, id)
		case err != nil:
			return JobInfo{}, err
		case !busy:
			c.queue.discard(ctx, run)
			return c.Show(ctx, id)
		}
		if err := c.queue.stopWork(ctx, id, run); err != nil {
			return JobInfo{}, err
		}
		if err := c.queue.idle(ctx, id, run); err != nil {
			return JobInfo{}, fmt.Errorf("number %d doesn't stop: %w", id, err)
		}
	}
}

// cancel fails a file that nobody works on. busy = somebody does. run is the
// video's, or 0.
func (c *Control) cancel(ctx context.Context, id int64) (busy bool, run int64, err error) {
	q := c.queue
	err = q.ledger.inTx(ctx, func(tx *sql.Tx) error {
		rec, err := c.known(ctx, tx, id)
		if err != nil {
			return err
		}
		if rec.State == Done || rec.State == Failed {
			return fmt.Errorf("%s is %s: %w", rec.Path, rec.State, ErrConflict)
		}
		v, err := q.ledger.videoOf(ctx, tx, id)
		if err != nil {
			return err
		}
		if v != nil {
			run = v.run
		}
		if busy, err = q.busy(ctx, tx, id, run); err != nil || busy {
			return err
		}
		if err := cancelJobs(ctx, q.client, tx, id, 0); err != nil {
			return err
		}
		if err := q.ledger.failTx(ctx, tx, id, errCancelled.Error()); err != nil || v == nil {
			return err
		}
		return forget(ctx, tx, run)
	})
	return busy, run, err
}

// Pause lets what is in work end and begins nothing new, until Resume and also
// after a restart.
func (c *Control) Pause(ctx context.Context) (QueueInfo, error) {
	if err := c.queue.pause(ctx); err != nil {
		return QueueInfo{}, err
	}
	return c.Status(ctx)
}

// Resume ends a pause.
func (c *Control) Resume(ctx context.Context) (QueueInfo, error) {
	if err := c.queue.resume(ctx); err != nil {
		return QueueInfo{}, err
	}
	return c.Status(ctx)
}

func infoOf(r Record, videos map[int64]videoProgress) JobInfo {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	v := videos[r.ID]
	return JobInfo{
		ID: r.ID, Path: r.Path, State: r.State, Reason: r.Reason, Out: r.Out, Size: r.Version.Size,
		Attempts: r.Attempts, Crashes: r.Crashes, Completed: r.Completed,
		Queued: r.Queued, Started: moment(r.Started), Finished: moment(r.Finished),
		Stage: string(v.stage), Segments: v.segments, SegmentsDone: v.done,
	}
}

// listColumns are recordColumns without the report, which may be large.
var listColumns = strings.Replace(recordColumns, " report,", " NULL AS report,", 1)

func (l *Ledger) list(ctx context.Context, state State, after int64, limit int, newest bool) ([]Record, error) {
	order := "id > $1 AND ($2 = '' OR state = $2) ORDER BY id"
	if newest {
		order = "(CAST($1 AS BIGINT) = 0 OR id < $1) AND ($2 = '' OR state = $2) ORDER BY id DESC"
	}
	rows, err := l.db.QueryContext(ctx, "SELECT "+listColumns+" FROM files WHERE "+order+" LIMIT $3", after, string(state), limit)
	if err != nil {
		return nil, fmt.Errorf("ledger: list: %w", err)
	}
	defer rows.Close()
	var all []Record
	for rows.Next() {
		r, err := l.scanRecord(rows)
		if err != nil {
			return nil, fmt.Errorf("ledger: list: %w", err)
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// videoProgress is how far a video in work is.
type videoProgress struct {
	stage          stage
	segments, done int
}

// videoProgress tells of all videos in work, by their files.
func (l *Ledger) videoProgress(ctx context.Context) (map[int64]videoProgress, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT file, stage, segments,
		(SELECT count(*) FROM segments s WHERE s.run = videos.run AND s.stage = videos.stage) FROM videos WHERE kept = 0`)
	if err != nil {
		return nil, fmt.Errorf("ledger: videos: %w", err)
	}
	defer rows.Close()
	all := map[int64]videoProgress{}
	for rows.Next() {
		var file int64
		var v videoProgress
		if err := rows.Scan(&file, &v.stage, &v.segments, &v.done); err != nil {
			return nil, fmt.Errorf("ledger: videos: %w", err)
		}
		if !v.stage.segmented() {
			v.segments = 0
		}
		all[file] = v
	}
	return all, rows.Err()
}
