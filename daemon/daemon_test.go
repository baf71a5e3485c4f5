package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"restored/config"
)

// TestSlowCopies drops files in pieces: each is taken once, whole.
func TestSlowCopies(t *testing.T) {
	s := newSite(t)
	s.cfg.Settle.Quiet = 600 * time.Millisecond
	p := &proc{}
	s.start(p)
	const files, pieces = 30, 12
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range pieces { // all files grow together
		for n := range files {
			f, err := os.OpenFile(filepath.Join(s.in, fmt.Sprintf("%02d.jpg", n)), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(f, "piece %d of %d;", i, n); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		<-tick.C
	}
	for n := range files {
		name := fmt.Sprintf("%02d.jpg", n)
		want := "restored "
		for i := range pieces {
			want += fmt.Sprintf("piece %d of %d;", i, n)
		}
		wait(t, "the whole of "+name, func() bool { return s.output(name) == want })
		if c := p.count(name); c != 1 {
			t.Errorf("%s was taken %d times", name, c)
		}
	}
}

// TestRestart: finished files are not repeated, waiting ones not forgotten, and
// a stop cancels what would take too long.
func TestRestart(t *testing.T) {
	s := newSite(t)
	s.drain = 50 * time.Millisecond
	first := &proc{}
	stop := s.start(first)
	for i := range 4 {
		s.put(fmt.Sprintf("done%d.jpg", i), "a")
	}
	wait(t, "four outputs", func() bool { return first.total() == 4 })
	stop()

	hold := &proc{before: func(ctx context.Context, _ Job) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	stop = s.start(hold)
	for i := range 6 {
		s.put(fmt.Sprintf("wait%d.jpg", i), "b")
	}
	wait(t, "two photos in work", func() bool { return hold.total() == 2 })
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if r := s.records()["wait0.jpg"]; r.State != Queued || r.Attempts != 0 {
		t.Errorf("interrupted: state %s, attempts %d, want queued, 0", r.State, r.Attempts)
	}

	last := &proc{}
	stop = s.start(last)
	for i := range 6 {
		name := fmt.Sprintf("wait%d.jpg", i)
		wait(t, name, func() bool { return s.output(name) == "restored b" })
	}
	stop()
	for name, r := range s.records() {
		if r.State != Done || r.Completed != 1 {
			t.Errorf("%s: %s, completed %d times", name, r.State, r.Completed)
		}
		if strings.HasPrefix(name, "done") && last.count(name)+hold.count(name) > 0 {
			t.Errorf("%s was done again", name)
		}
	}
	if string(s.records()["done0.jpg"].Report) != `{"bytes":1}` {
		t.Errorf("report %s", s.records()["done0.jpg"].Report)
	}
}

// TestReplaced: a file that changes is done again and its output replaced, also
// when it changes while it is in work.
func TestReplaced(t *testing.T) {
	s := newSite(t)
	entered, goOn := make(chan struct{}, 1), make(chan struct{})
	var held atomic.Bool
	p := &proc{before: func(_ context.Context, job Job) error {
		if filepath.Base(job.In) == "held.jpg" && held.CompareAndSwap(false, true) {
			entered <- struct{}{}
			<-goOn
		}
		return nil
	}}
	stop := s.start(p)
	s.put("plain.jpg", "one")
	wait(t, "the first version", func() bool { return s.output("plain.jpg") == "restored one" })
	s.put("plain.jpg", "second")
	wait(t, "the second version", func() bool { return s.output("plain.jpg") == "restored second" })

	s.put("held.jpg", "old")
	<-entered
	s.put("held.jpg", "newer version")
	close(goOn)
	wait(t, "the version that came while the first was in work", func() bool {
		return s.output("held.jpg") == "restored newer version"
	})
	stop()
	if r := s.records()["plain.jpg"]; r.Completed != 2 {
		t.Errorf("plain.jpg completed %d times, want 2", r.Completed)
	}
	if r := s.records()["held.jpg"]; r.State != Done {
		t.Errorf("held.jpg: %+v", r)
	}
}

// TestOtherName: outputs under another name, by rule and by the processor's
// own claim; two inputs never share one.
func TestOtherName(t *testing.T) {
	s := newSite(t)
	s.outName = func(rel string) string { return strings.Replace(rel, ".heic.jpg", ".jpg", 1) }
	p := processorFunc(func(ctx context.Context, job Job) (Result, error) {
		out := job.Out
		if filepath.Base(job.In) == "raw.jpg" {
			out = strings.TrimSuffix(job.Out, ".jpg") + ".png"
			if _, err := job.Claim(ctx, out); err != nil {
				return Result{}, err
			}
		}
		if filepath.Base(job.In) == "rude.jpg" {
			out += ".unclaimed"
		}
		if filepath.Base(job.In) == "none.jpg" {
			return Result{}, nil // skipped on purpose
		}
		return Result{Out: out}, writeAtomic(out, "x", false)
	})
	stop := s.start(p)
	s.put("dir/a.heic.jpg", "1")
	wait(t, "dir/a.jpg", func() bool { return s.output("dir/a.jpg") == "x" })
	s.put("plain.jpg", "2")
	s.put("raw.jpg", "3")
	s.put("rude.jpg", "4")
	s.put("none.jpg", "5")
	s.put("dir/a.jpg", "6") // wants dir/a.jpg too
	wait(t, "the ends", func() bool {
		return strings.Count(s.logged(), "photo done") == 4 && strings.Count(s.logged(), "photo failed") == 2
	})
	stop()
	all := s.records()
	if r := all["raw.jpg"]; r.Out != filepath.Join(s.out, "raw.png") || s.output("raw.png") != "x" {
		t.Errorf("raw.jpg: %+v", r)
	}
	if r := all["dir/a.jpg"]; !strings.Contains(r.Reason, "the output of another file") {
		t.Errorf("dir/a.jpg: %+v", r)
	}
	if r := all["rude.jpg"]; !strings.Contains(r.Reason, "written without a claim") {
		t.Errorf("rude.jpg: %+v", r)
	}
	if r := all["none.jpg"]; r.State != Done || r.Out != "" {
		t.Errorf("none.jpg: %+v", r)
	}
}

// TestSecondDaemonRefused: one process at a time owns a state folder.
func TestSecondDaemonRefused(t *testing.T) {
	s := newSite(t)
	s.start(&proc{})
	wait(t, "the first daemon", func() bool { return strings.Contains(s.logged(), "restored is ready") })
	err := s.daemon(&proc{}).Run(t.Context())
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), s.cfg.State) {
		t.Errorf("the second daemon: %v", err)
	}
}

// TestNotify: systemd hears of the start and the stop.
func TestNotify(t *testing.T) {
	m := manage(t)
	s := newSite(t)
	stop := s.start(&proc{})
	m.hear("READY=1", 1)
	m.hear("STATUS=0 waiting, 0 in work, 0 done, 0 failed", 1)
	stop()
	m.hear("STOPPING=1", 1)
}

func TestNewRefuses(t *testing.T) {
	s := newSite(t)
	deps := s.daemon(&proc{}).deps
	if _, err := New(&s.cfg, Deps{}); err == nil {
		t.Error("no dependencies: accepted")
	}
	cfg := s.cfg
	cfg.Watch = nil
	if _, err := New(&cfg, deps); err == nil || !strings.Contains(err.Error(), "no folder to watch") {
		t.Errorf("no folders: %v", err)
	}
	cfg = s.cfg
	cfg.Watch = []config.Watch{{In: s.in, Out: s.out, Originals: "delete"}}
	if _, err := New(&cfg, deps); err == nil {
		t.Error("originals delete: accepted")
	}
}

// TestManyFiles queues many small files at once and tells how long it took.
func TestManyFiles(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 8
	const n = manyFiles
	for i := range n {
		s.put(fmt.Sprintf("%02d/%04d.jpg", i%20, i), "x")
	}
	p := &proc{before: func(context.Context, Job) error { return errors.New("counted, not worked on") }}
	began := time.Now()
	stop := s.start(p)
	db := s.beside()
	defer db.Close()
	wait(t, "all to be queued", func() bool {
		var noted int
		err := db.QueryRow("SELECT max(id) FROM files").Scan(&noted)
		return err == nil && noted == n
	})
	t.Logf("%d files queued after %s (quiet time %s included), %d worked on meanwhile",
		n, time.Since(began).Round(time.Millisecond), s.cfg.Settle.Quiet, p.total())
	stop()
	if c := len(s.records()); c != n {
		t.Errorf("%d records", c)
	}
}
