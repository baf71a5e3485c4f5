package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"restored/config"
)

// cluster is a site whose daemon only watches, on PostgreSQL.
type cluster struct{ *site }

func newCluster(t *testing.T) *cluster {
	s := newSite(t)
	s.cfg.Queue.URL, s.cfg.Queue.Take, s.cfg.Queue.Lease = postgresOf(t).Database(t), "none", 2*time.Second
	return &cluster{s}
}

// worker runs one as another process would, but for its number. how changes
// its configuration. The test's end stops it too.
func (c *cluster) worker(p Processor, f Videos, how func(*config.Config, *Deps)) (stop func() error) {
	c.t.Helper()
	cfg := c.cfg
	cfg.Queue.Take, cfg.Watch, cfg.Workers = "photo,segment,join", nil, 1
	deps := Deps{
		Processor: p, IsPhoto: isPhoto, Settings: func(profile string, _ bool) string { return c.with + profile },
		Retry: func(int) time.Duration { return 10 * time.Millisecond }, Log: slog.New(slog.NewTextHandler(c, nil)),
	}
	if f != nil {
		deps.Videos, deps.IsVideo = f, isVideo
	}
	if how != nil {
		how(&cfg, &deps)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	var running sync.WaitGroup
	running.Go(func() { err = RunWorker(ctx, &cfg, deps) })
	stop = func() error {
		cancel()
		running.Wait()
		return err
	}
	c.t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrSkew) {
			c.t.Logf("worker: %v", err)
		}
	})
	return stop
}

func (c *cluster) done(n int) func() bool {
	return func() bool { return countsOf(c.t, c.site)[Done] == n }
}

// once checks that all files are done, each once.
func (c *cluster) once(n int) map[string]Record {
	c.t.Helper()
	wait(c.t, fmt.Sprintf("%d files", n), c.done(n))
	all := c.records()
	for name, r := range all {
		if r.State != Done || r.Completed != 1 {
			c.t.Errorf("%q: %s, done %d times: %s", name, r.State, r.Completed, r.Reason)
		}
	}
	return all
}

// Photos and films of any names are done once by two workers, and by no daemon.
func TestClusterWorks(t *testing.T) {
	c := newCluster(t)
	c.films = &films{segments: 3}
	daemons, first, second := &proc{}, &proc{}, &proc{}
	stop := c.start(daemons)
	made := &films{segments: 3}
	c.worker(first, made, nil)
	c.worker(second, made, nil)
	names := []string{"plain.jpg", `back\slash.jpg`, "no \xff utf8.jpg", "sub/new\nline.jpg"}
	for _, name := range names {
		c.put(name, name)
	}
	c.put("film.mp4", "abc")
	all := c.once(len(names) + 1)
	for _, name := range names {
		if all[name].Path != filepath.Join(c.in, name) || c.output(name) != "restored "+name {
			t.Errorf("%q: %+v, output %q", name, all[name], c.output(name))
		}
	}
	if got := c.output("film.mp4"); got != "film <a><b><c>" {
		t.Errorf("film: %q", got)
	}
	if daemons.total() != 0 || first.total()+second.total() != len(names) {
		t.Errorf("the daemon did %d photos, the workers %d and %d", daemons.total(), first.total(), second.total())
	}
	list, err := c.control().Workers(t.Context())
	if err != nil || len(list.Workers) != 3 || list.Workers[0].Role != "daemon" || len(list.Workers[1].Queues) != 4 || list.Workers[1].Differs {
		t.Errorf("workers: %+v, %v", list, err)
	}
	stop()
	if list, err = c.control().Workers(t.Context()); err != nil || len(list.Workers) != 2 {
		t.Errorf("workers after the daemon's end: %+v, %v", list, err)
	}
}

// control is as `restored jobs` has it on another machine.
func (c *cluster) control() *Control {
	c.t.Helper()
	control, err := OpenSharedControl(c.t.Context(), c.cfg.Queue.URL, isVideo)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := control.Close(); err != nil {
			c.t.Error(err)
		}
	})
	return control
}

// A worker that loses the database stops its work and drops the result, others
// do it, and it works again when it reaches the database again.
func TestClusterCutOff(t *testing.T) {
	c := newCluster(t)
	c.start(&proc{})
	proxy, url := postgresOf(t).Proxy(t, c.cfg.Queue.URL)
	begun, cut := make(chan struct{}), make(chan error, 1)
	hung := &proc{before: func(ctx context.Context, job Job) error {
		if filepath.Base(job.In) != "hangs.jpg" {
			return nil
		}
		close(begun)
		<-ctx.Done()
		cut <- context.Cause(ctx)
		return nil // and so it writes the output all the same
	}}
	c.worker(hung, nil, func(cfg *config.Config, _ *Deps) { cfg.Queue.URL = url })
	c.put("hangs.jpg", "x")
	<-begun
	proxy.Cut()
	other := &proc{}
	c.worker(other, nil, nil)
	if err := <-cut; !errors.Is(err, errCutOff) {
		t.Errorf("the work was stopped by %v", err)
	}
	c.once(1)
	if other.count("hangs.jpg") != 1 || c.output("hangs.jpg") != "restored x" {
		t.Errorf("the other did it %d times, output %q", other.count("hangs.jpg"), c.output("hangs.jpg"))
	}
	proxy.Heal()
	wait(t, "the database to be reached again", func() bool { return strings.Contains(c.logged(), "the database is reached again") })
	c.put("later.jpg", "y")
	c.once(2)
}

// What a machine says of a job that was taken over doesn't count, whether it
// comes before or after the other's.
func TestClusterFence(t *testing.T) {
	c := newCluster(t)
	stop := c.start(&proc{})
	c.put("a.jpg", "x")
	wait(t, "the job", func() bool { return countsOf(t, c.site)[Queued] == 1 })
	stop()
	l := c.ledger()
	defer l.Close()
	_, err := l.db.Exec("UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = '{lost}'")
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := l.Lookup(t.Context(), filepath.Join(c.in, "a.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	var id int64
	if err := l.db.QueryRow("SELECT id FROM river_job").Scan(&id); err != nil {
		t.Fatal(err)
	}
	held := &heldJob{id: id, stop: func(error) {}}
	of := context.WithValue(t.Context(), heldKey{}, held)
	if err := l.start(of, rec); err != nil {
		t.Fatalf("before it is taken over: %v", err)
	}
	m := c.site.daemon(&proc{}).member(l, time.Minute)
	if err := errors.Join(m.join(t.Context()), m.takeOver(t.Context())); err != nil {
		t.Fatal(err)
	}
	for name, note := range map[string]func() error{
		"start":   func() error { return l.start(of, rec) },
		"fail":    func() error { return l.fail(of, rec.ID, "") },
		"done":    func() error { return l.done(of, rec.ID, Result{}, nil) },
		"requeue": func() error { return l.requeue(of, rec.ID, "", true) },
	} {
		held.lost.Store(false)
		if err := note(); !errors.Is(err, errTaken) {
			t.Errorf("%s of a job that was taken over: %v", name, err)
		}
	}
	var states []string
	rows, err := l.db.Query("SELECT state || ' ' || attempt FROM river_job ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		states = append(states, s)
	}
	now, _, err := l.Lookup(t.Context(), rec.Path)
	if err = errors.Join(err, rows.Err()); err != nil || !slices.Equal(states, []string{"cancelled 1", "available 0"}) || now.State != Queued || now.Crashes != 1 {
		t.Errorf("jobs %q, file %+v, %v", states, now, err)
	}
}

// Versions that don't fit, a second daemon and a strange storage are refused.
func TestClusterRefuses(t *testing.T) {
	c := newCluster(t)
	c.start(&proc{})
	run := func(how func(*config.Config, *Deps)) error {
		cfg := c.cfg
		cfg.Queue.Take, cfg.Watch = "photo", nil
		deps := Deps{Processor: &proc{}, IsPhoto: isPhoto, Log: slog.New(slog.DiscardHandler)}
		how(&cfg, &deps)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return RunWorker(ctx, &cfg, deps)
	}
	err := run(func(_ *config.Config, d *Deps) { d.Machine.Version = "9" })
	if !errors.Is(err, ErrSkew) || !strings.Contains(err.Error(), `this is "9"`) {
		t.Errorf("another version: %v", err)
	}
	elsewhere := t.TempDir()
	paths := func(cfg *config.Config, _ *Deps) { cfg.Queue.Paths = filepath.Dir(c.in) + "=" + elsewhere }
	if err := run(paths); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "queue.paths") {
		t.Errorf("no storage: %v", err)
	}
	strange := filepath.Join(elsewhere, "state")
	if err := errors.Join(os.Mkdir(strange, 0o755), markStorage(strange, "other")); err != nil {
		t.Fatal(err)
	}
	if err := run(paths); err == nil || !strings.Contains(err.Error(), "belongs to another cluster") {
		t.Errorf("another cluster's storage: %v", err)
	}
	second := &site{t: t, cfg: c.cfg}
	second.cfg.State = t.TempDir()
	if err := second.daemon(&proc{}).Run(t.Context()); !errors.Is(err, errTwoDaemons) {
		t.Errorf("a second daemon: %v", err)
	}
	l := c.ledger()
	defer l.Close()
	if _, err := l.db.Exec("UPDATE restored_schema SET version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := run(func(*config.Config, *Deps) {}); !errors.Is(err, ErrSkew) || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("another schema: %v", err)
	}
	if err := Migrate(t.Context(), c.cfg.Queue.URL, "", slog.New(slog.DiscardHandler)); !errors.Is(err, ErrSkew) {
		t.Errorf("a migration back: %v", err)
	}
}

// A daemon of another version is refused while workers run, and ends those that
// are left over when it comes.
func TestClusterUpgrade(t *testing.T) {
	c := newCluster(t)
	stop := c.start(&proc{})
	stopWorker := c.worker(&proc{}, nil, nil)
	wait(t, "the worker", func() bool { return strings.Contains(c.logged(), "the worker is ready") })
	stop()
	d := c.site.daemon(&proc{})
	d.deps.Machine.Version = "9"
	if err := d.Run(t.Context()); !errors.Is(err, ErrSkew) || !strings.Contains(err.Error(), "stop the workers first") {
		t.Errorf("beside a worker of another version: %v", err)
	}
	l := c.ledger()
	defer l.Close()
	if _, err := l.db.Exec("UPDATE cluster SET version = '9'"); err != nil {
		t.Fatal(err)
	}
	wait(t, "the worker's end", func() bool { return strings.Count(c.logged(), "msg=stopped") == 2 })
	if err := stopWorker(); !errors.Is(err, ErrSkew) {
		t.Errorf("a worker left over: %v", err)
	}
}
