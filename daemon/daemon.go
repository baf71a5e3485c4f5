package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/fsnotify/fsnotify"

	"restored/config"
	"restored/daemon/web"
)

// Deps is what the daemon needs and does not make itself.
type Deps struct {
	Processor Processor                   // does the work; the caller closes it after Run
	IsPhoto   func(name string) bool      // by the name alone
	OutName   func(rel string) string     // path of the output under out for a path under in; nil = the same
	Log       *slog.Logger                // gets constant messages with the keys job, file, stage
	Retry     func(try int) time.Duration // pause after the try'th transient error; nil = 10 s to 2 h
	Videos    Videos                      // works on videos; nil = there are none
	IsVideo   func(name string) bool      // by the name alone; goes with Videos

	// Settings is a fingerprint of all that shapes an output beside its input,
	// with a profile, for photos or videos. It is kept with each finished file,
	// so that those can be told that were made with others. nil or "" = not
	// known, and no file gets a copy of another's output.
	Settings func(profile string, video bool) string

	// Check decodes an output, before its original is moved or deleted; needed
	// where a watched folder asks for that.
	Check func(ctx context.Context, out string) error

	// DeleteOriginals is the second yes that originals: delete needs.
	DeleteOriginals bool

	// Redo has finished files that were made with other settings done again.
	Redo bool

	About    web.About       // what the page tells of the work
	Children func() Children // what the metrics tell of the processes that work; nil = there are none

	// Preview makes a JPEG of at most side×side pixels of a photo, or of the picture
	// of a video at a time in seconds (negative = one of its beginning), apart from
	// this process. nil = the page has only what browsers show.
	Preview func(ctx context.Context, in string, side int, at float64) ([]byte, error)

	Machine Machine // what it tells the others, where the queue is shared

	// Drain is how long a stop waits for the work under way before it is
	// cancelled and put back; 0 = one minute.
	Drain time.Duration
}

const (
	defaultDrain = time.Minute
	// cancelTimeout is how long cancelled work may take to return. What does
	// not is abandoned, and put back at the next start.
	cancelTimeout = 15 * time.Second
)

// Daemon watches, queues and works. It is made by [New] and used once.
type Daemon struct {
	cfg       *config.Config
	deps      Deps
	attempts  int
	free      func(dir string) (space, error)
	roomWait  time.Duration
	stall     time.Duration
	report    time.Duration
	reserve   *atomic.Int64               // bytes, as disk.reserve
	reloading sync.Mutex                  // guards cfg once Run runs
	beat      atomic.Pointer[time.Time]   // when the watcher was last seen alive
	rename    func(from, to string) error // of originals; tests set it
	between   func(step string)           // see originals; tests set it
	now       func() time.Time

	noticeRetry func(try int) time.Duration
}

// New checks what it is given; nothing is opened before [Daemon.Run].
func New(cfg *config.Config, deps Deps) (*Daemon, error) {
	if deps.Processor == nil || deps.IsPhoto == nil || deps.Log == nil {
		return nil, errors.New("daemon: Processor, IsPhoto and Log are needed")
	}
	if (deps.Videos == nil) != (deps.IsVideo == nil) {
		return nil, errors.New("daemon: Videos and IsVideo go together")
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Watch) == 0 {
		return nil, errors.New("no folder to watch: set watch in the configuration file")
	}
	if err := CheckOriginals(cfg, deps.DeleteOriginals); err != nil {
		return nil, err
	}
	if deps.Check == nil && slices.ContainsFunc(cfg.Watch, func(w config.Watch) bool { return w.Originals != "keep" }) {
		return nil, errors.New("daemon: Check is needed where originals aren't kept")
	}
	return newDaemon(cfg, deps), nil
}

func newDaemon(cfg *config.Config, deps Deps) *Daemon {
	if deps.Settings == nil {
		deps.Settings = func(string, bool) string { return "" }
	}
	if deps.Retry == nil {
		deps.Retry = retryDelays.after
	}
	if deps.Drain == 0 {
		deps.Drain = defaultDrain
	}
	return &Daemon{
		cfg: cfg, deps: deps, attempts: maxAttempts, free: freeSpace, roomWait: roomWait, stall: cfg.Video.Stall,
		report: tellEvery, reserve: reserveOf(int64(cfg.Disk.Reserve)), rename: renameNew, now: time.Now,
		noticeRetry: noticeDelays.after,
	}
}

// Run works until ctx is done and then stops: no new job is begun, those in
// work are finished within Deps.Drain or else put back. It returns nil after
// such a stop, and an error if it could not start or stop in order. A process
// that is killed instead loses nothing either; only its jobs in work (a photo,
// a segment of a video) are done again.
func (d *Daemon) Run(ctx context.Context) (err error) {
	log := d.deps.Log
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	state, err := resolve(d.cfg.State)
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	roots, err := openRoots(d.cfg.Watch, state, d.deps.OutName)
	if err != nil {
		return err
	}
	ledger, m, err := d.openLedger(ctx, state, roots)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()

	if ledger.aside != "" {
		log.ErrorContext(ctx, "the database is damaged: moved aside, what was done is found again by the outputs", "file", ledger.aside)
	}
	if n, err := ledger.rebuild(ctx, roots, d.takes); err != nil {
		return err
	} else if n > 0 {
		log.InfoContext(ctx, "outputs found: their inputs aren't done again", "files", n)
	}
	figures := newMetrics()
	queue, err := d.open(ctx, ledger, func() []root { return roots }, errNoFolder, m, figures)
	if err != nil {
		return err
	}
	if err := errors.Join(d.stale(ctx, ledger, roots), queue.wake(ctx)); err != nil {
		return err
	}
	back, err := queue.recover(ctx)
	if err != nil {
		return err
	}
	if back > 0 {
		log.InfoContext(ctx, "interrupted files put back", "files", back)
	}
	control := &Control{queue: queue}
	figures.registry.MustRegister(queueMetrics{control, &d.deps, d.free, state})
	closePage, err := d.servePage(ctx, control, roots, figures)
	if err != nil {
		return err
	}
	defer closePage()
	// The work outlives ctx: it is stopped below, in order.
	if err := queue.start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	watch := d.watcher(ctx, roots, state, ledger, queue)
	var watching sync.WaitGroup
	watching.Go(func() { watch.run(ctx) })
	if queue.runner != nil {
		watching.Go(func() { queue.runner.report(ctx, d.report) })
	}
	tending, untend := context.WithCancel(context.WithoutCancel(ctx))
	defer untend()
	var tended sync.WaitGroup
	if m != nil {
		tended.Go(func() { m.run(tending, end) })
	}
	interval, err := watchInterval()
	if err != nil {
		log.WarnContext(ctx, "the service manager's watchdog is not understood, and not fed", "error", err)
	}
	dog := &watchdog{queue: queue, timeout: d.cfg.Queue.Timeout, stall: d.stall, rescan: d.cfg.Rescan, beat: &d.beat, log: log}
	hangUp := serveControl(ctx, control, state, log)
	if slices.ContainsFunc(roots, func(r root) bool { return r.originals != "keep" }) {
		watching.Go(func() { d.originals(roots, ledger).run(ctx) })
	}
	notify(ctx, log, sd.SdNotifyReady)
	tended.Go(func() { dog.tend(tending, ctx, interval) })
	log.InfoContext(ctx, "restored is ready", "folders", len(roots), "workers", d.cfg.WorkerCount(), "state", state)

	<-ctx.Done()
	late := context.WithoutCancel(ctx)
	notify(late, log, sd.SdNotifyStopping)
	log.InfoContext(late, "stopping")
	watching.Wait()
	if watch.events != nil {
		err = watch.events.Close()
	}
	err = errors.Join(err, d.stop(late, queue))
	hangUp()
	closePage()
	untend()
	tended.Wait()
	if m != nil {
		err = errors.Join(err, cause(ctx), m.leave(late))
	} else if err == nil {
		err = ledger.parkVideos(late)
	}
	log.InfoContext(late, "stopped")
	return err
}

// open makes the workers and their queue.
func (d *Daemon) open(ctx context.Context, l *Ledger, roots func() []root, lost error, m *member, figures *metrics) (*queue, error) {
	log, guard := d.deps.Log, room{d.reserve, d.free}
	forPhotos, err := d.schedule("schedule.photos", d.cfg.Schedule.Photos)
	if err != nil {
		return nil, err
	}
	forVideos, err := d.schedule("schedule.videos", d.cfg.Schedule.Videos)
	if err != nil {
		return nil, err
	}
	photos := &worker{
		ledger: l, processor: d.deps.Processor, roots: roots, lost: lost, room: guard, wait: d.roomWait, schedule: forPhotos,
		settings: d.deps.Settings, timeout: d.cfg.Queue.Timeout, attempts: d.attempts, retry: d.deps.Retry, log: log,
		metrics: figures,
	}
	var videos *videoWorker
	if d.deps.Videos != nil {
		videos = &videoWorker{
			videoRunner: &videoRunner{
				ledger: l, videos: d.deps.Videos, room: guard, stall: d.stall, grace: cancelTimeout, log: log,
				active: activity{metrics: figures},
			},
			isVideo: d.deps.IsVideo, roots: roots, lost: lost, wait: d.roomWait, schedule: forVideos,
			settings: d.deps.Settings, retry: d.deps.Retry,
		}
	}
	if m != nil && videos != nil {
		videos.lanes, m.runner = m.lanes, videos.videoRunner
	}
	var told *noticeWorker
	if notifies(d.cfg.Notify) {
		told = &noticeWorker{sender: newSender(d.cfg.Notify), ledger: l, retry: d.noticeRetry, metrics: figures, log: log}
	}
	q, err := openQueue(ctx, l, photos, videos, told, m, d.cfg.WorkerCount(), log)
	if err == nil && told == nil && (m == nil || m.daemon) {
		err = forgetNotices(ctx, l) // no other daemon has this queue
	}
	return q, err
}

// takes tells whether a file is one to work on.
func (d *Daemon) takes(name string) bool {
	return d.deps.IsPhoto(name) || d.deps.IsVideo != nil && d.deps.IsVideo(name)
}

// stop drains the workers, cancels those that take too long, and waits.
func (d *Daemon) stop(ctx context.Context, q *queue) error {
	if !q.works {
		return nil
	}
	drain, cancel := context.WithTimeout(ctx, d.deps.Drain)
	defer cancel()
	if q.client.Stop(drain) == nil {
		return nil
	}
	d.deps.Log.WarnContext(ctx, "work under way is cancelled and put back", "waited", d.deps.Drain.String())
	hard, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	if err := q.client.StopAndCancel(hard); err != nil {
		return fmt.Errorf("work under way did not stop within %s; it is put back at the next start", cancelTimeout)
	}
	return nil
}

// originals makes what moves and deletes originals.
func (d *Daemon) originals(roots []root, l *Ledger) *originals {
	return &originals{
		ledger: l, roots: roots, verify: d.deps.Check, rest: d.cfg.Rescan, log: d.deps.Log,
		writers: newWriters(), rename: d.rename, between: d.between,
	}
}

// watcher makes the watcher; without inotify it only scans.
func (d *Daemon) watcher(ctx context.Context, roots []root, state string, l *Ledger, q *queue) *watcher {
	log := d.deps.Log
	w := &watcher{
		roots: roots, skip: filepath.Clean(state), takes: d.takes, ledger: l, take: q.enqueue,
		rescan: d.cfg.Rescan, settle: newSettle(d.cfg.Settle.Quiet, d.cfg.Settle.Max, maxWaiting), writers: newWriters(), log: log,
		on: FilesystemOf, watched: map[string]folderID{}, polled: map[string]bool{}, touched: map[string]struct{}{},
	}
	w.beat = func() {
		now := time.Now()
		d.beat.Store(&now)
	}
	w.beat()
	events, err := fsnotify.NewWatcher()
	if err != nil {
		advice := ""
		if errors.Is(err, syscall.EMFILE) {
			advice = "sysctl fs.inotify.max_user_instances=512"
		}
		log.WarnContext(ctx, "no inotify: folders are only scanned", "error", err, "rescan", d.cfg.Rescan.String(), "advice", advice)
		return w
	}
	w.events, w.add = events, events.Add
	return w
}
