package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// control is what Control and Client have in common.
type control interface {
	Status(context.Context) (QueueInfo, error)
	List(context.Context, State, int64, int) (Page, error)
	Find(context.Context, string) (int64, error)
	Show(context.Context, int64) (JobInfo, error)
	Retry(context.Context, int64) (JobInfo, error)
	Cancel(context.Context, int64) (JobInfo, error)
	Pause(context.Context) (QueueInfo, error)
	Resume(context.Context) (QueueInfo, error)
	Watch(context.Context, func(Event) error) error
	Close() error
}

// dial reaches the running daemon of a site.
func (s *site) dial() control {
	s.t.Helper()
	c, err := DialControl(s.t.Context(), s.cfg.State)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// alone is the control of a site whose daemon has stopped.
func (s *site) alone() control {
	s.t.Helper()
	c, err := OpenControl(s.t.Context(), s.cfg.State, isVideo)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func numberOf(t *testing.T, c control, path string) int64 {
	t.Helper()
	id, err := c.Find(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestPause: nothing new is begun, also after a restart, and nothing is lost.
func TestPause(t *testing.T) {
	s := newSite(t)
	p := &proc{}
	stop := s.start(p)
	c := s.dial()
	s.put("before.jpg", "x")
	wait(t, "the first photo", func() bool { return s.output("before.jpg") != "" })
	if q, err := c.Pause(t.Context()); err != nil || !q.Paused {
		t.Fatalf("pause: %+v, %v", q, err)
	}
	for i := range 3 {
		s.put(fmt.Sprintf("%d.jpg", i), "x")
	}
	waiting := func() bool {
		q, err := c.Status(t.Context())
		return err == nil && q.Queued == 3 && q.Paused
	}
	wait(t, "three photos that wait", waiting)
	stop()
	stop = s.start(p)
	c = s.dial()
	wait(t, "a paused queue after the restart", waiting)
	if n := p.total(); n != 1 {
		t.Errorf("%d photos were begun, want only the one before the pause", n)
	}
	stop()
	off := s.alone()
	if q, err := off.Resume(t.Context()); err != nil || q.Paused || q.Queued != 3 {
		t.Errorf("resume without a daemon: %+v, %v", q, err)
	}
	if err := off.Close(); err != nil {
		t.Fatal(err)
	}
	stop = s.start(p)
	wait(t, "the others", func() bool { return p.total() == 4 && countsOf(t, s)[Done] == 4 })
	stop()
}

// TestClockWasAhead: what was queued by a clock that was ahead isn't waited for
// until then.
func TestClockWasAhead(t *testing.T) {
	s := newSite(t)
	s.retry = func(int) time.Duration { return time.Hour }
	p := &proc{}
	p.before = func(_ context.Context, job Job) error {
		if p.count(filepath.Base(job.In)) == 1 && filepath.Base(job.In) == "later.jpg" {
			return Transient(errors.New("GPU lost"))
		}
		return nil
	}
	stop := s.start(p)
	s.put("later.jpg", "x")
	wait(t, "the first try", func() bool { return p.count("later.jpg") == 1 && countsOf(t, s)[Queued] == 1 })
	if _, err := s.dial().Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.put("a.jpg", "x")
	wait(t, "two that wait", func() bool { return countsOf(t, s)[Queued] == 2 })
	stop()
	l := s.ledger()
	_, err := l.db.Exec(`UPDATE river_job SET scheduled_at = datetime(scheduled_at, '+10 years') WHERE state <> 'completed'`)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	off := s.alone()
	if _, err := off.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := off.Close(); err != nil {
		t.Fatal(err)
	}
	s.start(p)
	wait(t, "both", func() bool { return s.output("a.jpg") != "" && s.output("later.jpg") != "" })
}

// TestPauseWhileWorking: what is in work ends; resumed at the running daemon,
// it goes on.
func TestPauseWhileWorking(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 1
	entered, goOn := make(chan struct{}, 1), make(chan struct{})
	p := &proc{before: func(context.Context, Job) error {
		select {
		case entered <- struct{}{}:
			<-goOn
		default:
		}
		return nil
	}}
	s.start(p)
	c := s.dial()
	s.put("a.jpg", "x")
	<-entered
	s.put("b.jpg", "x")
	wait(t, "b.jpg to wait", func() bool { return countsOf(t, s)[Queued] == 1 })
	if _, err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	wait(t, "a.jpg", func() bool { return countsOf(t, s)[Done] == 1 })
	q, err := c.Resume(t.Context())
	if err != nil || q.Paused {
		t.Errorf("%+v, %v", q, err)
	}
	<-entered
	wait(t, "b.jpg", func() bool { return countsOf(t, s)[Done] == 2 })
}

// TestCancel: one that waits, one in work and one that waits for another try
// have failed, are not tried again by a scan, and are done when that is asked.
func TestCancel(t *testing.T) {
	s := newSite(t)
	s.cfg.Workers = 2
	s.retry = func(int) time.Duration { return time.Hour }
	ended := make(chan struct{})
	cancelled := false
	p := &proc{}
	p.before = func(ctx context.Context, job Job) error {
		switch name := filepath.Base(job.In); {
		case name == "work.jpg" && !cancelled:
			<-ctx.Done()
			defer close(ended)
			return fmt.Errorf("stopped: %w", ctx.Err())
		case name == "later.jpg" && p.count(name) == 1:
			return Transient(errors.New("GPU lost"))
		}
		return nil
	}
	stop := s.start(p)
	c := s.dial()
	work, later := s.put("work.jpg", "x"), s.put("later.jpg", "x")
	wait(t, "one in work, one that waits for another try", func() bool {
		q, err := c.Status(t.Context())
		return err == nil && q.Running == 1 && q.Queued == 1 && p.count("later.jpg") == 1
	})
	wait(t, "the time of the next try", func() bool { // River notes it after the ledger
		info, err := c.Show(t.Context(), numberOf(t, c, later))
		return err == nil && info.NextTry != nil && time.Until(*info.NextTry) > 30*time.Minute && info.Reason == "GPU lost"
	})
	began := time.Now()
	for _, path := range []string{work, later} {
		info, err := c.Cancel(t.Context(), numberOf(t, c, path))
		if err != nil || info.State != Failed || info.Reason != errCancelled.Error() {
			t.Errorf("cancel %s: %+v, %v", path, info, err)
		}
	}
	<-ended // before the answer came
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if _, err := c.Cancel(t.Context(), numberOf(t, c, work)); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), work) {
		t.Errorf("cancelled again: %v", err)
	}
	stop()
	cancelled = true
	stop = s.start(p) // which scans
	s.put("other.jpg", "x")
	wait(t, "another photo", func() bool { return s.output("other.jpg") != "" })
	if p.count("work.jpg") != 1 || p.count("later.jpg") != 1 {
		t.Error("a cancelled file was begun again by itself")
	}
	c = s.dial()
	for _, path := range []string{work, later} {
		if _, err := c.Retry(t.Context(), numberOf(t, c, path)); err != nil {
			t.Error(err)
		}
	}
	wait(t, "both", func() bool { return s.output("work.jpg") != "" && s.output("later.jpg") != "" })
	stop()
	if r := s.records()["work.jpg"]; r.State != Done || r.Completed != 1 {
		t.Errorf("%+v", r)
	}
}

// TestCancelVideo: in every stage, in work or waiting between two steps, the
// work ends and its folder is removed; asked for, it is done from the start.
func TestCancelVideo(t *testing.T) {
	for _, at := range []string{"plan", "analyse 0", "render 1", "join"} {
		t.Run(at, func(t *testing.T) {
			s := newSite(t)
			held := make(chan struct{}, 1)
			again := false
			f := &films{segments: 3, before: func(ctx context.Context, name string, _ VideoJob, _ func(Progress)) error {
				if name != at || again {
					return nil
				}
				held <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}}
			s.films = f
			s.start(&proc{})
			c := s.dial()
			path := s.put("a.mp4", "abc")
			<-held
			id := numberOf(t, c, path)
			info, err := c.Show(t.Context(), id)
			if stage, _, _ := strings.Cut(at, " "); err != nil || info.State != Running || info.Stage != stage {
				t.Errorf("in work: %+v, %v", info, err)
			}
			if info, err = c.Cancel(t.Context(), id); err != nil || info.State != Failed || info.Reason != errCancelled.Error() {
				t.Errorf("cancelled: %+v, %v", info, err)
			}
			wait(t, "the work folder to be removed", func() bool {
				left, err := os.ReadDir(filepath.Join(s.cfg.State, workName))
				return err == nil && len(left) == 0
			})
			again = true
			if _, err := c.Retry(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			wait(t, "the film", func() bool { return countsOf(t, s)[Done] == 1 })
		})
	}
}

// TestRetryRefuses: what is done, in work, unknown or not there.
func TestRetryRefuses(t *testing.T) {
	s := newSite(t)
	p := &proc{before: func(ctx context.Context, job Job) error {
		switch filepath.Base(job.In) {
		case "work.jpg":
			<-ctx.Done()
			return ctx.Err()
		case "gone.jpg":
			return errors.New("not a JPEG file")
		}
		return nil
	}}
	s.drain = 50 * time.Millisecond
	s.start(p)
	c := s.dial()
	done, work, gone := s.put("done.jpg", "x"), s.put("work.jpg", "x"), s.put("gone.jpg", "x")
	wait(t, "the three states", func() bool {
		n := countsOf(t, s)
		return n[Done] == 1 && n[Running] == 1 && n[Failed] == 1
	})
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{done, work, gone} {
		if _, err := c.Retry(t.Context(), numberOf(t, c, path)); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for name, f := range map[string]func(context.Context, int64) (JobInfo, error){"retry": c.Retry, "cancel": c.Cancel, "show": c.Show} {
		if _, err := f(t.Context(), 99); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Find(t.Context(), s.in); !errors.Is(err, ErrUnknown) {
		t.Errorf("find: %v", err)
	}
}

// TestListPages: in order, by pages and by state, the same with and without a
// daemon; a name that isn't UTF-8 is found.
func TestListPages(t *testing.T) {
	s := newSite(t)
	p := &proc{before: func(_ context.Context, job Job) error {
		if strings.HasPrefix(filepath.Base(job.In), "bad") {
			return errors.New("not a JPEG file")
		}
		return nil
	}}
	stop := s.start(p)
	for i := range 5 {
		s.put(fmt.Sprintf("bad%d.jpg", i), "x")
	}
	odd := s.put("new\nline \xff.jpg", "x")
	wait(t, "six ends", func() bool { n := countsOf(t, s); return n[Failed] == 5 && n[Done] == 1 })
	look := func(c control) {
		t.Helper()
		var ids []int64
		after := int64(0)
		for pages := 1; ; pages++ {
			page, err := c.List(t.Context(), Failed, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range page.Jobs {
				if len(ids) > 0 && j.ID <= ids[len(ids)-1] || j.State != Failed || j.Reason == "" || j.Report != nil {
					t.Errorf("%+v after %v", j, ids)
				}
				ids = append(ids, j.ID)
			}
			if after = page.Next; after == 0 {
				if pages != 3 || len(ids) != 5 {
					t.Errorf("%d pages: %v", pages, ids)
				}
				break
			}
		}
		if page, err := c.List(t.Context(), "", 0, 0); err != nil || len(page.Jobs) != 6 || page.Next != 0 {
			t.Errorf("all: %+v, %v", page, err)
		}
		info, err := c.Show(t.Context(), numberOf(t, c, odd))
		if err != nil || info.State != Done || string(info.Report) != `{"bytes":1}` || info.Finished == nil {
			t.Errorf("%+v, %v", info, err)
		}
		if q, err := c.Status(t.Context()); err != nil || q != (QueueInfo{Done: 1, Failed: 5}) {
			t.Errorf("%+v, %v", q, err)
		}
	}
	look(s.dial())
	if _, err := OpenControl(t.Context(), s.cfg.State, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("beside the daemon: %v", err)
	}
	stop()
	if _, err := DialControl(t.Context(), s.cfg.State); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without the daemon: %v", err)
	}
	off := s.alone()
	look(off)
	if err := off.Close(); err != nil {
		t.Error(err)
	}
	if _, err := OpenControl(t.Context(), t.TempDir(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder without a database: %v", err)
	}
}

// TestControlRequests: what isn't asked rightly is told, and changes nothing.
func TestControlRequests(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := s.alone().(*Control)
	defer c.Close()
	for request, want := range map[string]int{
		"GET /v1/jobs?state=lost":     400,
		"GET /v1/jobs?limit=0":        400,
		"GET /v1/jobs?limit=1001":     400,
		"GET /v1/jobs?after=x":        400,
		"GET /v1/jobs/x":              400,
		"POST /v1/jobs/1e3/cancel":    400,
		"POST /v1/jobs/7/cancel":      404,
		"GET /v1/jobs/find?path=/%ff": 404,
		"GET /v1/queue/pause":         405,
		"POST /v1/jobs/7/delete":      404,
		"GET /v1/jobs?state=done":     200,
		"GET /v1/queue":               200,
	} {
		method, path, _ := strings.Cut(request, " ")
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d %s, want %d", request, w.Code, w.Body, want)
		}
	}
}

// FuzzControl: no request brings it down or is answered as an error of ours.
func FuzzControl(f *testing.F) {
	dir := f.TempDir()
	l, err := OpenLedger(f.Context(), dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	c, err := OpenControl(context.Background(), dir, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	handler := c.Handler()
	f.Add("GET", "jobs", "state=done&after=1&limit=2")
	f.Add("GET", "jobs/find", "path=/a%ffb")
	f.Add("POST", "jobs/1/cancel", "")
	f.Add("GET", "jobs/99999999999999999999", "")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.URL.Path, r.URL.RawQuery = method, "/v1/"+path, query
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 && !strings.Contains(path, "pause") && !strings.Contains(path, "resume") {
			t.Errorf("%s %s?%s: %d %s", method, path, query, w.Code, w.Body)
		}
	})
}
