package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestVideoFailure: an error that is final fails the film, stops and cancels
// its other steps and removes its work; it is not tried again before the file
// changes.
func TestVideoFailure(t *testing.T) {
	for _, at := range []string{"plan", "analyse 0", "render 2", "join"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var broken atomic.Bool
			broken.Store(true)
			sibling, stopped := make(chan struct{}), make(chan struct{}, 10)
			f := &films{segments: 8}
			f.before = func(ctx context.Context, name string, _ VideoJob, _ func(Progress)) error {
				switch {
				case !broken.Load():
				case name == at && at == "render 2":
					<-sibling
					panic("index out of range")
				case name == at && at == "analyse 0":
					<-sibling
					return errors.New("no such codec")
				case name == at:
					return errors.New("no such codec")
				case name == "analyse 1" && at == "analyse 0", name == "render 1" && at == "render 2":
					close(sibling)
					<-ctx.Done() // would take for ever
					stopped <- struct{}{}
					return ctx.Err()
				}
				return nil
			}
			s.films = f
			stop := s.start(&proc{})
			s.put("a.mp4", "abcdefgh")
			s.put("b.jpg", "x")
			wait(t, "the failure", func() bool { return s.record("a.mp4").State == Failed })
			wait(t, "the end of all its work", func() bool { return s.openJobs() == 0 && s.workFolders() == "" })
			if at == "analyse 0" || at == "render 2" {
				heard(t, stopped)
			}
			want := "no such codec"
			if at == "render 2" {
				want = "internal error: index out of range"
			}
			if r := s.record("a.mp4"); r.Reason != want || r.Out != "" {
				t.Errorf("%+v", r)
			}
			stop()
			before := len(f.called())
			stop = s.start(&proc{})
			s.put("c.jpg", "x")
			wait(t, "a scan", func() bool { return s.output("c.jpg") != "" })
			if after := len(f.called()); after != before {
				t.Errorf("%d steps after the failure", after-before)
			}
			broken.Store(false)
			s.put("a.mp4", "ABCDEFGHH")
			wait(t, "the mended film", func() bool { return s.output("a.mp4") == "film <A><B><C><D><E><F><G><HH>" })
			stop()
		})
	}
}

// TestVideoKept: where the output failed its verification, the work is kept,
// also over a restart, until the file changes.
func TestVideoKept(t *testing.T) {
	s := newSite(t)
	var bad atomic.Bool
	bad.Store(true)
	f := &films{segments: 2, before: func(_ context.Context, name string, _ VideoJob, _ func(Progress)) error {
		if name == "join" && bad.Load() {
			return fmt.Errorf("join: %w", KeepWork(errors.New("two frames are missing")))
		}
		return nil
	}}
	s.films = f
	stop := s.start(&proc{})
	s.put("a.mp4", "ab")
	wait(t, "the failure", func() bool { return s.record("a.mp4").State == Failed })
	stop()
	r := s.records()["a.mp4"]
	dir := filepath.Join(s.cfg.State, workName, "1")
	if !strings.Contains(r.Reason, "two frames are missing; its work is kept in "+dir) {
		t.Errorf("%+v", r)
	}
	stop = s.start(&proc{})
	s.put("b.mp4", "ab")
	wait(t, "another failure", func() bool { return s.record("b.mp4").State == Failed })
	if left := s.workFolders(); left != "1 2" {
		t.Errorf("left: %q", left)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "render-1")); err != nil || string(data) != "<b>" {
		t.Errorf("kept: %q, %v", data, err)
	}
	bad.Store(false)
	s.put("a.mp4", "abc")
	wait(t, "the film", func() bool { return s.output("a.mp4") == "film <a><bc>" })
	wait(t, "its old work to be gone", func() bool { return s.workFolders() == "2" })
	stop()
	if KeepWork(nil) != nil {
		t.Error("KeepWork(nil) is an error")
	}
}

// TestVideoTransient: a step is tried again, and the film has failed when it
// has been tried too often.
func TestVideoTransient(t *testing.T) {
	s := newSite(t)
	s.tries = 3
	f := &films{segments: 3}
	f.before = func(_ context.Context, name string, job VideoJob, _ func(Progress)) error {
		film := filepath.Base(job.In)
		if film == "soon.mp4" && f.count(film, name) < 3 || film == "never.mp4" && name == "render 1" {
			return Transient(errors.New("GPU lost"))
		}
		return nil
	}
	s.films = f
	stop := s.start(&proc{})
	s.put("soon.mp4", "abc")
	s.put("never.mp4", "abc")
	wait(t, "the one", func() bool { return s.output("soon.mp4") == "film <a><b><c>" })
	wait(t, "the other", func() bool { return s.record("never.mp4").State == Failed })
	wait(t, "the end", func() bool { return s.openJobs() == 0 && s.workFolders() == "" })
	stop()
	all := s.records()
	if r := all["soon.mp4"]; r.State != Done || r.Attempts != 3 {
		t.Errorf("soon: %+v", r)
	}
	if r := all["never.mp4"]; r.Reason != "GPU lost" || r.Attempts != 3 || f.count("never.mp4", "render 1") != 3 {
		t.Errorf("never: %+v", r)
	}
}

// TestVideoStall: a step that tells no progress is stopped and tried once more,
// carefully. One that tells is left in peace, however long it takes.
func TestVideoStall(t *testing.T) {
	for _, c := range []struct {
		name   string
		stalls func(careful bool) bool
		want   State
		calls  int
	}{
		{"once", func(careful bool) bool { return !careful }, Done, 2},
		{"always", func(bool) bool { return true }, Failed, 2},
		{"slow", func(bool) bool { return false }, Done, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.stall = 150 * time.Millisecond
			f := &films{segments: 2}
			f.before = func(ctx context.Context, name string, job VideoJob, tell func(Progress)) error {
				if name != "render 1" {
					return nil
				}
				if c.stalls(job.Careful) {
					<-ctx.Done()
					return fmt.Errorf("decode: %w", ctx.Err())
				}
				for i := range 10 { // 400 ms
					select {
					case <-time.After(40 * time.Millisecond):
						tell(Progress{Frames: int64(i), Total: 10})
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return nil
			}
			s.films = f
			stop := s.start(&proc{})
			s.put("a.mp4", "ab")
			wait(t, "the end", func() bool { return s.record("a.mp4").State == c.want })
			wait(t, "the end of the work", func() bool { return s.openJobs() == 0 && s.workFolders() == "" })
			stop()
			if n := f.count("a.mp4", "render 1"); n != c.calls {
				t.Errorf("%d calls, want %d", n, c.calls)
			}
			if r := s.records()["a.mp4"]; c.want == Failed && r.Reason != "no progress for 150ms (video.stall)" || r.Attempts != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestVideoDeaf: a step that does not return when it is stopped fails the film
// without another try; its folder stays while it may write there.
func TestVideoDeaf(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	defer func() { _ = l.Close() }()
	release := make(chan struct{})
	f := &films{segments: 1, before: func(context.Context, string, VideoJob, func(Progress)) error {
		<-release
		return nil
	}}
	r := &videoRunner{
		ledger: l, videos: f, room: room{reserveOf(0), freeSpace}, stall: 20 * time.Millisecond, grace: 20 * time.Millisecond,
		log: s.daemon(&proc{}).deps.Log,
	}
	in, err := resolve(s.put("a.mp4", "x"))
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := l.take(t.Context(), in, ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := l.openVideo(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	_, leave, err := r.do(t.Context(), step{rec: rec, video: *v, try: 1, work: l.workDir(v.run), out: filepath.Join(s.out, "a.mp4"), top: s.out})
	var stuck *deafError
	if !errors.As(err, &stuck) || f.count("a.mp4", "plan") != 1 {
		t.Fatalf("%v after %d calls", err, f.count("a.mp4", "plan"))
	}
	leave()
	r.discard(t.Context(), v.run)
	if s.workFolders() == "" {
		t.Error("the folder was removed under the step")
	}
	close(release)
	wait(t, "the folder to go when the step has returned", func() bool { return s.workFolders() == "" })
}

// disk is a filesystem with as much room as a test wants.
type disk struct {
	mu   sync.Mutex
	free int64
}

func (d *disk) set(free int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = free
}

func (d *disk) space(string) (space, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return space{1, d.free}, nil
}

// TestRoom: without room for the rest of the work and the reserve, films and
// photos wait; it is no try and no failure, and the file says why.
func TestRoom(t *testing.T) {
	s := newSite(t)
	s.cfg.Disk.Reserve = 1000
	s.stall = time.Second // looks each 250 ms
	d := &disk{free: 999}
	s.free = d.space
	h := hold("render 1")
	f := &films{segments: 4, plan: VideoPlan{WorkBytes: 400, OutBytes: 500}, before: h.before}
	s.films = f
	stop := s.start(&proc{})
	s.put("a.mp4", "abcd")
	s.put("b.jpg", "x")
	waits := func(name string) bool {
		r := s.record(name)
		return r.State == Queued && strings.Contains(r.Reason, "waits for room: ") && strings.Contains(r.Reason, "disk.reserve")
	}
	wait(t, "both to wait", func() bool { return waits("a.mp4") && waits("b.jpg") })
	if n := len(f.called()); n != 0 {
		t.Errorf("%d steps without room", n)
	}
	d.set(1500)
	wait(t, "the photo", func() bool { return s.output("b.jpg") != "" })
	wait(t, "the plan, which needs little", func() bool { return f.count("a.mp4", "plan") == 1 })
	wait(t, "the film to wait for room for all", func() bool { return waits("a.mp4") })
	if f.count("a.mp4", "analyse 0") != 0 {
		t.Error("begun without room for all")
	}
	d.set(1900)
	heard(t, h.entered)
	d.set(1050) // somebody fills the disk
	wait(t, "the step to be stopped", func() bool { return waits("a.mp4") })
	d.set(1900)
	close(h.release)
	wait(t, "the film", func() bool { return s.output("a.mp4") != "" })
	wait(t, "its note", func() bool { return s.record("a.mp4").State == Done })
	stop()
	for _, name := range []string{"a.mp4", "b.jpg"} {
		if r := s.records()[name]; r.Attempts != 1 || r.Reason != "" || r.Completed != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := strings.Count(s.logged(), "photo waits for room on the disk"); n != 1 {
		t.Errorf("told %d times that the photo waits", n)
	}
}

// TestRoomForTheFirst: of two films for which there is not enough room
// together, the one that was begun first is finished first.
func TestRoomForTheFirst(t *testing.T) {
	s := newSite(t)
	d := &disk{free: 1000}
	s.free = d.space
	f := &films{segments: 5, plan: VideoPlan{WorkBytes: 500, OutBytes: 300}}
	s.films = f
	stop := s.start(&proc{})
	s.put("a.mp4", "abcde")
	s.put("b.mp4", "abcde")
	wait(t, "both films", func() bool { return s.output("a.mp4") != "" && s.output("b.mp4") != "" })
	stop()
	var joined, begun time.Time
	calls := f.called()
	first := calls[slices.IndexFunc(calls, func(c call1) bool { return c.name == "analyse 0" })].film
	for _, c := range calls {
		switch {
		case c.film == first && c.name == "join":
			joined = c.ended
		case c.film != first && c.name == "analyse 0":
			begun = c.began
		}
	}
	if begun.Before(joined) {
		t.Errorf("the second film was begun %s before the first was done", joined.Sub(begun))
	}
}

func TestRoomCheck(t *testing.T) {
	devices := map[string]space{"/a": {1, 100}, "/a/b": {1, 100}, "/": {2, 50}}
	r := room{reserve: reserveOf(10), free: func(dir string) (space, error) {
		at, ok := devices[dir]
		if !ok {
			return space{}, os.ErrPermission
		}
		return at, nil
	}}
	dir := t.TempDir()
	devices[dir], devices[filepath.Dir(dir)] = space{1, 100}, space{2, 50}
	for _, c := range []struct {
		needs []need
		want  string // "" = there is room
	}{
		{nil, ""},
		{[]need{{dir, 90}}, ""},
		{[]need{{dir, 91}}, "has 100B free, the work needs 91B and 10 are kept free"},
		{[]need{{dir, 45}, {filepath.Join(dir, "not", "there"), 46}}, "needs 91B"},
		{[]need{{dir, 90}, {filepath.Dir(dir), 40}}, ""},
		{[]need{{dir, 90}, {filepath.Dir(dir), 41}}, "has 50B free"},
	} {
		err := r.check(c.needs...)
		var none *noRoomError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &none) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.needs, err, c.want)
		}
	}
	if err := r.check(need{t.TempDir(), 0}); !IsTransient(err) {
		t.Errorf("a folder that cannot be asked: %v", err)
	}
	at, err := freeSpace(dir)
	if err != nil || at.device == 0 || at.free < 0 {
		t.Errorf("the system's word: %+v, %v", at, err)
	}
}
