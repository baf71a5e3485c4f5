package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestForeignOutput: what we did not write is never overwritten.
func TestForeignOutput(t *testing.T) {
	s := newSite(t)
	p := &proc{}
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(s.out, "a.jpg")
	if err := os.WriteFile(foreign, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.out, "b.jpg"), 0o755); err != nil {
		t.Fatal(err)
	}
	stop := s.start(p)
	s.put("a.jpg", "x")
	s.put("b.jpg", "x")
	s.put("c.jpg", "x")
	wait(t, "c.jpg, and the failure of the others", func() bool {
		return s.output("c.jpg") != "" && strings.Count(s.logged(), "photo failed") == 2
	})
	s.put("a.jpg", "changed")
	wait(t, "another failure", func() bool { return strings.Count(s.logged(), "photo failed") == 3 })
	// Our own output, changed by somebody, is not ours to replace any more.
	if err := os.WriteFile(filepath.Join(s.out, "c.jpg"), []byte("retouched by hand"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.put("c.jpg", "changed")
	wait(t, "one more failure", func() bool { return strings.Count(s.logged(), "photo failed") == 4 })
	stop()
	if got := s.output("a.jpg") + ", " + s.output("c.jpg"); got != "precious, retouched by hand" {
		t.Errorf("outputs now: %s", got)
	}
	if p.total() != 1 {
		t.Errorf("the processor was called %d times, want once, for c.jpg", p.total())
	}
	for name, want := range map[string]string{"a.jpg": "was there before", "b.jpg": "no regular file", "c.jpg": "somebody has changed it"} {
		if r := s.records()[name]; r.State != Failed || !strings.Contains(r.Reason, want) {
			t.Errorf("%s: %s because %q, want %q", name, r.State, r.Reason, want)
		}
	}
}

// TestPermanentFailure: recorded with its reason, not repeated by scans or a
// restart, tried again when the file changes. A panic is such a failure.
func TestPermanentFailure(t *testing.T) {
	s := newSite(t)
	p := &proc{before: func(_ context.Context, job Job) error {
		data, err := os.ReadFile(job.In)
		switch {
		case err != nil:
			return err
		case string(data) == "broken":
			return errors.New("not a JPEG file")
		case string(data) == "evil":
			panic("index out of range")
		}
		return nil
	}}
	stop := s.start(p)
	s.put("broken.jpg", "broken")
	s.put("evil.jpg", "evil")
	wait(t, "two failures", func() bool { return strings.Count(s.logged(), "photo failed") == 2 })
	stop()
	for name, want := range map[string]string{"broken.jpg": "not a JPEG file", "evil.jpg": "internal error: index out of range"} {
		if r := s.records()[name]; r.State != Failed || r.Reason != want || r.Attempts != 1 || r.Out != "" {
			t.Errorf("%s: %+v, want failed: %s", name, r, want)
		}
	}
	stop = s.start(p)
	s.put("good.jpg", "good") // found by an event, or by a scan that sees the others too
	wait(t, "good.jpg", func() bool { return s.output("good.jpg") != "" })
	if p.count("broken.jpg") != 1 || p.count("evil.jpg") != 1 {
		t.Error("a failed file was tried again after a restart")
	}
	s.put("broken.jpg", "mended")
	wait(t, "the mended file", func() bool { return s.output("broken.jpg") == "restored mended" })
	stop()
	if r := s.records()["broken.jpg"]; r.State != Done || r.Reason != "" {
		t.Errorf("mended: %+v", r)
	}
}

// TestTransientFailure: tried again with pauses, and in the end given up.
func TestTransientFailure(t *testing.T) {
	s := newSite(t)
	s.tries = 3
	p := &proc{}
	p.before = func(_ context.Context, job Job) error {
		switch filepath.Base(job.In) {
		case "soon.jpg":
			if p.count("soon.jpg") < 3 {
				return fmt.Errorf("write: %w", syscall.ENOSPC)
			}
		case "never.jpg":
			return Transient(errors.New("GPU lost"))
		}
		return nil
	}
	stop := s.start(p)
	s.put("soon.jpg", "x")
	s.put("never.jpg", "x")
	wait(t, "the third try", func() bool { return s.output("soon.jpg") != "" })
	wait(t, "giving up", func() bool { return strings.Contains(s.logged(), "photo failed") })
	stop()
	all := s.records()
	if r := all["soon.jpg"]; r.State != Done || r.Attempts != 3 {
		t.Errorf("soon: %+v", r)
	}
	if r := all["never.jpg"]; r.State != Failed || r.Reason != "GPU lost" || p.count("never.jpg") != 3 {
		t.Errorf("never: %+v after %d tries", r, p.count("never.jpg"))
	}
}

// TestVanished: a file that is gone is not worked on, not failed, and done when
// it is back, although nothing about it has changed.
func TestVanished(t *testing.T) {
	s := newSite(t)
	entered, goOn := make(chan struct{}), make(chan struct{})
	p := &proc{before: func(ctx context.Context, job Job) error {
		if filepath.Base(job.In) != "first.jpg" {
			return nil
		}
		close(entered)
		<-goOn
		return nil
	}}
	s.cfg.Workers = 1
	stop := s.start(p)
	s.put("first.jpg", "x")
	<-entered
	mount := filepath.Join(s.in, "mount")
	for i := range 5 {
		s.put(fmt.Sprintf("mount/%d.jpg", i), "x")
	}
	away := filepath.Join(filepath.Dir(s.in), "away")
	wait(t, "five queued files", func() bool { return countsOf(t, s)[Queued] == 5 })
	if err := os.Rename(mount, away); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	wait(t, "the queue to be empty", func() bool { return countsOf(t, s)[Queued] == 0 })
	if p.total() != 1 {
		t.Errorf("%d files were worked on, want only the first", p.total())
	}
	if err := os.Rename(away, mount); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		wait(t, "a file that is back", func() bool { return s.output(fmt.Sprintf("mount/%d.jpg", i)) != "" })
	}
	stop()
	for name, r := range s.records() {
		if r.State != Done || r.Completed != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestJobTimeout: a photo that takes too long has failed. The configuration's
// least time is 10 s, so the worker is given less here.
func TestJobTimeout(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	defer l.Close()
	w := &worker{ledger: l, settings: func(string, bool) string { return "" }, timeout: 50 * time.Millisecond, attempts: 1, retry: s.retry, log: s.daemon(&proc{}).deps.Log,
		room: room{reserveOf(0), freeSpace},
		processor: processorFunc(func(ctx context.Context, _ Job) (Result, error) {
			<-ctx.Done()
			return Result{}, ctx.Err()
		})}
	roots, err := openRoots(s.cfg.Watch, s.cfg.State, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.roots = func() []root { return roots }
	q, err := openQueue(t.Context(), l, w, nil, nil, nil, 1, w.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := s.put("slow.jpg", "x")
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	real, err := resolve(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.enqueue(t.Context(), []foundFile{{real, versionOf(info)}}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the timeout", func() bool { return strings.Contains(s.logged(), "took longer than 50ms") })
	if err := q.client.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, _, _ := l.Lookup(t.Context(), real); r.State != Failed {
		t.Errorf("%+v", r)
	}
}
