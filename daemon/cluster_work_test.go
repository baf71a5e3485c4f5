package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"restored/config"
)

// Machines with other settings or encoders take nothing that would come out
// otherwise, and a segment stays with machines like the one that planned.
func TestClusterLikes(t *testing.T) {
	c := newCluster(t)
	c.films = &films{segments: 4}
	c.start(&proc{})
	odd := &proc{}
	c.worker(odd, &films{segments: 4}, func(_ *config.Config, d *Deps) {
		d.Settings = func(string, bool) string { return "other" }
	})
	wait(t, "the warning", func() bool { return strings.Contains(c.logged(), "photos aren't taken") })
	planned := make(chan struct{})
	var once sync.Once
	gpu := &films{segments: 4, before: func(_ context.Context, name string, _ VideoJob, _ func(Progress)) error {
		if name == "plan" {
			once.Do(func() { close(planned) })
		}
		return nil
	}}
	c.put("film.mp4", "abcd")
	c.worker(&proc{}, gpu, func(cfg *config.Config, d *Deps) { d.Machine.Encoders, cfg.Queue.Take = "x264 164", "segment" })
	<-planned
	cpu := &films{segments: 4}
	c.worker(&proc{}, cpu, func(_ *config.Config, d *Deps) { d.Machine.Encoders = "x264 165" })
	c.put("a.jpg", "x")
	c.once(2)
	for _, call := range cpu.calls {
		if call.name != "join" {
			t.Errorf("a machine with other encoders did %s", call.name)
		}
	}
	if odd.total() != 0 || len(gpu.calls) != 9 || len(cpu.calls) != 1 {
		t.Errorf("the odd one did %d, the planner %d, the joiner %d", odd.total(), len(gpu.calls), len(cpu.calls))
	}
}

// A worker that sees the storage elsewhere works there, and the ledger has the
// daemon's paths.
func TestClusterPaths(t *testing.T) {
	c := newCluster(t)
	c.films = &films{segments: 2}
	here := t.TempDir()
	theirs := filepath.Dir(c.in)
	for _, dir := range []string{"in", "out", "state"} { // the same folders, by links that aren't followed by name
		if err := os.MkdirAll(filepath.Join(theirs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.start(&proc{})
	mirror := func(rel string) {
		t.Helper()
		to := filepath.Join(here, rel)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Link(filepath.Join(theirs, rel), to)); err != nil {
			t.Fatal(err)
		}
	}
	mirror("state/" + selfTestName)
	c.put("a.jpg", "x")
	c.put("film.mp4", "ab")
	mirror("in/a.jpg")
	mirror("in/film.mp4")
	if err := os.Mkdir(filepath.Join(here, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, f := &proc{}, &films{segments: 2}
	c.worker(p, f, func(cfg *config.Config, _ *Deps) { cfg.Queue.Paths = theirs + "=" + here })
	wait(t, "both", func() bool {
		_, photo := os.Stat(filepath.Join(here, "out", "a.jpg"))
		_, film := os.Stat(filepath.Join(here, "out", "film.mp4"))
		return photo == nil && film == nil && c.done(2)()
	})
	for name, r := range c.records() {
		if r.Out != filepath.Join(c.out, name) || r.Path != filepath.Join(c.in, name) {
			t.Errorf("the ledger has %s and %s for %s", r.Path, r.Out, name)
		}
	}
	if p.jobs[0].In != filepath.Join(here, "in", "a.jpg") || f.calls[0].job.In != filepath.Join(here, "in", "film.mp4") {
		t.Errorf("the worker saw %s and %s", p.jobs[0].In, f.calls[0].job.In)
	}
}

// Cancel and pause reach the machine that works.
func TestClusterControl(t *testing.T) {
	c := newCluster(t)
	c.start(&proc{})
	begun := make(chan string, 9)
	c.worker(&proc{before: func(ctx context.Context, job Job) error {
		begun <- filepath.Base(job.In)
		if filepath.Base(job.In) != "long.jpg" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}, nil, nil)
	control := c.control()
	c.put("long.jpg", "x")
	<-begun
	id, err := control.Find(t.Context(), filepath.Join(c.in, "long.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := control.Cancel(t.Context(), id)
	if err != nil || info.State != Failed || info.Reason != errCancelled.Error() {
		t.Errorf("cancelled: %+v, %v", info, err)
	}
	if queue, err := control.Pause(t.Context()); err != nil || !queue.Paused {
		t.Errorf("paused: %+v, %v", queue, err)
	}
	wait(t, "the pause to be seen", func() bool {
		var n int
		db := c.beside()
		defer db.Close()
		return db.QueryRow("SELECT count(*) FROM river_queue WHERE paused_at IS NOT NULL").Scan(&n) == nil && n == 1
	})
	if _, err := control.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.put("next.jpg", "y")
	wait(t, "the next", func() bool { return c.output("next.jpg") != "" })
}

// The server is stopped hard while work goes on, and comes back.
func TestClusterServerCrash(t *testing.T) {
	c := newCluster(t)
	server := postgresOf(t)
	c.start(&proc{})
	stopped := make(chan struct{})
	var once sync.Once
	p := &proc{before: func(ctx context.Context, _ Job) error {
		var err error
		once.Do(func() {
			defer close(stopped)
			err = errors.Join(server.Stop("immediate"), server.Start())
		})
		return err
	}}
	c.worker(p, nil, nil)
	for i := range 5 {
		c.put(fmt.Sprintf("%d.jpg", i), fmt.Sprint(i))
	}
	<-stopped
	c.once(5)
	for i := range 5 {
		if got := c.output(fmt.Sprintf("%d.jpg", i)); got != fmt.Sprintf("restored %d", i) {
			t.Errorf("%d: %q", i, got)
		}
	}
}
