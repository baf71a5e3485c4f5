package daemon

import (
	"context"
	"errors"
	"testing"
)

// told are the events of a Watch, one at a time.
func told(t *testing.T, c control) (next func(what string, ok func(Event) bool) Event, ended <-chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	events, end := make(chan Event), make(chan error, 1)
	go func() {
		end <- c.Watch(ctx, func(e Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(stop)
	return func(what string, ok func(Event) bool) (e Event) {
		t.Helper()
		wait(t, what, func() bool {
			select {
			case e = <-events:
				return ok(e)
			default:
				return false
			}
		})
		return e
	}, end
}

// TestWatch: who watches hears of a film's progress and of its end, and that
// the daemon has gone.
func TestWatch(t *testing.T) {
	s := newSite(t)
	goOn := make(chan struct{})
	f := &films{segments: 2, plan: VideoPlan{Frames: 40}}
	f.before = func(ctx context.Context, name string, _ VideoJob, tell func(Progress)) error {
		if name != "render 1" {
			return nil
		}
		tell(Progress{Frames: 5, Total: 20, Faces: 2})
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.films = f
	stop := s.start(&proc{})
	next, ended := told(t, s.dial())
	next("an idle daemon", func(e Event) bool { return e.Queue == QueueInfo{} && len(e.Work) == 0 })
	path := s.put("a.mp4", "abcd")
	e := next("the film in work", func(e Event) bool { return len(e.Work) == 1 && e.Work[0].SegmentsDone == 1 && e.Work[0].Frames == 15 })
	w := e.Work[0]
	if w.Path != path || w.Stage != "render" || w.Total != 40 || w.Faces != 3 || w.Segments != 2 || e.Queue.Running != 1 {
		t.Errorf("%+v", e)
	}
	close(goOn)
	next("the film's end", func(e Event) bool { return e.Queue.Done == 1 && len(e.Work) == 0 })
	stop()
	if err := <-ended; err == nil {
		t.Error("the daemon has gone, and who watched it doesn't know")
	}
}

// TestWatchers: there is a limit to how many are told at a time.
func TestWatchers(t *testing.T) {
	s := newSite(t)
	s.start(&proc{})
	c := s.dial()
	ctx, stop := context.WithCancel(t.Context())
	begun, ended := make(chan struct{}), make(chan error)
	for range maxWatchers {
		go func() {
			first := true
			ended <- c.Watch(ctx, func(Event) error {
				if first {
					begun <- struct{}{}
				}
				first = false
				return nil
			})
		}()
	}
	for range maxWatchers {
		<-begun
	}
	if err := c.Watch(t.Context(), func(Event) error { return nil }); !errors.Is(err, ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	stop()
	for range maxWatchers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	wait(t, "room for another", func() bool {
		enough := errors.New("enough")
		return errors.Is(c.Watch(t.Context(), func(Event) error { return enough }), enough)
	})
}
