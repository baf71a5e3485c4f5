package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"restored/config"
)

// daemonPatience is how long a daemon waits for the lock of one that has been
// killed, whose connection the database still ends.
const daemonPatience = 10 * time.Second

var (
	errNoFolder = &errUnread{"the file lies in no watched folder any more"}
	// errFoldersUnknown may pass: the daemon's folders are heard of at each beat.
	errFoldersUnknown = Transient(errors.New("the file lies in none of the daemon's watched folders"))
)

// cause is why the process ends, where it isn't asked to.
func cause(ctx context.Context) error {
	if why := context.Cause(ctx); errors.Is(why, ErrSkew) || errors.Is(why, errTwoDaemons) {
		return why
	}
	return nil
}

// openLedger opens the daemon's ledger: its own, or the cluster's, of which it
// is a member then.
func (d *Daemon) openLedger(ctx context.Context, state string, roots []root) (*Ledger, *member, error) {
	if d.cfg.Queue.URL == "" {
		l, err := OpenLedger(ctx, state)
		return l, nil, err
	}
	if err := os.MkdirAll(state, 0o750); err != nil {
		return nil, nil, fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockState(state)
	if err != nil {
		return nil, nil, err
	}
	l, err := openShared(ctx, d.cfg.Queue.URL, d.cfg.Queue.Lease, d.deps.Log)
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	l.lock, l.dir, l.root = lock, state, state
	m, err := d.lead(ctx, l, roots)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, m, nil
}

// lead makes this process the cluster's daemon.
func (d *Daemon) lead(ctx context.Context, l *Ledger, roots []root) (*member, error) {
	q := d.cfg.Queue
	if q.Root != "" {
		var err error
		if l.root, err = resolve(q.Root); err != nil {
			return nil, fmt.Errorf("queue.root: %w", err)
		}
	}
	for _, r := range roots {
		if inside, err := within(l.root, r.in); err != nil || inside {
			return nil, errors.Join(err, fmt.Errorf("queue.root: %s lies within the watched folder %s", l.root, r.in))
		}
	}
	if q.Migrate {
		if err := l.migrateShared(ctx, d.deps.Machine.Version, d.deps.Log); err != nil {
			return nil, err
		}
	}
	if err := l.checkShared(ctx, d.deps.Log); err != nil {
		return nil, err
	}
	m := d.member(l, q.Lease)
	m.daemon = true
	if err := m.takeLead(ctx); err != nil {
		return nil, err
	}
	c, err := readCluster(ctx, l.db)
	if err != nil {
		return nil, err
	}
	if err := markStorage(l.root, c.id); err != nil {
		return nil, fmt.Errorf("queue.root: %w", err)
	}
	err = l.writeCluster(ctx, clusterRow{
		version: m.about.Version, root: l.root, folders: foldersOf(roots), lease: q.Lease, photo: m.lanes.photo, video: m.lanes.plan,
	})
	if err != nil {
		return nil, err
	}
	if err := m.join(ctx); err != nil {
		return nil, err
	}
	return m, m.takeOver(ctx)
}

// takeLead takes the daemon's lock, with some patience.
func (m *member) takeLead(ctx context.Context) error {
	late := time.After(daemonPatience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := m.onlyDaemon(ctx)
		if !errors.Is(err, errTwoDaemons) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return err
		case <-tick.C:
		}
	}
}

// member makes this process a member of the ledger's cluster.
func (d *Daemon) member(l *Ledger, lease time.Duration) *member {
	about := d.deps.Machine
	n := lanesOf(about, d.deps.Settings, slices.Collect(maps.Keys(d.cfg.Profiles)))
	id, _ := memberID()
	return &member{
		ledger: l, id: id, about: about, lanes: n, taken: n.taken(d.cfg.Queue.Takes()), slots: d.cfg.WorkerCount(),
		held: &heldJobs{jobs: map[int64]*heldJob{}, left: map[int64]time.Time{}}, log: d.deps.Log, lease: lease,
	}
}

// RunWorker works for a cluster's daemon until ctx is done, and stops as
// [Daemon.Run] does. It watches nothing: what there is to do, it is told by the
// database of queue.url. Of the configuration only queue, workers, schedule,
// disk and what shapes the results count; deps.Settings must be the daemon's,
// else nothing is taken.
func RunWorker(ctx context.Context, cfg *config.Config, deps Deps) (err error) {
	d := newDaemon(cfg, deps)
	log := deps.Log
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l, err := openShared(ctx, cfg.Queue.URL, cfg.Queue.Lease, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c, err := awaitDaemon(ctx, l, log)
	if err != nil {
		return err
	}
	if c.version != deps.Machine.Version {
		return fmt.Errorf("%w: the cluster is %q and this is %q: install the same version, the daemon's first", ErrSkew, c.version, deps.Machine.Version)
	}
	if err := d.seeStorage(l, c); err != nil {
		return err
	}
	m := d.member(l, c.lease)
	m.folders.Store(&c)
	queue, err := d.open(ctx, l, func() []root { return l.rootsOf(m.folders.Load().folders, deps.OutName) }, errFoldersUnknown, m, nil)
	if err != nil {
		return err
	}
	if err := m.join(ctx); err != nil {
		return err
	}
	m.tellDifference(ctx, c)
	if err := queue.start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	tending, untend := context.WithCancel(context.WithoutCancel(ctx))
	defer untend()
	var tended sync.WaitGroup
	tended.Go(func() { m.run(tending, end) })
	if queue.runner != nil {
		tended.Go(func() { queue.runner.report(tending, d.report) })
	}
	notify(ctx, log, sd.SdNotifyReady)
	log.InfoContext(ctx, "the worker is ready", "worker", m.id, "workers", m.slots, "takes", cfg.Queue.Take, "root", l.root)
	<-ctx.Done()
	late := context.WithoutCancel(ctx)
	notify(late, log, sd.SdNotifyStopping)
	log.InfoContext(late, "stopping")
	err = d.stop(late, queue)
	untend()
	tended.Wait()
	leaving, cancel := context.WithTimeout(late, endTimeout)
	defer cancel()
	if gone := m.leave(leaving); gone != nil {
		log.WarnContext(late, "the cluster isn't told of the end: it sees it by itself", "error", gone)
	}
	log.InfoContext(late, "stopped")
	return errors.Join(err, cause(ctx))
}

// awaitDaemon waits until a daemon has worked with the database.
func awaitDaemon(ctx context.Context, l *Ledger, log *slog.Logger) (clusterRow, error) {
	for first := true; ; first = false {
		version, err := schemaVersion(ctx, l.db)
		var c clusterRow
		switch {
		case err != nil || version == 0:
		case version != len(sharedSchemas):
			err = l.checkShared(ctx, log)
		default:
			c, err = readCluster(ctx, l.db)
		}
		if err == nil && c.root != "" { // the daemon has prepared all tables by then
			return c, l.checkShared(ctx, log)
		}
		if err != nil {
			return c, err
		}
		if first {
			log.WarnContext(ctx, "no daemon has worked with the database of queue.url yet: waiting for it")
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(connectPause):
		}
	}
}

// seeStorage finds the shared folders of a cluster on this machine, and proves
// that they are the daemon's.
func (d *Daemon) seeStorage(l *Ledger, c clusterRow) error {
	var err error
	if l.paths, err = parsePaths(d.cfg.Queue.Paths); err != nil {
		return err
	}
	l.root = l.paths.local(c.root)
	l.dir = l.root
	if err := checkStorage(l.root, c.id); err != nil {
		return err
	}
	for _, r := range l.rootsOf(c.folders, nil) {
		for _, dir := range []string{r.in, r.out} {
			if err := isFolder(dir); err != nil {
				return fmt.Errorf("a folder of the daemon's isn't here: %w: is it mounted, and does queue.paths say where?", err)
			}
		}
	}
	return nil
}

// tellDifference warns where the daemon's settings are others, and so nothing
// is taken.
func (m *member) tellDifference(ctx context.Context, c clusterRow) {
	if m.lanes.photo != c.photo {
		m.log.WarnContext(ctx, "photos aren't taken: the daemon's settings or model are others",
			"advice", "give all machines the same restore, detect, identity, photo and profiles")
	}
	if m.lanes.plan != c.video {
		m.log.WarnContext(ctx, "videos aren't taken: the daemon's settings or model are others",
			"advice", "give all machines the same restore, detect, identity, video and profiles")
	}
}
