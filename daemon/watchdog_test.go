package daemon

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"restored/config"
)

// managed is a service manager's end of the notify socket.
type managed struct {
	t     *testing.T
	conn  *net.UnixConn
	heard string
}

func manage(t *testing.T) *managed {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return &managed{t: t, conn: conn}
}

// hear waits until so many messages were heard since the last call of forget.
func (m *managed) hear(want string, times int) {
	m.t.Helper()
	buf := make([]byte, 4096)
	if err := m.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		m.t.Fatal(err)
	}
	for strings.Count(m.heard, want) < times {
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatalf("%s heard %d times, want %d: %q, %v", want, strings.Count(m.heard, want), times, m.heard, err)
		}
		m.heard += string(buf[:n]) + "\n"
	}
}

func (m *managed) forget() { m.heard = "" }

// TestWatchdogFed: while the daemon is idle, while it works, while it is paused
// and while it stops.
func TestWatchdogFed(t *testing.T) {
	m := manage(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	s := newSite(t)
	entered, goOn := make(chan struct{}), make(chan struct{})
	s.drain = time.Minute
	stop := s.start(&proc{before: func(context.Context, Job) error {
		close(entered)
		<-goOn
		return nil
	}})
	m.hear("WATCHDOG=1", 3)
	s.put("a.jpg", "x")
	<-entered
	m.forget()
	m.hear("WATCHDOG=1", 3)
	m.hear("STATUS=0 waiting, 1 in work, 0 done, 0 failed", 1)
	if _, err := s.dial().Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.put("b.jpg", "x")
	m.hear("STATUS=1 waiting, 1 in work, 0 done, 0 failed; paused", 1)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	m.hear("STOPPING=1", 1)
	m.forget()
	m.hear("WATCHDOG=1", 3)
	close(goOn)
	<-stopped
}

// TestWatchdogNotFed: by each of the things that show that the daemon doesn't
// get on.
func TestWatchdogNotFed(t *testing.T) {
	s := newSite(t)
	for name, test := range map[string]struct {
		spoil func(w *watchdog, now time.Time)
		want  string
	}{
		"nothing":          {func(*watchdog, time.Time) {}, ""},
		"a photo in time":  {func(w *watchdog, now time.Time) { w.inWork(now.Add(-10 * time.Minute)) }, ""},
		"a photo far over": {func(w *watchdog, now time.Time) { w.inWork(now.Add(-12 * time.Minute)) }, "a photo is in work for 12m0s"},
		"a silent step": {func(w *watchdog, now time.Time) {
			p := w.queue.runner.active.enter(step{rec: Record{Path: "/a.mp4"}, video: videoRow{run: 1}}, nil)
			p.last = now.Add(-4 * time.Minute)
		}, "/a.mp4 tells no progress for 4m0s"},
		"a step that gets on": {func(w *watchdog, now time.Time) {
			p := w.queue.runner.active.enter(step{video: videoRow{run: 1}}, nil)
			p.began = now.Add(-10 * time.Hour)
		}, ""},
		"no watching": {func(w *watchdog, now time.Time) {
			long := now.Add(-12 * time.Minute)
			w.beat.Store(&long)
		}, "watching has stopped for 12m0s"},
		"due, and not begun": {func(w *watchdog, now time.Time) { w.wait(t, s); w.neglects = now.Add(-2 * time.Minute) }, "1 jobs are due and none is begun for 2m0s"},
		"due, and some go back at once": {func(w *watchdog, now time.Time) {
			w.wait(t, s)
			w.neglects = now.Add(-time.Hour)
			w.queue.photos.begun.Add(1)
		}, ""},
		"due only now":              {func(w *watchdog, _ time.Time) { w.wait(t, s) }, ""},
		"due while another is done": {func(w *watchdog, now time.Time) { w.wait(t, s); w.neglects = now.Add(-time.Hour); w.inWork(now) }, ""},
		"no ledger":                 {func(w *watchdog, _ time.Time) { _ = w.queue.ledger.Close() }, "database is closed"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			l := s.ledger()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			c, err := OpenControl(t.Context(), s.cfg.State, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.queue.photos, c.queue.runner = &photosInWork{}, &videoRunner{grace: cancelTimeout}
			now := time.Now()
			w := &watchdog{
				queue: c.queue, timeout: 10 * time.Minute, stall: 2 * time.Minute, rescan: time.Minute,
				beat: &atomic.Pointer[time.Time]{}, log: s.daemon(&proc{}).deps.Log,
			}
			w.beat.Store(&now)
			test.spoil(w, now)
			if got := w.trouble(t.Context(), false, now); got != test.want && (test.want == "" || !strings.Contains(got, test.want)) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// inWork has a photo in work since a time.
func (w *watchdog) inWork(since time.Time) {
	w.queue.photos.jobs = map[int64]photoInWork{1: {began: since}}
}

// wait has a job that waits.
func (w *watchdog) wait(t *testing.T, s *site) {
	t.Helper()
	_, err := w.queue.enqueue(t.Context(), []foundFile{{filepath.Join(s.in, "a.jpg"), Version{1, 1}}})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReload: what can be taken over is, the rest is named, and the service
// manager hears of it.
func TestReload(t *testing.T) {
	m := manage(t)
	s := newSite(t)
	d := s.daemon(&proc{})
	cfg := s.cfg
	cfg.Disk.Reserve, cfg.Workers, cfg.HTTP.Token = 5<<30, 7, testToken
	cfg.Watch = append(cfg.Watch, config.Watch{In: "/srv/a", Out: "/srv/b", Originals: "keep"})
	if err := d.Reload(t.Context(), &cfg); err != nil {
		t.Fatal(err)
	}
	m.hear("RELOADING=1\nMONOTONIC_USEC=", 1)
	m.hear("READY=1", 1)
	if got := d.reserve.Load(); got != 5<<30 {
		t.Errorf("disk.reserve is %d", got)
	}
	for _, want := range []string{
		`msg="setting changed" key=disk.reserve value=5GiB`,
		`msg="setting changed: it counts from the next start" key=workers value=7`,
		`msg="setting changed: it counts from the next start" key=watch`,
		`msg="setting changed: it counts from the next start" key=http.token value=…`,
	} {
		if !strings.Contains(s.logged(), want) {
			t.Errorf("not logged: %s\n%s", want, s.logged())
		}
	}
	cfg.Workers = -1
	cfg.Disk.Reserve = 0
	var bad *config.Error
	if err := d.Reload(t.Context(), &cfg); !errors.As(err, &bad) || d.reserve.Load() != 5<<30 {
		t.Errorf("a bad configuration: %v, reserve %d", err, d.reserve.Load())
	}
}
