package daemon

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSchedule: outside its hours a film waits, a photo doesn't; the hours are
// asked again at a start, and a wait is no try.
func TestSchedule(t *testing.T) {
	s := newSite(t)
	s.cfg.Schedule.Videos = "22:00-06:00"
	s.cfg.Workers = 1
	var hour atomic.Int64
	hour.Store(12)
	s.now = func() time.Time { return time.Date(2026, 11, 24, int(hour.Load()), 0, 0, 0, time.Local) }
	f := &films{segments: 2}
	s.films = f
	stop := s.start(&proc{})
	s.put("film.mp4", "ab")
	wait(t, "the film to wait", func() bool {
		return strings.Contains(s.record("film.mp4").Reason, "waits for its hours: 22:00-06:00 (schedule.videos)")
	})
	s.put("a.jpg", "x")
	wait(t, "the photo", func() bool { return s.output("a.jpg") != "" })
	stop()
	if len(f.called()) != 0 {
		t.Errorf("steps outside the hours: %v", f.names("film.mp4"))
	}
	hour.Store(23)
	stop = s.start(&proc{})
	wait(t, "the film", func() bool { return s.output("film.mp4") == "film <a><b>" })
	s.done("film.mp4")
	stop()
	if r := s.records()["film.mp4"]; r.Completed != 1 || r.Attempts != 1 || r.Reason != "" {
		t.Errorf("%+v", r)
	}
	s.cfg.Schedule.Photos = "06:00-22:00"
	stop = s.start(&proc{})
	s.put("b.jpg", "y")
	wait(t, "the photo to wait", func() bool { return strings.Contains(s.record("b.jpg").Reason, "schedule.photos") })
	stop()
	s.cfg.Schedule.Photos = ""
	stop = s.start(&proc{})
	s.done("b.jpg")
	stop()
}
