package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// child is the daemon in a process of its own, to be killed. Its processor
// takes 30 ms for a photo; if the file "hang" is in the folder, it never comes
// back after an output's rename.
func child(dir string) {
	cfg := siteConfig(dir)
	if address := os.Getenv(notifyEnv); address != "" {
		cfg.Notify.URL, cfg.Notify.Secret = address, hookSecret
	}
	step := childOriginals(dir, &cfg)
	p := &proc{
		before: func(context.Context, Job) error {
			<-time.After(30 * time.Millisecond) // the work
			return nil
		},
		after: func(Job) {
			if _, err := os.Stat(filepath.Join(dir, "hang")); err == nil {
				select {}
			}
		},
	}
	d, err := New(&cfg, Deps{
		Processor: p, IsPhoto: isPhoto, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Videos: childFilms(dir), IsVideo: isVideo,
		DeleteOriginals: true, Check: func(context.Context, string) error { return nil },
	})
	if err == nil {
		step(d)
		err = d.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, "the daemon ended:", err)
	os.Exit(1)
}

// killWhen runs the child on dir until ok holds, and then kills it.
func killWhen(t *testing.T, dir, what string, ok func() bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("child:\n%s", log.String())
		}
	}()
	wait(t, what, ok)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v\n%s", err, log.String())
	}
}

func outputs(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "out", "*.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// TestKill9: 30 photos, the process killed four times in the middle. All come
// out whole, and each is done exactly once in the ledger.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	s := siteAt(t, dir)
	const n = 30
	for i := range n {
		s.put(fmt.Sprintf("%02d.jpg", i), strings.Repeat("x", 100_000+i))
	}
	for _, at := range []int{1, 7, 14, 22} {
		killWhen(t, dir, fmt.Sprintf("%d outputs", at), func() bool { return outputs(t, dir) >= at })
	}
	stop := s.start(&proc{})
	wait(t, "all outputs", func() bool { return outputs(t, dir) == n })
	wait(t, "all to be noted", func() bool { return countsOf(t, s)[Done] == n })
	stop()
	for i := range n {
		name := fmt.Sprintf("%02d.jpg", i)
		if got := len(s.output(name)); got != len("restored ")+100_000+i {
			t.Errorf("%s has %d bytes", name, got)
		}
		if r := s.records()[name]; r.State != Done || r.Completed != 1 {
			t.Errorf("%s: %s, completed %d times (%s)", name, r.State, r.Completed, r.Reason)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.out, tempPrefix+"*")); len(left) > 0 {
		t.Errorf("temporaries left: %v", left)
	}
}

// TestKilledBeforeTheNote: the process is killed after the rename of an output
// and before the ledger knows. The next one may replace what lies there.
func TestKilledBeforeTheNote(t *testing.T) {
	dir := t.TempDir()
	s := siteAt(t, dir)
	s.put("a.jpg", "x")
	if err := os.WriteFile(filepath.Join(dir, "hang"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	killWhen(t, dir, "the output", func() bool { return s.output("a.jpg") != "" })
	if r := s.records()["a.jpg"]; r.State != Running {
		t.Fatalf("after the kill: %+v", r)
	}
	stale := filepath.Join(s.out, tempPrefix+"1"+tempSuffix)
	if err := os.WriteFile(stale, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p := &proc{}
	stop := s.start(p)
	wait(t, "the note", func() bool { return countsOf(t, s)[Done] == 1 })
	stop()
	if r := s.records()["a.jpg"]; r.Completed != 1 || len(p.jobs) != 1 || !p.jobs[0].Overwrite {
		t.Errorf("%+v after jobs %+v", r, p.jobs)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a temporary of the killed process is still there")
	}
}

// TestKillsAreCounted: a file during whose work the process always ends has
// failed in the end.
func TestKillsAreCounted(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	rec, _, err := l.take(t.Context(), s.put("a.jpg", "x"), ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= maxCrashes; i++ {
		if err := l.start(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil { // as a kill would
			t.Fatal(err)
		}
		l = s.ledger()
		list, err := l.recoverRunning(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("recovered %v, %v", list, err)
		}
		rec, _, err = l.byID(t.Context(), rec.ID)
		if want := map[bool]State{true: Failed, false: Queued}[i == maxCrashes]; err != nil || rec.State != want || rec.Crashes != i {
			t.Fatalf("after %d kills: %+v, %v", i, rec, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
