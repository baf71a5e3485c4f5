package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restored/config"
)

// TestRedo: finished files that were made with other settings are told, and
// done again only when asked; those without an original stay as they are, and
// so does what was made with the same settings.
func TestRedo(t *testing.T) {
	s := newSite(t)
	s.with = "settings 1"
	p, f := &proc{}, &films{segments: 1}
	s.films = f
	stop := s.start(p)
	for _, name := range []string{"a.jpg", "gone.jpg", "film.mp4"} {
		s.put(name, name)
		s.done(name)
	}
	stop()
	const told, redone = "finished files were made with other settings", "files made with other settings are done again"
	if strings.Contains(s.logged(), told) {
		t.Error("files are stale although nothing has changed")
	}
	if err := os.Remove(filepath.Join(s.in, "gone.jpg")); err != nil {
		t.Fatal(err)
	}
	s.with = "settings 2"
	stop = s.start(p)
	s.put("b.jpg", "b")
	s.done("b.jpg")
	stop()
	if p.total() != 3 || !strings.Contains(s.logged(), told+`" files=3`) {
		t.Errorf("not asked: %d calls", p.total())
	}
	s.redo = true
	for range 2 { // the second time there is nothing to do
		stop = s.start(p)
		s.done("a.jpg")
		s.done("film.mp4")
		stop()
		if p.count("a.jpg") != 2 || p.count("gone.jpg") != 1 || p.count("b.jpg") != 1 || len(f.called()) != 2*len(steps(1)) {
			t.Errorf("asked: %v, %d steps", p.calls, len(f.called()))
		}
		if n := strings.Count(s.logged(), redone+`" files=2`); n != 1 {
			t.Errorf("told %d times", n)
		}
	}
	all := s.records()
	if r := all["a.jpg"]; r.Completed != 2 || r.DoneSettings != "settings 2" || s.output("a.jpg") != "restored a.jpg" {
		t.Errorf("%+v", r)
	}
	if r := all["gone.jpg"]; r.State != Done || r.DoneSettings != "settings 1" {
		t.Errorf("without an original: %+v", r)
	}
}

// TestProcessRedo: the same for one file at a time, without a queue.
func TestProcessRedo(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	defer func() { _ = l.Close() }()
	p := &proc{}
	in, out := s.put("a.jpg", "one"), filepath.Join(s.out, "a.jpg")
	for i, c := range []struct {
		o     ProcessOptions
		calls int
	}{
		{ProcessOptions{Settings: "1"}, 1},
		{ProcessOptions{Settings: "1", Redo: true}, 1},
		{ProcessOptions{Settings: "2"}, 1},
		{ProcessOptions{Settings: "2", Redo: true}, 2},
		{ProcessOptions{Settings: "2", Redo: true}, 2},
		{ProcessOptions{Settings: "2", Force: true}, 3},
	} {
		if _, skipped, err := l.Process(t.Context(), p, in, out, c.o); err != nil || p.total() != c.calls {
			t.Errorf("%d: %d calls, want %d; skipped %v, %v", i, p.total(), c.calls, skipped, err)
		}
	}
	copied := s.put("b.jpg", "one")
	if rec, skipped, err := l.Process(t.Context(), p, copied, filepath.Join(s.out, "b.jpg"), ProcessOptions{Settings: "2"}); err != nil || !skipped ||
		p.total() != 3 || rec.State != Done || s.output("b.jpg") != "restored one" {
		t.Errorf("a copy: %d calls, %+v, %v", p.total(), rec, err)
	}
	if n, err := l.Stale(t.Context(), func(string) string { return "3" }); err != nil || n != 2 {
		t.Errorf("%d stale, %v", n, err)
	}
}

// TestProfiles: each root's files are worked on with its profile; the same
// content under another profile is work of its own.
func TestProfiles(t *testing.T) {
	s := newSite(t)
	s.with = "settings "
	s.cfg.Profiles = map[string]config.Profile{"archive": {"restore.blend": "0.5"}}
	other := filepath.Join(filepath.Dir(s.in), "in2")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	s.cfg.Watch = append(s.cfg.Watch, config.Watch{In: other, Out: s.out + "2", Originals: "keep", Recursive: true, Profile: "archive"})
	p, f := &proc{}, &films{segments: 1}
	s.films = f
	s.cfg.Workers = 1
	stop := s.start(p)
	for _, name := range []string{"a.jpg", "../in2/b.jpg", "film.mp4", "../in2/other.mp4"} {
		s.put(name, strings.TrimLeft(filepath.Ext(name), "."))
		s.done(name)
	}
	stop()
	if p.total() != 2 || p.jobs[0].Profile != "" || p.jobs[1].Profile != "archive" {
		t.Errorf("jobs %+v", p.jobs)
	}
	if calls := f.called(); len(calls) != 2*len(steps(1)) {
		t.Errorf("%d steps of films, want %d", len(calls), 2*len(steps(1)))
	}
	for _, c := range f.called() {
		if want := map[string]string{"film.mp4": "", "other.mp4": "archive"}[c.film]; c.job.Profile != want {
			t.Errorf("%s, %s: profile %q", c.film, c.name, c.job.Profile)
		}
	}
	if r := s.records()["../in2/b.jpg"]; r.DoneSettings != "settings archive" {
		t.Errorf("%+v", r)
	}
}
