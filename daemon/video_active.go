package daemon

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// activity is the steps of videos that are in work in this process.
type activity struct {
	metrics *metrics
	begun   atomic.Int64 // jobs that River has handed over, also those that go back at once

	frames, faces atomic.Int64 // that all steps have told

	mu   sync.Mutex
	runs map[int64]*activeRun
}

// activeRun is the work on one run of a video.
type activeRun struct {
	users  int // steps, and calls of Videos that have not returned
	pulses map[*pulse]struct{}
	remove string // folder to remove when the last user leaves
}

// pulse is the life of one step: what it told last, and when.
type pulse struct {
	of    *activity
	st    step
	began time.Time
	stop  context.CancelCauseFunc

	mu   sync.Mutex
	last time.Time
	told Progress
}

// tell is what the step calls.
func (p *pulse) tell(told Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of.frames.Add(max(told.Frames-p.told.Frames, 0))
	p.of.faces.Add(max(told.Faces-p.told.Faces, 0))
	p.of.metrics.through(p.st.video.stage, told.Frames-p.told.Frames)
	p.told, p.last = told, time.Now()
}

// look returns what was told last, and how long ago.
func (p *pulse) look() (Progress, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told, time.Since(p.last)
}

// revive begins to wait anew.
func (p *pulse) revive() { p.tell(Progress{}) }

// enter notes a step before anything is asked of the ledger: who takes the
// video out of the ledger stops it afterwards, and so either the step sees the
// one or gets the other.
func (a *activity) enter(st step, stop context.CancelCauseFunc) *pulse {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := &pulse{of: a, st: st, began: time.Now(), last: time.Now(), stop: stop}
	if a.runs == nil {
		a.runs = map[int64]*activeRun{}
	}
	r := a.runs[st.video.run]
	if r == nil {
		r = &activeRun{pulses: map[*pulse]struct{}{}}
		a.runs[st.video.run] = r
	}
	r.users++
	r.pulses[p] = struct{}{}
	return p
}

// hold keeps the run's folder until drop, whether or not the step leaves.
func (a *activity) hold(run int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs[run].users++
}

func (a *activity) drop(run int64) error {
	a.mu.Lock()
	r := a.runs[run]
	r.users--
	gone := r.users == 0
	if gone {
		delete(a.runs, run)
	}
	a.mu.Unlock()
	if gone && r.remove != "" {
		return os.RemoveAll(r.remove)
	}
	return nil
}

func (a *activity) leave(p *pulse) error {
	a.mu.Lock()
	delete(a.runs[p.st.video.run].pulses, p)
	a.mu.Unlock()
	return a.drop(p.st.video.run)
}

// stop cancels the steps of a run.
func (a *activity) stop(run int64, why error) {
	for _, p := range a.of(run) {
		p.stop(why)
	}
}

// of lists the steps of a run.
func (a *activity) of(run int64) []*pulse {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*pulse
	if r := a.runs[run]; r != nil {
		for p := range r.pulses {
			list = append(list, p)
		}
	}
	return list
}

// all lists the steps of all runs.
func (a *activity) all() []*pulse {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*pulse
	for _, r := range a.runs {
		for p := range r.pulses {
			list = append(list, p)
		}
	}
	return list
}

// discard removes a run's folder, as soon as nothing works in it.
func (a *activity) discard(run int64, dir string) error {
	a.mu.Lock()
	r := a.runs[run]
	if r != nil {
		r.remove = dir
	}
	a.mu.Unlock()
	if r != nil {
		return nil
	}
	return os.RemoveAll(dir)
}
