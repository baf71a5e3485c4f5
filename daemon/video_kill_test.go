package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childFilms are the films of the child: each step takes 30 ms and leaves a
// line in the file "steps".
func childFilms(dir string) *films {
	return &films{segments: killSegments, before: func(_ context.Context, name string, job VideoJob, tell func(Progress)) error {
		if err := appendLine(filepath.Join(dir, "steps"), filepath.Base(job.In)+" "+name); err != nil {
			return err
		}
		<-time.After(30 * time.Millisecond) // the work
		tell(Progress{Frames: 1})
		return nil
	}}
}

const killSegments = 12

func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, line)
	return err
}

// TestKill9Videos: two films, the process killed at moments of every stage.
// Both come out whole, done once in the ledger, and for each kill at most the
// steps in work (two workers: two) were done again.
func TestKill9Videos(t *testing.T) {
	dir := t.TempDir()
	s := siteAt(t, dir)
	content := strings.Repeat("abcdefghijkl", 1000)
	s.put("a.mp4", content)
	s.put("b.mp4", content)
	lines := func() []string {
		data, err := os.ReadFile(filepath.Join(dir, "steps"))
		if err != nil {
			return nil
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	kills := []int{1, 4, 9, 17, 25, 30, 37, 44, 50}
	for _, at := range kills {
		killWhen(t, dir, fmt.Sprintf("%d steps", at), func() bool { return len(lines()) >= at })
	}
	s.films = childFilms(dir)
	stop := s.start(&proc{})
	wait(t, "both to be noted", func() bool { return countsOf(t, s)[Done] == 2 })
	stop()
	count := map[string]int{}
	for _, l := range lines() {
		count[l]++
	}
	again := 0
	for _, name := range []string{"a.mp4", "b.mp4"} {
		for _, st := range steps(killSegments) {
			n := count[name+" "+st]
			if n == 0 {
				t.Errorf("%s: no %s", name, st)
			}
			again += n - 1
		}
		if r := s.records()[name]; r.Completed != 1 || r.Reason != "" {
			t.Errorf("%s: %+v", name, r)
		}
		if got := s.output(name); len(got) != len("film ")+2*killSegments+len(content) {
			t.Errorf("%s has %d bytes", name, len(got))
		}
	}
	if again > 2*len(kills) {
		t.Errorf("%d steps were done again after %d kills", again, len(kills))
	}
	t.Logf("%d kills, %d of %d steps done again", len(kills), again, 2*len(steps(killSegments)))
	if left := s.workFolders(); left != "" || s.openJobs() != 0 {
		t.Errorf("left: folders %q, %d jobs", left, s.openJobs())
	}
}

// TestVideoCrashes: a film during whose work the process always ends has
// failed in the end; one that gets on has not, however often that happens.
func TestVideoCrashes(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	rec, _, err := l.take(t.Context(), s.put("a.mp4", "x"), ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := l.openVideo(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	st := step{rec: rec, video: *v, try: 1, out: filepath.Join(s.out, "a.mp4")}
	crash := func() Record {
		t.Helper()
		if err := l.startStep(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil { // as a kill would
			t.Fatal(err)
		}
		l = s.ledger()
		if _, err := l.recoverRunning(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, _, err := l.byID(t.Context(), rec.ID)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for range maxCrashes - 1 {
		crash()
	}
	if err := l.planned(t.Context(), st, VideoPlan{Segments: 2}, nil); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= maxCrashes; i++ {
		want := map[bool]State{true: Failed, false: Queued}[i == maxCrashes]
		if r := crash(); r.State != want || r.Crashes != i {
			t.Fatalf("after %d kills: %+v", i, r)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The next start takes the rest of it away.
	s.films = &films{segments: 2}
	stop := s.start(&proc{})
	s.put("b.mp4", "ab")
	wait(t, "another film", func() bool { return s.record("b.mp4").State == Done })
	stop()
	if left := s.workFolders(); left != "" {
		t.Errorf("left: %q", left)
	}
	if r := s.records()["a.mp4"]; r.State != Failed || !strings.Contains(r.Reason, "the process ended 10 times") {
		t.Errorf("%+v", r)
	}
}
