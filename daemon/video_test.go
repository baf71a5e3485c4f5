package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestVideo: one film on one worker, its steps each once and in order, and
// nothing left of the work.
func TestVideo(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 1
	f := &films{segments: 3, plan: VideoPlan{Frames: 30, WorkBytes: 300, OutBytes: 100}}
	s.films = f
	stop := s.start(&proc{})
	s.put("sub/a.mp4", "abc")
	wait(t, "the film", func() bool { return s.output("sub/a.mp4") == "film <a><b><c>" })
	wait(t, "its note", func() bool { return s.record("sub/a.mp4").State == Done })
	stop()
	if got := f.names("a.mp4"); !slices.Equal(got, steps(3)) {
		t.Errorf("steps %v", got)
	}
	r := s.records()["sub/a.mp4"]
	if r.Completed != 1 || r.Attempts != 1 || r.Reason != "" || string(r.Report) != `{"film":true}` {
		t.Errorf("%+v", r)
	}
	if left := s.workFolders(); left != "" || s.openJobs() != 0 {
		t.Errorf("left: folders %q, %d jobs", left, s.openJobs())
	}
	for _, want := range []string{"video planned", "segments=3", "video done"} {
		if !strings.Contains(s.logged(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// TestVideosAtOnce: several films on several workers. Each step is done once,
// and none before all that it needs.
func TestVideosAtOnce(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 4
	const n, segments = 4, 7
	f := &films{segments: segments}
	s.films = f
	stop := s.start(&proc{})
	for i := range n {
		s.put(fmt.Sprintf("%d.mp4", i), "abcdefg")
		s.put(fmt.Sprintf("%d.jpg", i), "x")
	}
	wait(t, "all films", func() bool { return countsOf(t, s)[Done] == 2*n })
	stop()
	for i := range n {
		name := fmt.Sprintf("%d.mp4", i)
		got, want := f.names(name), steps(segments)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: steps %v", name, got)
		}
		if s.output(name) != "film <a><b><c><d><e><f><g>" {
			t.Errorf("%s: %q", name, s.output(name))
		}
	}
	if left := s.workFolders(); left != "" || s.openJobs() != 0 {
		t.Errorf("left: folders %q, %d jobs", left, s.openJobs())
	}
}

// TestPhotosBeforeVideos: on one worker, a photo waits for the segment in work
// and for no other.
func TestPhotosBeforeVideos(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 1
	h := hold("analyse 1")
	f := &films{segments: 6, before: h.before}
	s.films = f
	p := &proc{}
	stop := s.start(p)
	s.put("film.mp4", "abcdef")
	heard(t, h.entered)
	s.put("a.jpg", "x")
	s.put("b.jpg", "x")
	wait(t, "two queued photos", func() bool { return countsOf(t, s)[Queued] == 2 })
	close(h.release)
	wait(t, "the film", func() bool { return s.output("film.mp4") != "" })
	if p.total() != 2 {
		t.Errorf("%d photos done", p.total())
	}
	stop()
	for _, name := range []string{"a.jpg", "b.jpg"} {
		if r := s.records()[name]; r.State != Done || !r.Finished.Before(f.find("film.mp4", "analyse 2").began.Add(time.Millisecond)) {
			t.Errorf("%s: %s, finished %s", name, r.State, r.Finished)
		}
	}
}

// find is the first call of a step.
func (f *films) find(film, name string) call1 {
	for _, c := range f.called() {
		if c.film == film && c.name == name {
			return c
		}
	}
	return call1{}
}

// TestVideoOutName: the plan names another output, which is the film's from
// then on; what lies there or turns up there is not overwritten.
func TestVideoOutName(t *testing.T) {
	s := newSite(t)
	h := hold("render 0")
	f := &films{segments: 1, before: h.before}
	f.plan.Out = filepath.Join(s.out, "a.mkv")
	s.films = f
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := func() {
		if err := os.WriteFile(f.plan.Out, []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	foreign()
	stop := s.start(&proc{})
	s.put("a.mp4", "x")
	wait(t, "the refusal", func() bool { return s.record("a.mp4").State == Failed })
	if r := s.record("a.mp4"); !strings.Contains(r.Reason, "it was there before") || f.count("a.mp4", "analyse 0") != 0 {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(f.plan.Out); err != nil {
		t.Fatal(err)
	}
	s.put("a.mp4", "longer")
	heard(t, h.entered)
	foreign() // hours later, in the middle of the work
	close(h.release)
	wait(t, "another refusal", func() bool { return s.record("a.mp4").State == Failed })
	if r := s.record("a.mp4"); !strings.Contains(r.Reason, "it was there before") || f.count("a.mp4", "join") != 0 {
		t.Errorf("%+v", r)
	}
	if s.output("a.mkv") != "precious" {
		t.Errorf("output %q", s.output("a.mkv"))
	}
	wait(t, "the work to be removed", func() bool { return s.workFolders() == "" })
	if err := os.Remove(f.plan.Out); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"one more", "the last version"} { // the second replaces our own
		s.put("a.mp4", content)
		wait(t, "the film", func() bool { return s.output("a.mkv") == "film <"+content+">" })
	}
	stop()
	if s.output("a.mp4") != "" {
		t.Error("an output under the input's name")
	}
	s.films = &films{segments: 1, plan: VideoPlan{Out: filepath.Join(s.out, "b.mkv")}, copies: true} // as where there is no face
	stop = s.start(&proc{})
	s.put("b.mp4", "x")
	wait(t, "the copy", func() bool { return s.output("b.mp4") == "film <x>" })
	wait(t, "its note", func() bool { return s.record("b.mp4").State == Done })
	stop()
}

// TestVideoReplaced: a film that changes while it is in work is stopped, all of
// its work dropped, and the new version done.
func TestVideoReplaced(t *testing.T) {
	for _, at := range []string{"plan", "analyse 1", "render 1", "join"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.stall = 10 * time.Second
			h := hold(at)
			f := &films{segments: 3, before: h.before}
			s.films = f
			stop := s.start(&proc{})
			s.put("a.mp4", "old")
			heard(t, h.entered)
			s.put("a.mp4", "newer!")
			wait(t, "the step to be stopped and the next version to get there", func() bool { return f.count("a.mp4", at) == 2 })
			close(h.release)
			wait(t, "the new version", func() bool { return s.output("a.mp4") == "film <ne><we><r!>" })
			wait(t, "its note", func() bool { return s.record("a.mp4").State == Done })
			stop()
			if r := s.records()["a.mp4"]; r.Completed != 1 {
				t.Errorf("%+v", r)
			}
			if n := f.count("a.mp4", "plan"); n != 2 {
				t.Errorf("planned %d times", n)
			}
			if left := s.workFolders(); left != "" || s.openJobs() != 0 {
				t.Errorf("left: folders %q, %d jobs", left, s.openJobs())
			}
		})
	}
}

// TestVideoVanished: a film that goes away in the middle is done when it is
// back, from the start.
func TestVideoVanished(t *testing.T) {
	s := newSite(t)
	h := hold("analyse 0")
	f := &films{segments: 2, before: h.before}
	s.films = f
	stop := s.start(&proc{})
	path := s.put("a.mp4", "ab")
	heard(t, h.entered)
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	wait(t, "the end of the work", func() bool { return s.record("a.mp4").State == Failed && s.openJobs() == 0 })
	if err := os.Rename(away, path); err != nil {
		t.Fatal(err)
	}
	wait(t, "the film", func() bool { return s.output("a.mp4") == "film <a><b>" })
	stop()
	if left := s.workFolders(); left != "" {
		t.Errorf("left: %q", left)
	}
}

// TestVideoRestart: a stop in the middle of a film, and a start that does what
// is missing and nothing else.
func TestVideoRestart(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers, s.drain = 1, 50*time.Millisecond
	const segments = 5
	all := steps(segments)
	var done []string
	for i, at := range []string{"plan", "analyse 2", "render 0", "render 4", "join", ""} {
		h := hold(at)
		f := &films{segments: segments, before: h.before}
		s.films = f
		stop := s.start(&proc{})
		if i == 0 {
			s.put("a.mp4", "abcde")
		}
		if at == "" {
			wait(t, "the film", func() bool { return s.output("a.mp4") == "film <a><b><c><d><e>" })
			wait(t, "its note", func() bool { return s.record("a.mp4").State == Done })
		} else {
			heard(t, h.entered)
		}
		stop()
		names := f.names("a.mp4")
		if want := all[len(done):]; !slices.Equal(names, want[:len(names)]) {
			t.Fatalf("after %v: did %v", done, names)
		}
		if at != "" {
			names = names[:len(names)-1]
			if r := s.records()["a.mp4"]; r.State != Queued || r.Crashes != 0 {
				t.Errorf("stopped at %s: %+v", at, r)
			}
		}
		done = append(done, names...)
	}
	if r := s.records()["a.mp4"]; r.Completed != 1 || s.workFolders() != "" {
		t.Errorf("%+v, left %q", r, s.workFolders())
	}
}

// TestVideoStale: work begun by an earlier process with other settings is
// dropped and begun again; by this one it is an error, not a loop. Work that
// somebody removed is begun again too.
func TestVideoStale(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers, s.drain = 1, 50*time.Millisecond
	h := hold("render 0")
	s.films = &films{segments: 2, before: h.before}
	stop := s.start(&proc{})
	s.put("a.mp4", "ab")
	heard(t, h.entered)
	stop()

	h = hold("render 1")
	f := &films{segments: 2, before: h.before}
	var always atomic.Bool
	f.stale = func() bool { return always.Load() || f.count("a.mp4", "plan") == 0 }
	s.films = f
	stop = s.start(&proc{})
	heard(t, h.entered)
	if err := os.RemoveAll(filepath.Join(s.cfg.State, workName)); err != nil {
		t.Fatal(err)
	}
	close(h.release)
	wait(t, "the film", func() bool { return s.output("a.mp4") == "film <a><b>" })
	want := append(steps(2)[:5:5], steps(2)...)
	if got := f.names("a.mp4"); !slices.Equal(got, want) {
		t.Errorf("steps %v", got)
	}
	always.Store(true)
	s.put("b.mp4", "ab")
	wait(t, "the failure", func() bool { return s.record("b.mp4").State == Failed })
	stop()
	if r := s.records()["b.mp4"]; !strings.Contains(r.Reason, "other settings") {
		t.Errorf("%+v", r)
	}
	if left := s.workFolders(); left != "" {
		t.Errorf("left: %q", left)
	}
}

// TestVideoProgress: a line for each film in work says how far it is.
func TestVideoProgress(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 1
	h := hold("render 1")
	f := &films{segments: 4, plan: VideoPlan{Frames: 40}}
	f.before = func(ctx context.Context, name string, job VideoJob, tell func(Progress)) error {
		if name == h.name {
			tell(Progress{Frames: 4, Total: 10, Faces: 2})
		}
		return h.before(ctx, name, job, tell)
	}
	s.films = f
	s.start(&proc{})
	s.put("a.mp4", "abcd")
	heard(t, h.entered)
	want := `stage=render segment=1 segments=4 frames=14 total=40 faces=3 fps=`
	wait(t, "the line", func() bool { return strings.Contains(s.logged(), want) })
	close(h.release)
	wait(t, "the film", func() bool { return s.output("a.mp4") != "" })
}

func TestSpeed(t *testing.T) {
	zero := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		from, to int64
		after    time.Duration
		total    int64
		fps      float64
		eta      time.Duration
	}{
		{0, 300, 30 * time.Second, 1300, 10, 100 * time.Second},
		{100, 101, 30 * time.Second, 0, 0, 0},
		{5, 5, time.Second, 100, 0, 0},
		{5, 3, time.Second, 100, 0, 0},
		{0, 5, 0, 100, 0, 0},
		{0, 1, 3 * time.Second, 2, 0.3, 3 * time.Second},
	} {
		fps, eta := speed(seen{zero, c.from}, seen{zero.Add(c.after), c.to}, Progress{Frames: c.to, Total: c.total})
		if fps != c.fps || eta != c.eta {
			t.Errorf("%+v: %g fps, eta %s", c, fps, eta)
		}
	}
}
